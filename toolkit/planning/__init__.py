"""Planners: whole schedules from estimates, over flat arrays."""
