"""Calibration: everything a replay needs, fitted on recorded runs, with its measured error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.cluster import Cluster
from toolkit.errors import ConfigError, CorruptError, SchemaError
from toolkit.live import rollout
from toolkit.scenarios.pipelines import Estimates, Pipelines, PipelineWorkload
from toolkit.seeding import generator
from toolkit.simulator.durations import QUANTILES, DurationModel, Observations
from toolkit.simulator.recorded import (
    Forced,
    estimates_of,
    instants_of,
    observations_of,
    scenario_of,
    start_delays_of,
    workload_of,
)
from toolkit.simulator.simulator import Simulator, Truth, TruthModel
from toolkit.store import write_text
from toolkit.trace import Trace
from toolkit.workload import Floats, Workload

SCHEMA = 1
_DRAWS = 8
"""Simulations per held-out run."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A fitted truth model with what policies are told beside it.

    Args:
        scenario: The scenario of the recording.
        cluster: The nodes it ran on.
        estimates: What policies are told; the same as in the recording.
        durations: Durations of tasks.
        start_delay: Quantiles of hand-over to start, s, shape [QUANTILES].
        seen_delay: Quantiles of event to being seen, s, shape [QUANTILES].
        fidelity: Measured errors; see :func:`fidelity`.
    """

    scenario: Pipelines
    cluster: Cluster
    estimates: Estimates
    durations: DurationModel
    start_delay: Floats
    seen_delay: Floats
    fidelity: Mapping[str, Any]

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Draw luck for every task and delay (common random numbers per seed)."""
        n, pipelines = workload.tasks, _pipelines(workload)
        u = generator(seed, "luck").random(n)
        residual = self.durations.residual(workload.arrays.type_of.astype(np.int64), u)
        grid = (np.arange(QUANTILES) + 0.5) / QUANTILES
        return Truth(
            seconds=np.exp(self.durations.log_means(pipelines) + residual[:, None]),
            start_delay=np.interp(generator(seed, "start").random(n), grid, self.start_delay),
            seen_delay=np.interp(generator(seed, "seen").random(n), grid, self.seen_delay),
        )

    def plan(self, seed: int) -> PipelineWorkload:
        """Plan an unseen episode of the calibrated scenario, with the calibrated estimates."""
        return self.scenario.plan(seed, estimates=self.estimates, cluster=self.cluster)

    def save(self, folder: Path) -> None:
        """Write ``calibration.json``."""
        document = {
            "schema": SCHEMA,
            "scenario": self.scenario.to_dict(),
            "cluster": self.cluster.to_rows(),
            "estimates": {
                "intercept": self.estimates.intercept.tolist(),
                "exponent": self.estimates.exponent.tolist(),
                "unit": self.estimates.unit,
            },
            "durations": self.durations.to_dict(),
            "start_delay": self.start_delay.tolist(),
            "seen_delay": self.seen_delay.tolist(),
            "fidelity": dict(self.fidelity),
        }
        write_text(folder / "calibration.json", json.dumps(document))

    @staticmethod
    def load(folder: Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises:
            CorruptError: When the file is damaged.
            SchemaError: When it is of another version.
        """
        file = folder / "calibration.json"
        try:
            d = json.loads(file.read_text(encoding="utf-8"))
            if d["schema"] != SCHEMA:
                raise SchemaError(
                    f"{file} has schema version {d['schema']!r}; this release reads {SCHEMA}",
                    hint="make it again: toolkit calibrate force=true",
                )
            return Calibration(
                scenario=Pipelines.from_dict(d["scenario"]),
                cluster=Cluster.from_rows(d["cluster"]),
                estimates=estimates_of(d),
                durations=DurationModel.from_dict(d["durations"]),
                start_delay=np.array(d["start_delay"], dtype=np.float64),
                seen_delay=np.array(d["seen_delay"], dtype=np.float64),
                fidelity=d["fidelity"],
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptError(
                f"{file} cannot be read", hint="make it again: toolkit calibrate force=true"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The truth of a recorded run: its own durations and delays where its choices are repeated.

    For other choices each task keeps its luck: u = F(log seconds − mean | type), clipped to
    [1/2n, 1 − 1/2n], answers F⁻¹(u) under the other profile.

    Args:
        trace: The trace.
        run: Which of its runs.
        calibration: Gives the durations of choices that were not made.
    """

    trace: Trace
    run: int
    calibration: Calibration

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return the recorded truth; ``seed`` is not used."""
        tasks = self.trace.of("tasks", self.run)
        done = np.flatnonzero(pc.equal(tasks["status"], "done").to_numpy())
        order = done[np.argsort(tasks["task"].to_numpy()[done], kind="stable")]
        tasks = tasks.take(order)
        model, w = self.calibration.durations, workload.arrays
        means = model.log_means(_pipelines(workload))
        rows = np.arange(workload.tasks)
        profile = tasks["profile"].to_numpy()
        seconds = tasks["finished_at"].to_numpy() - tasks["started_at"].to_numpy()
        residual = np.log(np.maximum(seconds, 1e-6)) - means[rows, profile]
        luck = np.empty(workload.tasks)
        for t in range(len(model.residuals)):
            mine = w.type_of == t
            n = max(1, int(model.counts[t].sum()))
            rank = np.searchsorted(model.residuals[t], residual[mine]) / QUANTILES
            luck[mine] = np.clip(rank, 0.5 / n, 1 - 0.5 / n)
        own = model.residual(w.type_of.astype(np.int64), luck)
        durations = np.asarray(np.exp(means + own[:, None]))
        durations[rows, profile] = seconds
        return Truth(
            seconds=durations,
            start_delay=start_delays_of(self.trace, self.run)[order],
            seen_delay=tasks["finished_seen"].to_numpy() - tasks["finished_at"].to_numpy(),
        )


@dataclass(frozen=True, kw_only=True)
class _Naive:
    """The control: every task of a type lasts the mean of its type."""

    mean: Floats
    calibration: Calibration

    def truth(self, workload: Workload, seed: int) -> Truth:
        truth = self.calibration.truth(workload, seed)
        flat = self.mean[workload.arrays.type_of][:, None]
        return Truth(
            seconds=np.broadcast_to(flat, truth.seconds.shape).copy(),
            start_delay=truth.start_delay,
            seen_delay=truth.seen_delay,
        )


def _pipelines(workload: Workload) -> PipelineWorkload:
    if not isinstance(workload, PipelineWorkload):
        raise ConfigError("a calibration of pipelines can only replay pipelines")
    return workload


def fit(trace: Trace, runs: Sequence[int] | None = None) -> Calibration:
    """Fit durations and delays on recorded runs.

    Args:
        trace: The trace.
        runs: Which runs to learn from; all of them when absent, sweeps included.
    """
    scenario = scenario_of(trace)
    chosen = [int(r["run"]) for r in trace.runs()] if runs is None else list(runs)
    observed = Observations.join([observations_of(trace, r) for r in chosen])
    tasks = pa.concat_tables([trace.of("tasks", r) for r in chosen])
    grid = (np.arange(QUANTILES) + 0.5) / QUANTILES
    start = np.concatenate([start_delays_of(trace, r) for r in chosen])
    finished = tasks.filter(pc.is_valid(tasks["finished_seen"]))
    seen = finished["finished_seen"].to_numpy() - finished["finished_at"].to_numpy()
    return Calibration(
        scenario=scenario,
        cluster=workload_of(trace, chosen[0]).cluster,
        estimates=estimates_of(trace.provenance),
        durations=DurationModel.fit(observed, len(scenario.types), len(scenario.profiles)),
        start_delay=np.maximum(np.quantile(start, grid), 0.0),
        seen_delay=np.maximum(np.quantile(seen, grid), 0.0),
        fidelity={},
    )


def simulate(
    trace: Trace, run: int, calibration: Calibration, model: TruthModel, seed: int
) -> tuple[float, float]:
    """Simulate a recorded run under its own recorded choices.

    Returns:
        Makespan and mean latency of its jobs, s.
    """
    scenario = calibration.scenario
    workload = workload_of(trace, run, arrival="arrived_seen")
    episode = rollout(
        Simulator(model, seed),
        workload,
        Forced(trace, run).chooser,
        horizon=scenario.horizon,
        weights=scenario.weights,
        instants=instants_of(trace, run).tolist(),
        record=False,
    )
    o = episode.outcome
    return float(np.nanmax(o.finished)), float(np.nanmean(o.completed - o.arrived))


def recorded(trace: Trace, run: int) -> tuple[float, float]:
    """Return makespan and mean latency of a recorded run, s."""
    jobs = trace.of("jobs", run)
    finished, arrived = jobs["finished_at"].to_numpy(), jobs["arrived_at"].to_numpy()
    return float(np.nanmax(finished)), float(np.nanmean(finished - arrived))


def fidelity(trace: Trace, calibration: Calibration) -> dict[str, Any]:
    """Measure how well replay agrees with the recording.

    Three questions, each over all runs with decisions: *factual* — recorded durations and
    choices through the engine's rule; *held out* — durations learnt from the other runs only,
    choices as recorded; *naive* — the same with the mean duration of each type. Errors are
    relative and absolute, of makespan and of mean latency. Task coverage is the share of
    held-out tasks within the central 90 % of their predicted distribution.
    """
    rows: list[dict[str, float]] = []
    inside = total = 0
    every = [int(r["run"]) for r in trace.runs()]
    for run in (int(r["run"]) for r in trace.runs("policy")):
        real = np.array(recorded(trace, run))
        factual = np.array(
            simulate(
                trace, run, calibration, Replayed(trace=trace, run=run, calibration=calibration), 0
            )
        )
        others = [r for r in every if r != run]
        held = fit(trace, others)
        mine = observations_of(trace, run)
        known = Observations.join([observations_of(trace, r) for r in others])
        naive = _Naive(
            mean=np.array(
                [known.seconds[known.type_of == t].mean() for t in range(len(held.scenario.types))]
            ),
            calibration=held,
        )
        predicted = np.mean([simulate(trace, run, held, held, s) for s in range(_DRAWS)], axis=0)
        control = np.mean([simulate(trace, run, held, naive, s) for s in range(_DRAWS)], axis=0)
        residual = np.log(mine.seconds) - held.durations.log_mean(mine)
        low = held.durations.residual(mine.type_of, np.full(len(mine), 0.05))
        high = held.durations.residual(mine.type_of, np.full(len(mine), 0.95))
        inside += int(((residual >= low) & (residual <= high)).sum())
        total += len(mine)
        row: dict[str, float] = {"run": run}
        for name, values in (("factual", factual), ("held_out", predicted), ("naive", control)):
            error = values / real - 1
            row[f"{name}_makespan"] = float(error[0])
            row[f"{name}_latency"] = float(error[1])
        rows.append(row)
    summary: dict[str, Any] = {"runs": rows, "coverage_90": inside / total, "tasks": total}
    for name in ("factual", "held_out", "naive"):
        for metric in ("makespan", "latency"):
            errors = np.abs([r[f"{name}_{metric}"] for r in rows])
            summary[f"{name}_{metric}_error"] = float(errors.mean())
            summary[f"{name}_{metric}_worst"] = float(errors.max())
    return summary


def replace_fidelity(calibration: Calibration, measured: Mapping[str, Any]) -> Calibration:
    """Return the calibration with its measured errors."""
    return dataclasses.replace(calibration, fidelity=measured)
