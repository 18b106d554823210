"""Statistics of a board: many policies, several scenarios, the same seeds for all of them.

Sources: Efron, "Better Bootstrap Confidence Intervals", JASA 1987
(doi:10.1080/01621459.1987.10478410), for BCa intervals; Agarwal et al., "Deep Reinforcement
Learning at the Edge of the Statistical Precipice", NeurIPS 2021 (arXiv 2108.13264), for
performance profiles and the optimality gap; Goldstein and Spiegelhalter, "League Tables and Their
Limitations", JRSS A 1996 (doi:10.2307/2983325), for intervals of ranks.

What one policy is worth, and the comparison of two, is in :mod:`toolkit.statistics`. Scores of P
policies have the shape (P, seeds) or (P, seeds, tasks); seed by seed all met the same luck, so that
seeds are resampled for all policies together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.statistics import REPETITIONS, Floats, Interval, sign_flip


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What several tests say of the mean difference between two policies.

    Args:
        difference: Mean of first minus second with its BCa interval.
        t: Two-sided p of Student's paired t-test.
        wilcoxon: Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0.
        sign_flip: Two-sided p of the sign-flip test.
        n: Number of pairs.
    """

    difference: Interval
    t: float
    wilcoxon: float
    sign_flip: float
    n: int


def difference(
    first: Floats, second: Floats, rng: np.random.Generator, *, repetitions: int = REPETITIONS
) -> Difference:
    """Compare two policies on the same seeds.

    Args:
        first: Scores, shape (n,), n at least 2.
        second: Those of the other policy on the same seeds in the same order.
        rng: Where the resampling comes from.
        repetitions: Bootstrap samples, and sign flips where 2**n is more.

    Raises:
        ValueError: When the shapes differ, there are fewer than two pairs, or one is not finite.
    """
    from scipy import stats

    if np.shape(first) != np.shape(second) or np.ndim(first) != 1 or len(first) < 2:
        raise ValueError(f"cannot compare {np.shape(first)} with {np.shape(second)}")
    d = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    interval = bca(d, rng, repetitions=repetitions)
    spread, some = bool(np.ptp(d) > 0), bool(d.any())
    return Difference(
        difference=interval,
        # Without spread the statistic of t is infinite, or there is nothing to be found.
        t=float(stats.ttest_1samp(d, 0.0).pvalue) if spread else float(not some),
        wilcoxon=float(stats.wilcoxon(d).pvalue) if some else 1.0,
        sign_flip=sign_flip(d, rng, repetitions),
        n=len(d),
    )


def bca(
    values: Floats, rng: np.random.Generator, *, level: float = 0.95, repetitions: int = REPETITIONS
) -> Interval:
    """Return the mean with its bias-corrected and accelerated bootstrap interval.

    Args:
        values: Shape (n,), finite.
        rng: Where the resampling comes from.
        level: Coverage asked of the interval.
        repetitions: Bootstrap samples.

    Raises:
        ValueError: When there is no value or one that is not finite.
    """
    from scipy import stats

    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError("values must be finite numbers, one at least, of shape (n,)")
    value = float(x.mean())
    if np.ptp(x) == 0:
        return Interval(value, value, value)
    drawn = _weights(len(x), repetitions, rng) @ x
    # Half of what ties with the estimate lies below it.
    below = float((drawn < value).mean() + 0.5 * (drawn == value).mean())
    bias = float(stats.norm.ppf(np.clip(below, 1 / repetitions, 1 - 1 / repetitions)))
    without = (x.sum() - x) / (len(x) - 1)
    away = without.mean() - without
    acceleration = float((away**3).sum() / (6 * (away**2).sum() ** 1.5))
    tails = np.asarray(stats.norm.ppf([(1 - level) / 2, (1 + level) / 2]))
    shifted = bias + tails
    ends = np.asarray(stats.norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    low, high = (float(np.quantile(drawn, end)) for end in ends)
    return Interval(value, low, high)


def optimality_gap(scores: Floats, target: float = 100.0) -> float:
    """Return how far scores fall short of a target in the mean; what is above it counts as it.

    Args:
        scores: Of any shape.
        target: A score that is good enough.
    """
    return float(target - np.minimum(scores, target).mean())


def profiles(
    scores: Floats, levels: Floats, rng: np.random.Generator, *, repetitions: int = REPETITIONS
) -> tuple[Floats, Floats, Floats]:
    """Return performance profiles: the share of the runs of each policy that score above levels.

    Args:
        scores: Shape (P, seeds) or (P, seeds, tasks); every policy met every seed.
        levels: Shape (L,).
        rng: Where the resampling of seeds within tasks comes from, the same for all policies.
        repetitions: Bootstrap samples.

    Returns:
        The shares and the ends of their pointwise 95 % intervals, each of shape (P, L).

    Raises:
        ValueError: When a score is missing.
    """
    table = _table(scores)
    above = (table[..., None] > np.asarray(levels)).astype(np.float64)
    low, high = np.quantile(_drawn(above, rng, repetitions), [0.025, 0.975], axis=0)
    return above.mean(axis=(1, 2)), low, high


def ranks(
    scores: Floats, rng: np.random.Generator, *, level: float = 0.95, repetitions: int = REPETITIONS
) -> list[Interval]:
    """Return the rank of each policy by mean score, 1 for the best, with its interval.

    Args:
        scores: Shape (P, seeds) or (P, seeds, tasks); every policy met every seed.
        rng: Where the resampling of seeds within tasks comes from, the same for all policies.
        level: Coverage asked of each interval.
        repetitions: Bootstrap samples.

    Raises:
        ValueError: When a score is missing.
    """
    table = _table(scores)
    drawn = _drawn(table[..., None], rng, repetitions)[..., 0]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(_ranked(drawn), tails, axis=0, method="inverted_cdf")
    own = _ranked(table.mean(axis=(1, 2))[None])[0]
    return [Interval(float(r), float(a), float(b)) for r, a, b in zip(own, low, high, strict=True)]


def _table(scores: Floats) -> Floats:
    """Return scores with an axis of tasks, (P, seeds, tasks)."""
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, :, None] if table.ndim == 2 else table
    if table.ndim != 3 or not table.size or not np.isfinite(table).all():
        raise ValueError("scores must be finite, of shape (policies, seeds[, tasks])")
    return table


def _drawn(values: Floats, rng: np.random.Generator, repetitions: int) -> Floats:
    """Return the means of (P, seeds, tasks, L) over resampled seeds; (repetitions, P, L)."""
    P, n, tasks, L = values.shape
    total = np.zeros((repetitions, P * L))
    for t in range(tasks):
        of_task = values[:, :, t].transpose(1, 0, 2).reshape(n, P * L)
        total += _weights(n, repetitions, rng) @ of_task
    return np.asarray((total / tasks).reshape(repetitions, P, L))


def _ranked(means: Floats) -> Floats:
    """Return ranks within each row, 1 for the greatest, the mean of them where some tie."""
    from scipy import stats

    return np.asarray(stats.rankdata(-means, axis=1))


def _weights(n: int, repetitions: int, rng: np.random.Generator) -> Floats:
    """Return how often each of n values is drawn in each sample, over n; [repetitions, n]."""
    drawn = rng.integers(0, n, size=(repetitions, n)) + n * np.arange(repetitions)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * repetitions).reshape(repetitions, n) / n
