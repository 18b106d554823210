"""The hot loop: a first-come-first-served engine advanced over flat arrays.

Tasks are handed to the cluster in the order in which they became ready; the head of the queue
holds back those behind it until a node has room for it. The collectors dispatch by the same
rule, so that who runs next is a known property of the engine and never of the policy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.simulator.compiled import njit
from toolkit.simulator.state import (
    ARRIVED,
    FINISHED,
    STARTED,
    WAITING,
    State,
    apply_event,
    pass_time,
)
from toolkit.workload import Floats, Ints, WorkloadArrays

HEAD, TAIL, HEAP, SEQUENCE, NEXT_JOB, EVENTS = 0, 1, 2, 3, 4, 5
"""Entries of ``World.counters``."""


class World(NamedTuple):
    """The truth behind the state: what the engine knows and no policy sees."""

    durations: Floats  # [n, P] s
    start_delay: Floats  # [n] s from hand-over to start
    seen_delay: Floats  # [n] s from an event to its being seen
    free_cpus: Floats  # [M]
    free_memory: Floats  # [M] bytes
    node: Ints  # [n] where a task runs, -1 before
    started: Floats  # [n] s, true start
    finished: Floats  # [n] s, true finish
    queue: Ints  # [n] tasks in the order of readiness
    heap_time: Floats  # [2 n]
    heap_sequence: Ints  # [2 n]
    heap_kind: Ints  # [2 n]
    heap_task: Ints  # [2 n]
    counters: Ints  # [6]

    def copy(self) -> World:
        """Return an independent copy."""
        return World._make(a.copy() for a in self)


def create(w: WorkloadArrays, durations: Floats, start_delay: Floats, seen_delay: Floats) -> World:
    """Return the world before anything has arrived.

    Args:
        w: The workload.
        durations: True duration of each task under each profile, s, shape [n, P].
        start_delay: Shape [n], s.
        seen_delay: Shape [n], s.
    """
    n = len(w.type_of)
    return World(
        durations=durations,
        start_delay=start_delay,
        seen_delay=seen_delay,
        free_cpus=w.node_cpus.copy(),
        free_memory=w.node_memory.copy(),
        node=np.full(n, -1, dtype=np.int64),
        started=np.full(n, np.nan),
        finished=np.full(n, np.nan),
        queue=np.zeros(n, dtype=np.int64),
        heap_time=np.zeros(2 * n),
        heap_sequence=np.zeros(2 * n, dtype=np.int64),
        heap_kind=np.zeros(2 * n, dtype=np.int64),
        heap_task=np.zeros(2 * n, dtype=np.int64),
        counters=np.zeros(6, dtype=np.int64),
    )


@njit
def _before(world: World, i: int, j: int) -> bool:
    if world.heap_time[i] != world.heap_time[j]:
        return bool(world.heap_time[i] < world.heap_time[j])
    return bool(world.heap_sequence[i] < world.heap_sequence[j])


@njit
def _swap(world: World, i: int, j: int) -> None:
    world.heap_time[i], world.heap_time[j] = world.heap_time[j], world.heap_time[i]
    a = world.heap_sequence[i]
    world.heap_sequence[i] = world.heap_sequence[j]
    world.heap_sequence[j] = a
    a = world.heap_kind[i]
    world.heap_kind[i] = world.heap_kind[j]
    world.heap_kind[j] = a
    a = world.heap_task[i]
    world.heap_task[i] = world.heap_task[j]
    world.heap_task[j] = a


@njit
def _push(world: World, time: float, kind: int, task: int) -> None:
    i = world.counters[HEAP]
    world.heap_time[i] = time
    world.heap_sequence[i] = world.counters[SEQUENCE]
    world.heap_kind[i] = kind
    world.heap_task[i] = task
    world.counters[SEQUENCE] += 1
    world.counters[HEAP] += 1
    while i > 0 and _before(world, i, (i - 1) // 2):
        _swap(world, i, (i - 1) // 2)
        i = (i - 1) // 2


@njit
def _pop(world: World) -> None:
    """Move the earliest event behind the end of the heap, where it can be read."""
    world.counters[HEAP] -= 1
    last = world.counters[HEAP]
    _swap(world, 0, last)
    i = 0
    while True:
        least = i
        for child in (2 * i + 1, 2 * i + 2):
            if child < last and _before(world, child, least):
                least = child
        if least == i:
            return
        _swap(world, i, least)
        i = least


@njit
def first_fit(free_cpus: Floats, free_memory: Floats, cpus: float, memory: float) -> int:
    """Return the first node with room, or -1.

    Args:
        free_cpus: Shape [M].
        free_memory: Shape [M], bytes.
        cpus: What the task asks for.
        memory: What the task asks for, bytes.
    """
    for m in range(len(free_cpus)):
        if free_cpus[m] >= cpus - 1e-9 and free_memory[m] >= memory - 0.5:
            return m
    return -1


@njit
def _dispatch(world: World, state: State, w: WorkloadArrays, now: float) -> None:
    counters = world.counters
    while counters[HEAD] < counters[TAIL]:
        task = world.queue[counters[HEAD]]
        p = state.profile[task]
        m = first_fit(world.free_cpus, world.free_memory, w.cpus[p], w.memory[p])
        if m < 0:
            return
        counters[HEAD] += 1
        world.free_cpus[m] -= w.cpus[p]
        world.free_memory[m] -= w.memory[p]
        world.node[task] = m
        start = now + world.start_delay[task]
        finish = start + world.durations[task, p]
        world.started[task] = start
        world.finished[task] = finish
        _push(world, start + world.seen_delay[task], STARTED, task)
        _push(world, finish + world.seen_delay[task], FINISHED, task)


@njit
def _enqueue(world: World, task: int) -> None:
    world.queue[world.counters[TAIL]] = task
    world.counters[TAIL] += 1


@njit
def advance(world: World, state: State, w: WorkloadArrays, until: float) -> None:
    """Let the cluster run until ``until``, or until every job has finished.

    Events at one instant are applied arrivals first, then in the order in which they were
    caused. Both arguments are changed in place.

    Args:
        world: The truth.
        state: What the controller knows; its clock ends at ``until`` or at the last event.
        w: The workload.
        until: Seconds.
    """
    counters = world.counters
    jobs = len(w.arrival)
    while True:
        arrival = w.arrival[counters[NEXT_JOB]] if counters[NEXT_JOB] < jobs else np.inf
        event = world.heap_time[0] if counters[HEAP] > 0 else np.inf
        now = min(arrival, event)
        if now == np.inf:
            return
        if now > until:
            break
        counters[EVENTS] += 1
        if arrival <= event:
            job = counters[NEXT_JOB]
            counters[NEXT_JOB] += 1
            apply_event(state, w, ARRIVED, job, now)
            for task in range(w.job_ptr[job], w.job_ptr[job + 1]):
                if state.status[task] == WAITING:
                    _enqueue(world, task)
        else:
            _pop(world)
            kind = world.heap_kind[counters[HEAP]]
            task = world.heap_task[counters[HEAP]]
            apply_event(state, w, kind, task, now)
            if kind == FINISHED:
                m = world.node[task]
                p = state.profile[task]
                world.free_cpus[m] += w.cpus[p]
                world.free_memory[m] += w.memory[p]
                for i in range(w.child_ptr[task], w.child_ptr[task + 1]):
                    child = w.children[i]
                    if state.status[child] == WAITING:
                        _enqueue(world, child)
        _dispatch(world, state, w, now)
    pass_time(state, w, until)
