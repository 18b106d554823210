"""Timeline: what is booked on each lane, kept as its idle gaps and the end of its last booking.

The insertion of list schedulers (Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206)
asks for the first gap of a lane that can hold a task. Bookings themselves are not kept: the gaps
of a lane, in order of time, and its tail say all that the question needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.simulator.compiled import lean, njit
from toolkit.workload import MEAN_COST, MEAN_LATENCY, Floats, Indices, Ints, WorkloadArrays

TAIL = -1
"""In place of a gap: after everything that is booked on the lane."""

FIRST, LAST, STOP = 0, 1, 2
"""Columns of ``span``: the lane's first gap, one after its last, one after the room it has."""

BLOCK = 32
"""Gaps of which one number tells the greatest length; the room of a lane is whole blocks."""


class Timeline(NamedTuple):
    """Idle gaps of ``L`` lanes; those of one lane lie together, ascending and disjoint."""

    gaps: Floats  # [room, 2] start and end, s
    longest: Floats  # [room / BLOCK] no gap of the block holds a task that takes more, s
    span: Ints  # [L + 1, 3] see FIRST; the last row counts what is in use of gaps
    tail: Floats  # [L] s, from when on nothing is booked


@njit
def free(lane_free: Floats, bookings: int) -> Timeline:
    """Return the timeline on which nothing is booked after ``lane_free``.

    Args:
        lane_free: Shape [L], s.
        bookings: No more tasks than this will be booked at one time.
    """
    lanes = len(lane_free)
    span = np.empty((lanes + 1, 3), dtype=np.int64)
    for lane in range(lanes):
        span[lane, FIRST] = span[lane, LAST] = lane * BLOCK
        span[lane, STOP] = (lane + 1) * BLOCK
    span[lanes, FIRST] = lanes * BLOCK
    # A booking adds at most one gap, and a full lane moves to twice the room: what it has and
    # what it left behind come to less than four times its bookings, so this never has to grow.
    blocks = lanes + 4 * bookings // BLOCK
    return Timeline(np.empty((blocks * BLOCK, 2)), np.empty(blocks), span, lane_free.copy())


@lean
def seek(
    gaps: Floats,
    longest: Floats,
    low: int,
    high: int,
    ready: float,
    took: float,
    bound: float,
) -> int:
    """Return the first gap of a lane that holds a task by ``bound``, else ``TAIL``.

    Args:
        gaps: Of the timeline.
        longest: Of the timeline.
        low: The lane's first gap.
        high: One after its last gap.
        ready: When the task's data have arrived, s.
        took: Its duration, s.
        bound: Latest finish of interest, s.
    """
    last = high
    while low < high:
        middle = (low + high) >> 1
        if gaps[middle, 1] < ready + took:
            low = middle + 1
        else:
            high = middle
    while low < last:
        if gaps[low, 0] + took > bound:
            break
        block = low // BLOCK
        stop = min(last, (block + 1) * BLOCK)
        if took <= longest[block]:
            for gap in range(low, stop):
                finish = max(ready, gaps[gap, 0]) + took
                if finish > bound:
                    return TAIL
                if finish <= gaps[gap, 1]:
                    return gap
        low = stop
    return TAIL


