"""Predict: what a calibrated replay says of a policy on a workload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.calibration.calibration import Calibration, speeds_of
from toolkit.calibration.contention import work
from toolkit.calibration.executions import Executions, covariates
from toolkit.calibration.runs import Runs
from toolkit.live import Episode, Outcome
from toolkit.policies.policy import Policy
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth, TruthModel, simulated
from toolkit.workload import CPUS, FAMILY, PLACEMENT, Floats, Ints, Workload

METRICS = ("makespan", "latency")
"""Seconds from the start to the last end, and from the arrival of a job to its end, mean."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Draws of what a policy would meet, D of them.

    Args:
        metrics: Seconds by name, each of shape [D].
        curve: Times and cpus in use from each on, of the first draw; shape [2, E].
        beyond: Share of the tasks outside of what was fitted, first draw.
    """

    metrics: dict[str, Floats]
    curve: Floats
    beyond: float


def predict(
    model: TruthModel,
    calibration: Calibration,
    workload: Workload,
    policy: Policy,
    seeds: Sequence[int],
) -> Predicted:
    """Play a policy on a workload, once with the luck of each seed.

    Args:
        model: Draws truths: the calibration itself, or another with its scenario.
        calibration: Gives the rules of the episode.
        workload: What arrives.
        policy: Who decides.
        seeds: One episode each.
    """
    told: list[tuple[float, float]] = []
    curve, beyond = np.zeros((2, 0)), 0.0
    for k, seed in enumerate(seeds):
        planned = calibration.planned
        episode = simulated(
            model, policy, workload, seed,
            horizon=planned.horizon, weights=planned.weights, record=False,
        )  # fmt: skip
        told.append(_told(episode.outcome))
        if k == 0:
            curve = in_use(episode.outcome, workload)
            beyond = calibration.beyond(workload, _columns(episode, workload))
    values = np.array(told)
    return Predicted(
        metrics={name: values[:, i] for i, name in enumerate(METRICS)}, curve=curve, beyond=beyond
    )


def _told(o: Outcome) -> tuple[float, float]:
    return float(np.nanmax(o.finished)), float(np.nanmean(o.completed - o.arrived))


def real(recorded: Runs, run: int) -> dict[str, float]:
    """Return what a recorded run took, s by name."""
    jobs = recorded.trace.of("jobs", run)
    arrived, finished = (
        jobs[c].to_numpy(zero_copy_only=False).astype(np.float64)
        for c in ("arrived_at", "finished_at")
    )
    return {
        "makespan": float(np.nanmax(finished)),
        "latency": float(np.nanmean(finished - arrived)),
    }


def real_curve(recorded: Runs, run: int) -> Floats:
    """Return the cpus in use over a recorded run; see :class:`Predicted`."""
    done = recorded.executions(run)
    return _steps(done.started, done.finished, done.cpus)


def in_use(o: Outcome, workload: Workload) -> Floats:
    """Return the cpus in use over an episode; see :class:`Predicted`."""
    ran = ~np.isnan(o.finished) & ~np.isnan(o.started)
    profile = np.maximum(o.profile[ran], 0)
    cpus = workload.arrays.demand[profile, CPUS]
    return _steps(o.started[ran], o.finished[ran], np.where(cpus > 0, cpus, 1.0))


def _steps(started: Floats, finished: Floats, cpus: Floats) -> Floats:
    at = np.concatenate([started, finished])
    order = np.argsort(at, kind="stable")
    return np.stack([at[order], np.cumsum(np.concatenate([cpus, -cpus])[order])])


def _columns(episode: Episode, workload: Workload) -> Ints:
    """Return the column in which each task ran, 0 where it did not; shape [n]."""
    w, o = workload.arrays, episode.outcome
    profile = np.maximum(o.profile, 0)
    column = w.profile_column[profile].astype(np.int64)
    if w.rules[FAMILY] == PLACEMENT:
        column = column + w.column[np.maximum(o.node, 0)]
    if len(w.fleets):
        fleet = episode.scene.state.fleet[w.job_of]
        column = w.fleets[np.maximum(fleet, 0), 0].astype(np.int64)
    return np.asarray(column)


@dataclass(frozen=True, kw_only=True)
class Abducted:
    """A recorded run met again: each task keeps its luck, whatever is chosen now.

    u = F(log work − mean | type), clipped to [1/2n, 1 − 1/2n], answers F⁻¹(u) under another
    choice; under the recorded one a task takes the work that it took. Tasks that were not
    recorded draw their luck (common random numbers per seed).

    Args:
        recorded: The trace.
        run: Which of its runs.
        calibration: Gives what was not recorded.
    """

    recorded: Runs
    run: int
    calibration: Calibration

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return the truth of the recorded run under any choices."""
        c, done = self.calibration, self.recorded.executions(self.run)
        types, data = covariates(c.planned, workload)
        means = c.durations.log_means(types, data)
        alone = work(done, speeds_of(c.planned, c.sought.interference))
        luck = generator(seed, "luck").random(len(types))
        residual = np.log(alone) - means[done.task, done.column]
        warm = ~done.cold
        luck[done.task[warm]] = c.durations.luck(done.type_of, residual)[warm]
        seconds = np.exp(means + c.durations.residual(types, luck)[:, None])
        seconds[done.task[warm], done.column[warm]] = alone[warm]
        start, seen = c.delays(workload, seed)
        told = self.recorded.delayed(self.run)
        if told is not None:
            start[told.task] = told.start
            seen[told.task] = told.seen
        return c.world(workload, seconds, (start, seen))


@dataclass(frozen=True, kw_only=True)
class Naive:
    """The control: every task of a type takes the mean seconds of its type, nothing contends.

    Args:
        mean: s by type, shape [T].
        calibration: Gives the delays.
    """

    mean: Floats
    calibration: Calibration

    @staticmethod
    def of(recorded: Runs, runs: Sequence[int], calibration: Calibration) -> Naive:
        """Return the control learnt from some runs."""
        done = Executions.join([recorded.executions(r) for r in [*recorded.sweeps, *runs]])
        T = len(calibration.planned.types)
        total = np.bincount(done.type_of, done.seconds, T)
        count = np.bincount(done.type_of, minlength=T)
        every = float(done.seconds.mean())
        return Naive(
            mean=np.where(count > 0, total / np.maximum(count, 1), every), calibration=calibration
        )

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return the same seconds for every task of a type."""
        types, _ = covariates(self.calibration.planned, workload)
        columns = workload.arrays.seconds.shape[1]
        seconds = np.repeat(self.mean[types][:, None], columns, axis=1)
        start, seen = self.calibration.delays(workload, seed)
        return Truth(
            seconds=seconds,
            start_delay=start,
            seen_delay=seen,
            startup=self.calibration.startup,
        )
