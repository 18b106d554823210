"""Workflows: task graphs, where they are read from and how they are generated."""
