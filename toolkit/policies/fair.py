"""Fair sharing: the job that runs least goes next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from toolkit.policies.listed import Listed, Score
from toolkit.simulator.compiled import lean


@lean
def running(s: Any, job: int) -> int:
    """Return how many tasks of a job run."""
    count = 0
    for m in range(len(s.up)):
        task = s.head[m]
        while task >= 0:
            if s.job_of[task] == job:
                count += 1
            task = s.link[task]
    return count


@lean
def score(s: Any, task: int) -> Score:
    """Return the score of a ready task: few running of its job, early job, upward rank."""
    job = s.job_of[task]
    return -float(running(s, job)), -float(job), s.rank[task]


@dataclass(frozen=True, kw_only=True)
class Fair(Listed):
    """The job with the fewest running tasks first, so that jobs share the nodes equally.

    Ties go to the lower job, which arrived first, within a job by upward rank; earliest-finish
    node.
    Fair scheduling as Spark and Hadoop have it, task by task and without weights or pools.
    """

    SCORE: ClassVar[Any] = staticmethod(score)

    @property
    def name(self) -> str:
        """``fair``."""
        return "fair"