@lean
def _survey(gaps: Floats, longest: Floats, low: int, high: int) -> None:
    for block in range(low // BLOCK, (high + BLOCK - 1) // BLOCK):
        most = -np.inf
        for gap in range(block * BLOCK, min(high, (block + 1) * BLOCK)):
            # Rounded up: start + took <= end may hold where took <= end - start does not.
            most = max(most, gaps[gap, 1] - gaps[gap, 0] + 1e-15 * abs(gaps[gap, 1]))
        longest[block] = most


@lean
def book(line: Timeline, lane: int, gap: int, start: float, finish: float, shortest: float) -> None:
    """Book a lane from ``start`` to ``finish``, within a gap or after the tail.

    Args:
        line: The timeline.
        lane: The lane.
        gap: What :func:`earliest` gave.
        start: When the task starts, s.
        finish: When it finishes, s.
        shortest: No task still to come takes less, s: what cannot hold it is not kept as a gap.
    """
    gaps, longest, span, tail = line.gaps, line.longest, line.span, line.tail
    last = span[lane, LAST]
    if gap == TAIL:
        before = tail[lane]
        tail[lane] = finish
        if before + shortest > start:
            return
        gap = last
        gaps[gap, 0], gaps[gap, 1] = before, start
        last += 1
    else:
        left = gaps[gap, 0] + shortest <= start
        right = finish + shortest <= gaps[gap, 1]
        if left and right:
            for i in range(last, gap, -1):
                gaps[i, 0], gaps[i, 1] = gaps[i - 1, 0], gaps[i - 1, 1]
            gaps[gap, 1] = start
            gaps[gap + 1, 0] = finish
            last += 1
        elif left:
            gaps[gap, 1] = start
        elif right:
            gaps[gap, 0] = finish
        else:
            for i in range(gap, last - 1):
                gaps[i, 0], gaps[i, 1] = gaps[i + 1, 0], gaps[i + 1, 1]
            last -= 1
    if last == span[lane, STOP]:
        # The next booking needs room for one gap more.
        gap, used = span[lane, FIRST], span[-1, FIRST]
        count = last - gap
        for i in range(count):
            gaps[used + i, 0], gaps[used + i, 1] = gaps[gap + i, 0], gaps[gap + i, 1]
        gap, last = used, used + count
        span[lane, FIRST] = used
        span[lane, STOP] = span[-1, FIRST] = used + 2 * count
    span[lane, LAST] = last
    _survey(gaps, longest, gap, last)


@lean
def restore(
    line: Timeline, lane: int, place: int, start: float, end: float, tail: float, count: int
) -> None:
    """Take back the last booking of a lane.

    Args:
        line: The timeline.
        lane: The lane.
        place: The gap that the booking was made in, counted from the lane's first, or ``TAIL``.
        start: When that gap started before it, s.
        end: When that gap ended before it, s.
        tail: The lane's tail before it, s.
        count: The lane's gaps before it.
    """
    gaps, span = line.gaps, line.span
    first, last = span[lane, FIRST], span[lane, LAST]
    line.tail[lane] = tail
    span[lane, LAST] = first + count
    if place == TAIL:
        return
    gap = first + place
    if last - first > count:
        for i in range(gap + 1, last - 1):
            gaps[i, 0], gaps[i, 1] = gaps[i + 1, 0], gaps[i + 1, 1]
    elif last - first < count:
        for i in range(last, gap, -1):
            gaps[i, 0], gaps[i, 1] = gaps[i - 1, 0], gaps[i - 1, 1]
    gaps[gap, 0], gaps[gap, 1] = start, end
    _survey(gaps, line.longest, gap, first + count)


@lean
def arrivals(
    parent_ptr: Indices,
    parents: Indices,
    data: Floats,
    latency: Floats,
    bandwidth: Floats,
    node: Indices,
    finish: Floats,
    task: int,
    ready: Floats,
) -> bool:
    """Find when the data of a task are on each node; return whether each parent has a node.

    Args:
        parent_ptr: Of the workload, like the four that follow. A call that the compiler does
            not inline copies every array of a tuple, so this one takes but those that it reads.
        parents: Shape [e].
        data: Shape [e], bytes.
        latency: Shape [M, M], s.
        bandwidth: Shape [M, M], bytes/s.
        node: Node of each task that runs, has finished or is planned, else -1; shape [n].
        finish: When such a task finishes, s; shape [n].
        task: The task.
        ready: Receives the times, s, as far as the parents have nodes; -inf where there is
            nothing to wait for; shape [M].
    """
    complete = True
    for m in range(len(ready)):
        ready[m] = -np.inf
    for edge in range(parent_ptr[task], parent_ptr[task + 1]):
        source, done, sent = node[parents[edge]], finish[parents[edge]], data[edge]
        if source < 0:
            complete = False
            continue
        for m in range(len(ready)):
            # The sum of workload.moving, without branches so that it runs as vectors.
            moved = latency[source, m] + sent / bandwidth[source, m]
            if sent == 0.0 or m == source:
                moved = 0.0
            there = done + moved
            ready[m] = there if there > ready[m] else ready[m]
    return complete


@lean
def mean_moving(w: WorkloadArrays, edge: int) -> float:
    """Return the seconds that the data of an edge take over a mean link, as ranks count them."""
    if w.data[edge] == 0.0:
        return 0.0
    return float(w.numbers[MEAN_LATENCY] + w.data[edge] * w.numbers[MEAN_COST])


@lean
def durations(w: WorkloadArrays, task: int, took: Floats) -> None:
    """Find what a task takes on each node, s; inf on nodes that cannot hold it.

    Args:
        w: The workload.
        task: The task.
        took: Receives the durations, shape [M].
    """
    # workload.fits and workload.seconds_on, with what is the same for all nodes read once.
    seconds, column, demand, capacity = w.seconds, w.column, w.demand, w.capacity
    t, size = w.type_of[task], w.scale[task]
    p = w.profile_of_type[t]
    shift = w.profile_column[p]
    for m in range(len(took)):
        took[m] = seconds[t, shift + column[m]] * size
        for r in range(3):
            if demand[p, r] > capacity[m, r] + 1e-9:
                took[m] = np.inf


@lean
def shortest_of(w: WorkloadArrays, tasks: Indices) -> float:
    """Return the least duration that one of the tasks has on some node, s."""
    seconds, column, type_of, scale = w.seconds, w.column, w.type_of, w.scale
    profile_of_type, profile_column = w.profile_of_type, w.profile_column
    least = np.inf
    for task in tasks:
        t = type_of[task]
        shift = profile_column[profile_of_type[t]]
        for m in range(len(column)):
            least = min(least, seconds[t, shift + column[m]] * scale[task])
    return least


@lean
def earliest(
    line: Timeline, lane_node: Indices, ready: Floats, took: Floats, insertion: bool
) -> tuple[int, int, float]:
    """Return the lane on which a task finishes first, the gap there, and its finish, s.

    Ties go to the lowest lane. The lane is -1 where no lane can hold the task.

    Args:
        line: The timeline.
        lane_node: Shape [L].
        ready: When the data of the task are on each node, s; shape [M].
        took: Its duration on each node, s, inf where it must not run; shape [M].
        insertion: Whether it may run in a gap.
    """
    gaps, longest, span, tail = line.gaps, line.longest, line.span, line.tail
    best, chosen, where = np.inf, -1, TAIL
    for lane in range(len(lane_node)):
        m = lane_node[lane]
        finish = max(ready[m], tail[lane]) + took[m]
        if finish < best:
            best, chosen = finish, lane
    if not insertion:
        return chosen, where, best
    # The best finish at a tail bounds the search in the gaps of every lane.
    for lane in range(len(lane_node)):
        low, high = span[lane, FIRST], span[lane, LAST]
        m = lane_node[lane]
        if low == high or took[m] == np.inf:
            continue
        soonest = ready[m] + took[m]
        if soonest > best or gaps[high - 1, 1] < soonest:
            continue
        gap = seek(gaps, longest, low, high, ready[m], took[m], best)
        if gap != TAIL:
            finish = max(ready[m], gaps[gap, 0]) + took[m]
            if finish < best or lane < chosen:
                best, chosen, where = finish, lane, gap
    return chosen, where, best
