"""Pipelines: a stream of instances of one type graph (family *allocation*)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, require
from toolkit.reward import Weights
from toolkit.scenarios.disturbances import Disturbances, check_estimates, luck
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.workload import (
    ALLOCATION,
    Floats,
    Ints,
    Workload,
    WorkloadArrays,
    assemble,
    feasible,
    topological,
    upward_ranks,
)

MIB = 2**20


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

    @staticmethod
    def measured(
        type_of: Ints, profile: Ints, sizes: Floats, seconds: Floats, types: int, profiles: int,
        unit: float,
    ) -> Estimates:  # fmt: skip
        """Return what a few executions of known size say: a level per profile, a slope per type.

        A pair of type and profile that was never observed takes the level of the type's fastest
        observed profile: it is masked wherever it does not fit, and a hope elsewhere.

        Args:
            type_of: Process type of each execution, e.g. of a sweep; shape [n].
            profile: Resource profile, shape [n].
            sizes: Size of its job, shape [n].
            seconds: How long it took, shape [n].
            types: Number of process types.
            profiles: Number of resource profiles.
            unit: Size of a typical job.
        """
        intercept = np.zeros((types, profiles))
        exponent = np.ones(types)
        log_size, y = np.log(sizes / unit), np.log(seconds)
        for t in range(types):
            mine = type_of == t
            seen = np.unique(profile[mine])
            require(len(seen) > 0, f"process type {t} was never observed")
            # Slope within profiles: both sides centred on the profile's own mean.
            dx, dy = log_size[mine].copy(), y[mine].copy()
            for p in seen:
                of_p = profile[mine] == p
                dx[of_p] -= dx[of_p].mean()
                dy[of_p] -= dy[of_p].mean()
            if float(dx @ dx) > 1e-9:
                exponent[t] = float(np.clip(dx @ dy / (dx @ dx), 0.0, 3.0))
            for p in seen:
                of_p = mine & (profile == p)
                intercept[t, p] = float((y[of_p] - exponent[t] * log_size[of_p]).mean())
            missing = np.setdiff1d(np.arange(profiles), seen)
            intercept[t, missing] = intercept[t, seen].min()
        return Estimates(intercept=intercept, exponent=exponent, unit=unit)


@dataclass(frozen=True, kw_only=True)
class PipelineWorkload(Workload):
    """Instances of one type graph.

    Args:
        type_edges: Edges of the type graph, pairs of indices.
        profiles: Resource profiles, pairs of cpus and memory in bytes; shape [P, 2].
        features: Names of the data features of a job.
        job_features: What is known of each job's input when it arrives, shape [J, F].
        sizes: One number per job that its cost is thought to grow with, shape [J].
        bins: Upper bounds of the small and the medium size bin.
        estimates: What policies are told about durations.
    """

    type_edges: tuple[tuple[int, int], ...]
    profiles: Floats
    features: tuple[str, ...]
    job_features: Floats
    sizes: Floats
    bins: tuple[float, float]
    estimates: Estimates

    @property
    def arrival(self) -> Floats:
        """When each job arrives, s, ascending, shape [J]."""
        return self.arrays.arrival


@dataclass(frozen=True, kw_only=True)
class Feature:
    """How one data feature of the jobs varies.

    Args:
        name: Name of the feature, e.g. ``reads``.
        low: Least value.
        high: Greatest value.
        median: Median of a log-normal clipped to [low, high]; without it the feature is
            uniform on [low, high].
        spread: Standard deviation of the logarithm of the log-normal.
        step: Values are rounded to multiples of this; 0 rounds nothing.
    """

    name: str
    low: float
    high: float
    median: float | None = None
    spread: float = 0.0
    step: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 < self.low <= self.high,
            f"feature {self.name!r} needs 0 < low <= high, got {self.low} and {self.high}",
        )
        require(self.spread >= 0, f"feature {self.name!r} needs spread >= 0, got {self.spread}")

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw ``n`` values, shape [n]."""
        if self.median is None:
            values = rng.uniform(self.low, self.high, n)
        else:
            values = self.median * np.exp(self.spread * rng.standard_normal(n))
        if self.step > 0:
            values = np.round(values / self.step) * self.step
        return np.clip(values, self.low, self.high)

    def quantile(self, q: float) -> float:
        """Return the value below which a share ``q`` of the draws lies."""
        from scipy.stats import norm

        if self.median is None:
            return self.low + q * (self.high - self.low)
        return float(
            np.clip(self.median * math.exp(self.spread * float(norm.ppf(q))), self.low, self.high)
        )


