"""Workflows: graphs of tasks that come one by one or together (family *placement*)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, NotFoundError, require
from toolkit.paths import conf_dir
from toolkit.reward import WorkflowWeights
from toolkit.scenarios.disturbances import Disturbances, check_estimates, luck
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.workflows import wfformat
from toolkit.workflows.graph import Graph, Span, check_span, drawn, pointers
from toolkit.workload import PLACEMENT, Floats, Indices, Workload, assemble, feasible, upward_ranks

GIB = 2**30

_SAMPLE = 256
"""Jobs of which the mean work is taken where a load has to become a rate."""


@runtime_checkable
class Source(Protocol):
    """Whatever draws the graph of a job, e.g. the generators of ``toolkit.workflows``."""

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """One of several sources of graphs.

    Args:
        graphs: The source.
        share: How often it is drawn from, relative to the others.
    """

    graphs: Source
    share: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.share < math.inf, f"a share must be positive, got {self.share}")


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Recorded runs of real workflows, each drawn equally often.

    Their durations count as those of a node of speed 1, and what the files say of the cores and
    the memory of a type is what its tasks ask for.

    Args:
        folder: A folder of WfFormat files, or one such file; where absent, ``data/wfformat``
            below ``$TOOLKIT_REFERENCE_DATA``, else of the folder ``shared`` beside the checkout.
    """

    folder: str | None = None

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one of the recorded graphs."""
        return self._read[int(rng.integers(len(self._read)))][0]

    @cached_property
    def asked(self) -> dict[str, tuple[float, float]]:
        """Cores and bytes that the tasks of each type ask for; the most of all instances."""
        most: dict[str, tuple[float, float]] = {}
        for graph, facts in self._read:
            for name, cores, memory in zip(graph.types, facts.cores, facts.memory, strict=True):
                before = most.get(name, (1.0, 0.0))
                most[name] = (max(before[0], cores), max(before[1], memory or 0.0))
        return most

    @cached_property
    def _read(self) -> list[tuple[Graph, wfformat.Facts]]:
        try:
            files = wfformat.folder(self._folder)
        except NotFoundError as error:
            raise ConfigError(
                f"no recorded workflows: {error.message}",
                hint="name a folder of WfFormat files, for instance a clone of "
                "github.com/wfcommons/WfInstances: scenario.graphs.folder=<folder>",
            ) from None
        found = [wfformat.read(file) for file in files]
        return [(graph, facts) for graph, _, facts in found]

    @property
    def _folder(self) -> Path:
        if self.folder is not None:
            return Path(self.folder).expanduser()
        named = os.environ.get("TOOLKIT_REFERENCE_DATA")
        root = Path(named).expanduser() if named else conf_dir().parents[1] / "shared"
        return root / "data" / "wfformat"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Nodes of one kind; a node is one accelerator or one machine.

    Args:
        kind: Name of the kind.
        count: How many there are.
        memory: Of each, GiB.
        speed: How many times as fast as the node on which work is measured.
        bandwidth: Of the link of each, bytes/s; a transfer goes at the lesser of its two ends.
        latency: Seconds that the link adds at each end of a transfer.
        gpus: Of each; where every kind has some, each task takes one.
        cpus: Of each; a task takes one, or what its recording says.
    """

    kind: str
    count: int
    memory: float
    speed: float = 1.0
    bandwidth: float = math.inf
    latency: float = 0.0
    gpus: float = 0.0
    cpus: float = 1.0

    def __post_init__(self) -> None:
        require(self.count >= 1, f"there must be at least 1 {self.kind!r}, got {self.count}")
        require(
            0 < self.speed < math.inf, f"{self.kind!r} needs a positive speed, got {self.speed}"
        )


