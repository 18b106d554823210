"""Record what a cluster did, learn from it offline, prove it in a calibrated replay."""

__version__ = "0.1.0"
