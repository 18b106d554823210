"""The largest configuration of executors that the hosts grant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.features.configuration import CANDIDATE_FEATURES
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.workload import CONFIGURATION, Floats, Workload

_COUNTED = ("cores per executor", "memory per executor", "executors granted")
_COLUMNS = [[name for name, _ in CANDIDATE_FEATURES].index(name) for name in _COUNTED]


@dataclass(frozen=True, kw_only=True)
class Largest:
    """Most cores times memory times executors, counting only executors that are granted.

    Ties go to the first, which asks for the fewest executors. What paper B's agent has to beat
    without spending as much.
    """

    @property
    def name(self) -> str:
        """``largest``."""
        return "largest"

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, CONFIGURATION, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the largest configuration, shape [K]."""
        size = decision.candidates[:, _COLUMNS].astype(np.float64).prod(axis=1)
        return certain(int(np.argmax(np.where(decision.mask, size, -1.0))), len(decision.mask))
