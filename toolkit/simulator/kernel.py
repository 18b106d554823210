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
from toolkit.simulator.rules import (
    arrival_at,
    choose,
    employ,
    estimated_seconds,
    first_fit,
    go_on,
    granted,
    open_epoch,
    placed,
    stays,
)
from toolkit.simulator.state import (
    ARRIVED,
    ASK_FLEET,
    ASK_PROFILE,
    BATCH,
    CLOSED,
    COPIED,
    EPOCH,
    FINISHED,
    JOBS_DONE,
    KILLED,
    LOST,
    RETURNED,
    STAGE,
    STARTED,
    WAITING,
    apply_event,
    begin,
    choose_profile,
    next_arrival,
    occupy,
    pass_time,
    settle,
)
from toolkit.simulator.world import (
    EVENTS,
    HEAD,
    HEAP,
    LAST,
    LOAD,
    NEXT_JOB,
    NEXT_OUTAGE,
    SEQUENCE,
    TAIL,
)
from toolkit.workload import (
    ALLOCATION,
    CONFIGURATION,
    CPUS,
    FAMILY,
    INTERVAL,
    PLACEMENT,
    Floats,
)

_SUBJECT_BITS, _KIND_BITS = 31, 4
_MASK = (1 << _SUBJECT_BITS) - 1

_JOINED, _LEFT = 8, 9
"""Events that nobody sees, where tasks contend: a task begins to load its machine, and ends."""


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
def _rate(s: Any, load: float) -> float:
    """Return the speed of tasks on a machine of which some cpus are in use."""
    i, last = int(load), len(s.rates) - 1
    if i >= last:
        return float(s.rates[last])
    part = load - i
    return float(s.rates[i] * (1.0 - part) + s.rates[i + 1] * part)


@lean
def _weight(s: Any, task: int) -> float:
    """Return the cpus by which a task loads its machine: one where it asks for none."""
    cpus = s.demand[s.profile[task], CPUS]
    return float(cpus if cpus > 0.0 else 1.0)


@lean
def _passed(s: Any, machine: int, now: float) -> float:
    """Return the work that each task on a machine has done since it was last counted, s."""
    return float(_rate(s, s.crowd[machine, LOAD]) * (now - s.crowd[machine, LAST]))


