"""Logged: the runs of a log in which nobody's decisions stand, split by time.

From the jobs that came first durations and delays are learnt; those that came later are held out,
to be met again in :mod:`toolkit.replays.again`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.calibration.durations import PARAMETRIC, Durations
from toolkit.calibration.executions import Executions
from toolkit.calibration.overheads import tables
from toolkit.errors import ConfigError, require
from toolkit.inferred import log as logs
from toolkit.inferred import placement
from toolkit.inferred.log import Log
from toolkit.progress import say
from toolkit.trace import Trace
from toolkit.workload import CPUS, GPUS, MEMORY, Floats, Ints, Mask, Workload

EARLY = 0.7
"""Share of the jobs from which is learnt."""

FEWEST_JOBS = 10
"""Jobs below which a log cannot be split by time."""

_SHORTEST = 1e-6
"""Seconds that anything takes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a log: ``n`` tasks of ``J`` jobs.

    Args:
        name: Of the log, for people.
        log: What ran.
        plan: The same as a workload of the family *placement*, on the nodes of the log.
        late: First job, in the order of arrival, that is held out; J where none is.
        type_of: Of each task among the types of the whole log, shape [n].
        data: How many tasks of its type its job has, shape [n, 1].
        column: Kind of node on which it ended well among those of the whole log, shape [n].
        work: Seconds that it took there, NaN where it never ended well; shape [n].
        cold: Whether it was the first in one of the slots of a node that came, shape [n].
        delay: Seconds from when its node could have begun it to when it did, shape [n].
        completed: When the last task of each job ended, s; NaN where one never did, shape [J].
    """

    name: str
    log: Log
    plan: Workload
    late: int
    type_of: Ints
    data: Floats
    column: Ints
    work: Floats
    cold: Mask
    delay: Floats
    completed: Floats

    @property
    def held_out(self) -> Mask:
        """Which tasks are of jobs that are held out, shape [n]."""
        return np.asarray(self.plan.arrays.job_of >= self.late)

    @property
    def changing(self) -> bool:
        """Whether nodes come and go while jobs run."""
        last = max(a.start for a in self.log.attempts)
        return any(
            (n["added_at"] or 0.0) > self.log.arrival[0]
            or (n["removed_at"] is not None and n["removed_at"] < last)
            for n in self.log.nodes
        )


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A log and what its earlier jobs teach.

    Args:
        source: What wrote it.
        runs: In the order of time.
        types: Names of what tasks do, T of them; alike in name and in what they ask for.
        kinds: Of nodes, C of them.
        durations: Learnt from the earlier jobs.
        start: Quantiles of the delay before a start, s, by type; shape [T, Q].
    """

    source: str
    runs: tuple[Run, ...]
    types: tuple[str, ...]
    kinds: tuple[str, ...]
    durations: Durations
    start: Floats

    def means(self, run: Run) -> Floats:
        """Return the mean log seconds of each task of a run on each kind of node, shape [n, C]."""
        return self.durations.log_means(run.type_of, self._data(run))

    def told(self, run: Run) -> tuple[Floats, Floats]:
        """Return what policies are told: seconds of each type of a plan, and sizes of its tasks.

        Returns:
            Mean seconds by type of the plan and kind of node, shape [T, C], and the size of each
            task beside a typical one of its type, shape [n].
        """
        factor = np.log(np.exp(self.durations.residuals).mean(axis=1))[run.type_of]
        logs = self.means(run) + factor[:, None]
        local = run.plan.arrays.type_of
        count = np.maximum(np.bincount(local, minlength=len(run.plan.types)), 1)
        typical = np.stack([np.bincount(local, c, len(count)) / count for c in logs.T], axis=1)
        return np.exp(typical), np.exp((logs - typical[local]).mean(axis=1))

    def jobs(self) -> tuple[int, int]:
        """Return how many jobs were learnt from and how many are held out."""
        late = sum(len(r.log.arrival) - r.late for r in self.runs)
        return sum(r.late for r in self.runs), late

    def luck(self, run: Run) -> Floats:
        """Return F(recorded | learnt) of each task of a run, NaN where it never ended well."""
        found = np.full(len(run.work), np.nan)
        done = ~np.isnan(run.work)
        residual = np.log(run.work[done]) - self._mean_there(run)[done]
        found[done] = self.durations.luck(run.type_of[done], residual)
        return found

    def inside(self, level: float) -> Mask:
        """Return whether held-out tasks took as long as was predicted; of known types, not cold.

        Args:
            level: Probability of the central interval in which it should lie.
        """
        found = []
        for run in self.runs:
            asked = run.held_out & ~np.isnan(run.work) & ~run.cold & self.known(run)
            t = run.type_of[asked]
            off = np.log(run.work[asked]) - self._mean_there(run)[asked]
            low, high = (
                self.durations.residual(t, np.full(len(t), 0.5 + side * level / 2))
                for side in (-1, 1)
            )
            found.append((off >= low) & (off <= high))
        return np.concatenate(found)

    def known(self, run: Run) -> Mask:
        """Return whether an earlier job had a task of the type of each, shape [n]."""
        return np.asarray(self.durations.counts.sum(axis=1)[run.type_of] > 0)

    def _mean_there(self, run: Run) -> Floats:
        return self.durations.log_mean(run.type_of, self._data(run), run.column)

    def _data(self, run: Run) -> Floats:
        """Return the data of tasks, none beyond what was learnt from, shape [n, 1]."""
        d = self.durations
        low = np.where(np.isfinite(d.low), d.low, d.low.min())[run.type_of]
        high = np.where(np.isfinite(d.high), d.high, d.high.max())[run.type_of]
        return np.clip(run.data, low, high)


