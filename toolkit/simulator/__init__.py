"""The calibrated replay simulator: state, kernel, durations, calibration."""
