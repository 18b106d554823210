"""The reward of paper A: throughput, latency, cost and bottleneck of one interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.errors import require

VERSION = 1
"""Version of the terms; returns of different versions are never mixed."""

COMPONENTS = ("throughput", "latency", "cost", "bottleneck")
UNITS = ("jobs", "s", "cpu-equivalent s", "task s")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The operator's weights of the four terms; latency, cost and bottleneck are penalties.

    Args:
        throughput: Per job finished.
        latency: Per second that a job spends in the system.
        cost: Per CPU-equivalent second; memory counts as the CPUs of its share of the cluster.
        bottleneck: Per second and task of the longest queue.
    """

    throughput: float
    latency: float
    cost: float
    bottleneck: float

    def __post_init__(self) -> None:
        for name in COMPONENTS:
            require(
                getattr(self, name) >= 0,
                f"reward weight {name!r} must not be negative, got {getattr(self, name)}",
            )

    def signed(self) -> npt.NDArray[np.float64]:
        """Return the weights with the signs of a reward, shape [4]."""
        return np.array([self.throughput, -self.latency, -self.cost, -self.bottleneck])


def components(
    before: npt.NDArray[np.float64],
    after: npt.NDArray[np.float64],
    longest_queue: float,
    elapsed: float,
) -> npt.NDArray[np.float64]:
    """Return the four components of an interval, unweighted, shape [4].

    Each is summed over the interval, so that a return does not depend on where the intervals
    are cut: jobs finished; the seconds that all jobs spent in the system; the CPU-equivalents
    in use and the longest queue, times the length of the interval. Over an episode the second
    adds up to the summed latency of its jobs (Little's law), but it is paid while they wait
    and not when they leave, which is what credit needs.

    Args:
        before: Running totals (jobs done, seconds in the system, CPU-equivalent seconds) at the
            start of the interval, shape [3].
        after: The same at its end.
        longest_queue: Waiting tasks of the type that has most, at the end of the interval.
        elapsed: Length of the interval, s.
    """
    done, sojourn, cost = (after - before).tolist()
    return np.array([done, sojourn, cost, longest_queue * elapsed])
