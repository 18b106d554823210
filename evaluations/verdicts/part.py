"""Part: what one question of a paper's suite gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluations.verdicts.claims import Finding
from evaluations.verdicts.report import Picture, Table
from toolkit.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one question gave.

    Args:
        tables: In order.
        pictures: In order.
        findings: Of the claims that it answers.
    """

    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    findings: Sequence[Finding] = ()


def percent(share: Interval) -> str:
    """Return a share with its 95 % interval in percent."""
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
