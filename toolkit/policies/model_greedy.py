"""The configuration that the estimates favour for the batch at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.features.configuration import MODEL_ADVICE
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.workload import CONFIGURATION, Floats, Workload


@dataclass(frozen=True, kw_only=True)
class ModelGreedy:
    """Least estimated seconds to apply it and to run the batch, then the fewest core-seconds.

    The family's HEFT: greedy, by the same estimates that every other policy sees.
    """

    @property
    def name(self) -> str:
        """``model_greedy``."""
        return "model_greedy"

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, CONFIGURATION, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the advised configuration, shape [K]."""
        advice = np.where(decision.mask, decision.candidates[:, MODEL_ADVICE], -1.0)
        return certain(int(np.argmax(advice)), len(decision.mask))
