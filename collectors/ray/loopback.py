"""Loopback: Ray on 127.0.0.1 and nowhere else, quiet, and without our signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
"""Environment of a Ray that reports to nobody and says nothing."""


def be_quiet() -> None:
    """Set what the user's environment leaves open."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def on_loopback() -> Iterator[None]:
    """Keep Ray from taking 127.0.0.1 for an address of the network, and from our signals."""
    import ray

    services = ray._private.services
    original = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = original
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)


def folder() -> str:
    """Return the folder of the session of the Ray that this process is connected to."""
    import ray

    return str(ray._private.worker._global_node.get_session_dir_path())
