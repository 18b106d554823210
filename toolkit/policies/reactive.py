"""More resources for longer queues (paper A's second baseline)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.simulator.state import N_WAITING
from toolkit.workload import ALLOCATION, Floats, Workload


@dataclass(frozen=True, kw_only=True)
class Reactive:
    """Climbs the ladder of profiles, cheapest first, by one rung per ``rung`` waiting tasks.

    Args:
        rung: Waiting tasks of the type that earn the next larger profile.
    """

    rung: int

    def __post_init__(self) -> None:
        require(self.rung >= 1, f"rung must be at least 1 waiting task, got {self.rung}")

    @property
    def name(self) -> str:
        """``reactive``."""
        return "reactive"

    def reset(self, workload: Workload) -> None:
        """Check that the workload is one of pipelines."""
        require_family(self.name, ALLOCATION, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the rung that the queue has earned, shape [K]."""
        allowed = np.flatnonzero(decision.mask)
        cpus, memory = decision.candidates[allowed, 0], decision.candidates[allowed, 1]
        ladder = allowed[np.lexsort((allowed, memory, cpus))]
        waiting = int(decision.view.by_type[decision.subject, N_WAITING])
        return certain(int(ladder[min(waiting // self.rung, len(ladder) - 1)]), len(decision.mask))
