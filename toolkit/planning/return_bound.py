"""Bound on the return: what no policy earns on a workload, whatever its decision family.

Each term is bounded by itself. A task holds its resources from the moment it is handed over
until it is seen to have finished, for its delays and its duration; its children come no sooner.
Transfers, waiting, killed attempts, copies and lost nodes only add to that. The terms:

- *sojourn*, *latency*: the k-th completion by two relaxations: each job's longest path by its
  fastest durations, and all resources merged into one machine that may interrupt and share
  (:func:`toolkit.planning.bounds.mean_response`). Batches follow one another.
- *elapsed*: the work on that machine, and the times when some job must be there.
- *cost*: each task under the profile, each batch on the executors, of which it is least.
- *qos*: the jobs that would be late alone on the cluster.
- *inverse*: the best sequence of shapes of executors, which start where the shape changes.
- *utilisation*: a node is in use only while a job is there; what that pays goes off *elapsed*.
- *imbalance*, *bottleneck*: 0.

An episode ends with every job done, or at its horizon with at least one job unfinished; the
bound is the greater of both.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from toolkit import reward
from toolkit.planning import bounds
from toolkit.simulator import state
from toolkit.simulator.simulator import Truth
from toolkit.workload import (
    ALL_CPUS,
    ALL_MEMORY,
    ALLOCATION,
    BYTES,
    CONFIGURATION,
    CORES,
    CPUS,
    IN_FLIGHT,
    INSTANCES,
    MEMORY,
    PLACEMENT,
    SHAPE,
    Floats,
    Ints,
    Workload,
    WorkloadArrays,
    feasible,
    upward_ranks,
)

_PRICES = np.linspace(0.0, 1.0, 11)
"""Prices of all CPUs that are tried; with that of all memory they are 1 in sum."""


@dataclass(frozen=True, kw_only=True)
class _Least:
    """What the jobs of a workload take at least, and what they bring at most.

    Args:
        alone: From arrival to completion of each job, s; shape [J].
        ends: Lower bounds on the k-th completion for every k, ascending, s; each of shape [J].
        busy: With a job present, if all jobs are done, s.
        sojourn: Summed over jobs, if all jobs are done and arrive as planned, s.
        cost: If all jobs are done, CPU-equivalent seconds.
        inverse: Greatest sum of all jobs and of all but the last, 1/ms.
    """

    alone: Floats
    ends: tuple[Floats, ...]
    busy: float = 0.0
    sojourn: float = 0.0
    cost: float = 0.0
    inverse: tuple[float, float] = (0.0, 0.0)


def best_return(
    workload: Workload, truth: Truth, weights: reward.Reward, horizon: float = math.inf
) -> float | None:
    """Return an upper bound on the undiscounted return of any policy.

    The return is that of all sums of the state; recorded steps leave out what passes before the
    first decision, which is nothing unless the first job finds all its nodes lost.

    Args:
        workload: What arrives; of any family, open or closed.
        truth: How long everything really takes.
        weights: Weights of the reward.
        horizon: Seconds after which an episode is truncated. Without an end, only episodes that
            end with every job done are bounded.

    Returns:
        The bound; None where none is known: with an endless horizon, where no job can be done
        or where utilisation may earn more than the time that it takes costs.
    """
    w = workload.arrays
    paid = np.zeros(state.N_TOTALS)
    paid[reward.columns(weights)] = reward.signed(weights)
    timed = bool((paid[[state.SOJOURN, state.ELAPSED, state.BUSY]] != 0.0).any())
    least = _least(workload, truth, timed)
    found = [_done(w, least)] if np.isfinite(least.alone).all() else []
    found += [_truncated(w, least, horizon)] if math.isfinite(horizon) else []
    most = max((_worth(best, paid, len(w.capacity), horizon) for best in found), default=math.inf)
    return most if math.isfinite(most) else None


def least_metrics(workload: Workload, truth: Truth) -> dict[str, float]:
    """Return what no policy falls below in an episode that ends with every job done.

    Each metric is bounded by itself; no policy need reach two of them at once.

    Args:
        workload: What arrives; of any family, open or closed.
        truth: How long everything really takes.

    Returns:
        ``latency_mean`` and ``response_time``, s, and ``cost``, CPU-equivalent seconds per job,
        as ``evaluations.metrics`` has them.
    """
    w = workload.arrays
    # A task counts as finished when it is, not when that is seen.
    unseen = dataclasses.replace(truth, seen_delay=np.zeros_like(truth.seen_delay))
    least = _least(workload, unseen, timed=True)
    best, jobs = _done(w, least), len(w.arrival)
    last = max(float(ends[-1]) for ends in least.ends)
    first = float(_arrivals(w)[0])
    return {
        "latency_mean": float(best[state.SOJOURN]) / jobs,
        "response_time": max(last - first, float(best[state.ELAPSED])),
        "cost": float(best[state.COST]) / jobs,
    }


def options(workload: Workload, truth: Truth) -> Floats:
    """Return what each task truly takes by what may be chosen for it, s; shape [n, K].

    Placement chooses a node, allocation a profile, configuration the shape of executors.

    Args:
        workload: Of any family.
        truth: How long everything really takes; of contention the greatest speed counts.

    Returns:
        A column for each option that some task may have; inf where a node cannot hold the task.
    """
    w = workload.arrays
    seconds = truth.seconds
    if len(truth.scale):
        seconds = seconds[w.type_of] * truth.scale[:, None]
    if len(truth.rates):
        seconds = seconds / truth.rates.max()
    if workload.family == ALLOCATION:
        fits = feasible(w.demand, w.capacity)
        columns = [w.profile_column[p] + w.column[fits[p]] for p in _allowed(w)]
        return np.column_stack([seconds[:, c].min(axis=1) for c in columns])
    profile = w.profile_of_type[w.type_of]
    first = w.profile_column[profile][:, None]
    if workload.family == CONFIGURATION:
        return np.take_along_axis(seconds, first + _shapes(w), axis=1)
    seconds = np.take_along_axis(seconds, (first + w.column).astype(np.intp), axis=1)
    return np.where(feasible(w.demand, w.capacity)[profile], seconds, np.inf)


def _allowed(w: WorkloadArrays) -> Ints:
    """Return the profiles that some node can hold."""
    return np.flatnonzero(feasible(w.demand, w.capacity).any(axis=1))


def _shapes(w: WorkloadArrays) -> Ints:
    """Return the shapes of executors."""
    return np.unique(w.fleets[:, SHAPE]).astype(np.intp)


def _least(workload: Workload, truth: Truth, timed: bool) -> _Least:
    w = workload.arrays
    # What each task truly takes by option, [n, K], and its delays, [n or 1, 1].
    seconds, delay = options(workload, truth), (truth.start_delay + truth.seen_delay)[:, None]
    if workload.family == PLACEMENT:
        return _placement(w, seconds, delay, timed)
    if workload.family == ALLOCATION:
        return _allocation(w, seconds, delay)
    return _configuration(w, seconds, delay, float(np.min(truth.startup)))


def _rates(w: WorkloadArrays) -> Floats:
    """Return what each profile costs, CPU-equivalents; shape [P]."""
    memory = w.numbers[ALL_CPUS] * w.demand[:, MEMORY] / w.numbers[ALL_MEMORY]
    return np.asarray(0.5 * (w.demand[:, CPUS] + memory))


def paths(w: WorkloadArrays, fastest: Floats) -> Floats:
    """Return the longest path of each job without transfers, s; shape [J].

    Args:
        w: The workload.
        fastest: What each task takes at least, s; shape [n].
    """
    rank = upward_ranks(fastest, w.parent_ptr, w.parents, np.zeros(len(w.parents)))
    return np.asarray(np.maximum.reduceat(rank, w.job_ptr[:-1]))


def _arrivals(w: WorkloadArrays) -> Floats:
    """Return a time before which each job does not arrive, s; shape [J]."""
    return w.arrival if w.rules[IN_FLIGHT] == 0 else np.zeros(len(w.arrival))


def _placement(w: WorkloadArrays, seconds: Floats, delay: Floats, timed: bool) -> _Least:
    profile = w.profile_of_type[w.type_of]
    held = np.maximum(0.0, seconds + delay)
    alone = paths(w, held.min(axis=1))
    came = _arrivals(w)
    busy = sojourn = 0.0
    if timed:
        busy = bounds.area(w, held)
        if came[0] == came[-1]:  # Some job is there until the last is done.
            busy = bounds.response(w._replace(arrival=came), held).value
        if w.rules[IN_FLIGHT] == 0:
            sojourn = busy if len(came) == 1 else len(came) * bounds.mean_response(w, held)
    cost = float(seconds.min(axis=1) @ _rates(w)[profile])
    return _Least(alone=alone, ends=(np.sort(came + alone),), busy=busy, sojourn=sojourn, cost=cost)


def _allocation(w: WorkloadArrays, seconds: Floats, delay: Floats) -> _Least:
    allowed = _allowed(w)
    held = np.maximum(0.0, seconds + delay)
    share = w.demand[allowed] / np.maximum(w.capacity.sum(axis=0), 1e-300)
    # On one machine of all CPUs and memory, each task under the profile that is cheapest.
    rates = [x * share[:, CPUS] + (1 - x) * share[:, MEMORY] for x in _PRICES]
    works = [np.add.reduceat((held * rate).min(axis=1), w.job_ptr[:-1]) for rate in rates]
    came = _arrivals(w)
    alone = np.maximum(paths(w, held.min(axis=1)), np.max(works, axis=0))
    soonest = np.sort(came + alone)
    return _Least(
        alone=alone,
        ends=tuple(np.maximum(bounds.soonest(came, work), soonest) for work in works),
        busy=float(max(work.sum() for work in works)),
        cost=float((seconds * _rates(w)[allowed]).min(axis=1).sum()),
    )


def _configuration(w: WorkloadArrays, seconds: Floats, delay: Floats, startup: float) -> _Least:
    profile = w.profile_of_type[w.type_of]
    held = np.maximum(0.0, seconds + delay)
    lasts = _batch_seconds(w, held, np.array([_slots(w, s) for s in _shapes(w)]))
    cost = np.add.reduceat(seconds * _rates(w)[profile][:, None], w.job_ptr[:-1], axis=0)
    came = _arrivals(w)
    return _Least(
        alone=lasts.min(axis=1) + np.where(np.arange(len(came)) == 0, startup, 0.0),
        ends=(_one_by_one(lasts, startup, came),),
        busy=float(_one_by_one(lasts, startup, np.zeros(len(came)))[-1]),
        cost=float(cost.min(axis=1).sum()),
        inverse=_inverse(lasts, startup),
    )


def _slots(w: WorkloadArrays, shape: int) -> float:
    """Return how many tasks the most executors of a shape that are granted run at once."""
    fleets = w.fleets[w.fleets[:, SHAPE] == shape]
    cores, memory = fleets[0, [CORES, BYTES]]
    each = np.minimum(w.hosts[:, CPUS] / cores, w.hosts[:, MEMORY] / memory)
    count = min(float(fleets[:, INSTANCES].max()), float(np.floor(each + 1e-9).sum()))
    asked = w.demand[w.profile_of_type].min(axis=0)
    pairs = [(cores, asked[CPUS]), (memory + 0.5, asked[MEMORY])]
    return count * min((np.floor(has / a + 1e-9) for has, a in pairs if a > 0), default=np.inf)


def _batch_seconds(w: WorkloadArrays, held: Floats, slots: Floats) -> Floats:
    """Return what each batch takes at least on executors of each shape, s; shape [J, S].

    The longest path; the work by the slots; the waves of levels that wait for one another whole.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        work = np.add.reduceat(held, w.job_ptr[:-1], axis=0) / slots
    found = np.stack([paths(w, held[:, s].copy()) for s in range(len(slots))], axis=1)
    found = np.where(slots > 0, np.maximum(found, work), np.inf)
    none = np.zeros(len(w.parents))
    level = upward_ranks(np.ones(w.tasks), w.parent_ptr, w.parents, none).astype(np.int64)
    child = np.repeat(np.arange(w.tasks), np.diff(w.parent_ptr))
    for j, (begin, end) in enumerate(zip(w.job_ptr[:-1], w.job_ptr[1:], strict=True)):
        edges = slice(w.parent_ptr[begin], w.parent_ptr[end])
        parents, children, here = w.parents[edges], child[edges], level[begin:end]
        size = np.bincount(here)
        distinct = len(set(zip(parents.tolist(), children.tolist(), strict=True)))
        stepwise = bool((level[parents] == level[children] + 1).all())
        if not stepwise or distinct != int((size[1:] * size[:-1]).sum()):
            continue
        total = np.zeros(len(slots))
        for i in range(1, len(size)):
            own = np.sort(held[begin:end][here == i], axis=0)
            waves = np.ceil(len(own) / np.clip(slots, 1, len(own))).astype(np.intp)
            total += np.maximum(own[-1], own.cumsum(axis=0)[waves - 1, np.arange(len(slots))])
        found[j] = np.maximum(found[j], total)
    return found


