"""Schedule: what ran where and when; how good that was, and whether it could have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from toolkit.cluster import Cluster
from toolkit.errors import ToolkitError, require
from toolkit.planning import board
from toolkit.revision import revision
from toolkit.simulator.compiled import njit
from toolkit.workload import (
    CPUS,
    GPUS,
    Floats,
    Indices,
    Ints,
    Workload,
    WorkloadArrays,
    feasible,
    moving,
    upward_ranks,
)

RUN, COPY, KILLED = 0, 1, 2
"""Kinds of execution: the one that counts, one more beside a child, one that was cut short."""
KINDS = ("run", "copy", "killed")

MEASURES = {
    "makespan": "last finish less first start, s",
    "response": "last finish less first arrival, s",
    "completion_mean": "mean over jobs of last finish less arrival, s",
    "completion_p95": "95th percentile over jobs of last finish less arrival, s",
    "path": "longest path of fastest durations without transfers, over all jobs, s",
    "slr": "schedule length ratio: makespan by path",
    "speedup": "all tasks one after another on the best node that can hold them all, by makespan",
    "utilisation": "lane-seconds of executions that count, by lanes times makespan",
    "wasted": "share of all lane-seconds spent on copies and killed attempts",
}
"""What :meth:`Schedule.measures` returns, with units; ratios have none."""

TOLERANCE = 1e-9
"""Relative; times and capacities that differ by less are equal."""

_RESOURCES = ("cpus", "bytes of memory", "gpus")


class Inputs(NamedTuple):
    """Where the inputs of executions came from: ``q`` pairs of an execution and an edge to it."""

    execution: Indices  # [q] ascending
    edge: Indices  # [q] into the workload's parents
    source: Indices  # [q] the parent's execution whose data are there first; -1 without any
    ready: Floats  # [q] s, when they are there; inf without any


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """What ran where and when, as ``r`` executions in any order.

    An execution is one attempt of a task, a copy of a task beside its child, or an attempt that
    was killed. Arrays are brought to the types named here.

    Args:
        workload: What was to be run; of a closed system, with the arrivals that came about, as
            :func:`toolkit.history.schedule_of` gives it.
        policy: Name of what decided.
        seed: The seed of the episode.
        task: Shape [r].
        node: Shape [r].
        start: Shape [r], s.
        finish: Shape [r], s.
        kind: ``RUN``, ``COPY`` or ``KILLED``; shape [r].
        profile: Resource profile of each execution where it is not that of the type; shape [r].
    """

    workload: Workload
    policy: str
    seed: int
    task: Indices
    node: Indices
    start: Floats
    finish: Floats
    kind: Indices
    profile: Indices | None = None

    def __post_init__(self) -> None:
        w = self.workload.arrays
        self._take("task", np.int32, len(w.type_of))
        self._take("node", np.int32, len(w.capacity))
        self._take("kind", np.int32, len(KINDS))
        self._take("start", np.float64)
        self._take("finish", np.float64)
        if self.profile is None:
            fixed = w.profile_of_type[w.type_of[self.task]]
            require(
                bool(np.all(fixed >= 0)),
                "the profiles of this workload are chosen as it runs: a schedule must name them",
            )
            object.__setattr__(self, "profile", fixed)
        self._take("profile", np.int32, len(w.demand))

    def _take(self, name: str, dtype: type, limit: int = 0) -> None:
        array: npt.NDArray[Any] = np.ascontiguousarray(getattr(self, name), dtype=dtype)
        wanted = (len(self.task),)
        require(array.shape == wanted, f"{name} must have shape {wanted}, got {array.shape}")
        sound = (array >= 0) & (array < limit) if limit else np.isfinite(array)
        if not sound.all():
            at = int(np.argmin(sound))
            must = f"lie in 0…{limit - 1}" if limit else "be finite"
            require(False, f"{name} must {must}, got {array[at]} in execution {at}")
        object.__setattr__(self, name, array)

    @property
    def executions(self) -> int:
        """Number of executions."""
        return len(self.task)

    @property
    def profiles(self) -> Indices:
        """Resource profile of each execution, shape [r]."""
        return cast(Indices, self.profile)

    def node_names(self) -> tuple[str, ...]:
        """Return the names of the M nodes."""
        return names(self.workload.cluster, len(self.workload.arrays.capacity))

    def lanes(self) -> Ints:
        """Return how many typical tasks each node runs at once, shape [M]."""
        return np.bincount(board.lanes(self._typical()), minlength=len(self.node_names()))

    def measures(self, durations: Floats | None = None) -> dict[str, float]:
        """Return what ``MEASURES`` describes; NaN where a quotient has no meaning.

        Speedup and schedule length ratio as in Topcuoglu, Hariri and Wu, TPDS 2002,
        doi:10.1109/71.993206; the path is that of several jobs together.

        Args:
            durations: True seconds of each task on each node, shape [n, M]; the estimates when
                absent.

        Raises:
            ToolkitError: When a task did not run, or ran twice.
        """
        w = self.workload.arrays
        self._complete()
        require(self.executions > 0, "a workload without tasks has no measures")
        counts = self.kind == RUN
        first, last = float(self.start.min()), float(self.finish[counts].max())
        makespan = last - first
        ended = w.arrival.copy()
        np.maximum.at(ended, w.job_of[self.task[counts]], self.finish[counts])
        completion = ended - w.arrival
        path, sequential = self._references(durations)
        lanes = self.lanes()
        busy = self.shares() * lanes[self.node] * (self.finish - self.start)
        useful = float(busy[counts].sum())
        return {
            "makespan": makespan,
            "response": last - float(w.arrival[0]),
            "completion_mean": float(completion.mean()),
            "completion_p95": float(np.percentile(completion, 95)),
            "path": path,
            "slr": _ratio(makespan, path),
            "speedup": _ratio(sequential, makespan),
            "utilisation": _ratio(useful, float(lanes.sum()) * makespan),
            "wasted": _ratio(float(busy.sum()) - useful, float(busy.sum())),
        }

    def check(self) -> None:
        """Raise unless this schedule could have been carried out.

        Every task runs once; nothing starts before its job has arrived and its inputs are on the
        node; no node ever holds more than its cpus, memory and gpus. Executions that take no
        time take no room.

        Raises:
            ToolkitError: Names the violation that comes first in time among those of its kind.
        """
        w = self.workload.arrays
        backwards = self.finish < self.start - TOLERANCE * np.abs(self.start)
        if backwards.any():
            x = self._earliest(backwards)
            raise ToolkitError(f"{self._title(x)}, but finishes at {self.finish[x]:.9g} s")
        self._complete()
        arrival = w.arrival[w.job_of[self.task]]
        early = self.start < arrival - TOLERANCE * np.abs(arrival)
        if early.any():
            x = self._earliest(early)
            raise ToolkitError(f"{self._title(x)}, before its job arrives at {arrival[x]:.9g} s")
        self._check_inputs()
        self._check_room()

    def inputs(self) -> Inputs:
        """Return, for each execution and edge to it, where the parent's data came from.

        Data come from whichever run or copy of the parent lets them arrive first, ties by index;
        from one that was killed they never come.
        """
        w = self.workload.arrays
        done = np.flatnonzero(self.kind != KILLED).astype(np.int32)
        by_task = done[np.argsort(self.task[done], kind="stable")]
        counts = np.bincount(self.task[done], minlength=len(w.type_of))
        pointer = np.concatenate([[0], np.cumsum(counts)])
        return Inputs(*_inputs(w, self.task, self.node, self.finish, by_task, pointer))

    def shares(self) -> Floats:
        """Return the share of its node that each execution takes, shape [r].

        It is that of the resource, cpus or gpus, which limits how many typical tasks the node
        runs at once; so the shares that a node holds never sum to more than one.
        """
        w = self._typical()
        lanes = self.lanes()
        typical = np.median(w.demand[w.profile_of_type[np.unique(w.type_of)]], axis=0)
        table = np.empty((len(w.demand), len(w.capacity)))
        for m, room in enumerate(w.capacity):
            held = [(room[k] / typical[k], k) for k in (CPUS, GPUS) if room[k] and typical[k]]
            k = min(held)[1] if held else -1
            table[:, m] = w.demand[:, k] / room[k] if held else 1.0 / lanes[m]
        return np.asarray(table[self.profiles, self.node])

    def rows(self) -> Indices:
        """Return which row of its node each execution is drawn in, shape [r].

        Executions that overlap get different rows, each the lowest one that is free.
        """
        order = np.lexsort((self.finish, self.start, self.node)).astype(np.int32)
        return np.asarray(_rows(order, self.node, self.start, self.finish))

    def to_dict(self, durations: Floats | None = None) -> dict[str, Any]:
        """Return everything as plain values, executions by start.

        Args:
            durations: As for :meth:`measures`.
        """
        w = self.workload.arrays
        nodes = self.node_names()
        lanes = self.lanes()
        order = np.lexsort((self.task, self.node, self.start))
        return {
            "policy": self.policy,
            "seed": self.seed,
            "revision": revision(),
            "measures": {
                k: v if np.isfinite(v) else None for k, v in self.measures(durations).items()
            },
            "nodes": [
                {
                    "name": name,
                    "cpus": float(room[0]),
                    "memory": float(room[1]),
                    "gpus": float(room[2]),
                    "lanes": int(count),
                }
                for name, room, count in zip(nodes, w.capacity, lanes, strict=True)
            ],
            "tasks": [
                {
                    "label": self.workload.label(task),
                    "job": int(w.job_of[task]),
                    "type": self.workload.types[int(w.type_of[task])],
                    "node": nodes[node],
                    "start": start,
                    "finish": finish,
                    "kind": KINDS[kind],
                }
                for task, node, start, finish, kind in zip(
                    self.task[order].tolist(),
                    self.node[order].tolist(),
                    self.start[order].tolist(),
                    self.finish[order].tolist(),
                    self.kind[order].tolist(),
                    strict=True,
                )
            ],
        }

    def _typical(self) -> WorkloadArrays:
        # A planner's lanes follow from the profiles of the types; where a policy chose those, a
        # type counts with the one it ran with most.
        w = self.workload.arrays
        if (w.profile_of_type >= 0).all():
            return w
        T, P = len(w.seconds), len(w.demand)
        key = w.type_of[self.task].astype(np.int64) * P + self.profiles
        most = np.bincount(key, minlength=T * P).reshape(T, P).argmax(axis=1)
        return w._replace(profile_of_type=most.astype(np.int32))

    def _complete(self) -> None:
        counts = np.bincount(self.task[self.kind == RUN], minlength=self.workload.tasks)
        wrong = np.flatnonzero(counts != 1)
        if len(wrong):
            task = int(wrong[0])
            job = int(self.workload.arrays.job_of[task])
            how = "did not run" if counts[task] == 0 else f"ran {counts[task]} times"
            raise ToolkitError(f"task {self.workload.label(task)!r} of job {job} {how}")

    def _references(self, durations: Floats | None) -> tuple[float, float]:
        """Return the longest path of fastest durations and the best sequential time, s."""
        w = self.workload.arrays
        profile = np.empty(self.workload.tasks, dtype=np.int32)
        counts = self.kind == RUN
        profile[self.task[counts]] = self.profiles[counts]
        fits = feasible(w.demand, w.capacity)
        if durations is None:
            # Nodes of one kind and size do not differ here; a large cluster has few kinds.
            alike = np.column_stack([w.column, fits.T])
            chosen = np.unique(alike, axis=0, return_index=True)[1].astype(np.int32)
            truth = np.empty((0, 0))
        else:
            truth = np.ascontiguousarray(durations, dtype=np.float64)
            wanted = (self.workload.tasks, len(w.capacity))
            require(
                truth.shape == wanted,
                f"durations must have shape {list(wanted)}, got {list(truth.shape)}",
            )
            chosen = np.arange(len(w.capacity), dtype=np.int32)
        fastest, total = _fastest_and_total(w, profile, fits, chosen, truth)
        still = np.zeros(len(w.parents))
        path = float(upward_ranks(fastest, w.parent_ptr, w.parents, still).max())
        return path, float(total.min())

    def _check_inputs(self) -> None:
        found = self.inputs()
        begun = self.start[found.execution]
        late = ~(begun >= found.ready - TOLERANCE * np.abs(found.ready))
        if not late.any():
            return
        at = np.flatnonzero(late)
        at = at[np.lexsort((found.execution[at], begun[at]))]
        x, source = int(found.execution[at[0]]), int(found.source[at[0]])
        parent = self.workload.label(int(self.workload.arrays.parents[found.edge[at[0]]]))
        where = self.node_names()[self.node[source]]
        raise ToolkitError(
            f"{self._title(x)}, before the data of its parent {parent!r} are there at "
            f"{found.ready[at[0]]:.9g} s: the parent finishes on node {where!r} at "
            f"{self.finish[source]:.9g} s"
        )

    def _check_room(self) -> None:
        w = self.workload.arrays
        # A release that rounding puts just after a start frees its room for that start.
        begun = self.start + TOLERANCE * np.abs(self.start)
        kept = np.flatnonzero(self.finish > begun)
        starts = kept[np.lexsort((self.start[kept], self.node[kept]))].astype(np.int32)
        ends = kept[np.lexsort((self.finish[kept], self.node[kept]))].astype(np.int32)
        x, resource, used = _overfull(
            starts, ends, self.node, begun, self.finish, self.profiles, w.demand, w.capacity
        )
        if x >= 0:
            node = int(self.node[x])
            raise ToolkitError(
                f"{self._title(x)}, where it finds no room: the node has "
                f"{w.capacity[node, resource]:.9g} {_RESOURCES[resource]}, and {used:.9g} would "
                "be in use"
            )

    def _earliest(self, chosen: npt.NDArray[np.bool_]) -> int:
        at = np.flatnonzero(chosen)
        return int(at[np.argmin(self.start[at])])

    def _title(self, x: int) -> str:
        task = int(self.task[x])
        what = ("task", "the copy of task", "the killed attempt of task")[self.kind[x]]
        job = int(self.workload.arrays.job_of[task])
        return (
            f"{what} {self.workload.label(task)!r} of job {job} starts on node "
            f"{self.node_names()[self.node[x]]!r} at {self.start[x]:.9g} s"
        )


def names(cluster: Cluster, nodes: int) -> tuple[str, ...]:
    """Return the names of the nodes; executors, which are not the cluster's nodes, get numbers.

    Args:
        cluster: The machines.
        nodes: Nodes of the workload.
    """
    if len(cluster.nodes) == nodes:
        return tuple(n.name for n in cluster.nodes)
    return tuple(f"executor {m}" for m in range(nodes))


def _ratio(upper: float, lower: float) -> float:
    return upper / lower if lower > 0 and np.isfinite(upper) else float("nan")


@njit
def _fastest_and_total(
    w: WorkloadArrays,
    profile: Indices,
    fits: npt.NDArray[np.bool_],
    nodes: Indices,
    truth: Floats,
) -> tuple[Floats, Floats]:
    """Return the least seconds of each task, [n], and those of all tasks on each node."""
    n = len(profile)
    fastest = np.full(n, np.inf)
    total = np.zeros(len(nodes))
    known = len(truth) > 0
    for i in range(n):
        t, p = w.type_of[i], profile[i]
        for k in range(len(nodes)):
            m = nodes[k]
            if not fits[p, m]:
                total[k] = np.inf
                continue
            if known:
                took = truth[i, m]
            else:
                took = w.seconds[t, w.profile_column[p] + w.column[m]] * w.scale[i]
            total[k] += took
            fastest[i] = min(fastest[i], took)
    return fastest, total


@njit
def _inputs(
    w: WorkloadArrays,
    task: Indices,
    node: Indices,
    finish: Floats,
    by_task: Indices,
    pointer: npt.NDArray[np.int64],
) -> tuple[Indices, Indices, Indices, Floats]:
    q = 0
    for x in range(len(task)):
        q += w.parent_ptr[task[x] + 1] - w.parent_ptr[task[x]]
    execution = np.empty(q, dtype=np.int32)
    edge = np.empty(q, dtype=np.int32)
    source = np.full(q, -1, dtype=np.int32)
    ready = np.full(q, np.inf)
    at = 0
    for x in range(len(task)):
        for e in range(w.parent_ptr[task[x]], w.parent_ptr[task[x] + 1]):
            execution[at], edge[at] = x, e
            p = w.parents[e]
            for k in range(pointer[p], pointer[p + 1]):
                y = by_task[k]
                there = finish[y] + moving(w, e, node[y], node[x])
                if there < ready[at]:
                    source[at], ready[at] = y, there
            at += 1
    return execution, edge, source, ready


@njit
def _overfull(
    starts: Indices,
    ends: Indices,
    node: Indices,
    begun: Floats,
    finish: Floats,
    profile: Indices,
    demand: Floats,
    capacity: Floats,
) -> tuple[int, int, float]:
    """Return the first execution that finds no room, the resource, and what would be in use.

    Args:
        starts: Executions by node and start.
        ends: The same by node and finish.
        node: Shape [r].
        begun: Start with the tolerance added, s; shape [r].
        finish: Shape [r], s.
        profile: Shape [r].
        demand: Shape [P, 3].
        capacity: Shape [M, 3].
    """
    first, resource, most = -1, -1, 0.0
    used = np.zeros(3)
    running, j, here = 0, 0, -1
    for i in range(len(starts)):
        x = starts[i]
        m = node[x]
        if m != here:
            here, running, j = m, 0, i
            used[:] = 0.0
        while j < i and finish[ends[j]] <= begun[x]:
            used -= demand[profile[ends[j]]]
            running -= 1
            j += 1
        if running == 0:
            # Sums of fractions err; they start afresh whenever the node is empty.
            used[:] = 0.0
        running += 1
        for r in range(3):
            used[r] += demand[profile[x], r]
            limit = capacity[m, r] * (1.0 + TOLERANCE) + TOLERANCE
            if used[r] > limit and (first < 0 or begun[x] < begun[first]):
                first, resource, most = x, r, used[r]
    return first, resource, most


@njit
def _rows(order: Indices, node: Indices, start: Floats, finish: Floats) -> Indices:
    row = np.empty(len(order), dtype=np.int32)
    free = np.empty(len(order))
    count, here = 0, -1
    for x in order:
        if node[x] != here:
            here, count = node[x], 0
        k = 0
        while k < count and free[k] > start[x] + TOLERANCE * abs(start[x]):
            k += 1
        if k == count:
            count += 1
        row[x], free[k] = k, max(finish[x], start[x])
    return row
