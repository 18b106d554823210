"""Ranks: whether a number follows a setting, over trainings and workloads; who is dominated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.statistics import REPETITIONS, Floats, Interval

_DIGITS = 9
"""Significant digits: means of the same numbers in another order are the same rank."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A rank correlation.

    Args:
        rho: Spearman's, with its 95 % interval over trainings and workloads.
        p: Two-sided probability of one at least as far from 0 if levels were dealt to trainings
            by chance: few trainings may differ in order without any reason.
    """

    rho: Interval
    p: float

    def follows(self, sign: int) -> bool:
        """Return whether the sign is surely the wanted one: interval and test must agree."""
        ends = sorted((sign * self.rho.low, sign * self.rho.high))
        return ends[0] > 0 and self.p < 0.05


def ranked(levels: Sequence[float], values: Sequence[Floats], rng: np.random.Generator) -> Ranked:
    """Return Spearman's rank correlation of levels and the means of their trainings.

    Means that are all the same have a correlation of 0: what does not move follows nothing.

    Args:
        levels: Three or more.
        values: By level, each of shape [trainings, workloads]; the workloads are the same.
        rng: Of the bootstrap and of the test.
    """
    x = np.repeat(np.asarray(levels, dtype=np.float64), [len(v) for v in values])
    means = np.concatenate([v.mean(axis=1) for v in values])[None]
    rho = float(_correlations(x, means)[0])
    m = values[0].shape[1]
    columns = rng.multinomial(m, np.full(m, 1 / m), size=REPETITIONS) / m
    drawn = []
    for each in values:
        rows = rng.integers(0, len(each), (REPETITIONS, len(each)))
        drawn.append(np.take_along_axis(columns @ each.T, rows, axis=1))
    low, high = np.percentile(_correlations(x, np.concatenate(drawn, axis=1)), [2.5, 97.5])
    dealt = rng.permuted(np.repeat(means, REPETITIONS, axis=0), axis=1)
    hits = int(np.sum(np.abs(_correlations(x, dealt)) >= abs(rho) - 1e-9))
    return Ranked(rho=Interval(rho, float(low), float(high)), p=(1 + hits) / (1 + REPETITIONS))


def _correlations(levels: Floats, means: Floats) -> Floats:
    """Return the rank correlation of each row with the levels, shape [n]."""
    from scipy.stats import rankdata

    scale = float(np.abs(means).max()) or 1.0
    x = rankdata(levels) - (len(levels) + 1) / 2
    y = rankdata(np.round(means / scale, _DIGITS), axis=1)
    y = y - y.mean(axis=1, keepdims=True)
    spread = np.sqrt((y * y).sum(axis=1) * float(x @ x))
    found: Floats = np.divide(y @ x, spread, out=np.zeros(len(y)), where=spread > 0)
    return found


def on_the_front(values: Floats) -> npt.NDArray[np.bool_]:
    """Return which points no other is at least as good as in everything, and better in something.

    Args:
        values: Less is better, shape [points, criteria].
    """
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))
