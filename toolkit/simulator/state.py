"""State: what a controller knows of a cluster, and the events that advance it.

The same events advance it whether they were recorded, simulated or come live from an engine, so
a policy sees the same features in all three. Its clock is when things were *seen*; the times it
keeps of tasks and jobs are those at which they happened.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.simulator.compiled import lean
from toolkit.workload import (
    ALL_CPUS,
    ALL_MEMORY,
    ALLOCATION,
    CONFIGURATION,
    CPUS,
    DUPLICATE,
    FAMILY,
    GPUS,
    IN_FLIGHT,
    MEMORY,
    PLACEMENT,
    SIZE_BINS,
    Floats,
    Indices,
    Ints,
    Workload,
)

ARRIVED, STARTED, FINISHED, LOST, RETURNED, KILLED, COPIED = 0, 1, 2, 3, 4, 5, 6
"""Event kinds: a job arrived; a task started; a task finished; a node was lost; a node is there
again, or for the first time; a task was killed and waits again; the copy of a parent that runs
before a task has finished."""

BLOCKED, WAITING, RUNNING, DONE = 0, 1, 2, 3
"""Status of a task; it waits from the moment its last parent is seen to have finished."""

N_WAITING, N_RUNNING, N_DONE, WAITING_SCALE, USED_CPUS, USED_MEMORY = 0, 1, 2, 3, 4, 5
"""Columns of ``State.by_type``; the waiting scale is the summed size factor of the queue."""

JOBS_DONE, LATENCY, COST, JOBS_IN_SYSTEM, SOJOURN = 0, 1, 2, 3, 4
BOTTLENECK, ELAPSED, BUSY, IMBALANCE, QUEUED, LATE, INVERSE = 5, 6, 7, 8, 9, 10, 11
N_READY, N_GROUPS, CPUS_NOW, MEMORY_NOW, SHARE, SHARE_SQUARED, N_KILLED, WASTED, WORK_NOW = (
    12, 13, 14, 15, 16, 17, 18, 19, 20,
)  # fmt: skip
"""Entries of ``State.totals``.

