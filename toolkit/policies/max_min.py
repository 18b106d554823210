"""Max-min: the task whose best completion is last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from toolkit.policies.listed import Listed, Score, earliest
from toolkit.simulator.compiled import lean


@lean
def score(s: Any, task: int) -> Score:
    """Return the score of a ready task: its least completion time, later is greater."""
    node, finish = earliest(s, task)
    return finish if node >= 0 else -np.inf, 0.0, 0.0


@dataclass(frozen=True, kw_only=True)
class MaxMin(Listed):
    """The ready task whose earliest completion on a node with room is latest, there.

    Ibarra and Kim, Journal of the ACM 1977, doi:10.1145/322003.322011: long tasks first, so that
    short ones fill the gaps.
    """

    SCORE: ClassVar[Any] = staticmethod(score)

    @property
    def name(self) -> str:
        """``max_min``."""
        return "max_min"