@dataclass(frozen=True, kw_only=True)
class Process:
    """How long the tasks of a type take, where no recording says it.

    Args:
        type: The process type.
        seconds: Of a task of typical size on one CPU with enough memory.
        serial: Share of the work that more CPUs do not speed up (Amdahl's law).
        memory: MiB that a task needs.
        thrash: How many times as long a task takes with less memory than that.
        exponent: Growth with size.
    """

    type: str
    seconds: float
    serial: float = 0.0
    memory: float = 0.0
    thrash: float = 1.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        require(
            0 < self.seconds < math.inf,
            f"seconds of {self.type!r} must be positive, got {self.seconds}",
        )
        require(
            0 <= self.serial <= 1, f"serial of {self.type!r} must be from 0 to 1, got {self.serial}"
        )
        require(
            1 <= self.thrash < math.inf,
            f"thrash of {self.type!r} must be 1 or more, got {self.thrash}",
        )
        for name in ("memory", "exponent"):
            value = getattr(self, name)
            require(
                0 <= value < math.inf, f"{name} of {self.type!r} must be 0 or more, got {value}"
            )

    def lasts(self, profiles: Floats) -> Floats:
        """Return the seconds of a task of typical size under each profile, shape [P].

        Args:
            profiles: CPUs and memory in bytes, shape [P, 2].
        """
        spread = self.serial + (1.0 - self.serial) / profiles[:, 0]
        short = profiles[:, 1] < self.memory * MIB
        return np.asarray(self.seconds * spread * np.where(short, self.thrash, 1.0))


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """An open stream of pipeline instances of one type graph (paper A; family *allocation*).

    Every ``interval`` seconds a policy chooses, for one process type after another, the
    resource profile of the tasks of that type submitted until the next interval.

    Args:
        name: Name of the scenario.
        types: Process types.
        edges: Pairs of type names, producer and consumer.
        profiles: Resource profiles, pairs of cpus and memory in MiB.
        cpus: CPUs of the node that work may use.
        memory: Memory of the node that work may reserve, MiB.
        jobs: Pipeline instances per episode.
        rate: Mean arrivals per second.
        burst: Instances that arrive at one instant, as a sequencer delivers its samples;
            the bursts are a Poisson stream. 1 is a Poisson stream of single instances.
        interval: Seconds between decision epochs.
        features: How the input data of the instances vary.
        size: Names of the features whose product is the size of a job.
        weights: Weights of the reward of paper A.
        horizon: Seconds after which an episode is truncated.
        in_flight: Instances that a closed system keeps in flight, the next arriving when one is
            done; 0 is an open system, in which ``rate`` and ``burst`` say when they arrive.
        processes: How long the tasks of each type take, so that the scenario runs without a
            recording; none where a recording says it.
        sigma: Spread of the luck of these durations, log-normal with mean one: standard
            deviation of its logarithm.
        cv: Coefficient of variation of the size of the jobs, which is log-normal then, with the
            typical size as its mean: the first feature of ``size`` is what makes up for the
            others, whatever its own bounds and spread. Where absent, sizes follow from the
            features as they are.
        estimates: What policies are told about the durations of ``processes``: ``exact``,
            ``mean`` or ``blind``.
        disturbances: What goes wrong where ``processes`` tell the durations; nothing when absent.
    """

    name: str
    types: Sequence[str]
    edges: Sequence[Sequence[str]]
    profiles: Sequence[Sequence[float]]
    cpus: float
    memory: float
    jobs: int
    rate: float
    burst: int
    interval: float
    features: Sequence[Feature]
    size: Sequence[str]
    weights: Weights
    horizon: float
    in_flight: int = 0
    processes: Sequence[Process] = ()
    sigma: float = 0.0
    cv: float | None = None
    estimates: str = "mean"
    disturbances: Disturbances | None = None

    def __post_init__(self) -> None:
        require(self.in_flight >= 0, f"in_flight must be 0 or more, got {self.in_flight}")
        require(self.jobs >= 1, f"jobs must be at least 1, got {self.jobs}")
        require(self.rate > 0, f"rate must be positive (arrivals per second), got {self.rate}")
        require(self.burst >= 1, f"burst must be at least 1 instance, got {self.burst}")
        require(self.interval > 0, f"interval must be positive (seconds), got {self.interval}")
        require(self.horizon > self.interval, "horizon must be longer than one interval")
        require(len(set(self.types)) == len(self.types), "process types must be unique")
        for edge in self.edges:
            require(len(edge) == 2, f"an edge is a pair of types, got {list(edge)}")
            for end in edge:
                require(end in self.types, f"edge {list(edge)} names no process type {end!r}")
        names = [f.name for f in self.features]
        for name in self.size:
            require(name in names, f"size names no feature {name!r}; features are {names}")
        for p in self.profiles:
            require(
                len(p) == 2 and min(p) > 0, f"a profile is [cpus, memory in MiB], got {list(p)}"
            )
        topological(len(self.types), self._type_edges)
        check_estimates(self.estimates)
        named = sorted(p.type for p in self.processes)
        require(
            not named or named == sorted(self.types),
            f"processes must tell of every type once; types are {sorted(self.types)}, got {named}",
        )
        require(0 <= self.sigma < math.inf, f"sigma must be 0 or more, got {self.sigma}")
        require(self.cv is None or 0 <= self.cv < math.inf, f"cv must be >= 0, got {self.cv}")
        require(self.cv is None or len(self.size) > 0, "a cv needs a feature in size")

    @property
    def _type_edges(self) -> tuple[tuple[int, int], ...]:
        index = {t: i for i, t in enumerate(self.types)}
        return tuple((index[a], index[b]) for a, b in self.edges)

    @property
    def cluster(self) -> Cluster:
        """The single node on which the work runs."""
        return Cluster(nodes=(Node(name="local", cpus=self.cpus, memory=self.memory * MIB),))

    @property
    def unit(self) -> float:
        """Size of a typical job: the product of the medians of its size features."""
        return self._size_quantile(0.5)

    def _size_quantile(self, q: float) -> float:
        by_name = {f.name: f for f in self.features}
        return math.prod(by_name[n].quantile(q) for n in self.size)

    def plan(
        self, seed: int, *, estimates: Estimates | None = None, cluster: Cluster | None = None
    ) -> PipelineWorkload:
        """Return the tasks, edges and input features of one episode without running anything.

        Args:
            seed: Same seed, same workload.
            estimates: What policies are told about durations; what ``processes`` say when
                absent, and nothing where there are none.
            cluster: Where it runs; the scenario's own node when absent.
        """
        rng = generator(seed, "workload")
        bursts = -(-self.jobs // self.burst)
        gaps = rng.exponential(self.burst / self.rate, bursts)
        arrival = np.repeat(np.cumsum(gaps) - gaps[0], self.burst)[: self.jobs]
        columns = [f.draw(self.jobs, generator(seed, "feature", f.name)) for f in self.features]
        features = np.stack(columns, axis=1)
        if self.cv is not None:
            self._vary(features, self.cv, generator(seed, "size"))
        if estimates is not None or not self.processes:
            return self.instances(features, arrival, seed, estimates=estimates, cluster=cluster)
        return self.instances(
            features,
            arrival,
            seed,
            estimates=self._told(),
            cluster=cluster,
            factor=self._luck(seed, self.jobs * len(self.types))
            if self.estimates == "exact"
            else None,
        )

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return how long the tasks of a planned workload truly take, as ``processes`` say.

        Args:
            workload: One that this scenario planned.
            seed: Draws the luck. Estimates that are exact have told the luck of the seed of the
                plan already, so it is that which counts.
        """
        require(
            len(self.processes) > 0,
            f"the scenario {self.name!r} has no processes, which tell how long its tasks take",
            hint="give it processes, or a calibration of a recording: toolkit calibrate",
        )
        if not isinstance(workload, PipelineWorkload):
            raise ConfigError("a scenario of pipelines knows the truth of pipelines only")
        w, known = workload.arrays, self._known()
        size = (workload.sizes / self.unit)[w.job_of] ** known.exponent[w.type_of]
        own = workload.seed if self.estimates == "exact" else seed
        scale = size * self._luck(own, len(size))
        at_fault = self.disturbances
        if at_fault is None:
            return Truth(seconds=np.exp(known.intercept), scale=scale)
        return Truth(
            seconds=np.exp(known.intercept),
            scale=scale,
            start_delay=np.array([at_fault.start_delay]),
            seen_delay=np.array([at_fault.seen_delay]),
            outages=at_fault.outages(
                len(workload.cluster.nodes), self.horizon, generator(seed, "outages")
            ),
        )

    def _luck(self, seed: int, tasks: int) -> Floats:
        drawn = luck(tasks, self.sigma, generator(seed, "luck"))
        if self.disturbances is None:
            return drawn
        return self.disturbances.slow(drawn, generator(seed, "stragglers"))

    def _known(self) -> Estimates:
        """Return the durations that ``processes`` say, but for luck."""
        profiles = self._profiles
        of = {p.type: p for p in self.processes}
        return Estimates(
            intercept=np.log(np.stack([of[t].lasts(profiles) for t in self.types])),
            exponent=np.array([of[t].exponent for t in self.types], dtype=np.float64),
            unit=self.unit,
        )

    def _told(self) -> Estimates:
        if self.estimates == "blind":
            return Estimates.blind(len(self.types), len(self.profiles), self.unit)
        return self._known()

    @property
    def _profiles(self) -> Floats:
        return np.array([[p[0], p[1] * MIB] for p in self.profiles], dtype=np.float64)

    @property
    def _bins(self) -> tuple[float, float]:
        """Terciles of the size of a job."""
        if self.cv is None:
            return self._size_quantile(1 / 3), self._size_quantile(2 / 3)
        from scipy.stats import norm

        spread = math.sqrt(math.log1p(self.cv**2))
        third = spread * float(norm.ppf(1 / 3))
        middle = self.unit * math.exp(-0.5 * spread * spread)
        return middle * math.exp(third), middle * math.exp(-third)

    def _vary(self, features: Floats, cv: float, rng: np.random.Generator) -> None:
        """Give the jobs log-normal sizes, in place; shape [J, F]."""
        names = [f.name for f in self.features]
        first, *others = [names.index(n) for n in self.size]
        sizes = self.unit * luck(len(features), math.sqrt(math.log1p(cv**2)), rng)
        step = self.features[first].step
        values = sizes / np.prod(features[:, others], axis=1)
        if step > 0:
            values = np.maximum(np.round(values / step), 1) * step
        features[:, first] = values

    def instances(
        self,
        job_features: Floats,
        arrival: Floats,
        seed: int,
        *,
        estimates: Estimates | None = None,
        cluster: Cluster | None = None,
        factor: Floats | None = None,
    ) -> PipelineWorkload:
        """Return the workload of given jobs.

        Args:
            job_features: Shape [J, F], in the order of ``features``.
            arrival: Shape [J], seconds.
            seed: Recorded with the workload.
            estimates: What policies are told about durations; nothing when absent.
            cluster: Where it runs; the scenario's own node when absent.
            factor: What is known of each task beyond its size, as a factor of its estimated
                duration, tasks job by job in topological order of their types; shape [n].
        """
        names = [f.name for f in self.features]
        columns = [names.index(n) for n in self.size]
        profiles = self._profiles
        told = estimates or Estimates.blind(len(self.types), len(profiles), self.unit)
        where = cluster or self.cluster
        sizes = np.prod(job_features[:, columns], axis=1)
        require(bool(np.all(sizes > 0)), "job sizes must be positive")
        bins = self._bins
        return PipelineWorkload(
            types=tuple(self.types),
            type_edges=self._type_edges,
            profiles=profiles,
            cluster=where,
            features=tuple(names),
            job_features=job_features,
            sizes=sizes,
            bins=bins,
            estimates=told,
            seed=seed,
            arrays=self._arrays(profiles, told, where, sizes, bins, arrival, factor),
        )

    def _arrays(
        self,
        profiles: Floats,
        told: Estimates,
        cluster: Cluster,
        sizes: Floats,
        bins: tuple[float, float],
        arrival: Floats,
        factor: Floats | None,
    ) -> WorkloadArrays:
        T, J = len(self.types), len(arrival)
        order = topological(T, self._type_edges)
        position = {t: i for i, t in enumerate(order)}
        above: list[list[int]] = [[] for _ in range(T)]
        for a, b in self._type_edges:
            above[position[b]].append(position[a])
        degree = np.array([len(p) for p in above])
        local = np.array([q for p in above for q in sorted(p)], dtype=np.int64)
        type_of = np.tile(np.array(order), J)
        relative = (sizes / told.unit)[np.repeat(np.arange(J), T)]
        seconds = np.exp(told.intercept)
        demand = np.concatenate([profiles, np.zeros((len(profiles), 1))], axis=1)
        fits = feasible(demand, cluster.capacity()).any(axis=1)
        # Ranks of the graph in the order of its types, then each type's own.
        mean = seconds[:, fits].mean(axis=1) if fits.any() else seconds.mean(axis=1)
        pointers = np.concatenate([[0], np.cumsum(degree)]).astype(np.int32)
        rank = np.empty(T)
        rank[order] = upward_ranks(
            mean[order], pointers, local.astype(np.int32), np.zeros(len(local))
        )
        return assemble(
            family=ALLOCATION,
            type_of=type_of,
            job_ptr=np.arange(J + 1) * T,
            parent_ptr=np.concatenate([[0], np.cumsum(np.tile(degree, J))]),
            parents=(np.arange(J)[:, None] * T + local[None, :]).reshape(-1),
            data=np.zeros(J * len(local)),
            arrival=arrival,
            scale=relative ** told.exponent[type_of] * (1.0 if factor is None else factor),
            seconds=seconds,
            demand=demand,
            cluster=cluster,
            by_profile=True,
            size_bin=np.searchsorted(np.array(bins), sizes, side="left"),
            type_rank=rank,
            interval=self.interval,
            in_flight=self.in_flight,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario as plain values, for provenance."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Pipelines:
        """Build a scenario from what :meth:`to_dict` gave."""
        plain = dict(values)
        plain["features"] = tuple(Feature(**f) for f in plain["features"])
        plain["weights"] = Weights(**plain["weights"])
        plain["processes"] = tuple(Process(**p) for p in plain.get("processes", ()))
        if plain.get("disturbances") is not None:
            plain["disturbances"] = Disturbances(**plain["disturbances"])
        return Pipelines(**plain)
