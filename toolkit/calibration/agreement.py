"""Agreement: how far a calibrated simulator is from runs that it has not seen.

What cannot be known (nothing recorded, NaN predicted) is NaN, in documents None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.statistics import FEWEST_PAIRS, REPETITIONS, Floats, Interval

WAYS = ("held_out", "in_sample", "naive")
"""How a run is predicted: learnt from others, from itself too, by the mean of each type."""
LEVELS = (50, 90)
"""Central intervals whose coverage is measured, %."""

Runs = Mapping[str, Mapping[int, Sequence[float] | Floats]]
"""Policy to seed to values of a metric, one per repeat or draw."""
Repeats = Mapping[tuple[str, int], Sequence[Mapping[str, float]]]
"""Policy and seed to what repeats of that workload measured, by metric."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A recorded run beside what was predicted of it; T tasks, D draws.

    Args:
        split: How it was held out: ``workload``, ``time`` or ``policy``.
        run: Its number in the trace.
        policy: That decided in it.
        seed: Of its workload.
        real: Metric to s: ``makespan``, ``latency`` (mean over jobs), of batches also ``total``.
        predicted: One of ``WAYS`` to metric to s, shape [D].
        log_errors: One of ``WAYS`` to log(real s) - predicted mean log, shape [T].
        luck: F(real | predicted distribution) where it was held out, in (0, 1), shape [T].
        curve: Distance of the utilisation curves, see :func:`curve_distance`.
        extrapolated: Share of its tasks outside of what was fitted.
    """

    split: str
    run: int
    policy: str
    seed: int
    real: Mapping[str, float]
    predicted: Mapping[str, Mapping[str, Floats]]
    log_errors: Mapping[str, Floats]
    luck: Floats
    curve: float
    extrapolated: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether a simulator ranks policies as reality does.

    Args:
        policies: How many were both simulated and recorded.
        seeds: Workloads on which all of them were.
        pairs: Of policies.
        differ: Pairs whose real difference cannot be chance.
        same_sign: Share of those in which the simulated difference has the sign of the real one.
        spearman: Rank correlation of the mean metric over policies.
        kendall: Likewise, tau-b.
        slope: Of real on simulated differences of all pairs, through the origin; 1 is right.
        slope_low: Lower end of its 95 % interval.
        slope_high: Upper end.
    """

    policies: int
    seeds: int
    pairs: int = 0
    differ: int = 0
    same_sign: float | None = None
    spearman: float | None = None
    kendall: float | None = None
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None


def relative_errors(predicted_draws: Floats, real: Floats | float) -> Floats:
    """Return |median(draws) / real - 1|, shape [...].

    Args:
        predicted_draws: Shape [..., D].
        real: Shape [...].
    """
    draws = np.asarray(predicted_draws, dtype=np.float64)
    if not draws.size:
        return np.full(np.shape(real), np.nan)
    return np.abs(np.median(draws, axis=-1) / real - 1)


def floor(repeats: Sequence[float] | Floats) -> float:
    """Return the noise floor: the error of predicting each repeat of a run by the others.

    The mean over repeats of |median(others) / own - 1|, NaN for fewer than 3. The median of few
    others is uncertain itself: with 5 repeats of normal noise the floor is 14 % above the error
    of one who knows the true median.

    Args:
        repeats: A metric of repeats of one workload under one policy, shape [n].
    """
    values = np.asarray(repeats, dtype=np.float64)
    if len(values) < 3:
        return math.nan
    others = np.array([np.delete(values, i) for i in range(len(values))])
    return float(relative_errors(others, values).mean())


def pit(luck: Floats, bins: int = 20) -> NDArray[np.int64]:
    """Return the histogram of the probability integral transform, shape [bins].

    Flat where the predicted distributions are right, a cup where they are too narrow, a cap where
    they are too wide (Gneiting, Balabdaoui and Raftery, JRSS B 69, 2007).

    Args:
        luck: In (0, 1), shape [n]; NaN is left out.
        bins: Of equal width.
    """
    return np.histogram(luck, bins, range=(0.0, 1.0))[0].astype(np.int64)


