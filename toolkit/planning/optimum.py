"""Optimum: the least makespan of a small placement workload, by constraint programming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toolkit.errors import ConfigError, require
from toolkit.planning import bounds
from toolkit.workload import Floats, Indices, Ints, WorkloadArrays, moving

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

MOST_TASKS = 150
"""Beyond, the model alone would be too large; proofs end at some twenty tasks anyway."""

STEPS = 1_000_000
"""Steps of the clock in the makespan of a first schedule, where the times are not decimal."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best schedule found and how far it may be from the optimum.

    ``n`` tasks. Times in s after the first arrival, with the durations as given: only the
    search rounds them.

    Args:
        node: Node of each task; shape [n].
        start: Shape [n].
        finish: Shape [n].
        makespan: Last finish; the first arrival is at 0.
        bound: No schedule without copies is shorter.
        proven: Whether the search closed; the makespan then exceeds the bound by no more than
            the rounding does, at most two steps of the clock for each task.
        resolution: One step of the search's clock, s.
    """

    node: Indices
    start: Floats
    finish: Floats
    makespan: float
    bound: float
    proven: bool
    resolution: float


def moves(w: WorkloadArrays, edge: int) -> Floats:
    """Return the seconds that the data of an edge take from node to node; shape [M, M]."""
    M = len(w.capacity)
    return np.array([[moving(w, edge, a, b) for b in range(M)] for a in range(M)])


def timed(
    w: WorkloadArrays, durations: Floats, order: Ints, node: Indices
) -> tuple[Floats, Floats]:
    """Return start and finish of tasks that start as early as an order and their nodes allow.

    On each node the tasks start in the given order, as soon as the data are there and the
    capacity suffices.

    Args:
        w: The workload.
        durations: Shape [n, M], s.
        order: All tasks, parents first; shape [n].
        node: Shape [n].

    Returns:
        Seconds after the first arrival; shapes [n] and [n].
    """
    n = w.tasks
    start, finish = np.zeros(n), np.zeros(n)
    came = w.arrival - w.arrival[0]
    last = np.zeros(len(w.capacity))
    placed: list[list[int]] = [[] for _ in w.capacity]
    for task in order:
        m = int(node[task])
        ready = max(float(came[w.job_of[task]]), float(last[m]))
        for i in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            p = w.parents[i]
            ready = max(ready, float(finish[p]) + moving(w, i, int(node[p]), m))
        asked = w.demand[w.profile_of_type[w.type_of[task]]]
        for at in sorted({ready, *(float(finish[o]) for o in placed[m] if finish[o] > ready)}):
            used = sum(
                (w.demand[w.profile_of_type[w.type_of[o]]] for o in placed[m] if finish[o] > at),
                start=np.zeros(3),
            )
            if bool((used + asked <= w.capacity[m] + 1e-9).all()):
                start[task] = last[m] = at
                break
        finish[task] = start[task] + durations[task, m]
        placed[m].append(int(task))
    return start, finish


def _greedy(w: WorkloadArrays, durations: Floats) -> Indices:
    """Return nodes by least finish in the order of ids: a first schedule for the search."""
    n = w.tasks
    node = np.zeros(n, dtype=np.int32)
    finish = np.zeros(n)
    free = np.zeros(len(w.capacity))
    came = w.arrival - w.arrival[0]
    for task in range(n):
        best = np.inf
        for m in np.flatnonzero(np.isfinite(durations[task])):
            ready = max(float(came[w.job_of[task]]), float(free[m]))
            for i in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
                p = w.parents[i]
                ready = max(ready, float(finish[p]) + moving(w, i, int(node[p]), int(m)))
            if ready + durations[task, m] < best:
                best = ready + float(durations[task, m])
                node[task] = m
        finish[task] = free[node[task]] = best
    return node


def _resolution(times: Floats, span: float) -> float:
    """Return the coarsest power of ten that divides all times, else a part of the span."""
    for digits in range(7):
        steps = times * 10.0**digits
        if bool((np.abs(steps - steps.round()) <= 1e-9 * np.maximum(steps, 1.0)).all()):
            return float(10.0**-digits)
    return span / STEPS


def _capacity(
    model: cp_model.CpModel,
    w: WorkloadArrays,
    m: int,
    tasks: list[int],
    intervals: list[cp_model.IntervalVar],
) -> None:
    """Let a node hold no more at once than the simulator's rule, the sum of demands, allows."""
    demand = w.demand[w.profile_of_type[w.type_of[tasks]]]
    room = w.capacity[m]
    least = np.sort(demand, axis=0)[:2].sum(axis=0)
    if bool((least > room + 1e-9).any()):
        model.add_no_overlap(intervals)
        return
    for r in np.flatnonzero((demand.sum(axis=0) > room + 1e-9) & (demand > 0).any(axis=0)):
        # Demands as parts of the least: exact where they are multiples of it, which cores and
        # most memory sizes are; else parts of the capacity, rounded to 1e-9 of it.
        unit = float(demand[:, r][demand[:, r] > 0].min())
        parts = demand[:, r] / unit
        if not bool((np.abs(parts - parts.round()) < 1e-9).all()):
            unit = float(room[r]) * 1e-9
            parts = demand[:, r] / unit
        whole = int(np.floor(room[r] / unit + 1e-6))
        model.add_cumulative(intervals, [int(v) for v in parts.round()], whole)


