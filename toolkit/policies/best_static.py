"""One configuration of executors for all batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError, require
from toolkit.features.configuration import seconds_of_batch
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.simulator.compiled import lean
from toolkit.simulator.rules import granted
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import initial
from toolkit.simulator.world import unknown
from toolkit.workload import BYTES, CONFIGURATION, CORES, INSTANCES, Floats, Workload

MIB = 2**20
_WORDS = ("cores", "memory", "instances")


@lean
def _cost(s: Any, fleet: int) -> tuple[float, float]:
    """Return the mean estimated seconds of a batch under a configuration, and core-seconds."""
    seconds = 0.0
    for job in range(len(s.arrival)):
        seconds += seconds_of_batch(s, job, fleet)
    seconds /= len(s.arrival)
    return seconds, seconds * granted(s, fleet) * s.fleets[fleet, CORES]


def favourite(workload: Workload) -> int:
    """Return the configuration of least mean estimated seconds over the batches of a workload.

    Without the seconds to start its executors, as they start but once. Ties go to the fewest
    core-seconds, then to the first. The estimates tell nothing of the luck, but the sizes are
    those of the batches to come: what is best on average is known better here than it could be.
    """
    s = Scene(workload=workload, state=initial(workload), world=unknown()).known
    held = [q for q in range(len(workload.arrays.fleets)) if granted(s, q) > 0]
    require(len(held) > 0, "the hosts can hold none of the configurations")
    return min(held, key=lambda q: (*_cost(s, q), q))


@dataclass(frozen=True, kw_only=True)
class BestStatic:
    """The same configuration for every batch: the one that is told, or the estimates' favourite.

    Args:
        fleet: ``cores`` and ``memory`` (MiB) of an executor and how many ``instances`` are asked
            for; where absent, see :func:`favourite`.
    """

    fleet: Mapping[str, float] | None = None

    _chosen: list[int] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.fleet is None:
            return
        given = {str(k): float(v) for k, v in self.fleet.items()}
        require(
            set(given) == set(_WORDS),
            f"a fleet has {', '.join(_WORDS)}, got {', '.join(sorted(given)) or 'nothing'}",
        )
        object.__setattr__(self, "fleet", given)

    @property
    def name(self) -> str:
        """``best_static``."""
        return "best_static"

    def reset(self, workload: Workload) -> None:
        """Choose the configuration for this episode.

        Raises:
            ConfigError: When the workload is of another family, or does not offer the fleet.
        """
        require_family(self.name, CONFIGURATION, workload)
        self._chosen[:] = [favourite(workload) if self.fleet is None else self._named(workload)]

    def _named(self, workload: Workload) -> int:
        fleets, fleet = workload.arrays.fleets, self.fleet or {}
        wanted = (fleet["cores"], fleet["memory"] * MIB, fleet["instances"])
        found = np.flatnonzero((fleets[:, [CORES, BYTES, INSTANCES]] == wanted).all(axis=1))
        offered = {
            "cores": sorted({f"{x:g}" for x in fleets[:, CORES]}, key=float),
            "memory": sorted({f"{x / MIB:g}" for x in fleets[:, BYTES]}, key=float),
            "instances": sorted({f"{x:g}" for x in fleets[:, INSTANCES]}, key=float),
        }
        require(
            len(found) > 0,
            f"the scenario offers no executors of {fleet}",
            hint="; ".join(f"{word}: {', '.join(values)}" for word, values in offered.items()),
        )
        s = Scene(workload=workload, state=initial(workload), world=unknown()).known
        require(granted(s, int(found[0])) > 0, f"the hosts can hold no executor of {fleet}")
        return int(found[0])

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the one configuration, shape [K]."""
        if not self._chosen or self._chosen[0] >= len(decision.mask):
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        return certain(self._chosen[0], len(decision.mask))
