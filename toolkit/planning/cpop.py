"""CPOP: the critical path on one node, every other task where it finishes first.

Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task scheduling for
heterogeneous computing", TPDS 2002, doi:10.1109/71.993206.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from toolkit.planning.board import Board, Plan, empty
from toolkit.planning.heft import checked, obstacle
from toolkit.planning.timeline import (
    TAIL,
    arrivals,
    book,
    durations,
    earliest,
    free,
    mean_moving,
    shortest_of,
)
from toolkit.simulator.compiled import njit
from toolkit.workload import Floats, Indices, Ints, WorkloadArrays


@njit
def places(tasks: Indices, n: int) -> Ints:
    """Return where each of ``n`` tasks stands in ``tasks``, -1 where it does not; shape [n]."""
    place = np.full(n, -1, dtype=np.int64)
    for i in range(len(tasks)):
        place[tasks[i]] = i
    return place


@njit
def downward_ranks(w: WorkloadArrays, tasks: Indices, place: Ints) -> Floats:
    """Return the longest mean way to each task from an entry of the set, s; equation 9.

    Args:
        w: The workload.
        tasks: Ascending, shape [k].
        place: What :func:`places` gave, shape [n].
    """
    rank = np.zeros(len(tasks))
    for i in range(len(tasks)):
        for edge in range(w.parent_ptr[tasks[i]], w.parent_ptr[tasks[i] + 1]):
            parent = w.parents[edge]
            p = place[parent]
            if p >= 0:
                mean = w.mean_seconds[w.type_of[parent]] * w.scale[parent]
                rank[i] = max(rank[i], rank[p] + mean + mean_moving(w, edge))
    return rank


@njit
def critical_path(w: WorkloadArrays, tasks: Indices, place: Ints) -> Indices:
    """Return the places of the tasks on the critical path of the set, entry first.

    From the entry of the highest upward rank it follows the edge that its rank comes from, so
    that rounding cannot break it; ties go to the lowest id.

    Args:
        w: The workload.
        tasks: Ascending, shape [k].
        place: What :func:`places` gave, shape [n].
    """
    heir = np.full(len(tasks), -1, dtype=np.int32)
    way = np.full(len(tasks), -np.inf)
    entry = -1
    for i in range(len(tasks) - 1, -1, -1):
        leads = True
        for edge in range(w.parent_ptr[tasks[i]], w.parent_ptr[tasks[i] + 1]):
            p = place[w.parents[edge]]
            if p < 0:
                continue
            leads = False
            on = mean_moving(w, edge) + w.rank[tasks[i]]
            if on >= way[p]:
                heir[p], way[p] = i, on
        if leads and (entry < 0 or w.rank[tasks[i]] >= w.rank[tasks[entry]]):
            entry = i
    path = np.empty(len(tasks), dtype=np.int32)
    length = 0
    while entry >= 0:
        path[length] = entry
        length += 1
        entry = heir[entry]
    return path[:length]


@njit
def critical_node(w: WorkloadArrays, lane_node: Indices, path: Indices) -> int:
    """Return the node on which a path takes least, of those that hold most of its tasks.

    Args:
        w: The workload.
        lane_node: Nodes to choose from, shape [L].
        path: Tasks.
    """
    took = np.empty(len(w.capacity))
    total, misfits = np.zeros(len(took)), np.zeros(len(took))
    for task in path:
        durations(w, task, took)
        for m in range(len(took)):
            if took[m] < np.inf:
                total[m] += took[m]
            else:
                misfits[m] += 1
    best = -1
    for m in lane_node:
        if best < 0 or (misfits[m], total[m], m) < (misfits[best], total[best], best):
            best = m
    return best


@njit
def schedule(
    w: WorkloadArrays,
    node: Indices,
    finish: Floats,
    lane_node: Indices,
    lane_free: Floats,
    tasks: Indices,
) -> tuple[Indices, Indices, Floats, Floats, int]:
    """Plan tasks by the sum of their ranks, those of the critical path on its node.

    Args:
        w: The workload.
        node: As on the :class:`~toolkit.planning.board.Board`, shape [n].
        finish: As on the board, s; shape [n].
        lane_node: Shape [L].
        lane_free: Shape [L], s.
        tasks: Ascending, shape [k].

    Returns:
        The tasks as planned, with lane, start and finish, s; shape [k] each. Last the task that
        could not be planned, -1 where all were.
    """
    k, nodes = len(tasks), len(w.capacity)
    node, finish = node.copy(), finish.copy()
    place = places(tasks, len(node))
    priority = w.rank[tasks] + downward_ranks(w, tasks, place)
    path = critical_path(w, tasks, place)
    home = critical_node(w, lane_node, tasks[path])
    critical = np.zeros(k, dtype=np.bool_)
    critical[path] = True
    order, lane = np.full(k, -1, dtype=np.int32), np.full(k, -1, dtype=np.int32)
    start, done = np.full(k, np.nan), np.full(k, np.nan)
    ready, took = np.empty(nodes), np.empty(nodes)
    line = free(lane_free, k)
    shortest = shortest_of(w, tasks)
    waits = np.zeros(k, dtype=np.int32)
    queue = [(0.0, 0) for _ in range(0)]
    for i in range(k):
        for edge in range(w.parent_ptr[tasks[i]], w.parent_ptr[tasks[i] + 1]):
            waits[i] += place[w.parents[edge]] >= 0
        if waits[i] == 0:
            heapq.heappush(queue, (-priority[i], i))
    stuck, at = -1, 0
    while len(queue) > 0:
        i = heapq.heappop(queue)[1]
        task = tasks[i]
        complete = arrivals(
            w.parent_ptr, w.parents, w.data, w.latency, w.bandwidth, node, finish, task, ready
        )
        durations(w, task, took)
        if critical[i] and took[home] < np.inf:
            there = took[home]
            took[:] = np.inf
            took[home] = there
        chosen, gap, ended = earliest(line, lane_node, ready, took, True)
        if not complete or chosen < 0 or node[task] >= 0:
            stuck = task
            break
        m = lane_node[chosen]
        began = max(ready[m], line.tail[chosen] if gap == TAIL else line.gaps[gap, 0])
        book(line, chosen, gap, began, ended, shortest)
        order[at], lane[at], start[at], done[at] = task, chosen, began, ended
        node[task], finish[task] = m, ended
        at += 1
        for j in range(w.child_ptr[task], w.child_ptr[task + 1]):
            child = place[w.children[j]]
            if child >= 0:
                waits[child] -= 1
                if waits[child] == 0:
                    heapq.heappush(queue, (-priority[child], child))
    return order, lane, start, done, stuck


def plan(w: WorkloadArrays, board: Board, tasks: npt.ArrayLike) -> Plan:
    """Plan tasks by upward plus downward rank, the critical path on the node that takes least.

    The upward rank counts all that follows a task, the downward rank starts at the entries of
    the set. On a node of several lanes a critical task takes the one where it finishes first; one
    that the critical path's node cannot hold goes where it finishes first.

    Args:
        w: The workload.
        board: Where the work stands.
        tasks: The set to plan, shape [k].

    Raises:
        ToolkitError: When a task is on the board already, when a parent of it is neither on the
            board nor in the set, or when no lane can hold it.
    """
    own, chosen = checked(w, board, np.unique(tasks))
    order, lane, start, finish, stuck = schedule(
        w, own.node, own.finish, own.lane_node, own.lane_free, chosen
    )
    if stuck >= 0:
        raise obstacle(w, own, chosen, stuck)
    return Plan(task=order, lane=lane, start=start, finish=finish)


def cpop(w: WorkloadArrays) -> Plan:
    """Plan all tasks on an empty cluster, all jobs merged under one pseudo entry and exit."""
    return plan(w, empty(w), np.arange(w.tasks))
