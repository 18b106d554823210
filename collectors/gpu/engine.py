"""Torch tasks on real devices as a live engine: the loop that drives the simulator drives it.

A task is handed over the moment the policy has chosen a node for it; the outputs of its parents
move then. When its data were there and it began is known only once it has begun: until then the
state says what the links promise, from then on what happened.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from collectors.gpu.messages import Began, Done, Event, Failed, Moved, Took
from collectors.gpu.workers import Workers
from toolkit.decision import decide
from toolkit.errors import EngineError
from toolkit.live import Outcome
from toolkit.seeding import generator
from toolkit.simulator.placing import answer, ask, begun
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    CLOSED,
    FINISHED,
    STAGE,
    WAITING,
    apply_event,
    initial,
    next_arrival,
    pass_time,
    settle,
)
from toolkit.simulator.world import unknown
from toolkit.workflows.operations import parsed
from toolkit.workload import Workload

PERIOD = 0.5
"""Seconds between two samples of the machine."""
_GRACE = 120.0
"""Seconds that tasks which outlive their episode may take to end."""


def machine() -> dict[str, float]:
    """Return what the host says of itself now, by the name of the metric."""
    found = {
        "cpu_percent": psutil.cpu_percent(),
        "load_average": os.getloadavg()[0],
        "available_memory_bytes": float(psutil.virtual_memory().available),
    }
    clock = psutil.cpu_freq()
    return found if clock is None else {**found, "cpu_mhz": float(clock.current)}


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The output of a parent moved to the node of a child; seconds since the start."""

    parent: int
    child: int
    bytes: float
    began: float
    ended: float