def read(trace: Trace) -> Logged:
    """Return the runs of a log, split by time.

    Raises:
        ConfigError: When they do not tell when what ran where, or are too few for a split.
    """
    found = _logs(trace)
    total = sum(len(log.arrival) for _, log in found)
    require(
        total >= FEWEST_JOBS,
        f"the log holds {total} jobs; {FEWEST_JOBS} are needed to learn from the first "
        f"{EARLY:.0%} and to be held against the rest",
        hint="name a folder with more logs of the same cluster: toolkit advise path=<folder>",
    )
    plans = [placement.workload_of(log) for _, log in found]
    kinds = tuple(dict.fromkeys(k for plan in plans for k in plan.cluster.kinds))
    asks: dict[tuple[Any, ...], int] = {}
    left, runs = int(EARLY * total), []
    for (name, log), plan in zip(found, plans, strict=True):
        late = min(left, len(log.arrival))
        left -= late
        runs.append(_run(name, log, plan, late, asks, kinds))
    durations, start = _learnt(runs, len(asks), kinds)
    return Logged(
        source=str(trace.provenance["source"]),
        runs=tuple(runs),
        types=tuple(str(a[0]) for a in asks),
        kinds=kinds,
        durations=durations,
        start=start,
    )


def _logs(trace: Trace) -> list[tuple[str, Log]]:
    """Return the runs that tell enough, by name and in the order of time."""
    found: list[tuple[str, Log]] = []
    refused: list[ConfigError] = []
    for entry in sorted(trace.runs(), key=lambda r: (float(r.get("began_unix") or 0), r["run"])):
        name = str(entry.get("log", entry["run"]))
        try:
            found.append((name, _log_of(trace, int(entry["run"]))))
        except ConfigError as error:
            say(f"{name[:80]} is left out: {error.message}")
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _log_of(trace: Trace, run: int) -> Log:
    """Return one run, its tasks as jobs of their own where edges are not told."""
    told = (trace.provenance["completeness"] or {}).get("runs", ())
    flags: Mapping[str, Any] = next((c["flags"] for c in told if c["run"] == run), {})
    rows = {name: trace.of(name, run) for name in ("nodes", "jobs", "tasks", "edges")}
    return logs.read(rows, placed=True, edges_known=flags.get("edges") != "none")


def _run(
    name: str,
    log: Log,
    plan: Workload,
    late: int,
    asks: dict[tuple[Any, ...], int],
    kinds: Sequence[str],
) -> Run:
    w, n = plan.arrays, len(log.task)
    own = [(t, *w.demand[i].tolist()) for i, t in enumerate(plan.types)]
    number = np.array([asks.setdefault(a, len(asks)) for a in own], dtype=np.int64)
    column, work = np.zeros(n, dtype=np.int64), np.full(n, np.nan)
    for a in log.attempts:
        if a.done and a.end is not None:
            work[a.task] = max(a.end - a.start, _SHORTEST)
            column[a.task] = kinds.index(plan.cluster.nodes[a.node].kind)
    ended = _ends(log)
    alike = w.job_of.astype(np.int64) * len(own) + w.type_of
    return Run(
        name=name,
        log=log,
        plan=plan,
        late=late,
        type_of=number[w.type_of],
        data=np.bincount(alike)[alike][:, None].astype(np.float64),
        column=column,
        work=work,
        cold=_cold(log, plan),
        delay=_delays(log, plan, ended),
        completed=np.maximum.reduceat(ended, w.job_ptr[:-1]),
    )


