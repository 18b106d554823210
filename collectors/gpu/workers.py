"""Workers: the processes that hold the devices, started, spoken to and stopped by the recorder.

They are spoken to through pipes and move outputs through pipes; nothing listens anywhere.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec
import psutil

from collectors.gpu import messages
from collectors.gpu.messages import (
    Command,
    Done,
    Drop,
    Event,
    Failed,
    Lane,
    Moved,
    Ready,
    Run,
    Send,
    Setup,
)
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, EngineError

SLOW = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    # MKL heeds the line above on Intel's own processors only, this one on all.
    "MKL_CBWR": "COMPATIBLE",
}
"""Environment of a CPU worker without the newer instruction sets."""

UNEQUAL = 1.3
"""Ratio of speeds below which two pools are not called unequal."""

_PROBES = (("matmul", 768), ("attention", 1024))
_GIB = 2**30
_PATIENCE = 180.0
"""Seconds that a worker may take to load torch."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A worker to start.

    Args:
        lanes: Its queues of tasks.
        environment: Variables beside those of this process.
    """

    lanes: tuple[Lane, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node: one lane of one worker.

    Args:
        worker: Index of the worker.
        lane: Of its lanes.
        device: What the lane runs on.
    """

    worker: int
    lane: int
    device: Lane


def specs(devices: str, streams: int, *, unequal: bool = True) -> list[Spec]:
    """Return the workers that this machine's devices ask for.

    Args:
        devices: ``cuda``, ``cpu`` for two unequal CPU workers, or ``auto`` for CUDA devices and
            a CPU worker where there are any, else as ``cpu``.
        streams: Streams of each CUDA device.
        unequal: Whether the second of two CPU workers does without newer instruction sets.

    Raises:
        ConfigError: When CUDA is asked for and not there.
    """
    count = _cuda_devices() if devices != "cpu" else 0
    if devices == "cuda" and count == 0:
        raise ConfigError(
            "torch finds no CUDA device here",
            hint="record on the CPU: toolkit collect +collector=gpu collector.devices=cpu",
        )
    fast = Spec(lanes=(Lane("cpu"),))
    if count == 0:
        return [
            fast,
            Spec(lanes=(Lane("cpu"),), environment=tuple(SLOW.items() if unequal else ())),
        ]
    lanes = tuple(Lane("cuda", i, s) for i in range(count) for s in range(streams))
    return [Spec(lanes=lanes)] + ([fast] if devices == "auto" else [])


def _cuda_devices() -> int:
    """Return how many CUDA devices torch sees, without a CUDA context in this process."""
    import torch

    return int(torch.cuda.device_count())


