"""Record real Ray runs: a policy allocates, Ray executes, every event is kept.

The recorder is an :class:`~toolkit.live.Engine`: the same rollout loop that drives the simulator
drives it. Ready tasks wait in the recorder's own queue, first come first served; the head is
handed to Ray the moment a node has room, because Ray's own order among waiting tasks of
different shapes follows no rule that a replay could repeat.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from collectors import fastq, genomics
from toolkit import trace as traces
from toolkit.cluster import Cluster, Node
from toolkit.decision import decide
from toolkit.errors import ConfigError, EngineError, ResourceError, ToolkitError, require
from toolkit.live import Episode, Outcome, chooser, rollout
from toolkit.policies.policy import Policy
from toolkit.progress import progress, say
from toolkit.scenario import MIB, Pipelines
from toolkit.seeding import generator
from toolkit.simulator.durations import Observations, estimate
from toolkit.simulator.kernel import first_fit
from toolkit.simulator.recorded import estimates_of
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
from toolkit.store import fingerprint
from toolkit.trace import FEATURE, Trace
from toolkit.workload import Workload

_WORKER_MEMORY = 350 * MIB
_BASE_MEMORY = 700 * MIB
_SOURCE = "qc"
_PROBE = ("cpu_seconds", "peak_memory", "bytes_in", "bytes_out")


@dataclass(frozen=True, kw_only=True)
class RayCollector:
    """Runs the genomics dataflow on Ray under behaviour policies and records it.

    A first run is a sweep: every process under every profile, one at a time, on samples of
    several sizes; it gives the estimates that all policies see. Each further run is an episode
    of the scenario under the next behaviour policy, on a workload seed of its own.

    Args:
        runs: Episodes to record.
        behaviours: Names of the behaviour policies, taken in turn; ``name~0.3`` explores with
            probability 0.3.
        paired: Give each behaviour policy the same workloads, so that they can be compared;
            else every run has a workload of its own.
        sweep: Quantiles of the job size at which the sweep measures.
        fastq: A user's own FASTQ file, of which 10 % of the reads are used; generated reads
            when null.
        address: An existing cluster to join; null starts one on loopback and stops it.
        store_memory: Memory of Ray's object store, MiB.
    """

    runs: int
    behaviours: Sequence[str]
    paired: bool
    sweep: Sequence[float]
    fastq: str | None
    address: str | None
    store_memory: int

    def __post_init__(self) -> None:
        require(self.runs >= 1, f"collector.runs must be at least 1, got {self.runs}")
        require(len(self.behaviours) >= 1, "collector.behaviours must name at least one policy")
        require(
            len(self.sweep) >= 2 and all(0 < q < 1 for q in self.sweep),
            f"collector.sweep needs two or more quantiles in (0, 1), got {list(self.sweep)}",
        )
        require(self.store_memory >= 80, "collector.store_memory must be at least 80 MiB")
        if self.fastq is not None:
            require(
                Path(self.fastq).is_file(),
                f"collector.fastq names no file: {self.fastq}",
                hint="give the path of a FASTQ file, plain or gzip",
            )

    def collect(
        self, scenario: Pipelines, policies: Sequence[Policy], seed: int, folder: Path
    ) -> Trace:
        """Record, or go on where an interrupted recording stopped.

        Args:
            scenario: What arrives.
            policies: The behaviour policies, in the order of ``behaviours``.
            seed: Workload k has seed ``seed + k``.
            folder: Where finished runs are kept until all are there.
        """
        missing = [
            k
            for k in range(self.runs + 1)
            if not (folder / f"run-{k}" / "provenance.json").is_file()
        ]
        if missing:
            reads = fastq.pool(self.fastq, seed=seed) if self.fastq else None
            with session(self, scenario) as nodes:
                self._record(missing, scenario, policies, seed, folder, nodes, reads)
        parts = [traces.read(folder / f"run-{k}") for k in range(self.runs + 1)]
        provenance = dict(parts[0].provenance)
        provenance["runs"] = [dict(r) for part in parts for r in part.provenance["runs"]]
        whole = traces.concatenate(parts, provenance)
        traces.validate(whole)
        return whole

    def _record(
        self,
        missing: Sequence[int],
        scenario: Pipelines,
        policies: Sequence[Policy],
        seed: int,
        folder: Path,
        nodes: Sequence[_RayNode],
        reads: fastq.Pool | None,
    ) -> None:
        say("warming the workers (the first use after installing compiles; about a minute)")
        _warm(nodes)
        if 0 in missing:
            traces.write(_sweep(scenario, self.sweep, nodes, seed, reads), folder / "run-0")
        first = traces.read(folder / "run-0").provenance
        estimates = estimates_of(first)
        episodes = [k for k in missing if k > 0]
        with progress("recording on Ray", len(episodes), "runs") as bar:
            for k in episodes:
                policy = policies[(k - 1) % len(policies)]
                own = seed + (1 + (k - 1) // len(policies) if self.paired else k)
                workload = scenario.plan(own, estimates=estimates, cluster=_cluster(nodes))
                engine = RayEngine(nodes, own, reads, scenario)
                engine.prepare(workload)
                policy.reset(engine.workload)
                load = os.getloadavg()[0]
                episode = rollout(
                    engine,
                    engine.workload,
                    chooser(policy, own),
                    interval=scenario.interval,
                    horizon=scenario.horizon,
                    weights=scenario.weights,
                )
                about = {
                    "run": k,
                    "seed": own,
                    "policy": policy.name,
                    "mode": "policy",
                    "load_average": load,
                    "terminated": episode.terminated,
                }
                traces.write(engine.trace(episode, about, dict(first)), folder / f"run-{k}")
                latency = episode.outcome.completed - episode.outcome.arrived
                bar.update(note=f"{policy.name}: mean latency {np.nanmean(latency):.2f} s")


@dataclass(frozen=True, kw_only=True)
class _RayNode:
    id: str
    node: Node


@contextmanager
def session(settings: RayCollector, scenario: Pipelines) -> Iterator[list[_RayNode]]:
    """Start Ray on loopback, or join a cluster, and leave it as it was afterwards.

    Yields:
        The nodes that work may use.

    Raises:
        ResourceError: When memory does not suffice for Ray's object store and workers.
        EngineError: When Ray does not start or the address does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    if settings.address is None:
        _check_memory(settings, scenario)
    else:
        _check_answers(settings.address)
    try:
        with _on_loopback():
            if settings.address is None:
                say("starting Ray on loopback")
                ray.init(
                    address="local",
                    num_cpus=int(scenario.cpus),
                    _memory=int(scenario.memory * MIB),
                    object_store_memory=settings.store_memory * MIB,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    _node_ip_address="127.0.0.1",
                )
            else:
                say(f"joining the Ray cluster at {settings.address}")
                ray.init(address=settings.address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(
            f"Ray could not be started: {str(error).splitlines()[0][:200]}",
            hint="for a cluster of your own: toolkit collect ray.address=<host:port>; "
            "to see the whole error: add --traceback",
        ) from error
    try:
        yield _nodes(settings, scenario)
    finally:
        ray.shutdown()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Keep Ray from taking 127.0.0.1 for an address of the network, and from our signals."""
    services = ray._private.services
    original = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = original
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens at once; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise ConfigError(
            f"ray.address must be host:port or auto, got {address[:80]!r}",
            hint="toolkit collect ray.address=127.0.0.1:6379",
        )
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"no Ray cluster answers at {address[:80]}: {error}",
            hint="start one with 'ray start --head', or leave ray.address out",
        ) from error


def _check_memory(settings: RayCollector, scenario: Pipelines) -> None:
    store = settings.store_memory * MIB
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free < store:
        raise ResourceError(
            f"Ray's object store needs {settings.store_memory} MiB of shared memory but "
            f"{shared} has {shutil.disk_usage(shared).free // MIB} MiB free",
            hint="give it less: toolkit collect ray.store_memory=<MiB, at least 80>",
        )
    need = store + _BASE_MEMORY + int(scenario.cpus) * _WORKER_MEMORY + int(scenario.memory * MIB)
    free = psutil.virtual_memory().available
    if free < need:
        raise ResourceError(
            f"a recording needs about {need // MIB} MiB of memory for Ray's store, "
            f"{scenario.cpus:g} workers and their data, but {free // MIB} MiB are available",
            hint="close something, or ask for less: toolkit collect ray.store_memory=80",
        )


def _nodes(settings: RayCollector, scenario: Pipelines) -> list[_RayNode]:
    alive = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) > 0]
    hosts = [n["NodeManagerHostname"] for n in alive]
    nodes = []
    for n in sorted(alive, key=lambda n: str(n["NodeID"])):
        resources = n["Resources"]
        own = settings.address is None
        nodes.append(
            _RayNode(
                id=n["NodeID"],
                node=Node(
                    name="local" if own else str(n["NodeID"])[:12],
                    cpus=float(resources["CPU"]),
                    memory=scenario.memory * MIB if own else float(resources.get("memory", 0.0)),
                    logical=hosts.count(n["NodeManagerHostname"]) > 1,
                ),
            )
        )
    if not nodes:
        raise EngineError("the Ray cluster has no node with CPUs that work may use")
    return nodes


def _cluster(nodes: Sequence[_RayNode]) -> Cluster:
    return Cluster(nodes=tuple(n.node for n in nodes))


@ray.remote
def _attempt(process: str, threads: int, memory: int, *inputs: Any) -> Iterator[Any]:
    """Run one task; yields when it started, its outputs, and what it took."""
    me = psutil.Process()
    base = me.memory_info().rss
    _reset_peak()
    cpu = time.process_time()
    yield time.time()
    bytes_in = sum(_size(i) for i in inputs)
    if process == _SOURCE:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "reads.fastq.gz"
            file.write_bytes(inputs[0]["fastq"].tobytes())
            np.save(fastq.reference_path(file), inputs[0]["reference"], allow_pickle=False)
            outputs = genomics.run(process, (file,), threads=threads, memory=memory)
    else:
        outputs = genomics.run(process, inputs, threads=threads, memory=memory)
    yield outputs
    yield {
        "finished": time.time(),
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory": float(max(0, _peak() - base)),
        "bytes_in": float(bytes_in),
        "bytes_out": float(_size(outputs)),
    }


def _size(arrays: Any) -> int:
    return sum(int(np.asarray(a).nbytes) for a in arrays.values())


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(psutil.Process().memory_info().rss)


@ray.remote
def _sample(features: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """Return a generated sample: the bytes of its FASTQ file and its reference."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reads.fastq.gz"
        fastq.generate(
            file,
            reads=int(features["reads"]),
            length=int(features["length"]),
            accuracy=features["accuracy"],
            complexity=features["complexity"],
            seed=seed,
        )
        return _payload(file)


def _payload(file: Path) -> dict[str, np.ndarray]:
    return {
        "fastq": np.frombuffer(file.read_bytes(), dtype=np.uint8),
        "reference": np.load(fastq.reference_path(file), allow_pickle=False),
    }


@ray.remote
def _warm_worker() -> float:
    genomics.warm()
    time.sleep(0.2)
    return time.time()


def _warm(nodes: Sequence[_RayNode]) -> None:
    # One worker compiles first, so that the others find the kernels in the cache.
    _get(_warm_worker.options(num_cpus=1, scheduling_strategy=_on(nodes[0])).remote())
    pending = [
        _warm_worker.options(num_cpus=1, scheduling_strategy=_on(n)).remote()
        for n in nodes
        for _ in range(max(1, int(n.node.cpus)))
    ]
    _get(pending)


def _on(node: _RayNode) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def _get(refs: Any) -> Any:
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, ToolkitError):
            raise cause from error
        raise EngineError(f"a task failed on Ray: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise EngineError(f"Ray lost a task: {str(error).splitlines()[0][:200]}") from error


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
        nodes: Sequence[_RayNode],
        seed: int,
        reads: fastq.Pool | None,
        scenario: Pipelines,
    ) -> None:
        self._nodes, self._seed, self._reads, self._scenario = list(nodes), seed, reads, scenario
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
                _sample.options(num_cpus=1).remote(f, s) for f, s in zip(rows, seeds, strict=True)
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
                self._samples.append(ray.put(_payload(file)))
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
        self._parents = _parents(workload)
        self._waiting_children = np.diff(w.child_ptr)
        self._node = np.full(n, -1, dtype=np.int64)
        self._times = {
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
        self._took: list[dict[str, float]] = [{} for _ in range(n)]
        self._arrived_seen = np.full(workload.jobs, np.nan)
        self._samples_taken: list[dict[str, Any]] = []
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
        parents = self._parents[task]
        inputs = [self._outputs[q] for q in parents] if parents else [self._samples[job]]
        rows = []
        for attempt, p in enumerate(profiles):
            cpus, memory = float(w.cpus[p]), float(w.memory[p])
            submitted = self._now()
            words = iter(self._submit(task, process, cpus, memory, 0, inputs))
            started = _get(next(words)) - self._origin
            started_seen = self._now()
            outputs = next(words)
            took = _get(next(words))
            finished_seen = self._now()
            self._outputs[task] = outputs
            started = min(max(started, submitted), started_seen)
            rows.append(
                {
                    "run": 0,
                    "task": task,
                    "attempt": attempt,
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
                    **{k: took[k] for k in _PROBE},
                }
            )
        return rows

    def outcome(self) -> Outcome:
        """Return what the tasks truly did, by the workers' clocks."""
        finished = self._times["finished"]
        per_job = finished.reshape(self.workload.jobs, -1)
        return Outcome(
            ready=self._times["ready"],
            started=self._times["started"],
            finished=finished,
            profile=self._state.profile,
            node=self._node,
            arrived=self.workload.arrival,
            completed=per_job.max(axis=1),
        )

    def trace(self, episode: Episode, about: dict[str, Any], provenance: dict[str, Any]) -> Trace:
        """Return the episode as a trace of one run.

        Args:
            episode: What the rollout loop returned.
            about: The run's entry in the provenance.
            provenance: Of the whole recording.
        """
        run, o = int(about["run"]), episode.outcome
        workload, w = self.workload, self.workload.arrays
        state, times = episode.state, self._times
        tasks = []
        for i in np.flatnonzero(~np.isnan(times["started"])).tolist():
            p = int(state.profile[i])
            done = not np.isnan(times["finished"][i])
            tasks.append(
                {
                    "run": run,
                    "task": i,
                    "attempt": 0,
                    "job": int(w.job_of[i]),
                    "type": workload.types[int(w.type_of[i])],
                    "node": int(self._node[i]),
                    "profile": p,
                    "cpus": float(w.cpus[p]),
                    "memory": float(w.memory[p]),
                    "decision": int(state.decision[i]),
                    "ready_at": times["ready"][i],
                    "ready_seen": state.ready[i],
                    "submitted_at": times["submitted"][i],
                    "started_at": times["started"][i],
                    "started_seen": times["started_seen"][i],
                    "finished_at": times["finished"][i] if done else None,
                    "finished_seen": times["finished_seen"][i] if done else None,
                    "status": "done" if done else "killed",
                    **{k: self._took[i].get(k) for k in _PROBE},
                }
            )
        known = {t["task"] for t in tasks}
        edges = [
            {"run": run, "parent": p, "child": c, "bytes": self._took[p].get("bytes_out")}
            for c in sorted(known)
            for p in self._parents[c]
        ]
        decisions = [
            {
                "run": run,
                "decision": number,
                "epoch": step.epoch,
                "agent": step.decision.agent,
                "at": step.decision.time,
                "action": step.action,
                "key": int(step.decision.keys[step.action]),
                "slots": len(step.decision.keys),
                "propensity": step.propensity,
                "policy": about["policy"],
                "digest": step.decision.digest(),
                "inferred": False,
            }
            for number, step in enumerate(episode.steps)
        ]
        jobs = [
            {
                "run": run,
                "job": j,
                "arrived_at": float(o.arrived[j]),
                "arrived_seen": _known(self._arrived_seen[j]),
                "finished_at": _known(o.completed[j]),
                "finished_seen": _known(state.completed[j]),
                **{
                    FEATURE + name: float(workload.job_features[j, f])
                    for f, name in enumerate(workload.features)
                },
            }
            for j in range(workload.jobs)
        ]
        return _trace(
            run,
            self._nodes,
            jobs,
            tasks,
            edges,
            self._samples_taken,
            decisions,
            workload.features,
            {**provenance, "runs": [about]},
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
        self._arrived_seen[job] = seen
        apply_event(state, w, ARRIVED, job, seen)
        for task in range(int(w.job_ptr[job]), int(w.job_ptr[job + 1])):
            if state.status[task] == WAITING:
                self._times["ready"][task] = w.arrival[job]
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
            self._node[task] = m
            parents = self._parents[task]
            job = int(w.job_of[task])
            inputs = [self._outputs[q] for q in parents] if parents else [self._samples[job]]
            process = self.workload.types[int(w.type_of[task])]
            self._times["submitted"][task] = self._now()
            self._running[self._submit(task, process, cpus, memory, m, inputs)] = task

    def _submit(
        self, task: int, process: str, cpus: float, memory: float, node: int, inputs: list[Any]
    ) -> Any:
        return _attempt.options(
            num_cpus=cpus,
            memory=int(memory),
            num_returns="streaming",
            max_retries=0,
            name=f"{process}-{task}",
            scheduling_strategy=_on(self._nodes[node]),
        ).remote(process, max(1, int(cpus)), int(memory), *inputs)

    def _listen(self, state: State, stream: Any) -> None:
        """Take the next word of a running task: started, outputs, or finished."""
        task = self._running[stream]
        times, w = self._times, self.workload.arrays
        try:
            word = next(stream)
        except StopIteration as error:
            raise EngineError(f"task {task} ended on Ray without saying so") from error
        stage = int(self._stage[task])
        self._stage[task] += 1
        if stage == 0:
            started = _get(word) - self._origin
            seen = self._seen()
            times["started"][task] = min(max(started, times["submitted"][task]), seen)
            times["started_seen"][task] = seen
            apply_event(state, w, STARTED, task, seen)
        elif stage == 1:
            self._outputs[task] = word
        else:
            took = _get(word)
            seen = self._seen()
            del self._running[stream]
            self._took[task] = took
            finished = took["finished"] - self._origin
            times["finished"][task] = min(max(finished, times["started"][task]), seen)
            times["finished_seen"][task] = seen
            apply_event(state, w, FINISHED, task, seen)
            self._release(state, task)

    def _release(self, state: State, task: int) -> None:
        w = self.workload.arrays
        m, p = int(self._node[task]), int(state.profile[task])
        self._free_cpus[m] += w.cpus[p]
        self._free_memory[m] += w.memory[p]
        for parent in self._parents[task]:
            self._waiting_children[parent] -= 1
            if self._waiting_children[parent] == 0:
                del self._outputs[parent]
        finished = self._times["finished"]
        for i in range(int(w.child_ptr[task]), int(w.child_ptr[task + 1])):
            child = int(w.children[i])
            if state.status[child] == WAITING:
                self._times["ready"][child] = max(finished[q] for q in self._parents[child])
                self._queue.append(child)

    def _sample_node(self) -> None:
        values = {
            "cpu_percent": psutil.cpu_percent(),
            "load_average": os.getloadavg()[0],
            "available_memory_bytes": float(psutil.virtual_memory().available),
        }
        at = self._now()
        self._samples_taken += [
            {"at": at, "node": 0, "metric": m, "value": v} for m, v in values.items()
        ]


def _load_compiled(workload: Workload) -> None:
    scratch, w = initial(workload), workload.arrays
    apply_event(scratch, w, ARRIVED, 0, 0.0)
    pass_time(scratch, w, 1.0)
    decide(scratch, workload, 0)
    first_fit(w.node_cpus, w.node_memory, 1.0, 1.0)


def _parents(workload: Workload) -> list[list[int]]:
    """Return the parents of each task, in the order of the type graph's edges."""
    w = workload.arrays
    types = len(workload.types)
    at = {int(t): i for i, t in enumerate(w.type_of[:types])}
    of_type = [[at[a] for a, b in workload.type_edges if b == t] for t in range(types)]
    return [
        [int(w.job_ptr[w.job_of[i]]) + p for p in of_type[int(w.type_of[i])]]
        for i in range(workload.tasks)
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _trace(
    run: int,
    nodes: Sequence[_RayNode],
    jobs: list[dict[str, Any]],
    tasks: list[dict[str, Any]],
    edges: list[dict[str, Any]],
    samples: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    features: Sequence[str],
    provenance: dict[str, Any],
) -> Trace:
    node_rows = [{"run": run, "node": i, **row} for i, row in enumerate(_cluster(nodes).to_rows())]
    return Trace(
        tables={
            "nodes": traces.table("nodes", node_rows),
            "jobs": traces.table("jobs", jobs, features),
            "tasks": traces.table("tasks", tasks),
            "edges": traces.table("edges", edges),
            "samples": traces.table("samples", [{"run": run, **s} for s in samples]),
            "decisions": traces.table("decisions", decisions),
        },
        provenance=provenance,
    )


def _sweep(
    scenario: Pipelines,
    quantiles: Sequence[float],
    nodes: Sequence[_RayNode],
    seed: int,
    reads: fastq.Pool | None,
) -> Trace:
    """Measure every process under every profile that fits, one task at a time."""
    settings = [
        [f.quantile(q) if f.name in scenario.size else f.quantile(0.5) for f in scenario.features]
        for q in quantiles
    ]
    plan = scenario.instances(np.array(settings), np.zeros(len(settings)), seed)
    engine = RayEngine(nodes, seed, reads, scenario)
    engine.prepare(plan)
    workload = engine.workload
    fitting = [
        p
        for p, (cpus, memory) in enumerate(workload.profiles)
        if cpus <= nodes[0].node.cpus and memory <= nodes[0].node.memory
    ]
    engine.start(workload)
    rows: list[dict[str, Any]] = []
    with progress("measuring each process under each profile", workload.tasks, "processes") as bar:
        for task in range(workload.tasks):
            rows += engine.measure(task, fitting)
            bar.update(note=rows[-1]["type"])
    jobs = [
        {
            "run": 0,
            "job": j,
            "arrived_at": 0.0,
            "arrived_seen": 0.0,
            "finished_at": None,
            "finished_seen": None,
            **{
                FEATURE + n: float(workload.job_features[j, f])
                for f, n in enumerate(workload.features)
            },
        }
        for j in range(workload.jobs)
    ]
    edges = [
        {"run": 0, "parent": p, "child": c, "bytes": None}
        for c, parents in enumerate(_parents(workload))
        for p in parents
    ]
    estimates = _estimates(rows, workload, scenario)
    provenance = {
        "schema": traces.SCHEMA,
        "source": "ray",
        "scenario": scenario.to_dict(),
        "estimates": estimates,
        "clock": "time.time() of the workers (at) and of the driver (seen), s since the run began",
        "engine": {
            "ray": ray.__version__,
            "dispatch": "first come first served, head of line, first node with room",
        },
        "host": _host(),
        "seed": seed,
        "runs": [
            {
                "run": 0,
                "seed": seed,
                "policy": None,
                "mode": "sweep",
                "load_average": os.getloadavg()[0],
            }
        ],
    }
    return _trace(0, nodes, jobs, rows, edges, [], [], workload.features, provenance)


def _estimates(
    rows: Sequence[dict[str, Any]], workload: Workload, scenario: Pipelines
) -> dict[str, Any]:
    index = {t: i for i, t in enumerate(workload.types)}
    jobs = np.array([r["job"] for r in rows])
    told = estimate(
        Observations(
            type_of=np.array([index[r["type"]] for r in rows]),
            profile=np.array([r["profile"] for r in rows]),
            features=workload.job_features[jobs],
            sizes=workload.sizes[jobs],
            seconds=np.array([r["finished_at"] - r["started_at"] for r in rows]),
        ),
        len(workload.types),
        len(workload.profiles),
        scenario.unit,
    )
    return {
        "intercept": told.intercept.tolist(),
        "exponent": told.exponent.tolist(),
        "unit": told.unit,
    }


def _host() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "fingerprint": fingerprint(platform.node()),
    }
