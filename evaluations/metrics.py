"""What an episode was worth: numbers with units, functions of what truly happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.live import Episode, Outcome
from toolkit.simulator.rules import granted
from toolkit.simulator.scene import Scene
from toolkit.workload import ALL_CPUS, ALL_MEMORY, CONFIGURATION, CORES, CPUS, MEMORY

UNITS: Mapping[str, str] = {
    "return_mean": "weighted reward, summed over the episode",
    "latency_mean": "s from arrival to completion of a pipeline",
    "latency_p95": "s, 95th percentile of the same",
    "throughput": "pipelines finished per second until the last one",
    "cost": "cpu-equivalent seconds per pipeline; memory counts by its share of the cluster",
    "max_queue": "most tasks of one type waiting at an instant of decision",
    "makespan": "s from the first arrival to the last completion",
    "wait_mean": "s from the arrival of a pipeline to the start of its first task; "
    "of a batch those in which its executors start",
    "service_mean": "s from there to its completion",
    "unfinished": "pipelines not finished when the episode was truncated",
    "core_seconds": "core-seconds of the executors of a batch until it is done; configuration only",
    "switches": "share of batches after the first with another configuration than the one before; "
    "configuration only",
}
"""Unit and meaning of every metric of a cell."""


def measure(episode: Episode) -> dict[str, float]:
    """Return the metrics of an episode; those of latency speak of the finished pipelines.

    Args:
        episode: A rollout with its steps.
    """
    return {
        "return_mean": float(sum(s.reward for s in episode.steps)),
        "max_queue": float(episode.longest_queue),
        **of_jobs(episode.outcome, episode.scene),
    }


def of_jobs(outcome: Outcome, scene: Scene) -> dict[str, float]:
    """Return the metrics that tell of the jobs, whoever decided about them.

    Args:
        outcome: What truly happened.
        scene: The last one.
    """
    o, w = outcome, scene.workload.arrays
    done = ~np.isnan(o.completed)
    ran = ~np.isnan(o.finished)
    seconds = (o.finished - o.started)[ran]
    profile = o.profile[ran]
    cpus, memory = w.demand[profile, CPUS], w.demand[profile, MEMORY]
    share = 0.5 * (cpus + w.numbers[ALL_CPUS] * memory / w.numbers[ALL_MEMORY])
    span = float(np.nanmax(o.finished) - o.arrived.min()) if ran.any() else float("nan")
    latency = (o.completed - o.arrived)[done]
    begun = np.fmin.reduceat(o.started, w.job_ptr[:-1])[done]
    finished = int(done.sum())
    found = {
        "latency_mean": _mean(latency),
        "latency_p95": float(np.quantile(latency, 0.95)) if finished else float("nan"),
        "throughput": finished / span if span > 0 else float("nan"),
        "cost": float((seconds * share).sum()) / max(1, finished),
        "makespan": span,
        "wait_mean": _mean(begun - o.arrived[done]),
        "service_mean": _mean(o.completed[done] - begun),
        "unfinished": float(len(done) - finished),
    }
    if scene.workload.family == CONFIGURATION:
        state = scene.state
        fleet = state.fleet[done]
        cores = np.array([granted(scene.known, q) * w.fleets[q, CORES] for q in fleet.tolist()])
        found["core_seconds"] = _mean(cores * (o.completed[done] - state.begun[done]))
        found["switches"] = _mean(fleet[1:] != fleet[:-1])
    return found


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
