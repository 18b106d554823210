"""What an episode was worth: numbers with units, functions of what truly happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.live import Episode, Outcome
from toolkit.planning.return_bound import options, paths
from toolkit.simulator.rules import granted
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import Truth
from toolkit.workload import (
    ALL_CPUS,
    ALL_MEMORY,
    CONFIGURATION,
    CORES,
    CPUS,
    GPUS,
    MEMORY,
    PLACEMENT,
    SLO,
)

UNITS: Mapping[str, str] = {
    "return_mean": "weighted reward, summed over the episode",
    "latency_mean": "s from arrival to completion of a job",
    "latency_p95": "s, 95th percentile of the same",
    "latency_p99": "s, 99th percentile of the same",
    "throughput": "jobs finished per second until the last one",
    "cost": "cpu-equivalent seconds per job; memory counts by its share of the cluster",
    "money": "US dollars per job at the prices of the suite",
    "max_queue": "most tasks of one type waiting at an instant of decision",
    "makespan": "s from the first start to the last completion",
    "response_time": "s from the first arrival to the last completion",
    "of_bound": "response time by the least that any policy could reach",
    "speedup": "all tasks one after another on the best device by the makespan; placement only",
    "slr": "schedule length ratio: makespan by the longest path of fastest durations",
    "slowdown_mean": "latency of a job by its longest path of fastest durations",
    "fairness": "Jain's index of the slowdowns: 1 where all are alike, 1/n where one bears all",
    "utilisation": "share in use of the resource that is used most, over the makespan",
    "slo_violations": "share of jobs later than their deadline or the scenario's objective",
    "decision_ms": "ms of wall clock per decision, features included",
    "wait_mean": "s from the arrival of a job to the start of its first task; "
    "of a batch those in which its executors start",
    "service_mean": "s from there to its completion",
    "task_seconds": "s of a task from its start to its finish",
    "unfinished": "jobs not finished when the episode was truncated",
    "cpu_seconds": "cpu-seconds per job",
    "gib_seconds": "GiB-seconds of memory per job",
    "gpu_seconds": "GPU-seconds per job",
    "energy": "J per job by the counters of the devices; recorded runs only, where all told",
    "core_seconds": "core-seconds of the executors of a batch until it is done; configuration only",
    "switches": "share of batches after the first with another configuration than the one before; "
    "configuration only",
}
"""Unit and meaning of every metric of a cell; one that does not tell of a scenario is left out."""
MEASURED = ("decision_ms",)
"""Read off the wall clock: no two runs give the same."""
MORE_IS_BETTER = ("throughput", "return_mean", "speedup", "fairness", "utilisation")
"""Metrics of which more is better."""


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

    Makespan, speedup and schedule length ratio as in Topcuoglu, Hariri and Wu, TPDS 2002,
    doi:10.1109/71.993206; the path is that of several jobs together. Fairness as in Jain, Chiu
    and Hawe, DEC TR-301, 1984.

    Args:
        outcome: What truly happened.
        scene: The last one.
    """
    o, w = outcome, scene.workload.arrays
    done = ~np.isnan(o.completed)
    ran = ~np.isnan(o.finished)
    finished = int(done.sum())
    jobs = max(1, finished)
    # [k, 3] seconds of each task that ran, by what it held.
    held = (o.finished - o.started)[ran][:, None] * w.demand[o.profile[ran]]
    used = held.sum(axis=0)
    share = 0.5 * (used[CPUS] + w.numbers[ALL_CPUS] * used[MEMORY] / w.numbers[ALL_MEMORY])
    last = float(np.nanmax(o.finished)) if ran.any() else np.nan
    span = last - float(o.arrived.min())
    makespan = last - float(np.nanmin(o.started)) if ran.any() else np.nan
    latency = (o.completed - o.arrived)[done]
    begun = np.fmin.reduceat(o.started, w.job_ptr[:-1])[done]
    found = {
        "latency_mean": _mean(latency),
        "latency_p95": _quantile(latency, 0.95),
        "latency_p99": _quantile(latency, 0.99),
        "throughput": finished / span if span > 0 else float("nan"),
        "cost": float(share) / jobs,
        "makespan": makespan,
        "response_time": span,
        "utilisation": _busiest(used, _capacity(scene), makespan),
        "wait_mean": _mean(begun - o.arrived[done]),
        "service_mean": _mean(o.completed[done] - begun),
        "task_seconds": _mean((o.finished - o.started)[ran]),
        "unfinished": float(len(done) - finished),
        "cpu_seconds": float(used[CPUS]) / jobs,
        "gib_seconds": float(used[MEMORY]) / 2**30 / jobs,
        "gpu_seconds": float(used[GPUS]) / jobs,
        **_ideals(scene, makespan, latency, done),
    }
    due = np.minimum(w.deadline, w.numbers[SLO])
    if np.isfinite(due).any():
        found["slo_violations"] = float((~done | (o.completed - o.arrived > due)).mean())
    if scene.workload.family == CONFIGURATION:
        state = scene.state
        fleet = state.fleet[done]
        cores = np.array([granted(scene.known, q) * w.fleets[q, CORES] for q in fleet.tolist()])
        found["core_seconds"] = _mean(cores * (o.completed[done] - state.begun[done]))
        found["switches"] = _mean(fleet[1:] != fleet[:-1])
    return found


def _ideals(
    scene: Scene, makespan: float, latency: npt.NDArray[Any], done: npt.NDArray[Any]
) -> dict[str, float]:
    """Return the metrics that need the true durations; none where the engine keeps them."""
    world = scene.world
    if not len(world.true_seconds):
        return {}
    truth = Truth(seconds=world.true_seconds, scale=world.true_scale, rates=world.rates)
    seconds = options(scene.workload, truth)
    path = paths(scene.workload.arrays, seconds.min(axis=1))
    # A job whose tasks take no time cannot be slowed down.
    lasting = path[done] > 0
    slowdown = latency[lasting] / path[done][lasting]
    longest = float(path.max())
    found = {
        "slr": makespan / longest if longest > 0 else float("nan"),
        "slowdown_mean": _mean(slowdown),
    }
    squares = float((slowdown**2).sum())
    if squares > 0:
        found["fairness"] = float(slowdown.sum()) ** 2 / (len(slowdown) * squares)
    alone = float(seconds.sum(axis=0).min())
    if scene.workload.family == PLACEMENT and np.isfinite(alone) and makespan > 0:
        found["speedup"] = alone / makespan
    return found


def _capacity(scene: Scene) -> npt.NDArray[Any]:
    """Return the cpus, bytes and GPUs of the whole cluster, shape [3]."""
    w = scene.workload.arrays
    return np.asarray((w.hosts if len(w.hosts) else w.capacity).sum(axis=0))


def _busiest(used: npt.NDArray[Any], capacity: npt.NDArray[Any], span: float) -> float:
    there = capacity > 0
    return float((used[there] / (capacity[there] * span)).max()) if span > 0 else float("nan")


def _quantile(values: npt.NDArray[Any], level: float) -> float:
    return float(np.quantile(values, level)) if len(values) else float("nan")


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
