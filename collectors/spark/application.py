"""Application: the events of one Spark application become the rows of one run."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.places import Places, Seen
from collectors.spark.task_rows import EARLIEST, LATEST, UNMEASURED, TaskRows

KEPT = 20_000
"""Stages that are remembered after their jobs have ended, for attempts that end later."""
MOST_STAGES = 100_000
"""Stages of one job that are kept."""
HELD = 50_000
"""Rows of jobs or stages that wait for earlier ones, so that rows come in the order of indices."""
RUNNING = 1_000_000
"""Attempts without an end that are remembered."""
_NO_READ, _NO_WRITE = events.ShuffleRead(), events.ShuffleWrite()
_NO_INPUT, _NO_OUTPUT = events.Input(), events.Output()
_STATUS = {"Success": "done", "TaskKilled": "killed"}
_MIB = float(1 << 20)
_SIZES = {"": _MIB, "b": 1.0, "k": 2.0**10, "m": _MIB, "g": 2.0**30, "t": 2.0**40, "p": 2.0**50}


def memory_of(text: str) -> float | None:
    """Return the bytes that a setting like ``4g`` means, without a unit MiB; None if unclear."""
    match = re.fullmatch(r"\s*(\d{1,12})\s*([bkmgtp]?)(?:i?b)?\s*", text.lower())
    return float(match[1]) * _SIZES[match[2]] if match else None


class Attempt:
    """One attempt of a stage: a row of ``stages``."""

    __slots__ = (
        "attempt",
        "connected",
        "cpus",
        "failure",
        "finished",
        "gpus",
        "index",
        "job",
        "name",
        "number",
        "places",
        "profile",
        "status",
        "submitted",
        "tasks",
        "written",
    )

    def __init__(self, index: int, number: int, attempt: int, job: int, places: Places) -> None:
        self.index, self.number, self.attempt, self.job = index, number, attempt, job
        self.places = places
        self.name = f"stage {number}"
        self.tasks: int | None = None
        self.profile: int | None = None
        self.cpus: float | None = None
        self.gpus: float | None = None
        self.submitted: float | None = None
        self.finished: float | None = None
        self.status: str | None = None
        self.failure: str | None = None
        self.connected = False
        self.written = False


class Stage:
    """A stage: its attempts share their tasks."""

    __slots__ = ("active", "attempts", "job", "parents", "places", "succeeded")

    def __init__(self, job: int, places: Places) -> None:
        self.job = job
        self.places = places
        self.attempts: dict[int, Attempt] = {}
        self.active = 0  # jobs that list it and have not ended
        self.parents: list[int] = []
        self.succeeded = False

    @property
    def latest(self) -> Attempt:
        """The attempt that is known to be the last so far."""
        return self.attempts[max(self.attempts)]


class Job:
    """A job that has not ended."""

    __slots__ = ("arrived", "detail", "index", "name", "stages")

    def __init__(self, index: int, name: str | None, arrived: float) -> None:
        self.index, self.name, self.arrived = index, name, arrived
        self.detail: dict[str, Any] = {}
        self.stages: list[int] = []


class Node:
    """An executor."""

    __slots__ = (
        "added",
        "cpus",
        "detail",
        "gpus",
        "index",
        "memory",
        "name",
        "removed",
        "requested",
    )

    def __init__(self, index: int, name: str) -> None:
        self.index, self.name = index, name
        self.cpus: float | None = None
        self.memory: float | None = None
        self.gpus: float | None = None
        self.requested: int | None = None
        self.added: int | None = None
        self.removed: int | None = None
        self.detail: dict[str, Any] = {}


class Ordered:
    """Hands rows on in the order of their indices, as far as few must wait for it."""

    def __init__(self, run: RunWriter, table: str) -> None:
        self._run, self._table = run, table
        self._held: dict[int, dict[str, Any]] = {}
        self._next = 0

    def add(self, index: int, row: dict[str, Any]) -> None:
        """Take the row of an index."""
        self._held[index] = row
        while self._next in self._held:
            self._run.add(self._table, **self._held.pop(self._next))
            self._next += 1
        if len(self._held) > HELD:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        for index in sorted(self._held):
            self._run.add(self._table, **self._held.pop(index))
            self._next = max(self._next, index + 1)


class Application:
    """Takes the events of one application in the order of its log.

    Args:
        run: Where the rows go.
    """

    def __init__(self, run: RunWriter) -> None:
        self._run = run
        self._report = run.completeness
        self.version: str | None = None
        self.jvm: dict[str, str] = {}
        self.properties: dict[str, str] = {}
        self.app: str | None = None
        self.name: str | None = None
        self.attempt: str | None = None
        self.began: int | None = None
        """Milliseconds since 1970 of time 0."""
        self.ended: float | None = None
        self._profiles: dict[int, events.ResourceProfileAdded] = {}
        self._nodes: list[Node] = []
        self._node: dict[str, Node] = {}
        self._block_managers: dict[str, int] = {}
        self._jobs: dict[int, Job] = {}
        self._job_rows = Ordered(run, "jobs")
        self._jobs_met = 0
        self._highest_job = -1
        self._stages: dict[int, Stage] = {}
        self._stage_rows = Ordered(run, "stages")
        self._stages_met = 0
        self._retired: deque[int] = deque()
        self._tasks_met = 0
        self._missing = 0
        self._running: dict[int, tuple[Any, ...]] = {}
        self._over = Seen()
        self._rows = TaskRows(run)
        self._repeated = 0
        self._executions: dict[int, dict[str, Any]] = {}
        self._queries: dict[str, dict[str, Any]] = {}
        self._spans = 0
        self._tasks = self._report.of("tasks")
        self._orphans = 0
        self.take: Mapping[type[msgspec.Struct], Callable[[Any], None]] = {
            events.LogStart: self._log_start,
            events.ApplicationStart: self._application_start,
            events.ApplicationEnd: self._application_end,
            events.EnvironmentUpdate: self._environment,
            events.ResourceProfileAdded: self._resource_profile,
            events.ExecutorAdded: self._executor_added,
            events.ExecutorRemoved: self._executor_removed,
            events.BlockManagerAdded: self._block_manager_added,
            events.JobStart: self._job_start,
            events.JobEnd: self._job_end,
            events.StageSubmitted: self._stage_submitted,
            events.StageCompleted: self._stage_completed,
            events.TaskStart: self._task_start,
            events.TaskEnd: self._task_end,
            events.ExecutionStart: self._execution_start,
            events.ExecutionEnd: self._execution_end,
            events.QueryStarted: self._query_started,
            events.QueryProgress: self._query_progress,
            events.QueryTerminated: self._query_terminated,
        }
        """Where each kind of event goes."""

    # Times.

    def _at(self, ms: int | None, table: str, what: str) -> float | None:
        """Return seconds since the start; null, and a repair, where it cannot be true."""
        if ms is None or ms <= 0:
            return None
        if self.began is None:
            self._begin(ms)
            self._report.flags["no_start"] = True
        at = (ms - self._rows.began) / 1000.0
        if EARLIEST <= at <= LATEST:
            return at
        self._repair(table, f"{what} is {at:.0f} s from the start of the application: left out")
        return None

    def _begin(self, ms: int) -> None:
        self.began = self._rows.began = ms

    def _repair(self, table: str, sentence: str) -> None:
        self._report.of(table).repaired += 1
        self._report.note(f"{table}: {sentence}")

    # The application and its executors.

    def _log_start(self, e: events.LogStart) -> None:
        if e.version:
            self.version = e.version[:40]

    def _application_start(self, e: events.ApplicationStart) -> None:
        if e.app:
            self.app = redaction.place(e.app)
        if e.name:
            self.name = redaction.short(e.name)
        if e.attempt:
            self.attempt = e.attempt[:80]
        if self.began is None and e.at is not None and e.at > 0:
            self._begin(e.at)

    def _application_end(self, e: events.ApplicationEnd) -> None:
        self.ended = self._at(e.at, "jobs", "the end of the application") or 0.0

    def _environment(self, e: events.EnvironmentUpdate) -> None:
        self.jvm = {k[:80]: v[:200] for k, v in list(e.jvm.items())[:50]}
        self.properties = {k[:200]: v[:4000] for k, v in list(e.spark.items())[:5000]}

    def _resource_profile(self, e: events.ResourceProfileAdded) -> None:
        if len(self._profiles) < 100_000:
            self._profiles[e.profile] = e

    def _executor_added(self, e: events.ExecutorAdded) -> None:
        known = self._node.get(e.executor)
        if known is not None and known.added is not None and known.removed is None:
            self._repair("nodes", f"executor {e.executor[:80]} was added twice")
            return
        if known is not None and known.added is None and known.removed is None:
            node = known  # a task named it before
        else:
            node = self._new_node(e.executor, e.info.host)
        info = e.info
        node.added = info.registered or e.at
        node.requested = info.requested
        node.cpus = float(info.cores) if info.cores is not None and info.cores >= 0 else None
        for kind, given in (info.resources or {}).items():
            if kind == "gpu":
                node.gpus = float(len(given.addresses))
        if info.host:
            node.detail["host"] = info.host[:200]
        if info.profile is not None:
            node.detail["resource_profile"] = info.profile
        if e.executor != "driver":  # a local driver does not obey the profile
            self._give_memory(node, info.profile)

    def _give_memory(self, node: Node, profile: int | None) -> None:
        found = self._profiles.get(profile) if profile is not None else None
        if found is None:
            told = self.properties.get("spark.executor.memory")
            node.memory = memory_of(told) if told else None
            return
        for kind, request in found.executor.items():
            amount = request.amount
            if amount is None or not 0 <= amount < 1e12:
                continue
            if kind == "memory":
                node.memory = amount * _MIB
            elif kind in ("memoryOverhead", "offHeap", "pyspark.memory"):
                node.detail[f"{kind}_bytes"] = amount * _MIB

    def _new_node(self, name: str, host: str | None) -> Node:
        node = Node(len(self._nodes), name[:200])
        if host:
            node.detail["host"] = host[:200]
        self._nodes.append(node)
        self._node[name] = node
        return node

    def _block_manager_added(self, e: events.BlockManagerAdded) -> None:
        # A local driver of some versions is told of by nothing else.
        if e.at is not None and len(self._block_managers) < 100_000:
            self._block_managers.setdefault(e.manager.executor, e.at)

    def _executor_removed(self, e: events.ExecutorRemoved) -> None:
        node = self._node.get(e.executor)
        if node is None:
            node = self._new_node(e.executor, None)
        if node.removed is None:
            node.removed = e.at
            if e.reason:
                node.detail["removed"] = redaction.short(e.reason)

    # Jobs and stages.

    def _job_start(self, e: events.JobStart) -> None:
        jobs = self._report.of("jobs")
        jobs.seen += 1
        arrived = self._at(e.at, "jobs", f"the arrival of job {e.job}")
        if arrived is None or e.job in self._jobs:
            jobs.dropped += 1
            why = "is there twice" if e.job in self._jobs else "has no time of arrival"
            self._report.note(f"jobs: job {e.job} {why}: left out")
            return
        told = e.properties or events.JobProperties()
        stages = sorted(e.stages, key=lambda s: s.stage)
        name = told.description or told.group or told.call_site
        if not name and stages:
            name = stages[-1].name
        job = Job(self._jobs_met, redaction.short(name) if name else None, arrived)
        self._jobs_met += 1
        self._highest_job = max(self._highest_job, e.job)
        job.detail = {"id": e.job}
        for key, value in (
            ("group", told.group),
            ("call_site", told.call_site),
            ("sql", told.sql),
            ("query", told.query),
            ("batch", told.batch),
        ):
            if value:
                job.detail[key] = redaction.place(value)
        self._jobs[e.job] = job
        infos = {s.stage: s for s in stages}
        listed = sorted({*e.stage_ids, *infos})
        if len(listed) > MOST_STAGES:
            self._report.of("stages").seen += len(listed) - MOST_STAGES
            self._report.of("stages").dropped += len(listed) - MOST_STAGES
            self._report.note(f"stages: job {e.job} lists {len(listed)}: the last are left out")
        for number in listed[:MOST_STAGES]:
            stage = self._stages.get(number)
            if stage is None:
                stage = self._stages[number] = Stage(job.index, Places())
                self._new_attempt(stage, number, 0)
            info = infos.get(number)
            if info is not None:
                stage.parents = stage.parents or info.parents
                attempt = stage.attempts.get(info.attempt)
                if attempt is not None and attempt.submitted is None:
                    self._describe(attempt, info)
            stage.active += 1
            job.stages.append(number)

    def _new_attempt(self, stage: Stage, number: int, attempt: int) -> Attempt:
        made = Attempt(self._stages_met, number, attempt, stage.job, stage.places)
        self._stages_met += 1
        self._report.of("stages").seen += 1
        stage.attempts[attempt] = made
        return made

    def _describe(self, attempt: Attempt, info: events.StageInfo) -> None:
        if info.name:
            attempt.name = redaction.place(info.name)
        if info.tasks is not None and 0 <= info.tasks < 1 << 31:
            attempt.tasks = info.tasks
        attempt.profile = info.profile
        profile = self._profiles.get(info.profile) if info.profile is not None else None
        if profile is not None:
            for kind, request in profile.task.items():
                if request.amount is not None and 0 <= request.amount < 1e9:
                    if kind == "cpus":
                        attempt.cpus = request.amount
                    elif kind == "gpu":
                        attempt.gpus = request.amount
        elif "spark.task.cpus" in self.properties:
            told = self.properties["spark.task.cpus"].strip()
            attempt.cpus = float(told) if re.fullmatch(r"\d{1,9}", told) else None

    def _attempt_of(self, info: events.StageInfo) -> Attempt | None:
        """Return the row of a stage's attempt, a fresh one where it is new."""
        stage = self._stages.get(info.stage)
        if stage is None or not 0 <= info.attempt < 1 << 31:
            stages = self._report.of("stages")
            stages.seen += 1
            stages.dropped += 1
            self._report.note(
                f"stages: no job lists stage {info.stage} (attempt {info.attempt}): left out"
            )
            return None
        found = stage.attempts.get(info.attempt)
        if found is None or (found.written and found.status == "skipped"):
            found = self._new_attempt(stage, info.stage, info.attempt)
        return found

    def _stage_submitted(self, e: events.StageSubmitted) -> None:
        attempt = self._attempt_of(e.info)
        if attempt is None or attempt.written:
            return
        self._describe(attempt, e.info)
        if attempt.submitted is None:
            what = f"the submission of stage {attempt.number}"
            attempt.submitted = self._at(e.info.submitted, "stages", what)
            stage = self._stages[attempt.number]
            stage.parents = e.info.parents or stage.parents
            self._connect(stage, attempt)

    def _connect(self, stage: Stage, child: Attempt) -> None:
        """Write the edges from the latest attempts of a stage's parents."""
        if child.connected:
            return
        child.connected = True
        edges = self._report.of("edges")
        for number in sorted(set(stage.parents)):
            edges.seen += 1
            parent = self._stages.get(number)
            # Spark numbers parents before children; what breaks this could close a circle.
            if parent is None or number >= child.number:
                edges.dropped += 1
                self._report.note(
                    f"edges: stage {child.number} names stage {number} as its parent, "
                    + ("which is later" if parent else "which no job lists")
                )
                continue
            edges.complete += 1
            row = parent.latest.index
            self._run.add("edges", kind="stage", parent=row, child=child.index)

    def _stage_completed(self, e: events.StageCompleted) -> None:
        attempt = self._attempt_of(e.info)
        if attempt is None or attempt.written:
            return
        self._describe(attempt, e.info)
        what = f"stage {attempt.number}"
        if attempt.submitted is None:
            attempt.submitted = self._at(e.info.submitted, "stages", f"the submission of {what}")
            self._connect(self._stages[attempt.number], attempt)
        finished = self._at(e.info.completed, "stages", f"the end of {what}")
        if finished is not None and attempt.submitted is not None and finished < attempt.submitted:
            self._repair("stages", f"{what} ended before it was submitted: its end is left out")
            finished = None
        attempt.finished = finished
        if e.info.failure:
            attempt.status = "failed"
            attempt.failure = redaction.short(e.info.failure.split("\n", 1)[0])
        else:
            attempt.status = "done"
            self._stages[attempt.number].succeeded = True
        self._write_stage(attempt)

    def _write_stage(self, attempt: Attempt) -> None:
        attempt.written = True
        detail: dict[str, Any] = {"id": attempt.number}
        if attempt.profile is not None:
            detail["resource_profile"] = attempt.profile
        if attempt.failure:
            detail["failure"] = attempt.failure
        told = attempt.submitted is not None and attempt.finished is not None
        self._report.of("stages").complete += told or attempt.status == "skipped"
        self._stage_rows.add(
            attempt.index,
            {
                "stage": attempt.index,
                "job": attempt.job,
                "name": attempt.name,
                "attempt": attempt.attempt,
                "tasks": attempt.tasks,
                "submitted_at": attempt.submitted,
                "finished_at": attempt.finished,
                "status": attempt.status,
                "detail": _json(detail),
            },
        )

    def _job_end(self, e: events.JobEnd) -> None:
        job = self._jobs.pop(e.job, None)
        if job is None:
            self._report.note(f"jobs: job {e.job} ended but never began: left out")
            return
        finished = self._at(e.at, "jobs", f"the end of job {e.job}")
        if finished is not None and finished < job.arrived:
            self._repair("jobs", f"job {e.job} ended before it arrived: its end is left out")
            finished = None
        result = e.result.result if e.result else None
        status = "done" if result == "JobSucceeded" else "failed" if result else None
        told = e.result.exception if e.result else None
        if told is not None and told.message:
            job.detail["failure"] = redaction.short(told.message.split("\n", 1)[0])
            if re.match(r"Job \d+ cancelled", told.message):
                status = "killed"
        self._report.of("jobs").complete += finished is not None
        self._write_job(job, finished, status)
        for number in job.stages:
            stage = self._stages.get(number)
            if stage is None:
                continue
            stage.active -= 1
            if stage.active == 0:
                self._leave(stage)
                self._retired.append(number)
        while len(self._retired) > KEPT:
            self._forget(self._retired.popleft())

    def _leave(self, stage: Stage) -> None:
        """Write the stages that a job listed and never needed."""
        for attempt in stage.attempts.values():
            if attempt.submitted is None and not attempt.written and attempt.places.seen == 0:
                attempt.status = "skipped"
                self._connect(stage, attempt)
                self._write_stage(attempt)

    def _forget(self, number: int) -> None:
        stage = self._stages.get(number)
        if stage is None or stage.active:
            return
        for attempt in stage.attempts.values():
            if not attempt.written:
                self._write_stage(attempt)
        self._account(stage)
        del self._stages[number]

    def _account(self, stage: Stage) -> None:
        """Count the tasks that a stage which succeeded must have had."""
        if stage.succeeded:
            announced = max((a.tasks or 0 for a in stage.attempts.values()), default=0)
            places = {id(a.places): a.places for a in stage.attempts.values()}
            self._missing += max(0, announced - sum(p.done for p in places.values()))

    def _write_job(self, job: Job, finished: float | None, status: str | None) -> None:
        self._job_rows.add(
            job.index,
            {
                "job": job.index,
                "name": job.name,
                "arrived_at": job.arrived,
                "arrived_seen": job.arrived,
                "finished_at": finished,
                "finished_seen": finished,
                "status": status,
                "detail": _json(job.detail),
            },
        )

    # Tasks.

    def _place(self, number: int, stage_attempt: int, info: events.TaskInfo) -> Any:
        """Return attempt of the stage, task and attempt of the task; None for a strange one."""
        stage = self._stages.get(number)
        attempt = stage.attempts.get(stage_attempt) if stage is not None else None
        if attempt is None and stage is not None and 0 <= stage_attempt < 1 << 31:
            attempt = self._new_attempt(stage, number, stage_attempt)
        self._tasks.seen += 1
        if attempt is None:
            self._tasks.dropped += 1
            self._orphans += 1
            return None
        partition = info.partition
        places = attempt.places
        if partition < 0:
            partition = info.index
            if stage_attempt > 0:
                # Before Spark 3.3 a later attempt does not say which partitions it is left with.
                places = self._apart(attempt)
        task, tried = places.attempt(partition, self._tasks_met)
        if task == self._tasks_met:
            self._tasks_met += 1
        return attempt, task, tried, partition

    def _apart(self, attempt: Attempt) -> Places:
        stage = self._stages[attempt.number]
        if attempt.places is stage.places:
            attempt.places = Places()
            self._report.flags["partitions_of_later_attempts"] = "unknown"
        return attempt.places

    def _task_start(self, e: events.TaskStart) -> None:
        info = e.info
        if info.task in self._running or info.task in self._over:
            self._repeat(info.task)
            return
        place = self._place(e.stage, e.attempt, info)
        self._running[info.task] = (place, info)
        if len(self._running) > RUNNING:
            self._cut_off(next(iter(self._running)))

    def _repeat(self, task: int) -> None:
        self._tasks.seen += 1
        self._tasks.dropped += 1
        self._report.note(f"tasks: task {task} is there twice: left out the second time")

    def _task_end(self, e: events.TaskEnd) -> None:
        info = e.info
        number = info.task
        known = self._running.pop(number, None)
        why = e.reason
        word = why.reason if why is not None else None
        if not self._over.add(number):
            if word == "Resubmitted":
                self._repeated += 1  # it had finished; its output was lost with an executor
            else:
                self._repeat(number)
            return
        place = known[0] if known is not None else self._place(e.stage, e.attempt, info)
        if place is None:
            return
        attempt, task, tried, partition = place
        if self.began is None:
            self._at(info.launched, "tasks", f"the start of task {number}")
        if word == "Success":
            status, reason = "done", None
            attempt.places.win(partition)
        else:
            status, reason = self._ending(info, why, word)
        self._add(attempt, task, tried, info, status, reason, e.metrics)

    def _add(
        self,
        attempt: Attempt,
        task: int,
        tried: int,
        info: events.TaskInfo,
        status: str,
        reason: str | None,
        m: events.TaskMetrics | None,
    ) -> None:
        node = self._node.get(info.executor)
        if node is None and info.executor:
            node = self._new_node(info.executor, info.host)
        if m is None:
            measured = UNMEASURED
        else:
            read = m.shuffle_read or _NO_READ
            measured = (
                m.run,
                m.deserialize,
                m.serialize,
                m.cpu,
                m.gc,
                m.result_size,
                m.memory_spilled,
                m.disk_spilled,
                m.peak_execution,
                read.remote,
                read.local,
                (m.shuffle_write or _NO_WRITE).bytes,
                (m.input or _NO_INPUT).bytes,
                (m.output or _NO_OUTPUT).bytes,
            )
        self._rows.add(
            (
                task,
                tried,
                info.task,
                attempt.job,
                attempt.index,
                attempt.name,
                None if node is None else node.index,
                attempt.cpus,
                attempt.gpus,
                status,
                reason,
                info.locality,
                info.speculative,
            ),
            (info.launched, info.finished, info.getting_result, *measured),
        )

    def _ending(
        self, info: events.TaskInfo, why: events.TaskEndReason | None, word: str | None
    ) -> tuple[str, str | None]:
        if why is None or word is None:
            if info.failed or info.killed:
                return ("failed" if info.failed else "killed"), None
            return ("done" if info.finished > 0 else "running"), None
        said = [word[:80]]
        if why.exception:
            said.append(why.exception[:200])
        for text in (why.kill, why.lost, why.description, why.message):
            if text:
                said.append(text[:2000].strip().split("\n", 1)[0])
                break
        return _STATUS.get(word, "failed"), redaction.short(": ".join(said))

    def _cut_off(self, number: int) -> None:
        """Write an attempt whose end the log does not tell."""
        place, info = self._running.pop(number)
        self._over.add(number)
        if place is None:
            return
        if self.began is None:
            self._at(info.launched, "tasks", f"the start of task {number}")
        attempt, task, tried, _ = place
        self._add(attempt, task, tried, info, "running", None, None)

    # SQL and streaming.

    def _new_span(self, kind: str, name: str, started: float | None) -> dict[str, Any]:
        self._report.of("spans").seen += 1
        self._spans += 1
        return {"span": self._spans - 1, "kind": kind, "name": name, "started_at": started}

    def _write_span(
        self, span: dict[str, Any], finished: float | None, detail: Mapping[str, Any]
    ) -> None:
        started = span["started_at"]
        if started is not None and finished is not None and finished < started:
            self._repair("spans", f"{span['kind']} {span['name'][:80]} ended before it began")
            finished = None
        known = started is not None and (finished is not None or span["kind"] == "query")
        self._report.of("spans").complete += known
        self._run.add("spans", **span, finished_at=finished, detail=_json(detail))

    def _execution_start(self, e: events.ExecutionStart) -> None:
        before = self._executions.pop(e.execution, None)
        if before is not None:
            self._report.note(f"spans: execution {e.execution} began twice")
            self._write_span(before, None, before.pop("detail"))
        name = redaction.short(e.description or f"execution {e.execution}")
        started = self._at(e.at, "spans", f"the start of execution {e.execution}")
        span = self._new_span("sql", name, started)
        detail: dict[str, Any] = {"id": e.execution}
        if e.root is not None:
            detail["root"] = e.root
            root = self._executions.get(e.root)
            if root is not None:
                span["parent"] = root["span"]
        if e.plan is not None and e.plan.node:
            detail["plan"] = e.plan.node[:200]
        span["detail"] = detail
        self._executions[e.execution] = span

    def _execution_end(self, e: events.ExecutionEnd) -> None:
        span = self._executions.pop(e.execution, None)
        if span is None:
            self._report.note(f"spans: execution {e.execution} ended but never began: left out")
            return
        detail = span.pop("detail")
        if e.error:
            detail["failure"] = redaction.short(e.error.split("\n", 1)[0])
        finished = self._at(e.at, "spans", f"the end of execution {e.execution}")
        self._write_span(span, finished, detail)

    def _query_started(self, e: events.QueryStarted) -> None:
        name = redaction.short(e.name or e.query or e.run)
        started = self._at(_milliseconds(e.at), "spans", "the start of a query")
        span = self._new_span("query", name, started)
        span["detail"] = {"id": (e.query or "")[:80], "run": e.run[:80]}
        before = self._queries.pop(e.run, None)
        if before is not None:
            self._write_span(before, None, before.pop("detail"))
        self._queries[e.run] = span

    def _query_progress(self, e: events.QueryProgress) -> None:
        p = e.progress
        query = self._queries.get(p.run or "")
        started = self._at(_milliseconds(p.at), "spans", "the start of a batch")
        span = self._new_span("streaming", redaction.short(p.name or p.query or "batch"), started)
        if query is not None:
            span["parent"] = query["span"]
        rows = [s.rows for s in p.sources if s.rows is not None]
        parts = {k[:80]: v for k, v in list(p.parts.items())[:50]}
        lasted = p.duration if p.duration is not None else parts.get("triggerExecution")
        finished = None
        if started is not None and lasted is not None and 0 <= lasted < LATEST * 1e3:
            finished = started + lasted / 1e3
        detail = {
            "batch": p.batch,
            "duration_ms": parts,
            "input_rows": sum(rows) if rows else None,
            "run": p.run[:80] if p.run else None,
        }
        self._write_span(span, finished, detail)

    def _query_terminated(self, e: events.QueryTerminated) -> None:
        span = self._queries.pop(e.run, None)
        if span is not None:
            detail = span.pop("detail")
            if e.exception:
                detail["failure"] = redaction.short(e.exception.split("\n", 1)[0])
            self._write_span(span, None, detail)

    # The end.

    def finish(self) -> None:
        """Write what the log left open, and the executors; complete the report."""
        for number in list(self._running):
            self._cut_off(number)
        self._rows.hand_on()
        for job in self._jobs.values():
            self._write_job(job, None, None)
        for stage in self._stages.values():
            for attempt in stage.attempts.values():
                if not attempt.written:
                    self._connect(stage, attempt)
                    self._write_stage(attempt)
            self._account(stage)
        self._job_rows.flush()
        self._stage_rows.flush()
        for open_ones in (self._executions, self._queries):
            for span in open_ones.values():
                self._write_span(span, None, span.pop("detail"))
        for node in self._nodes:
            self._write_node(node)
        self._tasks.expected = self._tasks.seen + self._missing
        if self._missing:
            self._report.note(
                f"tasks: stages that succeeded announced {self._missing} tasks more than "
                "the log tells of"
            )
        if self._orphans:
            self._report.note(f"tasks: {self._orphans} of stages that no job lists: left out")
        if self._repeated:
            self._report.flags["resubmitted"] = self._repeated
        if self._jobs_met:
            self._report.flags["cpu_kind"] = "JVM"

    @property
    def absent_jobs(self) -> int:
        """How many jobs the numbering of the jobs shows to be absent."""
        return self._highest_job + 1 - self._jobs_met

    def _write_node(self, node: Node) -> None:
        nodes = self._report.of("nodes")
        nodes.seen += 1
        what = f"of executor {node.name[:80]}"
        if node.added is None and node.name in self._block_managers:
            node.added = self._block_managers[node.name]
            node.detail["added_by"] = "block manager"
        requested = self._at(node.requested, "nodes", f"the request {what}")
        added = self._at(node.added, "nodes", f"the registration {what}")
        removed = self._at(node.removed, "nodes", f"the end {what}")
        if requested is not None and added is not None and added < requested:
            self._repair("nodes", f"the request {what} came after its registration: left out")
            requested = None
        if removed is not None and added is not None and removed < added:
            self._repair("nodes", f"the end {what} came before its registration: left out")
            removed = None
        nodes.complete += added is not None
        self._run.add(
            "nodes",
            node=node.index,
            name=node.name,
            kind="cpu",
            cpus=node.cpus,
            memory=node.memory,
            gpus=node.gpus,
            logical=False,
            requested_at=requested,
            added_at=added,
            removed_at=removed,
            detail=_json(node.detail),
        )


def _json(detail: Mapping[str, Any]) -> str:
    return msgspec.json.encode(detail).decode()


def _milliseconds(text: str | None) -> int | None:
    """Return milliseconds since 1970 of a time such as ``2026-11-21T09:00:46.203Z``."""
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text[:40])
        return round(told.replace(tzinfo=told.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
