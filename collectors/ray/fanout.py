"""Fan-out over Ray: the same work on many items, as tasks of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from collectors.ray.loopback import be_quiet, folder, on_loopback
from collectors.ray.reaper import guarded
from toolkit.errors import EngineError, ToolkitError

T = TypeVar("T")
R = TypeVar("R")

_STORE = 100 << 20
"""Bytes of the object store of a Ray that is started here; results are names, not data."""


@contextmanager
def connected(workers: int | None, address: str | None) -> Iterator[None]:
    """Be connected to a Ray; one that this process is connected to is used and left as it is.

    Args:
        workers: CPUs of a Ray that is started here; as many as the machine has where absent.
        address: Of a cluster that exists; null starts one on loopback and stops it.

    Raises:
        EngineError: When Ray does not start.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    _connect(workers, address)
    with ExitStack() as stack:
        stack.enter_context(guarded(folder()))
        stack.callback(ray.shutdown)
        yield


@contextmanager
def on_ray(
    workers: int | None, address: str | None
) -> Iterator[Callable[[Callable[[T], R], Sequence[T]], Iterator[R]]]:
    """Yield what hands out work as tasks; the results come in no fixed order.

    Args:
        workers: Items at once; as many as the cluster has CPUs where absent.
        address: As for :func:`connected`.

    Raises:
        EngineError: When Ray does not start or loses a task.
    """

    def hand_out(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Call a function of a module that the workers can import; they reach its files."""
        return _each(work, items, workers)

    with connected(workers, address):
        yield hand_out


def _connect(workers: int | None, address: str | None) -> None:
    import ray

    be_quiet()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        with on_loopback():
            if address is not None:
                ray.init(address=address, **quiet)
                return
            ray.init(
                address="local",
                num_cpus=workers or len(os.sched_getaffinity(0)),
                object_store_memory=_STORE,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(
            f"Ray could not be reached or started: {str(error).splitlines()[0][:200]}",
            hint="use processes of this machine instead: executor=processes",
        ) from error


def _each(work: Callable[[T], R], items: Sequence[T], workers: int | None) -> Iterator[R]:
    import ray

    # Ray tries again where a worker dies, not where the work itself refuses an item.
    one = ray.remote(work).options(num_cpus=1)
    most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(items)
    running: list[Any] = []
    try:
        while True:
            for item in waiting:
                running.append(one.remote(item))
                if len(running) >= most:
                    break
            if not running:
                return
            done, running = ray.wait(running, num_returns=1)
            yield result(done[0])
    finally:
        for task in running:
            ray.cancel(task, force=True)


def result(task: Any) -> Any:
    """Return what a task returned, or raise what it raised.

    Raises:
        EngineError: When it failed or was lost.
    """
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ToolkitError):
            raise error.cause from error
        cause = error.cause if isinstance(error.cause, Exception) else error
        raise EngineError(f"a task failed on Ray: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise EngineError(f"Ray lost a task: {str(error).splitlines()[0][:200]}") from error