def _cold(log: Log, plan: Workload) -> Mask:
    """Return which tasks were among the first that filled a node which came after the start."""
    w, found = plan.arrays, np.zeros(len(log.task), dtype=np.bool_)
    used = np.zeros(len(w.capacity))
    for a in log.attempts:
        p = w.type_of[a.task]
        used[a.node] += max(w.demand[p, CPUS], w.demand[p, GPUS])
        room = w.capacity[a.node, [CPUS, GPUS]].max()
        found[a.task] |= bool(log.nodes[a.node]["added_at"]) and used[a.node] <= room + 1e-9
    return found


def _ends(log: Log) -> Floats:
    """Return when the last attempt of each task ended, s; NaN where it did not, shape [n]."""
    ended = np.full(len(log.task), np.nan)
    for a in log.attempts:
        ended[a.task] = np.nan if a.end is None else a.end
    return ended


def _delays(log: Log, plan: Workload, ended: Floats) -> Floats:
    """Return how long each task that could have begun where it did waited for it, s; [n].

    It could from when its parents had ended and its node had held room for it ever since.
    """
    w = plan.arrays
    found = np.zeros(len(log.task))
    steps: list[list[tuple[float, Floats]]] = [
        [(float(n["added_at"] or 0.0), np.zeros(3))] for n in log.nodes
    ]
    changes = [(a.start, 1, k) for k, a in enumerate(log.attempts)]
    changes += [(a.end, 0, k) for k, a in enumerate(log.attempts) if a.end is not None]
    for at, starts, k in sorted(changes):
        a = log.attempts[k]
        asked, before = w.demand[w.type_of[a.task]], steps[a.node]
        if starts:
            ready = max([log.arrival[w.job_of[a.task]], *ended[log.parents[a.task]]])
            limit = w.capacity[a.node] - asked + 1e-9
            since = at
            for begun, used in reversed(before):
                if since <= ready or (used > limit).any():
                    break
                since = begun
            found[a.task] = at - min(max(ready, since), at)
        before.append((at, before[-1][1] + (asked if starts else -asked)))
    return found


def _learnt(runs: Sequence[Run], types: int, kinds: Sequence[str]) -> tuple[Durations, Floats]:
    """Return durations and delays of the earlier jobs of all runs."""
    parts, delays = [], []
    for number, run in enumerate(runs):
        kept = np.flatnonzero(~run.held_out & ~np.isnan(run.work) & ~run.cold)
        n, job = len(kept), run.plan.arrays.job_of[kept].astype(np.int64)
        parts.append(
            Executions(
                type_of=run.type_of[kept],
                column=run.column[kept],
                data=run.data[kept],
                started=np.zeros(n),
                finished=run.work[kept],
                cpus=np.ones(n),
                machine=np.zeros(n, dtype=np.int64),
                run=np.full(n, number, dtype=np.int64),
                job=job + (number << 32),
                task=kept,
                cold=np.zeros(n, dtype=np.bool_),
            )
        )
        delays.append(run.delay[kept])
    done = Executions.join(parts)
    require(
        len(done) >= 3,
        f"{len(done)} tasks of the earlier jobs ended well; 3 are needed to learn durations from",
        hint="name a folder with more logs of the same cluster: toolkit advise path=<folder>",
    )
    # There is one number to depend on and the kind of node: trees would find nothing else.
    durations = Durations.fit(
        done, done.seconds, types, _resources(runs, kinds), kinds=(PARAMETRIC,) * types
    )
    return durations, tables(np.concatenate(delays), done.type_of, types)


def _resources(runs: Sequence[Run], kinds: Sequence[str]) -> Floats:
    """Return cpus and GiB of each kind of node, shape [C, 2]."""
    found = np.ones((len(kinds), 2))
    for run in runs:
        for node, room in zip(run.plan.cluster.nodes, run.plan.arrays.capacity, strict=True):
            found[kinds.index(node.kind)] = room[[CPUS, MEMORY]] / [1, 2**30]
    return np.maximum(found, 1e-3)
