"""Rules: what can be chosen and what a choice changes, of which everybody may know.

The simulator and the live engines of the families *placement* and *configuration* both act by
them; how long anything truly takes is not among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.simulator.compiled import lean
from toolkit.simulator.state import (
    ASK_FLEET,
    ASK_NODE,
    ASK_TASK,
    BATCH,
    CLOSED,
    EPOCH,
    EXPECTED,
    N_READY,
    NUMBER,
    PICKED,
    PRESENT,
    RUNNING,
    STAGE,
    occupy,
    remove,
    room,
    started,
)
from toolkit.workload import (
    BYTES,
    CONFIGURATION,
    CORES,
    CPUS,
    DUPLICATE,
    FAMILY,
    INSTANCES,
    MEMORY,
    PLACEMENT,
    PULL,
    SHAPE,
    Floats,
)


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
def first_fit(s: Any, profile: int) -> int:
    """Return the first node that is there and has room for a profile, or -1."""
    for m in range(len(s.up)):
        if room(s, profile, m):
            return m
    return -1


@lean
def placeable(s: Any, task: int) -> bool:
    """Return whether some node has room for a ready task now."""
    return first_fit(s, s.profile[task]) >= 0


@lean
def some_placeable(s: Any) -> bool:
    """Return whether some ready task could be handed over now."""
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
def open_epoch(s: Any, expected: bool) -> bool:
    """Ask where a choice is due; return whether one is.

    Args:
        s: The scene, changed in place.
        expected: Whether anything is still to happen by itself.
    """
    family = s.rules[FAMILY]
    if family == PLACEMENT and some_placeable(s):
        s.cursor[STAGE] = ASK_TASK
    elif family == CONFIGURATION and s.cursor[BATCH] < 0 and s.cursor[PRESENT] > 0:
        s.cursor[BATCH] = s.by_arrival[0]
        s.cursor[STAGE] = ASK_FLEET
    else:
        return False
    s.cursor[EXPECTED] = expected
    return True


@lean
def close_epoch(s: Any) -> None:
    """Let time pass until the next choice is due."""
    s.cursor[STAGE] = CLOSED
    s.cursor[EPOCH] += 1


@lean
def choose(s: Any, key: int) -> tuple[int, int, int]:
    """Note a choice of the families *placement* and *configuration*, in place.

    Whoever calls it carries out what was chosen: it hands the task over and calls
    :func:`go_on`, or employs the executors of the batch.

    Args:
        s: The scene; one with a choice to make.
        key: What was chosen: a ready task or -1 to wait; a node, or the number of nodes plus a
            node for one with a copy of a parent; a configuration of executors.

    Returns:
        The task to hand over, the node, and the parent to execute again there first or -1; -1
        three times where there is nothing to hand over.
    """
    cursor = s.cursor
    number = cursor[NUMBER]
    cursor[NUMBER] += 1
    if cursor[STAGE] == ASK_TASK:
        if key < 0:
            close_epoch(s)
        else:
            cursor[PICKED] = key
            cursor[STAGE] = ASK_NODE
        return -1, -1, -1
    if cursor[STAGE] == ASK_NODE:
        M = len(s.up)
        task = cursor[PICKED]
        node = key if key < M else key - M
        copied = -1
        if key >= M:
            copied, _ = copy_of(s, task, node)
        cursor[PICKED] = -1
        s.decision[task] = number
        return int(task), int(node), int(copied)
    job = cursor[BATCH]
    s.begun[job] = s.time[0]
    s.fleet[job] = key
    close_epoch(s)
    return -1, -1, -1


@lean
def go_on(s: Any) -> None:
    """Ask for the next task after one was handed over, or let time pass."""
    s.cursor[EXPECTED] = 1
    if some_placeable(s):
        s.cursor[STAGE] = ASK_TASK
    else:
        close_epoch(s)


@lean
def placed(s: Any, task: int, node: int, begun: float) -> None:
    """Note that a ready task was handed to a node with room.

    Args:
        s: The scene, changed in place.
        task: A ready task.
        node: One with room.
        begun: When its data are to be there, s; not before now.
    """
    remove(s, task)
    job = s.job_of[task]
    if np.isnan(s.begun[job]):
        s.begun[job] = s.time[0]
    occupy(s, task, node)
    started(s, task, begun)
    while s.front[job] < s.job_ptr[job + 1] and s.status[s.by_rank[s.front[job]]] >= RUNNING:
        s.front[job] += 1


@lean
def stays(s: Any, node: int, fleet: int, count: int) -> bool:
    """Return whether an executor serves a configuration as it is, started or still starting."""
    return bool(s.shape[node] == int(s.fleets[fleet, SHAPE]) and node < count)


@lean
def employ(s: Any, fleet: int, count: int) -> None:
    """Bring the executors to a configuration; those that do not stay are down until they start.

    Args:
        s: The scene, changed in place.
        fleet: The configuration.
        count: How many executors are granted.
    """
    for m in range(len(s.up)):
        if stays(s, m, fleet, count):
            continue
        s.up[m] = 0
        s.shape[m] = int(s.fleets[fleet, SHAPE]) if m < count else -1
        s.holds[m, CPUS] = s.free[m, CPUS] = s.fleets[fleet, CORES]
        s.holds[m, MEMORY] = s.free[m, MEMORY] = s.fleets[fleet, BYTES]
