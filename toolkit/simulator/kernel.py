"""The hot loop: a cluster advanced over flat arrays until somebody has to decide.

Three families, one loop. In *placement* the policy hands a task to a node. In *allocation* and
*configuration* tasks are handed to the first node with room in the order in which they became
ready, and the head of the queue holds back those behind it; the collectors dispatch by the same
rule, so that who runs next is a known property of the engine and never of the policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.simulator.compiled import lean
from toolkit.simulator.state import (
    ARRIVED,
    ASK_FLEET,
    ASK_NODE,
    ASK_PROFILE,
    ASK_TASK,
    BATCH,
    CLOSED,
    COPIED,
    EPOCH,
    EXPECTED,
    FINISHED,
    JOBS_DONE,
    KILLED,
    LOST,
    N_READY,
    NUMBER,
    PICKED,
    PRESENT,
    RETURNED,
    RUNNING,
    STAGE,
    STARTED,
    WAITING,
    apply_event,
    begin,
    choose_profile,
    next_arrival,
    occupy,
    pass_time,
    remove,
    room,
    settle,
    started,
)
from toolkit.simulator.world import EVENTS, HEAD, HEAP, NEXT_JOB, NEXT_OUTAGE, SEQUENCE, TAIL
from toolkit.workload import (
    ALLOCATION,
    BYTES,
    CONFIGURATION,
    CORES,
    CPUS,
    DUPLICATE,
    FAMILY,
    INSTANCES,
    INTERVAL,
    MEMORY,
    PLACEMENT,
    PULL,
    SHAPE,
    Floats,
)

_SUBJECT_BITS, _KIND_BITS = 31, 3
_MASK = (1 << _SUBJECT_BITS) - 1


@lean
def _before(s: Any, i: int, j: int) -> bool:
    if s.heap_time[i] != s.heap_time[j]:
        return bool(s.heap_time[i] < s.heap_time[j])
    return bool(s.heap_what[i] < s.heap_what[j])


@lean
def _swap(s: Any, i: int, j: int) -> None:
    s.heap_time[i], s.heap_time[j] = s.heap_time[j], s.heap_time[i]
    s.heap_at[i], s.heap_at[j] = s.heap_at[j], s.heap_at[i]
    what = s.heap_what[i]
    s.heap_what[i] = s.heap_what[j]
    s.heap_what[j] = what


@lean
def _push(s: Any, seen: float, at: float, kind: int, subject: int) -> None:
    i = s.counters[HEAP]
    sequence = s.counters[SEQUENCE]
    s.heap_time[i] = seen
    s.heap_at[i] = at
    s.heap_what[i] = (((sequence << _KIND_BITS) | kind) << _SUBJECT_BITS) | subject
    s.counters[SEQUENCE] = sequence + 1
    s.counters[HEAP] = i + 1
    _rise(s, i)


@lean
def _rise(s: Any, i: int) -> None:
    while i > 0 and _before(s, i, (i - 1) // 2):
        _swap(s, i, (i - 1) // 2)
        i = (i - 1) // 2


@lean
def _sink(s: Any, i: int) -> None:
    last = s.counters[HEAP]
    while True:
        least = i
        for child in (2 * i + 1, 2 * i + 2):
            if child < last and _before(s, child, least):
                least = child
        if least == i:
            return
        _swap(s, i, least)
        i = least


@lean
def _drop(s: Any, i: int) -> None:
    """Move an event behind the end of the heap, where it can still be read."""
    s.counters[HEAP] -= 1
    last = s.counters[HEAP]
    if i == last:
        return
    _swap(s, i, last)
    _rise(s, i)
    _sink(s, i)


@lean
def _forget(s: Any, task: int) -> None:
    """Drop the events to come of a task."""
    i = 0
    while i < s.counters[HEAP]:
        what = s.heap_what[i]
        kind = (what >> _SUBJECT_BITS) & ((1 << _KIND_BITS) - 1)
        if (what & _MASK) == task and kind != RETURNED:
            _drop(s, i)
            i = 0
        else:
            i += 1


@lean
def true_seconds(s: Any, task: int, node: int) -> float:
    """Return how long a task truly takes on a node under its profile."""
    column = s.profile_column[s.profile[task]] + s.shape[node]
    if len(s.true_scale) == 0:
        return float(s.true_seconds[task, column])
    return float(s.true_seconds[s.type_of[task], column] * s.true_scale[task])


@lean
def estimated_seconds(s: Any, task: int, node: int) -> float:
    """Return how long a ready or running task is thought to take on a node."""
    column = s.profile_column[s.profile[task]] + s.shape[node]
    return float(s.seconds[s.type_of[task], column] * s.scale[task])


@lean
def arrivals(s: Any, task: int, besides: int, out: Floats) -> None:
    """Find when the data of a task's parents are on each node.

    Args:
        s: The scene.
        task: One whose parents have finished.
        besides: A parent that is not counted, or -1.
        out: Filled with seconds, shape [M].
    """
    M = len(out)
    out[:] = 0.0
    begun = s.time[0] if s.rules[PULL] else 0.0
    copying = s.rules[DUPLICATE] != 0
    parents, data, latency, bandwidth = s.parents, s.data, s.latency, s.bandwidth
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        p = parents[i]
        if p == besides:
            continue
        done, where, sent = s.finished[p], s.node[p], data[i]
        leaves = max(begun, done)
        for m in range(M):
            at = done
            if m != where and sent > 0.0:
                at = leaves + latency[where, m] + sent / bandwidth[where, m]
                if copying:
                    at = min(at, _from_copies(s, p, sent, begun, m))
            out[m] = max(out[m], at)


@lean
def _from_copies(s: Any, parent: int, sent: float, begun: float, node: int) -> float:
    """Return when data are on a node from the best finished copy of the parent that made them."""
    earliest = np.inf
    for m in range(len(s.up)):
        at = s.copies[parent, m]
        if m != node:
            at = max(begun, at) + s.latency[m, node] + sent / s.bandwidth[m, node]
        earliest = min(earliest, at)
    return earliest


@lean
def arrival_at(s: Any, task: int, node: int, besides: int) -> float:
    """Return when the data of a task's parents are on one node, s; see :func:`arrivals`."""
    begun = s.time[0] if s.rules[PULL] else 0.0
    latest = 0.0
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        p = s.parents[i]
        if p == besides:
            continue
        where, sent = s.node[p], s.data[i]
        at = s.finished[p]
        if node != where and sent > 0.0:
            at = max(begun, at) + s.latency[where, node] + sent / s.bandwidth[where, node]
            if s.rules[DUPLICATE]:
                at = min(at, _from_copies(s, p, sent, begun, node))
        latest = max(latest, at)
    return latest


