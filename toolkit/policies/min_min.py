"""Min-min: the task that can be done first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from toolkit.policies.listed import Listed, Score, earliest
from toolkit.simulator.compiled import lean


@lean
def score(s: Any, task: int) -> Score:
    """Return the score of a ready task: its least completion time, earlier is greater."""
    _, finish = earliest(s, task)
    return -finish, 0.0, 0.0


@dataclass(frozen=True, kw_only=True)
class MinMin(Listed):
    """The pair of a ready task and a node with room that is done first.

    Ibarra and Kim, Journal of the ACM 1977, doi:10.1145/322003.322011, whose tasks are
    independent and whose nodes may be busy; here only those with room count.
    """

    SCORE: ClassVar[Any] = staticmethod(score)

    @property
    def name(self) -> str:
        """``min_min``."""
        return "min_min"
