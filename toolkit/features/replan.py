"""What HEFT would do now: a re-plan of the first tasks, as advice among the features.

The jobs present by least remaining work, the tasks of each by upward rank, up to 64 of them, are
planned with insertion on what the running tasks are expected to leave (``srpt_heft``).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.simulator.compiled import lean
from toolkit.simulator.scratch import HORIZON, TABLE
from toolkit.simulator.state import DONE, PRESENT, RUNNING
from toolkit.workload import fits, seconds_on

_MIX = 2654435761  # Knuth's multiplicative hash


@lean
def planned(s: Any, task: int) -> int:
    """Return the place of a task in the plan, or -1."""
    i = (task * _MIX) & (TABLE - 1)
    while s.plan_table[i] >= 0:
        if s.plan_task[s.plan_table[i]] == task:
            return int(s.plan_table[i])
        i = (i + 1) & (TABLE - 1)
    return -1


@lean
def _free_lanes(s: Any) -> None:
    """Note when each lane is expected to be free."""
    now = s.time[0]
    L = len(s.lane_of)
    lane = 0
    while lane < L:
        node = s.lane_of[lane]
        last = lane
        while last < L and s.lane_of[last] == node:
            s.lane_free[last] = now if s.up[node] else np.inf
            s.lane_count[last] = 0
            s.plan_first[last] = -1
            last += 1
        task = s.head[node]
        i = lane
        while task >= 0:
            finish = max(now, s.started[task] + seconds_on(s, task, node))
            s.lane_free[i] = max(s.lane_free[i], finish)
            i = min(i + 1, last - 1)
            task = s.link[task]
        lane = last


@lean
def _arrivals(s: Any, task: int) -> None:
    """Note when the data of a task whose parents are done, running or planned are where."""
    row = s.arrival_row
    now = s.time[0]
    row[:] = 0.0
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        p = s.parents[i]
        if s.status[p] == DONE:
            done, where = s.finished[p], s.node[p]
        elif s.status[p] == RUNNING:
            where = s.node[p]
            done = max(now, s.started[p] + seconds_on(s, p, where))
        else:
            k = planned(s, p)
            if k < 0:
                continue
            done, where = s.plan_finish[k], s.plan_node[k]
        sent = s.data[i]
        for m in range(len(row)):
            at = done
            if m != where and sent > 0.0:
                at += s.latency[where, m] + sent / s.bandwidth[where, m]
            row[m] = max(row[m], at)


@lean
def _gap(s: Any, lane: int, earliest: float, seconds: float) -> float:
    """Return the earliest start on a lane among what is planned there."""
    start = max(earliest, s.lane_free[lane])
    for i in range(s.lane_count[lane]):
        if start + seconds <= s.lane_start[lane, i]:
            return start
        start = max(start, s.lane_finish[lane, i])
    return start


@lean
def _book(s: Any, lane: int, start: float, finish: float) -> None:
    i = s.lane_count[lane]
    while i > 0 and s.lane_start[lane, i - 1] > start:
        s.lane_start[lane, i] = s.lane_start[lane, i - 1]
        s.lane_finish[lane, i] = s.lane_finish[lane, i - 1]
        i -= 1
    s.lane_start[lane, i] = start
    s.lane_finish[lane, i] = finish
    s.lane_count[lane] += 1


@lean
def replan(s: Any) -> int:
    """Plan the first tasks afresh on the scratch pad; return how many."""
    s.plan_table[:] = -1
    _free_lanes(s)
    count = 0
    for j in range(s.cursor[PRESENT]):
        job = s.by_work[j]
        for i in range(s.front[job], s.job_ptr[job + 1]):
            if count == HORIZON:
                return count
            task = s.by_rank[i]
            if s.status[task] >= RUNNING:
                continue
            _arrivals(s, task)
            best, start, least = -1, 0.0, np.inf
            for lane in range(len(s.lane_of)):
                node = s.lane_of[lane]
                if not s.up[node] or not fits(s, task, node):
                    continue
                seconds = seconds_on(s, task, node)
                begun = _gap(s, lane, s.arrival_row[node], seconds)
                if begun + seconds < least:
                    best, start, least = lane, begun, begun + seconds
            if best < 0:
                continue
            _book(s, best, start, least)
            s.plan_task[count] = task
            s.plan_node[count] = s.lane_of[best]
            s.plan_lane[count] = best
            s.plan_start[count] = start
            s.plan_finish[count] = least
            first = s.plan_first[best]
            if first < 0 or start < s.plan_start[first]:
                s.plan_first[best] = count
            k = (task * _MIX) & (TABLE - 1)
            while s.plan_table[k] >= 0:
                k = (k + 1) & (TABLE - 1)
            s.plan_table[k] = count
            count += 1
    return count
