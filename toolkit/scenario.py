"""Scenario: what arrives, on what cluster, how often a policy is asked, what it is paid."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.cluster import Cluster, Node
from toolkit.errors import require
from toolkit.reward import Weights
from toolkit.seeding import generator
from toolkit.workload import Estimates, Floats, Workload, topological

MIB = 2**20


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

    def __post_init__(self) -> None:
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
    ) -> Workload:
        """Return the tasks, edges and input features of one episode without running anything.

        Args:
            seed: Same seed, same workload.
            estimates: What policies are told about durations; nothing when absent.
            cluster: Where it runs; the scenario's own node when absent.
        """
        rng = generator(seed, "workload")
        bursts = -(-self.jobs // self.burst)
        gaps = rng.exponential(self.burst / self.rate, bursts)
        arrival = np.repeat(np.cumsum(gaps) - gaps[0], self.burst)[: self.jobs]
        columns = [f.draw(self.jobs, generator(seed, "feature", f.name)) for f in self.features]
        features = np.stack(columns, axis=1)
        return self.instances(features, arrival, seed, estimates=estimates, cluster=cluster)

    def instances(
        self,
        job_features: Floats,
        arrival: Floats,
        seed: int,
        *,
        estimates: Estimates | None = None,
        cluster: Cluster | None = None,
    ) -> Workload:
        """Return the workload of given jobs.

        Args:
            job_features: Shape [J, F], in the order of ``features``.
            arrival: Shape [J], seconds.
            seed: Recorded with the workload.
            estimates: What policies are told about durations; nothing when absent.
            cluster: Where it runs; the scenario's own node when absent.
        """
        names = [f.name for f in self.features]
        columns = [names.index(n) for n in self.size]
        profiles = np.array([[p[0], p[1] * MIB] for p in self.profiles], dtype=np.float64)
        return Workload(
            types=tuple(self.types),
            type_edges=self._type_edges,
            profiles=profiles,
            cluster=cluster or self.cluster,
            features=tuple(names),
            job_features=job_features,
            sizes=np.prod(job_features[:, columns], axis=1),
            bins=(self._size_quantile(1 / 3), self._size_quantile(2 / 3)),
            arrival=arrival,
            estimates=estimates or Estimates.blind(len(self.types), len(profiles), self.unit),
            seed=seed,
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
        return Pipelines(**plain)