def _one_by_one(lasts: Floats, startup: float, came: Floats) -> Floats:
    """Return when each batch is done at the earliest, s; shape [J]."""
    done, ends = np.full(lasts.shape[1], np.inf), [0.0]
    for at, row in zip(came, lasts, strict=True):
        done = np.minimum(np.maximum(done, at), max(ends[-1], at) + startup) + row
        ends.append(float(done.min()))
    return np.array(ends[1:])


def _inverse(lasts: Floats, startup: float) -> tuple[float, float]:
    """Return the greatest sum of 1/ms of all batches, and of all but the last."""
    best = np.full(lasts.shape[1], -np.inf)
    before = most = 0.0
    for row in lasts:
        changed = most + 1e-3 / np.maximum(row + startup, 1e-9)
        before, best = most, np.maximum(best + 1e-3 / np.maximum(row, 1e-9), changed)
        most = float(best.max())
    return most, before


def _sojourn(w: WorkloadArrays, ends: Floats, until: float) -> float:
    """Return the seconds that jobs spend in the system until a time, if the k-th ends so."""
    ends = np.minimum(ends, until)
    if w.rules[IN_FLIGHT] == 0:
        return float(ends.sum() - np.minimum(w.arrival, until).sum())
    present = np.minimum(w.rules[IN_FLIGHT], np.arange(len(ends), 0, -1))
    return float((np.diff(ends, prepend=0.0) * present).sum())


