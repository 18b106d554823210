"""Workload: the jobs, tasks and edges of one episode, and what is declared about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.cluster import Cluster
from toolkit.errors import require

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIZE_BINS = 3
"""Small, medium and large inputs: terciles of the job sizes that the scenario declares."""


class WorkloadArrays(NamedTuple):
    """The workload as flat arrays, the form in which compiled code reads it.

    ``n`` tasks of ``T`` types in ``J`` jobs, ``P`` resource profiles, ``M`` nodes. The tasks
    of a job are contiguous and in topological order.
    """

    type_of: Ints  # [n]
    job_of: Ints  # [n]
    parents: Ints  # [n] number of parents
    child_ptr: Ints  # [n + 1] into children
    children: Ints  # [edges]
    job_ptr: Ints  # [J + 1] into tasks
    arrival: Floats  # [J] s, ascending; engines read it, policies never see it
    scale: Floats  # [n] size ** exponent of the task's type
    size_bin: Ints  # [n] 0 small, 1 medium, 2 large
    cpus: Floats  # [P]
    memory: Floats  # [P] bytes
    seconds: Floats  # [T, P] estimated duration at scale 1
    typical: Floats  # [T] scale of a typical job
    order: Ints  # [T] types in descending upward rank
    rank: Floats  # [T] upward rank, s
    node_cpus: Floats  # [M]
    node_memory: Floats  # [M] bytes


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """What policies are told about durations; the truth stays in the engine.

    The estimated duration of a task of type t and size x under profile p is
    ``exp(intercept[t, p]) * (x / unit) ** exponent[t]`` seconds.

    Args:
        intercept: log seconds at ``size == unit``, shape [T, P].
        exponent: growth with size, shape [T].
        unit: size of a typical job.
    """

    intercept: Floats
    exponent: Floats
    unit: float

    @staticmethod
    def blind(types: int, profiles: int, unit: float) -> Estimates:
        """Return estimates that know nothing: one second for everything."""
        return Estimates(intercept=np.zeros((types, profiles)), exponent=np.zeros(types), unit=unit)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One episode's work. Built by ``Scenario.plan`` or from a recorded trace.

    Args:
        types: Names of the T process types.
        type_edges: Edges of the type graph, pairs of indices.
        profiles: Resource profiles, pairs of cpus and memory in bytes; shape [P, 2].
        cluster: Where it runs.
        features: Names of the data features of a job.
        job_features: What is known of each job's input when it arrives, shape [J, F].
        sizes: One number per job that its cost is thought to grow with, shape [J].
        bins: Upper bounds of the small and the medium size bin.
        arrival: When each job arrives, s, ascending, shape [J].
        estimates: What policies are told about durations.
        seed: The seed that planned it.
    """

    types: tuple[str, ...]
    type_edges: tuple[tuple[int, int], ...]
    profiles: Floats
    cluster: Cluster
    features: tuple[str, ...]
    job_features: Floats
    sizes: Floats
    bins: tuple[float, float]
    arrival: Floats
    estimates: Estimates
    seed: int
    arrays: WorkloadArrays = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require(len(self.arrival) > 0, "a workload needs at least one job")
        require(bool(np.all(np.diff(self.arrival) >= 0)), "arrivals must be in ascending order")
        require(bool(np.all(self.sizes > 0)), "job sizes must be positive")
        object.__setattr__(self, "arrays", _flatten(self))

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return len(self.arrival)

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.jobs * len(self.types)


def topological(types: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the types in topological order, ties by index.

    Raises:
        ConfigError: When the edges form a cycle.
    """
    import networkx as nx

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(types))
    graph.add_edges_from(edges)
    require(nx.is_directed_acyclic_graph(graph), f"the type graph has a cycle: {sorted(edges)}")
    return list(nx.lexicographical_topological_sort(graph))


def upward_rank(
    seconds: Floats, edges: Sequence[tuple[int, int]], topological_order: Sequence[int]
) -> Floats:
    """Return the upward rank of each type: its mean duration plus the longest way on.

    Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, equation 8, without transfers.

    Args:
        seconds: Mean duration per type, shape [T].
        edges: Type graph.
        topological_order: The types, parents first.
    """
    rank = seconds.astype(np.float64).copy()
    for t in reversed(list(topological_order)):
        onward = [rank[child] for parent, child in edges if parent == t]
        rank[t] += max(onward, default=0.0)
    return rank


def _flatten(w: Workload) -> WorkloadArrays:
    types, jobs = len(w.types), w.jobs
    order = topological(types, w.type_edges)
    position = {t: i for i, t in enumerate(order)}
    type_of = np.tile(np.array(order, dtype=np.int64), jobs)
    job_of = np.repeat(np.arange(jobs, dtype=np.int64), types)
    parents_of_type = np.zeros(types, dtype=np.int64)
    children_of: list[list[int]] = [[] for _ in range(types)]
    for parent, child in w.type_edges:
        parents_of_type[child] += 1
        children_of[position[parent]].append(position[child])
    degree = np.array([len(c) for c in children_of], dtype=np.int64)
    child_ptr = np.concatenate([[0], np.cumsum(np.tile(degree, jobs))]).astype(np.int64)
    offsets = np.array([c for cs in children_of for c in sorted(cs)], dtype=np.int64)
    first = np.arange(jobs, dtype=np.int64) * types
    children = (first[:, None] + offsets[None, :]).reshape(-1)
    relative = w.sizes / w.estimates.unit
    scale = relative[job_of] ** w.estimates.exponent[type_of]
    feasible = _feasible(w.profiles, w.cluster)
    seconds = np.exp(w.estimates.intercept)
    mean_seconds = seconds[:, feasible].mean(axis=1)
    rank = upward_rank(mean_seconds, w.type_edges, order)
    by_rank = sorted(range(types), key=lambda t: (-rank[t], t))
    return WorkloadArrays(
        type_of=type_of,
        job_of=job_of,
        parents=parents_of_type[type_of],
        child_ptr=child_ptr,
        children=children,
        job_ptr=np.arange(jobs + 1, dtype=np.int64) * types,
        arrival=w.arrival.astype(np.float64),
        scale=scale.astype(np.float64),
        size_bin=np.searchsorted(np.array(w.bins), w.sizes, side="left")[job_of].astype(np.int64),
        cpus=np.ascontiguousarray(w.profiles[:, 0], dtype=np.float64),
        memory=np.ascontiguousarray(w.profiles[:, 1], dtype=np.float64),
        seconds=np.ascontiguousarray(seconds),
        typical=np.ones(types),
        order=np.array(by_rank, dtype=np.int64),
        rank=rank,
        node_cpus=np.array([m.cpus for m in w.cluster.nodes], dtype=np.float64),
        node_memory=np.array([m.memory for m in w.cluster.nodes], dtype=np.float64),
    )


def _feasible(profiles: Floats, cluster: Cluster) -> npt.NDArray[np.bool_]:
    fits = np.zeros(len(profiles), dtype=bool)
    for node in cluster.nodes:
        fits |= (profiles[:, 0] <= node.cpus) & (profiles[:, 1] <= node.memory)
    require(
        bool(fits.any()),
        "no resource profile fits any node of the cluster",
        hint="give the cluster more cpus or memory, or add a smaller profile",
    )
    return fits
