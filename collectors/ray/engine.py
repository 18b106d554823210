"""Ray as a live engine: the rollout loop that drives the simulator drives it.

Ready tasks wait in the engine's own queue, first come first served; the head is handed to Ray
the moment a node has room, because Ray's own order among waiting tasks of different shapes
follows no rule that a replay could repeat. An attempt whose worker dies has failed; its task waits
again and is submitted anew.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from collectors import fastq
from collectors.ray.session import LostTaskError, RayNode, following, get, on
from collectors.ray.tasks import PROBE, attempt, payload, sample
from toolkit.decision import decide
from toolkit.errors import EngineError
from toolkit.live import Outcome
from toolkit.scenarios.pipelines import Pipelines, PipelineWorkload
from toolkit.seeding import generator
from toolkit.simulator.rules import first_fit
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    FINISHED,
    KILLED,
    STARTED,
    WAITING,
    apply_event,
    choose_profile,
    initial,
    next_arrival,
    occupy,
    pass_time,
    settle,
)
from toolkit.simulator.world import unknown
from toolkit.workload import CPUS, MEMORY, Workload

ATTEMPTS = 4
"""Attempts of one task before the recording is given up."""


class RayEngine:
    """A live engine: one episode of a workload on Ray.

    Args:
        nodes: Where tasks may run.
        seed: Of the samples.
        reads: A user's own reads to sample from; None generates them.
        scenario: Names the data features.
    """

    def __init__(
        self,
        nodes: Sequence[RayNode],
        seed: int,
        reads: fastq.Pool | None,
        scenario: Pipelines,
    ) -> None:
        self.nodes, self._seed, self._reads, self._scenario = list(nodes), seed, reads, scenario
        self._samples: list[Any] = []
        self._workload: PipelineWorkload | None = None

    @property
    def workload(self) -> PipelineWorkload:
        """The workload with the features that the samples really have."""
        if self._workload is None:
            raise EngineError("the engine was not prepared; call prepare(workload) first")
        return self._workload

    def prepare(self, workload: PipelineWorkload) -> None:
        """Make the input samples and load compiled code, before the clock starts."""
        _load_compiled(workload)
        rows = [
            dict(zip(workload.features, row.tolist(), strict=True)) for row in workload.job_features
        ]
        seeds = generator(self._seed, "samples").integers(0, 2**31, len(rows)).tolist()
        if self._reads is None:
            self._samples = [
                sample.options(num_cpus=1).remote(f, s) for f, s in zip(rows, seeds, strict=True)
            ]
            ray.wait(self._samples, num_returns=len(rows), fetch_local=False)
            self._workload = workload
            return
        measured = []
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "reads.fastq.gz"
            for f, s in zip(rows, seeds, strict=True):
                fastq.write_sample(self._reads, file, int(f["reads"]), s)
                measured.append(fastq.measure(fastq.read(file)))
                self._samples.append(ray.put(payload(file)))
        features = np.array([[m[name] for name in workload.features] for m in measured])
        self._workload = self._scenario.instances(
            np.maximum(features, 1e-3),
            workload.arrival,
            workload.seed,
            estimates=workload.estimates,
            cluster=workload.cluster,
        )

    def start(self, workload: Workload) -> Scene:
        """Start the clock."""
        n = workload.tasks
        w = workload.arrays
        self._queue: deque[int] = deque()
        self._next_job = 0
        self._running: dict[Any, int] = {}
        self._stage = np.zeros(n, dtype=np.int64)
        self._outputs: dict[int, Any] = {}
        self.parents = parents_of(workload)
        self._waiting_children = np.diff(w.child_ptr)
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
        self.took: list[dict[str, float]] = [{} for _ in range(n)]
        self.attempt = np.zeros(n, dtype=np.int64)
        self.failed: list[dict[str, Any]] = []
        self.arrived_seen = np.full(workload.jobs, np.nan)
        self.node_samples: list[dict[str, Any]] = []
        self._last_seen = 0.0
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        self._s, self._state = self._scene.known, self._scene.state
        psutil.cpu_percent()
        self._origin = time.time()
        return self._scene

    def act(self, key: int) -> None:
        """Note the profile of the asked type; tasks submitted from now on have it."""
        choose_profile(self._s, key)

    def advance(self, until: float) -> None:
        """Let Ray run until ``until``, dispatching what becomes ready."""
        s, state = self._s, self._state
        while not state.done:
            now = self._now()
            while next_arrival(s, self._next_job) <= now:
                self._arrive(self._next_job)
                self._next_job += 1
                self._dispatch()
            self._dispatch()
            if now >= until:
                break
            due = float(next_arrival(s, self._next_job))
            patience = max(0.0, min(until, due) - self._now())
            if self._running:
                ready, _ = ray.wait(
                    list(self._running), num_returns=1, timeout=patience, fetch_local=False
                )
                for stream in ready:
                    try:
                        self._listen(stream)
                    except LostTaskError as error:
                        self._fail(stream, error)
            else:
                time.sleep(patience)
        if not state.done:
            pass_time(s, self._seen())
        self._sample_node()

    def measure(self, task: int, places: Mapping[int, int]) -> list[dict[str, Any]]:
        """Run one task under each profile in turn, alone; its parents must have been measured.

        Args:
            task: Which.
            places: The node that each profile is measured on.

        Returns:
            A row of the trace's ``tasks`` per profile, as attempts 0, 1, ….
        """
        w = self.workload.arrays
        job, process = int(w.job_of[task]), self.workload.types[int(w.type_of[task])]
        parents = self.parents[task]
        inputs = [self._outputs[q] for q in parents] if parents else [self._samples[job]]
        rows = []
        for number, (p, node) in enumerate(places.items()):
            cpus, memory = float(w.demand[p, CPUS]), float(w.demand[p, MEMORY])
            submitted = self._now()
            words = iter(self._submit(task, process, cpus, memory, node, inputs))
            started = get(following(words)) - self._origin
            started_seen = self._now()
            outputs = following(words)
            took = get(following(words))
            finished_seen = self._now()
            self._outputs[task] = outputs
            started = min(max(started, submitted), started_seen)
            rows.append(
                {
                    "run": 0,
                    "task": task,
                    "attempt": number,
                    "job": job,
                    "type": process,
                    "node": node,
                    "profile": p,
                    "cpus": cpus,
                    "memory": memory,
                    "decision": None,
                    "ready_at": submitted,
                    "ready_seen": submitted,
                    "submitted_at": submitted,
                    "started_at": started,
                    "started_seen": started_seen,
                    "finished_at": min(
                        max(took["finished"] - self._origin, started), finished_seen
                    ),
                    "finished_seen": finished_seen,
                    "status": "done",
                    **{k: took[k] for k in PROBE},
                }
            )
        return rows

    def outcome(self) -> Outcome:
        """Return what the tasks truly did, by the workers' clocks."""
        finished = self.times["finished"]
        per_job = finished.reshape(self.workload.jobs, -1)
        return Outcome(
            ready=self.times["ready"],
            started=self.times["started"],
            finished=finished,
            profile=self._state.profile.astype(np.int64),
            node=self._state.node.astype(np.int64),
            arrived=self._state.arrived,
            completed=per_job.max(axis=1),
        )

    def _now(self) -> float:
        return time.time() - self._origin

    def _seen(self) -> float:
        """Return the time, never the same twice: the order of events is that of their times."""
        self._last_seen = max(self._now(), self._last_seen + 1e-7)
        return self._last_seen

    def _arrive(self, job: int) -> None:
        w, state = self.workload.arrays, self._state
        at = min(float(next_arrival(self._s, job)), self._now())
        seen = self._seen()
        self.arrived_seen[job] = seen
        apply_event(self._s, ARRIVED, job, at, seen)
        for task in range(int(w.job_ptr[job]), int(w.job_ptr[job + 1])):
            if state.status[task] == WAITING:
                self.times["ready"][task] = at
                self._queue.append(task)

    def _dispatch(self) -> None:
        w = self.workload.arrays
        while self._queue:
            task = self._queue[0]
            p = int(self._state.profile[task])
            cpus, memory = float(w.demand[p, CPUS]), float(w.demand[p, MEMORY])
            m = int(first_fit(self._s, p))
            if m < 0:
                return
            self._queue.popleft()
            occupy(self._s, task, m)
            parents = self.parents[task]
            job = int(w.job_of[task])
            inputs = [self._outputs[q] for q in parents] if parents else [self._samples[job]]
            process = self.workload.types[int(w.type_of[task])]
            self.times["submitted"][task] = self._now()
            self._running[self._submit(task, process, cpus, memory, m, inputs)] = task

    def _submit(
        self, task: int, process: str, cpus: float, memory: float, node: int, inputs: list[Any]
    ) -> Any:
        return attempt.options(
            num_cpus=cpus,
            memory=int(memory),
            num_returns="streaming",
            max_retries=0,
            name=f"{process}-{task}",
            scheduling_strategy=on(self.nodes[node]),
        ).remote(process, max(1, int(cpus)), int(memory), *inputs)

    def _listen(self, stream: Any) -> None:
        """Take the next word of a running task: started, outputs, or finished."""
        task = self._running[stream]
        times = self.times
        word = following(stream)
        stage = int(self._stage[task])
        self._stage[task] += 1
        if stage == 0:
            started = get(word) - self._origin
            seen = self._seen()
            times["started"][task] = min(max(started, times["submitted"][task]), seen)
            times["started_seen"][task] = seen
            apply_event(self._s, STARTED, task, float(times["started"][task]), seen)
        elif stage == 1:
            self._outputs[task] = word
        else:
            took = get(word)
            seen = self._seen()
            del self._running[stream]
            self.took[task] = took
            finished = took["finished"] - self._origin
            times["finished"][task] = min(max(finished, times["started"][task]), seen)
            times["finished_seen"][task] = seen
            apply_event(self._s, FINISHED, task, float(times["finished"][task]), seen)
            self._release(task)

    def _fail(self, stream: Any, error: LostTaskError) -> None:
        """Note an attempt whose worker was lost, and let its task wait again.

        Raises:
            EngineError: When it was the last attempt that is made.
        """
        state, times = self._state, self.times
        task = self._running.pop(stream)
        number = int(self.attempt[task])
        if number + 1 >= ATTEMPTS:
            raise EngineError(
                f"task {task} was lost {ATTEMPTS} times: {error.message}",
                hint="the machine may lack memory: toolkit collect ray.store_memory=80",
            ) from error
        seen = self._seen()
        # When the worker died is not told; that it did is known now.
        self.failed.append(
            {
                "task": task,
                "attempt": number,
                "profile": int(state.profile[task]),
                "node": int(state.node[task]),
                "decision": int(state.decision[task]),
                "ready_seen": float(state.ready[task]),
                **{
                    k: float(times[k][task])
                    for k in ("ready", "submitted", "started", "started_seen")
                },
                "finished": seen,
                "finished_seen": seen,
                "reason": error.message,
            }
        )
        self.attempt[task] += 1
        apply_event(self._s, KILLED, task, seen, seen)
        for name in ("submitted", "started", "started_seen"):
            times[name][task] = np.nan
        times["ready"][task] = seen
        self._stage[task] = 0
        self._outputs.pop(task, None)
        self._queue.append(task)

    def _release(self, task: int) -> None:
        w, state = self.workload.arrays, self._state
        for parent in self.parents[task]:
            self._waiting_children[parent] -= 1
            if self._waiting_children[parent] == 0:
                del self._outputs[parent]
        finished = self.times["finished"]
        for i in range(int(w.child_ptr[task]), int(w.child_ptr[task + 1])):
            child = int(w.children[i])
            if state.status[child] == WAITING:
                self.times["ready"][child] = max(finished[q] for q in self.parents[child])
                self._queue.append(child)

    def _sample_node(self) -> None:
        values = {
            "cpu_percent": psutil.cpu_percent(),
            "load_average": os.getloadavg()[0],
            "available_memory_bytes": float(psutil.virtual_memory().available),
        }
        at = self._now()
        self.node_samples += [
            {"at": at, "node": 0, "metric": m, "value": v} for m, v in values.items()
        ]


def _load_compiled(workload: Workload) -> None:
    scene = Scene(workload=workload, state=initial(workload), world=unknown())
    s = scene.known
    decide(scene)
    choose_profile(s, 0)
    apply_event(s, ARRIVED, 0, 0.0, 0.0)
    next_arrival(s, 1)
    occupy(s, 0, max(0, int(first_fit(s, 0))))
    apply_event(s, STARTED, 0, 0.0, 0.0)
    apply_event(s, FINISHED, 0, 0.0, 0.0)
    pass_time(s, 1.0)
    settle(s, 1.0)


def parents_of(workload: PipelineWorkload) -> list[list[int]]:
    """Return the parents of each task, in the order of the type graph's edges."""
    w = workload.arrays
    types = len(workload.types)
    at = {int(t): i for i, t in enumerate(w.type_of[:types])}
    of_type = [[at[a] for a, b in workload.type_edges if b == t] for t in range(types)]
    return [
        [int(w.job_ptr[w.job_of[i]]) + p for p in of_type[int(w.type_of[i])]]
        for i in range(workload.tasks)
    ]
