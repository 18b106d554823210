"""PEFT: each task where its finish and the optimistic cost of all that follows are least.

Arabnejad and Barbosa, "List scheduling algorithm for heterogeneous systems by an optimistic cost
table", TPDS 2014, doi:10.1109/TPDS.2013.57.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

from toolkit.planning.board import Board, Plan, empty
from toolkit.planning.cpop import places
from toolkit.planning.heft import checked, obstacle
from toolkit.planning.timeline import (
    FIRST,
    LAST,
    TAIL,
    Timeline,
    arrivals,
    book,
    durations,
    free,
    mean_moving,
    seek,
    shortest_of,
)
from toolkit.simulator.compiled import lean, njit
from toolkit.workload import Floats, Indices, Ints, WorkloadArrays


@njit
def optimistic_costs(
    w: WorkloadArrays, lane_node: Indices, tasks: Indices, place: Ints
) -> tuple[Floats, Floats]:
    """Return the optimistic cost table and its mean per task.

    Equation 3 of the paper: the seconds from the end of a task on a node to the end of all that
    follows, the least over the nodes for each child, the greatest over the children. An edge
    costs its mean transfer, nothing where both ends are on one node; as that cannot make the
    cheapest node of a child dearer, one minimum over the nodes serves all nodes of the parent.

    Args:
        w: The workload.
        lane_node: Nodes that may be used, shape [L].
        tasks: Ascending, shape [k].
        place: Where each task stands in ``tasks``, else -1; shape [n].

    Returns:
        Seconds, shape [k, M]; and their mean over the nodes that can hold the task, shape [k].
    """
    k, nodes = len(tasks), len(w.capacity)
    usable = np.zeros(nodes, dtype=np.bool_)
    usable[lane_node] = True
    table, rank = np.zeros((k, nodes)), np.zeros(k)
    took = np.empty(nodes)
    for i in range(k - 1, -1, -1):
        durations(w, tasks[i], took)
        least, total, holders = np.inf, 0.0, 0
        for m in range(nodes):
            if not usable[m]:
                took[m] = np.inf
            if took[m] < np.inf:
                total += table[i, m]
                holders += 1
                took[m] += table[i, m]
                least = min(least, took[m])
        rank[i] = total / max(holders, 1)
        for edge in range(w.parent_ptr[tasks[i]], w.parent_ptr[tasks[i] + 1]):
            p = place[w.parents[edge]]
            if p >= 0:
                away = least + mean_moving(w, edge)
                for m in range(nodes):
                    table[p, m] = max(table[p, m], min(took[m], away))
    return table, rank


@lean
def _best(
    line: Timeline, lane_node: Indices, ready: Floats, took: Floats, ahead: Floats
) -> tuple[int, int, float]:
    """Return the lane of the least finish plus ``ahead``, the gap there, and the finish, s."""
    best, chosen, where, ended = np.inf, -1, TAIL, np.inf
    for lane in range(len(lane_node)):
        m = lane_node[lane]
        if took[m] == np.inf or ready[m] + took[m] + ahead[m] >= best:
            continue
        low, high = line.span[lane, FIRST], line.span[lane, LAST]
        gap = seek(line.gaps, line.longest, low, high, ready[m], took[m], np.inf)
        idle = line.tail[lane] if gap == TAIL else line.gaps[gap, 0]
        finish = max(ready[m], idle) + took[m]
        if finish + ahead[m] < best:
            best, chosen, where, ended = finish + ahead[m], lane, gap, finish
    return chosen, where, ended


@njit
def schedule(
    w: WorkloadArrays,
    node: Indices,
    finish: Floats,
    lane_node: Indices,
    lane_free: Floats,
    tasks: Indices,
) -> tuple[Indices, Indices, Floats, Floats, int]:
    """Plan tasks by mean optimistic cost, each where finish and optimistic cost are least.

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
    table, rank = optimistic_costs(w, lane_node, tasks, place)
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
            heapq.heappush(queue, (-rank[i], i))
    stuck, at = -1, 0
    while len(queue) > 0:
        i = heapq.heappop(queue)[1]
        task = tasks[i]
        complete = arrivals(
            w.parent_ptr, w.parents, w.data, w.latency, w.bandwidth, node, finish, task, ready
        )
        durations(w, task, took)
        chosen, gap, ended = _best(line, lane_node, ready, took, table[i])
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
                    heapq.heappush(queue, (-rank[child], child))
    return order, lane, start, done, stuck


def plan(w: WorkloadArrays, board: Board, tasks: npt.ArrayLike) -> Plan:
    """Plan tasks by mean optimistic cost, each where finish and optimistic cost are least.

    The table covers the set and the nodes that have lanes. Ties go to the lowest id and lane.

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


def peft(w: WorkloadArrays) -> Plan:
    """Plan all tasks on an empty cluster, all jobs merged under one pseudo entry and exit."""
    return plan(w, empty(w), np.arange(w.tasks))
