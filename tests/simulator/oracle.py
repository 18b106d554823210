"""A slow, obviously correct simulator of all three families, in plain Python.

It shares no code with the kernel: lists, dicts and a heap, every sum counted afresh, every total
recounted from a log of what happened. Whoever drives it answers its questions.
"""

import heapq
import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from toolkit.simulator.state import LOST, RETURNED
from toolkit.workload import (
    ALL_CPUS,
    ALL_MEMORY,
    ALLOCATION,
    CONFIGURATION,
    INTERVAL,
    PLACEMENT,
)

ROOM = (1e-6, 0.5, 1e-6)
"""By how much sums of cpus, bytes and gpus may err."""

ARRIVAL, OUTAGE, OTHER = 0, 1, 2
"""Order of the events of one instant."""

UNSEEN = ("join", "leave")
"""Events of tasks that contend, of which nobody is told."""


@dataclass(frozen=True)
class Question:
    """What is asked: a ``task`` (or -1 to wait), a ``node`` (from M on with a copy of a parent),
    the ``profile`` of a type or the ``fleet`` of a batch."""

    time: float
    stage: str
    subject: int
    legal: tuple[int, ...]


@dataclass(eq=False)
class Attempt:
    """One try of a task: resources are held from ``taken`` to ``released``, and paid for from
    when the start was seen. Where tasks contend it finishes when no work is ``left``, and
    ``finish`` is when that will be if the load stays."""

    task: int
    node: int
    profile: int
    demand: tuple[float, ...]
    capacity: tuple[float, ...]
    taken: float
    start: float
    finish: float
    left: float
    seen: float  # seconds until the controller learns of an event
    copied: int | None = None  # a parent whose copy runs first, until ``copy_done``
    copy_done: float | None = None
    besides: float | None = None  # when all other data are there
    paid_from: float | None = None
    released: float | None = None
    killed: bool = False


@dataclass(eq=False)
class Node:
    """An executor is up once it has been employed and has started; any node while not lost."""

    capacity: tuple[float, ...]
    column: int
    employed: bool = True
    begun: bool = True
    lost: bool = False

    @property
    def up(self):
        return self.employed and self.begun and not self.lost


@dataclass(order=True)
class Event:
    time: float
    order: int
    number: int
    what: str = field(compare=False)
    subject: object = field(compare=False)


