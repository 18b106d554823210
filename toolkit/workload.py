"""Workload: the jobs, tasks and edges of one episode, and what is declared about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.cluster import Cluster
from toolkit.errors import require
from toolkit.simulator.compiled import lean, njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Vector = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

PLACEMENT, ALLOCATION, CONFIGURATION = 0, 1, 2
"""Decision families, entry ``FAMILY`` of the rules."""
FAMILIES = ("placement", "allocation", "configuration")

CPUS, MEMORY, GPUS = 0, 1, 2
"""Columns of demands and capacities; memory in bytes."""

FAMILY, PULL, DUPLICATE, SLOTS, ADVICE, IN_FLIGHT = 0, 1, 2, 3, 4, 5
"""Entries of ``rules``: the family; whether data move only when a task has been placed; whether
parents may be executed again beside a child; slots for ready tasks; whether features tell what a
HEFT re-plan would do; jobs that a closed system keeps in flight, 0 in an open one."""

SHAPE, CORES, BYTES, INSTANCES = 0, 1, 2, 3
"""Columns of ``fleets``: column of durations, cores and memory of an executor, how many."""

INTERVAL, STARTUP, MEAN_LATENCY, MEAN_COST, ALL_CPUS, ALL_MEMORY, SLO = 0, 1, 2, 3, 4, 5, 6
"""Entries of ``numbers``: seconds between epochs; seconds to start an executor; mean latency of
a link, s; mean seconds per byte of a link; cpus and bytes of all nodes; seconds within which a
job should be done."""

SIZE_BINS = 3
"""Small, medium and large inputs: terciles of the job sizes that the scenario declares."""


class WorkloadArrays(NamedTuple):
    """The workload as flat arrays, the form in which compiled code reads it.

    ``n`` tasks of ``T`` types and ``e`` edges in ``J`` jobs; ``P`` resource profiles; ``M``
    nodes. The tasks of a job are contiguous and in topological order. The estimated duration of
    a task is ``seconds[type, column] * scale[task]``, its column being the sum of that of its
    profile and that of its node: allocation varies the one, placement the other.
    """

    type_of: Indices  # [n]
    job_of: Indices  # [n]
    parent_ptr: Indices  # [n + 1] into parents and data
    parents: Indices  # [e]
    data: Floats  # [e] bytes moved along the edge from that parent
    child_ptr: Indices  # [n + 1] into children
    children: Indices  # [e]
    job_ptr: Indices  # [J + 1] into tasks
    arrival: Floats  # [J] s, ascending; engines read it, policies never see it
    deadline: Floats  # [J] s after arrival; inf where there is none
    scale: Floats  # [n] estimated size, relative to the type's seconds
    rank: Floats  # [n] upward rank by the estimates, s
    by_rank: Indices  # [n] the tasks of each job by descending rank, then id
    twin: Indices  # [n] the next task nobody could tell from this one, else -1
    size_bin: Indices  # [J] 0 small, 1 medium, 2 large
    seconds: Floats  # [T, C] estimated duration at scale 1
    mean_seconds: Floats  # [T] mean of seconds over the nodes or profiles that a type may use
    profile_of_type: Indices  # [T] -1 where a policy chooses it
    profile_column: Indices  # [P]
    demand: Floats  # [P, 3] cpus, memory in bytes, gpus
    typical: Floats  # [T] scale of a typical task
    order: Indices  # [T] types in descending upward rank
    type_rank: Floats  # [T] upward rank of a type in its graph, s
    capacity: Floats  # [M, 3]
    column: Indices  # [M] column of the node's kind
    bandwidth: Floats  # [M, M] bytes/s
    latency: Floats  # [M, M] s
    fleets: Floats  # [Q, 4] configurations to choose from, see SHAPE; [0, 4] elsewhere
    hosts: Floats  # [H, 3] machines that executors are packed onto; [0, 3] elsewhere
    rules: Ints  # [6] see FAMILY and those beside it
    numbers: Floats  # [7] see INTERVAL and those beside it

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.type_of)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One episode's work.

    Args:
        types: Names of the T task types.
        cluster: Where it runs.
        arrays: Everything that compiled code reads.
        seed: The seed that planned it.
        labels: Names of the n tasks; derived from type and index when empty.
    """

    types: tuple[str, ...]
    cluster: Cluster
    arrays: WorkloadArrays
    seed: int
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(len(self.arrays.arrival) > 0, "a workload needs at least one job")
        require(
            bool(np.all(np.diff(self.arrays.arrival) >= 0)), "arrivals must be in ascending order"
        )

    @property
    def family(self) -> int:
        """``PLACEMENT``, ``ALLOCATION`` or ``CONFIGURATION``."""
        return int(self.arrays.rules[FAMILY])

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return len(self.arrays.arrival)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.arrays.type_of)

    def label(self, task: int) -> str:
        """Return the name of a task."""
        if self.labels:
            return self.labels[task]
        return f"{self.types[int(self.arrays.type_of[task])]}-{task}"