Running sums: jobs finished and their summed latency in s; CPU-equivalent seconds reserved; jobs
present; the seconds that all jobs have spent in the system; longest queue times seconds; seconds
with a job present; node-seconds in use; seconds times the standard deviation of the nodes' loads;
seconds that ready tasks waited; jobs that finished after their deadline; summed inverse of the
processing time of batches, 1/ms. Present values: ready tasks; groups of interchangeable ready
tasks; cpus and bytes in use; summed and summed squared share of the nodes in use. Running sums:
attempts killed and the seconds they wasted. Present value: estimated work of the jobs present, s.
"""
N_TOTALS = 21

STAGE, POSITION, PICKED, EPOCH, NUMBER, EXPECTED, PRESENT, BATCH = 0, 1, 2, 3, 4, 5, 6, 7
"""Entries of ``State.cursor``: which choice is asked; whose turn it is in the order of types; the
task picked and not yet placed, else -1; instants of decision so far; choices so far; whether
anything is still to happen by itself; jobs in the two lists of jobs; the batch that is served."""
N_CURSOR = 8

CLOSED, ASK_TASK, ASK_NODE, ASK_PROFILE, ASK_FLEET = 0, 1, 2, 3, 4
"""Stages: nothing is asked and time must pass; which ready task, on which node; which profile of
the next type; which executors for the next batch."""

Flags = npt.NDArray[np.int8]
Shorts = npt.NDArray[np.int16]


class State(NamedTuple):
    """Arrays only, so that a copy is cheap. ``n`` tasks, ``J`` jobs, ``T`` types, ``M`` nodes."""

    time: Floats  # [1] s
    status: Flags  # [n]
    missing: Indices  # [n] parents not yet seen to have finished
    profile: Shorts  # [n] set when a task starts to wait, -1 before
    node: Shorts  # [n] where it runs or ran, -1 before it was handed over
    decision: Indices  # [n] the choice that set the profile or the node, -1 before
    ready: Floats  # [n] s, NaN before
    started: Floats  # [n] s, NaN before; of a placed task when its data are to have arrived
    finished: Floats  # [n] s, NaN before
    link: Indices  # [n] next in the list that the task is in, else -1
    twins: Indices  # [n] interchangeable tasks that a ready one stands for
    left: Indices  # [J] tasks not finished
    work: Floats  # [J] their summed estimates, s on a mean node
    arrived: Floats  # [J] s, NaN before
    begun: Floats  # [J] s, when its first task was placed or its executors were chosen
    completed: Floats  # [J] s, NaN before
    fleet: Indices  # [J] configuration that served it, -1 before
    front: Indices  # [J] first entry of by_rank that has not been handed over
    first: Indices  # [J] first ready task by descending rank, else -1
    by_work: Indices  # [J] jobs present by remaining work, in the first PRESENT entries
    by_arrival: Indices  # [J] jobs present by arrival
    choice: Indices  # [T] profile of tasks submitted from now on, -1 before the first
    chooser: Indices  # [T] the decision that made the choice
    by_type: Floats  # [T, 6]
    history_count: Floats  # [T, SIZE_BINS] finished tasks
    history_seconds: Floats  # [T, SIZE_BINS] their summed durations, s
    up: Flags  # [M] whether the node is there, for an executor whether it has started
    shape: Indices  # [M] column of durations; an executor's changes, -1 while not employed
    holds: Floats  # [M, 3] what it holds when empty; an executor's changes
    free: Floats  # [M, 3]
    running: Indices  # [M] tasks on the node
    head: Indices  # [M] first task on the node, else -1
    load: Floats  # [M] greatest share of its cpus, memory or gpus in use
    used: Floats  # [M] node-seconds in use so far; each as of ``touched``
    touched: Floats  # [M] s
    copies: Floats  # [n, M] when a copy of a task finished on a node, s; [0, M] without copies
    copying: Indices  # [n] the parent whose copy runs before the task, else -1; [0] likewise
    besides: Floats  # [n] when all other data of such a task are there, s; [0] likewise
    cursor: Ints  # [8]
    totals: Floats  # [21]

    def copy(self) -> State:
        """Return an independent copy."""
        return State._make(a.copy() for a in self)

    def read_only(self) -> State:
        """Return the same state behind arrays that cannot be written."""
        views = []
        for array in self:
            view = array.view()
            view.flags.writeable = False
            views.append(view)
        return State._make(views)

    @property
    def done(self) -> bool:
        """Whether every job has finished."""
        return int(self.totals[JOBS_DONE]) == len(self.left)


def initial(workload: Workload) -> State:
    """Return the state before anything has arrived."""
    w = workload.arrays
    n, J, T, M = len(w.type_of), len(w.arrival), len(w.seconds), len(w.capacity)
    cursor = np.zeros(N_CURSOR, dtype=np.int64)
    cursor[PICKED] = cursor[BATCH] = -1
    cursor[EXPECTED] = 1
    if workload.family == ALLOCATION:
        cursor[STAGE] = ASK_PROFILE

    def whole(size: int, value: int, kind: type = np.int32) -> npt.NDArray[np.int32]:
        return np.full(size, value, dtype=kind)

    return State(
        time=np.zeros(1),
        status=np.zeros(n, dtype=np.int8),
        missing=np.diff(w.parent_ptr).astype(np.int32),
        profile=np.full(n, -1, dtype=np.int16),
        node=np.full(n, -1, dtype=np.int16),
        decision=whole(n, -1),
        ready=np.full(n, np.nan),
        started=np.full(n, np.nan),
        finished=np.full(n, np.nan),
        link=whole(n, -1),
        twins=whole(n, 0),
        left=np.diff(w.job_ptr).astype(np.int32),
        work=np.add.reduceat(w.mean_seconds[w.type_of] * w.scale, w.job_ptr[:-1]),
        arrived=np.full(J, np.nan),
        begun=np.full(J, np.nan),
        completed=np.full(J, np.nan),
        fleet=whole(J, -1),
        front=w.job_ptr[:-1].copy(),
        first=whole(J, -1),
        by_work=whole(J, -1),
        by_arrival=whole(J, -1),
        choice=w.profile_of_type.copy(),
        chooser=whole(T, -1),
        by_type=np.zeros((T, 6)),
        history_count=np.zeros((T, SIZE_BINS)),
        history_seconds=np.zeros((T, SIZE_BINS)),
        up=np.full(M, workload.family != CONFIGURATION, dtype=np.int8),
        shape=whole(M, -1) if workload.family == CONFIGURATION else w.column.copy(),
        holds=w.capacity.copy(),
        free=w.capacity.copy(),
        running=whole(M, 0),
        head=whole(M, -1),
        load=np.zeros(M),
        used=np.zeros(M),
        touched=np.zeros(M),
        copies=np.full((n if w.rules[DUPLICATE] else 0, M), np.inf),
        copying=whole(n if w.rules[DUPLICATE] else 0, -1),
        besides=np.full(n if w.rules[DUPLICATE] else 0, np.nan),
        cursor=cursor,
        totals=np.zeros(N_TOTALS),
    )


@lean
def pass_time(s: Any, until: float) -> None:
    """Advance the clock to ``until``, charging what is reserved meanwhile."""
    elapsed = until - s.time[0]
    if elapsed <= 0.0:
        return
    totals = s.totals
    memory = s.numbers[ALL_CPUS] * totals[MEMORY_NOW] / s.numbers[ALL_MEMORY]
    totals[COST] += 0.5 * (totals[CPUS_NOW] + memory) * elapsed
    totals[SOJOURN] += totals[JOBS_IN_SYSTEM] * elapsed
    if totals[JOBS_IN_SYSTEM] > 0.0:
        M = len(s.up)
        mean = totals[SHARE] / M
        totals[ELAPSED] += elapsed
        totals[BUSY] += totals[SHARE] * elapsed
        totals[IMBALANCE] += np.sqrt(max(0.0, totals[SHARE_SQUARED] / M - mean * mean)) * elapsed
        totals[QUEUED] += totals[N_READY] * elapsed
    s.time[0] = until


@lean
def room(s: Any, profile: int, node: int) -> bool:
    """Return whether a node is there and has room for a profile now."""
    # Sums of cpus err in the last digits, those of bytes by less than one byte.
    return bool(
        s.up[node]
        and s.demand[profile, CPUS] <= s.free[node, CPUS] + 1e-9
        and s.demand[profile, MEMORY] <= s.free[node, MEMORY] + 0.5
        and s.demand[profile, GPUS] <= s.free[node, GPUS] + 1e-9
    )


@lean
def occupy(s: Any, task: int, node: int) -> None:
    """Reserve on a node what a task asks for, and note where it is."""
    p = s.profile[task]
    for r in range(3):
        s.free[node, r] -= s.demand[p, r]
    s.running[node] += 1
    _loaded(s, node)
    s.node[task] = node
    s.link[task] = s.head[node]
    s.head[node] = task


@lean
def vacate(s: Any, task: int) -> None:
    """Give back what a task reserved."""
    node = s.node[task]
    if node < 0:
        return
    p = s.profile[task]
    for r in range(3):
        s.free[node, r] += s.demand[p, r]
    s.running[node] -= 1
    if s.running[node] == 0:
        for r in range(3):
            # Nothing is left to err about.
            s.free[node, r] = s.holds[node, r]
    _loaded(s, node)
    i, last = s.head[node], -1
    while i != task:
        last, i = i, s.link[i]
    if last < 0:
        s.head[node] = s.link[task]
    else:
        s.link[last] = s.link[task]
    s.link[task] = -1


@lean
def _loaded(s: Any, node: int) -> None:
    """Note the greatest share of the node's cpus, memory or gpus that is in use now."""
    now = 0.0
    if s.running[node] > 0:
        for r in range(3):
            if s.holds[node, r] > 0.0:
                now = max(now, 1.0 - s.free[node, r] / s.holds[node, r])
    before = s.load[node]
    s.load[node] = now
    s.used[node] += before * (s.time[0] - s.touched[node])
    s.touched[node] = s.time[0]
    s.totals[SHARE] += now - before
    s.totals[SHARE_SQUARED] += now * now - before * before


