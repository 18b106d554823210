"""An ε-mix: a policy that explores at a known rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.policies.policy import Policy
from toolkit.workload import Floats, Workload


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """With probability ε uniform among the allowed slots, else what another policy says.

    Args:
        of: The policy that is mixed with chance.
        epsilon: Share of chance, in [0, 1].
    """

    of: Policy
    epsilon: float

    def __post_init__(self) -> None:
        require(0 <= self.epsilon <= 1, f"epsilon must be in [0, 1], got {self.epsilon}")

    @property
    def name(self) -> str:
        """The mixed policy's name and ε, e.g. ``static~0.3``."""
        return f"{self.of.name}~{self.epsilon:g}"

    def reset(self, workload: Workload) -> None:
        """Prepare the mixed policy."""
        self.of.reset(workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the mixed distribution, shape [K]."""
        chance = np.asarray(decision.mask / decision.mask.sum())
        return (1 - self.epsilon) * self.of.probabilities(decision) + self.epsilon * chance