class GpuEngine:
    """A live engine: one episode of a workload of torch tasks.

    Args:
        workers: The devices, in the order of the workload's nodes.
        seed: Of the tasks' own numbers.
    """

    def __init__(self, workers: Workers, seed: int) -> None:
        self._workers, self._seed = workers, seed
        self._scene: Scene | None = None

    def prepare(self, workload: Workload) -> None:
        """Load compiled code, before the clock starts."""
        scene = Scene(workload=workload, state=initial(workload), world=unknown())
        s = scene.known
        apply_event(s, ARRIVED, 0, 0.0, 0.0)
        next_arrival(s, 1)
        ask(scene)
        for _ in range(2):
            decision = decide(scene)
            task = answer(scene, int(decision.keys[np.flatnonzero(decision.mask)[-1]]))
        begun(scene, task, 0.0, 0.0)
        apply_event(s, FINISHED, task, 0.0, 0.0)
        settle(s, 1.0)

    def start(self, workload: Workload) -> Scene:
        """Start the clock."""
        n, w = workload.tasks, workload.arrays
        self.workload = workload
        self._work = [parsed(t) for t in workload.types]
        self._seeds = generator(self._seed, "numbers").integers(0, 2**31, n).tolist()
        self._children_left = np.diff(w.child_ptr)
        self._next_job = 0
        self._last_seen = self._sampled = 0.0
        self.times = {
            name: np.full(n, np.nan)
            for name in (
                "ready",
                "submitted",
                "started",
                "started_seen",
                "finished",
                "finished_seen",
            )
        }
        self.took: list[Took | None] = [None] * n
        self.transfers: list[Transfer] = []
        self.samples: list[dict[str, Any]] = []
        self.arrived_seen = np.full(workload.jobs, np.nan)
        self._workers.clear()
        scene = Scene(workload=workload, state=initial(workload), world=unknown())
        self._scene, self._s, self._state = scene, scene.known, scene.state
        psutil.cpu_percent()
        self.began_unix = time.time()
        self._origin = time.monotonic()
        return scene

    def act(self, key: int) -> None:
        """Carry out a choice; a task that has its node goes there."""
        task = answer(self._started(), key)
        if task < 0:
            return
        operation, size = self._work[int(self.workload.arrays.type_of[task])]
        node = self._state.node
        self.times["submitted"][task] = max(self._now(), float(self._state.time[0]))
        self._workers.run(
            key,
            task,
            operation.name,
            size,
            self._seeds[task],
            [(p, int(node[p])) for p in self.parents(task)],
        )

    def advance(self, until: float) -> None:
        """Let the devices run until a choice is due, ``until``, or every job has finished."""
        state, s = self._state, self._s
        scene = self._started()
        state.cursor[STAGE] = CLOSED
        while not state.done:
            happened = self._arrivals()
            for _, event in self._workers.wait(0.0 if happened else self._patience(until)):
                happened = self._hear(event) or happened
            happened = self._arrivals() or happened
            self._sample()
            if happened and not state.done and ask(scene):
                return
            if self._now() >= until or (not self._busy and next_arrival(s, self._next_job) > until):
                break
        if not state.done:
            pass_time(s, until)

    def parents(self, task: int) -> list[int]:
        """Return the parents of a task."""
        w = self.workload.arrays
        return w.parents[w.parent_ptr[task] : w.parent_ptr[task + 1]].tolist()

    def outcome(self) -> Outcome:
        """Return what the tasks truly did, by the clock of the machine."""
        state, times = self._state, self.times
        return Outcome(
            ready=times["ready"],
            started=times["started"],
            finished=times["finished"],
            profile=state.profile.astype(np.int64),
            node=state.node.astype(np.int64),
            arrived=state.arrived,
            completed=np.maximum.reduceat(
                times["finished"], self.workload.arrays.job_ptr[:-1].astype(np.int64)
            ),
        )

    def drain(self) -> None:
        """Wait for what still runs after the end of an episode, and forget all outputs."""
        if self._busy:
            self._workers.finish(int(self._state.running.sum()), _GRACE)
        self._workers.clear()

    @property
    def _busy(self) -> bool:
        return bool(self._state.running.any())

    def _started(self) -> Scene:
        if self._scene is None:
            raise EngineError("the engine was not started; call start(workload) first")
        return self._scene

    def _patience(self, until: float) -> float:
        due = min(until, float(next_arrival(self._s, self._next_job)))
        return min(PERIOD, max(0.0, due - self._now()))

    def _now(self) -> float:
        return time.monotonic() - self._origin

    def _seen(self) -> float:
        """Return the time, never the same twice: the order of events is that of their times."""
        self._last_seen = max(self._now(), self._last_seen + 1e-7)
        return self._last_seen

    def _arrivals(self) -> bool:
        """Let the jobs arrive that are due; return whether there were any."""
        came = False
        while (at := float(next_arrival(self._s, self._next_job))) <= self._now():
            job = self._next_job
            self._next_job += 1
            seen = self._seen()
            self.arrived_seen[job] = seen
            apply_event(self._s, ARRIVED, job, at, seen)
            w = self.workload.arrays
            tasks = np.arange(w.job_ptr[job], w.job_ptr[job + 1])
            self.times["ready"][tasks[self._state.status[tasks] == WAITING]] = at
            came = True
        return came

    def _hear(self, event: Event) -> bool:
        """Take a worker's word; return whether a choice may be due after it."""
        times = self.times
        if isinstance(event, Failed):
            name = self.workload.types[int(self.workload.arrays.type_of[event.task])]
            raise EngineError(
                f"task {event.task} ({name}) failed: {event.why}",
                hint="if memory is short, leave out the greatest sizes of the scenario",
            )
        if isinstance(event, Moved):
            self.transfers.append(
                Transfer(
                    parent=event.parent,
                    child=event.child,
                    bytes=event.bytes,
                    began=event.began - self._origin,
                    ended=event.ended - self._origin,
                )
            )
        elif isinstance(event, Began):
            task, seen = event.task, self._seen()
            at = min(max(event.at - self._origin, times["submitted"][task]), seen)
            times["started"][task], times["started_seen"][task] = at, seen
            begun(self._started(), task, float(at), seen)
        elif isinstance(event, Done):
            task, seen = event.task, self._seen()
            at = min(max(event.at - self._origin, times["started"][task]), seen)
            times["finished"][task], times["finished_seen"][task] = at, seen
            self.took[task] = event.took
            apply_event(self._s, FINISHED, task, float(at), seen)
            self._release(task)
            return True
        return False

    def _release(self, task: int) -> None:
        """Let children wait whose last parent this was; drop outputs that nobody needs."""
        w, state = self.workload.arrays, self._state
        for p in [task, *self.parents(task)]:
            self._children_left[p] -= p != task
            if self._children_left[p] == 0:
                self._workers.drop(int(state.node[p]), p)
        finished = self.times["finished"]
        for child in w.children[w.child_ptr[task] : w.child_ptr[task + 1]]:
            if state.status[child] == WAITING:
                self.times["ready"][child] = max(finished[q] for q in self.parents(int(child)))

    def _sample(self) -> None:
        now = self._now()
        if now - self._sampled < PERIOD:
            return
        self._sampled = now
        self.samples += [{"at": now, "metric": m, "value": v} for m, v in machine().items()]
