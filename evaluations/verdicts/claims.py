"""Claim: what a paper states that can be checked, and what was found of it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import require

CONFIRMED = "confirmed"
NOT_CONFIRMED = "not confirmed"
IMPOSSIBLE = "impossible here"
NOT_COMPARABLE = "not comparable"
VERDICTS = (CONFIRMED, NOT_CONFIRMED, IMPOSSIBLE, NOT_COMPARABLE)

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a paper.

    Args:
        id: Letter of the paper and number.
        text: What it states, in our words.
        metric: Of what.
        expected: Whether the paper only expects it and has not measured it.
        figures: Its numbers by name; shares as 0.25.
        note: What is doubtful about it.
    """

    id: str
    text: str
    metric: str
    expected: bool = False
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of a claim.

    Args:
        claim: Its id.
        verdict: One of ``VERDICTS``.
        figure: Our figures with their intervals, in words; "" where there are none.
        why: What led to the verdict, where the figure alone does not tell.
        possible: The largest gain that any scheduler could reach, 1 − bound/baseline; None where
            the claim is of no gain or no bound is known.
        command: What to type to get the figure again.
    """

    claim: str
    verdict: str
    figure: str = ""
    why: str = ""
    possible: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        require(self.verdict in VERDICTS, f"a verdict is one of {', '.join(VERDICTS)}")
        told = bool(self.figure) or self.verdict == NOT_COMPARABLE
        require(told, f"{self.claim}: a verdict other than {NOT_COMPARABLE!r} needs a figure")
        require(bool(self.figure or self.why), f"{self.claim}: say what led to the verdict")


def claims(paper: str) -> list[Claim]:
    """Return the claims of a paper, ``a``, ``b`` or ``c``, in its order."""
    told: Sequence[Mapping[str, Any]] = yaml.safe_load(
        (_HERE / f"paper_{paper}.yaml").read_text(encoding="utf-8")
    )
    return [Claim(**c) for c in told]


def gain_verdict(low: float, claimed: float, possible: float | None) -> str:
    """Return the verdict on a claimed gain.

    Args:
        low: Lower end of the 95 % interval of our gain, a share.
        claimed: The least gain that the paper claims.
        possible: See :class:`Finding`.

    Returns:
        ``confirmed`` where the whole interval reaches the claim; ``impossible here`` where no
        scheduler could, whatever ours did; else ``not confirmed``.
    """
    if low >= claimed:
        return CONFIRMED
    if possible is not None and possible < claimed:
        return IMPOSSIBLE
    return NOT_CONFIRMED