def topological(tasks: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the tasks in topological order, ties by index.

    Raises:
        ConfigError: When the edges form a cycle.
    """
    import networkx as nx

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(tasks))
    graph.add_edges_from(edges)
    require(nx.is_directed_acyclic_graph(graph), f"the graph has a cycle: {sorted(edges)[:20]}")
    return list(nx.lexicographical_topological_sort(graph))


def children_of(parent_ptr: Indices, parents: Indices) -> tuple[Indices, Indices]:
    """Return the edges by parent, as (child_ptr, children), children ascending.

    Args:
        parent_ptr: Shape [n + 1].
        parents: Shape [e].
    """
    n = len(parent_ptr) - 1
    counts = np.bincount(parents, minlength=n)
    child_ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    child = np.repeat(np.arange(n, dtype=np.int32), np.diff(parent_ptr))
    return child_ptr, child[np.argsort(parents, kind="stable")]


@njit
def upward_ranks(mean: Floats, parent_ptr: Indices, parents: Indices, moved: Floats) -> Floats:
    """Return the upward rank of each task: its mean duration plus the longest way on, shape [n].

    Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, equation 8.

    Args:
        mean: Mean duration of each task, s, tasks in topological order; shape [n].
        parent_ptr: Shape [n + 1].
        parents: Shape [e].
        moved: Mean seconds that the data of each edge take, shape [e].
    """
    rank = np.zeros(len(mean))
    for task in range(len(mean) - 1, -1, -1):
        rank[task] += mean[task]
        for i in range(parent_ptr[task], parent_ptr[task + 1]):
            p = parents[i]
            rank[p] = max(rank[p], moved[i] + rank[task])
    return rank


@lean
def seconds_on(w: WorkloadArrays, task: int, node: int) -> float:
    """Return the estimated seconds of a task whose profile is that of its type on a node."""
    t = w.type_of[task]
    column = w.profile_column[w.profile_of_type[t]] + w.column[node]
    return float(w.seconds[t, column] * w.scale[task])


@lean
def moving(w: WorkloadArrays, edge: int, source: int, target: int) -> float:
    """Return the seconds that the data of an edge take from node to node; 0 where they stay.

    Args:
        w: The workload.
        edge: Index into ``parents`` and ``data``.
        source: Node of the parent.
        target: Node of the child.
    """
    if source == target or w.data[edge] == 0.0:
        return 0.0
    return float(w.latency[source, target] + w.data[edge] / w.bandwidth[source, target])


@lean
def fits(w: WorkloadArrays, task: int, node: int) -> bool:
    """Return whether an empty node could hold a task whose profile is that of its type."""
    p = w.profile_of_type[w.type_of[task]]
    return bool(
        w.demand[p, CPUS] <= w.capacity[node, CPUS] + 1e-9
        and w.demand[p, MEMORY] <= w.capacity[node, MEMORY] + 1e-9
        and w.demand[p, GPUS] <= w.capacity[node, GPUS] + 1e-9
    )


@njit
def _order_and_twins(
    job_ptr: Indices,
    rank: Floats,
    type_of: Indices,
    scale: Floats,
    parent_ptr: Indices,
    parents: Indices,
    data: Floats,
) -> tuple[Indices, Indices]:
    n = len(rank)
    by_rank = np.empty(n, dtype=np.int32)
    twin = np.full(n, -1, dtype=np.int32)
    for job in range(len(job_ptr) - 1):
        first, last = job_ptr[job], job_ptr[job + 1]
        # A stable sort of the negated ranks: ties stay in the order of ids.
        by_rank[first:last] = first + np.argsort(-rank[first:last], kind="mergesort")
        for i in range(first, last - 1):
            a = by_rank[i]
            for j in range(i + 1, last):
                b = by_rank[j]
                if rank[b] != rank[a]:
                    break
                if type_of[a] != type_of[b] or scale[a] != scale[b]:
                    continue
                degree = parent_ptr[a + 1] - parent_ptr[a]
                if parent_ptr[b + 1] - parent_ptr[b] != degree:
                    continue
                same = True
                for k in range(degree):
                    mine, other = parent_ptr[a] + k, parent_ptr[b] + k
                    if parents[mine] != parents[other] or data[mine] != data[other]:
                        same = False
                if same:
                    twin[a] = b
                    break
    return by_rank, twin


def feasible(demand: Floats, capacity: Floats) -> npt.NDArray[np.bool_]:
    """Return which profile some node could ever hold on which node, shape [P, M]."""
    return np.asarray((demand[:, None, :] <= capacity[None, :, :] + 1e-9).all(axis=2))


def assemble(
    *,
    family: int,
    type_of: npt.ArrayLike,
    job_ptr: npt.ArrayLike,
    parent_ptr: npt.ArrayLike,
    parents: npt.ArrayLike,
    data: npt.ArrayLike,
    arrival: npt.ArrayLike,
    scale: npt.ArrayLike,
    seconds: npt.ArrayLike,
    demand: npt.ArrayLike,
    cluster: Cluster,
    profile_of_type: npt.ArrayLike | None = None,
    by_profile: bool = False,
    deadline: npt.ArrayLike | None = None,
    size_bin: npt.ArrayLike | None = None,
    type_rank: Floats | None = None,
    mean_link: str = "ordered_pairs",
    pull: bool = False,
    duplicate: bool = False,
    slots: int = 32,
    advice: bool = True,
    in_flight: int = 0,
    interval: float = np.inf,
    startup: float = 0.0,
    slo: float = np.inf,
    fleets: Floats | None = None,
) -> WorkloadArrays:
    """Return the arrays of a workload with everything that follows from its structure.

    Args:
        family: ``PLACEMENT``, ``ALLOCATION`` or ``CONFIGURATION``.
        type_of: Type of each task, shape [n]; the tasks of a job contiguous and topological.
        job_ptr: First task of each job and the end, shape [J + 1].
        parent_ptr: Shape [n + 1].
        parents: Shape [e].
        data: Bytes of each edge, in the order of ``parents``; shape [e].
        arrival: Shape [J], s.
        scale: Estimated relative size of each task, shape [n].
        seconds: Estimated seconds at scale 1: per type and kind of node in the order of
            ``cluster.kinds``, or, ``by_profile``, per type and profile; shape [T, C].
        demand: Shape [P, 3].
        cluster: Where it runs.
        profile_of_type: The profile of each type, shape [T]; -1 where a policy chooses it,
            everywhere when absent.
        by_profile: Whether durations depend on the profile and not on the node.
        deadline: Seconds after arrival, shape [J].
        size_bin: Shape [J].
        type_rank: Upward rank of each type; the mean over its tasks when absent.
        mean_link: How ranks average the links: ``ordered_pairs`` of different nodes, as
            Topcuoglu et al. do, or ``unordered_pairs_with_self``, which counts each node's
            free transfer to itself.
        pull: Whether data move only once a task has been placed.
        duplicate: Whether a placement may execute one parent again.
        slots: Slots for ready tasks.
        advice: Whether features tell what a HEFT re-plan would do.
        in_flight: Jobs that a closed system keeps in flight; the next arrives when one is done.
        interval: Seconds between the epochs of an allocation.
        startup: Seconds that an executor takes to start.
        slo: Seconds within which a job should be done; a deadline of its own goes before.
        fleets: Configurations of executors to choose from, shape [Q, 4]; the nodes on which
            tasks run are then the executors.

    Raises:
        ConfigError: When a job has no tasks, a type has no profile, or tasks fit nowhere.
    """
    types = np.asarray(type_of, dtype=np.int32)
    pointers = np.asarray(parent_ptr, dtype=np.int32)
    upper = np.asarray(parents, dtype=np.int32)
    sent = np.asarray(data, dtype=np.float64)
    first = np.asarray(job_ptr, dtype=np.int32)
    came = np.asarray(arrival, dtype=np.float64)
    size = np.asarray(scale, dtype=np.float64)
    table = np.ascontiguousarray(seconds, dtype=np.float64)
    wanted = np.ascontiguousarray(demand, dtype=np.float64)
    room = cluster.capacity() if fleets is None else _executors(fleets)
    T, M, J = len(table), len(room), len(came)
    fixed = np.full(T, -1) if profile_of_type is None else np.asarray(profile_of_type, dtype=int)
    empty = np.flatnonzero(np.diff(first) < 1)
    require(len(empty) == 0, f"job {empty[0] if len(empty) else ''} has no tasks")
    require(
        family == ALLOCATION or bool((fixed >= 0).all()),
        "profile_of_type must name a profile for every type where no policy chooses it",
    )
    kinds = cluster.kinds
    if by_profile or fleets is not None:
        column = np.zeros(M, dtype=np.int32)
    else:
        column = np.array([kinds.index(n.kind) for n in cluster.nodes], dtype=np.int32)
    shift = np.arange(len(wanted)) if by_profile else np.zeros(len(wanted))
    fits = feasible(wanted, room)
    require(
        bool(fits.any()),
        "no resource profile fits any node of the cluster",
        hint="give the cluster more cpus or memory, or add a smaller profile",
    )
    latency, bandwidth = cluster.latency(), cluster.bandwidth()
    if fleets is not None:
        latency, bandwidth = np.zeros((M, M)), np.full((M, M), np.inf)
    mean_latency, mean_cost = _mean_link(latency, bandwidth, mean_link)
    if fleets is not None:
        held = feasible(wanted[fixed], _shapes(fleets))
        for t, q in np.argwhere(~held)[:1]:
            require(
                False,
                f"an executor of configuration {q} cannot hold a task of type {t}: it asks for "
                f"{wanted[fixed[t]]}",
                hint="leave configurations out that are too small for a task",
            )
    if by_profile:
        mean_of_type = table[:, fits.any(axis=1)].mean(axis=1)
    else:
        allowed = fits[fixed]
        allowed[fixed < 0] = fits.any(axis=0)
        for t in np.flatnonzero(~allowed.any(axis=1)):
            require(False, f"no node can hold a task of type {t}: it asks for {wanted[fixed[t]]}")
        means = (table[:, column] * allowed).sum(axis=1) / allowed.sum(axis=1)
        mean_of_type = means if fleets is None else table.mean(axis=1)
    rank = upward_ranks(
        mean_of_type[types] * size,
        pointers,
        upper,
        np.where(sent > 0, mean_latency, 0.0) + sent * mean_cost,
    )
    by_rank, twin = _order_and_twins(first, rank, types, size, pointers, upper, sent)
    if type_rank is None:
        counts = np.maximum(np.bincount(types, minlength=T), 1)
        type_rank = np.bincount(types, weights=rank, minlength=T) / counts
    child_ptr, children = children_of(pointers, upper)
    return WorkloadArrays(
        type_of=types,
        job_of=np.repeat(np.arange(J, dtype=np.int32), np.diff(first)),
        parent_ptr=pointers,
        parents=upper,
        data=sent,
        child_ptr=child_ptr,
        children=children,
        job_ptr=first,
        arrival=came,
        deadline=np.full(J, float(slo))
        if deadline is None
        else np.asarray(deadline, dtype=np.float64),
        scale=size,
        rank=rank,
        by_rank=by_rank,
        twin=twin,
        size_bin=np.zeros(J, dtype=np.int32)
        if size_bin is None
        else np.asarray(size_bin, dtype=np.int32),
        seconds=table,
        mean_seconds=np.ascontiguousarray(mean_of_type),
        profile_of_type=np.asarray(fixed, dtype=np.int32),
        profile_column=shift.astype(np.int32),
        demand=wanted,
        typical=np.ones(T),
        order=np.array(sorted(range(T), key=lambda t: (-type_rank[t], t)), dtype=np.int32),
        type_rank=np.asarray(type_rank, dtype=np.float64),
        capacity=np.ascontiguousarray(room, dtype=np.float64),
        column=column,
        bandwidth=bandwidth,
        latency=latency,
        fleets=np.zeros((0, 4)) if fleets is None else fleets,
        hosts=np.zeros((0, 3)) if fleets is None else cluster.capacity(),
        rules=np.array([family, pull, duplicate, slots, advice, in_flight], dtype=np.int64),
        numbers=np.array(
            [interval, startup, mean_latency, mean_cost, *room[:, :2].sum(axis=0), slo],
            dtype=np.float64,
        ),
    )


def _shapes(fleets: Floats) -> Floats:
    """Return the capacity of an executor of each configuration, shape [Q, 3]."""
    return np.column_stack([fleets[:, CORES], fleets[:, BYTES], np.zeros(len(fleets))])


def _executors(fleets: Floats) -> Floats:
    """Return the capacity of as many of the largest executors as can be asked for."""
    return np.tile(_shapes(fleets).max(axis=0), (int(fleets[:, INSTANCES].max()), 1))


def _mean_link(latency: Floats, bandwidth: Floats, convention: str) -> tuple[float, float]:
    require(
        convention in ("ordered_pairs", "unordered_pairs_with_self"),
        f"mean_link must be 'ordered_pairs' or 'unordered_pairs_with_self', got {convention!r}",
    )
    M = len(latency)
    if convention == "ordered_pairs":
        chosen, count = ~np.eye(M, dtype=bool), M * (M - 1)
    else:
        chosen, count = np.triu(np.ones((M, M), dtype=bool), 1), M * (M + 1) // 2
    if count == 0:
        return 0.0, 0.0
    return float(latency[chosen].sum() / count), float((1.0 / bandwidth[chosen]).sum() / count)
