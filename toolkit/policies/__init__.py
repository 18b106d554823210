"""Scheduling policies: one heuristic per file, and the learned one."""
