"""Fan-out: the same work on many items, over processes of this machine or a Ray cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from toolkit.errors import unknown

T = TypeVar("T")
R = TypeVar("R")

EXECUTORS = ("processes", "ray")


def each(
    work: Callable[[T], R],
    items: Sequence[T],
    executor: str,
    workers: int | None,
    address: str | None,
) -> Iterator[R]:
    """Yield the results as they come, in no fixed order.

    Args:
        work: A function of a module.
        items: What it is called with.
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
        on_ray = importlib.import_module("collectors.ray.fanout").each_on_ray
        yield from on_ray(work, items, workers, address)
        return
    count = min(len(items), workers or len(os.sched_getaffinity(0)))
    if count <= 1:
        yield from map(work, items)
        return
    context: Any = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        waiting = [pool.submit(work, item) for item in items]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for one in waiting:
                one.cancel()
