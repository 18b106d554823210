"""Overheads: what an engine adds to the work: hand-over, start-up of executors, being told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.calibration.executions import Executions
from toolkit.calibration.planned import Planned
from toolkit.calibration.quantiles import QUANTILES, quantiles
from toolkit.simulator.recorded import start_delays_of
from toolkit.trace import Trace
from toolkit.workload import ALLOCATION, CONFIGURATION, DUPLICATE, PULL, Floats, Ints, Workload


@dataclass(frozen=True, kw_only=True)
class Delayed:
    """What was added to each execution of a run, and to each change of executors.

    Args:
        task: Index in the workload, shape [n].
        start: From when it could have begun to when it did, s, shape [n].
        seen: From its end to when the controller knew, s, shape [n].
        started: How many executors each change started, shape [B].
        startup: Until they were there, s, shape [B].
        first: The batch of each change, shape [B].
    """

    task: Ints
    start: Floats
    seen: Floats
    started: Ints
    startup: Floats
    first: Ints


def delayed(planned: Planned, trace: Trace, run: int, workload: Workload) -> Delayed:
    """Return what a recorded run says of the overheads of its engine."""
    rows = trace.of("tasks", run)
    started, finished, seen = (
        rows[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for name in ("started_at", "finished_at", "finished_seen")
    )
    nothing = np.zeros(0, dtype=np.int64)
    counted, startup, first = nothing, np.zeros(0), nothing
    if planned.family == ALLOCATION:
        start = start_delays_of(trace, run)
    elif planned.family == CONFIGURATION:
        begun, counted, startup, first = _changes(trace, run)
        start = _behind(trace, run, workload, begun)
    else:
        start = _placed(trace, run, workload)
    known = ~np.isnan(started) & ~np.isnan(finished) & ~np.isnan(start)
    task = rows["task"].to_numpy().astype(np.int64)
    told = np.where(np.isnan(seen), finished, seen) - finished
    return Delayed(
        task=task[known],
        start=np.maximum(start[known], 0.0),
        seen=np.maximum(told[known], 0.0),
        started=counted,
        startup=startup,
        first=first,
    )


def _placed(trace: Trace, run: int, workload: Workload) -> Floats:
    """Return how long after its choice, and after its data were due, each task started, s."""
    w = workload.arrays
    rows = trace.of("tasks", run).to_pydict()
    decided = dict(
        zip(*(trace.of("decisions", run)[c].to_pylist() for c in ("decision", "at")), strict=True)
    )
    end, place = np.full(workload.tasks, np.nan), np.zeros(workload.tasks, dtype=np.int64)
    for i, t in enumerate(rows["task"]):
        if rows["status"][i] == "done":
            end[t], place[t] = rows["finished_at"][i], rows["node"][i] or 0
    found = np.full(len(rows["task"]), np.nan)
    if w.rules[DUPLICATE]:
        return found
    for i, t in enumerate(rows["task"]):
        at = decided.get(rows["decision"][i])
        if at is None or rows["started_at"][i] is None:
            continue
        due = at
        for k in range(int(w.parent_ptr[t]), int(w.parent_ptr[t + 1])):
            p = int(w.parents[k])
            a, b = place[p], place[t]
            moved = w.latency[a, b] + w.data[k] / w.bandwidth[a, b] if a != b else 0.0
            leaves = max(at, end[p]) if w.rules[PULL] else end[p]
            due = max(due, leaves + (moved if w.data[k] > 0 else 0.0))
        found[i] = rows["started_at"][i] - due
    return found


def _changes(trace: Trace, run: int) -> tuple[dict[int, float], Ints, Floats, Ints]:
    """Return when each batch had its executors, and how many of them started in what time."""
    begun, since = {}, {}
    for span in trace.of("spans", run).to_pylist():
        if span["kind"] == "apply" and span["finished_at"] is not None:
            begun[span["job"]] = span["finished_at"]
            since[span["job"]] = span["started_at"]
    asked = trace.of("nodes", run)["requested_at"].to_pylist()
    arrived = [t for t in asked if t is not None]
    jobs = sorted(begun)
    count = [sum(since[j] - 1e-3 <= t <= begun[j] + 1e-3 for t in arrived) for j in jobs]
    took = [begun[j] - since[j] for j in jobs]
    return begun, np.array(count, dtype=np.int64), np.array(took), np.array(jobs, dtype=np.int64)


def _behind(trace: Trace, run: int, workload: Workload, begun: dict[int, float]) -> Floats:
    """Return how long after its stage and its slot were free each task of a batch started, s."""
    w = workload.arrays
    rows = trace.of("tasks", run).to_pydict()
    end = np.full(workload.tasks, np.nan)
    for t, at in zip(rows["task"], rows["finished_at"], strict=True):
        end[t] = np.nan if at is None else at
    found = np.full(len(rows["task"]), np.nan)
    by_node: dict[int, list[tuple[float, float]]] = {}
    order = sorted(range(len(found)), key=lambda i: (rows["started_at"][i] or 0.0, i))
    for i in order:
        t, at = rows["task"][i], rows["started_at"][i]
        if at is None or rows["finished_at"][i] is None:
            continue
        parents = w.parents[w.parent_ptr[t] : w.parent_ptr[t + 1]]
        ready = begun.get(rows["job"][i], at) if len(parents) == 0 else np.nanmax(end[parents])
        before = by_node.setdefault(rows["node"][i] or 0, [])
        left = [e for _, e in before if e <= at + 1e-9]
        # A slot that was free all the while is no reason to wait.
        waited = bool(left) and any(s < max(left) - 1e-9 and e >= ready for s, e in before)
        found[i] = at - max(ready, max(left) if waited and max(left) > ready else ready)
        before.append((at, rows["finished_at"][i]))
    return found


def tables(values: Floats, type_of: Ints, types: int) -> Floats:
    """Return quantiles of delays by type, those of all where a type has few; shape [T, Q]."""
    over_all = quantiles(values) if len(values) else np.zeros(QUANTILES)
    found = np.tile(over_all, (types, 1))
    for t in range(types):
        mine = type_of == t
        if mine.sum() >= 10:
            found[t] = quantiles(values[mine])
    return found


def startups(counts: Ints, seconds: Floats, most: int, usual: float) -> Floats:
    """Return the seconds until executors are there by how many start at once, shape [most].

    A straight line in their number, by least squares and nowhere falling.

    Args:
        counts: How many started in each change, shape [B].
        seconds: What it took, shape [B].
        most: Greatest number.
        usual: Where nothing was recorded.
    """
    some = counts > 0
    if not some.any():
        return np.full(max(1, most), usual)
    x, y = counts[some].astype(np.float64), seconds[some]
    slope = 0.0
    if len(np.unique(x)) > 1:
        slope = max(0.0, float(np.polyfit(x, y, 1)[0]))
    line = y.mean() + slope * (np.arange(1, max(1, most) + 1) - x.mean())
    return np.asarray(np.maximum(line, 0.0))


def cold_seconds(done: Executions, expected: Floats, first: Ints) -> Floats:
    """Return by how much the first tasks of a batch's executors outlast usual ones, s, shape [B].

    Args:
        done: Executions of one run.
        expected: Seconds that each usually takes, shape [n].
        first: Batches, shape [B].
    """
    batch = done.job & ((1 << 32) - 1)
    extra = np.where(done.cold, done.seconds - expected, 0.0)
    return np.array([max(0.0, float(extra[batch == j].max(initial=0.0))) for j in first])
