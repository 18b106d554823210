"""Policies judged: suites, metrics, paired cells."""
