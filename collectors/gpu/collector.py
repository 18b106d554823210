"""What GPUs did: read from the traces of profilers, or recorded task by task."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.gpu.importer import GpuImporter
from collectors.gpu.record import GpuRecorder


@dataclass(frozen=True, kw_only=True)
class GpuCollector(GpuRecorder):
    """Records torch tasks on devices, or imports traces of profilers and samples beside them.

    Args:
        path: A Kineto or Chrome trace, or a folder of traces and samples, to import instead of
            recording.
        zone: IANA name of the time zone in which nvidia-smi wrote its local times.
    """

    path: str | None
    zone: str = "UTC"

    def importer(self) -> GpuImporter:
        """Return what reads the files."""
        return GpuImporter(zone=self.zone)
