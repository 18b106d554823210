"""Scaling: what a step costs as graphs, clusters and loads grow, by the clock."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch

from toolkit.data.transitions import Description
from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Shape
from toolkit.policies.learned import Learned
from toolkit.policies.policy import Policy
from toolkit.scenarios.pipelines import Pipelines, Process
from toolkit.scenarios.scenario import Scenario
from toolkit.scenarios.workflows import Workflows
from toolkit.seeding import GATE
from toolkit.simulator.simulator import simulated
from toolkit.workflows.layered import Layered
from toolkit.workload import Floats, Workload

NODES, IN_FLIGHT, REACH = 6, 6, 2
"""What the other quantities are held at while one grows: those of ``genomics_closed``."""
TASKS, GROUPS, DENSITY = 100, 1, 0.2
"""The same of workflows: one of 100 tasks at a time, on the devices of the scenario."""
EDGED_NODES, EDGED_TASKS = 24, 200
"""What has more and more edges."""
STEP, SIMULATOR, NETWORK = "step_ms", "simulator_ms", "network_ms"
PARTS = (STEP, SIMULATOR, NETWORK)
_SECONDS = 15.0  # simulated, i.e. 30 steps
_HIDDEN = 64


@dataclass(frozen=True, kw_only=True)
class Point:
    """A size whose steps are timed.

    Args:
        grows: Which quantity differs between the points of its kind.
        size: Of that quantity.
        scenario: What is played.
        policy: Who decides; None for an untrained network as wide as the trained ones, which
            takes as long.
        decisions: Of one step.
        nodes: Of a graph.
        edges: Of a graph.
        concurrency: Graphs at once.
    """

    grows: str
    size: int
    scenario: Scenario
    policy: Policy | None
    decisions: int
    nodes: int
    edges: int
    concurrency: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Sizes of pipelines, whose step is an instant of decision: one for each process type.

    Args:
        nodes: Process types of the pipeline; it has about twice as many edges.
        in_flight: Pipelines at once; the cluster grows with them, a CPU for every three.
        repeats: Workloads of each size.
        reaches: How many of the types before it each of 24 types follows, which grows the edges
            alone; none leaves that out.
    """

    nodes: Sequence[int]
    in_flight: Sequence[int]
    repeats: int
    reaches: Sequence[int] = ()

    def __post_init__(self) -> None:
        _require_sizes(self.repeats, nodes=self.nodes, in_flight=self.in_flight)
        if self.reaches:
            _require_sizes(self.repeats, reaches=self.reaches)

    def points(self, like: Pipelines) -> list[Point]:
        """Return the sizes, of a scenario whose profiles, durations and data are kept."""
        wanted = [("nodes", n, IN_FLIGHT, REACH) for n in self.nodes]
        wanted += [("in flight", NODES, c, REACH) for c in self.in_flight]
        wanted += [("edges", EDGED_NODES, IN_FLIGHT, r) for r in self.reaches]
        points = []
        for grows, nodes, in_flight, reach in wanted:
            scenario = grown(like, nodes, in_flight, reach)
            edges = len(scenario.edges)
            size = {"nodes": nodes, "in flight": in_flight, "edges": edges}[grows]
            points.append(
                Point(
                    grows=grows,
                    size=size,
                    scenario=scenario,
                    policy=None,
                    decisions=nodes,
                    nodes=nodes,
                    edges=edges,
                    concurrency=in_flight,
                )
            )
        return points


@dataclass(frozen=True, kw_only=True)
class Placements:
    """Sizes of workflows, whose step is one decision: which task, or which device.

    Args:
        tasks: Of one workflow.
        densities: Shares of the possible edges that a workflow of 200 tasks has.
        devices: How many times the devices of the scenario there are, the workflow being one.
        jobs: Workflows that arrive at once.
        job_tasks: Tasks of each of those.
        repeats: Workloads of each size.
    """

    tasks: Sequence[int]
    densities: Sequence[float]
    devices: Sequence[int]
    jobs: Sequence[int]
    job_tasks: int
    repeats: int

    def __post_init__(self) -> None:
        _require_sizes(self.repeats, tasks=self.tasks, devices=self.devices, jobs=self.jobs)
        require(len(set(self.densities)) >= 3, "scaling.densities must name three or more")
        require(self.job_tasks >= 1, f"scaling.job_tasks must be 1 or more, got {self.job_tasks}")

    def points(self, like: Workflows, policy: Policy) -> list[Point]:
        """Return the sizes, of a scenario of one workflow whose machines and luck are kept."""
        wanted = [("tasks", t, DENSITY, GROUPS, 1) for t in self.tasks]
        wanted += [("edges", EDGED_TASKS, d, GROUPS, 1) for d in self.densities]
        wanted += [("devices", TASKS, DENSITY, times, 1) for times in self.devices]
        wanted += [("workflows at once", self.job_tasks, DENSITY, GROUPS, j) for j in self.jobs]
        points = []
        for grows, tasks, density, times, jobs in wanted:
            scenario = placed(like, tasks, density, times, jobs)
            planned = scenario.plan(GATE)
            edges = len(planned.arrays.parents) // jobs
            sizes = {
                "tasks": tasks, "edges": edges, "devices": len(planned.cluster.nodes),
                "workflows at once": jobs,
            }  # fmt: skip
            points.append(
                Point(
                    grows=grows,
                    size=sizes[grows],
                    scenario=scenario,
                    policy=policy,
                    decisions=1,
                    nodes=tasks,
                    edges=edges,
                    concurrency=jobs,
                )
            )
        return points