@dataclass(frozen=True, kw_only=True)
class Machines:
    """A cluster of several kinds of nodes, and how fast each kind does each type of task.

    Args:
        groups: The kinds.
        affinity: Spread of the factor by which the duration of a type differs on a kind, which
            is log-normal with mean one: standard deviation of its logarithm. At 0 a kind is as
            much faster than another for every type (related machines), above it is not
            (unrelated machines).
        seed: Draws these factors: they belong to the machines and are the same in all episodes.
    """

    groups: Sequence[Group]
    affinity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        kinds = [g.kind for g in self.groups]
        require(len(kinds) > 0, "a cluster needs at least one group of nodes")
        require(len(set(kinds)) == len(kinds), f"kinds must be unique, got {kinds}")
        require(0 <= self.affinity < math.inf, f"affinity must be 0 or more, got {self.affinity}")

    def cluster(self, *, unit_links: bool = False) -> Cluster:
        """Return the nodes, group by group.

        Args:
            unit_links: Whether every link has bandwidth 1 and no latency, for graphs whose edges
                are weighed in seconds.
        """
        return Cluster(
            nodes=tuple(
                Node(
                    name=f"{g.kind}-{i}",
                    cpus=g.cpus,
                    memory=g.memory * GIB,
                    gpus=g.gpus,
                    kind=g.kind,
                    bandwidth=1.0 if unit_links else g.bandwidth,
                    latency=0.0 if unit_links else g.latency,
                )
                for g in self.groups
                for i in range(g.count)
            )
        )

    @property
    def accelerated(self) -> bool:
        """Whether every node has accelerators."""
        return all(g.gpus > 0 for g in self.groups)

    def seconds(self, types: Sequence[str]) -> Floats:
        """Return the seconds of one second of work of each type on each kind, shape [T, C]."""
        table = np.empty((len(types), len(self.groups)))
        for t, name in enumerate(types):
            for c, group in enumerate(self.groups):
                rng = generator(self.seed, "affinity", name, group.kind)
                table[t, c] = luck(1, self.affinity, rng)[0] / group.speed
        return table

    def per_node(self, table: Floats) -> Floats:
        """Return a table of types and kinds as one of types and nodes, shape [T, M]."""
        return np.repeat(table, [g.count for g in self.groups], axis=1)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """All jobs are there from the start."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Jobs arrive one by one, a Poisson stream; the first at once.

    Args:
        rate: Mean arrivals per second.
        load: Instead of a rate: the share of what the cluster can do in the long run that
            arrives. Above 1 it falls behind for ever.
    """

    rate: float | None = None
    load: float | None = None

    def __post_init__(self) -> None:
        require(
            (self.rate is None) != (self.load is None),
            f"a stream needs a rate or a load, got rate {self.rate} and load {self.load}",
        )
        for name in ("rate", "load"):
            value = getattr(self, name)
            require(
                value is None or 0 < value < math.inf,
                f"{name} of a stream must be positive, got {value}",
            )


