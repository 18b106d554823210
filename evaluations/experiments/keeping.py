"""Keeping: which share of an advantage is kept where a policy was not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluations.verdicts.claims import CONFIRMED, NOT_COMPARABLE, NOT_CONFIRMED
from toolkit.statistics import REPETITIONS, Floats, Interval, bootstrap, mean

SHORT = 1.05
"""Latency by that of a tuned policy from which on a policy falls short: less matters to nobody."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of an advantage.

    Args:
        advantage: The policy's own, a share of a rival's time.
        reference: That of the policy it is held against.
        share: The first by the second; None where the second is not surely above 0.
        verdict: One of ``evaluations.verdicts.claims.VERDICTS``.
    """

    advantage: Interval
    reference: Interval
    share: Interval | None
    verdict: str


def kept(
    here: Floats, reference: Floats, least: float, rng: np.random.Generator, *, paired: bool
) -> Kept:
    """Return which share of an advantage is kept, and whether it surely is enough.

    Args:
        here: Advantages of the policy as it is, by workload, shape [n].
        reference: Of what it is held against: of a policy that was trained there, on the same
            workloads, or of itself where it was trained, shape [m].
        least: The share that must be kept.
        rng: Of the bootstrap.
        paired: Whether both are of the same workloads, which then are drawn together.
    """
    own, other = (bootstrap(x, rng, statistic=mean) for x in (here, reference))
    if other.low <= 0:
        return Kept(advantage=own, reference=other, share=None, verdict=NOT_COMPARABLE)
    n, m = len(here), len(reference)
    rows = rng.integers(0, n, (REPETITIONS, n))
    columns = rows if paired else rng.integers(0, m, (REPETITIONS, m))
    low, high = np.percentile(here[rows].mean(1) / reference[columns].mean(1), [2.5, 97.5])
    share = Interval(float(here.mean() / reference.mean()), float(low), float(high))
    verdict = CONFIRMED if share.low >= least else NOT_CONFIRMED
    return Kept(advantage=own, reference=other, share=share, verdict=verdict)


def within(ratios: Sequence[Interval], most: float) -> str:
    """Return whether times surely lie within a share of others.

    Args:
        ratios: Times by the others.
        most: The share that they may be longer.
    """
    if not ratios:
        return NOT_COMPARABLE
    return CONFIRMED if all(r.high <= 1 + most for r in ratios) else NOT_CONFIRMED


def in_part(gains: Sequence[Interval], of_tuned: Sequence[Interval]) -> str:
    """Return whether a policy helps elsewhere, yet less than one that was tuned there.

    Args:
        gains: Of the policy as it is against the best rule, by ground.
        of_tuned: Its latency by that of the policy that was tuned there.
    """
    helps = any(g.low > 0 for g in gains)
    short = any(g.low <= 0 for g in gains) or any(r.low > SHORT for r in of_tuned)
    return CONFIRMED if helps and short else NOT_CONFIRMED


def together(verdicts: Sequence[str]) -> str:
    """Return the verdict on several: confirmed where all are that can be compared at all."""
    told = [v for v in verdicts if v != NOT_COMPARABLE]
    if not told:
        return NOT_COMPARABLE
    return CONFIRMED if set(told) == {CONFIRMED} else NOT_CONFIRMED
