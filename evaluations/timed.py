"""Timed: a policy whose decisions are timed, by the clock on the wall."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from toolkit.decision import Decision
from toolkit.policies.policy import Policy
from toolkit.workload import Floats, Workload


@dataclass(kw_only=True)
class Timed:
    """A policy that knows how long it took.

    Args:
        of: Who decides.
        seconds: Spent on decisions since the last reset, features that they looked at included.
        decisions: How many those were.
    """

    of: Policy
    seconds: float = field(default=0.0, init=False)
    decisions: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """Return that of the policy."""
        return self.of.name

    @property
    def milliseconds(self) -> float:
        """Return the mean of a decision, ms; NaN before the first."""
        return 1000 * self.seconds / self.decisions if self.decisions else float("nan")

    def reset(self, workload: Workload) -> None:
        """Prepare for an episode."""
        self.seconds, self.decisions = 0.0, 0
        self.of.reset(workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the probability of each slot, shape [K]."""
        begun = time.perf_counter()
        answer = self.of.probabilities(decision)
        self.seconds += time.perf_counter() - begun
        self.decisions += 1
        return answer
