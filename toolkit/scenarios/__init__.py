"""Scenarios: what arrives, on what cluster, and what is paid; one file per decision family."""