@lean
def _within(s: Any, profile: int, other: int) -> bool:
    """Return whether a profile asks for no more of anything than another."""
    within = True
    for r in range(3):
        within = within and s.demand[profile, r] <= s.demand[other, r]
    return within


@lean
def has_copy(s: Any, task: int, node: int) -> bool:
    """Return whether a task ran on a node, or a copy of it did or still does."""
    if s.node[task] == node or s.copies[task, node] < np.inf:
        return True
    i = s.head[node]
    while i >= 0:
        if s.copying[i] == task:
            return True
        i = s.link[i]
    return False


@lean
def copy_of(s: Any, task: int, node: int) -> tuple[int, float]:
    """Return the parent to execute again on a node, and when the task could start then.

    The one parent after whose copy the task starts first (DEFT's CPEFT); -1 where no copy lets
    it start earlier than without.
    """
    best, least = -1, max(s.time[0], arrival_at(s, task, node, -1))
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        p = s.parents[i]
        if s.data[i] == 0.0 or has_copy(s, p, node):
            continue
        if not _within(s, s.profile[p], s.profile[task]):
            continue  # A copy runs in what its child reserves.
        begun = max(s.time[0], arrival_at(s, p, node, -1))
        done = begun + estimated_seconds(s, p, node)
        start = max(done, arrival_at(s, task, node, p))
        if start < least:
            best, least = p, start
    return best, float(least)


@lean
def _delay(delays: Floats, task: int) -> float:
    return float(delays[task] if len(delays) > 1 else delays[0])


