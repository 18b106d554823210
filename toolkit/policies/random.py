"""Uniform choice among the allowed slots: the floor of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.workload import Floats, Workload


@dataclass(frozen=True, kw_only=True)
class Random:
    """Every allowed slot is equally likely."""

    @property
    def name(self) -> str:
        """``random``."""
        return "random"

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare."""

    def probabilities(self, decision: Decision) -> Floats:
        """Return the uniform distribution over the allowed slots, shape [K]."""
        return np.asarray(decision.mask / decision.mask.sum())
