"""Traces in: one source per file."""