def _require_sizes(repeats: int, **axes: Sequence[int]) -> None:
    for name, sizes in axes.items():
        least = 2 if name == "nodes" else 1
        require(
            len(set(sizes)) >= 3 and min(sizes) >= least,
            f"scaling.{name} must name three sizes or more, from {least} on, got {list(sizes)}",
        )
    require(repeats >= 1, f"scaling.repeats must be 1 or more, got {repeats}")


def grown(like: Pipelines, nodes: int, in_flight: int, reach: int = REACH) -> Pipelines:
    """Return a closed scenario whose pipelines have so many process types.

    Each type follows as many of those before it as ``reach`` says; their durations repeat those
    of the scenario that it is like.
    """
    types = [f"t{i}" for i in range(nodes)]
    edges = [(types[i], types[j]) for i in range(nodes) for j in range(i + 1, nodes)]
    edges = [e for e in edges if types.index(e[1]) - types.index(e[0]) <= reach]
    known = like.processes
    processes: list[Process] = [
        dataclasses.replace(known[i % len(known)], type=t) for i, t in enumerate(types)
    ]
    share = max(1.0, in_flight / IN_FLIGHT)
    return dataclasses.replace(
        like, name="grown", types=types, edges=edges, processes=processes, jobs=8 * in_flight,
        in_flight=in_flight, cpus=like.cpus * share, memory=like.memory * share, horizon=_SECONDS,
    )  # fmt: skip


def placed(like: Workflows, tasks: int, density: float, times: int, jobs: int) -> Workflows:
    """Return a scenario of some workflows at once, on so many times the devices."""
    require(isinstance(like.graphs, Layered), "scaling takes a scenario of layered graphs")
    assert isinstance(like.graphs, Layered)
    groups = [dataclasses.replace(g, count=g.count * times) for g in like.cluster.groups]
    return dataclasses.replace(
        like,
        name="placed",
        graphs=dataclasses.replace(like.graphs, tasks=tasks, density=density),
        cluster=dataclasses.replace(like.cluster, groups=groups),
        jobs=jobs,
    )


@dataclass(kw_only=True)
class _Clocked:
    """A policy that knows since when it has been asked, how often, and how long it took itself."""

    of: Policy
    begun: float = field(default=math.nan, init=False)
    own: float = field(default=0.0, init=False)
    decisions: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        return self.of.name

    def reset(self, workload: Workload) -> None:
        self.of.reset(workload)
        self.begun, self.own, self.decisions = math.nan, 0.0, 0

    def probabilities(self, decision: Decision) -> Floats:
        asked = time.perf_counter()
        if self.decisions == 0:
            self.begun = asked
        self.decisions += 1
        answer = self.of.probabilities(decision)
        self.own += time.perf_counter() - asked
        return answer


def timed(points: Sequence[Point], repeats: int) -> pd.DataFrame:
    """Time the steps of all sizes, one after another and then again.

    A step is the decisions of one instant and the simulation, features included, until the next.
    What disturbs the machine for a while so disturbs all sizes and not one.

    Args:
        points: What is timed.
        repeats: How often each, on other workloads.

    Returns:
        A row per size and repeat: ``grows``, ``size``, ``nodes``, ``edges``, ``concurrency``,
        ``repeat``, and the ms of ``PARTS``.
    """
    rows = []
    _step(points[0], GATE)  # What is compiled is compiled before.
    for repeat in range(repeats):
        for p in points:
            network, simulator = _step(p, GATE + repeat)
            rows.append(
                {
                    "grows": p.grows,
                    "size": p.size,
                    "nodes": p.nodes,
                    "edges": p.edges,
                    "concurrency": p.concurrency,
                    "repeat": repeat,
                    STEP: 1e3 * (network + simulator),
                    SIMULATOR: 1e3 * simulator,
                    NETWORK: 1e3 * network,
                }
            )
    return pd.DataFrame(rows)


def _step(point: Point, seed: int) -> tuple[float, float]:
    """Return the seconds of a step that the network takes, and the others."""
    scenario = point.scenario
    workload = scenario.plan(seed)
    policy = _Clocked(of=point.policy or _untrained(scenario, workload))
    simulated(
        scenario, policy, workload, seed,
        horizon=scenario.horizon, weights=scenario.weights, record=False,
    )  # fmt: skip
    whole = time.perf_counter() - policy.begun
    steps = policy.decisions / point.decisions
    return policy.own / steps, (whole - policy.own) / steps


def _untrained(scenario: Scenario, workload: Workload) -> Learned:
    described = Description.of(workload, scenario.weights)
    globals_, _, candidates = described.sizes
    torch.manual_seed(0)
    shape = Shape(globals=globals_, candidates=candidates, hidden=_HIDDEN)
    network = Ensemble([CandidateScorer(shape)]).eval()
    return Learned(name="untrained", network=network, about=described.to_dict())
