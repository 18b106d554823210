"""Fan-out: the same work on many items, over processes of this machine or a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

from toolkit.errors import unknown

T = TypeVar("T")
R = TypeVar("R")

EXECUTORS = ("processes", "ray")

Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Calls a function of a module with every item; gives the results in no fixed order."""


@contextmanager
def crew(executor: str, workers: int | None, address: str | None) -> Iterator[Each]:
    """Yield what hands out work, again and again to the same workers.

    Args:
        executor: ``processes`` or ``ray``.
        workers: Items at once; one per core where absent.
        address: Of a Ray cluster that exists; null starts one on loopback.

    Raises:
        NotFoundError: When the executor is another.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if executor == "ray":
        # The core imports no collector; what starts Ray and cleans up after it lies there.
        with importlib.import_module("collectors.ray.fanout").on_ray(workers, address) as each_:
            yield each_
        return
    count = workers or len(os.sched_getaffinity(0))
    if count <= 1:
        yield map
        return
    context: Any = multiprocessing.get_context("spawn")
    # Workers leave an interruption of the terminal to this process, which then ends them.
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_leave_interrupts)

    def submit(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        waiting = [pool.submit(work, item) for item in items]
        for done in as_completed(waiting):
            yield done.result()

    try:
        yield submit
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def each(
    work: Callable[[T], R],
    items: Sequence[T],
    executor: str,
    workers: int | None,
    address: str | None,
) -> Iterator[R]:
    """Yield the results as they come, in no fixed order; see :func:`crew`."""
    alone = min(len(items), workers or len(os.sched_getaffinity(0))) <= 1
    with crew(executor, 1 if alone and executor == "processes" else workers, address) as hand_out:
        yield from hand_out(work, items)
