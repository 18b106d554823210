"""Traces → decisions with all features, by factual replay."""