@lean
def _insert(s: Any, task: int) -> None:
    """Put a task among the ready ones of its job, by descending rank and then id."""
    job = s.job_of[task]
    s.totals[N_GROUPS] += 1.0
    i, last = s.first[job], -1
    while i >= 0 and (s.rank[i] > s.rank[task] or (s.rank[i] == s.rank[task] and i < task)):
        last, i = i, s.link[i]
    s.link[task] = i
    if last < 0:
        s.first[job] = task
    else:
        s.link[last] = task


@lean
def remove(s: Any, task: int) -> None:
    """Take a task from the ready ones of its job; its next twin stands for the others then."""
    job = s.job_of[task]
    i, last = s.first[job], -1
    while i != task:
        last, i = i, s.link[i]
    if last < 0:
        s.first[job] = s.link[task]
    else:
        s.link[last] = s.link[task]
    s.totals[N_GROUPS] -= 1.0
    if s.twins[task] > 1:
        twin = s.twin[task]
        s.twins[twin] = s.twins[task] - 1
        _insert(s, twin)
    s.link[task] = -1
    s.twins[task] = 0


@lean
def wait(s: Any, task: int) -> None:
    """Let a task wait for its turn."""
    t = s.type_of[task]
    s.status[task] = WAITING
    s.profile[task] = s.choice[t]
    s.decision[task] = s.chooser[t]
    s.ready[task] = s.time[0]
    s.by_type[t, N_WAITING] += 1.0
    s.by_type[t, WAITING_SCALE] += s.scale[task]
    s.totals[N_READY] += 1.0
    if s.rules[FAMILY] != PLACEMENT or s.twins[task] < 0:
        # Its group has counted it already.
        s.twins[task] = 0
        return
    group = 1
    twin = s.twin[task]
    while twin >= 0:
        s.twins[twin] = -1
        group += 1
        twin = s.twin[twin]
    s.twins[task] = group
    _insert(s, task)


