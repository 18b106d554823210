"""Torch DAGs: graphs of torch operations, which a recorder can truly run (family *placement*)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, require, unknown
from toolkit.trace import Trace
from toolkit.workflows.graph import Graph, Span
from toolkit.workflows.layered import Layered
from toolkit.workflows.operations import OPERATIONS, parsed, type_name
from toolkit.workload import CPUS, MEMORY, PLACEMENT, Floats, Workload, assemble


@dataclass(frozen=True, kw_only=True)
class TorchGraphs:
    """Random layered graphs of torch tasks; a task hands all that it made to each child.

    Operation and size of each task are drawn uniformly; what is drawn needs no measuring.

    Args:
        operations: The sizes of each operation.
        tasks: Number of tasks of a graph, or (low, high).
        fatness: Mean width of a layer by the square root of the number of tasks.
        density: Probability of each edge beyond the one parent that is certain.
    """

    operations: Mapping[str, Sequence[int]]
    tasks: Span = (10, 16)
    fatness: float = 1.0
    density: float = 0.15

    def __post_init__(self) -> None:
        require(len(self.operations) > 0, "a torch graph needs at least one operation")
        for name, sizes in self.operations.items():
            if name not in OPERATIONS:
                raise unknown("operation", name, OPERATIONS)
            require(
                len(sizes) > 0 and all(type(s) is int and 0 < s < 10**9 for s in sizes),
                f"{name} needs sizes, positive whole numbers; got {list(sizes)}",
            )
            require(len(set(sizes)) == len(sizes), f"{name} names a size twice: {list(sizes)}")
        _ = self._layered

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Every type of task, ``operation@size``."""
        return tuple(type_name(o, size) for o, sizes in self.operations.items() for size in sizes)

    @cached_property
    def _layered(self) -> Layered:
        return Layered(tasks=self.tasks, fatness=self.fatness, density=self.density, types=1)

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        shape = self._layered.graph(rng)
        names = list(self.operations)
        drawn = rng.integers(len(names), size=shape.tasks)
        first = np.cumsum([0, *(len(s) for s in self.operations.values())])
        sizes = np.diff(first)[drawn]
        type_of = (first[drawn] + (rng.random(shape.tasks) * sizes).astype(np.int64)).astype(
            np.int32
        )
        known = [parsed(t) for t in self.types]
        seconds = np.array([o.seconds(n) for o, n in known])
        sent = np.array([o.bytes(n) for o, n in known])
        return Graph(
            name=f"torch-{shape.tasks}",
            types=self.types,
            type_of=type_of,
            work=seconds[type_of],
            parent_ptr=shape.parent_ptr,
            parents=shape.parents,
            data=sent[type_of[shape.parents]],
        )