def optimum(
    w: WorkloadArrays,
    durations: Floats,
    *,
    time_limit: float = 30.0,
    workers: int = 1,
    seed: int = 0,
) -> Optimum:
    """Return the schedule of least makespan, all jobs released at their arrivals.

    The makespan is counted from the first arrival. Each task runs once: a schedule with copies
    may be shorter. Data move as soon as their producer has finished; where an engine moves them
    later, it can only be slower. A node holds what its capacity allows, so that the optimum is
    one of the schedules that a simulator can execute, and never below :mod:`bounds`.

    Times are rounded down to steps of the clock; so the bound is valid for the given times,
    and the schedule found is timed again with them.

    Args:
        w: A placement workload, of one job or several.
        durations: Seconds of each task on each node, inf where it does not fit; shape [n, M].
        time_limit: Of the search, in the solver's own deterministic seconds, each two to four
            of a clock: the same on every machine, so that an unfinished search is so too.
        workers: Threads; with more than one they take turns, so that the result stays the same.
        seed: Of the search.

    Raises:
        ConfigError: When the solver is not installed, or the workload is too large for it.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise ConfigError(
            "exact optima need the package ortools", hint="pip install ortools"
        ) from error
    n, M = w.tasks, len(w.capacity)
    require(
        n <= MOST_TASKS,
        f"an exact optimum is out of reach for {n} tasks, at most {MOST_TASKS} are tried",
        hint="compare with the bounds of toolkit.planning.bounds instead",
    )
    durations = bounds.checked(w, durations)
    came = (w.arrival - w.arrival[0])[w.job_of]
    moved = [moves(w, i) for i in range(len(w.parents))]
    first_node = _greedy(w, durations)
    first_start, first_finish = timed(w, durations, np.arange(n), first_node)
    span = float(first_finish.max())
    fit = np.isfinite(durations)
    unit = _resolution(np.concatenate([durations[fit], came, *(d.ravel() for d in moved)]), span)

    def steps(seconds: Floats) -> Ints:
        return np.floor(np.asarray(seconds) / unit + 1e-6).astype(np.int64)

    takes, waits = steps(np.where(fit, durations, 0.0)), [steps(d) for d in moved]
    release = steps(came)
    fastest = np.where(fit, takes, np.iinfo(np.int64).max).min(axis=1)
    head, tail = _ways(w, release, fastest)
    horizon = int(np.ceil(span / unit)) + 2 * n + 1

    model = cp_model.CpModel()
    known = bounds.response(w, durations).value * (1.0 - 1e-9)
    least = int(np.floor(known / unit)) - 2 * n
    makespan = model.new_int_var(max(0, least), horizon, "makespan")
    start = [model.new_int_var(int(head[i]), horizon, f"start {i}") for i in range(n)]
    end = [model.new_int_var(int(head[i] + fastest[i]), horizon, f"end {i}") for i in range(n)]
    on = [
        {int(m): model.new_bool_var(f"{i} on {m}") for m in np.flatnonzero(fit[i])}
        for i in range(n)
    ]
    by_node: list[tuple[list[int], list[cp_model.IntervalVar]]] = [([], []) for _ in range(M)]
    for i in range(n):
        model.add_exactly_one(on[i].values())
        model.add(end[i] == start[i] + sum(int(takes[i, m]) * lit for m, lit in on[i].items()))
        model.add(end[i] + int(tail[i]) <= makespan)
        for m, lit in on[i].items():
            by_node[m][0].append(i)
            by_node[m][1].append(
                model.new_optional_interval_var(
                    start[i], int(takes[i, m]), end[i], lit, f"{i} at {m}"
                )
            )
    for m, (tasks, intervals) in enumerate(by_node):
        if len(tasks) > 1:
            _capacity(model, w, m, tasks, intervals)
    for v in range(n):
        for e in range(w.parent_ptr[v], w.parent_ptr[v + 1]):
            u = int(w.parents[e])
            model.add(start[v] >= end[u])
            _transfer(model, waits[e], (start[v], on[v]), (end[u], on[u]))
    model.minimize(makespan)
    for i in range(n):
        model.add_hint(start[i], int(first_start[i] / unit))
        for m, lit in on[i].items():
            model.add_hint(lit, m == first_node[i])

    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    solver.parameters.interleave_search = workers > 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = time_limit
    status = solver.solve(model)
    node, order = first_node, np.arange(n)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        chosen = [
            next(m for m, lit in on[i].items() if solver.boolean_value(lit)) for i in range(n)
        ]
        begun = np.array([solver.value(s) for s in start])
        ended = np.array([solver.value(e) for e in end])
        node = np.array(chosen, dtype=np.int32)
        order = np.lexsort((np.arange(n), ended, begun))
    begins, finishes = timed(w, durations, order, node)
    if float(finishes.max()) > span:
        node, begins, finishes = first_node, first_start, first_finish
    bound = max(known, solver.best_objective_bound * unit)
    return Optimum(
        node=node,
        start=begins,
        finish=finishes,
        makespan=float(finishes.max()),
        bound=min(bound, float(finishes.max())),
        proven=status == cp_model.OPTIMAL,
        resolution=unit,
    )


def _ways(w: WorkloadArrays, release: Ints, fastest: Ints) -> tuple[Ints, Ints]:
    """Return the least start of each task and the least time after it, in steps; [n] and [n]."""
    n = w.tasks
    head, tail = release.copy(), np.zeros(n, dtype=np.int64)
    for v in range(n):
        for e in range(w.parent_ptr[v], w.parent_ptr[v + 1]):
            head[v] = max(head[v], head[w.parents[e]] + fastest[w.parents[e]])
    for v in range(n - 1, -1, -1):
        for e in range(w.parent_ptr[v], w.parent_ptr[v + 1]):
            tail[w.parents[e]] = max(tail[w.parents[e]], tail[v] + fastest[v])
    return head, tail


def _transfer(
    model: cp_model.CpModel,
    wait: Ints,
    child: tuple[cp_model.IntVar, dict[int, cp_model.IntVar]],
    parent: tuple[cp_model.IntVar, dict[int, cp_model.IntVar]],
) -> None:
    """Let the data of an edge reach its child in time.

    Args:
        model: Changed in place.
        wait: Steps from node to node; shape [M, M].
        child: Its start, and its nodes with their literals.
        parent: Its end, and its nodes with their literals.
    """
    begins, child_on = child
    ends, parent_on = parent
    # One literal per distinct time: on links of one speed that is one for the edge.
    far: dict[int, cp_model.IntVar] = {}
    for a, from_a in parent_on.items():
        for seconds in sorted({int(wait[a, b]) for b in child_on} - {0}):
            if seconds not in far:
                far[seconds] = model.new_bool_var("")
                model.add(begins >= ends + seconds).only_enforce_if(far[seconds])
            near = [lit for b, lit in child_on.items() if wait[a, b] < seconds]
            model.add_bool_or([from_a.negated(), far[seconds], *near])
