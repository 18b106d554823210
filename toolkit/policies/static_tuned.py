"""A fixed profile per process type, told beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError, require
from toolkit.features.allocation import STATIC_ADVICE
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.workload import ALLOCATION, CPUS, MEMORY, Floats, Workload

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class StaticTuned:
    """The profiles that it is told, for every task of a type and whatever waits.

    How much of what a learned policy gains it gains by a better fixed choice, this one tells.

    Args:
        profiles: CPUs and MiB by name of the type; a type that is not named keeps the profile of
            :class:`~toolkit.policies.static.Static`.
    """

    profiles: Mapping[str, Sequence[float]]

    _chosen: dict[int, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _types: list[int] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        for name, profile in self.profiles.items():
            require(
                len(profile) == 2 and bool(np.isfinite(np.asarray(profile, dtype=float)).all()),
                f"the profile of {name!r} must be CPUs and MiB, got {list(profile)}",
            )

    @property
    def name(self) -> str:
        """``static_tuned``."""
        return "static_tuned"

    def reset(self, workload: Workload) -> None:
        """Find the profiles among those that the workload offers.

        Raises:
            ConfigError: When the workload is of another family, or does not offer one of them.
        """
        require_family(self.name, ALLOCATION, workload)
        offered = workload.arrays.demand[:, [CPUS, MEMORY]] / (1.0, MIB)
        self._chosen.clear()
        self._types[:] = [len(workload.types)]
        for t, name in enumerate(workload.types):
            if name not in self.profiles:
                continue
            wanted = [float(x) for x in self.profiles[name]]
            found = np.flatnonzero((offered == wanted).all(axis=1))
            known = ", ".join(f"[{c:g}, {m:g}]" for c, m in offered.tolist())
            require(
                len(found) > 0,
                f"the scenario offers no profile {wanted} for {name!r}",
                hint=f"it offers {known}",
            )
            self._chosen[t] = int(found[0])

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the fixed profile, shape [K]."""
        if not self._types or decision.subject >= self._types[0]:
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        advised = int(np.argmax(decision.candidates[:, STATIC_ADVICE]))
        profile = self._chosen.get(decision.subject)
        slots = np.flatnonzero((decision.keys == profile) & decision.mask)
        return certain(int(slots[0]) if len(slots) else advised, len(decision.mask))