@lean
def _enter(s: Any, job: int) -> None:
    """Put a job into the two lists of jobs present."""
    present = s.cursor[PRESENT]
    s.by_arrival[present] = job
    i = present
    while i > 0 and s.work[s.by_work[i - 1]] > s.work[job]:
        s.by_work[i] = s.by_work[i - 1]
        i -= 1
    s.by_work[i] = job
    s.cursor[PRESENT] = present + 1
    s.totals[WORK_NOW] += s.work[job]


@lean
def _lighten(s: Any, job: int, work: float) -> None:
    """Take finished work from a job and let it move up; ties go to the lower job."""
    before = s.work[job]
    s.work[job] = max(0.0, before - work) if s.left[job] > 0 else 0.0
    s.totals[WORK_NOW] += s.work[job] - before
    i = 0
    while s.by_work[i] != job:
        i += 1
    while i > 0:
        above = s.by_work[i - 1]
        if s.work[above] < s.work[job] or (s.work[above] == s.work[job] and above < job):
            break
        s.by_work[i] = above
        i -= 1
    s.by_work[i] = job


@lean
def _leave(s: Any, job: int) -> None:
    present = s.cursor[PRESENT]
    for jobs in (s.by_work, s.by_arrival):
        i = 0
        while jobs[i] != job:
            i += 1
        while i < present - 1:
            jobs[i] = jobs[i + 1]
            i += 1
    s.cursor[PRESENT] = present - 1
    if present == 1:
        s.totals[WORK_NOW] = 0.0


@lean
def begin(s: Any, job: int) -> None:
    """Let the entry tasks of a job wait for their turn."""
    for task in range(s.job_ptr[job], s.job_ptr[job + 1]):
        if s.parent_ptr[task + 1] == s.parent_ptr[task]:
            wait(s, task)


@lean
def started(s: Any, task: int, at: float) -> None:
    """Note that a waiting task runs."""
    t, p = s.type_of[task], s.profile[task]
    s.status[task] = RUNNING
    s.started[task] = at
    s.by_type[t, N_WAITING] -= 1.0
    s.by_type[t, WAITING_SCALE] -= s.scale[task]
    if s.by_type[t, N_WAITING] == 0.0:
        s.by_type[t, WAITING_SCALE] = 0.0
    s.by_type[t, N_RUNNING] += 1.0
    s.by_type[t, USED_CPUS] += s.demand[p, CPUS]
    s.by_type[t, USED_MEMORY] += s.demand[p, MEMORY]
    s.totals[N_READY] -= 1.0
    s.totals[CPUS_NOW] += s.demand[p, CPUS]
    s.totals[MEMORY_NOW] += s.demand[p, MEMORY]


@lean
def _stopped(s: Any, task: int) -> None:
    t, p = s.type_of[task], s.profile[task]
    s.by_type[t, N_RUNNING] -= 1.0
    s.by_type[t, USED_CPUS] -= s.demand[p, CPUS]
    s.by_type[t, USED_MEMORY] -= s.demand[p, MEMORY]
    s.totals[CPUS_NOW] -= s.demand[p, CPUS]
    s.totals[MEMORY_NOW] -= s.demand[p, MEMORY]


@lean
def _killed(s: Any, task: int) -> None:
    """Let an attempt that was killed wait again, for itself."""
    if s.status[task] == RUNNING:
        s.totals[WASTED] += max(0.0, s.time[0] - s.started[task])
        _stopped(s, task)
    else:
        t = s.type_of[task]
        s.by_type[t, N_WAITING] -= 1.0
        s.by_type[t, WAITING_SCALE] -= s.scale[task]
        s.totals[N_READY] -= 1.0
    vacate(s, task)
    s.totals[N_KILLED] += 1.0
    if s.rules[DUPLICATE] != 0:
        s.copying[task] = -1
    s.node[task] = -1
    s.started[task] = np.nan
    s.twins[task] = -1
    wait(s, task)
    if s.rules[FAMILY] == PLACEMENT:
        s.front[s.job_of[task]] = s.job_ptr[s.job_of[task]]
        s.twins[task] = 1
        _insert(s, task)


