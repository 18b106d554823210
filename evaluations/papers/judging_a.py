"""Judging paper A: what its claims ask for, as functions of numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from evaluations.verdicts.claims import CONFIRMED, IMPOSSIBLE, NOT_CONFIRMED, gain_verdict
from toolkit.statistics import Interval


def at_a_price(
    gain: Interval,
    claimed: float,
    possible: float,
    cost: Interval,
    least_cost: float,
    most_cost: float,
) -> str:
    """Return the verdict on a gain that must not be bought.

    Args:
        gain: Ours, a share.
        claimed: The least that the paper claims.
        possible: The largest that any scheduler could reach.
        cost: Ours by that of the rule that costs least.
        least_cost: What no scheduler falls below, by the same.
        most_cost: The most that it may be.
    """
    if cost.high <= most_cost:
        return gain_verdict(gain.low, claimed, possible)
    if least_cost > most_cost or possible < claimed:
        return IMPOSSIBLE
    return NOT_CONFIRMED


def in_order(ratios: Sequence[Interval]) -> str:
    """Return whether each is worse than the next: ratios of neighbours, above 1 as a whole."""
    return CONFIRMED if all(r.low > 1 for r in ratios) else NOT_CONFIRMED


def unstable(falls: Interval, latency: Interval) -> str:
    """Return the verdict on what learns unstably and is not clearly better than a rule.

    Args:
        falls: By how much more its learning curve falls back than that of the other algorithm.
        latency: Its latency by that of the rule, over trainings and workloads.
    """
    return CONFIRMED if falls.low > 0 and latency.high >= 1 else NOT_CONFIRMED


def exceeds(ratio: Interval) -> str:
    """Return whether a ratio lies above 1 as a whole."""
    return CONFIRMED if ratio.low > 1 else NOT_CONFIRMED


def rising(slope: Interval, advantages: Sequence[float]) -> str:
    """Return whether an advantage is largest at the last level.

    Args:
        slope: Of the advantage, paired by workload.
        advantages: Means by level, in ascending order of the level.
    """
    largest = max(advantages) == advantages[-1]
    return CONFIRMED if slope.low > 0 and largest else NOT_CONFIRMED


def followed(dearer: Sequence[Interval], slower: Sequence[Interval]) -> str:
    """Return whether weights are followed: more weight on cost buys less cost with latency.

    Args:
        dearer: Cost at each weight of cost by that at the next larger one.
        slower: Latency at each by that at the one before.
    """
    return in_order([*dearer, *slower])
