"""State: what a controller knows of a cluster, and the events that advance it.

The same three events advance it whether they were recorded, simulated or come live from an
engine, so a policy sees the same features in all three.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toolkit.simulator.compiled import njit
from toolkit.workload import SIZE_BINS, Floats, Ints, Workload, WorkloadArrays

ARRIVED, STARTED, FINISHED = 0, 1, 2
"""Event kinds: a job arrived; a task started; a task finished."""

BLOCKED, WAITING, RUNNING, DONE = 0, 1, 2, 3
"""Status of a task; it waits from the moment its last parent is seen to have finished."""

N_WAITING, N_RUNNING, N_DONE, WAITING_SCALE, USED_CPUS, USED_MEMORY = 0, 1, 2, 3, 4, 5
"""Columns of ``State.by_type``; the waiting scale is the summed size factor of the queue."""

JOBS_DONE, LATENCY, COST, JOBS_IN_SYSTEM, SOJOURN = 0, 1, 2, 3, 4
"""Entries of ``State.totals``: jobs finished and their summed latency in s, CPU-equivalent
seconds reserved, jobs present, and the seconds that all jobs have spent in the system."""


class State(NamedTuple):
    """Arrays only, so that a copy is cheap. Times are those at which things were *seen*.

    ``n`` tasks, ``J`` jobs, ``T`` types.
    """

    time: Floats  # [1] s
    status: Ints  # [n]
    missing: Ints  # [n] parents not yet seen to have finished
    profile: Ints  # [n] set when a task starts to wait, -1 before
    decision: Ints  # [n] the decision that set the profile, -1 before
    ready: Floats  # [n] s, NaN before
    started: Floats  # [n] s, NaN before
    finished: Floats  # [n] s, NaN before
    left: Ints  # [J] tasks not finished
    arrived: Floats  # [J] s, NaN before
    completed: Floats  # [J] s, NaN before
    choice: Ints  # [T] profile of tasks submitted from now on, -1 before the first
    chooser: Ints  # [T] the decision that made the choice
    by_type: Floats  # [T, 6]
    history_count: Floats  # [T, SIZE_BINS] finished tasks
    history_seconds: Floats  # [T, SIZE_BINS] their summed durations, s
    totals: Floats  # [5]

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
    n, jobs, types = workload.tasks, workload.jobs, len(workload.types)
    return State(
        time=np.zeros(1),
        status=np.full(n, BLOCKED, dtype=np.int64),
        missing=w.parents.copy(),
        profile=np.full(n, -1, dtype=np.int64),
        decision=np.full(n, -1, dtype=np.int64),
        ready=np.full(n, np.nan),
        started=np.full(n, np.nan),
        finished=np.full(n, np.nan),
        left=np.diff(w.job_ptr),
        arrived=np.full(jobs, np.nan),
        completed=np.full(jobs, np.nan),
        choice=np.full(types, -1, dtype=np.int64),
        chooser=np.full(types, -1, dtype=np.int64),
        by_type=np.zeros((types, 6)),
        history_count=np.zeros((types, SIZE_BINS)),
        history_seconds=np.zeros((types, SIZE_BINS)),
        totals=np.zeros(5),
    )


@njit
def pass_time(state: State, w: WorkloadArrays, until: float) -> None:
    """Advance the clock to ``until``, charging what is reserved meanwhile."""
    elapsed = until - state.time[0]
    if elapsed <= 0.0:
        return
    cpus = 0.0
    memory = 0.0
    for t in range(state.by_type.shape[0]):
        cpus += state.by_type[t, USED_CPUS]
        memory += state.by_type[t, USED_MEMORY]
    all_cpus = w.node_cpus.sum()
    equivalents = 0.5 * (cpus + all_cpus * memory / w.node_memory.sum())
    state.totals[COST] += equivalents * elapsed
    state.totals[SOJOURN] += state.totals[JOBS_IN_SYSTEM] * elapsed
    state.time[0] = until


@njit
def _wait(state: State, w: WorkloadArrays, task: int) -> None:
    t = w.type_of[task]
    state.status[task] = WAITING
    state.profile[task] = state.choice[t]
    state.decision[task] = state.chooser[t]
    state.ready[task] = state.time[0]
    state.by_type[t, N_WAITING] += 1.0
    state.by_type[t, WAITING_SCALE] += w.scale[task]


@njit
def apply_event(state: State, w: WorkloadArrays, kind: int, subject: int, seen: float) -> None:
    """Apply one event in place.

    Args:
        state: Changed in place; callers that need the old value copy it first.
        w: The workload.
        kind: ``ARRIVED`` (subject is a job), ``STARTED`` or ``FINISHED`` (a task).
        subject: Index of the job or task.
        seen: When the controller learnt of it, s; not before the state's time.
    """
    pass_time(state, w, seen)
    if kind == ARRIVED:
        state.arrived[subject] = seen
        state.totals[JOBS_IN_SYSTEM] += 1.0
        for task in range(w.job_ptr[subject], w.job_ptr[subject + 1]):
            if w.parents[task] == 0:
                _wait(state, w, task)
        return
    task = subject
    t = w.type_of[task]
    if kind == STARTED:
        state.status[task] = RUNNING
        state.started[task] = seen
        state.by_type[t, N_WAITING] -= 1.0
        state.by_type[t, WAITING_SCALE] -= w.scale[task]
        if state.by_type[t, N_WAITING] == 0.0:
            state.by_type[t, WAITING_SCALE] = 0.0
        state.by_type[t, N_RUNNING] += 1.0
        state.by_type[t, USED_CPUS] += w.cpus[state.profile[task]]
        state.by_type[t, USED_MEMORY] += w.memory[state.profile[task]]
        return
    state.status[task] = DONE
    state.finished[task] = seen
    state.by_type[t, N_RUNNING] -= 1.0
    state.by_type[t, N_DONE] += 1.0
    state.by_type[t, USED_CPUS] -= w.cpus[state.profile[task]]
    state.by_type[t, USED_MEMORY] -= w.memory[state.profile[task]]
    size = w.size_bin[task]
    state.history_count[t, size] += 1.0
    state.history_seconds[t, size] += seen - state.started[task]
    for i in range(w.child_ptr[task], w.child_ptr[task + 1]):
        child = w.children[i]
        state.missing[child] -= 1
        if state.missing[child] == 0:
            _wait(state, w, child)
    job = w.job_of[task]
    state.left[job] -= 1
    if state.left[job] == 0:
        state.completed[job] = seen
        state.totals[JOBS_DONE] += 1.0
        state.totals[JOBS_IN_SYSTEM] -= 1.0
        state.totals[LATENCY] += seen - state.arrived[job]