@lean
def _copied(s: Any, task: int, at: float) -> None:
    """Note that the copy which ran before a task has finished; the first on a node counts."""
    parent, node = s.copying[task], s.node[task]
    s.copies[parent, node] = min(s.copies[parent, node], at)
    s.started[task] = max(at, s.besides[task])


@lean
def apply_event(s: Any, kind: int, subject: int, at: float, seen: float) -> None:
    """Apply one event in place.

    Args:
        s: Changed in place; callers that need the old value copy it first.
        kind: ``ARRIVED`` (subject is a job), ``STARTED``, ``COPIED``, ``FINISHED`` or ``KILLED``
            (a task), ``LOST`` or ``RETURNED`` (a node). The tasks on a lost node are killed one
            by one.
        subject: Index of the job, task or node.
        at: When it happened, s.
        seen: When the controller learnt of it, s; not before the state's time.
    """
    pass_time(s, seen)
    if kind == ARRIVED:
        s.arrived[subject] = at
        s.totals[JOBS_IN_SYSTEM] += 1.0
        if s.rules[FAMILY] != ALLOCATION:
            _enter(s, subject)
        if s.rules[FAMILY] != CONFIGURATION:
            begin(s, subject)
        return
    if kind == STARTED:
        started(s, subject, at)
        return
    if kind == COPIED:
        _copied(s, subject, at)
        return
    if kind == KILLED:
        _killed(s, subject)
        return
    if kind == LOST:
        s.up[subject] = 0
        return
    if kind == RETURNED:
        s.up[subject] = 1
        return
    task = subject
    t = s.type_of[task]
    job = s.job_of[task]
    s.status[task] = DONE
    s.finished[task] = at
    _stopped(s, task)
    vacate(s, task)
    s.by_type[t, N_DONE] += 1.0
    size = s.size_bin[job]
    s.history_count[t, size] += 1.0
    s.history_seconds[t, size] += at - s.started[task]
    for i in range(s.child_ptr[task], s.child_ptr[task + 1]):
        child = s.children[i]
        s.missing[child] -= 1
        if s.missing[child] == 0:
            wait(s, child)
    s.left[job] -= 1
    listed = s.rules[FAMILY] != ALLOCATION
    if listed:
        _lighten(s, job, s.mean_seconds[t] * s.scale[task])
    if s.left[job] == 0:
        s.completed[job] = at
        s.totals[JOBS_DONE] += 1.0
        s.totals[JOBS_IN_SYSTEM] -= 1.0
        latency = seen - s.arrived[job]
        s.totals[LATENCY] += latency
        if latency > s.deadline[job]:
            s.totals[LATE] += 1.0
        if listed:
            _leave(s, job)
        if s.rules[FAMILY] == CONFIGURATION:
            s.totals[INVERSE] += 1e-3 / max(seen - s.begun[job], 1e-9)
            s.cursor[BATCH] = -1


@lean
def settle(s: Any, elapsed: float) -> None:
    """Charge the longest queue of the interval that ends now, and ask again where it is time."""
    if s.rules[FAMILY] != ALLOCATION:
        return
    longest = 0.0
    for t in range(len(s.order)):
        longest = max(longest, s.by_type[t, N_WAITING])
    s.totals[BOTTLENECK] += longest * elapsed
    if s.totals[JOBS_DONE] < len(s.arrival):
        s.cursor[STAGE] = ASK_PROFILE


@lean
def choose_profile(s: Any, profile: int) -> None:
    """Give the asked type its profile and ask the next; after the last, time may pass."""
    cursor = s.cursor
    t = s.order[cursor[POSITION]]
    s.choice[t] = profile
    s.chooser[t] = cursor[NUMBER]
    cursor[NUMBER] += 1
    cursor[POSITION] += 1
    if cursor[POSITION] == len(s.order):
        cursor[POSITION] = 0
        cursor[EPOCH] += 1
        cursor[STAGE] = CLOSED


@lean
def next_arrival(s: Any, job: int) -> float:
    """Return when a job arrives, s: its own time, or as soon as a closed system has room."""
    if job >= len(s.arrival):
        return np.inf
    if s.rules[IN_FLIGHT] == 0:
        return float(s.arrival[job])
    return float(s.time[0] if s.totals[JOBS_IN_SYSTEM] < s.rules[IN_FLIGHT] else np.inf)
