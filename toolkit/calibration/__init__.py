"""Calibration: what a simulator needs, fitted on recorded runs, with its measured error."""