def demands(types: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the resource profiles of torch tasks, shape [P, 3], and which each type has, [T]."""
    rows = [(1.0, o.memory(size), 0.0) for o, size in map(parsed, types)]
    wanted = sorted(set(rows))
    return np.array(wanted), np.array([wanted.index(row) for row in rows])


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What policies are told of the devices of a recording, as a sweep measured them.

    Args:
        types: Types of task.
        kinds: Kinds of node, in the order in which they first appear in the cluster.
        seconds: Of each type on each kind, shape [T, C].
        bandwidth: Between nodes, bytes/s, shape [M, M]; inf where nothing has to move.
        latency: That each node adds to a transfer, s, shape [M].
    """

    types: tuple[str, ...]
    kinds: tuple[str, ...]
    seconds: Floats
    bandwidth: Floats
    latency: Floats

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; null stands for an endless bandwidth."""
        return {
            "types": list(self.types),
            "kinds": list(self.kinds),
            "seconds": self.seconds.tolist(),
            "bandwidth": [[None if math.isinf(b) else b for b in row] for row in self.bandwidth],
            "latency": self.latency.tolist(),
        }

    @staticmethod
    def from_dict(told: Mapping[str, Any]) -> Measured:
        """Return what :meth:`to_dict` gave."""
        return Measured(
            types=tuple(told["types"]),
            kinds=tuple(told["kinds"]),
            seconds=np.array(told["seconds"], dtype=np.float64),
            bandwidth=np.array(
                [[math.inf if b is None else b for b in row] for row in told["bandwidth"]]
            ),
            latency=np.array(told["latency"], dtype=np.float64),
        )

    def of(self, types: Sequence[str], cluster: Cluster) -> Floats:
        """Return the seconds of some types on the kinds of a cluster.

        Raises:
            ConfigError: When one of them was not measured.
        """
        for kind, names, known in (
            ("type", types, self.types),
            ("kind of device", cluster.kinds, self.kinds),
        ):
            absent = [n for n in names if n not in known]
            if absent:
                raise ConfigError(
                    f"the recording's sweep did not measure the {kind} {absent[0]!r}",
                    hint="the machine has changed since it began; record again: force=true",
                )
        rows = [self.types.index(t) for t in types]
        columns = [self.kinds.index(k) for k in cluster.kinds]
        return np.ascontiguousarray(self.seconds[np.ix_(rows, columns)])

    def cluster(self, rows: Sequence[Mapping[str, Any]]) -> Cluster:
        """Return the nodes of a trace with the links that were measured."""
        known = Node.__dataclass_fields__
        return Cluster(
            nodes=tuple(
                Node(**{**{k: r[k] for k in known if k in r}, "latency": float(self.latency[m])})
                for m, r in enumerate(rows)
            ),
            links=tuple(tuple(row) for row in self.bandwidth.tolist()),
        )


def measured(
    workload: Workload, cluster: Cluster, told: Measured, *, slots: int, advice: bool
) -> Workload:
    """Return a planned workload as it is on machines that were measured.

    Args:
        workload: Planned by a scenario of torch tasks.
        cluster: The machines, with the links that were measured.
        told: What was measured on them.
        slots: Slots for ready tasks.
        advice: Whether features tell what a HEFT re-plan would do.

    Raises:
        ConfigError: When some task fits no machine, or was not measured.
    """
    w = workload.arrays
    demand, profile_of_type = demands(workload.types)
    most = cluster.capacity()[:, [CPUS, MEMORY]]
    for name, p in zip(workload.types, profile_of_type, strict=True):
        require(
            bool((demand[p, [CPUS, MEMORY]] <= most).all(axis=1).any()),
            f"no device has the {demand[p, MEMORY] / 2**20:.0f} MiB that {name} needs",
            hint="leave out the greatest sizes of the scenario's operations",
        )
    return Workload(
        types=workload.types,
        cluster=cluster,
        seed=workload.seed,
        labels=workload.labels,
        arrays=assemble(
            family=PLACEMENT,
            type_of=w.type_of,
            job_ptr=w.job_ptr,
            parent_ptr=w.parent_ptr,
            parents=w.parents,
            data=w.data,
            arrival=w.arrival,
            scale=np.ones(workload.tasks),
            seconds=told.of(workload.types, cluster),
            demand=demand,
            cluster=cluster,
            profile_of_type=profile_of_type,
            deadline=w.deadline,
            pull=True,
            slots=slots,
            advice=advice,
        ),
    )


def workload_of(trace: Trace, run: int) -> Workload:
    """Return the workload of a recorded run of torch tasks, as its policy was shown it.

    Args:
        trace: A recording.
        run: One of its runs that ended by itself.

    Raises:
        ConfigError: When the run was cut short: then nobody knows the tasks that never started.
    """
    about = next(r for r in trace.runs() if r["run"] == run)
    require(
        about["mode"] == "policy" and bool(about["terminated"]),
        f"run {run} was no whole episode, so its workload is not known",
    )
    told = Measured.from_dict(trace.provenance["estimates"])
    tasks = trace.of("tasks", run).sort_by("task").to_pydict()
    jobs = trace.of("jobs", run).sort_by("job").to_pydict()
    edges = trace.of("edges", run).sort_by([("child", "ascending"), ("parent", "ascending")])
    cluster = told.cluster(trace.of("nodes", run).sort_by("node").to_pylist())
    index = {name: i for i, name in enumerate(told.types)}
    n = len(tasks["task"])
    child = edges["child"].to_numpy()
    demand, profile_of_type = demands(told.types)
    rules = trace.provenance["engine"]["rules"]
    return Workload(
        types=told.types,
        cluster=cluster,
        seed=int(about["seed"]),
        labels=tuple(tasks["name"]),
        arrays=assemble(
            family=PLACEMENT,
            type_of=[index[t] for t in tasks["type"]],
            job_ptr=np.searchsorted(tasks["job"], np.arange(len(jobs["job"]) + 1)),
            parent_ptr=np.searchsorted(child, np.arange(n + 1)),
            # Arrow's own arrays cannot be written, which compiled code takes for another type.
            parents=np.array(edges["parent"]),
            data=np.array(edges["bytes"]),
            arrival=jobs["arrived_at"],
            scale=np.ones(n),
            seconds=told.of(told.types, cluster),
            demand=demand,
            cluster=cluster,
            profile_of_type=profile_of_type,
            deadline=[_deadline(d) for d in jobs["detail"]],
            pull=True,
            slots=int(rules["slots"]),
            advice=bool(rules["advice"]),
        ),
    )


def _deadline(detail: str | None) -> float:
    return math.inf if detail is None else float(json.loads(detail)["deadline_seconds"])
