"""Scratch: what compiled functions write on in passing; nobody relies on what it held before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.workload import FAMILY, PLACEMENT, Floats, Indices, Ints, WorkloadArrays

HORIZON = 64
"""Tasks that the re-plan behind the features looks ahead."""
TABLE = 256
"""Size of its table from tasks to their place in the plan; a power of two."""


class Scratch(NamedTuple):
    """``M`` nodes, ``L`` lanes of the nodes, see ``toolkit.planning.board``."""

    arrival_row: Floats  # [M] s, when the data of a task are where
    expected: Floats  # [M] s, when the next task of a node is expected to finish
    lane_of: Indices  # [L] node of each lane, ascending
    lane_free: Floats  # [L] s
    lane_count: Indices  # [L] planned tasks
    lane_start: Floats  # [L, 64] s, ascending
    lane_finish: Floats  # [L, 64] s
    plan_task: Indices  # [64]
    plan_node: Indices  # [64]
    plan_lane: Indices  # [64]
    plan_start: Floats  # [64] s
    plan_finish: Floats  # [64] s
    plan_first: Indices  # [L] place in the plan of the task that starts first on a lane, else -1
    plan_table: Indices  # [256] places in the plan, hashed by task, else -1
    plan_stamp: Ints  # [1] number of the choice that the plan was made for
    plan_time: Floats  # [1] s, when


def scratch(w: WorkloadArrays) -> Scratch:
    """Return a pad of the sizes that a workload needs."""
    from toolkit.planning.board import lanes

    placing = w.rules[FAMILY] == PLACEMENT
    M = len(w.capacity) if placing else 0
    lane_of = lanes(w) if placing else np.zeros(0, dtype=np.int32)
    L = len(lane_of)

    def whole(size: int) -> Indices:
        return np.full(size, -1, dtype=np.int32)

    return Scratch(
        arrival_row=np.zeros(M),
        expected=np.zeros(M),
        lane_of=lane_of,
        lane_free=np.zeros(L),
        lane_count=whole(L),
        lane_start=np.zeros((L, HORIZON)),
        lane_finish=np.zeros((L, HORIZON)),
        plan_task=whole(HORIZON),
        plan_node=whole(HORIZON),
        plan_lane=whole(HORIZON),
        plan_start=np.zeros(HORIZON),
        plan_finish=np.zeros(HORIZON),
        plan_first=whole(L),
        plan_table=whole(TABLE),
        plan_stamp=np.full(1, -1, dtype=np.int64),
        plan_time=np.full(1, -1.0),
    )
