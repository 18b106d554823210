"""TDCA-like planning: clusters along critical trails, and copies of tasks that save transfers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.errors import require
from toolkit.planning.board import Board, Plan
from toolkit.planning.bounds import durations_of
from toolkit.simulator.compiled import njit
from toolkit.workload import MEAN_COST, MEAN_LATENCY, Floats, Indices, Ints, WorkloadArrays


class DuplicatingPlan(NamedTuple):
    """A planner's answer in ``k`` executions; a task has one of its own, and copies beside it.

    On each lane the executions follow one another in the order of their starts.
    """

    task: Indices  # [k] by start
    lane: Indices  # [k] into the board's lanes
    start: Floats  # [k] s
    finish: Floats  # [k] s
    copy: npt.NDArray[np.bool_]  # [k] whether it is a copy


class Problem(NamedTuple):
    """The tasks to plan, numbered from 0 in topological order: ``k`` tasks, ``d`` edges."""

    task: Indices  # [k] their ids
    seconds: Floats  # [k, M] inf where it does not fit
    ready: Floats  # [k, M] s, when the data of parents that are on the board are there
    parent_ptr: Ints  # [k + 1]
    parents: Ints  # [d] numbers of parents that are to be planned too
    data: Floats  # [d] bytes
    latency: Floats  # [M, M] s
    bandwidth: Floats  # [M, M] bytes/s
    lane_node: Indices  # [L]
    lane_free: Floats  # [L] s


class _Executions(NamedTuple):
    """``x`` executions in an order in which every one follows those whose data it may use."""

    task: Ints  # [x] numbers
    lane: Ints  # [x]
    copy: npt.NDArray[np.bool_]  # [x]


@njit
def moved(latency: Floats, bandwidth: Floats, sent: float, source: int, target: int) -> float:
    """Return the seconds that some bytes take from node to node, see ``workload.moving``."""
    if source == target or sent == 0.0:
        return 0.0
    return float(latency[source, target] + sent / bandwidth[source, target])


def problem(w: WorkloadArrays, board: Board, tasks: npt.ArrayLike) -> Problem:
    """Return the tasks to plan apart from all others, whatever their order.

    Raises:
        ConfigError: When a task has started, or waits for one that is neither run nor planned.
    """
    chosen = np.unique(np.asarray(tasks, dtype=np.int32))
    require(len(chosen) > 0, "there is no task to plan")
    require(
        bool((board.node[chosen] < 0).all()), "a task to plan has run already or runs at present"
    )
    number = np.full(w.tasks, -1, dtype=np.int64)
    number[chosen] = np.arange(len(chosen))
    M = len(w.capacity)
    ready = np.zeros((len(chosen), M))
    parent_ptr, parents, data = [0], [], []
    for i, task in enumerate(chosen):
        for e in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            p = int(w.parents[e])
            if number[p] >= 0:
                parents.append(int(number[p]))
                data.append(float(w.data[e]))
                continue
            source = int(board.node[p])
            require(
                source >= 0, f"task {task} waits for task {p}, which is neither run nor planned"
            )
            there = np.full(M, board.finish[p])
            if w.data[e] > 0.0:
                there += w.latency[source] + w.data[e] / w.bandwidth[source]
                there[source] = board.finish[p]
            ready[i] = np.maximum(ready[i], there)
        parent_ptr.append(len(parents))
    return Problem(
        task=chosen,
        seconds=durations_of(w)[chosen],
        ready=ready,
        parent_ptr=np.array(parent_ptr, dtype=np.int64),
        parents=np.array(parents, dtype=np.int64),
        data=np.array(data, dtype=np.float64),
        latency=w.latency,
        bandwidth=w.bandwidth,
        lane_node=board.lane_node,
        lane_free=board.lane_free,
    )


@njit
def _levels(q: Problem, mean_latency: float, mean_cost: float) -> Floats:
    """Return the longest way to the end by greatest durations and mean transfers; [k]."""
    k = len(q.task)
    level = np.zeros(k)
    for i in range(k - 1, -1, -1):
        greatest = 0.0
        for m in range(q.seconds.shape[1]):
            if q.seconds[i, m] < np.inf:
                greatest = max(greatest, q.seconds[i, m])
        level[i] += greatest
        for e in range(q.parent_ptr[i], q.parent_ptr[i + 1]):
            cost = mean_latency + q.data[e] * mean_cost if q.data[e] > 0.0 else 0.0
            level[q.parents[e]] = max(level[q.parents[e]], level[i] + cost)
    return level


@njit
def _completions(q: Problem) -> Floats:
    """Return ect, the earliest completion on each node were there no end of nodes; [k, M]."""
    k, M = q.seconds.shape
    idle = np.full(M, np.inf)
    for lane in range(len(q.lane_node)):
        m = q.lane_node[lane]
        idle[m] = min(idle[m], q.lane_free[lane])
    ect = np.empty((k, M))
    for i in range(k):
        for m in range(M):
            ect[i, m] = max(idle[m], q.ready[i, m])
        for e in range(q.parent_ptr[i], q.parent_ptr[i + 1]):
            p = q.parents[e]
            for m in range(M):
                least = np.inf
                for s in range(M):
                    there = ect[p, s] + moved(q.latency, q.bandwidth, q.data[e], s, m)
                    least = min(least, there)
                ect[i, m] = max(ect[i, m], least)
        for m in range(M):
            ect[i, m] += q.seconds[i, m]
    return ect


@njit
def _critical(q: Problem, ect: Floats, favourite: Ints) -> Ints:
    """Return cpred, the parent whose data come last from favourite to favourite, or -1; [k]."""
    k = len(q.task)
    cpred = np.full(k, -1, dtype=np.int64)
    for i in range(k):
        last = -np.inf
        for e in range(q.parent_ptr[i], q.parent_ptr[i + 1]):
            p = q.parents[e]
            f = favourite[p, 0]
            there = ect[p, f] + moved(q.latency, q.bandwidth, q.data[e], f, favourite[i, 0])
            if there > last:
                last, cpred[i] = there, p
    return cpred


@njit
def _clusters(q: Problem, ect: Floats, favourite: Ints, cpred: Ints, order: Ints) -> Ints:
    """Return the lane of the cluster of each task, -1 of those that are left over; [k].

    Args:
        q: The problem.
        ect: Shape [k, M].
        favourite: Nodes by ascending ect; shape [k, M].
        cpred: Shape [k].
        order: Tasks by descending level; shape [k].
    """
    k, M = q.seconds.shape
    lanes = len(q.lane_node)
    lane_of = np.full(k, -1, dtype=np.int64)
    taken = np.zeros(lanes, dtype=np.bool_)
    idle = lanes
    for turn in range(k - 1, -1, -1):
        if idle == 0:
            break
        i = order[turn]
        if lane_of[i] >= 0:
            continue
        found = -1
        for r in range(M):
            m = favourite[i, r]
            if found >= 0 or ect[i, m] == np.inf:
                break
            for lane in range(lanes):
                if q.lane_node[lane] == m and not taken[lane]:
                    found = lane
                    break
        if found < 0:
            continue
        taken[found] = True
        idle -= 1
        m = q.lane_node[found]
        while i >= 0:
            lane_of[i] = found
            joins, least = -1, np.inf
            for e in range(q.parent_ptr[i], q.parent_ptr[i + 1]):
                j = q.parents[e]
                f = favourite[j, 0]
                sent = ect[j, f] + moved(q.latency, q.bandwidth, q.data[e], f, m)
                if lane_of[j] >= 0 or ect[j, m] == np.inf or ect[j, m] > sent:
                    continue
                if j == cpred[i]:
                    joins = j
                    break
                if ect[j, m] < least:
                    joins, least = j, ect[j, m]
            i = joins
    return lane_of


@njit
def _there(
    q: Problem,
    i: int,
    m: int,
    newest: Ints,
    older: Ints,
    finish: Floats,
    node: Ints,
    here: Floats,
    used: npt.NDArray[np.bool_],
    note: bool,
) -> float:
    """Return when the data of a task are on a node, from whichever execution is first there.

    Args:
        q: The problem.
        i: The task.
        m: The node.
        newest: The last execution of each task, or -1; shape [k].
        older: The execution of the same task before each; shape [x].
        finish: Of each execution, s; shape [x].
        node: Of each execution; shape [x].
        here: When a task that is tried on that node finishes there, s, else inf; shape [k].
        used: Marked, if asked for, where an execution delivers; shape [x].
        note: Whether to mark.
    """
    ready = q.ready[i, m]
    for e in range(q.parent_ptr[i], q.parent_ptr[i + 1]):
        p = q.parents[e]
        least, source = here[p], -1
        x = newest[p]
        while x >= 0:
            there = finish[x] + moved(q.latency, q.bandwidth, q.data[e], node[x], m)
            # Of equally early ones the oldest, the task itself, is the one to rely on.
            if there <= least:
                least, source = there, x
            x = older[x]
        if note and source >= 0:
            used[source] = True
        ready = max(ready, least)
    return float(ready)


@njit
def _place(q: Problem, lane_of: Ints, order: Ints, by_start: bool) -> None:
    """Put tasks that no cluster holds on the lane where they finish or start first, in place."""
    k = len(q.task)
    free = q.lane_free.copy()
    newest = np.full(k, -1, dtype=np.int64)
    older = np.full(k, -1, dtype=np.int64)
    finish, node = np.empty(k), np.empty(k, dtype=np.int64)
    here, used = np.full(k, np.inf), np.zeros(k, dtype=np.bool_)
    ready = np.empty(q.seconds.shape[1])
    for x in range(k):
        i = order[x]
        lane = lane_of[i]
        if lane < 0:
            for m in range(len(ready)):
                ready[m] = np.inf
                if q.seconds[i, m] < np.inf:
                    ready[m] = _there(q, i, m, newest, older, finish, node, here, used, False)
            first, second = np.inf, np.inf
            for other in range(len(free)):
                m = q.lane_node[other]
                a = max(free[other], ready[m])
                b = a + q.seconds[i, m]
                if not by_start:
                    a, b = b, a
                if a < first or (a == first and b < second):
                    first, second, lane = a, b, other
            lane_of[i] = lane
        m = q.lane_node[lane]
        start = _there(q, i, m, newest, older, finish, node, here, used, False)
        finish[x] = max(free[lane], start) + q.seconds[i, m]
        free[lane] = finish[x]
        node[x] = m
        newest[i] = x


@njit
def _duplicated(q: Problem, lane_of: Ints, cpred: Ints, order: Ints) -> _Executions:
    """Return all executions: before each task the copies by which it starts earlier.

    Tasks come in the order of levels, so that whatever a copy needs has been timed. A trail is
    tried at every length, and the best kept: copies that help only together are found so.
    """
    k = len(q.task)
    room = 2 * k
    task, lane_at = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    copy = np.zeros(room, dtype=np.bool_)
    older, node = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    finish, used = np.empty(room), np.zeros(room, dtype=np.bool_)
    newest = np.full(k, -1, dtype=np.int64)
    here = np.full(k, np.inf)
    free = q.lane_free.copy()
    before = np.full(len(free), -1, dtype=np.int64)
    trail, kept = np.empty(k, dtype=np.int64), np.empty(k)
    x = 0
    for turn in range(k):
        i = order[turn]
        lane = lane_of[i]
        m = q.lane_node[lane]
        ready = _there(q, i, m, newest, older, finish, node, here, used, False)
        best, length = max(free[lane], ready), 0
        if ready > free[lane] and cpred[i] >= 0 and before[lane] != cpred[i]:
            longest, j = 0, cpred[i]
            while j >= 0 and q.seconds[j, m] < np.inf:
                there, y = False, newest[j]
                while y >= 0:
                    there = there or lane_at[y] == lane
                    y = older[y]
                if there:
                    break
                trail[longest] = j
                longest += 1
                j = cpred[j]
            for tried in range(1, longest + 1):
                time = free[lane]
                for c in range(tried - 1, -1, -1):
                    j = trail[c]
                    data = _there(q, j, m, newest, older, finish, node, here, used, False)
                    time = max(time, data) + q.seconds[j, m]
                    here[j] = time
                data = _there(q, i, m, newest, older, finish, node, here, used, False)
                if max(time, data) < best:
                    best, length = max(time, data), tried
                    for c in range(tried):
                        kept[c] = here[trail[c]]
                for c in range(tried):
                    here[trail[c]] = np.inf
        if x + length + 1 > room:
            more = room + length + 1
            task = np.append(task, np.empty(more, dtype=np.int64))
            lane_at = np.append(lane_at, np.empty(more, dtype=np.int64))
            copy = np.append(copy, np.zeros(more, dtype=np.bool_))
            older = np.append(older, np.empty(more, dtype=np.int64))
            node = np.append(node, np.empty(more, dtype=np.int64))
            finish = np.append(finish, np.empty(more))
            used = np.append(used, np.zeros(more, dtype=np.bool_))
            room += more
        for c in range(length, -1, -1):
            j = i if c == 0 else trail[c - 1]
            task[x], lane_at[x], node[x], copy[x] = j, lane, m, c > 0
            finish[x] = best + q.seconds[i, m] if c == 0 else kept[c - 1]
            older[x] = newest[j]
            newest[j] = x
            x += 1
        free[lane] = best + q.seconds[i, m]
        before[lane] = i
    return _Executions(task[:x].copy(), lane_at[:x].copy(), copy[:x].copy())


@njit
def _timed(
    q: Problem, runs: _Executions, insertion: bool
) -> tuple[Floats, Floats, npt.NDArray[np.bool_], float]:
    """Time the executions in their order, each as early as its lane allows.

    A copy on a lane where its task has run is left out.

    Args:
        q: The problem.
        runs: The executions.
        insertion: Whether they may run in idle time between earlier ones.

    Returns:
        Start and finish, NaN where left out; whether any other execution takes its data from
        it, or it is no copy; and the last finish of a task.
    """
    k, count = len(q.task), len(runs.task)
    start, finish = np.full(count, np.nan), np.full(count, np.nan)
    used = np.zeros(count, dtype=np.bool_)
    newest = np.full(k, -1, dtype=np.int64)
    older, node = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    here = np.full(k, np.inf)
    free = q.lane_free.copy()
    first, after = np.full(len(free), -1, dtype=np.int64), np.empty(count, dtype=np.int64)
    last = 0.0
    for x in range(count):
        i, lane = runs.task[x], runs.lane[x]
        m = q.lane_node[lane]
        node[x] = m
        if runs.copy[x]:
            there, y = False, newest[i]
            while y >= 0:
                there = there or runs.lane[y] == lane
                y = older[y]
            if there:
                continue
        used[x] = not runs.copy[x]
        ready = _there(q, i, m, newest, older, finish, node, here, used, True)
        took = q.seconds[i, m]
        if insertion:
            at, previous, following = max(ready, q.lane_free[lane]), -1, first[lane]
            while following >= 0 and start[following] < at + took:
                at = max(at, finish[following])
                previous, following = following, after[following]
            after[x] = following
            if previous < 0:
                first[lane] = x
            else:
                after[previous] = x
        else:
            at = max(ready, free[lane])
        start[x], finish[x] = at, at + took
        free[lane] = max(free[lane], finish[x])
        older[x] = newest[i]
        newest[i] = x
        if not runs.copy[x]:
            last = max(last, finish[x])
    return start, finish, used, last


@njit
def _merged(q: Problem, runs: _Executions) -> _Executions:
    """Return the executions after lanes have been merged wherever nothing finishes later for it.

    Lanes are taken by ascending work, and each joins the lane by which the makespan is least.
    """
    lanes = len(q.lane_node)
    M = q.seconds.shape[1]
    lane_of = runs.lane.copy()
    current = _timed(q, runs, False)[3]
    work = np.zeros(lanes)
    for x in range(len(lane_of)):
        work[lane_of[x]] += q.seconds[runs.task[x], q.lane_node[lane_of[x]]]
    for a in np.argsort(work, kind="mergesort"):
        on = np.zeros(M)
        some = False
        for x in range(len(lane_of)):
            if lane_of[x] == a:
                some = True
                if not runs.copy[x]:
                    on += q.seconds[runs.task[x]]
        if not some:
            continue
        best, into = current, -1
        for b in range(lanes):
            own = 0.0
            for x in range(len(lane_of)):
                if lane_of[x] == b and not runs.copy[x]:
                    own += q.seconds[runs.task[x], q.lane_node[b]]
            # A lane that would be busy for longer than the makespan needs no timing.
            if b == a or own == 0.0 or q.lane_free[b] + own + on[q.lane_node[b]] > current:
                continue
            tried = np.where(lane_of == a, b, lane_of)
            fits = True
            for x in range(len(lane_of)):
                if lane_of[x] == a and q.seconds[runs.task[x], q.lane_node[b]] == np.inf:
                    fits = False
            if not fits:
                continue
            makespan = _timed(q, _Executions(runs.task, tried, runs.copy), False)[3]
            if makespan < best or (makespan == best and into < 0):
                best, into = makespan, b
        if into >= 0:
            lane_of = np.where(lane_of == a, into, lane_of)
            current = best
    return _Executions(runs.task, lane_of, runs.copy)


def plan(
    w: WorkloadArrays, board: Board, tasks: npt.ArrayLike, *, by_start: bool = False
) -> DuplicatingPlan:
    """Plan tasks in clusters and copy parents where that saves waiting, as TDCA does.

    He, Meng, Pan, Yuan and Zhou, "A Novel Task-Duplication Based Clustering Algorithm for
    Heterogeneous Computing Environments", TPDS 2019. Its text was not at hand, only public
    reading notes with the formulas of its parameters, of the first phase and of the idea of
    the second. So this is *TDCA-like*. What follows the notes:

    - est, ect, favourite processors, cpred and level, over unlimited processors.
    - Phase 1: tasks by ascending level; one that is not assigned opens a cluster on its best
      free favourite; its cpred joins if it is free and would finish there no later than its
      data come from its own favourite, else the free parent of least ect that would; the walk
      ends where none does. When no processor is free, each remaining task goes where it starts
      first: with ``by_start`` only, see below.
    - Phase 2: before a task whose cpred is not the task before it on its processor, or which
      is the first there, the trail cpred, cpred of cpred, … is tried as copies.

    What was decided here:

    - A processor is a lane of the board; favourites are nodes, and a cluster takes the first
      free lane of one. Ties go to the lowest node, lane and id.
    - C(i, j) is the transfer between the two nodes concerned; level takes the mean link.
    - Several jobs are one graph with several entries. Parents on the board deliver from where
      they ran, are never copied, and lanes count from when they are free.
    - The remaining tasks of phase 1 follow by descending level, parents first, each after what
      its lane holds by then. They go where they finish first. On equal processors that is where
      they start first, as the notes have it; on unequal ones the start alone ignores how fast a
      processor is and made a weak rival of HEFT on random graphs.
    - Every lane runs its tasks by descending level, then id.
    - Phase 2 goes through all processors at once in that order. It tries trails only where the
      task waits for data, up to the first ancestor that has an execution on the lane or does
      not fit; of all lengths it keeps the one by which the task starts first, the shorter of
      equals, none unless it starts earlier: so copies that pay only together are found, the
      chain reaction of the paper.
    - Phase 3, processor merging: lanes by ascending work; each is merged into the lane that
      gives the least makespan, if the makespan does not grow.
    - Phase 4, task insertion: all executions are timed again in the same order, now in the
      first idle time that holds them; copies from which nobody takes data are dropped while
      the makespan does not grow.

    With ``k`` tasks it needs memory for k × nodes, and time for edges × nodes² and for trails
    of their whole length: some ms for 150 tasks on 48 nodes.

    Args:
        w: A placement workload.
        board: Where the work stands.
        tasks: Ids of tasks that have not started, with all their parents that have not.
        by_start: Whether remaining tasks of phase 1 go where they start first.

    Raises:
        ConfigError: When a task has started, or waits for one that is neither run nor planned.
    """
    q = problem(w, board, tasks)
    level = _levels(q, float(w.numbers[MEAN_LATENCY]), float(w.numbers[MEAN_COST]))
    order = np.argsort(-level, kind="stable").astype(np.int64)
    ect = _completions(q)
    favourite = np.argsort(ect, axis=1, kind="stable").astype(np.int64)
    cpred = _critical(q, ect, favourite)
    lane_of = _clusters(q, ect, favourite, cpred, order)
    _place(q, lane_of, order, by_start)
    runs = _merged(q, _duplicated(q, lane_of, cpred, order))
    start, finish, used, makespan = _timed(q, runs, True)
    while not used.all():
        fewer = _Executions(runs.task[used], runs.lane[used], runs.copy[used])
        again = _timed(q, fewer, True)
        if again[3] > makespan:
            break
        runs, (start, finish, used, makespan) = fewer, again
    ran = np.flatnonzero(np.isfinite(start))
    shown = ran[np.argsort(start[ran], kind="stable")]
    return DuplicatingPlan(
        task=q.task[runs.task[shown]],
        lane=runs.lane[shown].astype(np.int32),
        start=start[shown],
        finish=finish[shown],
        copy=runs.copy[shown],
    )


def primary(planned: DuplicatingPlan) -> Plan:
    """Return the executions that are no copies; their starts presume that the copies run."""
    own = ~planned.copy
    return Plan(planned.task[own], planned.lane[own], planned.start[own], planned.finish[own])


def copied_parent(w: WorkloadArrays, planned: DuplicatingPlan) -> Indices:
    """Return for each task of :func:`primary` the parent copied right before it, else -1.

    That is what a placement with a copy of one parent can carry out; of a longer trail only
    its last copy is one.

    Args:
        w: The workload.
        planned: The plan, ``k`` tasks without the copies.

    Returns:
        Ids of parents; shape [k].
    """
    before: dict[int, int] = {}
    parents: list[int] = []
    for x, (task, lane) in enumerate(zip(planned.task, planned.lane, strict=True)):
        if planned.copy[x]:
            before[int(lane)] = int(task)
            continue
        last = before.pop(int(lane), -1)
        own = w.parents[w.parent_ptr[task] : w.parent_ptr[task + 1]]
        parents.append(last if last in own else -1)
    return np.array(parents, dtype=np.int32)
