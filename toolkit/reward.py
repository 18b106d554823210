"""Reward: what an interval is paid, as weighted differences of the state's running sums.

Every term is summed over the interval, so that a return does not depend on where the intervals
are cut, and is paid while it happens and not when a job leaves, which is what credit needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np

from toolkit.errors import require
from toolkit.simulator.state import (
    BOTTLENECK,
    BUSY,
    COST,
    ELAPSED,
    IMBALANCE,
    INVERSE,
    JOBS_DONE,
    LATE,
    QUEUED,
    SOJOURN,
)
from toolkit.workload import ALLOCATION, CONFIGURATION, PLACEMENT, Floats, Ints

VERSION = 1
"""Version of the terms; returns of different versions are never mixed."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a reward.

    Args:
        total: The running sum of the state that it is the difference of.
        unit: Its unit.
        sign: +1 for what is wanted, -1 for a penalty.
    """

    total: int
    unit: str
    sign: float


class Reward(Protocol):
    """The operator's weights of the terms of one paper."""

    TERMS: ClassVar[Mapping[str, Term]]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The terms of paper A (allocation); latency, cost and bottleneck are penalties.

    Args:
        throughput: Per job finished.
        latency: Per second that a job spends in the system; over an episode it adds up to the
            summed latency of its jobs (Little's law).
        cost: Per CPU-equivalent second; memory counts as the CPUs of its share of the cluster.
        bottleneck: Per second and task of the longest queue.
    """

    TERMS: ClassVar[Mapping[str, Term]] = {
        "throughput": Term(total=JOBS_DONE, unit="jobs", sign=1),
        "latency": Term(total=SOJOURN, unit="s", sign=-1),
        "cost": Term(total=COST, unit="cpu-equivalent s", sign=-1),
        "bottleneck": Term(total=BOTTLENECK, unit="task s", sign=-1),
    }

    throughput: float
    latency: float
    cost: float
    bottleneck: float

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class WorkflowWeights:
    """The terms of paper C (placement).

    Args:
        elapsed: Per second with a job present: the makespan of one DAG.
        sojourn: Per second that a job spends in the system: the completion times of a stream.
        utilisation: Per node and second of use.
        imbalance: Per second and unit of the standard deviation of the nodes' loads.
        bottleneck: Per second that a ready task waits.
        qos: Per job that finishes after its deadline.
    """

    TERMS: ClassVar[Mapping[str, Term]] = {
        "elapsed": Term(total=ELAPSED, unit="s", sign=-1),
        "sojourn": Term(total=SOJOURN, unit="s", sign=-1),
        "utilisation": Term(total=BUSY, unit="node s", sign=1),
        "imbalance": Term(total=IMBALANCE, unit="s", sign=-1),
        "bottleneck": Term(total=QUEUED, unit="task s", sign=-1),
        "qos": Term(total=LATE, unit="jobs", sign=-1),
    }

    elapsed: float = 0.0
    sojourn: float = 0.0
    utilisation: float = 0.0
    imbalance: float = 0.0
    bottleneck: float = 0.0
    qos: float = 0.0

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class BatchWeights:
    """The terms of paper B (configuration).

    Args:
        inverse: Per 1/ms of the processing time of a batch, start-up included.
        sojourn: Per second that a batch spends in the system.
        cost: Per CPU-equivalent second.
    """

    TERMS: ClassVar[Mapping[str, Term]] = {
        "inverse": Term(total=INVERSE, unit="1/ms", sign=1),
        "sojourn": Term(total=SOJOURN, unit="s", sign=-1),
        "cost": Term(total=COST, unit="cpu-equivalent s", sign=-1),
    }

    inverse: float = 0.0
    sojourn: float = 0.0
    cost: float = 0.0

    def __post_init__(self) -> None:
        _check(self)


REWARDS: Mapping[int, type[Weights] | type[WorkflowWeights] | type[BatchWeights]] = {
    ALLOCATION: Weights,
    PLACEMENT: WorkflowWeights,
    CONFIGURATION: BatchWeights,
}
"""The reward of each family."""


def _check(weights: Reward) -> None:
    for name in weights.TERMS:
        value = getattr(weights, name)
        require(
            bool(np.isfinite(value) and value >= 0),
            f"reward weight {name!r} must be a number of 0 or more, got {value}",
        )
    # Every field is a term, so that none is silently without effect.
    known = {f.name for f in fields(weights)}  # type: ignore[arg-type]
    require(known == set(weights.TERMS), f"reward terms {sorted(known ^ set(weights.TERMS))}")


def names(weights: Reward) -> tuple[str, ...]:
    """Return the names of the terms, in the order of the components."""
    return tuple(weights.TERMS)


def columns(weights: Reward) -> Ints:
    """Return which running sum each term is the difference of, shape [C]."""
    return np.array([t.total for t in weights.TERMS.values()], dtype=np.int64)


def signed(weights: Reward) -> Floats:
    """Return the weights with the signs of a reward, shape [C]."""
    return np.array([t.sign * getattr(weights, name) for name, t in weights.TERMS.items()])
