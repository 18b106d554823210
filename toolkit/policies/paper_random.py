"""Paper B's "random" configurations, which are not uniform: they grow with the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError, require
from toolkit.policies.family import require_family
from toolkit.scenarios.batches import BatchWorkload
from toolkit.workload import BYTES, CONFIGURATION, CORES, INSTANCES, Floats, Workload

MIB = 2**20


def spread_out(values: Floats, mean: float) -> Floats:
    """Return the distribution of greatest entropy on ``values`` that has a mean, shape [v].

    That is p proportional to exp(theta v) (Jaynes, Physical Review 1957,
    doi:10.1103/PhysRev.106.620). A mean at or beyond an end is all on that end.

    Args:
        values: Ascending, shape [v].
        mean: What the distribution is to have.
    """
    if mean <= values[0] or mean >= values[-1]:
        return np.asarray(values == (values[0] if mean <= values[0] else values[-1]), dtype=float)
    scaled = (values - values[0]) / (values[-1] - values[0])
    wanted = (mean - values[0]) / (values[-1] - values[0])

    def tilted(theta: float) -> Floats:
        weights = np.exp(theta * scaled - max(theta, 0.0))
        return np.asarray(weights / weights.sum())

    low, high = -1e5, 1e5
    for _ in range(200):
        middle = 0.5 * (low + high)
        if float(tilted(middle) @ scaled) < wanted:
            low = middle
        else:
            high = middle
    return tilted(0.5 * (low + high))


@dataclass(frozen=True, kw_only=True)
class PaperRandom:
    """Random cores, memory and number of executors whose means grow with the frames.

    The paper calls its baseline random, yet reports averages that no uniform draw has: 1.14
    cores at 10 frames per second and 1.52 at 60, about 500 MB and about 800 MB (its section
    5.4.1). It does not say how they were drawn. Here each of the three is drawn by itself, from
    the distribution of greatest entropy with the reported mean, which grows linearly in between;
    what the hosts do not grant is left out. For the executors the paper gives no numbers, only
    that they grow less steadily than the agent's, which go from five to more than 7.5.

    Args:
        frames: Frames per partition at which the means are given: the fewest and the most.
        cores: Mean cores of an executor at the fewest and at the most frames.
        memory: Likewise its mean memory, MiB.
        instances: Likewise the mean number of executors asked for.
    """

    frames: Sequence[float]
    cores: Sequence[float]
    memory: Sequence[float]
    instances: Sequence[float]

    _workload: list[BatchWorkload] = field(
        init=False, repr=False, compare=False, default_factory=list
    )

    def __post_init__(self) -> None:
        for what in ("frames", "cores", "memory", "instances"):
            pair = tuple(float(x) for x in getattr(self, what))
            require(
                len(pair) == 2 and bool(np.isfinite(pair).all()),
                f"{what} must be two numbers, at the fewest and at the most frames, got {pair}",
            )
            object.__setattr__(self, what, pair)
        require(
            self.frames[0] < self.frames[1],
            f"frames must be two ascending numbers, got {self.frames}",
        )

    @property
    def name(self) -> str:
        """``paper_random``."""
        return "paper_random"

    def reset(self, workload: Workload) -> None:
        """Take note of the frames of the batches.

        Raises:
            ConfigError: When the workload is of another family or its batches have no frames.
        """
        require_family(self.name, CONFIGURATION, workload)
        if not isinstance(workload, BatchWorkload):
            require(False, f"policy {self.name!r} needs batches that declare their frames")
            return
        self._workload[:] = [workload]

    def probabilities(self, decision: Decision) -> Floats:
        """Return the distribution over the configurations that are granted, shape [K]."""
        if not self._workload or len(self._workload[0].arrays.fleets) != len(decision.mask):
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        workload = self._workload[0]
        fleets = workload.arrays.fleets
        share = float(np.interp(workload.frames[decision.subject], self.frames, (0.0, 1.0)))
        p = decision.mask.astype(np.float64)
        for column, unit, (low, high) in (
            (CORES, 1.0, self.cores),
            (BYTES, float(MIB), self.memory),
            (INSTANCES, 1.0, self.instances),
        ):
            values = np.unique(fleets[:, column] / unit)
            drawn = spread_out(values, low + share * (high - low))
            p *= drawn[np.searchsorted(values, fleets[:, column] / unit)]
        if p.sum() == 0.0:
            # The means ask for what nobody grants.
            p = decision.mask.astype(np.float64)
        return np.asarray(p / p.sum())
