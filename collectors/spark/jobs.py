"""Jobs: when each arrived and how it ended, a row of ``jobs`` each."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.clock import Clock
from collectors.spark.ordered import Ordered
from collectors.spark.stages import Stages

MOST_STAGES = 100_000
"""Stages of one job that are kept."""


class Job:
    """A job that has not ended."""

    __slots__ = ("arrived", "detail", "index", "name", "stages")

    def __init__(self, index: int, name: str | None, arrived: float) -> None:
        self.index, self.name, self.arrived = index, name, arrived
        self.detail: dict[str, Any] = {}
        self.stages: list[int] = []


class Jobs:
    """Takes the events of jobs.

    Args:
        run: Where the rows go.
        clock: Tells the seconds.
        stages: Learns which stages a job lists, and when it is through with them.
    """

    def __init__(self, run: RunWriter, clock: Clock, stages: Stages) -> None:
        self._report = run.completeness
        self._clock = clock
        self._stages = stages
        self._rows = Ordered(run, "jobs")
        self._open: dict[int, Job] = {}
        self._highest = -1
        self.met = 0
        """How many jobs have arrived."""

    @property
    def absent(self) -> int:
        """How many jobs the numbering of the jobs shows to be absent."""
        return self._highest + 1 - self.met

    def started(self, e: events.JobStart) -> None:
        """Take the start of a job."""
        jobs = self._report.of("jobs")
        jobs.seen += 1
        arrived = self._clock.at(e.at, "jobs", f"the arrival of job {e.job}")
        if arrived is None or e.job in self._open:
            jobs.dropped += 1
            why = "is there twice" if e.job in self._open else "has no time of arrival"
            self._report.note(f"jobs: job {e.job} {why}: left out")
            return
        told = e.properties or events.JobProperties()
        stages = sorted(e.stages, key=lambda s: s.stage)
        name = told.description or told.group or told.call_site
        if not name and stages:
            name = stages[-1].name
        job = Job(self.met, redaction.short(name) if name else None, arrived)
        self.met += 1
        self._highest = max(self._highest, e.job)
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
        self._open[e.job] = job
        infos = {s.stage: s for s in stages}
        listed = sorted({*e.stage_ids, *infos})
        if len(listed) > MOST_STAGES:
            self._report.of("stages").seen += len(listed) - MOST_STAGES
            self._report.of("stages").dropped += len(listed) - MOST_STAGES
            self._report.note(f"stages: job {e.job} lists {len(listed)}: the last are left out")
        job.stages = listed[:MOST_STAGES]
        self._stages.claim(job.index, job.stages, infos)

    def ended(self, e: events.JobEnd) -> None:
        """Take the end of a job."""
        job = self._open.pop(e.job, None)
        if job is None:
            self._report.note(f"jobs: job {e.job} ended but never began: left out")
            return
        finished = self._clock.at(e.at, "jobs", f"the end of job {e.job}")
        if finished is not None and finished < job.arrived:
            self._clock.repair("jobs", f"job {e.job} ended before it arrived: its end is left out")
            finished = None
        result = e.result.result if e.result else None
        status = "done" if result == "JobSucceeded" else "failed" if result else None
        told = e.result.exception if e.result else None
        if told is not None and told.message:
            job.detail["failure"] = redaction.short(told.message.split("\n", 1)[0])
            if re.match(r"Job \d+ cancelled", told.message):
                status = "killed"
        self._report.of("jobs").complete += finished is not None
        self._write(job, finished, status)
        self._stages.release(job.stages)

    def finish(self) -> None:
        """Write the jobs that have not ended."""
        for job in self._open.values():
            self._write(job, None, None)
        self._rows.flush()

    def _write(self, job: Job, finished: float | None, status: str | None) -> None:
        self._rows.add(
            job.index,
            {
                "job": job.index,
                "name": job.name,
                "arrived_at": job.arrived,
                "arrived_seen": job.arrived,
                "finished_at": finished,
                "finished_seen": finished,
                "status": status,
                "detail": msgspec.json.encode(job.detail).decode(),
            },
        )
