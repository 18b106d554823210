"""Planned: what was recorded, and how episodes of it that nobody has seen are planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from toolkit.cluster import Cluster
from toolkit.errors import ConfigError, CorruptError
from toolkit.replays.recordings import believing
from toolkit.reward import Reward
from toolkit.scenarios import torch_dags
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.described import described, rebuilt
from toolkit.scenarios.pipelines import Estimates, Pipelines
from toolkit.scenarios.torch_dags import Measured
from toolkit.scenarios.workflows import Workflows
from toolkit.simulator.recorded import estimates_of
from toolkit.trace import Trace
from toolkit.workload import (
    ALLOCATION,
    CONFIGURATION,
    CPUS,
    MEMORY,
    PLACEMENT,
    Floats,
    Ints,
    Workload,
)

SIZED = "@"
"""Between what a type of task does and its size, as in ``matmul@1024``."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A recorded scenario on the machines of the recording, with what policies were told there.

    Args:
        scenario: What arrives.
        estimates: What was measured before the first episode, as provenance tells it; None where
            the scenario itself says what policies are told.
        nodes: Rows of the machines where they were measured; empty elsewhere.
        shared: Whether all nodes are shares of one machine.
        cores: Of that machine; where nodes are machines of their own it is not used.
    """

    scenario: Pipelines | Workflows | Batches
    estimates: Mapping[str, Any] | None = None
    nodes: Sequence[Mapping[str, Any]] = ()
    shared: bool = False
    cores: float = 1.0

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.scenario.name

    @property
    def weights(self) -> Reward:
        """Weights of the reward."""
        return self.scenario.weights

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""
        return self.scenario.horizon

    @property
    def family(self) -> int:
        """Of the decisions."""
        if isinstance(self.scenario, Pipelines):
            return ALLOCATION
        return CONFIGURATION if isinstance(self.scenario, Batches) else PLACEMENT

    @property
    def pipelines(self) -> Pipelines:
        """The scenario, where it is a stream of pipelines."""
        if not isinstance(self.scenario, Pipelines):
            raise ConfigError(f"{self.name} is no stream of pipelines")
        return self.scenario

    @cached_property
    def told(self) -> Estimates | None:
        """What policies are told of pipelines."""
        if self.estimates is None or self.family != ALLOCATION:
            return None
        return estimates_of({"estimates": self.estimates})

    @cached_property
    def cluster(self) -> Cluster:
        """Where it runs."""
        if self.family == PLACEMENT and self.estimates is not None:
            return Measured.from_dict(self.estimates).cluster(self.nodes)
        if self.nodes:
            return Cluster.from_rows(self.nodes)
        return self.plan(0).cluster

    def plan(self, seed: int) -> Workload:
        """Return an episode as its policies are shown it; same seed, same workload."""
        if isinstance(self.scenario, Pipelines):
            where = self.cluster if self.nodes else None
            return self.scenario.plan(seed, estimates=self.told, cluster=where)
        plan = self.scenario.plan(seed)
        if isinstance(self.scenario, Workflows) and self.estimates is not None:
            return torch_dags.measured(
                plan,
                self.cluster,
                Measured.from_dict(self.estimates),
                slots=self.scenario.slots,
                advice=self.scenario.advice,
            )
        return plan

    @cached_property
    def types(self) -> tuple[str, ...]:
        """What tasks do, whatever their size."""
        names = self.plan(0).types
        if isinstance(self.scenario, Workflows) and self.estimates is not None:
            names = Measured.from_dict(self.estimates).types
        return tuple(dict.fromkeys(name.partition(SIZED)[0] for name in names))

    @cached_property
    def columns(self) -> Floats:
        """CPUs and GiB of what tasks may run on: profiles, shapes, kinds of nodes; shape [C, 2]."""
        if isinstance(self.scenario, Pipelines):
            return np.array([[p[0], p[1] / 1024] for p in self.scenario.profiles])
        if isinstance(self.scenario, Batches):
            return np.array([[c, m / 1024] for c, m in self.scenario.shapes], dtype=np.float64)
        capacity, kinds = self.cluster.capacity(), [n.kind for n in self.cluster.nodes]
        rows = [capacity[kinds.index(k), [CPUS, MEMORY]] / [1, 2**30] for k in self.cluster.kinds]
        return np.maximum(np.array(rows), 1e-3)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of nodes, in the order of the columns of placements."""
        return self.cluster.kinds

    def divided(self, names: Sequence[str]) -> tuple[Ints, Floats]:
        """Return what each type does and its size.

        Returns:
            Indices into ``types``, shape [T], and sizes, NaN where a name has none; shape [T].

        Raises:
            CorruptError: When nothing is known that does what a name says.
        """
        known = {t: i for i, t in enumerate(self.types)}
        base, size = np.zeros(len(names), dtype=np.int64), np.full(len(names), np.nan)
        for i, name in enumerate(names):
            kind, _, number = name.partition(SIZED)
            if kind not in known:
                raise CorruptError(
                    f"the recording has a task of type {name[:80]!r}, which the "
                    f"scenario {self.name!r} does not have"
                )
            base[i] = known[kind]
            if number.isdecimal() and len(number) < 16:
                size[i] = float(number)
        return base, size

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "scenario": described(self.scenario),
            "estimates": None if self.estimates is None else dict(self.estimates),
            "nodes": [dict(n) for n in self.nodes],
            "shared": self.shared,
            "cores": self.cores,
        }

    @staticmethod
    def from_dict(told: Mapping[str, Any]) -> Planned:
        """Return what :meth:`to_dict` gave."""
        scenario: Any = rebuilt(told["scenario"], Pipelines | Workflows | Batches)
        return Planned(
            scenario=scenario,
            estimates=told["estimates"],
            nodes=tuple(told["nodes"]),
            shared=bool(told["shared"]),
            cores=float(told["cores"]),
        )