@lean
def _shift(s: Any, machine: int, now: float, passed: float, change: float) -> None:
    """Count the work done on a machine, and change its load and with it when tasks end there."""
    crowd = s.crowd[machine]
    before = _rate(s, crowd[LOAD])
    crowd[LAST] = now
    crowd[LOAD] = max(0.0, crowd[LOAD] + change)
    speed = _rate(s, crowd[LOAD])
    h = s.counters[HEAP]
    for i in range(h):
        what = s.heap_what[i]
        task = what & _MASK
        kind = (what >> _SUBJECT_BITS) & ((1 << _KIND_BITS) - 1)
        if kind == _LEFT and s.machine[s.node[task]] == machine:
            s.undone[task] = max(0.0, s.undone[task] - passed)
            if speed != before:
                s.heap_time[i] = s.heap_at[i] = now + s.undone[task] / speed
    if speed != before:
        for i in range(h // 2 - 1, -1, -1):
            _sink(s, i)


@lean
def _join(s: Any, task: int, now: float) -> None:
    """Let a task begin to load its machine: it ends when its work has been done there."""
    machine = s.machine[s.node[task]]
    _shift(s, machine, now, _passed(s, machine, now), _weight(s, task))
    s.undone[task] = true_seconds(s, task, s.node[task])
    at = now + s.undone[task] / _rate(s, s.crowd[machine, LOAD])
    _push(s, at, at, _LEFT, task)


@lean
def _leave(s: Any, task: int, now: float, passed: float) -> None:
    """Let a task no longer load its machine."""
    s.undone[task] = -1.0
    _shift(s, s.machine[s.node[task]], now, passed, -_weight(s, task))


@lean
def _run(s: Any, task: int, node: int, start: float) -> None:
    """Let a task start at a known instant, and finish when it does."""
    if len(s.rates) > 0:
        _push(s, start, start, _JOINED, task)
        return
    finish = start + true_seconds(s, task, node)
    _push(s, finish + _delay(s.seen_delay, task), finish, FINISHED, task)


@lean
def _forget(s: Any, task: int, now: float) -> None:
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
    if len(s.rates) > 0 and s.undone[task] >= 0.0:
        _leave(s, task, now, _passed(s, s.machine[s.node[task]], now))


@lean
def true_seconds(s: Any, task: int, node: int) -> float:
    """Return how long a task truly takes on a node under its profile."""
    column = s.profile_column[s.profile[task]] + s.shape[node]
    if len(s.true_scale) == 0:
        return float(s.true_seconds[task, column])
    return float(s.true_seconds[s.type_of[task], column] * s.true_scale[task])


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
    placed(s, task, node, begun)
    _run(s, task, node, begun + _delay(s.start_delay, task))


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
        _push(s, start + _delay(s.seen_delay, task), start, STARTED, task)
        _run(s, task, m, start)


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
        _forget(s, victim, now)
        apply_event(s, KILLED, victim, now, now)
        if len(s.queue) > 0:
            _enqueue(s, victim)


@lean
def _finish_of(s: Any, task: int) -> float:
    for i in range(s.counters[HEAP]):
        what = s.heap_what[i]
        kind = (what >> _SUBJECT_BITS) & ((1 << _KIND_BITS) - 1)
        if (what & _MASK) == task and kind == _JOINED:
            return float(s.heap_at[i] + true_seconds(s, task, s.node[task]))
        if (what & _MASK) == task and kind in (_LEFT, FINISHED):
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
    seen = False
    while True:
        if configuring and _next_time(s) > s.time[0] and open_epoch(s, _next_time(s) < np.inf):
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
        internal = False
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
            internal = kind in (_JOINED, _LEFT)
            if kind == _JOINED:
                _join(s, subject, now)
            elif kind == _LEFT:
                # What was left of it, to the last digit: its equals end at this instant too.
                _leave(s, subject, now, s.undone[subject])
                _push(s, now + _delay(s.seen_delay, subject), now, FINISHED, subject)
            elif kind != RETURNED or not _is_lost(s, subject):
                apply_event(s, kind, subject, s.heap_at[last], now)
            if kind == FINISHED and queued:
                for i in range(s.child_ptr[subject], s.child_ptr[subject + 1]):
                    child = s.children[i]
                    if s.status[child] == WAITING:
                        _enqueue(s, child)
        seen = seen or not internal
        if queued:
            if not internal:
                _dispatch(s, now)
        elif placing and seen and _next_time(s) > now:
            # What nobody sees is no reason to ask.
            seen = False
            if open_epoch(s, _next_time(s) < np.inf):
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
def _start_executors(s: Any, fleet: int) -> None:
    """Bring the executors to a configuration; those that do not stay start now."""
    count = granted(s, fleet)
    i = 0
    while i < s.counters[HEAP]:
        # Between batches nothing is to come but executors that still start.
        if stays(s, s.heap_what[i] & _MASK, fleet, count):
            i += 1
        else:
            _drop(s, i)
            i = 0
    fresh = 0
    for m in range(count):
        if not stays(s, m, fleet, count):
            fresh += 1
    ready = s.time[0] + s.startup[max(0, min(fresh, len(s.startup)) - 1)]
    for m in range(count):
        if not stays(s, m, fleet, count):
            _push(s, ready, ready, RETURNED, m)
    employ(s, fleet, count)


@lean
def act(s: Any, key: int) -> None:
    """Carry out one choice, in place.

    Args:
        s: The scene, changed in place; one with a choice to make.
        key: What was chosen: a profile, or as :func:`~toolkit.simulator.rules.choose` says.
    """
    stage = s.cursor[STAGE]
    if stage == ASK_PROFILE:
        choose_profile(s, key)
        return
    task, node, copied = choose(s, key)
    if task >= 0:
        place(s, task, node, copied)
        go_on(s)
    elif stage == ASK_FLEET:
        job = s.cursor[BATCH]
        _start_executors(s, key)
        begin(s, job)
        _enqueue_entries(s, job)
        _dispatch(s, s.time[0])


@lean
def proceed(s: Any, horizon: float) -> None:
    """Let time pass until the next choice, the horizon or the end, and charge the interval."""
    before = s.time[0]
    until = horizon
    if s.rules[FAMILY] == ALLOCATION:
        until = min(horizon, max(s.cursor[EPOCH] * s.numbers[INTERVAL], before))
    advance(s, until)
    settle(s, s.time[0] - before)