def ks(luck: Floats) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of luck to the uniform distribution, and its p.

    p takes tasks as independent; those of one run share what befell the run, so it errs low.

    Args:
        luck: In (0, 1), shape [n]; NaN is left out.
    """
    from scipy.stats import kstest

    known = luck[np.isfinite(luck)]
    if not len(known):
        return math.nan, math.nan
    found = kstest(known, "uniform")
    return float(found.statistic), float(found.pvalue)


def coverage(luck: Floats, level: float) -> tuple[Interval, int]:
    """Return the share of tasks within their central predicted interval, and of how many.

    |luck - 1/2| <= level / 2, with the 95 % interval of Clopper and Pearson (Biometrika 26,
    1934). It takes tasks as independent, as :func:`ks` does, and is as much too narrow.

    Args:
        luck: In (0, 1), shape [n]; NaN is left out.
        level: Probability of the predicted interval.
    """
    from scipy.stats import binomtest

    known = luck[np.isfinite(luck)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan), 0
    inside = int(np.sum(np.abs(known - 0.5) <= level / 2))
    bounds = binomtest(inside, len(known)).proportion_ci(confidence_level=0.95, method="exact")
    return Interval(inside / len(known), float(bounds.low), float(bounds.high)), len(known)


def curve_distance(at_a: Floats, busy_a: Floats, at_b: Floats, busy_b: Floats) -> float:
    """Return the integral of |U_a - U_b| by that of U_a, over [0, the later end]; NaN for U_a = 0.

    U is 0 before its first breakpoint and keeps its last value, 0 where all has ended.

    Args:
        at_a: Breakpoints of the real curve, s, ascending, shape [n].
        busy_a: Busy cpus from each of them on, shape [n].
        at_b: Breakpoints of the simulated curve, s, ascending, shape [m].
        busy_b: Busy cpus from each of them on, shape [m].
    """
    grid = np.unique(np.maximum(np.concatenate([[0.0], at_a, at_b]), 0.0))
    a, b = (
        np.concatenate([[0.0], busy])[np.searchsorted(at, grid[:-1], side="right")]
        for at, busy in ((at_a, busy_a), (at_b, busy_b))
    )
    area = float(a @ np.diff(grid))
    return float(np.abs(a - b) @ np.diff(grid)) / area if area else math.nan


def policies_agree(simulated: Runs, real: Runs, rng: np.random.Generator) -> Agreement:
    """Compare how policies differ in simulation with how they really differ.

    Only seeds that every policy has in both count, so that all are compared on the same
    workloads. A pair differs where the 95 % percentile bootstrap interval of its mean real
    difference leaves out 0. Seeds are drawn, the repeats of each averaged; with fewer than
    ``FEWEST_PAIRS`` seeds repeats are drawn within each seed instead, and the intervals speak of
    these workloads alone. Percentile intervals of few are too narrow and are widened as Hesterberg
    says (The American Statistician 69, 2015, "expanded percentile interval"): 6 or 7 % of equal
    policies then differ with 6 seeds or 5 repeats. With fewer degrees of freedom than
    ``FEWEST_PAIRS`` pairs have, nothing can be told apart.

    The slope through the origin over all pairs is that of least squares of the policies' means.

    Args:
        simulated: Draws of a metric.
        real: Its recorded repeats.
        rng: Where the resampling comes from.
    """
    policies = sorted(simulated.keys() & real.keys())
    cells = [of[p] for of in (simulated, real) for p in policies]
    seeds = sorted(s for s in set().union(*cells) if all(len(c.get(s, ())) for c in cells))
    if len(policies) < 2 or not seeds:
        return Agreement(policies=len(policies), seeds=len(seeds))
    n, weights = len(seeds), None
    groups, size = 2 * n, min(len(real[p][s]) for p in policies for s in seeds)
    if n >= FEWEST_PAIRS:
        groups, size = 1, n
        weights = rng.multinomial(n, np.full(n, 1 / n), size=REPETITIONS) / n
    x, y = (
        _means([[np.asarray(of[p][s]) for s in seeds] for p in policies], weights, rng)
        for of in (simulated, real)
    )
    first, second = np.triu_indices(len(policies), 1)
    dx, dy = x[first] - x[second], y[first] - y[second]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.sum(dx * dy, axis=0) / np.sum(dx * dx, axis=0)
    low, high = _bounds(np.vstack([dy, slopes])[:, 1:], groups, size)
    differ = (low[:-1] > 0) | (high[:-1] < 0)
    spearman, kendall = _ranks(x[:, 0], y[:, 0])
    return Agreement(
        policies=len(policies),
        seeds=n,
        pairs=len(differ),
        differ=int(differ.sum()),
        same_sign=_mean(np.sign(dx[differ, 0]) == np.sign(dy[differ, 0])),
        spearman=spearman,
        kendall=kendall,
        slope=_known(slopes[0]),
        slope_low=_known(low[-1]),
        slope_high=_known(high[-1]),
    )


def _means(
    cells: Sequence[Sequence[Floats]], weights: Floats | None, rng: np.random.Generator
) -> Floats:
    """Return the mean of each policy, then resampled ones, shape [policies, 1 + REPETITIONS].

    Args:
        cells: Policies of seeds of values.
        weights: Of seeds, shape [REPETITIONS, seeds]; values are drawn within cells when None.
        rng: Where the values are drawn from.
    """
    means = np.array([[cell.mean() for cell in row] for row in cells])
    if weights is not None:
        drawn = means @ weights.T
    else:
        drawn = np.array([np.mean([_drawn(c, rng) for c in row], axis=0) for row in cells])
    return np.column_stack([means.mean(axis=1), drawn])


def _drawn(values: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(values[rng.integers(0, len(values), (REPETITIONS, len(values)))].mean(axis=1))


def _bounds(drawn: Floats, groups: int, size: int) -> tuple[Floats, Floats]:
    """Return ends of expanded percentile intervals; endless for too few degrees of freedom.

    Args:
        drawn: Bootstrap samples, shape [k, REPETITIONS].
        groups: How many were resampled on their own.
        size: Of each.
    """
    from scipy.stats import norm, t

    freedom = groups * (size - 1)
    if freedom < FEWEST_PAIRS - 1:
        return np.full(len(drawn), -math.inf), np.full(len(drawn), math.inf)
    tail = norm.sf(t.ppf(0.975, freedom) * math.sqrt(size / (size - 1)))
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1)
    return low, high


def _ranks(x: Floats, y: Floats) -> tuple[float | None, float | None]:
    from scipy.stats import kendalltau, spearmanr

    if not all(np.isfinite(m).all() and np.ptp(m) > 0 for m in (x, y)):
        return None, None
    return float(spearmanr(x, y).statistic), float(kendalltau(x, y).statistic)


def summarise(checks: Sequence[Check], repeats: Repeats = MappingProxyType({})) -> dict[str, Any]:
    """Return the errors of each split, JSON-able; what is unknown is None.

    Args:
        checks: Recorded runs with what was predicted of them.
        repeats: Of recorded runs; they give the noise floor.

    Returns:
        A mapping for each ``split`` among the checks:

        - ``runs``, ``tasks``: how many.
        - ``metrics``: for each metric the mean :func:`relative_errors` over runs, ``held_out``,
          ``in_sample`` and ``naive``; the largest, ``held_out_worst``; ``floor``, the mean
          :func:`floor` over those runs of which there are repeats; ``explained``:
          (held_out - floor) / (naive - floor), 0 at the floor, taken as 0 where unknown, and 1
          for no better than naive; None where naive is not above the floor.
        - ``log_error``: mean |log error| over tasks, ``held_out``, ``in_sample``, ``naive``.
        - ``coverage``: for ``50`` and ``90`` ``share``, ``low``, ``high``, ``n`` as of
          :func:`coverage`.
        - ``ks``: ``statistic`` and ``p``; ``pit``: counts as of :func:`pit`.
        - ``curve``: mean over runs of :func:`curve_distance`.
        - ``extrapolated``: share of the tasks.
    """
    splits = dict.fromkeys(c.split for c in checks)
    return {s: _summary([c for c in checks if c.split == s], repeats) for s in splits}


def _summary(checks: Sequence[Check], repeats: Repeats) -> dict[str, Any]:
    luck = np.concatenate([c.luck for c in checks])
    covered = {}
    for level in LEVELS:
        share, n = coverage(luck, level / 100)
        ends = {"share": share.value, "low": share.low, "high": share.high}
        covered[str(level)] = {k: _known(v) for k, v in ends.items()} | {"n": n}
    return {
        "runs": len(checks),
        "tasks": len(luck),
        "metrics": {
            metric: _errors([c for c in checks if metric in c.real], repeats, metric)
            for metric in dict.fromkeys(m for c in checks for m in c.real)
        },
        "log_error": {
            way: _mean(np.abs(np.concatenate([c.log_errors.get(way, ()) for c in checks])))
            for way in WAYS
        },
        "coverage": covered,
        "ks": dict(zip(("statistic", "p"), map(_known, ks(luck)), strict=True)),
        "pit": pit(luck).tolist(),
        "curve": _mean([c.curve for c in checks]),
        "extrapolated": _mean(
            np.repeat([c.extrapolated for c in checks], [len(c.luck) for c in checks])
        ),
    }


def _errors(checks: Sequence[Check], repeats: Repeats, metric: str) -> dict[str, float | None]:
    errors = {
        way: [
            float(relative_errors(c.predicted[way][metric], c.real[metric]))
            for c in checks
            if metric in c.predicted.get(way, {})
        ]
        for way in WAYS
    }
    same = [repeats.get((c.policy, c.seed), ()) for c in checks]
    floors = [floor([r[metric] for r in of if metric in r]) for of in same]
    told = {way: _mean(errors[way]) for way in WAYS}
    told["held_out_worst"] = None if told["held_out"] is None else max(errors["held_out"])
    told["floor"] = _mean([f for f in floors if math.isfinite(f)])
    return told | {"explained": _explained(told["held_out"], told["naive"], told["floor"] or 0.0)}


def _explained(held_out: float | None, naive: float | None, floor: float) -> float | None:
    if held_out is None or naive is None or naive <= floor:
        return None
    return (held_out - floor) / (naive - floor)


def _mean(values: Sequence[float] | NDArray[Any]) -> float | None:
    return _known(np.mean(values)) if len(values) else None


def _known(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None
