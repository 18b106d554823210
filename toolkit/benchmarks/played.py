"""Played: the scenario in which reference policies play what a trace was recorded of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.benchmarks.reference import Calibrated, Played
from toolkit.errors import ToolkitError
from toolkit.reward import Reward
from toolkit.scenarios import torch_dags
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.described import rebuilt
from toolkit.scenarios.disturbances import luck
from toolkit.scenarios.torch_dags import Measured
from toolkit.scenarios.workflows import Workflows
from toolkit.seeding import generator
from toolkit.simulator import calibrate
from toolkit.simulator.calibration import Calibration
from toolkit.simulator.simulator import Truth
from toolkit.store import Product, Store
from toolkit.trace import Trace
from toolkit.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Where policies can be played against each other.

    Args:
        scenario: Plans workloads and knows their truth.
        name: Of the scenario.
        fidelity: Errors of the calibration behind it; None where there is none.
        calibration: Its id; empty where there is none.
    """

    scenario: Played | Calibrated
    name: str
    fidelity: Mapping[str, Any] | None = None
    calibration: str = ""


@dataclass(frozen=True, kw_only=True)
class OnMeasured:
    """A scenario of torch tasks on the devices of a recording, with the durations of its sweep.

    Args:
        scenario: What arrived.
        told: What the sweep measured.
        nodes: The rows of the devices.
    """

    scenario: Workflows
    told: Measured
    nodes: tuple[Mapping[str, Any], ...]

    @property
    def weights(self) -> Reward:
        """Weights of the reward."""
        return self.scenario.weights

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""
        return self.scenario.horizon

    def plan(self, seed: int) -> Workload:
        """Return an episode as its policies would be shown it."""
        s = self.scenario
        cluster = self.told.cluster(self.nodes)
        return torch_dags.measured(s.plan(seed), cluster, self.told, slots=s.slots, advice=s.advice)

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return the measured durations with the luck of the scenario."""
        drawn = luck(workload.tasks, self.scenario.sigma, generator(seed, "luck"))
        return Truth(seconds=workload.arrays.seconds, scale=workload.arrays.scale * drawn)


def replay_of(trace: Trace, product: Product, store: Store) -> Replay | None:
    """Return where the policies of a trace's scenario can be compared.

    Args:
        trace: A recording or an import.
        product: Where it lies.
        store: For the calibration of a recording of pipelines.

    Returns:
        None for a log of a stranger, whose scenario nobody knows.
    """
    source, told = trace.provenance["source"], trace.provenance["scenario"]
    engine = trace.provenance["engine"]
    if isinstance(told, dict) and "profiles" in told:
        fitted = calibrate.ensure(store, product)
        calibration = Calibration.load(fitted.path)
        fidelity = {"id": fitted.id, **fitted.manifest["about"]["fidelity"]}
        return Replay(
            scenario=calibration,
            name=calibration.scenario.name,
            fidelity=fidelity,
            calibration=fitted.id,
        )
    try:
        if isinstance(told, dict) and source in ("simulated", "spark"):
            kind: Any = Batches if source == "spark" else Workflows | Batches
            scenario = rebuilt(told, kind)
            return Replay(scenario=scenario, name=scenario.name)
        if source == "gpu" and isinstance(engine, dict) and "scenario" in engine:
            scenario = rebuilt(engine["scenario"], Workflows)
            first = trace.runs()[0]["run"]
            nodes = trace.of("nodes", int(first)).sort_by("node").to_pylist()
            told = Measured.from_dict(trace.provenance["estimates"])
            on = OnMeasured(scenario=scenario, told=told, nodes=tuple(nodes))
            return Replay(scenario=on, name=scenario.name)
    except ToolkitError:
        return None
    return None
