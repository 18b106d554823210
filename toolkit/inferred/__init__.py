"""Inferred: the decisions that a log implies, though nobody recorded them."""
