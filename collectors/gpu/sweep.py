"""A labelled sweep: every type of task on every kind of device, alone and beside others."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from collectors.gpu.engine import PERIOD, machine
from collectors.gpu.estimates import estimate
from collectors.gpu.messages import Done, Failed, Moved
from collectors.gpu.rows import assemble, took_columns
from collectors.gpu.workers import Workers
from toolkit.errors import EngineError
from toolkit.progress import progress
from toolkit.scenarios.torch_dags import Measured
from toolkit.seeding import generator
from toolkit.trace import Trace
from toolkit.workflows.operations import parsed, type_name

_MOVES = (2**12, 2**16, 2**19, 2**21, 2**23)
"""Numbers in the outputs whose transfer is measured, 16 KiB to 32 MiB."""
_MOVE_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep has found.

    Args:
        trace: Its run.
        estimates: What policies are told.
    """

    trace: Trace
    estimates: Measured


def sweep(
    workers: Workers,
    types: Sequence[str],
    *,
    repeats: int,
    together: bool,
    seed: int,
    about: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Sweep:
    """Measure each type on the first node of each kind, and the links between the nodes.

    Types take turns in a new order each round, so that what drifts on the machine is not taken
    for a property of a type. The first round is cold and says so.

    Args:
        workers: The devices.
        types: Types of task.
        repeats: Executions of each type on each kind, one at a time.
        together: Whether to repeat all of it with the same task on every node at once.
        seed: Of the order and of the tasks' own numbers.
        about: The run's entry in the provenance.
        provenance: Of the whole recording, but for the estimates.

    Raises:
        EngineError: When a type never runs to its end on some kind of device.
    """
    made = _Sweep(workers, types, seed)
    kinds = workers.cluster().kinds
    firsts = [[n.kind for n in workers.cluster().nodes].index(kind) for kind in kinds]
    everywhere = list(range(len(workers.places)))
    rounds = [[[m] for m in firsts]] * repeats
    if together and len(everywhere) > 1:
        rounds = rounds + [[everywhere]] * repeats
    rng = generator(seed, "sweep")
    with progress("measuring each type on each kind of device", len(rounds), "rounds") as bar:
        for turn in rounds:
            for t in rng.permutation(len(types)).tolist():
                for nodes in turn:
                    made.measure(t, nodes)
            bar.update()
    made.move()
    runs = [
        (r["task"] % len(types), r["node"], bool(r["m_warm"]), r["m_host_seconds"])
        for r in made.tasks
        if r["status"] == "done" and r["attempt"] < repeats
    ]
    estimates = estimate(types, workers.cluster(), runs, made.moves)
    cluster = workers.cluster(estimates.bandwidth.tolist(), estimates.latency.tolist())
    trace = assemble(
        int(about["run"]),
        cluster,
        workers.about(),
        {
            "jobs": [{"job": 0, "arrived_at": 0.0}],
            "tasks": made.tasks,
            "spans": made.spans,
            "samples": made.samples,
        },
        {**provenance, "estimates": estimates.to_dict(), "runs": [dict(about)]},
    )
    return Sweep(trace=trace, estimates=estimates)


class _Sweep:
    """The rows of a sweep as they come."""

    def __init__(self, workers: Workers, types: Sequence[str], seed: int) -> None:
        self.workers, self.types, self.seed = workers, types, seed
        self.tasks: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        self.samples: list[dict[str, Any]] = []
        self.moves: list[tuple[int, int, float, float]] = []
        self._attempts: dict[int, int] = {}
        self._origin = time.monotonic()
        workers.clear()
        psutil.cpu_percent()

    def _now(self) -> float:
        return time.monotonic() - self._origin

    def measure(self, t: int, nodes: Sequence[int]) -> None:
        """Run a type on some nodes at once; task ``type + T * node`` is it there."""
        operation, size = parsed(self.types[t])
        T = len(self.types)
        submitted = {}
        for m in nodes:
            submitted[t + T * m] = self._now()
            self.workers.run(m, t + T * m, operation.name, size, self.seed)
        ended, _ = self.workers.finish(len(nodes))
        seen = self._now()
        for end in ended:
            m = end.task // T
            attempt = self._attempts.get(end.task, 0)
            self._attempts[end.task] = attempt + 1
            row: dict[str, Any] = {
                "task": end.task,
                "attempt": attempt,
                "job": 0,
                "type": self.types[t],
                "node": m,
                "submitted_at": submitted[end.task],
            }
            if isinstance(end, Done):
                at = min(max(end.at - self._origin, submitted[end.task]), seen)
                # The device tells how long it ran, the recorder when it was done.
                began = max(submitted[end.task], at - end.took.host_seconds)
                row |= {
                    "started_at": began,
                    "finished_at": at,
                    "finished_seen": seen,
                    "status": "done",
                    **took_columns(self.types[t], end.took),
                }
                self.workers.drop(m, end.task)
            else:
                row |= {
                    "status": "failed",
                    "reason": end.why,
                    **took_columns(self.types[t], None),
                }
            self.tasks.append(row)
        at = self._now()
        if not self.samples or at - self.samples[-1]["at"] >= PERIOD:
            self.samples += [{"at": at, "metric": m, "value": v} for m, v in machine().items()]

    def move(self) -> None:
        """Send outputs of several sizes from each node to each other one."""
        first = len(self.types) * len(self.workers.places)
        names = [n.name for n in self.workers.cluster().nodes]
        places = self.workers.places
        for a, source in enumerate(places):
            for b, target in enumerate(places):
                if a == b or (source.worker, source.device.index) == (
                    target.worker,
                    target.device.index,
                ):
                    continue
                for count in _MOVES:
                    self._end(a, first, "transfer", count)
                    # The first one loads code; it stays in the trace.
                    for repeat in range(_MOVE_REPEATS):
                        moved = self._end(b, first + 1, "sort", 16, ((first, a),))
                        for m in moved:
                            self._span(f"{names[a]} to {names[b]}", m, repeat)
                            if repeat > 0:
                                self.moves.append((a, b, m.bytes, m.ended - m.began))
                self.workers.clear()

    def _end(
        self,
        node: int,
        task: int,
        operation: str,
        size: int,
        parents: Sequence[tuple[int, int]] = (),
    ) -> list[Moved]:
        self.workers.run(node, task, operation, size, self.seed, parents)
        [end], moved = self.workers.finish(1)
        if isinstance(end, Failed):
            raise EngineError(f"{type_name(operation, size)} failed: {end.why}")
        return moved

    def _span(self, name: str, moved: Moved, repeat: int) -> None:
        self.spans.append(
            {
                "span": len(self.spans),
                "kind": "transfer",
                "name": name,
                "started_at": moved.began - self._origin,
                "finished_at": moved.ended - self._origin,
                "detail": json.dumps({"bytes": moved.bytes, "repeat": repeat}),
            }
        )
