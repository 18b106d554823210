"""Probe: what a task takes on its worker: CPU time, memory, bytes in and out."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from collectors.ray.noted import Probed, line

_MOST_ITEMS = 10_000
_SELF = Path("/proc/self")


def reset_peak() -> None:
    """Let the peak of this process's memory begin again at what it holds now."""
    with contextlib.suppress(OSError):
        (_SELF / "clear_refs").write_text("5")


def peak() -> int:
    """Return the most memory that this process held since the last reset, bytes."""
    with contextlib.suppress(OSError):
        for text in (_SELF / "status").read_text().splitlines():
            if text.startswith("VmHWM:"):
                return int(text.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def size_of(value: Any) -> float | None:
    """Return the bytes of data in a value; None where they are not evident.

    Arrays, frames, tables, bytes, text and numbers are counted, and containers of them; the
    overhead of Python's objects is not.
    """
    found, left = 0.0, [value]
    for _ in range(_MOST_ITEMS):
        if not left:
            return found
        one = left.pop()
        if isinstance(one, Mapping):
            left += [*itertools.islice(one.keys(), _MOST_ITEMS)]
            left += [*itertools.islice(one.values(), _MOST_ITEMS)]
        elif isinstance(one, (list, tuple, set, frozenset)):
            left += [*itertools.islice(one, _MOST_ITEMS)]
        else:
            size = _plain(one)
            if size is None:
                return None
            found += size
    return None


def _plain(value: Any) -> float | None:
    if value is None or isinstance(value, bool):
        return 1.0
    if isinstance(value, (int, float)):
        return 8.0
    if isinstance(value, (bytes, bytearray)):
        return float(len(value))
    # What belongs to the user's own types may raise anything.
    with contextlib.suppress(Exception):
        if isinstance(value, str):
            return float(len(value.encode("utf-8", "surrogatepass")))
        nbytes = getattr(value, "nbytes", None)
        if isinstance(nbytes, int):
            return float(nbytes)
        usage = getattr(value, "memory_usage", None)
        if callable(usage):
            return float(usage(index=True).sum())
    return None


def probed(function: Callable[..., Any], returns: int) -> Callable[..., Any]:
    """Return the function with a probe around it, which writes beside Ray's own events.

    What it measures lies in a file of the worker, a line per attempt, so that it is there for
    attempts that fail and when the program that asked is gone.

    Args:
        function: What the task runs.
        returns: How many results the task has.
    """
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def items(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with Measured((args, kwargs)) as measured:
                for result in function(*args, **kwargs):
                    measured.sizes.append(size_of(result))
                    yield result

        return items

    @functools.wraps(function)
    def one(*args: Any, **kwargs: Any) -> Any:
        with Measured((args, kwargs)) as measured:
            result = function(*args, **kwargs)
            several = returns > 1 and isinstance(result, (list, tuple))
            measured.sizes = [size_of(r) for r in (result if several else [result])]
            return result

    return one


class Measured:
    """Measures what happens between entering and leaving; writes it down on leaving.

    Args:
        arguments: Of the task.
    """

    def __init__(self, arguments: Any) -> None:
        self.sizes: list[float | None] = []
        """Bytes of each result."""
        self._bytes_in = size_of(arguments)

    def __enter__(self) -> Measured:
        self._base = psutil.Process().memory_info().rss
        reset_peak()
        self._cpu = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        cpu, most = time.process_time() - self._cpu, peak()
        # What cannot be written down must not make the task fail.
        with contextlib.suppress(Exception):
            self._write(cpu, float(max(0, most - self._base)))

    def _write(self, cpu: float, memory: float) -> None:
        import ray

        worker = ray._private.worker.global_worker
        note = Probed(
            task=ray.get_runtime_context().get_task_id(),
            attempt=int(worker.core_worker.get_current_task_attempt_number()),
            cpu_seconds=cpu,
            peak_memory=memory,
            bytes_in=self._bytes_in,
            sizes=self.sizes,
        )
        folder = Path(worker.node.get_logs_dir_path()) / "export_events"
        with (folder / f"toolkit_probe_{os.getpid()}.jsonl").open("ab", buffering=0) as file:
            file.write(line(note))
