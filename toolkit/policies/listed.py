"""List scheduling: score the ready tasks, then take the node where the best finishes first.

The heart of each rule is one compiled ``score(s, task)``. Here it answers decisions one by one;
``toolkit.policies.dispatching`` plays whole episodes with it inside compiled code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from toolkit.decision import Decision
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.simulator.compiled import lean
from toolkit.simulator.rules import arrivals
from toolkit.workload import CPUS, GPUS, MEMORY, PLACEMENT, Floats, Indices, Mask, Workload

Score = tuple[float, float, float]
"""What a ready task is worth: the first number counts, where equal the second, then the third."""


@lean
def earliest(s: Any, task: int) -> tuple[int, float]:
    """Return the node with room where a task is thought to finish first, and when; s.

    Data already on their way and the estimated duration count; no parent is executed again. Ties
    go to the lowest node; -1 and inf where no node has room. Writes ``s.arrival_row``.
    """
    now = s.time[0]
    arrivals(s, task, -1, s.arrival_row)
    t, p = s.type_of[task], s.profile[task]
    scale, column = s.scale[task], s.profile_column[p]
    # The tolerances of ``room``; without branches, which nobody could predict, it is faster.
    cpus = s.demand[p, CPUS] - 1e-9
    memory = s.demand[p, MEMORY] - 0.5
    gpus = s.demand[p, GPUS] - 1e-9
    up, free, shape, seconds, at = s.up, s.free, s.shape, s.seconds, s.arrival_row
    best, least = -1, np.inf
    for m in range(len(up)):
        fits = (
            (up[m] != 0) & (cpus <= free[m, CPUS]) & (memory <= free[m, MEMORY])
            & (gpus <= free[m, GPUS])
        )  # fmt: skip
        finish = max(now, at[m]) + seconds[t, column + shape[m]] * scale
        finish = finish if fits else np.inf
        best = m if finish < least else best
        least = min(finish, least)
    return best, least


@lean
def earliest_slot(s: Any, task: int, keys: Indices, mask: Mask) -> int:
    """Return the slot of the offered node where a task is thought to finish first, or -1.

    Args:
        s: The scene.
        task: The task that was picked.
        keys: Nodes, from M on with a copy of a parent, which are left aside; shape [K].
        mask: Shape [K].
    """
    now = s.time[0]
    arrivals(s, task, -1, s.arrival_row)
    t, column = s.type_of[task], s.profile_column[s.profile[task]]
    best, least = -1, np.inf
    for i in range(len(keys)):
        m = keys[i]
        if mask[i] and m < len(s.up):
            finish = max(now, s.arrival_row[m]) + s.seconds[t, column + s.shape[m]] * s.scale[task]
            if best < 0 or finish < least:
                best, least = i, finish
    return best


@dataclass(frozen=True, kw_only=True)
class Listed(ABC):
    """A rule that ranks the ready tasks and never waits by choice.

    Of the tasks that are offered it takes the one of greatest score, ties to the lowest task,
    and hands it to the node with room where it is thought to finish first, ties to the lowest
    node. It executes no parent again.
    """

    SCORE: ClassVar[Callable[[Any, int], Score]]
    """The compiled score of a ready task; greater goes first."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name."""

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, PLACEMENT, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the first task, or of its earliest node; [K]."""
        keys, mask = decision.keys, decision.mask
        if decision.agent == "node":
            slot = int(earliest_slot(decision.known, decision.subject, keys, mask))
            return certain(max(slot, 0), len(mask))
        s, score = decision.known, type(self).SCORE
        offered = [i for i in np.flatnonzero(mask).tolist() if keys[i] >= 0]
        if not offered:
            return certain(0, len(mask))
        tasks = keys[offered].tolist()
        ranked = [(score(s, task), -task) for task in tasks]
        return certain(offered[max(range(len(ranked)), key=ranked.__getitem__)], len(mask))
