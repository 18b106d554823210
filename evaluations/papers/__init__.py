"""The three papers made real: their tables, their figures, and a verdict for every claim."""
