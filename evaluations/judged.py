"""Judged: what a policy's cells amount to, between the floor and the reference of a suite."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluations.cells import FAILED
from evaluations.contestant import Contestant
from evaluations.metrics import UNITS
from toolkit.errors import ConfigError
from toolkit.seeding import generator
from toolkit.statistics import Floats, Interval, bootstrap, iqm, mean, paired

NOTHING = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One policy on one suite.

    Args:
        by: The policy.
        key: Changes with everything that decides the result.
        cells: A row per ground (``task``) and workload (``seed``): metrics and ``score``.
        score: Mean normalised score with its 95 % interval, workloads resampled within grounds;
            NaN where a cell failed.
        iqm: Interquartile mean of the same.
        chosen: Mean score on training workloads, by which the best heuristic is chosen; NaN
            where that was not played.
        failures: Why cells failed, one text for each.
    """

    by: Contestant
    key: str
    cells: pd.DataFrame
    score: Interval
    iqm: float
    chosen: float
    failures: Sequence[str]

    @property
    def policy(self) -> str:
        """Return its name."""
        return self.by.name

    def mean(self, metric: str) -> Interval:
        """Return the mean of a metric with its 95 % interval; NaN where a cell lacks it."""
        if metric not in self.cells or self.failures:
            return NOTHING
        return _interval(table(self.cells, metric), "metrics")


def scored(
    cells: Mapping[str, pd.DataFrame], floor: str, reference: str
) -> dict[str, pd.DataFrame]:
    """Return cells with ``score``: 0 is the floor, 100 the reference in the mean of a ground.

    A return counts from that of the floor on the same workload, so that easy and hard ones weigh
    alike.

    Args:
        cells: By policy, with ``task``, ``seed`` and ``return_mean``.
        floor: Policy that scores 0.
        reference: Policy that scores 100.

    Raises:
        ConfigError: When one of both is missing, or the reference is no better than the floor.
    """
    for needed in (floor, reference):
        if needed not in cells:
            raise ConfigError(
                f"the suite scores against {needed!r}, which is not among the policies "
                f"{sorted(cells)}",
                hint="add it, or name another: suite.floor=<policy> suite.reference=<policy>",
            )
        if FAILED in cells[needed]:
            why = cells[needed][FAILED].dropna().iloc[0]
            raise ConfigError(
                f"the suite scores against {needed!r}, which failed: {why}",
                hint="name another: suite.floor=<policy> suite.reference=<policy>",
            )
    base = cells[floor].set_index(["task", "seed"])["return_mean"]
    low, high = (cells[n].groupby("task")["return_mean"].mean() for n in (floor, reference))
    for task in low.index[~(high > low).reindex(low.index, fill_value=False)]:
        raise ConfigError(
            f"on {task!r} {reference!r} (mean return {high.get(task, np.nan):.1f}) is no better "
            f"than {floor!r} ({low[task]:.1f}); a score between them would say nothing",
            hint="name a stronger reference: suite.reference=<policy>",
        )
    found = {}
    for name, frame in cells.items():
        if "return_mean" not in frame:
            found[name] = frame.assign(score=np.nan)
            continue
        own = pd.MultiIndex.from_frame(frame[["task", "seed"]])
        start = base.reindex(own).to_numpy()
        task = frame["task"]
        start = np.where(np.isnan(start), task.map(low).to_numpy(), start)
        width = (task.map(high) - task.map(low)).to_numpy()
        found[name] = frame.assign(score=100 * (frame["return_mean"] - start) / width)
    return found


def judge(by: Contestant, key: str, cells: pd.DataFrame, *, chosen: float = float("nan")) -> Judged:
    """Return what the scored cells of a policy amount to.

    Args:
        by: The policy.
        key: Changes with everything that decides the result.
        cells: As of :func:`scored`.
        chosen: See :class:`Judged`.
    """
    failures = [str(w) for w in cells[FAILED].dropna()] if FAILED in cells else []
    scores = table(cells, "score")
    whole = not failures
    return Judged(
        by=by,
        key=key,
        cells=cells,
        score=_interval(scores, "score") if whole else NOTHING,
        iqm=float(iqm(scores.reshape(-1))) if whole else float("nan"),
        chosen=chosen,
        failures=failures,
    )


def table(cells: pd.DataFrame, metric: str) -> Floats:
    """Return a metric as the statistics take it, shape (seeds, tasks).

    Raises:
        ConfigError: When the grounds were not played with the same number of workloads.
    """
    columns = [g[metric].to_numpy(np.float64) for _, g in cells.groupby("task", sort=False)]
    if len({len(c) for c in columns}) > 1:
        raise ConfigError("the grounds of a suite need the same number of workloads each")
    return np.column_stack(columns)


def _interval(scores: Floats, name: str) -> Interval:
    if not np.isfinite(scores).all():
        return NOTHING
    return bootstrap(scores, generator(0, name), statistic=mean)


def compare(judged: Sequence[Judged], metric: str = "latency_mean") -> list[dict[str, Any]]:
    """Compare each pair of policies on a metric, over the workloads that both met.

    Args:
        judged: Policies.
        metric: Of which, see ``evaluations.metrics.UNITS``.

    Returns:
        A row per pair: the paired mean difference (first minus second) with its 95 % bootstrap
        interval, and whether they differ: the interval leaves out 0.
    """
    rows: list[dict[str, Any]] = []
    for a, b in itertools.combinations(judged, 2):
        if metric not in a.cells or metric not in b.cells:
            continue
        both = a.cells.merge(b.cells, on=["task", "seed"], suffixes=("_a", "_b"))
        first, second = (both[f"{metric}_{x}"].to_numpy(np.float64) for x in "ab")
        finite = np.isfinite(first) & np.isfinite(second)
        if finite.sum() < 2:
            continue
        found = paired(first[finite], second[finite], generator(0, "pairs", a.policy, b.policy))
        d = found.difference
        rows.append(
            {
                "first": a.policy,
                "second": b.policy,
                f"{metric.removesuffix('_mean')}_difference": d.value,
                "ci_low": d.low,
                "ci_high": d.high,
                "p": found.p,
                "n": found.n,
                "differ": bool(d.low > 0 or d.high < 0),
            }
        )
    return rows


def means(cells: pd.DataFrame) -> dict[str, float]:
    """Return the mean of every metric of some cells."""
    return {n: float(cells[n].mean()) for n in UNITS if n in cells}