@lean
def place(s: Any, task: int, node: int, copied: int) -> None:
    """Hand a ready task to a node with room.

    Args:
        s: The scene, changed in place.
        task: A ready task.
        node: One with room.
        copied: A parent that is executed again there first, or -1.
    """
    begun = max(s.time[0], arrival_at(s, task, node, copied))
    if copied < 0:
        hand_over(s, task, node, begun)
        return
    own = max(s.time[0], arrival_at(s, copied, node, -1))
    done = own + true_seconds(s, copied, node)
    s.copying[task] = copied
    s.besides[task] = begun
    _push(s, done + _delay(s.seen_delay, task), done, COPIED, task)
    hand_over(s, task, node, max(begun, done))
    # Until the copy is seen to have finished, nobody knows better than the estimate.
    s.started[task] = max(begun, own + estimated_seconds(s, copied, node))


@lean
def hand_over(s: Any, task: int, node: int, begun: float) -> None:
    """Hand a ready task to a node with room.

    Args:
        s: The scene, changed in place.
        task: A ready task.
        node: One with room.
        begun: When its data are there, s; not before now.
    """
    remove(s, task)
    job = s.job_of[task]
    if np.isnan(s.begun[job]):
        s.begun[job] = s.time[0]
    occupy(s, task, node)
    started(s, task, begun)
    while s.front[job] < s.job_ptr[job + 1] and s.status[s.by_rank[s.front[job]]] >= RUNNING:
        s.front[job] += 1
    start = begun + _delay(s.start_delay, task)
    finish = start + true_seconds(s, task, node)
    _push(s, finish + _delay(s.seen_delay, task), finish, FINISHED, task)


@lean
def first_fit(s: Any, profile: int) -> int:
    """Return the first node that is there and has room for a profile, or -1."""
    for m in range(len(s.up)):
        if room(s, profile, m):
            return m
    return -1


@lean
def _dispatch(s: Any, now: float) -> None:
    counters = s.counters
    n = len(s.queue)
    while counters[HEAD] < counters[TAIL]:
        task = s.queue[counters[HEAD] % n]
        m = first_fit(s, s.profile[task])
        if m < 0:
            return
        counters[HEAD] += 1
        occupy(s, task, m)
        start = now + _delay(s.start_delay, task)
        finish = start + true_seconds(s, task, m)
        seen = _delay(s.seen_delay, task)
        _push(s, start + seen, start, STARTED, task)
        _push(s, finish + seen, finish, FINISHED, task)


@lean
def _enqueue(s: Any, task: int) -> None:
    s.queue[s.counters[TAIL] % len(s.queue)] = task
    s.counters[TAIL] += 1


@lean
def _enqueue_entries(s: Any, job: int) -> None:
    for task in range(s.job_ptr[job], s.job_ptr[job + 1]):
        if s.status[task] == WAITING:
            _enqueue(s, task)


@lean
def _kill(s: Any, node: int, now: float) -> None:
    """Kill what runs on a node, lowest task first; what has finished unseen is spared."""
    while True:
        victim = -1
        i = s.head[node]
        while i >= 0:
            if (victim < 0 or i < victim) and _finish_of(s, i) > now:
                victim = i
            i = s.link[i]
        if victim < 0:
            return
        _forget(s, victim)
        apply_event(s, KILLED, victim, now, now)
        if len(s.queue) > 0:
            _enqueue(s, victim)


@lean
def _finish_of(s: Any, task: int) -> float:
    for i in range(s.counters[HEAP]):
        what = s.heap_what[i]
        kind = (what >> _SUBJECT_BITS) & ((1 << _KIND_BITS) - 1)
        if (what & _MASK) == task and kind == FINISHED:
            return float(s.heap_at[i])
    return -np.inf


@lean
def _is_lost(s: Any, node: int) -> bool:
    """Return whether a node has been lost and has not returned."""
    for i in range(s.counters[NEXT_OUTAGE] - 1, -1, -1):
        if s.outage_node[i] == node and s.outage_kind[i] != KILLED:
            return bool(s.outage_kind[i] == LOST)
    return False


