"""Judging paper B: from figures with their intervals to verdicts, by rules that are stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluations.verdicts.claims import CONFIRMED, IMPOSSIBLE, NOT_COMPARABLE, NOT_CONFIRMED
from toolkit.statistics import Floats, Interval

NEAR = 0.1
"""Share by which a mean may differ from the paper's."""
RISEN = 0.5
"""Share of its whole rise that a reward which rises fast has made."""
LEVEL = 0.1
"""Share of its whole rise by which a reward that is level may lie off its level."""


def gain_of(ratio: Interval) -> Interval:
    """Return the gain 1 − ratio."""
    return Interval(1 - ratio.value, 1 - ratio.high, 1 - ratio.low)


def together(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim of several parts, all of which must hold."""
    if all(v == CONFIRMED for v in verdicts):
        return CONFIRMED
    return IMPOSSIBLE if IMPOSSIBLE in verdicts else NOT_CONFIRMED


def at_no_more(verdict: str, cost: Interval) -> str:
    """Return a verdict on a gain that does not count where it is bought.

    Args:
        verdict: On the gain alone.
        cost: Core-seconds by those of whom it is a gain over.
    """
    return NOT_CONFIRMED if verdict == CONFIRMED and cost.low > 1 else verdict


def lower(ratio: Interval, least: float) -> str:
    """Return the verdict on "takes less time".

    Args:
        ratio: Of the times.
        least: The least ratio that any policy could reach.
    """
    if ratio.high < 1:
        return CONFIRMED
    return IMPOSSIBLE if least >= 1 else NOT_CONFIRMED


def near(found: Interval, told: float) -> bool:
    """Return whether a whole interval lies near a figure of the paper."""
    return told * (1 - NEAR) <= found.low and found.high <= told * (1 + NEAR)


def above(found: Interval, told: float) -> bool:
    """Return whether a whole interval lies above a figure."""
    return found.low > told


def below(found: Interval, told: float) -> bool:
    """Return whether a whole interval lies below a figure."""
    return found.high < told


def all_hold(parts: Mapping[str, bool]) -> tuple[str, str]:
    """Return the verdict on a claim of several parts, and which of them do not hold."""
    missed = [name for name, holds in parts.items() if not holds]
    return (NOT_CONFIRMED if missed else CONFIRMED), ", ".join(missed)


@dataclass(frozen=True, kw_only=True)
class Learning:
    """How a reward went while an agent learnt.

    Args:
        start: Reward at first.
        level: Reward in the end.
        risen: Share of the rise that was made where it was looked at.
        settled: Decisions after which it stayed near its level; infinite where it never rose.
        decisions: Of the whole training.
    """

    start: float
    level: float
    risen: float
    settled: float
    decisions: int


def learning(rewards: Floats, each: int, looked_at: float) -> Learning:
    """Return how a reward went.

    The level is the mean of the last fifth, the start that of the first hundredth. Whether it
    stays near its level is seen in running means over a twentieth, how far it has risen in the
    mean from half the decisions on where it is looked at.

    Args:
        rewards: Mean rewards of decisions, in order, shape [n].
        each: Decisions that each is a mean of.
        looked_at: Decisions at which the rise is looked at.
    """
    n = len(rewards)
    level = float(rewards[-max(1, n // 5) :].mean())
    start = float(rewards[: max(1, n // 100)].mean())
    rise, last = level - start, int(np.clip(looked_at / each, 2, n))
    if rise <= 0:
        return Learning(start=start, level=level, risen=0.0, settled=np.inf, decisions=n * each)
    window = max(1, n // 20)
    running = np.convolve(rewards, np.ones(window) / window, mode="valid")
    off = np.flatnonzero(np.abs(running - level) > LEVEL * rise)
    return Learning(
        start=start,
        level=level,
        risen=float((rewards[last // 2 : last].mean() - start) / rise),
        settled=0.0 if not len(off) else float((off[-1] + window) * each),
        decisions=n * each,
    )


def learnt_as_told(one: Learning, level_from: float, share: float) -> str:
    """Return the verdict on a reward that rises fast, then stays level.

    Args:
        one: How it went.
        level_from: Decisions by which it must be level.
        share: Of the training, by which it must be level.
    """
    if one.decisions < 2 * level_from:
        return NOT_COMPARABLE
    fast = one.risen >= RISEN and one.settled <= level_from
    return CONFIRMED if fast and one.settled <= share * one.decisions else NOT_CONFIRMED


def either(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim that may be read in several ways."""
    for verdict in (CONFIRMED, NOT_CONFIRMED):
        if verdict in verdicts:
            return verdict
    return NOT_COMPARABLE


def share_of(part_ms: Interval, rest_ms: float) -> Interval:
    """Return a time as a share of itself and the rest."""
    return Interval(*(x / (x + rest_ms) for x in (part_ms.value, part_ms.low, part_ms.high)))
