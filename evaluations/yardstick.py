"""Yardstick: rules and metrics by which policies are measured on unseen workloads of a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.cells import BOUND, FAILED, cells
from evaluations.metrics import MORE_IS_BETTER, UNITS
from toolkit.errors import ToolkitError, require
from toolkit.seeding import GATE, generator
from toolkit.statistics import Interval, bootstrap, mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

FLOOR = "random"
"""The baseline that scores 0."""


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What policies are measured by.

    Args:
        name: Of the draws of the bootstrap.
        baselines: Rules, ``FLOOR`` among them; the best of them on training workloads is the
            reference.
        also: Rules to compare with that are no reference: tuned for what is judged, or told more.
        metrics: What is compared, see ``evaluations.metrics.UNITS``; the first ranks.
        chosen_on: Training workloads that tell which baseline is the best.
        workloads: Unseen workloads.
        first_seed: Seed of the first of them.
    """

    name: str
    baselines: Sequence[str]
    also: Sequence[str]
    metrics: Sequence[str]
    chosen_on: int
    workloads: int
    first_seed: int

    def __post_init__(self) -> None:
        require(
            FLOOR in self.baselines and len(self.baselines) > 1,
            f"experiment.baselines must name {FLOOR!r}, which scores 0, and another rule",
        )
        strange = sorted(set(self.metrics) - set(UNITS))
        require(
            len(self.metrics) > 0 and not strange,
            f"experiment.metrics must name one or more of {', '.join(UNITS)}, got {strange}",
        )
        require(self.workloads >= 2, "experiment.workloads must be 2 or more")
        require(self.chosen_on >= 1, "experiment.chosen_on must be 1 or more")
        require(
            self.first_seed >= 10_000,
            "experiment.first_seed must be 10000 or more: smaller ones are for training",
        )

    def measure(
        self, words: Sequence[str], arms: Mapping[str, Sequence[str]], cfg: DictConfig
    ) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        """Play all policies on one scenario and compare them.

        Args:
            words: Name of the scenario, and overrides.
            arms: Names of policies by arm, one for each training.
            cfg: Tells executor and workers.

        Returns:
            ``scenario``; ``best``, the reference; ``policies``, best first, each with ``means``,
            ``score`` and ``ratios`` by rule and metric; ``bound`` by metric. And by policy a row
            per workload, its trainings averaged.

        Raises:
            ConfigError: When a metric does not tell of the scenario.
        """
        main = self.metrics[0]
        sign = -1.0 if main in MORE_IS_BETTER else 1.0
        # Unseen workloads would flatter the rule that is best on them.
        known = range(GATE, GATE + self.chosen_on)
        before = cells({n: [n] for n in self.baselines if n != FLOOR}, words, known, cfg)
        self._require_metrics(before, words[0])
        best = min(before, key=lambda n: (sign * float(np.log(before[n][main]).mean()), n))
        names = {n: [n] for n in (*self.baselines, *self.also)} | dict(arms)
        seeds = range(self.first_seed, self.first_seed + self.workloads)
        found = cells({**names, BOUND: [BOUND]}, words, seeds, cfg)
        least = found.pop(BOUND)
        self._require_metrics(found, words[0])
        floor, top = (float(found[n]["return_mean"].mean()) for n in (FLOOR, best))
        rows, frames = [], {}
        for policy, played in found.items():
            frame = played.groupby("seed", as_index=False).mean(numeric_only=True)
            frame["score"] = 100 * (frame["return_mean"] - floor) / (top - floor)
            frames[policy] = frame
            rng = generator(0, "score", self.name)
            row: dict[str, Any] = {
                "policy": policy,
                "trainings": int(played["training"].nunique()),
                "means": {m: float(frame[m].mean()) for m in UNITS if m in frame},
                "score": vars(bootstrap(frame["score"].to_numpy(), rng, statistic=mean)),
                "ratios": {
                    rule: {m: self._ratio(played, found[rule], m) for m in self.metrics}
                    for rule in (best, *self.also)
                },
                "by_waiting": by_waiting(played, found[FLOOR]),
            }
            rows.append(row)
        rows.sort(key=lambda r: sign * float(r["ratios"][best][main]["value"]))
        bound = {
            m: {"mean": float(least[m].mean()), "ratio": self._ratio(least, found[best], m)}
            for m in self.metrics
            if m in least
        }
        told = {"scenario": list(words), "best": best, "policies": rows, "bound": bound}
        return told, frames

    def _require_metrics(self, found: Mapping[str, pd.DataFrame], scenario: str) -> None:
        for name, frame in found.items():
            if FAILED in frame:
                raise ToolkitError(
                    f"{name!r} failed on {scenario}: {frame[FAILED].dropna().iloc[0]}"
                )
        for metric in self.metrics:
            lacking = [n for n, frame in found.items() if metric not in frame]
            told = f"experiment.metrics: {scenario} has no {metric!r} of {', '.join(lacking)}"
            require(not lacking, told)

    def _ratio(self, some: pd.DataFrame, others: pd.DataFrame, metric: str) -> dict[str, float]:
        return vars(ratio_of(some, others, metric, generator(0, "ratio", self.name)))

    def text(self, measured: Mapping[str, Any]) -> list[str]:
        """Return what :meth:`measure` returned as lines."""
        lines = []
        for metric in self.metrics:
            lines += _table(measured, metric)
        return lines + [
            f"  {r['policy']} waits less than {FLOOR}: {r['by_waiting']:.0%} of what it saves"
            for r in measured["policies"]
            if "wait_mean" in self.metrics and r["by_waiting"] is not None
        ]


