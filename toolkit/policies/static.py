"""A fixed profile per process type, from historical averages (paper A's first baseline)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.features.allocation import STATIC_ADVICE
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.workload import ALLOCATION, Floats, Workload


@dataclass(frozen=True, kw_only=True)
class Static:
    """The profile with which typical tasks of the type use least of the cluster.

    Of each type's profiles it takes the one with the least product of mean duration and
    dominant share, i.e. the one that lets most tasks through, and never changes it.
    """

    @property
    def name(self) -> str:
        """``static``."""
        return "static"

    def reset(self, workload: Workload) -> None:
        """Check that the workload is one of pipelines."""
        require_family(self.name, ALLOCATION, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the fixed profile, shape [K]."""
        return certain(int(np.argmax(decision.candidates[:, STATIC_ADVICE])), len(decision.mask))
