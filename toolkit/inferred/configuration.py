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
from toolkit.inferred.log import Log
from toolkit.inferred.placement import mean_seconds
from toolkit.inferred.rows import Inferred, Rows
from toolkit.simulator.rules import choose, open_epoch
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import ARRIVED, apply_event, initial
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


def infer(applications: Sequence[Application]) -> list[Inferred]:
    """Return the configuration of each application as one decision among those of all of them.

    Each application is a batch that meets no other; its stages are the types of its tasks, and
    the estimates are the mean recorded seconds of a type on executors of a shape.

    Args:
        applications: Two or more, on at least two different fleets.

    Raises:
        ConfigError: When all ran on the same executors, so that nobody chose.
    """
    fleets = sorted({a.fleet for a in applications})
    if len(fleets) < 2:
        raise ConfigError("all applications ran on the same executors, so nobody chose")
    shapes = sorted({f[:2] for f in fleets})
    types = sorted({t for a in applications for t in a.log.type})
    index = {t: i for i, t in enumerate(types)}
    seconds = mean_seconds(
        [
            (index[a.log.type[x.task]], shapes.index(a.fleet[:2]), x)
            for a in applications
            for x in a.log.attempts
        ],
        len(types),
        len(shapes),
    )
    table = np.array([[shapes.index(f[:2]), *f] for f in fleets], dtype=np.float64)
    host = Node(
        name="host",
        cpus=max(f[0] * f[2] for f in fleets),
        memory=max(f[1] * f[2] for f in fleets),
    )
    told = [{"cores": c, "memory": m, "instances": k} for c, m, k in fleets]
    found = []
    for a in applications:
        scene = _batch(a.log, types, index, seconds, table, Cluster(nodes=(host,)))
        s, state, rows = scene.known, scene.state, Rows()
        apply_event(s, ARRIVED, 0, 0.0, 0.0)
        open_epoch(s, False)
        key = fleets.index(a.fleet)
        rows.answer(state, decide(scene), "fleet", key, key)
        choose(s, key)
        found.append(rows.inferred(a.log.left_out, {"configurations": told}))
    return found


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