def planned_of(trace: Trace) -> Planned:
    """Return what a trace was recorded of.

    Raises:
        ConfigError: When it names no scenario that could be planned again.
        CorruptError: When it does, but not one that makes sense.
    """
    with believing("its scenario"):
        return _planned_of(trace)


def _planned_of(trace: Trace) -> Planned:
    source, told = trace.provenance["source"], trace.provenance["scenario"]
    engine, host = trace.provenance["engine"], trace.provenance["host"]
    runs = trace.runs("policy")
    if not runs:
        raise _nothing(source)
    nodes = trace.of("nodes", int(runs[0]["run"])).sort_by("node").to_pylist()
    cores = float(host.get("cpus") or 1) if isinstance(host, Mapping) else 1.0
    about: dict[str, Any] = {"cores": cores, "shared": any(n["logical"] for n in nodes)}
    kept = [{k: n[k] for k in ("name", "kind", "cpus", "memory", "gpus", "logical")} for n in nodes]
    if isinstance(told, Mapping) and "profiles" in told:
        return Planned(
            scenario=Pipelines.from_dict(told),
            estimates=trace.provenance["estimates"],
            nodes=() if source == "simulated" else kept,
            **about,
        )
    if isinstance(told, Mapping) and source == "simulated":
        return Planned(scenario=rebuilt(told, Workflows | Batches))
    if isinstance(told, Mapping) and source == "spark":
        return Planned(scenario=rebuilt(told, Batches), **about)
    if source == "gpu" and isinstance(engine, Mapping) and "scenario" in engine:
        scenario = rebuilt(engine["scenario"], Workflows)
        estimates = trace.provenance["estimates"]
        return Planned(scenario=scenario, estimates=estimates, nodes=kept, **about)
    raise _nothing(source)


def _nothing(source: Any) -> ConfigError:
    return ConfigError(
        f"the trace comes from {str(source)[:40]} and names no scenario that could be replayed",
        hint="see the recordings that do: toolkit list what=traces; make one: toolkit collect",
    )