class Workers:
    """Worker processes with a lane for every node; a context manager.

    Args:
        specs: The workers to start.

    Raises:
        EngineError: When one does not come up.
    """

    def __init__(self, specs: Sequence[Spec]) -> None:
        self.places = [
            Place(worker=k, lane=i, device=lane)
            for k, spec in enumerate(specs)
            for i, lane in enumerate(spec.lanes)
        ]
        cpus = sum(p.device.device == "cpu" for p in self.places)
        # Half of what is free now, in whole quarters of a GiB, is theirs.
        share = psutil.virtual_memory().available / 2 / max(1, cpus)
        self._share = max(0.25, math.floor(4 * share / _GIB) / 4) * _GIB
        self._processes: list[subprocess.Popen[bytes]] = []
        self._commands: list[Connection] = []
        self._events: list[Connection] = []
        self._errors: list[IO[bytes]] = []
        try:
            self._start(specs)
            self.ready = self._greeted(len(specs))
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [p.pid for p in self._processes]

    def _start(self, specs: Sequence[Spec]) -> None:
        count = len(specs)
        between = {(a, b): os.pipe() for a in range(count) for b in range(count) if a != b}
        try:
            for k, spec in enumerate(specs):
                incoming = {a: pair[0] for (a, b), pair in between.items() if b == k}
                outgoing = {b: pair[1] for (a, b), pair in between.items() if a == k}
                self._spawn(spec, incoming, outgoing)
        finally:
            for descriptor in (d for pair in between.values() for d in pair):
                os.close(descriptor)

    def _spawn(self, spec: Spec, incoming: dict[int, int], outgoing: dict[int, int]) -> None:
        there, here = os.pipe()
        back, away = os.pipe()
        setup = Setup(
            parent=os.getpid(),
            lanes=spec.lanes,
            commands=there,
            events=away,
            incoming=incoming,
            outgoing=outgoing,
        )
        errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop()
        self._commands.append(Connection(here, readable=False))
        self._events.append(Connection(back, writable=False))
        self._errors.append(errors)
        try:
            self._processes.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "collectors.gpu.worker",
                        msgspec.json.encode(setup).decode(),
                    ],
                    env=_environment(spec),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=[there, away, *incoming.values(), *outgoing.values()],
                )
            )
        finally:
            os.close(there)
            os.close(away)

    def _greeted(self, count: int) -> list[Ready]:
        found: dict[int, Ready] = {}
        deadline = time.monotonic() + _PATIENCE
        while len(found) < count:
            for k, event in self.wait(deadline - time.monotonic()):
                if isinstance(event, Ready):
                    found[k] = event
            if time.monotonic() > deadline:
                late = sorted(set(range(count)) - found.keys())
                raise EngineError(f"worker {late[0]} did not start within {_PATIENCE:.0f} s")
        return [found[k] for k in range(count)]

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what the workers have told, waiting for the first word at most so long.

        Raises:
            EngineError: When a worker has failed or is gone.
        """
        told: list[tuple[int, Event]] = []
        for connection in wait(self._events, max(0.0, seconds)):
            k = self._events.index(connection)  # type: ignore[arg-type]
            while True:
                try:
                    event = messages.events.decode(self._events[k].recv_bytes())
                except (EOFError, OSError) as error:
                    raise EngineError(f"worker {k} ({self.name(k)}) {self._ending(k)}") from error
                if isinstance(event, Failed) and event.task < 0:
                    raise EngineError(f"worker {k} ({self.name(k)}) failed: {event.why}")
                told.append((k, event))
                if not self._events[k].poll():
                    break
        return told

    def name(self, worker: int) -> str:
        """Return what a worker runs on."""
        return " and ".join(sorted({p.device.device for p in self.places if p.worker == worker}))

    def _ending(self, k: int) -> str:
        try:
            code = self._processes[k].wait(5.0)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self._errors[k].seek(0)
        lines = self._errors[k].read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1][:300]}" if lines else how

    def run(
        self,
        node: int,
        task: int,
        operation: str,
        size: int,
        seed: int,
        parents: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Hand a task to a node; what its parents made elsewhere is sent there.

        Args:
            node: Where.
            task: Index under which its output is kept.
            operation: What to run.
            size: How large.
            seed: Of its own numbers.
            parents: Each parent, and the node whose worker keeps its output.
        """
        place = self.places[node]
        away = [(p, self.places[m].worker) for p, m in parents]
        away = [(p, k) for p, k in away if k != place.worker]
        self._say(
            place.worker,
            Run(
                lane=place.lane,
                task=task,
                operation=operation,
                size=size,
                seed=seed,
                parents=tuple(p for p, _ in parents),
                away=tuple(p for p, _ in away),
            ),
        )
        for p, k in away:
            self._say(k, Send(task=p, child=task, to=place.worker))

    def drop(self, node: int, task: int) -> None:
        """Forget the output of a task that ran on a node."""
        self._say(self.places[node].worker, Drop(tasks=(task,)))

    def clear(self) -> None:
        """Forget all outputs."""
        for k in range(len(self._commands)):
            self._say(k, Drop())

    def _say(self, k: int, word: Command) -> None:
        try:
            self._commands[k].send_bytes(messages.encode(word))
        except OSError as error:
            raise EngineError(f"worker {k} ({self.name(k)}) {self._ending(k)}") from error

    def finish(self, count: int, seconds: float = 600.0) -> tuple[list[Done | Failed], list[Moved]]:
        """Wait until so many tasks have ended, for those who run them one by one.

        Returns:
            How they ended, and what moved meanwhile.

        Raises:
            EngineError: When they do not end in time.
        """
        ended: list[Done | Failed] = []
        moved: list[Moved] = []
        deadline = time.monotonic() + seconds
        while len(ended) < count:
            for _, event in self.wait(deadline - time.monotonic()):
                if isinstance(event, Done | Failed):
                    ended.append(event)
                elif isinstance(event, Moved):
                    moved.append(event)
            if time.monotonic() > deadline:
                raise EngineError(f"a task did not end within {seconds:.0f} s")
        return ended, moved

    def stop(self) -> None:
        """End the workers, each by its own process id, and wait for them."""
        for connection in (*self._commands, *self._events):
            connection.close()
        for process in self._processes:
            # A closed pipe ends a worker; what hangs in a library does not notice.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
                continue
            process.kill()
            process.wait()
        for file in self._errors:
            file.close()
        self._commands, self._events, self._errors = [], [], []

    def cluster(
        self,
        bandwidth: Sequence[Sequence[float]] | None = None,
        latency: Sequence[float] | None = None,
    ) -> Cluster:
        """Return the nodes.

        Args:
            bandwidth: Measured between nodes, bytes/s, shape [M, M].
            latency: That each node adds to a transfer, s, shape [M].
        """
        nodes = []
        for m, p in enumerate(self.places):
            ready = self.ready[p.worker]
            own = ready.memory[p.lane]
            streams = sum(
                q.device.device == "cuda" and q.device.index == p.device.index for q in self.places
            )
            nodes.append(
                Node(
                    name=f"cuda:{p.device.index}/{p.device.stream}"
                    if p.device.device == "cuda"
                    else f"cpu:{p.worker}",
                    cpus=1.0,
                    memory=self._share if own is None else own,
                    gpus=1.0 / streams if p.device.device == "cuda" else 0.0,
                    kind=ready.kinds[p.lane],
                    latency=0.0 if latency is None else float(latency[m]),
                    logical=len(self.places) > 1,
                )
            )
        links = None if bandwidth is None else tuple(tuple(row) for row in bandwidth)
        return Cluster(nodes=tuple(nodes), links=links)

    def about(self) -> list[dict[str, str | int | float | bool | None]]:
        """Return names, versions and instruction sets of each node."""
        return [self.ready[p.worker].about[p.lane] for p in self.places]