def _present(w: WorkloadArrays, alone: Floats, until: float) -> float:
    """Return for how long some job must be there until a time, s."""
    if w.rules[IN_FLIGHT] > 0:
        return float(min(until, max(alone.max(), alone.sum() / w.rules[IN_FLIGHT])))
    begin = np.minimum(w.arrival, until)
    end = np.maximum.accumulate(np.minimum(w.arrival + alone, until))
    begin[1:] = np.maximum(begin[1:], end[:-1])
    return float(np.maximum(0.0, end - begin).sum())


def _done(w: WorkloadArrays, least: _Least) -> Floats:
    """Return the best value of each sum of an episode in which all jobs are done."""
    best = np.zeros(state.N_TOTALS)
    by_rank = max(_sojourn(w, ends, math.inf) for ends in least.ends)
    best[state.SOJOURN] = max(least.sojourn, float(least.alone.sum()), by_rank)
    best[state.ELAPSED] = max(least.busy, _present(w, least.alone, math.inf))
    best[state.LATE] = (least.alone > w.deadline * (1 + 1e-9)).sum()
    best[state.COST] = least.cost
    best[state.JOBS_DONE], best[state.INVERSE] = len(w.arrival), least.inverse[0]
    return best


def _truncated(w: WorkloadArrays, least: _Least, horizon: float) -> Floats:
    """Return the best value of each sum of an episode that the horizon ends."""
    best = np.zeros(state.N_TOTALS)
    late = [np.append(ends[:-1], np.inf) for ends in least.ends]
    best[state.SOJOURN] = max(_sojourn(w, ends, horizon) for ends in late)
    left = horizon - float(_arrivals(w)[-1])  # Of the job that is not done.
    best[state.ELAPSED] = max(left, _present(w, least.alone, horizon))
    best[state.JOBS_DONE], best[state.INVERSE] = len(w.arrival) - 1, least.inverse[1]
    return best


def _worth(best: Floats, paid: Floats, nodes: int, horizon: float) -> float:
    """Return what the best value of each sum is paid; inf where that has no limit."""
    elapsed, sojourn = paid[state.ELAPSED] + nodes * paid[state.BUSY], paid[state.SOJOURN]
    each = [state.JOBS_DONE, state.INVERSE, state.COST, state.LATE, state.SOJOURN]
    value = float(paid[each] @ best[each])
    if elapsed <= 0:
        return value + float(elapsed * best[state.ELAPSED])
    # While a job is there, one at least spends time in the system.
    most = min(horizon, float(best[state.SOJOURN]) if elapsed + sojourn <= 0 else math.inf)
    return value + elapsed * most
