"""Lower bounds: what no schedule of a placement workload can beat.

Every bound takes the durations that tasks really have, so that a caller may pass the truth
instead of the estimates. They hold for every schedule in which a task runs on one node at a
time, finishes the whole of its work there, and starts after its parents have finished, and in
which a node never holds more than its capacity. Transfers, waiting, killed attempts and copies
of tasks only add to that; so the bounds also hold with duplication, of which they count one
execution of each task.

What each one bounds:

- :func:`longest_path`: the response time of each job, completion minus arrival.
- :func:`area` and :func:`makespan`: last finish minus first start, whatever the arrivals. A
  policy that lets a stream gather and starts late has a small makespan; so arrivals cannot be
  held against it here.
- :func:`response`: last finish minus first arrival. It uses the arrivals. Where all jobs arrive
  together it equals the bound on the makespan. Of a schedule that was first idle for ``d``
  seconds after the first arrival, ``response - d`` is a bound on the makespan.
- :func:`mean_response`: the mean over jobs of completion minus arrival.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import require
from toolkit.simulator.compiled import njit
from toolkit.workload import FAMILY, PLACEMENT, Floats, Indices, Ints, WorkloadArrays, feasible

LARGEST = 40_000
"""Variables of a linear programme; beyond, an evenly spaced sample of the work sets the prices."""

THRESHOLDS = 40
"""Distinct times, at most, from which a window may begin or at which it may end."""

ROUNDS = 12
"""Programmes solved, at most, in the search for the best window."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A lower bound on a time, in seconds, and the parts of which it is the greatest.

    Args:
        value: The bound.
        longest_path: From the longest path of the fastest durations.
        area: From all work on all nodes.
        window: From the work of those tasks that can neither start early nor finish late.
    """

    value: float
    longest_path: float
    area: float
    window: float

    @property
    def which(self) -> str:
        """The part that decides; the simplest where several do."""
        parts = {"longest_path": self.longest_path, "area": self.area, "window": self.window}
        return max(parts, key=lambda name: parts[name])


def durations_of(w: WorkloadArrays) -> Floats:
    """Return the estimated seconds of each task on each node, inf where it does not fit; [n, M]."""
    require(
        int(w.rules[FAMILY]) == PLACEMENT,
        "bounds and optima exist for placement workloads only",
        hint="choose a scenario of the placement family",
    )
    column = w.profile_column[w.profile_of_type][:, None] + w.column[None, :]
    per_type = np.take_along_axis(w.seconds, column.astype(np.intp), axis=1)
    per_type = np.where(feasible(w.demand, w.capacity)[w.profile_of_type], per_type, np.inf)
    return np.asarray(per_type[w.type_of] * w.scale[:, None], dtype=np.float64)


def checked(w: WorkloadArrays, durations: Floats) -> Floats:
    """Return the durations with inf wherever a task does not fit.

    Raises:
        ConfigError: When their shape is not [n, M], one is NaN or negative, or a task fits nowhere.
    """
    shape = (w.tasks, len(w.capacity))
    require(
        durations.shape == shape, f"durations must have the shape {shape}, got {durations.shape}"
    )
    require(bool((durations >= 0.0).all()), "durations must be numbers of at least 0 seconds")
    fits = feasible(w.demand, w.capacity)[w.profile_of_type]
    if not fits.all():
        durations = np.where(fits[w.type_of], durations, np.inf)
    for task in np.flatnonzero(np.isinf(durations).all(axis=1))[:1]:
        require(False, f"task {task} fits no node")
    return durations


@njit
def _heads_and_tails(
    fastest: Floats, parent_ptr: Indices, parents: Indices
) -> tuple[Floats, Floats]:
    n = len(fastest)
    head = np.zeros(n)
    tail = np.zeros(n)
    for task in range(n):
        for i in range(parent_ptr[task], parent_ptr[task + 1]):
            p = parents[i]
            head[task] = max(head[task], head[p] + fastest[p])
    for task in range(n - 1, -1, -1):
        for i in range(parent_ptr[task], parent_ptr[task + 1]):
            p = parents[i]
            tail[p] = max(tail[p], tail[task] + fastest[task])
    return head, tail


def heads_and_tails(w: WorkloadArrays, durations: Floats) -> tuple[Floats, Floats]:
    """Return the longest ways to and from each task by fastest durations, s; [n] and [n].

    A task starts no earlier than its head after its job, and its job ends no earlier than its
    tail after it.
    """
    return _heads_and_tails(checked(w, durations).min(axis=1), w.parent_ptr, w.parents)


def longest_path(w: WorkloadArrays, durations: Floats) -> Floats:
    """Return the longest path of each job by the fastest durations, without transfers; [J].

    Two tasks of a path never overlap, and transfers are free on one node; so it bounds the
    response time of the job.

    Args:
        w: The workload.
        durations: Seconds of each task on each node, inf where it does not fit; shape [n, M].
    """
    head, tail = heads_and_tails(w, durations)
    return np.asarray(np.maximum.reduceat(head + durations.min(axis=1) + tail, w.job_ptr[:-1]))


@dataclass(frozen=True, kw_only=True)
class _Work:
    """The work of the tasks in groups: the seconds on the nodes of a group are proportional.

    ``G`` groups, ``K`` classes of equal nodes, ``R`` limits of each class.
    """

    scale: Floats  # [n] s on its fastest node
    group: npt.NDArray[np.intp]  # [n]
    relative: Floats  # [G, K] seconds by those on the fastest node; inf where it does not fit
    share: Floats  # [G, K, R] what a running task takes of each limit of the whole class
    slots: Floats  # [K] tasks that all nodes of the class hold at once; inf without limit

    def of(self, chosen: npt.NDArray[np.bool_] | None = None) -> Floats:
        """Return the seconds of all or the chosen tasks on their fastest nodes by group; [G]."""
        scale = self.scale if chosen is None else np.where(chosen, self.scale, 0.0)
        total = np.bincount(self.group, weights=scale, minlength=len(self.relative))
        return np.asarray(total, dtype=np.float64)

    def charge(self, prices: Floats) -> Floats:
        """Return what one second of each group costs where it is cheapest; [G].

        Args:
            prices: Of the limits, at least 0 and 1 in sum; shape [K, R].
        """
        rate = (self.share * prices).sum(axis=2)
        with np.errstate(invalid="ignore"):  # 0 × inf: a node that is free, and not to be had
            return np.asarray(np.fmin.reduce(self.relative * rate, axis=1))


def _slots(w: WorkloadArrays, used: Ints) -> Floats:
    """Return how many tasks each node can hold at once, inf without limit; shape [M].

    A limit of its own, because whole tasks do not fill a capacity: of those that ask for 3 of
    8 cores, two run at once and not 2.67.
    """
    fits = feasible(w.demand[used], w.capacity)
    slots = np.full(len(w.capacity), np.inf)
    for m, room in enumerate(w.capacity):
        least = w.demand[used][fits[:, m]].min(axis=0, initial=np.inf)
        for r in np.flatnonzero((least > 0) & np.isfinite(least)):
            slots[m] = min(slots[m], max(1.0, np.floor(room[r] / least[r] + 1e-9)))
    return slots


def _work(w: WorkloadArrays, durations: Floats) -> _Work:
    M = durations.shape[1]
    profile = w.profile_of_type[w.type_of]
    used, which = np.unique(profile, return_inverse=True)
    slots = _slots(w, used.astype(np.int64))
    # Nodes of equal durations and capacity are one class: a fraction of the work on each of
    # them is as good as any other split.
    _, first, kind, many = np.unique(
        np.column_stack([durations.sum(axis=0, where=np.isfinite(durations)), w.capacity, slots]),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    if not (durations == durations[:, first[kind]]).all():
        first, many = np.arange(M), np.ones(M, dtype=np.intp)
    table = durations[:, first]
    scale = table.min(axis=1)
    nothing = scale == 0.0
    relative = np.where(nothing[:, None], 1.0, table) / np.where(nothing, 1.0, scale)[:, None]
    # Rows that agree in a fixed random projection make a group; it counts the least of their
    # seconds, so that a false match could only lower a bound.
    direction = np.modf(np.arange(1, len(first) + 1) * 0.6180339887498949)[0] + 0.5
    mark = np.where(np.isfinite(relative), relative, 0.0) @ direction
    _, mark_of = np.unique(mark.round(9), return_inverse=True)
    _, example, group = np.unique(
        mark_of * len(used) + which, return_index=True, return_inverse=True
    )
    in_groups = np.argsort(group, kind="stable")
    begins = np.searchsorted(group[in_groups], np.arange(len(example)))
    least = np.minimum.reduceat(relative[in_groups], begins, axis=0)
    share = np.zeros((len(used), len(first), 4))
    room = w.capacity[first]
    for p, asked in enumerate(w.demand[used]):
        share[p, :, :3] = np.where(asked > 0, asked, 0.0) / np.where(room > 0, room, np.inf)
    share[:, :, 3] = 1.0 / slots[first]
    share /= many[None, :, None]
    # Where a slot is the greater share for every task, the capacity implies nothing new.
    share[:, :, :3] *= (share[:, :, :3] > share[:, :, 3:]).any(axis=0)
    return _Work(
        scale=scale,
        group=group,
        relative=least,
        share=share[which[example]],
        slots=slots[first] * many,
    )


def _prices(work: _Work, amount: Floats) -> Floats:
    """Return the prices of the limits at which the least total charge is greatest; [K, R].

    They are the dual solution of the linear relaxation of R||Cmax, in which each task may be
    split over the nodes and no limit may be in use for longer than the makespan. Any prices of
    at least 0 and 1 in sum give a bound, since at no instant can a node be charged more than
    the prices of its limits; so neither the solver's tolerance nor a sample of the groups can
    make one invalid.

    Args:
        work: The work.
        amount: Seconds of each group on the fastest node; shape [G].
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    K, R = work.share.shape[1:]
    here = np.flatnonzero(amount > 0)
    most = max(1, LARGEST // K)
    if len(here) > most:
        here = here[np.linspace(0, len(here) - 1, most).astype(np.intp)]
    limits = np.flatnonzero((work.share[here] > 0).any(axis=0).ravel())
    if len(limits) == 0:
        return np.full((K, R), 1.0 / (K * R))
    prices = np.zeros(K * R)
    row_of = np.full(K * R, -1)
    row_of[limits] = np.arange(len(limits))
    g, k = np.nonzero(np.isfinite(work.relative[here]))
    size = amount[here] / amount[here].sum()
    load = (size[g] * work.relative[here][g, k])[:, None] * work.share[here][g, k]
    at = row_of.reshape(K, R)[k]
    keep = (at >= 0) & (load > 0)
    variable = np.broadcast_to(np.arange(len(g))[:, None], at.shape)
    makespan = len(g)
    upper: Any = csr_array(
        (
            np.concatenate([load[keep], np.full(len(limits), -1.0)]),
            (
                np.concatenate([at[keep], np.arange(len(limits))]),
                np.concatenate([variable[keep], np.full(len(limits), makespan)]),
            ),
        ),
        shape=(len(limits), makespan + 1),
    )
    whole: Any = csr_array(
        (np.ones(len(g)), (g, np.arange(len(g)))), shape=(len(here), makespan + 1)
    )
    goal = np.zeros(makespan + 1)
    goal[makespan] = 1.0
    solved: Any = linprog(
        goal,
        A_ub=upper,
        b_ub=np.zeros(len(limits)),
        A_eq=whole,
        b_eq=np.ones(len(here)),
        method="highs",
    )
    if solved.status == 0:
        prices[limits] = np.maximum(-solved.ineqlin.marginals, 0.0)
    if prices.sum() <= 0.0:
        prices[limits] = 1.0
    return np.asarray(prices.reshape(K, R) / prices.sum())


def area(w: WorkloadArrays, durations: Floats) -> float:
    """Return the linear relaxation of R||Cmax: all work, split at will over the nodes, in s.

    It bounds last finish minus first start, whatever the arrivals. The ratio of the sum of the
    work to the sum of the speeds does not, where the nodes' speeds differ from task to task.
    A node counts as busy by the greatest share of cpus, memory, gpus or slots that its tasks
    take, a slot being the room of the smallest task. Lenstra, Shmoys and Tardos, 1990,
    doi:10.1007/BF01585745, without their pruning.

    Args:
        w: The workload.
        durations: Seconds of each task on each node, inf where it does not fit; shape [n, M].
    """
    work = _work(w, checked(w, durations))
    amount = work.of()
    return float(work.charge(_prices(work, amount)) @ amount)


def _thresholds(values: Floats) -> Floats:
    distinct = np.unique(values)
    if len(distinct) > THRESHOLDS:
        distinct = distinct[np.linspace(0, len(distinct) - 1, THRESHOLDS).astype(np.intp)]
    return distinct


def _area_and_window(
    work: _Work, release: Floats, tail: Floats, times: Floats
) -> tuple[float, float]:
    """Return the area bound, and the best of: begin + work within + end, over windows.

    A set of tasks none of which starts before ``begin`` or has less than ``end`` after it
    takes ``begin + area + end``.

    Args:
        work: The work.
        release: Seconds before which a task cannot start; shape [n].
        tail: Seconds that must follow it; shape [n].
        times: Further times at which a window may begin.
    """
    begins = np.union1d(_thresholds(release), _thresholds(times))
    ends = _thresholds(tail)
    a = np.searchsorted(begins, release, side="right") - 1
    b = np.searchsorted(ends, tail, side="right") - 1
    cell = a * len(ends) + b
    cells = len(begins) * len(ends)

    def within(weights: Floats) -> Floats:
        table = np.bincount(cell, weights=weights, minlength=cells).reshape(len(begins), len(ends))
        return np.asarray(table[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1])

    # An empty window bounds nothing.
    around = np.where(within(np.ones(len(a))) > 0.5, begins[:, None] + ends[None, :], -np.inf)
    amount = work.of()
    everything, best = 0.0, 0.0
    for turn in range(ROUNDS):
        charge = work.charge(_prices(work, amount))[work.group] * work.scale
        value = around + within(charge)
        if turn == 0:
            everything = float(charge.sum())
        found = np.unravel_index(int(np.argmax(value)), value.shape)
        if value[found] <= best * (1.0 + 1e-6):
            break
        best = float(value[found])
        amount = work.of((a >= found[0]) & (b >= found[1]))
    return everything, best


def makespan(w: WorkloadArrays, durations: Floats) -> Bound:
    """Return a lower bound on last finish minus first start, whatever the arrivals.

    No task starts before the first, so the head of each task counts from there; the arrivals do
    not count, see the module.

    Args:
        w: The workload.
        durations: Seconds of each task on each node, inf where it does not fit; shape [n, M].
    """
    durations = checked(w, durations)
    head, tail = heads_and_tails(w, durations)
    work = _work(w, durations)
    everything, window = _area_and_window(work, head, tail, np.zeros(1))
    path = float((head + work.scale + tail).max())
    return Bound(
        value=max(path, everything, window), longest_path=path, area=everything, window=window
    )


def response(w: WorkloadArrays, durations: Floats) -> Bound:
    """Return a lower bound on last finish minus first arrival.

    Windows begin at arrivals too: what arrives after a time cannot be done before it.

    Args:
        w: The workload.
        durations: Seconds of each task on each node, inf where it does not fit; shape [n, M].
    """
    durations = checked(w, durations)
    head, tail = heads_and_tails(w, durations)
    came = w.arrival - w.arrival[0]
    release = came[w.job_of] + head
    work = _work(w, durations)
    everything, window = _area_and_window(work, release, tail, came)
    path = float((release + work.scale + tail).max())
    return Bound(
        value=max(path, everything, window), longest_path=path, area=everything, window=window
    )


def soonest(arrival: Floats, work: Floats) -> Floats:
    """Return when jobs complete, in order, on one machine by shortest remaining work first; [J].

    At no time has any other rule, interrupting and sharing as it likes, completed more jobs:
    Schrage 1968, doi:10.1287/opre.16.3.687.
    """
    left: list[tuple[float, int]] = []
    completed: list[float] = []
    now, j = 0.0, 0
    while left or j < len(arrival):
        if not left:
            now = max(now, float(arrival[j]))
        while j < len(arrival) and arrival[j] <= now:
            heapq.heappush(left, (float(work[j]), j))
            j += 1
        most, job = heapq.heappop(left)
        until = float(arrival[j]) if j < len(arrival) else np.inf
        if now + most <= until:
            now += most
            completed.append(now)
        else:
            heapq.heappush(left, (most - (until - now), job))
            now = until
    return np.array(completed)


def mean_response(w: WorkloadArrays, durations: Floats) -> float:
    """Return a lower bound on the mean over jobs of completion minus arrival, s.

    It joins two relaxations and is at least as great as either.

    - Each job alone on the cluster: it takes its longest path, and its own area.
    - The cluster merged into one machine. For any prices of the nodes' limits, 1 in sum, let
      the work of a task be its least charge over the nodes. All that runs at one instant then
      adds up to a rate of at most 1; so a machine of speed 1 that may interrupt and share can
      finish every job as early as any schedule does. On it shortest remaining work first
      completes the k-th job soonest, for every k.

    So the k-th completion is no sooner than that of the machine, and each job's no sooner than
    its own least. Which job is the k-th is left open; the sum of the greater of the two is
    least where both are paired in ascending order. The prices tried are those of equal slots,
    by which the work is the fastest duration by the number of slots, and those of the area
    bound.

    Args:
        w: The workload.
        durations: Seconds of each task on each node, inf where it does not fit; shape [n, M].
    """
    durations = checked(w, durations)
    if len(w.arrival) == 1:
        return response(w, durations).value
    work = _work(w, durations)
    prices = [_prices(work, work.of())]
    if np.isfinite(work.slots).all():
        equal = np.zeros(work.share.shape[1:])
        equal[:, 3] = work.slots / work.slots.sum()
        prices.append(equal)
    by_job = [
        np.add.reduceat(work.charge(p)[work.group] * work.scale, w.job_ptr[:-1]) for p in prices
    ]
    alone = np.maximum(longest_path(w, durations), np.max(by_job, axis=0))
    least = np.sort(w.arrival + alone)
    best = 0.0
    for charge in by_job:
        total = np.maximum(soonest(w.arrival, charge), least).sum() - w.arrival.sum()
        best = max(best, float(total) / len(w.arrival))
    return best
