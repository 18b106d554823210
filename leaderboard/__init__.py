"""Evaluations compared: statistics, rendering, the board."""
