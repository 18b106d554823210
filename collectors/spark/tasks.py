"""Tasks: attempts at tasks from their start to their end, a row of ``tasks`` each."""

from __future__ import annotations

from typing import Any

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.clock import Clock
from collectors.spark.executors import Executors
from collectors.spark.places import Places, Seen
from collectors.spark.stages import Attempt, Stages
from collectors.spark.task_rows import UNMEASURED, TaskRows

RUNNING = 1_000_000
"""Attempts without an end that are remembered."""
_NO_READ, _NO_WRITE = events.ShuffleRead(), events.ShuffleWrite()
_NO_INPUT, _NO_OUTPUT = events.Input(), events.Output()
_STATUS = {"Success": "done", "TaskKilled": "killed"}


class Tasks:
    """Takes the events of tasks.

    Args:
        run: Where the rows go.
        clock: Tells the seconds.
        executors: Where attempts run.
        stages: What attempts belong to.
    """

    def __init__(self, run: RunWriter, clock: Clock, executors: Executors, stages: Stages) -> None:
        self._report = run.completeness
        self._count = run.completeness.of("tasks")
        self._clock = clock
        self._executors = executors
        self._stages = stages
        self._rows = TaskRows(run, clock)
        self._running: dict[int, tuple[Any, ...]] = {}
        self._over = Seen()
        self._met = 0
        self._repeated = 0
        self._orphans = 0

    def started(self, e: events.TaskStart) -> None:
        """Take the start of an attempt."""
        info = e.info
        if info.task in self._running or info.task in self._over:
            self._repeat(info.task)
            return
        place = self._place(e.stage, e.attempt, info)
        self._running[info.task] = (place, info)
        if len(self._running) > RUNNING:
            self._give_up(next(iter(self._running)))

    def ended(self, e: events.TaskEnd) -> None:
        """Take the end of an attempt."""
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
        if self._clock.began is None:
            self._clock.at(info.launched, "tasks", f"the start of task {number}")
        if word == "Success":
            status, reason = "done", None
            attempt.places.win(partition)
        else:
            status, reason = self._ending(info, why, word)
        self._add(attempt, task, tried, info, status, reason, e.metrics)

    def cut_off(self) -> None:
        """Write the attempts whose end the log does not tell."""
        for number in list(self._running):
            self._give_up(number)
        self._rows.hand_on()

    def account(self) -> None:
        """Say how many tasks there should be, once all stages are written."""
        missing = self._stages.missing
        self._count.expected = self._count.seen + missing
        if missing:
            self._report.note(
                f"tasks: stages that succeeded announced {missing} tasks more than the log tells of"
            )
        if self._orphans:
            self._report.note(f"tasks: {self._orphans} of stages that no job lists: left out")
        if self._repeated:
            self._report.flags["resubmitted"] = self._repeated

    def _place(self, number: int, stage_attempt: int, info: events.TaskInfo) -> Any:
        """Return attempt of the stage, task and attempt of the task; None for a strange one."""
        stage = self._stages.numbered.get(number)
        attempt = stage.attempts.get(stage_attempt) if stage is not None else None
        if attempt is None and stage is not None and 0 <= stage_attempt < 1 << 31:
            attempt = self._stages.meet(stage, number, stage_attempt)
        self._count.seen += 1
        if attempt is None:
            self._count.dropped += 1
            self._orphans += 1
            return None
        partition = info.partition
        places = attempt.places
        if partition < 0:
            partition = info.index
            if stage_attempt > 0:
                # Before Spark 3.3 a later attempt does not say which partitions it is left with.
                places = self._apart(attempt)
        task, tried = places.attempt(partition, self._met)
        if task == self._met:
            self._met += 1
        return attempt, task, tried, partition

    def _apart(self, attempt: Attempt) -> Places:
        stage = self._stages.numbered[attempt.number]
        if attempt.places is stage.places:
            attempt.places = Places()
            self._report.flags["partitions_of_later_attempts"] = "unknown"
        return attempt.places

    def _repeat(self, task: int) -> None:
        self._count.seen += 1
        self._count.dropped += 1
        self._report.note(f"tasks: task {task} is there twice: left out the second time")

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
        node = self._executors.named.get(info.executor)
        if node is None and info.executor:
            node = self._executors.meet(info.executor, info.host)
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

    def _give_up(self, number: int) -> None:
        """Write an attempt whose end the log does not tell."""
        place, info = self._running.pop(number)
        self._over.add(number)
        if place is None:
            return
        if self._clock.began is None:
            self._clock.at(info.launched, "tasks", f"the start of task {number}")
        attempt, task, tried, _ = place
        self._add(attempt, task, tried, info, "running", None, None)
