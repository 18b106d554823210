"""First in, first out: the job that arrived first is served first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from toolkit.policies.listed import Listed, Score
from toolkit.simulator.compiled import lean


@lean
def score(s: Any, task: int) -> Score:
    """Return the score of a ready task: its job's arrival, earlier is greater."""
    return -s.arrived[s.job_of[task]], 0.0, 0.0


@dataclass(frozen=True, kw_only=True)
class Fifo(Listed):
    """The earliest-arrived job first, within it the lowest task; earliest-finish node."""

    SCORE: ClassVar[Any] = staticmethod(score)

    @property
    def name(self) -> str:
        """``fifo``."""
        return "fifo"