@lean
def _has_begun(s: Any, node: int) -> bool:
    """Return whether a node would be up were it not lost: an executor must have started."""
    if s.shape[node] < 0:
        return False
    for i in range(s.counters[HEAP]):
        what = s.heap_what[i]
        kind = (what >> _SUBJECT_BITS) & ((1 << _KIND_BITS) - 1)
        if (what & _MASK) == node and kind == RETURNED:
            return False
    return True


@lean
def placeable(s: Any, task: int) -> bool:
    """Return whether some node has room for a ready task now."""
    return first_fit(s, s.profile[task]) >= 0


@lean
def _some_placeable(s: Any) -> bool:
    if s.totals[N_READY] == 0.0:
        return False
    same = -1
    for i in range(s.cursor[PRESENT]):
        task = s.first[s.by_arrival[i]]
        while task >= 0:
            p = s.profile[task]
            if p != same and placeable(s, task):
                return True
            same = p
            task = s.link[task]
    return False


@lean
def _open(s: Any) -> bool:
    """Open an epoch where one is due; return whether it is open."""
    family = s.rules[FAMILY]
    if family == PLACEMENT and _some_placeable(s):
        s.cursor[STAGE] = ASK_TASK
    elif family == CONFIGURATION and s.cursor[BATCH] < 0 and s.cursor[PRESENT] > 0:
        s.cursor[BATCH] = s.by_arrival[0]
        s.cursor[STAGE] = ASK_FLEET
    else:
        return False
    s.cursor[EXPECTED] = _next_time(s) < np.inf
    return True


@lean
def advance(s: Any, until: float) -> None:
    """Let the cluster run until a choice is due, ``until``, or every job has finished.

    Events at one instant are applied before anybody is asked: arrivals first, then lost and
    returned nodes, then the rest in the order in which they were caused.

    Args:
        s: The scene, changed in place; its clock ends at the choice, at ``until`` or at the last
            event.
        until: Seconds.
    """
    counters = s.counters
    J, o = len(s.arrival), len(s.outage_at)
    queued = len(s.queue) > 0
    placing, allocating = s.rules[FAMILY] == PLACEMENT, s.rules[FAMILY] == ALLOCATION
    configuring = s.rules[FAMILY] == CONFIGURATION
    s.cursor[STAGE] = CLOSED
    while True:
        if configuring and _next_time(s) > s.time[0] and _open(s):
            return
        arrival = next_arrival(s, counters[NEXT_JOB])
        outage = s.outage_at[counters[NEXT_OUTAGE]] if counters[NEXT_OUTAGE] < o else np.inf
        event = s.heap_time[0] if counters[HEAP] > 0 else np.inf
        now = min(arrival, event, outage)
        if s.totals[JOBS_DONE] == J:
            return
        if now == np.inf and until == np.inf:
            return  # Nothing will ever happen again.
        if now > until:
            break
        counters[EVENTS] += 1
        if arrival == now:
            job = counters[NEXT_JOB]
            counters[NEXT_JOB] += 1
            apply_event(s, ARRIVED, job, now, now)
            if allocating:
                _enqueue_entries(s, job)
        elif outage == now:
            i = counters[NEXT_OUTAGE]
            counters[NEXT_OUTAGE] += 1
            kind, node = s.outage_kind[i], s.outage_node[i]
            if kind != RETURNED:
                pass_time(s, now)
                _kill(s, node, now)
            if kind == LOST or (kind == RETURNED and _has_begun(s, node)):
                apply_event(s, kind, node, now, now)
        else:
            _drop(s, 0)
            last = counters[HEAP]
            what = s.heap_what[last]
            kind = (what >> _SUBJECT_BITS) & ((1 << _KIND_BITS) - 1)
            subject = what & _MASK
            if kind != RETURNED or not _is_lost(s, subject):
                apply_event(s, kind, subject, s.heap_at[last], now)
            if kind == FINISHED and queued:
                for i in range(s.child_ptr[subject], s.child_ptr[subject + 1]):
                    child = s.children[i]
                    if s.status[child] == WAITING:
                        _enqueue(s, child)
        if queued:
            _dispatch(s, now)
        elif placing and _next_time(s) > now and _open(s):
            return
    pass_time(s, until)


