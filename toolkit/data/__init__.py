"""Transition datasets: schema, card, reconstruction from traces, buffer."""
