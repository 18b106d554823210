"""Batches on a live engine: the rollout loop that drives the simulator drives them.

Before each batch a policy chooses the executors. What follows from the choice (changing the
executors, running the batch) takes place while time passes, so that it is paid in the interval
that the choice opens. The tasks of a batch are read from the event log once it is done, before
anybody is asked again; they are shown to the state in their own order and at their own times.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from collectors.spark import video
from collectors.spark.cluster import last_words
from collectors.spark.events import TaskEnd
from collectors.spark.fleet import Change, Fleet, Live, Shape
from collectors.spark.live_log import MS, Told
from collectors.spark.session import Session
from toolkit.decision import decide
from toolkit.errors import EngineError
from toolkit.live import Outcome, outcome_of
from toolkit.scenarios.batches import MIB, BatchWorkload
from toolkit.simulator.rules import choose, employ, granted, open_epoch
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    BATCH,
    CLOSED,
    DONE,
    FINISHED,
    KILLED,
    NUMBER,
    PRESENT,
    RETURNED,
    RUNNING,
    STAGE,
    STARTED,
    WAITING,
    apply_event,
    begin,
    initial,
    next_arrival,
    occupy,
    pass_time,
    settle,
)
from toolkit.simulator.world import unknown
from toolkit.workload import BYTES, CORES, CPUS, INSTANCES, Workload

_LOG_WITHIN = 30.0


@dataclass(kw_only=True)
class Batch:
    """What became of a batch; times in s since the run began.

    Args:
        job: Which one.
        key: The configuration chosen for it.
        decision: Number of the choice.
        asked: Executors that the configuration asks for.
        granted: Executors that the hosts can hold of them.
        begun: When its executors began to be changed.
        ready: When they were there.
        finished: When it was done, None where it was not.
        change: What the change of executors came to.
        seconds: That the batch took once they were, NaN where it did not run.
        first_on: Executors that had never run a task before.
        routes: Frames that came out, by route.
        stored: Bytes that were written.
        about: Further facts.
    """

    job: int
    key: int
    decision: int
    asked: int
    granted: int
    begun: float
    ready: float = float("nan")
    finished: float | None = None
    change: Change | None = None
    seconds: float = float("nan")
    first_on: int = 0
    routes: Mapping[str, int] = field(default_factory=dict)
    stored: int = 0
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """An attempt of a task as the log tells of it.

    Args:
        task: Index in the workload.
        slot: Of the executor.
        started: s since the run began.
        finished: Likewise.
        done: Whether it did what it was to do.
        attempt: Which of those of the task, in the order of the log.
    """

    task: int
    slot: int
    started: float
    finished: float
    done: bool
    attempt: int = 0


class BatchEngine:
    """The part of a live engine that keeps the state; how a batch is served is left to others."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.samples: list[dict[str, Any]] = []
        self.seen: dict[tuple[str, int], float] = {}
        """When the state was shown the arrival of a job or the end of a task, s."""
        self.tried: dict[tuple[str, int, int], float] = {}
        """When it was shown the start and the end of each attempt of a task, s."""
        self.origin = 0.0

    def prepare(self, workload: BatchWorkload) -> None:
        """Do, before the clock starts, what would delay the first batch."""
        _load_compiled(workload)

    def start(self, workload: Workload) -> Scene:
        """Start the clock."""
        if not isinstance(workload, BatchWorkload):
            raise EngineError("this engine runs batches, and the workload is another")
        self.workload = workload
        self.batches, self.samples, self.seen, self.tried = [], [], {}, {}
        self._next_job = 0
        self._chosen: Batch | None = None
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        self._s, self.state = self._scene.known, self._scene.state
        self.origin = time.time()
        return self._scene

    def act(self, key: int) -> None:
        """Note which executors the batch at hand is to have."""
        s, state = self._s, self.state
        fleets = self.workload.arrays.fleets
        job, number = int(state.cursor[BATCH]), int(state.cursor[NUMBER])
        count = int(granted(s, key))
        choose(s, key)
        employ(s, key, count)
        begin(s, job)
        self._chosen = Batch(
            job=job,
            key=key,
            decision=number,
            asked=int(fleets[key, INSTANCES]),
            granted=count,
            begun=float(state.time[0]),
        )

    def advance(self, until: float) -> None:
        """Serve the batch that was decided on; then wait until the next one is there."""
        s, state = self._s, self.state
        state.cursor[STAGE] = CLOSED
        if self._chosen is not None:
            batch, self._chosen = self._chosen, None
            self.batches.append(batch)
            batch.about["before"] = self._sample()
            self._serve(batch, until)
            batch.about["after"] = self._sample()
        while not state.done:
            now = self.now()
            self._arrive(now)
            if state.cursor[PRESENT] > 0:
                pass_time(s, self.now())
                open_epoch(s, bool(next_arrival(s, self._next_job) < np.inf))
                return
            if now >= until:
                pass_time(s, now)
                return
            due = float(next_arrival(s, self._next_job))
            time.sleep(min(max(0.0, min(until, due) - self.now()), 1.0))

    def outcome(self) -> Outcome:
        """Return what the tasks truly did, by Spark's clock."""
        return outcome_of(self._scene)

    def now(self) -> float:
        """Return the seconds since the run began."""
        return time.time() - self.origin

    def shape(self, key: int) -> Shape:
        """Return cores and MiB of an executor of a configuration."""
        fleet = self.workload.arrays.fleets[key]
        return int(fleet[CORES]), round(float(fleet[BYTES]) / MIB)

    def _serve(self, batch: Batch, until: float) -> None:
        raise NotImplementedError

    def _event(self, kind: int, subject: int, at: float, seen: float | None = None) -> float:
        """Show the state an event; returns when it was shown, never the same twice."""
        shown = max(at if seen is None else seen, float(self.state.time[0]) + 1e-7)
        apply_event(self._s, kind, subject, at, shown)
        return shown

    def _arrive(self, until: float) -> None:
        """Show the state the batches that have arrived."""
        while (due := float(next_arrival(self._s, self._next_job))) <= until:
            self.seen["arrived", self._next_job] = self._event(ARRIVED, self._next_job, due)
            self._next_job += 1

    def _show(self, attempts: Sequence[Ran], ended: float) -> None:
        """Show the state what the tasks of a batch did, and what arrived meanwhile."""
        events = []
        for i, ran in enumerate(attempts):
            # At one instant what ends makes room before something starts.
            events.append((ran.started, 1, i))
            events.append((max(ran.finished, ran.started + 1e-6), 0, i))
        last = max((at for at, _, _ in events), default=ended)
        behind: list[Ran] = []
        for at, starts, i in sorted(events):
            ran = attempts[i]
            self._arrive(min(at, ended))
            if starts:
                # Spark gives a slot away some ms before it notes that the last task has ended.
                if self.state.free[ran.slot, CPUS] < 1.0 - 1e-9:
                    behind.append(ran)
                else:
                    self._begin(ran)
                continue
            if ran in behind:
                behind.remove(ran)
                self._begin(ran)
            # That the last one is done is known when the log has been read.
            self._end(ran, ended if at == last else at)
            for other in [r for r in behind if r.slot == ran.slot][:1]:
                behind.remove(other)
                self._begin(other)

    def _begin(self, ran: Ran) -> None:
        if self.state.status[ran.task] == WAITING:
            occupy(self._s, ran.task, ran.slot)
            shown = self._event(STARTED, ran.task, ran.started)
            self.seen["started", ran.task] = shown
            self.tried["started", ran.task, ran.attempt] = shown

    def _end(self, ran: Ran, seen: float) -> None:
        if self.state.status[ran.task] == RUNNING and self.state.node[ran.task] == ran.slot:
            kind = FINISHED if ran.done else KILLED
            shown = self._event(kind, ran.task, ran.finished, seen)
            self.tried["finished", ran.task, ran.attempt] = shown
            if ran.done:
                self.seen["finished", ran.task] = shown

    def _sample(self) -> dict[str, float]:
        at, found = self.now(), readings()
        self.samples += [
            {"at": at, "node": None, "metric": metric, "value": value}
            for metric, value in found.items()
        ]
        return found


