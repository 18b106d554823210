"""Scaling: what a step costs as pipelines get larger and more of them run, by the clock."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from toolkit.data.transitions import Description
from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.learning.candidates import CandidateScorer
from toolkit.learning.networks import Ensemble
from toolkit.learning.scorer import Shape
from toolkit.policies.learned import Learned
from toolkit.policies.policy import Policy
from toolkit.scenarios.pipelines import Pipelines, Process
from toolkit.seeding import GATE
from toolkit.simulator.simulator import simulated
from toolkit.statistics import Interval
from toolkit.workload import Floats, Workload

NODES, IN_FLIGHT = 6, 6
"""What the other quantity is held at while one grows: those of ``genomics_closed``."""
_SECONDS = 15.0  # simulated, i.e. 30 steps
_HIDDEN = 64


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sizes whose steps are timed.

    Args:
        nodes: Process types of the pipeline; it has about twice as many edges.
        in_flight: Pipelines at once; the cluster grows with them, a CPU for every three.
        repeats: Workloads of each size; the fastest counts, as others were disturbed.
    """

    nodes: Sequence[int]
    in_flight: Sequence[int]
    repeats: int

    def __post_init__(self) -> None:
        for name, least in (("nodes", 2), ("in_flight", 1)):
            sizes = getattr(self, name)
            require(
                len(set(sizes)) >= 3 and min(sizes) >= least,
                f"scaling.{name} must name three sizes or more, from {least} on, got {list(sizes)}",
            )
        require(self.repeats >= 1, f"scaling.repeats must be 1 or more, got {self.repeats}")


@dataclass(kw_only=True)
class _Clocked:
    """A policy that knows since when it has been asked and how often."""

    of: Policy
    begun: float = field(default=math.nan, init=False)
    decisions: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return self.of.name

    def reset(self, workload: Workload) -> None:
        self.of.reset(workload)
        self.begun, self.decisions = math.nan, 0

    def probabilities(self, decision: Decision) -> Floats:
        if self.decisions == 0:
            self.begun = time.perf_counter()
        self.decisions += 1
        return self.of.probabilities(decision)


def timed(grid: Grid, like: Pipelines) -> pd.DataFrame:
    """Time the steps of pipelines of growing size, and of a growing number of them.

    A step is an instant of decision: one decision for each process type by a network as wide as
    the trained ones (untrained: it takes as long), and the simulation until the next instant.

    Args:
        grid: What is timed.
        like: The scenario whose profiles, durations and data are kept.

    Returns:
        A row per size: ``grows``, ``size``, ``nodes``, ``edges``, ``in_flight``, ``step_ms``
        and ``decision_us``, of the fastest of the repeats.
    """
    wanted = [("nodes", n, IN_FLIGHT) for n in grid.nodes]
    wanted += [("in flight", NODES, c) for c in grid.in_flight]
    rows = []
    _step(grown(like, NODES, IN_FLIGHT), GATE)  # What is compiled is compiled before.
    for grows, nodes, in_flight in wanted:
        scenario = grown(like, nodes, in_flight)
        found = [_step(scenario, GATE + i) for i in range(grid.repeats)]
        step = min(found)  # others were disturbed
        rows.append(
            {
                "grows": grows,
                "size": nodes if grows == "nodes" else in_flight,
                "nodes": nodes,
                "edges": len(scenario.edges),
                "in_flight": in_flight,
                "step_ms": 1e3 * step,
                "decision_us": 1e6 * step / nodes,
            }
        )
    return pd.DataFrame(rows)


def grown(like: Pipelines, nodes: int, in_flight: int) -> Pipelines:
    """Return a closed scenario whose pipelines have so many process types.

    Each type follows the one before and the one before that; their durations repeat those of the
    scenario that it is like.
    """
    types = [f"t{i}" for i in range(nodes)]
    edges = [(types[i], types[j]) for i in range(nodes) for j in (i + 1, i + 2) if j < nodes]
    known = like.processes
    processes: list[Process] = [
        dataclasses.replace(known[i % len(known)], type=t) for i, t in enumerate(types)
    ]
    share = max(1.0, in_flight / IN_FLIGHT)
    return dataclasses.replace(
        like, name="grown", types=types, edges=edges, processes=processes, jobs=8 * in_flight,
        in_flight=in_flight, cpus=like.cpus * share, memory=like.memory * share, horizon=_SECONDS,
    )  # fmt: skip


def _step(scenario: Pipelines, seed: int) -> float:
    """Return the seconds of a step."""
    workload = scenario.plan(seed)
    policy = _Clocked(of=_untrained(scenario, workload))
    simulated(
        scenario, policy, workload, seed,
        horizon=scenario.horizon, weights=scenario.weights, record=False,
    )  # fmt: skip
    steps = policy.decisions / len(scenario.types)
    return (time.perf_counter() - policy.begun) / steps


def _untrained(scenario: Pipelines, workload: Workload) -> Learned:
    described = Description.of(workload, scenario.weights)
    globals_, _, candidates = described.sizes
    torch.manual_seed(0)
    shape = Shape(globals=globals_, candidates=candidates, hidden=_HIDDEN)
    network = Ensemble([CandidateScorer(shape)]).eval()
    return Learned(name="untrained", network=network, about=described.to_dict())


def exponents(times: pd.DataFrame) -> Mapping[str, Interval]:
    """Return the exponent of the step time in each quantity that grows, with its interval."""
    return {
        str(grows): exponent(part["size"].to_numpy(), part["step_ms"].to_numpy())
        for grows, part in times.groupby("grows", sort=False)
    }


def exponent(sizes: Floats, seconds: Floats) -> Interval:
    """Return b of ``seconds = a · size ** b`` by least squares of logarithms.

    The 95 % interval is that of the slope by Student's t over the sizes, so that it also tells
    how badly a power fits.

    Args:
        sizes: Three or more, shape [n].
        seconds: Shape [n].
    """
    from scipy.stats import linregress, t

    found = linregress(np.log(np.asarray(sizes, dtype=float)), np.log(seconds))
    half = float(t.ppf(0.975, len(sizes) - 2)) * float(found.stderr)
    return Interval(float(found.slope), float(found.slope) - half, float(found.slope) + half)
