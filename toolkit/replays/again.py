"""Again: jobs of a log met once more, under another rule, on other nodes or in another order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from toolkit.calibration.quantiles import drawn
from toolkit.cluster import Cluster
from toolkit.policies.policy import Policy
from toolkit.replays.logged import Logged, Run
from toolkit.reward import WorkflowWeights
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth, simulated
from toolkit.simulator.state import LOST, RETURNED
from toolkit.workload import CPUS, PLACEMENT, Floats, Indices, Ints, Workload, assemble

METRICS = ("latency", "p95", "makespan", "cost")
"""Mean and 95th percentile of the seconds from a job's arrival to its end; seconds from the first
arrival to the last end, summed over runs; cpu-seconds that nodes were there meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The nodes of a log, more or fewer or larger or smaller.

    Args:
        count: Factor of their number.
        cores: Factor of the cpus of each.
    """

    count: float = 1.0
    cores: float = 1.0


RECORDED = Fleet()


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Jobs of a run that come again; a task keeps the luck that it had, unless it is drawn anew.

    Args:
        logged: The log.
        run: One of its runs.
        jobs: Of the run, in the order in which they come; shape [J].
        arrival: s, shape [J].
        begins: When its clock starts, s of the run: nodes come and go by it.
        counted: First of the jobs that are measured.
        anew: First of the jobs whose tasks draw new luck.
        fleet: The nodes.
    """

    logged: Logged
    run: Run
    jobs: Ints
    arrival: Floats
    begins: float = 0.0
    counted: int = 0
    anew: int | None = None
    fleet: Fleet = RECORDED

    @cached_property
    def _tasks(self) -> tuple[Ints, Ints, Ints]:
        """First task of each job and the end, its number in the run, and which are drawn anew."""
        ptr = self.run.plan.arrays.job_ptr
        count = np.diff(ptr)[self.jobs]
        first = np.concatenate([[0], np.cumsum(count)])
        task = np.concatenate([np.arange(ptr[j], ptr[j + 1]) for j in self.jobs])
        new = len(self.jobs) if self.anew is None else self.anew
        return first, task, np.repeat(np.arange(len(self.jobs)) >= new, count)

    @cached_property
    def _nodes(self) -> list[int]:
        """The recorded node that each node is like."""
        M, f = len(self.run.log.nodes), self.fleet.count
        return [min(int(i / f), M - 1) for i in range(max(1, round(M * f)))]

    @cached_property
    def workload(self) -> Workload:
        """What arrives, as policies are shown it: told are the means of the earlier jobs."""
        plan, (first, task, _) = self.run.plan, self._tasks
        w = plan.arrays
        parents = [
            w.parents[w.parent_ptr[w.job_ptr[j]] : w.parent_ptr[w.job_ptr[j + 1]]]
            + (at - w.job_ptr[j])
            for j, at in zip(self.jobs, first[:-1], strict=True)
        ]
        degrees = np.diff(w.parent_ptr)[task]
        cluster = self._cluster
        seconds, size = self.logged.told(self.run)
        arrays = assemble(
            family=PLACEMENT,
            type_of=w.type_of[task],
            job_ptr=first,
            parent_ptr=np.concatenate([[0], np.cumsum(degrees)]),
            parents=np.concatenate(parents),
            data=np.zeros(int(degrees.sum())),
            arrival=self.arrival,
            scale=size[task],
            seconds=seconds[:, self._columns],
            demand=w.demand,
            cluster=cluster,
            profile_of_type=w.profile_of_type,
            advice=False,
        )
        if not self.run.log.staged:
            arrays = arrays._replace(twin=np.full(len(task), -1, dtype=np.int32))
        return Workload(types=plan.types, cluster=cluster, arrays=arrays, seed=0)

    @cached_property
    def _cluster(self) -> Cluster:
        asked = self.run.plan.arrays.demand[:, CPUS].max()
        found = []
        for i, m in enumerate(self._nodes):
            node = self.run.plan.cluster.nodes[m]
            cpus = node.cpus
            if self.fleet.cores != 1.0:
                cpus = max(round(cpus * self.fleet.cores), math.ceil(min(asked, cpus)))
            found.append(replace(node, name=f"{i} {node.name}", cpus=cpus))
        return Cluster(nodes=tuple(found))

    @property
    def _columns(self) -> list[int]:
        return [self.logged.kinds.index(k) for k in self._cluster.kinds]

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return what tasks take: as recorded where they run on the kind of node that they had."""
        _, task, new = self._tasks
        logged, run = self.logged, self.run
        types, columns = run.type_of[task], np.array(self._columns)
        luck = generator(seed, "luck").random(len(task))
        kept = ~new & ~np.isnan(run.work[task])
        luck[kept] = logged.luck(run)[task[kept]]
        residual = logged.durations.residual(types, luck)
        seconds = np.exp(logged.means(run)[task][:, columns] + residual[:, None])
        same = kept[:, None] & (columns == run.column[task][:, None])
        seconds = np.where(same, run.work[task][:, None], seconds)
        late = drawn(logged.start, types, generator(seed, "start").random(len(task)))
        return Truth(
            seconds=seconds,
            start_delay=np.where(kept, run.delay[task], late),
            outages=self._outages(),
        )

    @cached_property
    def there(self) -> list[tuple[float, float]]:
        """From when to when each node is there, s.

        The last to leave stays, and so does what left when all had started: a log ends, but what
        would have run on is not known to.
        """
        nodes = [self.run.log.nodes[m] for m in self._nodes]
        left = [math.inf if n["removed_at"] is None else float(n["removed_at"]) for n in nodes]
        end = min(max(a.start for a in self.run.log.attempts), max(left))
        return [
            (float(n["added_at"] or 0.0) - self.begins, t - self.begins if t < end else math.inf)
            for n, t in zip(nodes, left, strict=True)
        ]

    def _outages(self) -> tuple[Floats, Indices, Indices] | None:
        events: list[tuple[float, int, int]] = []
        for m, (came, left) in enumerate(self.there):
            if left <= 0 or came > 0:
                events.append((0.0, m, LOST))
            if came > 0:
                events.append((came, m, RETURNED))
            if 0 < left < math.inf:
                events.append((left, m, LOST))
        if not events:
            return None
        at, node, kind = zip(*sorted(events), strict=True)
        return np.array(at), np.array(node, dtype=np.int32), np.array(kind, dtype=np.int32)

    def play(self, policy: Policy, seed: int) -> tuple[Floats, float, float]:
        """Return the latency of each measured job, the makespan, s, and the cost, cpu-s."""
        weights = WorkflowWeights(sojourn=1.0)
        outcome = simulated(
            self, policy, self.workload, seed, horizon=math.inf, weights=weights, record=False
        ).outcome
        done = np.where(np.isnan(outcome.completed), math.inf, outcome.completed)[self.counted :]
        came = self.arrival[self.counted :]
        first, last = float(came.min()), float(done.max())
        cost = sum(
            node.cpus * max(0.0, min(left, last) - max(came_up, first))
            for node, (came_up, left) in zip(self._cluster.nodes, self.there, strict=True)
        )
        return done - came, last - first, cost


def measured(streams: Sequence[Stream], policy: Policy, seed: int) -> dict[str, float]:
    """Return the metrics of a policy over streams; see ``METRICS``."""
    return summary([s.play(policy, seed) for s in streams])


def summary(played: Sequence[tuple[Floats, float, float]]) -> dict[str, float]:
    """Return the metrics of latencies, makespans and costs; see ``METRICS``."""
    latency = np.concatenate([p[0] for p in played])
    values = (
        latency.mean(),
        np.quantile(latency, 0.95),
        *(sum(p[i] for p in played) for i in (1, 2)),
    )
    return dict(zip(METRICS, (float(v) for v in values), strict=True))


def as_recorded(logged: Logged, *, anew: bool = False) -> list[Stream]:
    """Return every run with jobs that are held out, its earlier jobs before them.

    Args:
        logged: The log.
        anew: Whether what is held out draws its durations from what was learnt.
    """
    return [
        Stream(
            logged=logged,
            run=run,
            jobs=np.arange(len(run.log.arrival)),
            arrival=np.array(run.log.arrival),
            counted=run.late,
            anew=run.late if anew else None,
        )
        for run in logged.runs
        if run.late < len(run.log.arrival)
    ]


def resampled(logged: Logged, seeds: Sequence[int], tasks: int) -> Iterator[list[Stream]]:
    """Yield held-out jobs drawn again: runs with replacement, in each whole jobs by blocks.

    A job brings the pause before it along (moving blocks of n^(1/3) jobs: Hall, Horowitz and
    Jing, Biometrika 82, 1995). Where nodes come and go the arrivals stay, for nodes follow them.

    Args:
        logged: The log.
        seeds: One resampling each.
        tasks: Most tasks of a run that come; jobs beyond them do not.
    """
    late = [r for r in logged.runs if r.late < len(r.log.arrival)]
    for seed in seeds:
        rng = generator(seed, "resampling")
        yield [_drawn(logged, late[i], rng, tasks) for i in rng.integers(0, len(late), len(late))]


def _drawn(logged: Logged, run: Run, rng: np.random.Generator, tasks: int) -> Stream:
    arrival, n = np.array(run.log.arrival), len(run.log.arrival) - run.late
    block = max(1, round(n ** (1 / 3)))
    starts = rng.integers(0, n, math.ceil(n / block))
    jobs = run.late + ((starts[:, None] + np.arange(block)) % n).ravel()[:n]
    size = np.cumsum(np.diff(run.plan.arrays.job_ptr)[jobs])
    jobs = jobs[: max(1, int(np.searchsorted(size, tasks, side="right")))]
    pause = np.diff(arrival, prepend=arrival[0])
    pause[0] = pause.mean()
    came = np.cumsum(pause[jobs]) - pause[jobs[0]]
    if run.changing:
        came = arrival[run.late :][: len(jobs)] - arrival[run.late]
    return Stream(logged=logged, run=run, jobs=jobs, arrival=came, begins=float(arrival[run.late]))
