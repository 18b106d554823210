"""Shortest remaining work first: what is nearly done is got out of the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from toolkit.policies.listed import Listed, Score
from toolkit.simulator.compiled import lean


@lean
def score(s: Any, task: int) -> Score:
    """Return the score of a ready task: little work left of its job, early job, upward rank."""
    job = s.job_of[task]
    return -s.work[job], -float(job), s.rank[task]


@dataclass(frozen=True, kw_only=True)
class ShortestWork(Listed):
    """The job with least remaining estimated work first; earliest-finish node.

    On one machine that minimises the mean completion time (Schrage, Operations Research 1968,
    doi:10.1287/opre.16.3.687). Ties go to the lower job, within a job by upward rank.
    """

    SCORE: ClassVar[Any] = staticmethod(score)

    @property
    def name(self) -> str:
        """``shortest_work``."""
        return "shortest_work"
