"""Spark: event logs read, real runs recorded."""
