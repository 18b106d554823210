"""Stages: their attempts, a row of ``stages`` each, and the edges between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.clock import Clock
from collectors.spark.ordered import Ordered
from collectors.spark.places import Places
from collectors.spark.resources import Resources

KEPT = 20_000
"""Stages that are remembered after their jobs have ended, for attempts that end later."""


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


class Stages:
    """Takes the events of stages.

    Args:
        run: Where the rows go.
        clock: Tells the seconds.
        resources: What the tasks of a stage ask for.
    """

    def __init__(self, run: RunWriter, clock: Clock, resources: Resources) -> None:
        self._run = run
        self._report = run.completeness
        self._clock = clock
        self._resources = resources
        self._rows = Ordered(run, "stages")
        self._met = 0
        self._retired: deque[int] = deque()
        self.numbered: dict[int, Stage] = {}
        """The stages that are remembered, by Spark's number."""
        self.missing = 0
        """Tasks that stages which succeeded announced and the log does not tell of."""

    def claim(
        self, job: int, numbers: Sequence[int], infos: Mapping[int, events.StageInfo]
    ) -> None:
        """Take the stages that a job lists.

        Args:
            job: Index of the job.
            numbers: Which stages, in ascending order.
            infos: What the start of the job says of them, by number.
        """
        for number in numbers:
            stage = self.numbered.get(number)
            if stage is None:
                stage = self.numbered[number] = Stage(job, Places())
                self.meet(stage, number, 0)
            info = infos.get(number)
            if info is not None:
                stage.parents = stage.parents or info.parents
                attempt = stage.attempts.get(info.attempt)
                if attempt is not None and attempt.submitted is None:
                    self._describe(attempt, info)
            stage.active += 1

    def release(self, numbers: Sequence[int]) -> None:
        """Let go of the stages of a job that has ended."""
        for number in numbers:
            stage = self.numbered.get(number)
            if stage is None:
                continue
            stage.active -= 1
            if stage.active == 0:
                self._leave(stage)
                self._retired.append(number)
        while len(self._retired) > KEPT:
            self._forget(self._retired.popleft())

    def submitted(self, e: events.StageSubmitted) -> None:
        """Take the submission of an attempt."""
        attempt = self._attempt_of(e.info)
        if attempt is None or attempt.written:
            return
        self._describe(attempt, e.info)
        if attempt.submitted is None:
            what = f"the submission of stage {attempt.number}"
            attempt.submitted = self._clock.at(e.info.submitted, "stages", what)
            stage = self.numbered[attempt.number]
            stage.parents = e.info.parents or stage.parents
            self._connect(stage, attempt)

    def completed(self, e: events.StageCompleted) -> None:
        """Take the end of an attempt."""
        attempt = self._attempt_of(e.info)
        if attempt is None or attempt.written:
            return
        self._describe(attempt, e.info)
        what = f"stage {attempt.number}"
        if attempt.submitted is None:
            attempt.submitted = self._clock.at(
                e.info.submitted, "stages", f"the submission of {what}"
            )
            self._connect(self.numbered[attempt.number], attempt)
        finished = self._clock.at(e.info.completed, "stages", f"the end of {what}")
        if finished is not None and attempt.submitted is not None and finished < attempt.submitted:
            self._clock.repair(
                "stages", f"{what} ended before it was submitted: its end is left out"
            )
            finished = None
        attempt.finished = finished
        if e.info.failure:
            attempt.status = "failed"
            attempt.failure = redaction.short(e.info.failure.split("\n", 1)[0])
        else:
            attempt.status = "done"
            self.numbered[attempt.number].succeeded = True
        self._write(attempt)

    def meet(self, stage: Stage, number: int, attempt: int) -> Attempt:
        """Return a fresh attempt of a stage."""
        made = Attempt(self._met, number, attempt, stage.job, stage.places)
        self._met += 1
        self._report.of("stages").seen += 1
        stage.attempts[attempt] = made
        return made

    def finish(self) -> None:
        """Write the attempts that the log left open."""
        for stage in self.numbered.values():
            for attempt in stage.attempts.values():
                if not attempt.written:
                    self._connect(stage, attempt)
                    self._write(attempt)
            self._account(stage)
        self._rows.flush()

    def _attempt_of(self, info: events.StageInfo) -> Attempt | None:
        """Return the row of a stage's attempt, a fresh one where it is new."""
        stage = self.numbered.get(info.stage)
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
            found = self.meet(stage, info.stage, info.attempt)
        return found

    def _describe(self, attempt: Attempt, info: events.StageInfo) -> None:
        if info.name:
            attempt.name = redaction.place(info.name)
        if info.tasks is not None and 0 <= info.tasks < 1 << 31:
            attempt.tasks = info.tasks
        attempt.profile = info.profile
        needs = self._resources.of_task(info.profile)
        attempt.cpus = needs.get("cpus", attempt.cpus)
        attempt.gpus = needs.get("gpus", attempt.gpus)

    def _connect(self, stage: Stage, child: Attempt) -> None:
        """Write the edges from the latest attempts of a stage's parents."""
        if child.connected:
            return
        child.connected = True
        edges = self._report.of("edges")
        for number in sorted(set(stage.parents)):
            edges.seen += 1
            parent = self.numbered.get(number)
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

    def _leave(self, stage: Stage) -> None:
        """Write the stages that a job listed and never needed."""
        for attempt in stage.attempts.values():
            if attempt.submitted is None and not attempt.written and attempt.places.seen == 0:
                attempt.status = "skipped"
                self._connect(stage, attempt)
                self._write(attempt)

    def _forget(self, number: int) -> None:
        stage = self.numbered.get(number)
        if stage is None or stage.active:
            return
        for attempt in stage.attempts.values():
            if not attempt.written:
                self._write(attempt)
        self._account(stage)
        del self.numbered[number]

    def _account(self, stage: Stage) -> None:
        """Count the tasks that a stage which succeeded must have had."""
        if stage.succeeded:
            announced = max((a.tasks or 0 for a in stage.attempts.values()), default=0)
            places = {id(a.places): a.places for a in stage.attempts.values()}
            self.missing += max(0, announced - sum(p.done for p in places.values()))

    def _write(self, attempt: Attempt) -> None:
        attempt.written = True
        detail: dict[str, Any] = {"id": attempt.number}
        if attempt.profile is not None:
            detail["resource_profile"] = attempt.profile
        if attempt.failure:
            detail["failure"] = attempt.failure
        told = attempt.submitted is not None and attempt.finished is not None
        self._report.of("stages").complete += told or attempt.status == "skipped"
        self._rows.add(
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
                "detail": msgspec.json.encode(detail).decode(),
            },
        )
