"""Simulated: any policy on any scenario, recorded as a trace like that of a real engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from collectors.decisions import decision_rows
from toolkit import trace as traces
from toolkit.errors import require
from toolkit.live import Episode, chooser, rollout
from toolkit.policies.policy import Policy
from toolkit.progress import progress
from toolkit.scenarios.pipelines import Pipelines, PipelineWorkload
from toolkit.scenarios.scenario import Scenario
from toolkit.schedule import names
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import SIMULATOR, Simulator
from toolkit.simulator.state import N_KILLED, RUNNING, WAITING
from toolkit.trace import FEATURE, Trace
from toolkit.workload import CONFIGURATION, CPUS, GPUS, MEMORY, Floats, Workload


@dataclass(frozen=True, kw_only=True)
class SimulatedCollector:
    """Records episodes of a scenario in the simulator, under behaviour policies in turn.

    Args:
        runs: Episodes to record.
        behaviours: Names of the behaviour policies; ``name~0.3`` explores with probability 0.3.
        paired: Give each behaviour policy the same workloads and the same luck.
        decisions: Whether the decisions are kept. Without them the trace is what a stranger's
            log would be: what ran and where, and nobody knows who chose it.
    """

    runs: int
    behaviours: Sequence[str]
    paired: bool = False
    decisions: bool = True

    def __post_init__(self) -> None:
        require(self.runs >= 1, f"collector.runs must be at least 1, got {self.runs}")
        require(len(self.behaviours) >= 1, "collector.behaviours must name at least one policy")

    def collect(
        self, scenario: Scenario, policies: Sequence[Policy], seed: int, folder: Path
    ) -> Trace:
        """Record, or go on where an interrupted recording stopped.

        Args:
            scenario: Of any family.
            policies: The behaviour policies, in the order of ``behaviours``.
            seed: Workload k has seed ``seed + k``.
            folder: Where finished runs are kept until all are there.
        """
        with progress(f"simulating {scenario.name}", self.runs, "runs") as bar:
            for k in range(self.runs):
                if not (folder / f"run-{k}" / "provenance.json").is_file():
                    policy = policies[k % len(policies)]
                    own = seed + (k // len(policies) if self.paired else k)
                    traces.write(self._run(scenario, policy, k, own), folder / f"run-{k}")
                    bar.update(note=policy.name)
        parts = [traces.read(folder / f"run-{k}") for k in range(self.runs)]
        provenance = dict(parts[0].provenance)
        provenance["runs"] = [dict(r) for part in parts for r in part.provenance["runs"]]
        provenance["seed"] = seed
        return traces.concatenate(parts, provenance)

    def _run(self, scenario: Scenario, policy: Policy, run: int, seed: int) -> Trace:
        workload = scenario.plan(seed)
        policy.reset(workload)
        engine = _Watched(scenario, seed)
        episode = rollout(
            engine,
            workload,
            chooser(policy, seed),
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        told = workload.estimates if isinstance(workload, PipelineWorkload) else None
        rows = _rows(run, workload, episode, engine.killed, scenario, seed)
        if self.decisions:
            rows["decisions"] = decision_rows(run, episode, policy.name)
        else:
            for row in rows["tasks"]:
                row["decision"] = None
        features = workload.features if isinstance(workload, PipelineWorkload) else ()
        extra = {"jobs": traces.features(features)}
        return Trace(
            tables={
                name: traces.table(name, rows.get(name, []), extra.get(name, ()))
                for name in traces.TABLES
            },
            provenance={
                "schema": traces.SCHEMA,
                "source": "simulated" if self.decisions else "synthetic",
                "scenario": scenario.to_dict() if isinstance(scenario, Pipelines) else None,
                "estimates": None
                if told is None
                else {
                    "intercept": told.intercept.tolist(),
                    "exponent": told.exponent.tolist(),
                    "unit": told.unit,
                },
                "clock": "simulated, s since the start of the episode",
                "engine": {"simulator": SIMULATOR, "scenario": scenario.name},
                "host": {},
                "seed": seed,
                "completeness": None,
                "runs": [
                    {
                        "run": run,
                        "seed": seed,
                        "policy": policy.name if self.decisions else None,
                        "mode": "policy" if self.decisions else "log",
                        "load_average": None,
                        "terminated": episode.terminated,
                        "kills_not_told": engine.kills_not_told(),
                    }
                ],
            },
        )


class _Watched(Simulator):
    """A simulator that notes attempts that are killed, which a state forgets."""

    def start(self, workload: Workload) -> Scene:
        self.killed: list[tuple[int, int, int, int, float, float]] = []
        self.scene = super().start(workload)
        return self.scene

    def advance(self, until: float) -> None:
        s = self.scene.state
        running = np.flatnonzero(s.status == RUNNING)
        before = s.node[running], s.profile[running], s.decision[running], s.started[running]
        super().advance(until)
        lost = np.flatnonzero((s.status[running] == WAITING) & (s.node[running] < 0))
        for i in lost.tolist():
            node, profile, decision, started = (a[i] for a in before)
            task = int(running[i])
            self.killed.append(
                (task, int(node), int(profile), int(decision), float(started), float(s.ready[task]))
            )

    def kills_not_told(self) -> int:
        """Return how many attempts were killed and begun again between two decisions."""
        return int(self.scene.state.totals[N_KILLED]) - len(self.killed)


def _rows(
    run: int,
    workload: Workload,
    episode: Episode,
    killed: Sequence[tuple[int, int, int, int, float, float]],
    scenario: Scenario,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    w, s, o = workload.arrays, episode.scene.state, episode.outcome
    delay = scenario.truth(workload, seed).seen_delay
    attempts = np.zeros(workload.tasks, dtype=np.int64)
    tasks = []
    for task, node, profile, decision, started, ended in killed:
        begun = min(started, ended)
        tasks.append(
            _task(run, workload, task, node, profile, decision, delay)
            | {
                "attempt": int(attempts[task]),
                "started_at": begun,
                "finished_at": ended,
                "finished_seen": ended,
                "status": "killed",
                "reason": "the node was lost or its tasks were killed",
            }
        )
        attempts[task] += 1
    for task in np.flatnonzero(~np.isnan(s.started)).tolist():
        done = not np.isnan(s.finished[task])
        seen = float(delay[task] if len(delay) > 1 else delay[0])
        tasks.append(
            _task(run, workload, task, s.node[task], s.profile[task], s.decision[task], delay)
            | {
                "attempt": int(attempts[task]),
                "ready_at": float(s.ready[task]),
                "ready_seen": float(s.ready[task]),
                "started_at": float(s.started[task]),
                "started_seen": float(s.started[task]) + seen,
                "finished_at": float(s.finished[task]) if done else None,
                "finished_seen": float(s.finished[task]) + seen if done else None,
                "status": "done" if done else "running",
            }
        )
    known = {t["task"] for t in tasks}
    edges = [
        {"run": run, "kind": "task", "parent": p, "child": c, "bytes": float(w.data[i])}
        for c in sorted(known)
        for i in range(w.parent_ptr[c], w.parent_ptr[c + 1])
        for p in [int(w.parents[i])]
        if p in known
    ]
    told = names(workload.cluster, len(w.capacity))
    executors = workload.family == CONFIGURATION
    nodes = [
        {
            "run": run,
            "node": m,
            "name": name,
            "kind": "executor" if executors else workload.cluster.nodes[m].kind,
            # What an executor holds changes with the configuration.
            "cpus": None if executors else float(w.capacity[m, CPUS]),
            "memory": None if executors else float(w.capacity[m, MEMORY]),
            "gpus": None if executors else float(w.capacity[m, GPUS]),
            "logical": executors or workload.cluster.nodes[m].logical,
        }
        for m, name in enumerate(told)
    ]
    return {
        "nodes": nodes,
        "jobs": _jobs(run, workload, episode, o.arrived, o.completed),
        "tasks": tasks,
        "edges": edges,
    }


def _task(
    run: int, workload: Workload, task: int, node: int, profile: int, decision: int, delay: Floats
) -> dict[str, Any]:
    w = workload.arrays
    return {
        "run": run,
        "task": task,
        "name": workload.label(task),
        "job": int(w.job_of[task]),
        "type": workload.types[int(w.type_of[task])],
        "node": int(node),
        "profile": int(profile),
        "cpus": float(w.demand[profile, CPUS]),
        "memory": float(w.demand[profile, MEMORY]),
        "gpus": float(w.demand[profile, GPUS]),
        "decision": int(decision) if decision >= 0 else None,
    }


def _jobs(
    run: int, workload: Workload, episode: Episode, arrived: Floats, completed: Floats
) -> list[dict[str, Any]]:
    s, fleets = episode.scene.state, workload.arrays.fleets
    rows = []
    for j in np.flatnonzero(~np.isnan(arrived)).tolist():
        done = not np.isnan(completed[j])
        row: dict[str, Any] = {
            "run": run,
            "job": j,
            "arrived_at": float(arrived[j]),
            "arrived_seen": float(arrived[j]),
            "finished_at": float(completed[j]) if done else None,
            "status": "done" if done else None,
        }
        if len(fleets) and s.fleet[j] >= 0:
            row["detail"] = f'{{"configuration": {int(s.fleet[j])}}}'
        if isinstance(workload, PipelineWorkload):
            row |= {
                FEATURE + name: float(workload.job_features[j, f])
                for f, name in enumerate(workload.features)
            }
        rows.append(row)
    return rows
