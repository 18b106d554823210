"""HEFT: tasks by upward rank, each on the lane where it finishes first.

Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task scheduling for
heterogeneous computing", TPDS 2002, doi:10.1109/71.993206.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from toolkit.errors import ToolkitError, require
from toolkit.planning.board import Board, Plan, empty
from toolkit.planning.timeline import (
    TAIL,
    arrivals,
    book,
    durations,
    earliest,
    free,
    shortest_of,
)
from toolkit.simulator.compiled import njit
from toolkit.workload import Floats, Indices, WorkloadArrays


def merged(w: WorkloadArrays) -> Indices:
    """Return the tasks of all jobs by descending upward rank, ties by id; shape [n].

    No task ranks below its descendants, and ids are topological, so parents come first.
    """
    return np.argsort(-w.rank, kind="stable").astype(np.int32)


def job_by_job(w: WorkloadArrays) -> Indices:
    """Return the tasks job after job as they arrive, within one by upward rank; shape [n]."""
    return w.by_rank.copy()


@njit
def schedule(
    w: WorkloadArrays,
    node: Indices,
    finish: Floats,
    lane_node: Indices,
    lane_free: Floats,
    tasks: Indices,
    insertion: bool,
) -> tuple[Indices, Floats, Floats, int]:
    """Plan tasks one after another, each on the lane where it finishes first.

    For compiled code; :func:`plan` is the same with its input checked. ``node`` and ``finish``
    are written to on the way and are as before on return, so nothing here has length n.

    Args:
        w: The workload.
        node: As on the :class:`~toolkit.planning.board.Board`, shape [n].
        finish: As on the board, s; shape [n].
        lane_node: Shape [L].
        lane_free: Shape [L], s.
        tasks: In the order in which to plan them, parents first; shape [k].
        insertion: Whether a task may run in a gap between others.

    Returns:
        Lane, start and finish of each task, s; shape [k] each. Last the task that could not be
        planned, because a parent has no node, no lane can hold it, or it has a node already;
        -1 where all were planned. From that task on lanes are -1 and times nan.
    """
    k, nodes = len(tasks), len(w.capacity)
    lane = np.full(k, -1, dtype=np.int32)
    start, done = np.full(k, np.nan), np.full(k, np.nan)
    before = np.empty(k)
    ready, took = np.empty(nodes), np.empty(nodes)
    line = free(lane_free, k)
    shortest = shortest_of(w, tasks)
    planned, stuck = 0, -1
    for i in range(k):
        task = tasks[i]
        complete = arrivals(
            w.parent_ptr, w.parents, w.data, w.latency, w.bandwidth, node, finish, task, ready
        )
        durations(w, task, took)
        chosen, gap, ended = earliest(line, lane_node, ready, took, insertion)
        if not complete or chosen < 0 or node[task] >= 0:
            stuck = task
            break
        m = lane_node[chosen]
        began = max(ready[m], line.tail[chosen] if gap == TAIL else line.gaps[gap, 0])
        book(line, chosen, gap, began, ended, shortest)
        lane[i], start[i], done[i], before[i] = chosen, began, ended, finish[task]
        node[task], finish[task] = m, ended
        planned += 1
    for i in range(planned):
        node[tasks[i]], finish[tasks[i]] = -1, before[i]
    return lane, start, done, stuck


def checked(w: WorkloadArrays, board: Board, tasks: npt.ArrayLike) -> tuple[Board, Indices]:
    """Return a copy of the board that compiled code may write to, and the tasks as indices.

    Raises:
        ConfigError: When a task does not exist or has no profile of its own.
    """
    order = np.ascontiguousarray(tasks, dtype=np.int32)
    require(order.ndim == 1, f"tasks must be a list of indices, got shape {order.shape}")
    if len(order) > 0:
        n, low, high = w.tasks, order.min(), order.max()
        require(low >= 0 and high < n, f"tasks must lie in 0 .. {n - 1}, got {low} .. {high}")
    if w.profile_of_type.min() < 0:
        for t in np.unique(w.type_of[order]):
            require(
                w.profile_of_type[t] >= 0,
                f"tasks of type {t} cannot be planned: their profile is left to a policy",
            )
    return Board(
        node=np.array(board.node, dtype=np.int32),
        finish=np.array(board.finish, dtype=np.float64),
        lane_node=np.ascontiguousarray(board.lane_node, dtype=np.int32),
        lane_free=np.ascontiguousarray(board.lane_free, dtype=np.float64),
    ), order


def obstacle(w: WorkloadArrays, board: Board, tasks: Indices, task: int) -> ToolkitError:
    """Build the error that says why a task could not be planned.

    Args:
        w: The workload.
        board: What the plan started from.
        tasks: What was to be planned, shape [k].
        task: The task.
    """
    if board.node[task] >= 0:
        return ToolkitError(f"task {task} is to be planned, but it is on the board already")
    if np.count_nonzero(tasks == task) > 1:
        return ToolkitError(f"task {task} is to be planned more than once")
    place = int(np.flatnonzero(tasks == task)[0])
    for parent in w.parents[w.parent_ptr[task] : w.parent_ptr[task + 1]]:
        if board.node[parent] < 0 and parent not in tasks[:place]:
            return ToolkitError(
                f"task {task} cannot be planned: its parent {parent} is neither on the board "
                "nor planned before it",
                hint="give the tasks with parents first, and put on the board what has started",
            )
    return ToolkitError(
        f"task {task} cannot be planned: no lane of the board is on a node that can hold it"
    )


def plan(w: WorkloadArrays, board: Board, tasks: npt.ArrayLike, insertion: bool = True) -> Plan:
    """Plan tasks one after another, each on the lane where it finishes first.

    The data of an edge arrive with the finish of the parent and the time that they move. Nothing
    starts before its lane is free; ties go to the lowest lane.

    Args:
        w: The workload; it is :func:`merged` or :func:`job_by_job` that makes this HEFT.
        board: Where the work stands.
        tasks: In the order in which to plan them, parents first; shape [k].
        insertion: Whether a task may run in a gap between others.

    Raises:
        ToolkitError: When a task is on the board already or comes twice, when a parent of it is
            neither on the board nor planned before it, or when no lane can hold it.
    """
    own, order = checked(w, board, tasks)
    lane, start, finish, stuck = schedule(
        w, own.node, own.finish, own.lane_node, own.lane_free, order, insertion
    )
    if stuck >= 0:
        raise obstacle(w, own, order, stuck)
    return Plan(task=order, lane=lane, start=start, finish=finish)


def heft(w: WorkloadArrays) -> Plan:
    """Plan all tasks on an empty cluster, all jobs merged under one pseudo entry and exit."""
    return plan(w, empty(w), merged(w))