class Oracle:
    """An episode; ``run`` asks, and the attributes say how it stands."""

    def __init__(self, workload, truth):
        w = workload.arrays
        rules = [int(r) for r in w.rules]
        self.family, self.pull, self.duplicate, self.slots, _, self.in_flight = rules
        self.interval = float(w.numbers[INTERVAL])
        self.memory_price = float(w.numbers[ALL_CPUS]) / float(w.numbers[ALL_MEMORY])
        self.type = w.type_of.tolist()
        self.job = w.job_of.tolist()
        self.scale = w.scale.tolist()
        self.rank = w.rank.tolist()
        self.mean = [float(w.mean_seconds[t]) * self.scale[i] for i, t in enumerate(self.type)]
        n, jobs = len(self.type), len(w.arrival)
        ends = w.parent_ptr.tolist()
        edges = list(zip(w.parents.tolist(), w.data.tolist(), strict=True))
        self.parents = [edges[a:b] for a, b in itertools.pairwise(ends)]
        self.children = [[] for _ in range(n)]
        for i, above in enumerate(self.parents):
            for p, _ in above:
                self.children[p].append(i)
        self.tasks_of = [[i for i in range(n) if self.job[i] == j] for j in range(jobs)]
        self.arrival = w.arrival.tolist()
        self.deadline = w.deadline.tolist()
        self.estimates = w.seconds.tolist()
        self.truth = truth
        self.profile_column = w.profile_column.tolist()
        self.demand = [tuple(d) for d in w.demand.tolist()]
        self.types_in_order = w.order.tolist()
        self.rates = [float(r) for r in truth.rates]
        self.latency, self.bandwidth = w.latency.tolist(), w.bandwidth.tolist()
        self.fleets, self.hosts = w.fleets.tolist(), w.hosts.tolist()
        there = self.family != CONFIGURATION
        self.nodes = [
            Node(capacity=tuple(c), column=int(k), employed=there, begun=there)
            for c, k in zip(w.capacity.tolist(), w.column.tolist(), strict=True)
        ]
        self.choice = w.profile_of_type.tolist()
        self.machine = [int(m) for m in truth.machine] or list(range(len(self.nodes)))

        self.now = 0.0
        self.events = []
        self.number = itertools.count()
        self.status = ["blocked"] * n
        self.profile = [-1] * n
        self.attempt = [None] * n
        self.ready_at = [None] * n
        self.start = [None] * n
        self.finish = [None] * n
        self.where = [None] * n
        self.alone = set()
        self.copies = {}
        self.queue = []
        self.admitted = 0
        self.batches = []
        self.serving = None
        self.arrived = [None] * jobs
        self.begun = [None] * jobs
        self.completed = [None] * jobs
        self.left_at = [None] * jobs
        self.attempts = []
        self.working = []
        self.copy_log = []
        self.waits = []  # [task, since, until or None]
        self.wasted = 0.0
        self.bottleneck = 0.0

    # --- time ---------------------------------------------------------------------------------

    def run(self, horizon):
        """Ask, as a generator, until every job has finished or ``horizon`` is reached."""
        if self.in_flight:
            for _ in range(self.in_flight):
                self._admit()
        else:
            for job, at in enumerate(self.arrival):
                self._push(at, ARRIVAL, "arrive", job)
        for at, node, kind in zip(*(self.truth.outages or ((), (), ())), strict=True):
            self._push(float(at), OUTAGE, "outage", (int(kind), int(node)))
        interval_began, epoch, told = 0.0, 1, False
        if self.family == ALLOCATION:
            yield from self._ask_profiles()
        while None in self.left_at:
            boundary = epoch * self.interval if self.family == ALLOCATION else horizon
            until = min(horizon, boundary)
            if not self.events or self.events[0].time > until:
                if until == float("inf"):
                    return
                self._work(until)
                if self.family == ALLOCATION:
                    longest = max(
                        sum(self._waits(i) and self.type[i] == t for i in range(len(self.type)))
                        for t in self.types_in_order
                    )
                    self.bottleneck += longest * (self.now - interval_began)
                    interval_began, epoch = self.now, epoch + 1
                if self.now >= horizon:
                    return
                yield from self._ask_profiles()
                continue
            event = heapq.heappop(self.events)
            self._work(event.time)
            getattr(self, "_" + event.what)(event.subject)
            told = told or event.what not in UNSEEN
            if self.family != PLACEMENT:
                self._dispatch()
            if self.events and self.events[0].time == self.now:
                continue
            if self.family == PLACEMENT and told:
                yield from self._ask_placements()
            elif self.family == CONFIGURATION and self.serving is None and self.batches:
                yield from self._ask_fleet()
            told = False

    def _push(self, time, order, what, subject):
        heapq.heappush(self.events, Event(time, order, next(self.number), what, subject))

    def _forget(self, subject):
        self.events = [e for e in self.events if e.subject is not subject]
        heapq.heapify(self.events)

    def _admit(self):
        if self.admitted < len(self.arrival):
            self._push(self.now, ARRIVAL, "arrive", self.admitted)
            self.admitted += 1

    # --- events -------------------------------------------------------------------------------

    def _arrive(self, job):
        self.arrived[job] = self.now
        if self.family == CONFIGURATION:
            self.batches.append(job)
        else:
            self._begin(job)

    def _begin(self, job):
        for task in self.tasks_of[job]:
            if not self.parents[task]:
                self._wait(task)

    def _wait(self, task):
        self.status[task] = "waiting"
        self.profile[task] = self.choice[self.type[task]]
        self.ready_at[task] = self.now
        self.queue.append(task)
        self.waits.append([task, self.now, None])

    def _waited(self, task):
        (mine,) = [w for w in self.waits if w[0] == task and w[2] is None]
        mine[2] = self.now

    def _start(self, attempt):
        task = attempt.task
        self.status[task] = "running"
        self.start[task] = attempt.start
        attempt.paid_from = self.now
        self._waited(task)

    def _finish(self, attempt):
        task, job = attempt.task, self.job[attempt.task]
        self.status[task] = "done"
        self.finish[task] = attempt.finish
        attempt.released = self.now
        self.attempt[task] = None
        for child in self.children[task]:
            if all(self.status[p] == "done" for p, _ in self.parents[child]):
                self._wait(child)
        if all(self.status[i] == "done" for i in self.tasks_of[job]):
            self.completed[job] = attempt.finish
            self.left_at[job] = self.now
            if self.serving == job:
                self.serving = None
            if self.in_flight:
                self._admit()

    def _outage(self, what):
        kind, m = what
        if kind == RETURNED:
            self.nodes[m].lost = False
            return
        on_it = [a for a in self.attempts if a.node == m and a.released is None]
        for attempt in sorted(on_it, key=lambda a: a.task):
            if attempt.finish > self.now:
                self._kill(attempt)
        if kind == LOST:
            self.nodes[m].lost = True

    def _kill(self, attempt):
        task = attempt.task
        self._forget(attempt)
        if attempt in self.working:
            self.working.remove(attempt)
            self._expect()
        attempt.released, attempt.killed = self.now, True
        if self.status[task] == "running":
            self.wasted += max(0.0, self.now - attempt.start)
        else:
            self._waited(task)
        self.attempt[task] = self.where[task] = self.start[task] = None
        self.alone.add(task)
        self._wait(task)

    def _copied(self, attempt):
        """A copy has finished: from now on it is known when the task after it starts."""
        self.copies[attempt.copied, attempt.node] = attempt.copy_done
        attempt.start = self.start[attempt.task] = max(attempt.copy_done, attempt.besides)

    def _executor(self, node):
        node.begun = True

    # --- contention -----------------------------------------------------------------------------

    def _work(self, until):
        """Let time pass, in which all that run do some of their work."""
        for a in self.working:
            left = a.left - self._speed(a) * (until - self.now)
            # Less is what sums err by.
            a.left = left if left > 1e-11 else 0.0
        self.now = until

    def _speed(self, attempt):
        """Return the speed at the cpus in use on a machine; who asks for none uses one."""
        machine = self.machine[attempt.node]
        near = [a for a in self.working if self.machine[a.node] == machine]
        load = sum(a.demand[0] or 1.0 for a in near)
        return float(np.interp(load, range(len(self.rates)), self.rates))

    def _join(self, attempt):
        self.working.append(attempt)
        self._push(attempt.finish, OTHER, "leave", attempt)
        self._expect()

    def _leave(self, attempt):
        self.working.remove(attempt)
        attempt.finish = self.now
        self._push(self.now + attempt.seen, OTHER, "finish", attempt)
        self._expect()

    def _expect(self):
        """Say anew when those that run will end, by what is left to do and their speed now."""
        for event in self.events:
            if event.what == "leave":
                a = event.subject
                event.time = a.finish = self.now + a.left / self._speed(a)
        heapq.heapify(self.events)

    # --- resources ----------------------------------------------------------------------------

    def _waits(self, task):
        return self.status[task] == "waiting"

    def used(self, m):
        """Return what is held on a node."""
        held = [a.demand for a in self.attempts if a.node == m and a.released is None]
        return [sum(d[r] for d in held) for r in range(3)]

    def room(self, profile, m):
        """Return whether a node is up and has room for a profile."""
        used, node = self.used(m), self.nodes[m]
        return node.up and all(
            used[r] + self.demand[profile][r] <= node.capacity[r] + ROOM[r] for r in range(3)
        )

    def _roomy(self, task):
        return [m for m in range(len(self.nodes)) if self.room(self.profile[task], m)]

    def _true(self, task, m):
        column = self.profile_column[self.profile[task]] + self.nodes[m].column
        if len(self.truth.scale):
            row = self.truth.seconds[self.type[task]]
            return float(row[column]) * float(self.truth.scale[task])
        return float(self.truth.seconds[task][column])

    def _estimate(self, task, m):
        column = self.profile_column[self.profile[task]] + self.nodes[m].column
        return self.estimates[self.type[task]][column] * self.scale[task]

    def _take(self, task, m, begun):
        """Hold the resources of a task; its start is after the delay of the engine."""
        delays, seen = self.truth.start_delay, self.truth.seen_delay
        start = begun + float(delays[task] if len(delays) > 1 else delays[0])
        work = self._true(task, m)
        attempt = Attempt(
            task=task,
            node=m,
            profile=self.profile[task],
            demand=self.demand[self.profile[task]],
            capacity=self.nodes[m].capacity,
            taken=self.now,
            start=start,
            finish=start + work,
            left=work,
            seen=float(seen[task] if len(seen) > 1 else seen[0]),
        )
        self.attempts.append(attempt)
        self.attempt[task] = attempt
        self.where[task] = m
        return attempt

    def _run(self, attempt):
        if self.rates:
            self._push(attempt.start, OTHER, "join", attempt)
        else:
            self._push(attempt.finish + attempt.seen, OTHER, "finish", attempt)

    # --- allocation and configuration: first come, first served ---------------------------------

    def _dispatch(self):
        while self.queue:
            task = self.queue[0]
            roomy = self._roomy(task)
            if not roomy:
                return
            self.queue.pop(0)
            attempt = self._take(task, roomy[0], self.now)
            self._push(attempt.start + attempt.seen, OTHER, "start", attempt)
            self._run(attempt)

    def _ask_profiles(self):
        for t in self.types_in_order:
            fitting = tuple(
                p
                for p, d in enumerate(self.demand)
                if any(d[0] <= n.capacity[0] and d[1] <= n.capacity[1] for n in self.nodes)
            )
            self.choice[t] = yield Question(self.now, "profile", t, fitting)

    def granted(self, fleet):
        """Return how many executors the hosts hold, one host after another."""
        _, cores, memory, wanted = self.fleets[fleet]
        count = 0
        for host in self.hosts:
            free_cores, free_memory = host[0], host[1]
            while free_cores + 1e-6 >= cores and free_memory + 0.5 >= memory and count < wanted:
                count, free_cores, free_memory = count + 1, free_cores - cores, free_memory - memory
        return count

    def _ask_fleet(self):
        job = self.serving = self.batches.pop(0)
        legal = tuple(q for q in range(len(self.fleets)) if self.granted(q) > 0)
        fleet = yield Question(self.now, "fleet", job, legal)
        self.begun[job] = self.now
        column, cores, memory, _ = self.fleets[fleet]
        count = self.granted(fleet)
        stay = [n.employed and n.column == column for n in self.nodes[:count]]
        startup = np.atleast_1d(self.truth.startup).tolist()
        ready = self.now + startup[min(stay.count(False), len(startup)) - 1]
        for m, node in enumerate(self.nodes):
            if m < count and stay[m]:
                continue
            self._forget(node)
            node.employed, node.begun = m < count, False
            node.column, node.capacity = int(column), (cores, memory, 0.0)
            if node.employed:
                self._push(ready, OTHER, "executor", node)
        self._begin(job)
        self._dispatch()

    # --- placement ------------------------------------------------------------------------------

    def groups(self):
        """Return the ready tasks in groups of interchangeable ones, each by id.

        A task that was killed has lost its twins' history, so it stands for itself.
        """
        found = {}
        for task in range(len(self.type)):
            if self._waits(task):
                key = (
                    self.job[task],
                    self.type[task],
                    self.scale[task],
                    self.rank[task],
                    tuple(self.parents[task]),
                    task if task in self.alone else -1,
                )
                found.setdefault(key, []).append(task)
        return list(found.values())

    def work_left(self, job):
        """Return the estimated seconds of the tasks of a job that have not finished."""
        return sum(self.mean[i] for i in self.tasks_of[job] if self.status[i] != "done")

    def present(self):
        """Return the jobs that have arrived and not left, by arrival."""
        jobs = range(len(self.arrival))
        return [j for j in jobs if self.arrived[j] is not None and self.left_at[j] is None]

    def shown(self):
        """Return the groups that get a slot, in order: by work and by arrival in turns."""
        of = {j: [] for j in self.present()}
        for group in self.groups():
            of[self.job[group[0]]].append(group[0])
        for tasks in of.values():
            tasks.sort(key=lambda i: (-self.rank[i], i))
        by_work = [i for j in sorted(of, key=lambda j: (self.work_left(j), j)) for i in of[j]]
        by_arrival = [i for j in of for i in of[j]]
        found = []
        for pair in zip(by_work, by_arrival, strict=True):
            for task in pair:
                if task not in found and len(found) < self.slots:
                    found.append(task)
        return found

    def _ask_placements(self):
        M = len(self.nodes)
        while any(self._waits(i) and self._roomy(i) for i in range(len(self.type))):
            legal = [i for i in self.shown() if self._roomy(i)]
            if self.events or not legal:
                legal.append(-1)
            task = yield Question(self.now, "task", -1, tuple(sorted(legal)))
            if task < 0:
                return
            keys = self._roomy(task)
            if self.duplicate:
                keys += [M + m for m in keys if self._copy_for(task, m) is not None]
            key = yield Question(self.now, "node", task, tuple(sorted(keys)))
            copied = self._copy_for(task, key - M) if key >= M else None
            self._place(task, key % M, copied)

    def _place(self, task, m, copied):
        if self.begun[self.job[task]] is None:
            self.begun[self.job[task]] = self.now
        begun = max(self.now, self._data_at(task, m, copied))
        if copied is not None:
            own = max(self.now, self._data_at(copied, m))
            done = own + self._true(copied, m)
            self.copy_log.append((copied, m, own, done))
        self.queue.remove(task)
        attempt = self._take(task, m, begun if copied is None else max(begun, done))
        if copied is not None:
            self._push(done + attempt.seen, OTHER, "copied", attempt)
        self._run(attempt)
        # A placed task counts as started when its data are there, as far as anybody knows.
        attempt.start = begun
        attempt.copied = copied
        if copied is not None:
            attempt.start = max(begun, own + self._estimate(copied, m))
            attempt.copy_done, attempt.besides = done, begun
        self._start(attempt)

    def _data_at(self, task, m, besides=None):
        """Return when what the parents made is on a node."""
        return max((self._from(p, d, m) for p, d in self.parents[task] if p != besides), default=0)

    def _from(self, parent, sent, m):
        if self.where[parent] == m or sent == 0:
            return self.finish[parent]
        sources = [(self.finish[parent], self.where[parent])]
        sources += [(at, on) for (p, on), at in self.copies.items() if p == parent]
        return min(at if on == m else self._moved(at, on, m, sent) for at, on in sources)

    def _moved(self, at, source, target, sent):
        leaves = max(self.now, at) if self.pull else at
        return leaves + self.latency[source][target] + sent / self.bandwidth[source][target]

    def _copy_for(self, task, m):
        """Return the parent after whose copy on a node the task starts first, if that helps."""
        best, parent = max(self.now, self._data_at(task, m)), None
        for p, sent in self.parents[task]:
            if self.where[p] == m or sent == 0 or (p, m) in self.copies:
                continue
            if any(a.node == m and a.copied == p and a.released is None for a in self.attempts):
                continue
            own, need = self.demand[self.profile[p]], self.demand[self.profile[task]]
            if any(a > b + slack for a, b, slack in zip(own, need, ROOM, strict=True)):
                continue  # the copy runs in what the child holds
            done = max(self.now, self._data_at(p, m)) + self._estimate(p, m)
            begun = max(done, self._data_at(task, m, p))
            if begun < best:
                best, parent = begun, p
        return parent

    # --- recounts -------------------------------------------------------------------------------

    def totals(self):
        """Recount every total from what was logged, by name."""
        now, jobs = self.now, range(len(self.arrival))
        came = [j for j in jobs if self.arrived[j] is not None]
        left = [j for j in jobs if self.left_at[j] is not None]
        latency = [self.left_at[j] - self.arrived[j] for j in left]
        busy, imbalance, elapsed = 0.0, 0.0, 0.0
        for seconds, loads, present in self.load_over_time():
            if present:
                elapsed += seconds
                busy += sum(loads) * seconds
                mean = sum(loads) / len(loads)
                variance = sum((x - mean) ** 2 for x in loads) / len(loads)
                imbalance += variance**0.5 * seconds
        paid = [a for a in self.attempts if a.paid_from is not None]
        in_use = [a for a in paid if a.released is None]
        loads = self.loads_at(now) if self.attempts else [0.0] * len(self.nodes)
        return {
            "JOBS_DONE": len(left),
            "LATENCY": sum(latency),
            "COST": sum(
                0.5
                * (a.demand[0] + self.memory_price * a.demand[1])
                * ((now if a.released is None else a.released) - a.paid_from)
                for a in paid
            ),
            "JOBS_IN_SYSTEM": len(came) - len(left),
            "SOJOURN": sum(
                (now if self.left_at[j] is None else self.left_at[j]) - self.arrived[j]
                for j in came
            ),
            "BOTTLENECK": self.bottleneck,
            "ELAPSED": elapsed,
            "BUSY": busy,
            "IMBALANCE": imbalance,
            "QUEUED": sum((now if b is None else b) - a for _, a, b in self.waits),
            "LATE": sum(self.left_at[j] - self.arrived[j] > self.deadline[j] for j in left),
            "INVERSE": sum(1e-3 / max(self.left_at[j] - self.begun[j], 1e-9) for j in left)
            if self.family == CONFIGURATION
            else 0.0,
            "N_READY": sum(map(self._waits, range(len(self.type)))),
            "N_GROUPS": len(self.groups()) if self.family == PLACEMENT else 0,
            "CPUS_NOW": sum(a.demand[0] for a in in_use),
            "MEMORY_NOW": sum(a.demand[1] for a in in_use),
            "SHARE": sum(loads),
            "SHARE_SQUARED": sum(x * x for x in loads),
            "N_KILLED": sum(a.killed for a in self.attempts),
            "WASTED": self.wasted,
            "WORK_NOW": sum(map(self.work_left, self.present()))
            if self.family != ALLOCATION
            else 0.0,
        }

    def used_seconds(self):
        """Return the summed load of each node over time, s."""
        parts = [[seconds * x for x in loads] for seconds, loads, _ in self.load_over_time()]
        return [sum(p[m] for p in parts) for m in range(len(self.nodes))]

    def load_over_time(self):
        """Yield seconds, load of each node, and whether a job was there, between changes."""
        times = {0.0, self.now}
        times |= {t for t in (*self.arrived, *self.left_at) if t is not None}
        times |= {t for a in self.attempts for t in (a.taken, a.released) if t is not None}
        for a, b in itertools.pairwise(sorted(times)):
            middle = (a + b) / 2
            present = any(
                c is not None and c < middle and (d is None or d > middle)
                for c, d in zip(self.arrived, self.left_at, strict=True)
            )
            yield b - a, self.loads_at(middle), present

    def loads_at(self, time):
        """Return the greatest share of cpus, memory or gpus in use on each node."""
        loads = []
        for m in range(len(self.nodes)):
            held = [
                a
                for a in self.attempts
                if a.node == m and a.taken <= time and (a.released is None or a.released > time)
            ]
            shares = [
                sum(a.demand[r] for a in held) / held[0].capacity[r]
                for r in range(3)
                if held and held[0].capacity[r] > 0
            ]
            loads.append(max(shares, default=0.0))
        return loads


def simulate(workload, durations, start_delay, seen_delay, profile_of_type):
    """Run an allocation with one fixed profile per type; return starts and finishes by task.

    Args:
        workload: Of the family *allocation*.
        durations: Seconds by task and column.
        start_delay: Seconds by task.
        seen_delay: Seconds by task.
        profile_of_type: The profile of each type.
    """
    truth = SimpleNamespace(
        seconds=durations,
        scale=(),
        start_delay=start_delay,
        seen_delay=seen_delay,
        rates=(),
        machine=(),
        outages=None,
    )
    episode = Oracle(workload, truth)
    asking = episode.run(float("inf"))
    question = next(asking)
    while question is not None:
        try:
            question = asking.send(profile_of_type[question.subject])
        except StopIteration:
            question = None
    return dict(enumerate(episode.start)), dict(enumerate(episode.finish))
