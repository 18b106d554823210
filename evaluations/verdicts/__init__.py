"""Verdicts: what the papers claim, what was found of each claim, and reports that say both."""
