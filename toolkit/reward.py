"""The reward of paper A: throughput, latency, cost and bottleneck of one interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.errors import require

COMPONENTS = ("throughput", "latency", "cost", "bottleneck")
UNITS = ("jobs/s", "s", "cpu-equivalents", "tasks")


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The operator's weights of the four terms; latency, cost and bottleneck are penalties.

    Args:
        throughput: Per job finished per second.
        latency: Per second of mean latency of the jobs finished in the interval.
        cost: Per CPU-equivalent in use; memory counts as the CPUs of its share of the cluster.
        bottleneck: Per task in the longest queue.
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

    Args:
        before: Running totals (jobs done, summed latency in s, CPU-equivalent seconds) at the
            start of the interval, shape [3].
        after: The same at its end.
        longest_queue: Waiting tasks of the type that has most, at the end of the interval.
        elapsed: Length of the interval, s.
    """
    if elapsed <= 0:
        return np.zeros(4)
    done, latency, cost = (after - before).tolist()
    return np.array(
        [done / elapsed, latency / done if done > 0 else 0.0, cost / elapsed, longest_queue]
    )
