"""The sequence of configurations that takes the least time by expectation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError, require
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.scenarios.disturbances import luck
from toolkit.seeding import generator
from toolkit.simulator.compiled import lean
from toolkit.simulator.rules import granted
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import initial
from toolkit.simulator.world import unknown
from toolkit.workload import CONFIGURATION, CORES, SHAPE, STARTUP, Floats, Ints, Workload


@lean
def _mean_seconds(s: Any, job: int, shape: int, slots: int, lucky: Floats, free: Floats) -> float:
    """Return the mean seconds of a batch over draws of luck, its executors being up.

    Stage by stage each task takes the slot that is free first, as executors do.

    Args:
        s: The scene.
        job: The batch.
        shape: Column of durations.
        slots: Tasks at once.
        lucky: Factors of the durations, shape [D, n]; n is at least the tasks of the batch.
        free: Scratch, at least ``slots`` long.
    """
    begin, end = s.job_ptr[job], s.job_ptr[job + 1]
    total = 0.0
    for d in range(len(lucky)):
        now = 0.0
        first = begin
        while first < end:
            t = s.type_of[first]
            for m in range(slots):
                free[m] = now
            last = first
            while last < end and s.type_of[last] == t:
                soonest = 0
                for m in range(1, slots):
                    if free[m] < free[soonest]:
                        soonest = m
                free[soonest] += s.seconds[t, shape] * s.scale[last] * lucky[d, last - begin]
                last += 1
            for m in range(slots):
                now = max(now, free[m])
            first = last
        total += now
    return total / len(lucky)


def expected(workload: Workload, sigma: float, draws: int) -> tuple[Floats, Ints]:
    """Return what each batch takes under each configuration by expectation, and who is granted.

    Args:
        workload: Batches, of which the estimates are used.
        sigma: Standard deviation of the logarithm of the luck of a task; its mean is one.
        draws: Of the luck of a batch, the same for all batches and configurations.

    Returns:
        Seconds without those to start executors, inf where none is granted, shape [J, Q]; the
        executors that are granted, shape [Q].
    """
    w = workload.arrays
    s = Scene(workload=workload, state=initial(workload), world=unknown()).known
    most = int(np.diff(w.job_ptr).max())
    lucky = luck(draws * most, sigma, generator(0, "least_expected")).reshape(draws, most)
    count = np.array([granted(s, q) for q in range(len(w.fleets))], dtype=np.int64)
    slots = (count * w.fleets[:, CORES]).astype(np.int64)
    free = np.zeros(int(slots.max()))
    seconds: Floats = np.full((len(w.arrival), len(w.fleets)), np.inf)
    # Configurations differ only by shape and slots once their executors are up.
    for kind in np.unique(np.stack([w.fleets[:, SHAPE], slots], axis=1)[count > 0], axis=0):
        shape, n = int(kind[0]), int(kind[1])
        same = (w.fleets[:, SHAPE] == shape) & (slots == n)
        for job in range(len(w.arrival)):
            seconds[job, same] = _mean_seconds(s, job, shape, n, lucky, free)
    return seconds, count


def cheapest_path(seconds: Floats, apply: Floats) -> Ints:
    """Return the sequence of least sum, by dynamic programming; ties to the first; shape [J].

    Args:
        seconds: Of each step under each choice, shape [J, Q].
        apply: From one choice to another, before the step; shape [Q, Q]. The first step has none.
    """
    best = seconds[0]
    came: list[Ints] = []
    for row in seconds[1:]:
        reached = best[:, None] + apply
        came.append(reached.argmin(axis=0))
        best = reached.min(axis=0) + row
    path = [int(best.argmin())]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class LeastExpected:
    """The configurations whose seconds over all batches, starts included, are expected to be least.

    What :class:`~toolkit.policies.best_static.BestStatic` is without changes, with the changes
    that pay. It knows the sizes of the batches to come and how their luck spreads, not the luck.

    Args:
        sigma: Standard deviation of the logarithm of the luck of a task.
        draws: Of the luck, that the expectation is the mean over.
    """

    sigma: float
    draws: int

    _plan: list[int] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        require(0 <= self.sigma < np.inf, f"sigma must be 0 or more, got {self.sigma}")
        require(self.draws >= 1, f"draws must be 1 or more, got {self.draws}")

    @property
    def name(self) -> str:
        """``least_expected``."""
        return "least_expected"

    def reset(self, workload: Workload) -> None:
        """Plan the configurations of all batches.

        Raises:
            ConfigError: When the workload is of another family, or no executor is ever granted.
        """
        require_family(self.name, CONFIGURATION, workload)
        w = workload.arrays
        seconds, count = expected(workload, self.sigma, self.draws)
        require(bool((count > 0).any()), "the hosts can hold none of the configurations")
        shape = w.fleets[:, SHAPE]
        starts = (shape[:, None] != shape[None, :]) | (count[None, :] > count[:, None])
        apply = np.where(starts, float(w.numbers[STARTUP]), 0.0)
        self._plan[:] = cheapest_path(seconds, apply).tolist()

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the planned configuration, shape [K]."""
        if decision.subject >= len(self._plan) or self._plan[decision.subject] >= len(
            decision.mask
        ):
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        return certain(self._plan[decision.subject], len(decision.mask))
