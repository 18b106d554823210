"""Shortest remaining work first: what is nearly done is got out of the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from toolkit.policies.listed import Listed, Score
from toolkit.simulator.compiled import lean


@lean
def score(s: Any, task: int) -> Score:
    """Return the score of a ready task: little work left of its job, then its upward rank."""
    return -s.work[s.job_of[task]], s.rank[task], 0.0


@dataclass(frozen=True, kw_only=True)
class ShortestWork(Listed):
    """The job with least remaining estimated work first; earliest-finish node.

    On one machine that minimises the mean completion time (Schrage, Operations Research 1968,
    doi:10.1287/opre.16.3.687). Within a job by upward rank, as in HEFT.
    """

    SCORE: ClassVar[Any] = staticmethod(score)

    @property
    def name(self) -> str:
        """``shortest_work``."""
        return "shortest_work"
