"""Ray: the genomics dataflow recorded on a real engine, a user's own program, and old logs."""

from collectors.ray.watch import watch

__all__ = ["watch"]