def _table(measured: Mapping[str, Any], metric: str) -> list[str]:
    rules = list(measured["policies"][0]["ratios"])
    heads = "".join(f"  {f'of {rule} [95 % CI]':<28}" for rule in rules)
    lines = [f"  {metric:<20}{'trainings':>10}{'mean':>12}{heads}  score"]
    for r in measured["policies"]:
        told = "".join(f"  {_shown(r['ratios'][rule][metric]):<28}" for rule in rules)
        lines.append(
            f"  {r['policy']:<20}{r['trainings']:>10}{r['means'][metric]:>12.4g}{told}"
            f"{r['score']['value']:>7.1f}"
        )
    if metric in measured["bound"]:
        bound = measured["bound"][metric]
        lines.append(
            f"  {'(no policy beyond)':<20}{'':>10}{bound['mean']:>12.4g}  {_shown(bound['ratio'])}"
        )
    return lines


def _shown(ratio: Mapping[str, float]) -> str:
    if not np.isfinite(ratio["value"]):
        return "–"
    return f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"


def ratio_of(
    some: pd.DataFrame, others: pd.DataFrame, metric: str, rng: np.random.Generator
) -> Interval:
    """Return the geometric mean over workloads of the ratio of a metric to that of another policy.

    Args:
        some: With ``seed`` and the metric, a row per workload and training.
        others: The same of the other policy.
        metric: Of which; NaN comes of one that is 0 somewhere.
        rng: Of the bootstrap over workloads; trainings are averaged within each.
    """
    with np.errstate(divide="ignore"):
        logs = [np.log(frame[metric]).groupby(frame["seed"]).mean() for frame in (some, others)]
    both = pd.concat(logs, axis=1, join="inner").to_numpy(dtype=np.float64)
    if not np.isfinite(both).all():
        return Interval(np.nan, np.nan, np.nan)
    found = bootstrap(both[:, 0] - both[:, 1], rng, statistic=mean)
    return Interval(*(float(np.exp(v)) for v in (found.value, found.low, found.high)))


def by_waiting(some: pd.DataFrame, others: pd.DataFrame) -> float | None:
    """Return which share of the mean latency that is saved is time before the first task.

    Of batches that is the starting of executors, which who does not switch is spared.

    Args:
        some: With ``wait_mean`` and ``latency_mean``.
        others: Of the policy that takes longer; None is returned where it does not.
    """
    waited, took = (float(others[m].mean() - some[m].mean()) for m in ("wait_mean", "latency_mean"))
    return waited / took if took > 0 else None
