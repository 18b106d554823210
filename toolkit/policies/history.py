"""A profile per process type from what has been measured so far (paper A's static baseline)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.features.allocation import STATIC_ADVICE
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.simulator.state import DONE
from toolkit.workload import ALL_CPUS, ALL_MEMORY, ALLOCATION, CPUS, MEMORY, Floats, Workload


@dataclass(frozen=True, kw_only=True)
class StaticHistory:
    """The profile with which a type has used least of the cluster, on average so far.

    As ``static``, but what the tasks of a type have taken under a profile replaces the estimate
    once there are enough of them: the mean of their durations, each divided by the estimated
    size of its task, times that of a typical task. Of the products with the profiles' dominant
    shares the least is taken, ties to the first. Before a type has enough samples under any
    profile its choice is that of ``static``. Profiles that were never tried keep their estimates,
    so a type leaves its profile when that turns out worse than others are thought to be.

    Args:
        samples: Finished tasks of a type under a profile from which on their mean is believed.
    """

    samples: int

    def __post_init__(self) -> None:
        require(self.samples >= 1, f"samples must be at least 1 task, got {self.samples}")

    @property
    def name(self) -> str:
        """``static_history``."""
        return "static_history"

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare; the history is that of the episode.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, ALLOCATION, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the profile of least mean use, shape [K]."""
        slots = len(decision.mask)
        w, s, t = decision.scene.workload.arrays, decision.view, decision.subject
        done = np.flatnonzero((w.type_of == t) & (s.status == DONE))
        used = s.profile[done].astype(np.int64)
        count = np.bincount(used, minlength=slots)
        known = count >= self.samples
        if not known.any():
            return certain(int(np.argmax(decision.candidates[:, STATIC_ADVICE])), slots)
        took = (s.finished[done] - s.started[done]) / w.scale[done]
        mean = np.bincount(used, weights=took, minlength=slots) / np.maximum(count, 1)
        seconds = np.where(known, mean, w.seconds[t, :slots]) * w.typical[t]
        share = np.maximum(
            w.demand[:, CPUS] / w.numbers[ALL_CPUS], w.demand[:, MEMORY] / w.numbers[ALL_MEMORY]
        )
        return certain(int(np.argmin(np.where(decision.mask, seconds * share, np.inf))), slots)