def _environment(spec: Spec) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    inherited = {k: v for k, v in os.environ.items() if k not in SLOW}
    return {
        **inherited,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        **dict(spec.environment),
    }


def check_unequal(workers: Workers) -> dict[str, float]:
    """Measure how many times as fast the first CPU worker is as the second.

    Returns:
        The ratio of each probe and, as ``mean``, their geometric mean.

    Raises:
        EngineError: When the mean is below ``UNEQUAL``: then the two are not unequal.
    """
    times: dict[tuple[str, int], list[float]] = {}
    for turn in range(6):
        for operation, size in _PROBES:
            for node in (0, 1):
                workers.run(node, node, operation, size, 0)
                [end], _ = workers.finish(1)
                if isinstance(end, Failed):
                    raise EngineError(f"{operation}@{size} failed: {end.why}")
                if turn > 0:  # the first one loads code
                    times.setdefault((operation, node), []).append(end.took.host_seconds)
    workers.clear()
    ratios = {o: min(times[o, 1]) / min(times[o, 0]) for o, _ in _PROBES}
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    if mean < UNEQUAL:
        said = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())
        raise EngineError(
            f"the two CPU workers are not unequal: {said}, {UNEQUAL}x is the least",
            hint="record on two equal workers: toolkit collect +collector=gpu "
            "collector.unequal=false",
        )
    return {**ratios, "mean": mean}
