"""GPU: traces of profilers read, tasks recorded on devices."""
