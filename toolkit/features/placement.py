"""What the choice of a ready task, and then of a node for it, looks like (family *placement*)."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.features.replan import planned, replan
from toolkit.simulator.compiled import lean
from toolkit.simulator.rules import arrivals, copy_of, estimated_seconds
from toolkit.simulator.state import (
    ASK_NODE,
    EXPECTED,
    JOBS_DONE,
    JOBS_IN_SYSTEM,
    LATENCY,
    N_GROUPS,
    N_READY,
    NUMBER,
    PICKED,
    PRESENT,
    SHARE,
    SHARE_SQUARED,
    STAGE,
    WORK_NOW,
    room,
)
from toolkit.workload import ADVICE, DUPLICATE, MEMORY, SLOTS, Indices, Mask, Vector

GLOBAL_FEATURES = (
    ("asks for a node", "1"),
    ("jobs in system", "jobs"),
    ("ready tasks", "tasks"),
    ("ready groups", "groups"),
    ("groups not shown", "groups"),
    ("tasks running", "tasks"),
    ("nodes", "nodes"),
    ("nodes free", "1"),
    ("nodes lost", "1"),
    ("load", "1"),
    ("imbalance", "1"),
    ("next finish in", "s"),
    ("mean finish in", "s"),
    ("work left per node", "s"),
    ("greatest upward rank", "s"),
    ("jobs finished", "jobs"),
    ("mean latency so far", "s"),
)
CANDIDATE_FEATURES = (
    ("is wait", "1"),
    ("seconds", "s"),
    ("fastest seconds", "s"),
    ("slowdown", "1"),
    ("data arrive in", "s"),
    ("finish in", "s"),
    ("best finish in", "s"),
    ("regret of not waiting", "s"),
    ("upward rank", "s"),
    ("rank among the ready", "1"),
    ("work left of its job", "s"),
    ("age of its job", "s"),
    ("slack to its deadline", "s"),
    ("waited", "s"),
    ("twins", "tasks"),
    ("children", "tasks"),
    ("share of data here", "1"),
    ("memory share", "1"),
    ("least work left over its job's", "1"),
    ("age of its job over the oldest", "1"),
    ("use of the node so far", "1"),
    ("tasks on the node", "tasks"),
    ("planned here", "1"),
    ("planned start in", "s"),
    ("planned next", "1"),
    ("seconds saved by a copy", "s"),
    ("is with a copy", "1"),
)
WAIT, SECONDS, FINISH_IN, BEST_FINISH_IN, RANK = 0, 1, 5, 6, 8
PLANNED_HERE, PLANNED_IN, PLANNED_NEXT = 22, 23, 24
FAR = 1e6
"""Seconds that stand for ever: a slack without a deadline, a start that is not planned."""


@lean
def shown(s: Any, keys_out: Indices) -> int:
    """Choose the ready tasks that get a slot; return how many do.

    Alternately the next of the jobs with least remaining work and of those that came first,
    within a job by upward rank. Slot 0 is left to ``wait``.
    """
    present, slots = s.cursor[PRESENT], s.rules[SLOTS]
    a = b = 0
    by_work = by_arrival = -1
    found = 0
    while found < slots:
        while by_work < 0 and a < present:
            by_work = s.first[s.by_work[a]]
            a += 1
        if by_work < 0:
            break
        found = _show(keys_out, found, by_work)
        by_work = s.link[by_work]
        if found == slots:
            break
        while by_arrival < 0 and b < present:
            by_arrival = s.first[s.by_arrival[b]]
            b += 1
        if by_arrival < 0:
            break
        found = _show(keys_out, found, by_arrival)
        by_arrival = s.link[by_arrival]
    return found


@lean
def _show(keys_out: Indices, found: int, task: int) -> int:
    for i in range(1, found + 1):
        if keys_out[i] == task:
            return found
    keys_out[found + 1] = task
    return found + 1


@lean
def _expect(s: Any) -> None:
    """Note when each node is expected to have finished something, now where it has room."""
    now = s.time[0]
    for m in range(len(s.up)):
        soonest = np.inf
        task = s.head[m]
        while task >= 0:
            soonest = min(soonest, max(now, s.started[task] + estimated_seconds(s, task, m)))
            task = s.link[task]
        s.expected[m] = soonest


@lean
def _describe(
    s: Any, c: Vector, task: int, node: int, copied: bool, best: float, fastest: float, top: float
) -> None:
    """Describe a task on a node; ``s.arrival_row`` holds when its data are where.

    Args:
        s: The scene.
        c: Filled, shape [F].
        task: A ready task.
        node: One with room.
        copied: Whether with a copy of a parent.
        best: Seconds from now to its earliest finish anywhere, waiting included.
        fastest: Its least seconds on any node.
        top: The greatest upward rank among the ready.
    """
    now = s.time[0]
    job = s.job_of[task]
    seconds = estimated_seconds(s, task, node)
    plain = max(now, s.arrival_row[node])
    begun = plain
    saved = 0.0
    if len(s.copies) > 0:
        _, with_copy = copy_of(s, task, node)
        saved = plain - with_copy
        if copied:
            begun = with_copy
    c[0] = 0.0
    c[1] = seconds
    c[2] = fastest
    c[3] = seconds / fastest if fastest > 0 else 1.0
    c[4] = begun - now
    c[5] = begun - now + seconds
    c[6] = best
    c[7] = max(0.0, begun - now + seconds - best)
    c[8] = s.rank[task]
    c[9] = s.rank[task] / top if top > 0 else 1.0
    c[10] = s.work[job]
    c[11] = now - s.arrived[job]
    slack = s.deadline[job] - c[11] - s.rank[task]
    c[12] = min(slack, FAR)
    c[13] = now - s.ready[task]
    c[14] = s.twins[task]
    c[15] = s.child_ptr[task + 1] - s.child_ptr[task]
    here = total = 0.0
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        total += s.data[i]
        if s.node[s.parents[i]] == node:
            here += s.data[i]
    c[16] = here / total if total > 0 else 1.0
    p = s.profile[task]
    c[17] = s.demand[p, MEMORY] / s.holds[node, MEMORY]
    c[18] = s.work[s.by_work[0]] / s.work[job] if s.work[job] > 0 else 1.0
    oldest = now - s.arrived[s.by_arrival[0]]
    c[19] = c[11] / oldest if oldest > 0 else 1.0
    c[20] = 0.0
    if now > 0:
        c[20] = (s.used[node] + s.load[node] * (now - s.touched[node])) / now
    c[21] = s.running[node]
    c[22] = 0.0
    c[23] = FAR
    c[24] = 0.0
    c[25] = saved
    c[26] = 1.0 if copied else 0.0


@lean
def _plan_of(s: Any, c: Vector, task: int, node: int) -> None:
    """Tell what the re-plan would do with a task."""
    i = planned(s, task)
    if i < 0:
        return
    wait = s.plan_start[i] - s.time[0]
    c[PLANNED_HERE] = 1.0 if s.plan_node[i] == node else 0.0
    c[PLANNED_IN] = wait
    c[PLANNED_NEXT] = 1.0 if s.plan_node[i] == node and s.plan_first[s.plan_lane[i]] == i else 0.0


@lean
def _globals(s: Any, g: Vector, groups_shown: int) -> float:
    """Fill the global features; return the greatest upward rank among the ready."""
    M = len(s.up)
    now = s.time[0]
    free = lost = running = 0
    soonest, mean, busy = np.inf, 0.0, 0
    for m in range(M):
        lost += 1 - s.up[m]
        running += s.running[m]
        if s.running[m] == 0:
            free += s.up[m]
        else:
            soonest = min(soonest, s.expected[m])
            mean += s.expected[m] - now
            busy += 1
    top = 0.0
    for i in range(min(s.cursor[PRESENT], 2 * M + 2)):
        task = s.first[s.by_arrival[i]]
        if task >= 0:
            top = max(top, s.rank[task])
    load = s.totals[SHARE] / M
    done = s.totals[JOBS_DONE]
    g[0] = 1.0 if s.cursor[STAGE] == ASK_NODE else 0.0
    g[1] = s.totals[JOBS_IN_SYSTEM]
    g[2] = s.totals[N_READY]
    g[3] = s.totals[N_GROUPS]
    g[4] = s.totals[N_GROUPS] - groups_shown
    g[5] = running
    g[6] = M
    g[7] = free / M
    g[8] = lost / M
    g[9] = load
    g[10] = np.sqrt(max(0.0, s.totals[SHARE_SQUARED] / M - load * load))
    g[11] = soonest - now if busy > 0 else 0.0
    g[12] = mean / busy if busy > 0 else 0.0
    g[13] = s.totals[WORK_NOW] / M
    g[14] = top
    g[15] = done
    g[16] = s.totals[LATENCY] / done if done > 0 else 0.0
    return top


@lean
def _best_anywhere(s: Any, task: int) -> tuple[int, float, float]:
    """Find the free node with the earliest finish; fills ``s.arrival_row``.

    Returns:
        That node or -1; seconds from now to the earliest finish anywhere; the least seconds that
        the task takes on any node.
    """
    now = s.time[0]
    arrivals(s, task, -1, s.arrival_row)
    p = s.profile[task]
    chosen, least, best, fastest = -1, np.inf, np.inf, np.inf
    for m in range(len(s.up)):
        if not s.up[m] or s.demand[p, MEMORY] > s.holds[m, MEMORY] + 0.5:
            continue
        seconds = estimated_seconds(s, task, m)
        fastest = min(fastest, seconds)
        roomy = room(s, p, m)
        begun = max(now, s.arrival_row[m])
        if not roomy:
            begun = max(begun, s.expected[m])
        finish = begun + seconds
        best = min(best, finish)
        if roomy and finish < least:
            chosen, least = m, finish
    return chosen, best - now, fastest


@lean
def featurise(
    s: Any, globals_out: Vector, candidates_out: Vector, mask_out: Mask, keys_out: Indices
) -> None:
    """Describe the choice of a ready task or of a node for the picked one, in place.

    Args:
        s: The scene.
        globals_out: Shape [G].
        candidates_out: Shape [K, F].
        mask_out: Shape [K].
        keys_out: Tasks, -1 for ``wait``; or nodes, from M on with a copy of a parent; shape [K].
    """
    M = len(s.up)
    candidates_out[:] = 0.0
    mask_out[:] = False
    keys_out[:] = -1
    _expect(s)
    advice = s.rules[ADVICE] != 0
    if s.cursor[STAGE] == ASK_NODE:
        task = s.cursor[PICKED]
        if advice and (s.plan_stamp[0] != s.cursor[NUMBER] - 1 or s.plan_time[0] != s.time[0]):
            replan(s)
        top = _globals(s, globals_out, 0)
        globals_out[4] = 0.0
        _, best, fastest = _best_anywhere(s, task)
        p = s.profile[task]
        for m in range(M):
            if not room(s, p, m):
                continue
            keys_out[m] = m
            mask_out[m] = True
            _describe(s, candidates_out[m], task, m, False, best, fastest, top)
            if advice:
                _plan_of(s, candidates_out[m], task, m)
            if s.rules[DUPLICATE] != 0:
                copied, _ = copy_of(s, task, m)
                if copied >= 0:
                    keys_out[M + m] = M + m
                    mask_out[M + m] = True
                    _describe(s, candidates_out[M + m], task, m, True, best, fastest, top)
        return
    if advice:
        replan(s)
        s.plan_stamp[0] = s.cursor[NUMBER]
        s.plan_time[0] = s.time[0]
    found = shown(s, keys_out)
    top = _globals(s, globals_out, found)
    candidates_out[0, WAIT] = 1.0
    candidates_out[0, FINISH_IN] = globals_out[11]
    mask_out[0] = s.cursor[EXPECTED] != 0
    for i in range(1, found + 1):
        task = keys_out[i]
        node, best, fastest = _best_anywhere(s, task)
        if node < 0:
            # It is shown, so that it can be waited for, but nothing has room for it now.
            candidates_out[i, BEST_FINISH_IN] = min(best, FAR)
            candidates_out[i, RANK] = s.rank[task]
            continue
        mask_out[i] = True
        _describe(s, candidates_out[i], task, node, False, best, fastest, top)
        if advice:
            j = planned(s, task)
            _plan_of(s, candidates_out[i], task, s.plan_node[j] if j >= 0 else node)
    if not mask_out.any():
        # Nothing will happen, and what could be placed has no slot: wait for the horizon.
        mask_out[0] = True
