"""What an episode was worth: numbers with units, functions of what truly happened."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolkit.live import Episode
from toolkit.workload import ALL_CPUS, ALL_MEMORY, CPUS, MEMORY, Workload

UNITS: Mapping[str, str] = {
    "return_mean": "weighted reward, summed over the episode",
    "latency_mean": "s from arrival to completion of a pipeline",
    "latency_p95": "s, 95th percentile of the same",
    "throughput": "pipelines finished per second until the last one",
    "cost": "cpu-equivalent seconds per pipeline; memory counts by its share of the cluster",
    "max_queue": "most tasks of one type waiting at an instant of decision",
    "makespan": "s from the first arrival to the last completion",
    "unfinished": "pipelines not finished when the episode was truncated",
}
"""Unit and meaning of every metric of a cell."""


def measure(episode: Episode, workload: Workload) -> dict[str, float]:
    """Return the metrics of an episode; those of latency speak of the finished pipelines.

    Args:
        episode: A rollout with its steps.
        workload: What ran.
    """
    o, w = episode.outcome, workload.arrays
    done = ~np.isnan(o.completed)
    latency = (o.completed - o.arrived)[done]
    ran = ~np.isnan(o.finished)
    seconds = (o.finished - o.started)[ran]
    profile = o.profile[ran]
    cpus, memory = w.demand[profile, CPUS], w.demand[profile, MEMORY]
    share = 0.5 * (cpus + w.numbers[ALL_CPUS] * memory / w.numbers[ALL_MEMORY])
    span = float(np.nanmax(o.finished) - o.arrived.min()) if ran.any() else float("nan")
    finished = int(done.sum())
    return {
        "return_mean": float(sum(s.reward for s in episode.steps)),
        "latency_mean": float(latency.mean()) if finished else float("nan"),
        "latency_p95": float(np.quantile(latency, 0.95)) if finished else float("nan"),
        "throughput": finished / span if span > 0 else float("nan"),
        "cost": float((seconds * share).sum()) / max(1, finished),
        "max_queue": float(episode.longest_queue),
        "makespan": span,
        "unfinished": float(workload.jobs - finished),
    }
