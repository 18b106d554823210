"""Configurations: the executors that each of a set of applications ran on, read from their logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from toolkit.cluster import Cluster, Node
from toolkit.decision import decide
from toolkit.errors import ConfigError, require
from toolkit.inferred import log as logs
from toolkit.inferred.durations import Durations
from toolkit.inferred.log import Log
from toolkit.inferred.rows import Inferred, Rows
from toolkit.inferred.steps import Steps
from toolkit.simulator.rules import choose, employ, granted, open_epoch
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    FINISHED,
    KILLED,
    STARTED,
    WAITING,
    apply_event,
    begin,
    initial,
)
from toolkit.simulator.world import unknown
from toolkit.workload import CONFIGURATION, Workload, assemble

Fleet = tuple[float, float, int]
"""Cores and bytes of memory of an executor, and how many there were."""


@dataclass(frozen=True, kw_only=True)
class Application:
    """One run.

    Args:
        log: What ran.
        fleet: On what.
    """

    log: Log
    fleet: Fleet


def application(tables: Mapping[str, pa.Table]) -> Application:
    """Return a run with the executors on which most of its tasks ran.

    Args:
        tables: The tables of a trace, of this run alone.

    Raises:
        ConfigError: When the log does not tell the cores and the memory of its executors.
    """
    log = logs.read(tables, placed=True)
    shapes = [(n["cpus"], n["memory"]) for n in log.nodes]
    used = Counter(shapes[a.node] for a in log.attempts)
    (cores, memory), _ = min(used.items(), key=lambda x: (-x[1], str(x[0])))
    require(
        cores is not None and memory is not None,
        "the log does not tell the cores and the memory of its executors",
    )
    alive: list[tuple[float, int]] = []
    for n, shape in zip(log.nodes, shapes, strict=True):
        if shape == (cores, memory):
            alive.append((n["added_at"] or 0.0, 1))
            if n["removed_at"] is not None:
                alive.append((n["removed_at"], -1))
    most = int(np.max(np.cumsum([change for _, change in sorted(alive)])))
    return Application(log=log, fleet=(float(cores), float(memory), most))


class Applications:
    """What a set of applications chose from, gathered one after another; none is kept."""

    def __init__(self) -> None:
        self._fleets: set[Fleet] = set()
        self._types: set[str] = set()
        self._durations = Durations()

    def add(self, one: Application) -> None:
        """Count an application among the set."""
        self._fleets.add(one.fleet)
        self._types |= set(one.log.type)
        for attempt in one.log.attempts:
            self._durations.add(one.log.type[attempt.task], one.fleet[:2], attempt)

    def infer(self, one: Application, steps: Steps | None = None) -> Inferred:
        """Return the configuration of an application of the set as a decision.

        The application is a batch that meets no other; its stages are the types of its tasks, and
        the estimates are the mean recorded seconds of a type on executors of a shape.

        Args:
            one: An application that was added.
            steps: Takes the decision with all that it shows.

        Raises:
            ConfigError: When all ran on the same executors, so that nobody chose.
        """
        fleets = sorted(self._fleets)
        if len(fleets) < 2:
            raise ConfigError("all applications ran on the same executors, so nobody chose")
        shapes, types = sorted({f[:2] for f in fleets}), sorted(self._types)
        index = {t: i for i, t in enumerate(types)}
        seconds = self._durations.means(types, shapes)
        table = np.array([[shapes.index(f[:2]), *f] for f in fleets], dtype=np.float64)
        host = Node(
            name="host",
            cpus=max(f[0] * f[2] for f in fleets),
            memory=max(f[1] * f[2] for f in fleets),
        )
        told = [{"cores": c, "memory": m, "instances": k} for c, m, k in fleets]
        scene = _batch(one.log, types, index, seconds, table, Cluster(nodes=(host,)))
        s, state, rows = scene.known, scene.state, Rows(steps)
        apply_event(s, ARRIVED, 0, 0.0, 0.0)
        open_epoch(s, False)
        key = fleets.index(one.fleet)
        rows.answer(state, decide(scene), "fleet", key, key)
        choose(s, key)
        if steps is not None:
            _run(scene, one.log, key)
        return rows.inferred(one.log.left_out, scene, {"configurations": told})


def infer(applications: Sequence[Application]) -> list[Inferred]:
    """Return the configuration of each application as one decision among those of all of them.

    Args:
        applications: Two or more, on at least two different fleets.

    Raises:
        ConfigError: When all ran on the same executors, so that nobody chose.
    """
    known = Applications()
    for one in applications:
        known.add(one)
    return [known.infer(one) for one in applications]


def _run(scene: Scene, log: Log, key: int) -> None:
    """Let an application run as its log tells, on the executors that it chose."""
    s, state = scene.known, scene.state
    employ(s, key, int(granted(s, key)))
    begin(s, 0)
    events = [(a.start, 1, k, STARTED) for k, a in enumerate(log.attempts)]
    for k, a in enumerate(log.attempts):
        if a.end is not None:
            # What took no time ends after it started.
            events.append((a.end, 0 if a.end > a.start else 2, k, FINISHED if a.done else KILLED))
    running: dict[int, int] = {}
    for at, _, k, kind in sorted(events):
        task = log.attempts[k].task
        if kind == STARTED:
            if state.status[task] != WAITING:
                continue
            running[k] = task
        elif running.pop(k, -1) < 0:
            continue
        apply_event(s, kind, task, at, at)


def _batch(
    log: Log,
    types: Sequence[str],
    index: Mapping[str, int],
    seconds: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    fleets: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    cluster: Cluster,
) -> Scene:
    n = len(log.task)
    arrays = assemble(
        family=CONFIGURATION,
        type_of=[index[t] for t in log.type],
        job_ptr=[0, n],
        parent_ptr=log.parent_ptr,
        parents=log.flat_parents,
        data=np.zeros(len(log.flat_parents)),
        arrival=[0.0],
        scale=np.ones(n),
        seconds=seconds,
        demand=[[1.0, 0.0, 0.0]],
        cluster=cluster,
        profile_of_type=np.zeros(len(types)),
        fleets=fleets,
    )
    workload = Workload(types=tuple(types), cluster=cluster, arrays=arrays, seed=0)
    return Scene(workload=workload, state=initial(workload), world=unknown())
