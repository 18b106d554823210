"""Episode: one workload under one policy as a drawing needs it, small and plain."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluations.cells import ground_of, settings_of
from toolkit.live import Episode
from toolkit.policies.callable_policy import policy_of
from toolkit.schedule import names
from toolkit.simulator.simulator import simulated
from toolkit.store import Store
from toolkit.workload import CONFIGURATION, CORES, CPUS, INSTANCES, PLACEMENT

MOST_BARS = 2000
"""Executions that are kept of an episode, the first ones."""


def pictured(policy: str, ground: tuple[str, ...], task: str, seed: int) -> dict[str, Any]:
    """Play one workload and return what ran where and when, and what was chosen.

    Args:
        policy: Its name.
        ground: As for :func:`evaluations.cells.cells`.
        task: Name of the ground.
        seed: Of the workload.

    Returns:
        ``places``, ``types``, ``jobs``; ``bars`` of place, job, type, start and finish, s;
        ``left_out``; and ``choices`` over time against queue and data size, None for placement.
    """
    store = Store()
    played = ground_of(ground, settings_of(ground, store), store)
    episode = simulated(
        played, policy_of(policy, store).policy, played.plan(seed), seed,
        horizon=played.horizon, weights=played.weights,
    )  # fmt: skip
    return {"task": task, "seed": seed, "unit": "s", **_bars(episode), "choices": _choices(episode)}


def _bars(episode: Episode) -> dict[str, Any]:
    o, workload = episode.outcome, episode.scene.workload
    w = workload.arrays
    ran = np.flatnonzero(~np.isnan(o.finished) & (o.node >= 0))
    ran = ran[np.lexsort((ran, o.started[ran]))]
    return {
        "places": list(names(workload.cluster, len(w.capacity))),
        "types": list(workload.types),
        "jobs": workload.jobs,
        "bars": [
            [
                int(o.node[i]), int(w.job_of[i]), int(w.type_of[i]),
                round(float(o.started[i]), 4), round(float(o.finished[i]), 4),
            ]
            for i in ran[:MOST_BARS].tolist()
        ],
        "left_out": max(0, len(ran) - MOST_BARS),
    }  # fmt: skip


def _choices(episode: Episode) -> dict[str, Any] | None:
    """Return what was chosen over time, beside how much waited and how large it was."""
    o, workload = episode.outcome, episode.scene.workload
    if workload.family == PLACEMENT:
        return None
    w = workload.arrays
    if workload.family == CONFIGURATION:
        name = "cores of all executors asked for"
        time = np.array([s.decision.time for s in episode.steps])
        fleets = w.fleets[[int(s.decision.keys[s.action]) for s in episode.steps]]
        value = fleets[:, CORES] * fleets[:, INSTANCES]
    else:
        name = "mean cpus of a task, over the types"
        last: dict[str, float] = {}
        by_time: dict[float, float] = {}
        for s in episode.steps:
            last[s.decision.agent] = float(w.demand[int(s.decision.keys[s.action]), CPUS])
            by_time[s.decision.time] = float(np.mean(list(last.values())))
        time, value = np.array(list(by_time)), np.array(list(by_time.values()))
    size = np.add.reduceat(w.scale, w.job_ptr[:-1])
    there = (o.arrived[:, None] <= time) & ~(o.completed[:, None] <= time)
    waits = (o.ready[:, None] <= time) & ~(o.started[:, None] <= time)
    present = there.sum(axis=0)
    with np.errstate(invalid="ignore"):
        sizes = (size[:, None] * there).sum(axis=0) / present
    return {
        "name": name,
        "time": _plain(time),
        "value": _plain(value),
        "queue": _plain(waits.sum(axis=0)),
        "size": _plain(np.where(present > 0, sizes, 0.0)),
    }


def _plain(values: Any) -> list[float]:
    return [round(float(v), 4) for v in values]
