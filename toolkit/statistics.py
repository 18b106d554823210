"""What may be said from a few seeds: robust means, intervals and paired comparisons.

Sources: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
NeurIPS 2021 (arXiv 2108.13264), for the interquartile mean, the stratified percentile bootstrap
and the probability of improvement; Efron and Tibshirani, "An Introduction to the Bootstrap"
(1993), chapters 13 and 15, for percentile intervals and the sign-flip test of paired data.

Arrays of scores have the shape (seeds,) or (seeds, tasks). Every random number comes from the
generator that is passed in, so a board is the same each time it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPETITIONS = 4000
"""Bootstrap samples: the ends of an interval move by about 2 % of its width."""
FEWEST_PAIRS = 6
"""Fewer pairs can never reach p < 0.05: all signs equal has probability 2 / 2**n."""
_CHUNK = 4_000_000  # numbers resampled at once, 32 MB


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Args:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """A comparison of two policies on the same seeds.

    Args:
        difference: Mean of first minus second, with its interval.
        p: Two-sided sign-flip probability of a mean difference at least as large.
        n: Number of pairs.
    """

    difference: Interval
    p: float
    n: int

    @property
    def verdict(self) -> int:
        """1: the first is better, -1: it is worse, 0: they cannot be told apart.

        Both the interval and the test must agree, because a percentile interval is too narrow
        for the few seeds that people can afford.
        """
        if self.n < FEWEST_PAIRS or self.p >= 0.05:
            return 0
        return int(self.difference.low > 0) - int(self.difference.high < 0)


def mean(scores: Floats) -> Floats:
    """Return the mean over the last axis."""
    return np.asarray(scores.mean(axis=-1))


def iqm(scores: Floats) -> Floats:
    """Return the interquartile mean over the last axis: the mean of the middle half.

    As rliable defines it: ``scipy.stats.trim_mean(scores, 0.25)``, which drops
    ``floor(n / 4)`` values at either end.
    """
    n = scores.shape[-1]
    cut = n // 4
    middle = np.partition(scores, (cut, n - cut - 1), axis=-1)[..., cut : n - cut]
    return np.asarray(middle.mean(axis=-1))


def bootstrap(
    scores: Floats,
    rng: np.random.Generator,
    *,
    statistic: Callable[[Floats], Floats] = iqm,
    level: float = 0.95,
    repetitions: int = REPETITIONS,
) -> Interval:
    """Return ``statistic`` of all scores with its percentile bootstrap interval.

    Seeds are resampled within each task (stratified), then all tasks are pooled.

    Args:
        scores: Shape (seeds,) or (seeds, tasks), finite.
        rng: Where the resampling comes from.
        statistic: Maps (..., n) to (...); :func:`iqm` or :func:`mean`.
        level: Coverage asked of the interval.
        repetitions: Number of bootstrap samples.

    Returns:
        The estimate and its interval; without spread (one seed) both ends equal the estimate.

    Raises:
        ValueError: When there is no score or one that is not finite.
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"scores must be (seeds,) or (seeds, tasks), got {np.shape(scores)}")
    if not np.isfinite(table).all():
        raise ValueError("scores must be finite")
    seeds, tasks = table.shape
    step = max(1, _CHUNK // table.size)
    parts = []
    for start in range(0, repetitions, step):
        n = min(step, repetitions - start)
        drawn = rng.integers(0, seeds, size=(n, seeds, tasks))
        parts.append(statistic(table[drawn, np.arange(tasks)].reshape(n, -1)))
    tail = 50 * (1 - level)
    low, high = np.percentile(np.concatenate(parts), [tail, 100 - tail])
    return Interval(float(statistic(table.reshape(-1))), float(low), float(high))


def crossed(first: Floats, second: Floats | None = None) -> Interval:
    """Return the difference of two means with its 95 % interval over trainings and workloads.

    What is said of an algorithm must hold for its next training and for the next workload. The
    variances of the means of trainings and of workloads add up (that of both together counts
    twice, which errs on the wide side), and t has the degrees of freedom of Satterthwaite, An
    Approximate Distribution of Estimates of Variance Components, Biometrics Bulletin 2, 1946: a
    bootstrap of three to five trainings covers far less than it says. One training tells nothing
    of others: what has one is taken as it is.

    Args:
        first: Shape [trainings, workloads].
        second: Shape [other trainings, the same workloads]; 0 where absent.

    Returns:
        NaN where a number is not finite.
    """
    from scipy.stats import t

    arms = [np.asarray(a, dtype=np.float64) for a in (first, second) if a is not None]
    if not all(np.isfinite(a).all() for a in arms):
        return Interval(np.nan, np.nan, np.nan)
    middles = [a.mean(axis=0) for a in arms]
    by_workload = middles[0] - middles[1] if second is not None else middles[0]
    samples = [by_workload, *(a.mean(axis=1) for a in arms)]
    parts = [(x.var(ddof=1) / len(x), len(x) - 1) for x in samples if len(x) > 1]
    value, spread = float(by_workload.mean()), float(sum(v for v, _ in parts))
    if spread <= (1e-12 * abs(value)) ** 2:
        return Interval(value, value, value)
    freedom = spread**2 / sum(v**2 / n for v, n in parts)
    half = float(t.ppf(0.975, freedom)) * spread**0.5
    return Interval(value, value - half, value + half)


def paired(
    first: Floats, second: Floats, rng: np.random.Generator, *, repetitions: int = REPETITIONS
) -> Paired:
    """Compare two policies that ran the same seeds.

    Args:
        first: Scores of one policy, shape (n,).
        second: Scores of the other on the same seeds in the same order, shape (n,).
        rng: Where the resampling comes from.
        repetitions: Bootstrap samples, and sign flips where 2**n is more.

    Raises:
        ValueError: When the shapes differ or nothing is left to compare.
    """
    if np.shape(first) != np.shape(second) or np.ndim(first) != 1:
        raise ValueError(f"cannot pair {np.shape(first)} with {np.shape(second)}")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    interval = bootstrap(differences, rng, statistic=mean, repetitions=repetitions)
    return Paired(interval, sign_flip(differences, rng, repetitions), len(differences))


def sign_flip(differences: Floats, rng: np.random.Generator, repetitions: int) -> float:
    """Return the two-sided probability of a mean as far from 0 if signs were a coin's throw.

    Exact where all sign patterns are no more than ``repetitions``, else by sampling (the observed
    pattern counts, so the result is never 0).
    """
    n = len(differences)
    observed = abs(differences.sum())
    slack = 1e-12 * np.abs(differences).sum()
    if n < 63 and 2**n <= repetitions:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        sums = (2.0 * bits - 1.0) @ differences
        return float(np.mean(np.abs(sums) >= observed - slack))
    signs = rng.integers(0, 2, size=(repetitions, n)) * 2.0 - 1.0
    hits = int(np.sum(np.abs(signs @ differences) >= observed - slack))
    return (hits + 1) / (repetitions + 1)


def probability_of_improvement(
    first: Floats,
    second: Floats,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    repetitions: int = REPETITIONS,
) -> Interval:
    """Return how likely a run of ``first`` beats one of ``second``, ties counting half.

    The Mann-Whitney U over the product of the sample sizes, averaged over tasks; seeds of either
    policy are resampled independently within each task.

    Args:
        first: Shape (seeds,) or (seeds, tasks).
        second: The same tasks; the number of seeds may differ.
        rng: Where the resampling comes from.
        level: Coverage asked of the interval.
        repetitions: Number of bootstrap samples.

    Raises:
        ValueError: When the tasks differ or nothing is left to compare.
    """
    a, b = (np.atleast_2d(np.asarray(x, dtype=np.float64).T).T for x in (first, second))
    if a.shape[1] != b.shape[1] or a.size == 0 or b.size == 0:
        raise ValueError(f"cannot compare {np.shape(first)} with {np.shape(second)}")
    tasks = a.shape[1]
    wins = np.stack([_wins(a[:, t], b[:, t]) for t in range(tasks)])  # (tasks, n, m)
    n, m = a.shape[0], b.shape[0]
    rows = rng.multinomial(n, np.full(n, 1 / n), size=(repetitions, tasks)) / n
    columns = rng.multinomial(m, np.full(m, 1 / m), size=(repetitions, tasks)) / m
    samples = np.einsum("rtn,tnm,rtm->r", rows, wins, columns, optimize=True) / tasks
    tail = 50 * (1 - level)
    low, high = np.percentile(samples, [tail, 100 - tail])
    return Interval(float(wins.mean()), float(low), float(high))


def _wins(a: Floats, b: Floats) -> Floats:
    return np.asarray((a[:, None] > b) + 0.5 * (a[:, None] == b), dtype=np.float64)