class _Jobs(NamedTuple):
    """The graphs of an episode end to end: ``n`` tasks, ``e`` edges, ``J`` jobs."""

    types: tuple[str, ...]
    type_of: Indices  # [n]
    work: Floats  # [n] s on a node of speed 1
    job_ptr: Indices  # [J + 1]
    parent_ptr: Indices  # [n + 1]
    parents: Indices  # [e]
    data: Floats  # [e] bytes, or seconds
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Workflows:
    """Jobs that are graphs of tasks, on a cluster of unequal nodes (paper C; family *placement*).

    A policy chooses a ready task, and then a node for it.

    Args:
        name: Name of the scenario.
        graphs: Where the graphs come from; several sources with their shares.
        jobs: Jobs per episode, or (low, high) of one draw per episode.
        arrivals: When they arrive.
        cluster: Where they run.
        weights: Weights of the reward of paper C.
        horizon: Seconds after which an episode is truncated.
        sigma: Spread of the luck of durations, log-normal with mean one: standard deviation of
            its logarithm.
        ccr: Mean transfer by mean duration on this cluster, to which the data of every job are
            scaled (Topcuoglu et al., TPDS 2002, doi:10.1109/71.993206, section 5.2; latencies do
            not count). Where absent, the data stay as they came.
        edge_kind: ``bytes``, or ``time`` where edges are weighed in seconds, which any two nodes
            take to hand them over.
        memory: GiB that the tasks of a type need, by its name; else what a recording says, or
            nothing.
        deadline: Of each job, as a multiple of its longest path by mean durations on the fastest
            nodes without transfers, counted from its arrival; no job has one where absent.
        slo: Seconds within which a job should be done.
        duplicate: Whether a placement may execute one parent again.
        pull: Whether data move only once a task has been placed.
        slots: Slots for ready tasks.
        advice: Whether features tell what a HEFT re-plan would do.
        estimates: What policies are told about durations: ``exact``, ``mean`` or ``blind``.
        disturbances: What goes wrong.
    """

    name: str
    graphs: Source | Sequence[Share]
    jobs: Span
    arrivals: Batch | Stream
    cluster: Machines
    weights: WorkflowWeights
    horizon: float
    sigma: float = 0.0
    ccr: float | None = None
    edge_kind: str = "bytes"
    memory: Mapping[str, float] | None = None
    deadline: float | None = None
    slo: float | None = None
    duplicate: bool = False
    pull: bool = False
    slots: int = 32
    advice: bool = True
    estimates: str = "mean"
    disturbances: Disturbances = field(default_factory=Disturbances)

    def __post_init__(self) -> None:
        check_span("jobs", self.jobs, 1)
        check_estimates(self.estimates)
        require(
            self.edge_kind in ("bytes", "time"),
            f"edge_kind must be 'bytes' or 'time', got {self.edge_kind!r}",
        )
        require(len(self._shares) > 0, "graphs need at least one source")
        require(0 <= self.sigma < math.inf, f"sigma must be 0 or more, got {self.sigma}")
        require(self.horizon > 0, f"horizon must be positive (seconds), got {self.horizon}")
        require(self.slots >= 1, f"slots must be at least 1, got {self.slots}")
        require(self.ccr is None or 0 <= self.ccr < math.inf, f"ccr must be >= 0, got {self.ccr}")
        for name in ("deadline", "slo"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be positive, got {value}")
        if self.ccr is not None and self.edge_kind == "bytes":
            endless = [g.kind for g in self.cluster.groups if g.bandwidth == math.inf]
            require(
                not endless,
                f"a ccr needs links of finite bandwidth, but {endless} have none",
                hint="give every group a bandwidth (bytes/s), or edge_kind=time",
            )

    def plan(self, seed: int) -> Workload:
        """Return the jobs of one episode."""
        jobs = self._jobs(seed)
        table = self.cluster.seconds(jobs.types)
        demand, profile_of_type = self._demand(jobs.types)
        cluster = self._cluster
        work, told = jobs.work, table
        if self.estimates == "exact":
            work = self._true(work, seed)
        if self.estimates == "blind":
            work, told = np.ones_like(work), np.ones_like(table)
        return Workload(
            types=jobs.types,
            cluster=cluster,
            seed=seed,
            labels=jobs.labels,
            arrays=assemble(
                family=PLACEMENT,
                type_of=jobs.type_of,
                job_ptr=jobs.job_ptr,
                parent_ptr=jobs.parent_ptr,
                parents=jobs.parents,
                data=jobs.data,
                arrival=self._arrival(len(jobs.job_ptr) - 1, seed),
                scale=work,
                seconds=told,
                demand=demand,
                cluster=cluster,
                profile_of_type=profile_of_type,
                deadline=self._deadlines(jobs, table, demand[profile_of_type]),
                pull=self.pull,
                duplicate=self.duplicate,
                slots=self.slots,
                advice=self.advice,
                slo=math.inf if self.slo is None else self.slo,
            ),
        )

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return what the durations and delays of a planned workload really are.

        Args:
            workload: One that this scenario planned.
            seed: Draws luck, stragglers and outages. Estimates that are exact have told the luck
                and the stragglers of the seed of the plan already, so it is theirs that count.
        """
        if self.estimates == "exact":
            scale = workload.arrays.scale
        elif self.estimates == "mean":
            scale = self._true(workload.arrays.scale, seed)
        else:
            scale = self._true(self._jobs(workload.seed).work, seed)
        at_fault = self.disturbances
        return Truth(
            seconds=self.cluster.seconds(workload.types),
            scale=scale,
            start_delay=np.array([at_fault.start_delay]),
            seen_delay=np.array([at_fault.seen_delay]),
            outages=at_fault.outages(
                len(workload.cluster.nodes), self.horizon, generator(seed, "outages")
            ),
        )

    @cached_property
    def rate(self) -> float:
        """Mean arrivals per second; inf where all jobs arrive at once.

        A load is turned into a rate by the mean work of a job, taken over a sample that no
        episode changes, and by what all nodes can do of such work, each having its share of
        every type; that some types do not fit into the memory of some nodes is not counted.
        """
        if isinstance(self.arrivals, Batch):
            return math.inf
        load, rate = self.arrivals.load, self.arrivals.rate
        if load is None:
            return math.inf if rate is None else rate
        jobs = self._graphs(_SAMPLE, 0, "load")
        cores = np.array([self._asked(name)[0] for name in jobs.types])
        work = np.bincount(jobs.type_of, jobs.work, minlength=len(cores)) * cores / _SAMPLE
        require(work.sum() > 0, "a load needs tasks that take time; give a rate")
        per_core = self.cluster.per_node(self.cluster.seconds(jobs.types))
        slowness = work @ per_core / work.sum()
        capacity = np.array([n.cpus for n in self._cluster.nodes]) / slowness
        return float(load * capacity.sum() / work.sum())

    @cached_property
    def _cluster(self) -> Cluster:
        return self.cluster.cluster(unit_links=self.edge_kind == "time")

    @property
    def _shares(self) -> Sequence[Share]:
        # The sources themselves are no sequences.
        return self.graphs if isinstance(self.graphs, Sequence) else (Share(graphs=self.graphs),)

    def _true(self, work: Floats, seed: int) -> Floats:
        lucky = work * luck(len(work), self.sigma, generator(seed, "luck"))
        return self.disturbances.slow(lucky, generator(seed, "stragglers"))

    def _arrival(self, jobs: int, seed: int) -> Floats:
        if math.isinf(self.rate):
            return np.zeros(jobs)
        gaps = generator(seed, "arrivals").exponential(1.0 / self.rate, jobs)
        return np.asarray(np.cumsum(gaps) - gaps[0])

    def _jobs(self, seed: int) -> _Jobs:
        jobs = self._graphs(drawn(self.jobs, generator(seed, "jobs")), seed, "graphs")
        if self.ccr is None:
            return jobs
        return jobs._replace(data=self._communicating(jobs, self.ccr))

    def _graphs(self, count: int, seed: int, purpose: str) -> _Jobs:
        """Draw graphs and put them end to end; the first ones do not depend on the count."""
        shares = np.array([s.share for s in self._shares])
        which = generator(seed, purpose, "source").choice(
            len(shares), size=count, p=shares / shares.sum()
        )
        rngs = [generator(seed, purpose, i) for i in range(len(shares))]
        graphs = [self._shares[i].graphs.graph(rngs[i]) for i in which.tolist()]

        known = {name: i for i, name in enumerate(self._types)}
        numbers = {
            types: np.array([known.setdefault(t, len(known)) for t in types], dtype=np.int32)
            for types in dict.fromkeys(g.types for g in graphs)
        }
        job_ptr = pointers([g.tasks for g in graphs])
        edges = [g.edges for g in graphs]
        return _Jobs(
            types=tuple(known),
            type_of=np.concatenate([numbers[g.types][g.type_of] for g in graphs]),
            work=np.concatenate([g.work for g in graphs]),
            job_ptr=job_ptr,
            parent_ptr=pointers(np.concatenate([np.diff(g.parent_ptr) for g in graphs])),
            parents=np.concatenate([g.parents for g in graphs]) + np.repeat(job_ptr[:-1], edges),
            data=np.concatenate([g.data for g in graphs]),
            labels=tuple(name for g in graphs for name in g.labels)
            if all(g.labels for g in graphs)
            else (),
        )

    @cached_property
    def _types(self) -> tuple[str, ...]:
        """The types of every source, so that they are the same in all episodes."""
        names: dict[str, None] = {}
        for s in self._shares:
            if isinstance(s.graphs, Instances):
                names |= dict.fromkeys(s.graphs.asked)
            else:
                names |= dict.fromkeys(s.graphs.graph(generator(0, "types")).types)
        return tuple(names)

    def _communicating(self, jobs: _Jobs, ccr: float) -> Floats:
        """Return the data of the edges, those of each job scaled to a ratio, shape [e]."""
        nodes = len(self._cluster.nodes)
        links = self._cluster.bandwidth()[~np.eye(nodes, dtype=bool)]
        if nodes == 1 or len(jobs.data) == 0:
            return jobs.data
        count = len(jobs.job_ptr) - 1
        job_of = np.repeat(np.arange(count), np.diff(jobs.job_ptr))
        edge_of = job_of[np.repeat(np.arange(len(job_of)), np.diff(jobs.parent_ptr))]
        mean = self.cluster.per_node(self.cluster.seconds(jobs.types)).mean(axis=1)
        lasts = np.bincount(job_of, jobs.work * mean[jobs.type_of], count) / np.bincount(job_of)
        sent = np.bincount(edge_of, jobs.data, count) * (1.0 / links).mean()
        edges = np.bincount(edge_of, minlength=count)
        # A job that sends nothing has no ratio to scale.
        factor = np.divide(ccr * lasts * edges, sent, out=np.ones(count), where=sent > 0)
        return np.asarray(jobs.data * factor[edge_of])

    def _asked(self, name: str) -> tuple[float, float]:
        """Return the cores and the bytes that the tasks of a type ask for."""
        cores, memory = 1.0, 0.0
        for s in self._shares:
            if isinstance(s.graphs, Instances):
                own = s.graphs.asked.get(name, (1.0, 0.0))
                cores, memory = max(cores, own[0]), max(memory, own[1])
        if self.memory is not None and name in self.memory:
            memory = self.memory[name] * GIB
        return cores, memory

    def _demand(self, types: tuple[str, ...]) -> tuple[Floats, Indices]:
        """Return the resource profiles, shape [P, 3], and which each type has, shape [T]."""
        for name in self.memory or ():
            require(name in types, f"memory names no type {name!r}; types are {list(types)[:20]}")
        gpus = 1.0 if self.cluster.accelerated else 0.0
        rows = [(*self._asked(name), gpus) for name in types]
        wanted = sorted(set(rows))
        fits = np.asarray(feasible(np.array(wanted), self._cluster.capacity()).any(axis=1))
        for name, row in zip(types, rows, strict=True):
            require(
                bool(fits[wanted.index(row)]),
                f"no node can hold a task of type {name!r}: it asks for {row[0]:g} cpus and "
                f"{row[1] / GIB:.3g} GiB",
                hint="give some group of the cluster more cpus or memory",
            )
        return np.array(wanted), np.array([wanted.index(row) for row in rows], dtype=np.int32)

    def _deadlines(self, jobs: _Jobs, table: Floats, demand: Floats) -> Floats | None:
        if self.deadline is None:
            return None
        may = feasible(demand, self._cluster.capacity())
        fastest = np.where(may, self.cluster.per_node(table), np.inf).min(axis=1)
        path = upward_ranks(
            fastest[jobs.type_of] * jobs.work,
            jobs.parent_ptr,
            jobs.parents,
            np.zeros(len(jobs.parents)),
        )
        return np.asarray(self.deadline * np.maximum.reduceat(path, jobs.job_ptr[:-1]))