@lean
def _next_time(s: Any) -> float:
    """Return when the next event is, s."""
    counters = s.counters
    soonest = next_arrival(s, counters[NEXT_JOB])
    if counters[NEXT_OUTAGE] < len(s.outage_at):
        soonest = min(soonest, s.outage_at[counters[NEXT_OUTAGE]])
    if counters[HEAP] > 0:
        soonest = min(soonest, s.heap_time[0])
    return float(soonest)


@lean
def granted(s: Any, fleet: int) -> int:
    """Return how many of the executors asked for the hosts can hold, one host after another."""
    wanted = int(s.fleets[fleet, INSTANCES])
    fitting = 0
    for host in range(len(s.hosts)):
        by_cores = np.floor(s.hosts[host, CPUS] / s.fleets[fleet, CORES] + 1e-9)
        by_bytes = np.floor(s.hosts[host, MEMORY] / s.fleets[fleet, BYTES] + 1e-9)
        fitting += int(min(by_cores, by_bytes))
    return min(wanted, fitting)


@lean
def _employ(s: Any, fleet: int) -> None:
    """Bring the executors to a configuration; those of the same shape stay, the rest start."""
    now = s.time[0]
    shape, count = int(s.fleets[fleet, SHAPE]), granted(s, fleet)
    i = 0
    while i < s.counters[HEAP]:
        # Between batches nothing is to come but executors that still start.
        m = s.heap_what[i] & _MASK
        if s.shape[m] == shape and m < count:
            i += 1
        else:
            _drop(s, i)
            i = 0
    for m in range(len(s.up)):
        if s.shape[m] == shape and m < count:
            continue
        s.up[m] = 0
        s.shape[m] = shape if m < count else -1
        s.holds[m, CPUS] = s.free[m, CPUS] = s.fleets[fleet, CORES]
        s.holds[m, MEMORY] = s.free[m, MEMORY] = s.fleets[fleet, BYTES]
        if m < count:
            ready = now + s.startup[0]
            _push(s, ready, ready, RETURNED, m)


@lean
def act(s: Any, key: int) -> None:
    """Carry out one choice, in place.

    Args:
        s: The scene, changed in place; one with a choice to make.
        key: What was chosen: a ready task or -1 to wait; a node, or the number of nodes plus a
            node for one with a copy of a parent; a profile; a configuration of executors.
    """
    cursor = s.cursor
    if cursor[STAGE] == ASK_PROFILE:
        choose_profile(s, key)
        return
    number = cursor[NUMBER]
    cursor[NUMBER] += 1
    if cursor[STAGE] == ASK_TASK:
        if key < 0:
            cursor[STAGE] = CLOSED
            cursor[EPOCH] += 1
        else:
            cursor[PICKED] = key
            cursor[STAGE] = ASK_NODE
    elif cursor[STAGE] == ASK_NODE:
        M = len(s.up)
        task = cursor[PICKED]
        copied = -1
        if key >= M:
            key -= M
            copied, _ = copy_of(s, task, key)
        cursor[PICKED] = -1
        place(s, task, key, copied)
        s.decision[task] = number
        cursor[EXPECTED] = 1
        if _some_placeable(s):
            cursor[STAGE] = ASK_TASK
        else:
            cursor[STAGE] = CLOSED
            cursor[EPOCH] += 1
    elif cursor[STAGE] == ASK_FLEET:
        job = cursor[BATCH]
        s.begun[job] = s.time[0]
        s.fleet[job] = key
        _employ(s, key)
        begin(s, job)
        _enqueue_entries(s, job)
        _dispatch(s, s.time[0])
        cursor[STAGE] = CLOSED
        cursor[EPOCH] += 1


@lean
def proceed(s: Any, horizon: float) -> None:
    """Let time pass until the next choice, the horizon or the end, and charge the interval."""
    before = s.time[0]
    until = horizon
    if s.rules[FAMILY] == ALLOCATION:
        until = min(horizon, max(s.cursor[EPOCH] * s.numbers[INTERVAL], before))
    advance(s, until)
    settle(s, s.time[0] - before)
