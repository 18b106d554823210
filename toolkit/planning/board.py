"""Board: what a planner starts from, be it an empty cluster or one in full flight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.workload import CPUS, GPUS, Floats, Indices, WorkloadArrays

MOST_LANES = 64
"""Lanes that one node gets at most."""


class Board(NamedTuple):
    """Where the work stands. ``n`` tasks, ``L`` lanes; a lane runs one task at a time."""

    node: Indices  # [n] node of a task that has finished or runs, else -1
    finish: Floats  # [n] s, when such a task finished or is expected to
    lane_node: Indices  # [L]
    lane_free: Floats  # [L] s, when the lane is expected to be free


class Plan(NamedTuple):
    """A planner's answer for ``k`` tasks."""

    task: Indices  # [k] in the order in which they were planned
    lane: Indices  # [k] into the board's lanes
    start: Floats  # [k] s
    finish: Floats  # [k] s


def lanes(w: WorkloadArrays) -> Indices:
    """Return the node of each lane: a node has as many as it holds typical tasks at once.

    An accelerator that every task fills has one lane; a machine of 48 cores under tasks of one
    core has 48.
    """
    used = w.profile_of_type[np.unique(w.type_of)]
    typical = np.median(w.demand[used], axis=0)
    nodes: list[int] = []
    for m, room in enumerate(w.capacity):
        shares = [room[r] / typical[r] for r in (CPUS, GPUS) if typical[r] > 0]
        nodes += [m] * int(np.clip(np.floor(min(shares, default=1.0) + 1e-9), 1, MOST_LANES))
    return np.array(nodes, dtype=np.int32)


def empty(w: WorkloadArrays) -> Board:
    """Return the board of a cluster on which nothing has run."""
    n, where = len(w.type_of), lanes(w)
    return Board(
        node=np.full(n, -1, dtype=np.int32),
        finish=np.full(n, np.nan),
        lane_node=where,
        lane_free=np.zeros(len(where)),
    )
