"""What a simulated episode leaves behind, as rows of the tables of a trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.live import Episode
from toolkit.scenarios.pipelines import PipelineWorkload
from toolkit.scenarios.scenario import Scenario
from toolkit.schedule import names
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import Simulator
from toolkit.simulator.state import ASK_FLEET, N_KILLED, RUNNING, STAGE, WAITING
from toolkit.trace import FEATURE
from toolkit.workload import (
    CONFIGURATION,
    CPUS,
    GPUS,
    MEMORY,
    PLACEMENT,
    Floats,
    Workload,
)


class Watched(Simulator):
    """A simulator that notes what a state forgets: killed attempts, and when executors started."""

    def start(self, workload: Workload) -> Scene:
        """Begin an episode of which nothing is noted yet."""
        self.killed: list[tuple[int, int, int, int, float, float]] = []
        self.started: list[tuple[int, float, float]] = []
        """Executor, when it was asked for, and when it was there."""
        self._starting: dict[int, tuple[float, float]] = {}
        self.scene = super().start(workload)
        return self.scene

    def act(self, key: int) -> None:
        """Carry out a choice; executors that it has to start are awaited."""
        s, asked = self.scene.state, int(self.scene.state.cursor[STAGE]) == ASK_FLEET
        shape = s.shape.copy()
        super().act(key)
        if not asked:
            return
        now, startup = float(s.time[0]), float(self.scene.world.startup[0])
        for m in range(len(s.up)):
            kept = m in self._starting and s.shape[m] == shape[m]
            if not kept:
                self._starting.pop(m, None)
                if s.shape[m] >= 0 and not s.up[m]:
                    self._starting[m] = (now, now + startup)

    def advance(self, until: float) -> None:
        """Let time pass, and note what was killed and which executors came up."""
        self._advance(until)
        s = self.scene.state
        for m in [m for m in self._starting if s.up[m]]:
            self.started.append((m, *self._starting.pop(m)))

    def _advance(self, until: float) -> None:
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


def rows_of(
    run: int,
    workload: Workload,
    episode: Episode,
    engine: Watched,
    scenario: Scenario,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an episode by table, but for its decisions.

    Args:
        run: Index of the run.
        workload: What arrived.
        episode: What the rollout loop returned.
        engine: What ran it.
        scenario: What planned the workload.
        seed: Of the run.
    """
    w, s, o = workload.arrays, episode.scene.state, episode.outcome
    delay = scenario.truth(workload, seed).seen_delay
    attempts = np.zeros(workload.tasks, dtype=np.int64)
    placed = workload.family == PLACEMENT
    tasks = []
    for task, node, profile, decision, started, ended in engine.killed:
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
                # A placement is known to start when it is chosen; nobody is told again.
                "started_seen": None if placed else float(s.started[task]) + seen,
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
        "spans": [
            {"run": run, "span": i, **span}
            for i, span in enumerate(
                [*_executors(engine.started), *_copies(workload, episode, delay)]
            )
        ],
    }


def _executors(started: Sequence[tuple[int, float, float]]) -> list[dict[str, Any]]:
    """Return the starts of executors as rows of ``spans``, without run and number."""
    return [
        {
            "kind": "executor",
            "name": f"executor-{m}",
            "started_at": asked,
            "finished_at": there,
            "detail": json.dumps({"node": m, "slot": m}),
        }
        for m, asked, there in started
    ]


def _copies(workload: Workload, episode: Episode, delay: Floats) -> list[dict[str, Any]]:
    """Return the parents that were executed again before a task, likewise."""
    s = episode.scene.state
    rows = []
    for task in np.flatnonzero((s.copying >= 0) & ~np.isnan(s.started[: len(s.copying)])).tolist():
        parent = int(s.copying[task])
        at = float(s.copies[parent, s.node[task]])
        if np.isinf(at):
            continue  # the episode ended before
        rows.append(
            {
                "kind": "copy",
                "job": int(workload.arrays.job_of[task]),
                "task": task,
                "name": f"copy of {workload.label(parent)}",
                "finished_at": at,
                "detail": json.dumps(
                    {"parent": parent, "seen": at + float(delay[task if len(delay) > 1 else 0])}
                ),
            }
        )
    return rows


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
