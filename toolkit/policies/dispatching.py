"""Dispatching: a whole episode under a rule in one call of compiled code.

The rules of :mod:`toolkit.policies.listed`, played without a decision being described: for
benchmarks, and for planners that ask what would become of a scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.policies import fair, fifo, max_min, min_min, shortest_work
from toolkit.policies.listed import Score, earliest
from toolkit.simulator.compiled import lean
from toolkit.simulator.kernel import hand_over, proceed
from toolkit.simulator.rules import placeable
from toolkit.simulator.state import (
    ASK_NODE,
    CLOSED,
    EPOCH,
    EXPECTED,
    NUMBER,
    PICKED,
    PRESENT,
    STAGE,
)

FIFO, SHORTEST_WORK, FAIR, MIN_MIN, MAX_MIN = 0, 1, 2, 3, 4
RULES = ("fifo", "shortest_work", "fair", "min_min", "max_min")
"""Names of the rules, in the order of their numbers."""

_fifo, _shortest_work, _fair = fifo.score, shortest_work.score, fair.score
_min_min, _max_min = min_min.score, max_min.score


@lean
def score(s: Any, task: int, rule: int) -> Score:
    """Return the score of a ready task under a rule, greater first; see ``RULES``."""
    if rule == FIFO:
        return _fifo(s, task)
    if rule == SHORTEST_WORK:
        return _shortest_work(s, task)
    if rule == FAIR:
        return _fair(s, task)
    if rule == MIN_MIN:
        return _min_min(s, task)
    return _max_min(s, task)


@lean
def first(s: Any, rule: int) -> int:
    """Return the ready task that goes first, ties to the lowest; -1 where no node has room."""
    by_work = rule == SHORTEST_WORK
    by_job = rule <= SHORTEST_WORK
    best, top, second, third = -1, -np.inf, -np.inf, -np.inf
    same, roomy = -1, False
    for j in range(s.cursor[PRESENT]):
        task = s.first[s.by_work[j] if by_work else s.by_arrival[j]]
        while task >= 0:
            p = s.profile[task]
            if p != same:
                same, roomy = p, placeable(s, task)
            if roomy:
                a, b, c = score(s, task, rule)
                equal = a == top and b == second and c == third
                if (
                    a > top
                    or (a == top and (b > second or (b == second and c > third)))
                    or (equal and (best < 0 or task < best))
                ):
                    best, top, second, third = task, a, b, c
            task = s.link[task]
        if by_job and best >= 0:
            # The jobs stand in the order of the rule already.
            break
    return best


@lean
def play(s: Any, horizon: float, rule: int) -> int:
    """Play an episode to its end or to the horizon under a rule, in place.

    The same choices as those of the rule's policy, but that it sees all ready tasks, where a
    policy is shown as many as there are slots.

    Args:
        s: The scene with its truth, ``Scene.handle``; before its first choice or at any later.
        horizon: Seconds after which nothing is handed over any more.
        rule: See ``RULES``.

    Returns:
        The number of choices made in all, two for each task handed over.
    """
    cursor = s.cursor
    while True:
        if cursor[STAGE] == CLOSED:
            proceed(s, horizon)
        if cursor[STAGE] == CLOSED or s.time[0] >= horizon:
            return int(cursor[NUMBER])
        task = first(s, rule)
        if cursor[STAGE] == ASK_NODE:
            # One was picked by somebody else; its choice is counted already.
            task = cursor[PICKED]
            cursor[PICKED] = -1
            cursor[NUMBER] -= 1
        while task >= 0:
            # What ``act`` does with the two choices, without asking in between what can go.
            node, _ = earliest(s, task)
            hand_over(s, task, node, max(s.time[0], s.arrival_row[node]))
            s.decision[task] = cursor[NUMBER] + 1
            cursor[NUMBER] += 2
            task = first(s, rule)
        cursor[EXPECTED] = 1
        cursor[STAGE] = CLOSED
        cursor[EPOCH] += 1
