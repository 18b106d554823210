"""Stability: how far learning curves fall, and how far trainings disagree about the same states."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.errors import require
from toolkit.statistics import Floats, Interval

_NOTHING = Interval(math.nan, math.nan, math.nan)


def drawdown(returns: Floats) -> float:
    """Return by how much a learning curve lies below the best that it reached before, on average.

    A curve that only rises has 0, however slowly it does; what falls back has more.

    Args:
        returns: Points of the curve in their order, shape [n].
    """
    curve = np.asarray(returns, dtype=np.float64)
    require(curve.ndim == 1 and len(curve) > 0, "a learning curve needs a point")
    return float((np.maximum.accumulate(curve) - curve).mean())


def apart(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the difference of two means with its 95 % interval by Welch's t.

    Welch, The generalization of "Student's" problem when several different population variances
    are involved, Biometrika 34, 1947.

    Args:
        first: At least two numbers; with fewer on either side the interval is NaN.
        second: The others.
    """
    from scipy.stats import t

    a, b = (np.asarray(x, dtype=np.float64) for x in (first, second))
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Interval(difference, math.nan, math.nan)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    spread = sum(parts)
    if spread == 0:
        return Interval(difference, difference, difference)
    freedom = spread**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    half = float(t.ppf(0.975, freedom)) * math.sqrt(spread)
    return Interval(difference, difference - half, difference + half)


def disagreement(values: Floats) -> float:
    """Return the variance over trainings of the value of a state, averaged over states.

    Args:
        values: Shape [trainings, states], two trainings or more.
    """
    return float(np.asarray(values).var(axis=0, ddof=1).mean())


def disagreements(first: Floats, second: Floats) -> Interval:
    """Return the ratio of two disagreements with its 95 % interval.

    Miller, Jackknifing variances, Annals of Mathematical Statistics 39, 1968: pseudo-values of
    the logarithm, compared by Welch's t.

    Args:
        first: Shape [trainings, states].
        second: The same states; the number of trainings may differ.

    Returns:
        NaN where either has fewer than two trainings; an interval of NaN with fewer than three,
        as none can be left out.
    """
    if min(len(first), len(second)) < 2:
        return _NOTHING
    value = disagreement(first) / disagreement(second)
    if min(len(first), len(second)) < 3:
        return Interval(value, math.nan, math.nan)
    found = apart(_pseudo(first), _pseudo(second))
    return Interval(value, *(math.exp(x) for x in (found.low, found.high)))


def _pseudo(values: Floats) -> list[float]:
    n = len(values)
    whole = math.log(disagreement(values))
    without = [math.log(disagreement(np.delete(values, i, axis=0))) for i in range(n)]
    return [n * whole - (n - 1) * w for w in without]
