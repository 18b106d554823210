"""Batches: micro-batches of video frames on executors (family *configuration*)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import require
from toolkit.reward import BatchWeights
from toolkit.scenarios.disturbances import Disturbances, check_estimates, luck
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.workflows.graph import pointers
from toolkit.workload import (
    CONFIGURATION,
    Floats,
    Indices,
    Ints,
    Workload,
    WorkloadArrays,
    assemble,
)

MIB, GIB = 2**20, 2**30


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the pipeline that every batch passes, one task per partition.

    Args:
        name: What it does.
        seconds: Per frame, on one core with enough memory.
        overhead: Seconds per task, whatever its frames.
        parallel: Share of the work that a task spreads over all cores of its executor (Amdahl's
            law); the cores run other tasks all the same.
        memory: MiB that a task needs per frame. An executor's tasks have equal parts of its
            memory.
        spill: What a shortage costs: a task that needs twice what it has takes 1 + spill times
            as long, one that needs three times that 1 + 2 spill.
    """

    name: str
    seconds: float
    overhead: float = 0.0
    parallel: float = 0.0
    memory: float = 0.0
    spill: float = 1.0

    def __post_init__(self) -> None:
        for what in ("seconds", "overhead", "memory", "spill"):
            value = getattr(self, what)
            require(
                0 <= value < math.inf, f"{what} of {self.name!r} must be 0 or more, got {value}"
            )
        require(
            self.seconds + self.overhead > 0, f"the stage {self.name!r} needs seconds or overhead"
        )
        require(
            0 <= self.parallel <= 1,
            f"parallel of {self.name!r} must be from 0 to 1, got {self.parallel}",
        )

    def lasts(self, frames: int, cores: Floats, memory: Floats) -> Floats:
        """Return the seconds of a task on executors of several shapes, shape [S].

        Args:
            frames: Of its partition.
            cores: Of each shape of executor, shape [S].
            memory: MiB, shape [S].
        """
        alone = self.overhead + self.seconds * frames
        short = np.maximum(0.0, self.memory * frames / (memory / cores) - 1.0)
        spread = 1.0 - self.parallel + self.parallel / cores
        return np.asarray(alone * spread * (1.0 + self.spill * short))


@dataclass(frozen=True, kw_only=True)
class BatchWorkload(Workload):
    """Micro-batches.

    Args:
        frames: Frames per partition of each batch, shape [J].
        partitions: Partitions of each batch, shape [J].
    """

    frames: Ints
    partitions: Ints


