"""A genetic algorithm over static schedules: priorities and lanes, decoded by list scheduling."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from toolkit.errors import require
from toolkit.planning.board import Board, Plan
from toolkit.planning.tdca import Problem, moved, problem
from toolkit.seeding import generator
from toolkit.simulator.compiled import njit
from toolkit.workload import Floats, Ints, WorkloadArrays

ANY = -1
"""In place of a lane: the one on which the task finishes first."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the search goes on. The defaults take under a second for 100 tasks on 8 nodes.

    Args:
        population: Schedules of a generation.
        generations: How many follow one another.
        elite: The best, which live on unchanged.
        contestants: Schedules of which the best becomes a parent.
        crossover: Probability that a child has two parents.
        mutation: Expected number of tasks of a child whose priority and lane change.
        spread: Standard deviation of a change of priority, as a share of all tasks.
        fixed: Probability that a changed lane is a certain one, and not the best at its turn.
    """

    population: int = 60
    generations: int = 200
    elite: int = 4
    contestants: int = 3
    crossover: float = 0.8
    mutation: float = 3.0
    spread: float = 0.1
    fixed: float = 0.5

    def __post_init__(self) -> None:
        require(self.generations >= 0, f"generations must be >= 0, got {self.generations}")
        require(
            1 <= self.elite < self.population,
            f"elite must be from 1 to population - 1, got {self.elite} of {self.population}",
        )
        require(self.contestants >= 1, f"contestants must be >= 1, got {self.contestants}")
        require(self.mutation >= 0, f"mutation must be >= 0, got {self.mutation}")
        require(self.spread >= 0, f"spread must be >= 0, got {self.spread}")
        for name, value in (("crossover", self.crossover), ("fixed", self.fixed)):
            require(0 <= value <= 1, f"{name} must be from 0 to 1, got {value}")


@njit
def _decode(
    q: Problem, child_ptr: Ints, children: Ints, priority: Floats, wanted: Ints
) -> tuple[Ints, Ints, Floats, Floats]:
    """Schedule the ready task of highest priority next, at the end of its lane.

    Args:
        q: The tasks to plan.
        child_ptr: Shape [k + 1].
        children: Shape [d].
        priority: Ties go to the lowest number; shape [k].
        wanted: Lane of each task, or ``ANY``; shape [k].

    Returns:
        The tasks as they were scheduled, and by task lane, start and finish; shape [k] each.
    """
    k, M = q.seconds.shape
    order, lane = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.int64)
    start, finish = np.empty(k), np.empty(k)
    waits = q.parent_ptr[1:] - q.parent_ptr[:-1]
    free = q.lane_free.copy()
    there = np.empty(M)
    heap = [(-priority[i], i) for i in range(k) if waits[i] == 0]
    heap.sort()
    for turn in range(k):
        i = heappop(heap)[1]
        order[turn] = i
        low, high = (0, len(free)) if wanted[i] < 0 else (wanted[i], wanted[i] + 1)
        first, last = (0, M) if wanted[i] < 0 else (q.lane_node[low], q.lane_node[low] + 1)
        for m in range(first, last):
            there[m] = q.ready[i, m]
        for e in range(q.parent_ptr[i], q.parent_ptr[i + 1]):
            p = q.parents[e]
            source = q.lane_node[lane[p]]
            for m in range(first, last):
                sent = finish[p] + moved(q.latency, q.bandwidth, q.data[e], source, m)
                there[m] = max(there[m], sent)
        soonest = np.inf
        for other in range(low, high):
            m = q.lane_node[other]
            begins = max(free[other], there[m])
            if begins + q.seconds[i, m] < soonest:
                soonest = begins + q.seconds[i, m]
                lane[i], start[i] = other, begins
        finish[i] = free[lane[i]] = soonest
        for c in range(child_ptr[i], child_ptr[i + 1]):
            child = children[c]
            waits[child] -= 1
            if waits[child] == 0:
                heappush(heap, (-priority[child], child))
    return order, lane, start, finish


@njit
def _makespans(
    q: Problem, child_ptr: Ints, children: Ints, priority: Floats, wanted: Ints
) -> Floats:
    """Return the last finish of each of ``P`` schedules, s; priorities and lanes are [P, k]."""
    makespan = np.empty(len(priority))
    for one in range(len(priority)):
        makespan[one] = _decode(q, child_ptr, children, priority[one], wanted[one])[3].max()
    return makespan


def plan(
    w: WorkloadArrays,
    board: Board,
    tasks: npt.ArrayLike,
    settings: Settings | None = None,
    seed: int = 0,
    known: Plan | None = None,
) -> Plan:
    """Search for a schedule of least makespan among those that list scheduling gives.

    A schedule is a priority for each task (random keys: Bean, ORSA Journal on Computing 1994,
    doi:10.1287/ijoc.6.2.154) and for each task a lane, or the wish to go where it finishes
    first. It is decoded without insertion. The first generation holds HEFT without insertion
    (descending upward rank of all jobs together, each task where it finishes first), a plan
    that the caller knows, and changes of them; since the best live on, the result is no worse
    than either. A known plan keeps its nodes and the order of its starts, by which no task
    starts later than it said, so that HEFT with insertion can be one.

    Args:
        w: A placement workload.
        board: Where the work stands.
        tasks: Ids of tasks that have not started, with all their parents that have not.
        settings: Of the search.
        seed: Of the search; the same seed gives the same plan.
        known: A plan of the same tasks to start from.

    Raises:
        ConfigError: When a task has started, or waits for one that is neither run nor planned,
            or when the known plan is of other tasks.
    """
    chosen = settings if settings is not None else Settings()
    q = problem(w, board, tasks)
    k = len(q.task)
    rng = generator(seed, "genetic")
    counts = np.bincount(q.parents, minlength=k)
    child_ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    child = np.repeat(np.arange(k), np.diff(q.parent_ptr))
    children = child[np.argsort(q.parents, kind="stable")]
    # What lanes a task may be given, those that fit first: a draw is an index below their number.
    fits = np.isfinite(q.seconds[:, q.lane_node])
    lanes = np.argsort(~fits, axis=1, kind="stable")
    choices = fits.sum(axis=1)

    P = chosen.population
    priority, wanted = np.empty((P, k)), np.full((P, k), ANY, dtype=np.int64)
    priority[:] = _by_place(np.argsort(-w.rank[q.task], kind="stable"))
    seeds = 1
    if known is not None:
        require(np.array_equal(np.sort(known.task), q.task), "the known plan is one of other tasks")
        number = np.searchsorted(q.task, known.task)
        # Of equal starts the earlier finish, so that a task without duration comes before what
        # waits for it; then the order of ids, which is topological.
        priority[1::2] = _by_place(number[np.lexsort((number, known.finish, known.start))])
        wanted[1::2, number] = known.lane
        seeds = 2

    def change(which: slice) -> None:
        at = rng.random((P, k))[which] < min(1.0, chosen.mutation / k)
        rows, cols = np.nonzero(at)
        shift = rng.normal(0.0, chosen.spread, len(rows))
        lane = lanes[cols, (rng.random(len(rows)) * choices[cols]).astype(np.int64)]
        lane = np.where(rng.random(len(rows)) < chosen.fixed, lane, ANY)
        priority[which][rows, cols] += shift
        wanted[which][rows, cols] = lane

    change(slice(seeds, None))
    makespan = _makespans(q, child_ptr, children, priority, wanted)
    for _ in range(chosen.generations):
        by_makespan = np.argsort(makespan, kind="stable")
        ranked, lane_of = priority[by_makespan], wanted[by_makespan]
        # Sorted by makespan, the best of some contestants is the lowest index.
        first, second = rng.integers(0, P, (2, P, chosen.contestants)).min(axis=2)
        mixed = (rng.random((P, k)) < 0.5) & (rng.random((P, 1)) < chosen.crossover)
        priority = np.where(mixed, ranked[second], ranked[first])
        wanted = np.where(mixed, lane_of[second], lane_of[first])
        change(slice(0, None))
        elite = slice(0, chosen.elite)
        priority[elite], wanted[elite] = ranked[elite], lane_of[elite]
        makespan = _makespans(q, child_ptr, children, priority, wanted)
    best = int(np.argmin(makespan))
    order, lane, start, finish = _decode(q, child_ptr, children, priority[best], wanted[best])
    return Plan(q.task[order], lane[order].astype(np.int32), start[order], finish[order])


def _by_place(order: Ints) -> Floats:
    """Return falling priorities, 1 in all, of tasks in an order; shape [k]."""
    priority = np.empty(len(order))
    priority[order] = 1.0 - np.arange(len(order)) / len(order)
    return priority