def readings() -> dict[str, float]:
    """Return what this machine says of how busy it is."""
    found = {"load_average": os.getloadavg()[0]}
    try:
        words = Path("/proc/pressure/cpu").read_text().split()
        found["cpu_pressure_10s_percent"] = float(words[1].partition("=")[2])
    except (OSError, ValueError, IndexError):
        pass
    try:
        words = Path("/proc/stat").read_text().partition("\n")[0].split()
        found["stolen_cpu_seconds"] = int(words[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        pass
    return found


@dataclass(frozen=True, kw_only=True)
class Seated:
    """An executor that came into a slot.

    Args:
        executor: Spark's name of it.
        slot: Which.
        at: When, s since the run began.
        shown: When the state was shown it; None where it took the place of one that died.
    """

    executor: str
    slot: int
    at: float
    shown: float | None


class SparkEngine(BatchEngine):
    """A live engine: one episode of batches in one SparkContext.

    Args:
        session: A Spark that runs.
        fleet: Changes its executors.
        stages: Names of the stages of the pipeline.
        size: Width and height of the cameras' frames, pixels.
    """

    def __init__(
        self, session: Session, fleet: Fleet, stages: Sequence[str], size: tuple[int, int]
    ) -> None:
        super().__init__()
        self._session, self._fleet = session, fleet
        self._stages, self._size = tuple(stages), size
        self.slot_of: dict[str, int] = {}
        """The slot that each executor had last."""
        self.seated: list[Seated] = []
        """Every executor that came into a slot, in that order."""
        self.stages_of: dict[int, list[int]] = {}
        """Spark's ids of the stages of each batch, in the order of the pipeline."""
        self.probes: dict[tuple[int, int, int], video.Probe] = {}
        """What the workers measured, by batch, stage and partition."""
        self._used: set[str] = set()
        self._slots: list[str] = []

    def prepare(self, workload: BatchWorkload) -> None:
        """Stop every executor and load compiled code, before the clock starts."""
        super().prepare(workload)
        self._fleet.clear()
        self.slot_of, self.seated, self._slots, self._used = {}, [], [], set()
        self.stages_of, self.probes = {}, {}

    @property
    def told(self) -> Told:
        """What Spark's event log has said so far."""
        return self._session.log.refresh()

    def _serve(self, batch: Batch, until: float) -> None:
        self._change(batch)
        group = f"run {self.origin:.3f} batch {batch.job}"
        settings = video.Settings(
            frames=int(self.workload.frames[batch.job]),
            seed=int(self.workload.seed * 1_000_003 + batch.job),
            width=self._size[0],
            height=self._size[1],
            folder=str(self._session.folder / "stored"),
        )
        context = self._session.context
        probes = context.accumulator([], video.Appended())
        context.setJobGroup(group, f"{settings.frames} frames")
        known = len(self.told.tasks)
        batch.ready = self.now()
        began = time.monotonic()
        late = threading.Timer(
            min(max(0.1, until - batch.ready), threading.TIMEOUT_MAX),
            context.cancelJobGroup,
            [group],
        )
        late.daemon = True
        late.start()
        try:
            batch.routes = video.run(
                context,
                self._fleet.profile(self.shape(batch.key)),
                self._stages,
                int(self.workload.partitions[batch.job]),
                settings,
                probes.add,
            )
        except Exception as error:
            # py4j has errors of many kinds, all of which mean that Spark did not do it.
            if self.now() < until:
                raise _failed(error, self._session) from error
        finally:
            late.cancel()
        batch.seconds = time.monotonic() - began
        told = self._session.log.wait(lambda t: _ended(t, group), _LOG_WITHIN)
        ended = self.now()
        jobs = [j for j in told.jobs if told.group_of(j) == group]
        if len(jobs) != 1:
            raise EngineError(f"batch {batch.job} ran as {len(jobs)} Spark jobs, not one")
        start, end = told.jobs[jobs[0]], told.job_ends[jobs[0]]
        self.stages_of[batch.job] = sorted(start.stage_ids)
        for probe in probes.value:
            self.probes[batch.job, probe.stage, probe.partition] = probe
        own = [t for t in told.tasks[known:] if t.stage in start.stage_ids]
        ran_on = {t.info.executor for t in own}
        batch.first_on = len(ran_on - self._used)
        self._used |= ran_on
        self._show(self._attempts(batch, own), ended)
        if end.result is not None and end.result.result == "JobSucceeded":
            batch.finished = ended if end.at is None else end.at * MS - self.origin
        stored = Path(settings.folder)
        batch.stored = sum(f.stat().st_size for f in stored.glob("*")) if stored.is_dir() else 0
        shutil.rmtree(stored, ignore_errors=True)

    def _change(self, batch: Batch) -> None:
        """Bring the executors to what was chosen, and show the state each as it comes up."""
        stay = {e for m, e in enumerate(self._slots) if m < batch.granted and self.state.up[m]}
        first = [e for e in self._slots if e in stay]
        free = [m for m in range(batch.granted) if m >= len(self._slots) or not self.state.up[m]]

        def see(one: Live) -> None:
            if one.id in stay or not free:
                return
            m = free.pop(0)
            self.slot_of[one.id] = m
            at = min(one.added - self.origin, self.now())
            self._arrive(self.now())
            shown = self._event(RETURNED, m, at, self.now())
            self.seated.append(Seated(executor=one.id, slot=m, at=at, shown=shown))

        change = self._fleet.change(self.shape(batch.key), batch.granted, first, see)
        there = {e.id for e in change.executors}
        for m, e in enumerate(self._slots):
            if e in stay and e not in there:
                # It died by itself; whoever came instead has its slot.
                heir = next((x.id for x in change.executors if x.id not in self.slot_of), None)
                if heir is not None:
                    self.slot_of[heir] = m
                    now = self.now()
                    self.seated.append(Seated(executor=heir, slot=m, at=now, shown=None))
        slots = sorted((self.slot_of[e.id], e.id) for e in change.executors)
        self._slots = [e for _, e in slots]
        batch.change = change

    def _attempts(self, batch: Batch, tasks: Sequence[TaskEnd]) -> list[Ran]:
        w = self.workload.arrays
        stages = {s: i for i, s in enumerate(self.stages_of[batch.job])}
        partitions = int(self.workload.partitions[batch.job])
        if len(stages) != len(self._stages):
            raise EngineError(f"Spark made {len(stages)} stages of {len(self._stages)}")
        first = int(w.job_ptr[batch.job])
        attempts: dict[int, int] = {}
        found = []
        for t in tasks:
            task = first + stages[t.stage] * partitions + partition_of(t)
            number = attempts.get(task, 0)
            attempts[task] = number + 1
            found.append(
                Ran(
                    task=task,
                    slot=self.slot_of.get(t.info.executor, 0),
                    started=t.info.launched * MS - self.origin,
                    finished=t.info.finished * MS - self.origin,
                    done=succeeded(t),
                    attempt=number,
                )
            )
        return sorted(found, key=lambda r: (r.started, r.task))


def succeeded(task: TaskEnd) -> bool:
    """Return whether an attempt of a task did what it was to do."""
    return task.reason is not None and task.reason.reason == "Success"


def partition_of(task: TaskEnd) -> int:
    """Return the partition of a task; its index differs where a stage was tried again in part."""
    return task.info.partition if task.info.partition >= 0 else task.info.index


def _ended(told: Told, group: str) -> bool:
    return any(told.group_of(j) == group for j in told.job_ends if j in told.jobs)


def _failed(error: Exception, session: Session) -> EngineError:
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage()) if java is not None else str(error)
    told = [x.strip() for x in text.splitlines() if x.strip()]
    python = [x for x in told if ": " in x and x.partition(":")[0].endswith(("Error", "Exception"))]
    why = (python or told or [last_words(session.folder / "driver.log")])[-1 if python else 0]
    return EngineError(
        f"a batch failed on Spark: {why[:300]}", hint="to see the whole error: add --traceback"
    )


def _load_compiled(workload: Workload) -> None:
    """Let what is compiled be loaded before the clock runs."""
    scene = Scene(workload=workload, state=initial(workload), world=unknown())
    s, state = scene.known, scene.state
    apply_event(s, ARRIVED, 0, 0.0, 0.0)
    next_arrival(s, 1)
    open_epoch(s, True)
    decide(scene)
    choose(s, 0)
    employ(s, 0, int(granted(s, 0)))
    begin(s, 0)
    first = int(workload.arrays.job_ptr[0])
    occupy(s, first, 0)
    apply_event(s, STARTED, first, 0.0, 0.0)
    apply_event(s, FINISHED, first, 0.0, 0.0)
    assert state.status[first] == DONE
    pass_time(s, 1.0)
    settle(s, 1.0)
