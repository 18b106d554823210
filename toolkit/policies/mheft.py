"""Moldable HEFT: the family's HEFT, deciding at the same points as every other policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.features.allocation import MHEFT_ADVICE
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.workload import ALLOCATION, Floats, Workload


@dataclass(frozen=True, kw_only=True)
class MoldableHeft:
    """Types in descending upward rank take the profile with the least estimated finish.

    Each type, on what the types of higher rank left of the cluster, takes the profile whose
    estimated finish of its present queue is earliest; none takes more than half the cluster
    while another waits; ties go to the cheaper. After HEFT (Topcuoglu, Hariri and Wu, TPDS
    2002, doi:10.1109/71.993206), whose tasks are not moldable.
    """

    @property
    def name(self) -> str:
        """``mheft``."""
        return "mheft"

    def reset(self, workload: Workload) -> None:
        """Check that the workload is one of pipelines."""
        require_family(self.name, ALLOCATION, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the planned profile, shape [K]."""
        return certain(int(np.argmax(decision.candidates[:, MHEFT_ADVICE])), len(decision.mask))
