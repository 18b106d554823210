"""Host: what provenance says of the machine that a recorder runs on."""

from __future__ import annotations

import os
import platform
from typing import Any

import psutil

from toolkit.store import fingerprint


def host() -> dict[str, Any]:
    """Return platform, processor, cpus and memory; the machine's name as a fingerprint only."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "fingerprint": fingerprint(platform.node()),
    }