@dataclass(frozen=True, kw_only=True)
class Batches:
    """A stream of micro-batches, each of which asks how it is to be run (paper B).

    Before each batch a policy chooses the cores and the memory of an executor and how many are
    asked for; executors of the shape that is there already stay, others have to start. The hosts
    grant as many as fit. An executor runs as many tasks at once as it has cores.

    Args:
        name: Name of the scenario.
        stages: The stages that a batch passes one after another. The tasks of a stage depend on
            all tasks of the stage before.
        batches: Batches per episode.
        startup: Seconds that an executor takes to start.
        weights: Weights of the reward of paper B.
        period: Seconds from one batch to the next; where absent the next comes when one is done.
        hosts: Machines of the cluster.
        host_cpus: CPUs of each.
        host_memory: GiB of each.
        cores: Cores per executor to choose from.
        memory: MiB per executor to choose from.
        instances: Numbers of executors to choose from.
        frames: Frames per partition, each equally likely for a batch.
        partitions: Numbers of partitions, each equally likely for a batch.
        repeats: Batches in a row with the same frames, as from a source that does not change;
            only where it does can it pay to start other executors.
        sigma: Spread of the luck of durations, log-normal with mean one: standard deviation of
            its logarithm.
        max_waiting: Seconds within which a batch should be done, and after which nobody waits
            for the last one any more.
        estimates: What policies are told about durations: ``exact``, ``mean`` or ``blind``.
        disturbances: What goes wrong; executors are preempted, never lost.
    """

    name: str
    stages: Sequence[Stage]
    batches: int
    startup: float
    weights: BatchWeights
    period: float | None = None
    hosts: int = 3
    host_cpus: float = 4
    host_memory: float = 8
    cores: Sequence[int] = (1, 2, 3)
    memory: Sequence[float] = (500, 750, 1000)
    instances: Sequence[int] = (5, 6, 7, 8)
    frames: Sequence[int] = (10, 20, 30, 40, 50, 60)
    partitions: Sequence[int] = (5, 6, 7, 8)
    repeats: int = 1
    sigma: float = 0.0
    max_waiting: float = 600.0
    estimates: str = "mean"
    disturbances: Disturbances = field(default_factory=Disturbances)

    def __post_init__(self) -> None:
        check_estimates(self.estimates)
        for name in ("batches", "hosts", "repeats"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, got {value}")
        for name in ("stages", "cores", "memory", "instances", "frames", "partitions"):
            values = getattr(self, name)
            require(len(values) > 0, f"{name} must name at least one")
            if name != "stages":
                require(min(values) > 0, f"{name} must be positive, got {list(values)}")
        names = [s.name for s in self.stages]
        require(len(set(names)) == len(names), f"names of stages must be unique, got {names}")
        require(0 <= self.startup < math.inf, f"startup must be 0 or more, got {self.startup}")
        require(0 <= self.sigma < math.inf, f"sigma must be 0 or more, got {self.sigma}")
        require(
            self.period is None or 0 < self.period < math.inf,
            f"period must be positive (seconds), got {self.period}",
        )
        require(
            0 < self.max_waiting < math.inf,
            f"max_waiting must be positive (seconds), got {self.max_waiting}",
        )
        require(
            math.isinf(self.disturbances.losses),
            "executors cannot be lost in a scenario of batches",
            hint="use preemptions, which kill what runs on them",
        )

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""
        if self.period is None:
            return self.batches * self.max_waiting
        return (self.batches - 1) * self.period + self.max_waiting

    @property
    def cluster(self) -> Cluster:
        """The hosts of the executors."""
        return Cluster(
            nodes=tuple(
                Node(name=f"host-{i}", cpus=self.host_cpus, memory=self.host_memory * GIB)
                for i in range(self.hosts)
            )
        )

    @property
    def shapes(self) -> list[tuple[int, float]]:
        """Cores and MiB of every executor that can be asked for, in the order of columns."""
        return list(itertools.product(self.cores, self.memory))

    @property
    def fleets(self) -> Floats:
        """The configurations to choose from, shape [Q, 4]: see ``toolkit.workload.SHAPE``."""
        return np.array(
            [
                [shape, cores, memory * MIB, count]
                for shape, (cores, memory) in enumerate(self.shapes)
                for count in self.instances
            ],
            dtype=np.float64,
        )

    @property
    def unit(self) -> float:
        """Frames of a partition of size 1: the mean."""
        return float(np.mean(list(self.frames)))

    def plan(self, seed: int) -> BatchWorkload:
        """Return the batches of one episode."""
        rng = generator(seed, "batches")
        frames = rng.choice(list(self.frames), size=-(-self.batches // self.repeats))
        frames = np.repeat(frames, self.repeats)[: self.batches].astype(np.int64)
        partitions = generator(seed, "partitions").choice(list(self.partitions), self.batches)
        return BatchWorkload(
            types=tuple(f"{s.name}@{f}" for f in self._levels for s in self.stages),
            cluster=self.cluster,
            seed=seed,
            frames=frames,
            partitions=partitions.astype(np.int64),
            arrays=self._arrays(frames, partitions, seed),
        )

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return what the durations and delays of a planned workload really are.

        Args:
            workload: One that this scenario planned.
            seed: Draws luck, stragglers and preemptions. Estimates that are exact have told the
                luck and the stragglers of the seed of the plan already, so it is theirs that
                count.
        """
        level = workload.arrays.type_of // len(self.stages)
        size = np.array(self._levels)[level] / self.unit
        at_fault = self.disturbances
        return Truth(
            seconds=self._seconds(),
            scale=self._true(size, workload.seed if self.estimates == "exact" else seed),
            start_delay=np.array([at_fault.start_delay]),
            seen_delay=np.array([at_fault.seen_delay]),
            startup=self.startup,
            outages=at_fault.outages(
                len(workload.arrays.capacity), self.horizon, generator(seed, "outages")
            ),
        )

    def _true(self, size: Floats, seed: int) -> Floats:
        lucky = size * luck(len(size), self.sigma, generator(seed, "luck"))
        return self.disturbances.slow(lucky, generator(seed, "stragglers"))

    @property
    def _levels(self) -> list[int]:
        return sorted(set(self.frames))

    def _seconds(self) -> Floats:
        """Return the seconds at size 1 of every stage at every number of frames, shape [T, S].

        Whether memory is short depends on the frames and on the executor together, so that each
        number of frames has types of its own.
        """
        shapes = np.array(self.shapes, dtype=np.float64)
        rows = [
            stage.lasts(frames, shapes[:, 0], shapes[:, 1]) * self.unit / frames
            for frames in self._levels
            for stage in self.stages
        ]
        return np.stack(rows)

    def _arrays(self, frames: Ints, partitions: Ints, seed: int) -> WorkloadArrays:
        levels, stages = self._levels, len(self.stages)
        table, startup = self._seconds(), self.startup
        tasks = partitions * stages
        job_ptr = pointers(tasks.tolist())
        structures = {p: _structure(p, stages) for p in sorted(set(partitions.tolist()))}
        of_batch = [structures[p] for p in partitions.tolist()]
        edges = [len(parents) for _, _, parents in of_batch]
        level = np.repeat(np.searchsorted(levels, frames), tasks)
        size = np.repeat(frames, tasks) / self.unit
        if self.estimates == "exact":
            size = self._true(size, seed)
        if self.estimates == "blind":
            size, table, startup = np.ones_like(size), np.ones_like(table), 1.0
        closed = self.period is None
        return assemble(
            family=CONFIGURATION,
            type_of=level * stages + np.concatenate([stage for stage, _, _ in of_batch]),
            job_ptr=job_ptr,
            parent_ptr=pointers(np.concatenate([degree for _, degree, _ in of_batch])),
            parents=np.concatenate([parents for _, _, parents in of_batch])
            + np.repeat(job_ptr[:-1], edges),
            data=np.zeros(sum(edges)),
            arrival=np.arange(self.batches) * (self.period or 0.0),
            scale=size,
            seconds=table,
            demand=[[1.0, 0.0, 0.0]],
            cluster=self.cluster,
            profile_of_type=np.zeros(len(table), dtype=np.int32),
            size_bin=np.searchsorted(np.quantile(list(self.frames), [1 / 3, 2 / 3]), frames),
            in_flight=1 if closed else 0,
            startup=startup,
            slo=self.max_waiting,
            fleets=self.fleets,
        )


def _structure(partitions: int, stages: int) -> tuple[Indices, Indices, Indices]:
    """Return stage and number of parents of each task of a batch, and the parents."""
    n = partitions * stages
    stage = np.repeat(np.arange(stages, dtype=np.int32), partitions)
    degree = np.where(stage > 0, partitions, 0).astype(np.int32)
    before = (np.arange(n - partitions) // partitions * partitions).astype(np.int32)
    parents = before[:, None] + np.arange(partitions, dtype=np.int32)[None, :]
    return stage, degree, parents.reshape(-1)
