"""The command ``toolkit advise``: what another policy or size would do to the jobs of a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra import compose
from hydra.errors import InstantiationException
from hydra.utils import get_method

from evaluations import advice
from toolkit import trace as traces
from toolkit.calibration import agreement
from toolkit.errors import ConfigError, CorruptError, SchemaError, require, unknown
from toolkit.policies.named import named
from toolkit.policies.policy import Policy
from toolkit.progress import progress
from toolkit.replays import logged as logs
from toolkit.replays.again import METRICS, Fleet, Stream, as_recorded, measured, resampled
from toolkit.replays.logged import Logged
from toolkit.report import Report
from toolkit.statistics import Floats, Interval
from toolkit.store import Product, Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

IMPORTERS = ("spark", "ray", "gpu", "wfformat", "nextflow")
"""Those that know their files by what stands in them come before those that take any file."""

TIMES = METRICS[:3]
"""Metrics that the log tells as well."""

LEVEL = 0.9
"""Of the interval in which the seconds of a task should lie."""


def advise(cfg: DictConfig) -> Report:
    """Say what another policy or another size of the cluster would do to the jobs of a log.

    Durations are learnt from the earlier jobs. The later ones are replayed under the engine's own
    rule, which gives the error of the replay, and then under others. A change that is smaller
    than that error, or may be 0, is none: "cannot tell".
    """
    require(
        (cfg.path is None) != (cfg.trace is None),
        "name either logs or a trace",
        hint="toolkit advise path=<file or folder>, or trace=<id>",
    )
    for name, least in (("workloads", 20), ("tasks", 1), ("draws", 3)):
        require(cfg[name] >= least, f"{name} must be at least {least}, got {cfg[name]}")
    store = Store()
    product = store.get("traces", str(cfg.trace)) if cfg.path is None else _imported(cfg, store)
    logged = logs.read(traces.read(product.path))
    policies = {name: named(name, store).policy for name in [cfg.baseline, *cfg.policies]}
    baseline = policies[cfg.baseline]
    error = held_out(logged, baseline, draws=int(cfg.draws), seed=int(cfg.seed))
    lines = compare(logged, policies, str(cfg.baseline), error, cfg)
    early, late = logged.jobs()
    document = {
        "trace": product.id,
        "source": logged.source,
        "baseline": str(cfg.baseline),
        "runs": len(logged.runs),
        "jobs": {"learnt": early, "held_out": late},
        "tasks": sum(len(r.work) for r in logged.runs),
        "nodes": sum(len(r.log.nodes) for r in logged.runs),
        "changing": any(r.changing for r in logged.runs),
        "workloads": int(cfg.workloads),
        **error,
        "lines": lines,
    }
    document["advice"] = advice.sentence(document)
    return Report(document=document, text=advice.page(document))


def _imported(cfg: DictConfig, store: Store) -> Product:
    """Return the trace of logs, read by the collector that is named or that knows them."""
    path = str(cfg.path)
    require(Path(path).expanduser().exists(), f"there is no file or folder {path!r}")
    if cfg.reader not in (None, *IMPORTERS):
        raise unknown("reader of logs", str(cfg.reader), IMPORTERS)
    collect = get_method(cfg._collect_)
    refused: list[Exception] = []
    for name in IMPORTERS if cfg.reader is None else (str(cfg.reader),):
        own = compose("collect", [f"collector={name}"])
        own.collector.path, own.infer, own.min_complete = path, "none", cfg.min_complete
        try:
            return store.get("traces", collect(own).document["trace"])
        except (ConfigError, InstantiationException) as error:
            if cfg.reader is not None:
                raise
            del error  # not its kind of log, or its engine is not installed
        except (CorruptError, SchemaError) as error:
            refused.append(error)
    if refused:
        # The first that took them for its own knows best what is wrong with them.
        raise refused[0]
    raise ConfigError(
        f"nothing in {path!r} looks like a log of {', '.join(IMPORTERS)}",
        hint="name the file itself, or who reads it: reader=<name>",
    )


def held_out(logged: Logged, baseline: Policy, *, draws: int, seed: int) -> dict[str, Any]:
    """Hold the replay of the later jobs under the engine's own rule against what was recorded.

    Args:
        logged: The log.
        baseline: Stands for the rule of the engine.
        draws: Replays with durations that were predicted.
        seed: Of the first of them.

    Returns:
        ``metrics``: by metric of ``TIMES`` what was ``recorded`` and ``replayed``, s; relative
        errors ``held_out`` (durations predicted) and ``knowing`` (durations as recorded); the
        ``floor``, by how much draws differ among themselves; ``bar``, the greater of the errors.
        ``coverage``: of the predicted intervals of tasks. ``unseen``: share of the held-out tasks
        whose type no earlier job had.
    """
    streams = as_recorded(logged)
    done = [~np.isnan(s.run.completed[s.counted :]) for s in streams]
    require(
        any(d.any() for d in done),
        "none of the later jobs ended in the log, so that nothing can be held against them",
        hint="name logs of applications that have ended: toolkit advise path=<folder>",
    )
    recorded = _times(streams, [s.run.completed[s.counted :] for s in streams], done)
    knowing = _replayed(streams, done, baseline, seed)
    predicted = as_recorded(logged, anew=True)
    drawn = np.array([_replayed(predicted, done, baseline, seed + k) for k in range(draws)])
    errors = agreement.relative_errors(drawn.T, recorded)
    beside = np.abs(knowing / recorded - 1)
    metrics = {
        metric: {
            "recorded": float(recorded[i]),
            "replayed": float(np.median(drawn[:, i])),
            "held_out": float(errors[i]),
            "knowing": float(beside[i]),
            "floor": agreement.floor(drawn[:, i]),
            "bar": float(max(errors[i], beside[i])),
        }
        for i, metric in enumerate(TIMES)
    }
    inside = logged.inside(LEVEL)
    share, n = agreement.coverage(np.where(inside, 0.5, 0.0), LEVEL)
    known = np.concatenate([logged.known(r)[r.held_out] for r in logged.runs])
    coverage = {"share": share.value, "low": share.low, "high": share.high, "n": n}
    return {"metrics": metrics, "coverage": coverage, "unseen": float(1 - known.mean())}


def _replayed(
    streams: Sequence[Stream], done: Sequence[Floats], policy: Policy, seed: int
) -> Floats:
    """Return the times of a replay, of the jobs that ended in the log."""
    ends = [s.play(policy, seed)[0] + s.arrival[s.counted :] for s in streams]
    return _times(streams, ends, done)


def _times(streams: Sequence[Stream], ends: Sequence[Floats], done: Sequence[Floats]) -> Floats:
    """Return the metrics of ``TIMES``, from when the measured jobs ended."""
    came = [s.arrival[s.counted :] for s in streams]
    latency = np.concatenate([(e - c)[d] for e, c, d in zip(ends, came, done, strict=True)])
    span = [e[d].max() - c.min() for e, c, d in zip(ends, came, done, strict=True) if d.any()]
    return np.array([latency.mean(), np.quantile(latency, 0.95), sum(span)])


def compare(
    logged: Logged,
    policies: Mapping[str, Policy],
    baseline: str,
    error: Mapping[str, Any],
    cfg: DictConfig,
) -> list[dict[str, Any]]:
    """Play policies and fleets on the same resampled jobs with the same luck as the baseline.

    Returns:
        A row each: ``name``, ``kind``, relative ``change`` by metric with its 95 % interval over
        resamplings, and the ``verdict`` on the mean latency. The first is the baseline itself,
        with its means in s and cpu-s as ``usual``.
    """
    seeds = range(int(cfg.seed), int(cfg.seed) + int(cfg.workloads))
    sizes = fleets(logged)
    played: dict[str, list[list[float]]] = {name: [] for name in [*policies, *sizes]}
    with progress("playing the later jobs again", len(seeds), "resamplings") as bar:
        for seed, streams in zip(seeds, resampled(logged, seeds, int(cfg.tasks)), strict=True):
            for name, policy in policies.items():
                played[name].append([*measured(streams, policy, seed).values()])
            for name, fleet in sizes.items():
                other = [replace(s, fleet=fleet) for s in streams]
                played[name].append([*measured(other, policies[baseline], seed).values()])
            bar.update()
    usual = np.array(played.pop(baseline))
    means = dict(zip(METRICS, usual.mean(axis=0).tolist(), strict=True))
    rows: list[dict[str, Any]] = [{"name": baseline, "kind": "baseline", "usual": means}]
    for name, values in played.items():
        with np.errstate(invalid="ignore"):
            change = np.array(values) / usual - 1
        found = {metric: _interval(change[:, i]) for i, metric in enumerate(METRICS)}
        rows.append(
            {
                "name": name,
                "kind": "size" if name in sizes else "policy",
                "change": {m: vars(v) for m, v in found.items()},
                "verdict": advice.verdict(found["latency"], error["metrics"]["latency"]["bar"]),
            }
        )
    return rows


def _interval(change: Floats) -> Interval:
    """Return the mean change and where it lies in 95 % of the resamplings."""
    low, high = np.quantile(change, [0.025, 0.975])
    return Interval(float(change.mean()), float(low), float(high))


def fleets(logged: Logged) -> dict[str, Fleet]:
    """Return other sizes of the cluster: numbers of nodes, of Spark's executors cores as well."""
    spark = logged.source == "spark"
    what, most = ("executors" if spark else "nodes"), max(len(r.log.nodes) for r in logged.runs)
    found: dict[int, tuple[str, Fleet]] = {most: ("", Fleet())}
    for factor in (2.0, 1.5, 0.5):
        count = max(1, round(most * factor))
        found.setdefault(count, (f"{what} x {factor:g}", Fleet(count=factor)))
    sizes = {name: fleet for _, (name, fleet) in sorted(found.items()) if name}
    for factor in (0.5, 2.0) if spark else ():
        sizes[f"cores x {factor:g}"] = Fleet(cores=factor)
    return sizes
