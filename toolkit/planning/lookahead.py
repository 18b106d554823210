"""Lookahead HEFT: each task where its children could finish first.

Bittencourt, Sakellariou and Madeira, "DAG scheduling using a lookahead variant of the
heterogeneous earliest finish time algorithm", PDP 2010, doi:10.1109/PDP.2010.56.
"""

from __future__ import annotations

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
    earliest,
    free,
    restore,
    shortest_of,
)
from toolkit.simulator.compiled import lean, njit
from toolkit.workload import Floats, Indices, Ints, WorkloadArrays


@lean
def _note(line: Timeline, lane: int, gap: int, where: Ints, was: Floats) -> None:
    """Note what :func:`restore` needs to take back the booking about to be made."""
    first = line.span[lane, FIRST]
    where[0], where[1], where[2] = lane, TAIL, line.span[lane, LAST] - first
    was[2] = line.tail[lane]
    if gap != TAIL:
        where[1], was[0], was[1] = gap - first, line.gaps[gap, 0], line.gaps[gap, 1]


@njit
def schedule(
    w: WorkloadArrays,
    node: Indices,
    finish: Floats,
    lane_node: Indices,
    lane_free: Floats,
    tasks: Indices,
) -> tuple[Indices, Floats, Floats, int]:
    """Plan tasks one after another, each on the node where its last child could finish first.

    Args:
        w: The workload.
        node: As on the :class:`~toolkit.planning.board.Board`, shape [n].
        finish: As on the board, s; shape [n].
        lane_node: Shape [L].
        lane_free: Shape [L], s.
        tasks: By descending upward rank, shape [k].

    Returns:
        Lane, start and finish of each task, s; shape [k] each. Last the task that could not be
        planned, -1 where all were.
    """
    k, nodes = len(tasks), len(w.capacity)
    node, finish = node.copy(), finish.copy()
    place = places(tasks, len(node))
    lane = np.full(k, -1, dtype=np.int32)
    start, done = np.full(k, np.nan), np.full(k, np.nan)
    ready, took, only = np.empty(nodes), np.empty(nodes), np.full(nodes, np.inf)
    child_ready, child_took = np.empty(nodes), np.empty(nodes)
    widest = 1
    for task in tasks:
        widest = max(widest, 1 + w.child_ptr[task + 1] - w.child_ptr[task])
    line = free(lane_free, k + widest * len(lane_node))
    shortest = shortest_of(w, tasks)
    where, was = np.empty((widest, 4), dtype=np.int64), np.empty((widest, 3))
    for i in range(k):
        task = tasks[i]
        complete = arrivals(
            w.parent_ptr, w.parents, w.data, w.latency, w.bandwidth, node, finish, task, ready
        )
        if not complete or node[task] >= 0:
            return lane, start, done, task
        durations(w, task, took)
        # Places in ``tasks``: ascending, they are in the order of ranks.
        children = place[w.children[w.child_ptr[task] : w.child_ptr[task + 1]]]
        children = np.sort(children[children >= 0])
        best, soonest, home = np.inf, np.inf, -1
        for m in range(nodes):
            only[m] = took[m]
            chosen, gap, own = earliest(line, lane_node, ready, only, True)
            only[m] = np.inf
            if chosen < 0:
                continue
            began = max(ready[m], line.tail[chosen] if gap == TAIL else line.gaps[gap, 0])
            last, tried = own, 1
            where[0, 3] = task
            _note(line, chosen, gap, where[0], was[0])
            book(line, chosen, gap, began, own, shortest)
            node[task], finish[task] = m, own
            for c in children:
                child = tasks[c]
                if node[child] >= 0:
                    continue
                arrivals(
                    w.parent_ptr,
                    w.parents,
                    w.data,
                    w.latency,
                    w.bandwidth,
                    node,
                    finish,
                    child,
                    child_ready,
                )
                durations(w, child, child_took)
                chosen, gap, ended = earliest(line, lane_node, child_ready, child_took, True)
                if chosen < 0:
                    continue
                idle = line.tail[chosen] if gap == TAIL else line.gaps[gap, 0]
                _note(line, chosen, gap, where[tried], was[tried])
                book(line, chosen, gap, max(child_ready[lane_node[chosen]], idle), ended, shortest)
                # A child may wait for another.
                where[tried, 3] = child
                node[child], finish[child] = lane_node[chosen], ended
                last, tried = max(last, ended), tried + 1
            for j in range(tried - 1, -1, -1):
                node[where[j, 3]] = -1
                restore(
                    line, where[j, 0], where[j, 1], was[j, 0], was[j, 1], was[j, 2], where[j, 2]
                )
            if last < best or (last == best and own < soonest):
                best, soonest, home = last, own, m
        if home < 0:
            return lane, start, done, task
        only[home] = took[home]
        chosen, gap, ended = earliest(line, lane_node, ready, only, True)
        only[home] = np.inf
        began = max(ready[home], line.tail[chosen] if gap == TAIL else line.gaps[gap, 0])
        book(line, chosen, gap, began, ended, shortest)
        lane[i], start[i], done[i] = chosen, began, ended
        node[task], finish[task] = home, ended
    return lane, start, done, -1


def plan(w: WorkloadArrays, board: Board, tasks: npt.ArrayLike) -> Plan:
    """Plan tasks by descending upward rank, each where its last child could finish first.

    For each node the task is booked on the lane there where it finishes first, then each of its
    children in the set, by descending rank, as HEFT would, parents without a node left out; all
    but the task on the node that did best is taken back. A task without children in the set goes
    where it finishes first. Ties go to the earlier finish of the task, then to the lowest node.

    Args:
        w: The workload.
        board: Where the work stands.
        tasks: The set to plan, shape [k].

    Raises:
        ToolkitError: When a task is on the board already, when a parent of it is neither on the
            board nor in the set, or when no lane can hold it.
    """
    own, chosen = checked(w, board, np.unique(tasks))
    order = chosen[np.argsort(-w.rank[chosen], kind="stable")]
    lane, start, finish, stuck = schedule(
        w, own.node, own.finish, own.lane_node, own.lane_free, order
    )
    if stuck >= 0:
        raise obstacle(w, own, order, stuck)
    return Plan(task=order, lane=lane, start=start, finish=finish)


def lookahead(w: WorkloadArrays) -> Plan:
    """Plan all tasks on an empty cluster, all jobs merged under one pseudo entry and exit."""
    return plan(w, empty(w), np.arange(w.tasks))
