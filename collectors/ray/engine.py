"""Ray as a live engine: the rollout loop that drives the simulator drives it.

Ready tasks wait in the engine's own queue, first come first served; the head is handed to Ray
the moment a node has room, because Ray's own order among waiting tasks of different shapes
follows no rule that a replay could repeat.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from collectors import fastq
from collectors.ray.session import RayNode, get, on
from collectors.ray.tasks import PROBE, attempt, payload, sample
from toolkit.decision import decide
from toolkit.errors import EngineError
from toolkit.live import Outcome
from toolkit.scenario import Pipelines
from toolkit.seeding import generator
from toolkit.simulator.kernel import first_fit
from toolkit.simulator.state import (
    ARRIVED,
    FINISHED,
    STARTED,
    WAITING,
    State,
    apply_event,
    initial,
    pass_time,
)
from toolkit.workload import Workload


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
        self._workload: Workload | None = None

    @property
    def workload(self) -> Workload:
        """The workload with the features that the samples really have."""
        if self._workload is None:
            raise EngineError("the engine was not prepared; call prepare(workload) first")
        return self._workload

    def prepare(self, workload: Workload) -> None:
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

    def start(self, workload: Workload) -> State:
        """Start the clock."""
        n = workload.tasks
        w = workload.arrays
        self._free_cpus, self._free_memory = w.node_cpus.copy(), w.node_memory.copy()
        self._queue: deque[int] = deque()
        self._next_job = 0
        self._running: dict[Any, int] = {}
        self._stage = np.zeros(n, dtype=np.int64)
        self._outputs: dict[int, Any] = {}
        self.parents = parents_of(workload)
        self._waiting_children = np.diff(w.child_ptr)
        self.node = np.full(n, -1, dtype=np.int64)
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
        self.arrived_seen = np.full(workload.jobs, np.nan)
        self.node_samples: list[dict[str, Any]] = []
        self._last_seen = 0.0
        self._state = initial(workload)
        psutil.cpu_percent()
        self._origin = time.time()
        return self._state

    def advance(self, state: State, until: float) -> State:
        """Let Ray run until ``until``, dispatching what becomes ready."""
        w = self.workload.arrays
        while not state.done:
            now = self._now()
            while self._next_job < len(w.arrival) and w.arrival[self._next_job] <= now:
                self._arrive(state, self._next_job)
                self._next_job += 1
                self._dispatch(state)
            self._dispatch(state)
            if now >= until:
                break
            due = w.arrival[self._next_job] if self._next_job < len(w.arrival) else np.inf
            patience = max(0.0, min(until, due) - self._now())
            if self._running:
                ready, _ = ray.wait(
                    list(self._running), num_returns=1, timeout=patience, fetch_local=False
                )
                for stream in ready:
                    self._listen(state, stream)
            else:
                time.sleep(patience)
        if not state.done:
            pass_time(state, w, self._seen())
        self._sample_node()
        return state

    def measure(self, task: int, profiles: Sequence[int]) -> list[dict[str, Any]]:
        """Run one task under each profile in turn, alone; its parents must have been measured.

        Returns:
            A row of the trace's ``tasks`` per profile, as attempts 0, 1, ….
        """
        w = self.workload.arrays
        job, process = int(w.job_of[task]), self.workload.types[int(w.type_of[task])]
        parents = self.parents[task]
        inputs = [self._outputs[q] for q in parents] if parents else [self._samples[job]]
        rows = []
        for number, p in enumerate(profiles):
            cpus, memory = float(w.cpus[p]), float(w.memory[p])
            submitted = self._now()
            words = iter(self._submit(task, process, cpus, memory, 0, inputs))
            started = get(next(words)) - self._origin
            started_seen = self._now()
            outputs = next(words)
            took = get(next(words))
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
                    "node": 0,
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
            profile=self._state.profile,
            node=self.node,
            arrived=self.workload.arrival,
            completed=per_job.max(axis=1),
        )

    def _now(self) -> float:
        return time.time() - self._origin

    def _seen(self) -> float:
        """Return the time, never the same twice: the order of events is that of their times."""
        self._last_seen = max(self._now(), self._last_seen + 1e-7)
        return self._last_seen

    def _arrive(self, state: State, job: int) -> None:
        w = self.workload.arrays
        seen = self._seen()
        self.arrived_seen[job] = seen
        apply_event(state, w, ARRIVED, job, seen)
        for task in range(int(w.job_ptr[job]), int(w.job_ptr[job + 1])):
            if state.status[task] == WAITING:
                self.times["ready"][task] = w.arrival[job]
                self._queue.append(task)

    def _dispatch(self, state: State) -> None:
        w = self.workload.arrays
        while self._queue:
            task = self._queue[0]
            p = int(state.profile[task])
            cpus, memory = float(w.cpus[p]), float(w.memory[p])
            m = int(first_fit(self._free_cpus, self._free_memory, cpus, memory))
            if m < 0:
                return
            self._queue.popleft()
            self._free_cpus[m] -= cpus
            self._free_memory[m] -= memory
            self.node[task] = m
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

    def _listen(self, state: State, stream: Any) -> None:
        """Take the next word of a running task: started, outputs, or finished."""
        task = self._running[stream]
        times, w = self.times, self.workload.arrays
        try:
            word = next(stream)
        except StopIteration as error:
            raise EngineError(f"task {task} ended on Ray without saying so") from error
        stage = int(self._stage[task])
        self._stage[task] += 1
        if stage == 0:
            started = get(word) - self._origin
            seen = self._seen()
            times["started"][task] = min(max(started, times["submitted"][task]), seen)
            times["started_seen"][task] = seen
            apply_event(state, w, STARTED, task, seen)
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
            apply_event(state, w, FINISHED, task, seen)
            self._release(state, task)

    def _release(self, state: State, task: int) -> None:
        w = self.workload.arrays
        m, p = int(self.node[task]), int(state.profile[task])
        self._free_cpus[m] += w.cpus[p]
        self._free_memory[m] += w.memory[p]
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
    scratch, w = initial(workload), workload.arrays
    apply_event(scratch, w, ARRIVED, 0, 0.0)
    pass_time(scratch, w, 1.0)
    decide(scratch, workload, 0)
    first_fit(w.node_cpus, w.node_memory, 1.0, 1.0)


def parents_of(workload: Workload) -> list[list[int]]:
    """Return the parents of each task, in the order of the type graph's edges."""
    w = workload.arrays
    types = len(workload.types)
    at = {int(t): i for i, t in enumerate(w.type_of[:types])}
    of_type = [[at[a] for a, b in workload.type_edges if b == t] for t in range(types)]
    return [
        [int(w.job_ptr[w.job_of[i]]) + p for p in of_type[int(w.type_of[i])]]
        for i in range(workload.tasks)
    ]
