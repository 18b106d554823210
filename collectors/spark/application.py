"""Application: the events of one Spark application become the rows of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.clock import Clock
from collectors.spark.executors import Executors
from collectors.spark.jobs import Jobs
from collectors.spark.queries import Queries
from collectors.spark.resources import Resources
from collectors.spark.stages import Stages
from collectors.spark.tasks import Tasks


class Application:
    """Takes the events of one application in the order of its log.

    Args:
        run: Where the rows go.
    """

    def __init__(self, run: RunWriter) -> None:
        self._report = run.completeness
        self.version: str | None = None
        self.jvm: dict[str, str] = {}
        self.app: str | None = None
        self.name: str | None = None
        self.attempt: str | None = None
        self.ended: float | None = None
        self._clock = clock = Clock(self._report)
        self._resources = Resources()
        self._executors = executors = Executors(run, clock, self._resources)
        self._stages = stages = Stages(run, clock, self._resources)
        self._jobs = jobs = Jobs(run, clock, stages)
        self._tasks = tasks = Tasks(run, clock, executors, stages)
        self._queries = queries = Queries(run, clock)
        self.take: Mapping[type[msgspec.Struct], Callable[[Any], None]] = {
            events.LogStart: self._log_start,
            events.ApplicationStart: self._start,
            events.ApplicationEnd: self._end,
            events.EnvironmentUpdate: self._environment,
            events.ResourceProfileAdded: self._resources.profile_added,
            events.ExecutorAdded: executors.added,
            events.ExecutorRemoved: executors.removed,
            events.BlockManagerAdded: executors.block_manager_added,
            events.JobStart: jobs.started,
            events.JobEnd: jobs.ended,
            events.StageSubmitted: stages.submitted,
            events.StageCompleted: stages.completed,
            events.TaskStart: tasks.started,
            events.TaskEnd: tasks.ended,
            events.ExecutionStart: queries.execution_started,
            events.ExecutionEnd: queries.execution_ended,
            events.QueryStarted: queries.query_started,
            events.QueryProgress: queries.query_progressed,
            events.QueryTerminated: queries.query_terminated,
        }
        """Where each kind of event goes."""

    @property
    def began(self) -> int | None:
        """Milliseconds since 1970 of time 0."""
        return self._clock.began

    @property
    def properties(self) -> Mapping[str, str]:
        """Settings by name."""
        return self._resources.properties

    @property
    def absent_jobs(self) -> int:
        """How many jobs the numbering of the jobs shows to be absent."""
        return self._jobs.absent

    def finish(self) -> None:
        """Write what the log left open, and the executors; complete the report."""
        # Attempts that were cut off may name executors, and stages count the tasks they had.
        self._tasks.cut_off()
        self._jobs.finish()
        self._stages.finish()
        self._queries.finish()
        self._executors.finish()
        self._tasks.account()
        if self._jobs.met:
            self._report.flags["cpu_kind"] = "JVM"

    def _log_start(self, e: events.LogStart) -> None:
        if e.version:
            self.version = e.version[:40]

    def _start(self, e: events.ApplicationStart) -> None:
        if e.app:
            self.app = redaction.place(e.app)
        if e.name:
            self.name = redaction.short(e.name)
        if e.attempt:
            self.attempt = e.attempt[:80]
        if self._clock.began is None and e.at is not None and e.at > 0:
            self._clock.began = e.at

    def _end(self, e: events.ApplicationEnd) -> None:
        self.ended = self._clock.at(e.at, "jobs", "the end of the application") or 0.0

    def _environment(self, e: events.EnvironmentUpdate) -> None:
        self.jvm = {k[:80]: v[:200] for k, v in list(e.jvm.items())[:50]}
        properties = {k[:200]: v[:4000] for k, v in list(e.spark.items())[:5000]}
        self._resources.properties = properties
