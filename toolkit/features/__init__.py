"""Features: what a choice looks like, one file per decision family."""
