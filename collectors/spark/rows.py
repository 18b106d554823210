"""Rows: what an episode on Spark leaves behind, as the tables of a trace."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from collectors.decisions import decision_rows
from collectors.spark.engine import Batch, BatchEngine, SparkEngine, partition_of, succeeded
from collectors.spark.events import TaskEnd
from collectors.spark.importer import SparkImporter
from collectors.spark.live_log import MS, Told
from collectors.spark.submit import SUBMIT, SubmitEngine
from toolkit import trace as traces
from toolkit.live import Episode
from toolkit.scenarios.batches import MIB
from toolkit.trace import FEATURE, METRIC, Trace

EXTRA: Mapping[str, Sequence[pa.Field]] = {
    "jobs": traces.features(["frames", "partitions"]),
    "tasks": [
        *SparkImporter.extra["tasks"],
        *(
            traces.field(METRIC + name, pa.float64(), unit, nullable=True)
            for name, unit in (
                ("jvm_cpu_seconds", "cpu-s of the executor's JVM"),
                ("python_cpu_seconds", "cpu-s of the Python worker"),
                ("frames_in", "frames"),
                ("frames_out", "frames"),
            )
        ),
    ],
}
"""Columns that these recordings add."""


@dataclass
class _Rows:
    """The rows of one run while they are gathered."""

    run: int
    tables: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {name: [] for name in traces.TABLES}
    )

    def add(self, table: str, **values: Any) -> int:
        """Take a row; returns its position."""
        self.tables[table].append({"run": self.run, **values})
        return len(self.tables[table]) - 1


def record(
    engine: BatchEngine, episode: Episode, about: dict[str, Any], provenance: Mapping[str, Any]
) -> Trace:
    """Return the episode as a trace of one run.

    Args:
        engine: What ran it.
        episode: What the rollout loop returned.
        about: The run's entry in the provenance.
        provenance: Of the whole recording.
    """
    rows = _Rows(run=int(about["run"]))
    rows.tables["decisions"] = decision_rows(rows.run, episode, str(about["policy"]))
    _jobs(rows, engine, str(about["regime"]))
    if isinstance(engine, SparkEngine):
        _of_session(rows, engine)
    elif isinstance(engine, SubmitEngine):
        _of_applications(rows, engine)
        about = {**about, "files": engine.files}
    for sample in engine.samples:
        rows.add("samples", **sample)
    return Trace(
        tables={
            name: traces.table(name, rows.tables[name], EXTRA.get(name, ()))
            for name in traces.TABLES
        },
        provenance={**provenance, "runs": [about]},
    )


def _jobs(rows: _Rows, engine: BatchEngine, regime: str) -> None:
    batches = {b.job: b for b in engine.batches}
    workload, state = engine.workload, engine.state
    w = workload.arrays
    for j in range(workload.jobs):
        seen = engine.seen.get(("arrived", j))
        if seen is None:
            continue
        batch = batches.get(j)
        finished = batch.finished if batch else None
        ended = [engine.seen.get(("finished", i)) for i in range(w.job_ptr[j], w.job_ptr[j + 1])]
        known = [t for t in ended if t is not None]
        rows.add(
            "jobs",
            job=j,
            name=f"batch-{j}",
            arrived_at=float(state.arrived[j]),
            arrived_seen=seen,
            finished_at=finished,
            finished_seen=max(known) if finished is not None and known else None,
            status="done" if finished is not None else "killed",
            detail=json.dumps(_told_of(engine, batch, regime)) if batch else None,
            **{
                FEATURE + "frames": float(workload.frames[j]),
                FEATURE + "partitions": float(workload.partitions[j]),
            },
        )
        if batch is None:
            continue
        applied = batch.begun + _apply_seconds(batch) if _known(batch.ready) else None
        rows.add(
            "spans",
            span=len(rows.tables["spans"]),
            kind="apply",
            job=j,
            name=f"configuration {batch.key}",
            started_at=batch.begun,
            finished_at=applied,
        )
        rows.add(
            "spans",
            span=len(rows.tables["spans"]),
            kind="batch",
            job=j,
            name=f"batch-{j}",
            started_at=applied,
            finished_at=None if applied is None or finished is None else max(finished, applied),
        )


def _apply_seconds(batch: Batch) -> float:
    if batch.change is not None:
        return batch.change.seconds
    return float(batch.about.get("apply_seconds", 0.0))


def _told_of(engine: BatchEngine, batch: Batch, regime: str) -> dict[str, Any]:
    cores, memory = engine.shape(batch.key)
    apply, change = _apply_seconds(batch), batch.change
    # An application of its own starts its executors while its command runs.
    ran = batch.seconds - (apply if regime == SUBMIT else 0.0)
    told: dict[str, Any] = {
        "regime": regime,
        "decision": batch.decision,
        "configuration": {
            "key": batch.key,
            "cores": cores,
            "memory_mib": memory,
            "instances": batch.asked,
        },
        "executors_granted": batch.granted,
        "apply_seconds": apply,
        "batch_seconds": _known(ran),
        "machine_before": batch.about.get("before"),
        "machine_after": batch.about.get("after"),
    }
    if change is not None:
        told |= {
            "executors_exact": change.exact,
            "executors_started": len(change.started),
            "executors_killed": len(change.killed),
            "live_idle": change.idle,
            "first_batch_on_executor": batch.first_on,
            "frames_out": dict(batch.routes),
            "stored_bytes": batch.stored,
        }
    return told


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _of_session(rows: _Rows, engine: SparkEngine) -> None:
    """Add executors, stages and tasks of a run that shares its application with other runs."""
    told, origin = engine.told, engine.origin
    nodes: dict[str, int] = {}
    for name in sorted(engine.slot_of, key=int):
        nodes[name] = _node(rows, told, name, origin, name, {"slot": engine.slot_of[name]})
    for seat in engine.seated:
        rows.add(
            "spans",
            span=len(rows.tables["spans"]),
            kind="executor",
            name=f"executor-{seat.executor}",
            started_at=seat.at,
            finished_at=seat.shown,
            detail=json.dumps({"node": nodes[seat.executor], "slot": seat.slot}),
        )
    workload = engine.workload
    for batch in engine.batches:
        ids = engine.stages_of.get(batch.job, [])
        first = int(workload.arrays.job_ptr[batch.job])
        partitions = int(workload.partitions[batch.job])
        known = _stages(rows, told, ids, batch.job, origin)
        attempts: dict[int, int] = {}
        for t in (t for t in told.tasks if t.stage in ids):
            task = first + ids.index(t.stage) * partitions + partition_of(t)
            number = attempts.get(task, 0)
            attempts[task] = number + 1
            probe = engine.probes.get((batch.job, ids.index(t.stage), partition_of(t)))
            done = succeeded(t)
            row = _task(t, origin, nodes)
            row["name"] = f"{workload.label(task)}"
            if number == 0:
                row |= _waited(engine, told, t, task, row["started_at"])
            row |= {
                "started_seen": engine.tried.get(("started", task, number)),
                "finished_seen": engine.tried.get(("finished", task, number)),
            }
            if done and probe is not None:
                jvm = row[METRIC + "jvm_cpu_seconds"]
                row |= {
                    METRIC + "python_cpu_seconds": probe.cpu_seconds,
                    METRIC + "frames_in": float(probe.frames_in),
                    METRIC + "frames_out": float(probe.frames_out),
                    "cpu_seconds": None if jvm is None else jvm + probe.cpu_seconds,
                }
            rows.add(
                "tasks",
                task=task,
                attempt=number,
                job=batch.job,
                stage=known[t.stage, t.attempt],
                type=workload.types[int(workload.arrays.type_of[task])],
                profile=0,
                cpus=1.0,
                decision=batch.decision,
                **row,
            )


def _waited(
    engine: SparkEngine, told: Told, t: TaskEnd, task: int, started: float | None
) -> dict[str, Any]:
    """Return when a task became ready and was submitted, in the order in which they happen."""
    info = told.stages.get((t.stage, t.attempt))
    if info is None or info.submitted is None or started is None:
        return {}
    submitted = min(info.submitted * MS - engine.origin, started)
    ready = min(float(engine.state.ready[task]), submitted)
    return {"ready_at": ready, "ready_seen": ready, "submitted_at": submitted}


def _of_applications(rows: _Rows, engine: SubmitEngine) -> None:
    """Add executors, stages and tasks of a run with an application per batch."""
    origin = engine.origin
    number = 0
    for batch in engine.batches:
        told = engine.told.get(batch.job)
        if told is None:
            continue
        nodes: dict[str, int] = {}
        for name in told.executors:
            app = told.application.app if told.application else None
            title = f"{batch.job}-{name}"
            nodes[name] = _node(rows, told, name, origin, title, {"application": app})
        ids = sorted({s for s, _ in told.stages})
        known = _stages(rows, told, ids, batch.job, origin)
        of: dict[tuple[int, int], int] = {}
        attempts: dict[int, int] = {}
        for t in told.tasks:
            if (t.stage, t.attempt) not in known:
                continue
            key = (t.stage, partition_of(t))
            if key not in of:
                of[key] = number
                number += 1
            task = of[key]
            again = attempts.get(task, 0)
            attempts[task] = again + 1
            info = told.stages[t.stage, t.attempt]
            row = _task(t, origin, nodes)
            rows.add(
                "tasks",
                task=task,
                attempt=again,
                name=f"{t.stage}-{t.info.index}",
                job=batch.job,
                stage=known[t.stage, t.attempt],
                type=(info.name or f"stage {t.stage}")[:200],
                cpus=1.0,
                decision=batch.decision,
                **row,
            )


def _node(
    rows: _Rows,
    told: Told,
    executor: str,
    origin: float,
    title: str,
    about: Mapping[str, Any],
) -> int:
    added, removed = told.executors.get(executor), told.removed.get(executor)
    info = added.info if added else None
    memory = told.memory.get(info.profile) if info and info.profile is not None else None
    cores = info.cores if info else None
    registered = (info.registered or added.at) if info and added else None
    return rows.add(
        "nodes",
        node=len(rows.tables["nodes"]),
        name=f"executor-{title}",
        kind="executor"
        if cores is None or memory is None
        else f"{cores} cores, {memory / MIB:.0f} MiB",
        cpus=None if cores is None else float(cores),
        memory=memory,
        # They share this machine, whatever their workers claim to have.
        logical=True,
        requested_at=_at(info.requested if info else None, origin),
        added_at=_at(registered, origin),
        removed_at=_at(removed.at if removed else None, origin),
        detail=json.dumps(
            {
                "executor": executor,
                **about,
                "profile": info.profile if info else None,
                "removed_because": removed.reason[:300] if removed and removed.reason else None,
            }
        ),
    )


def _at(ms: int | None, origin: float) -> float | None:
    return None if ms is None or ms <= 0 else ms * MS - origin


def _stages(
    rows: _Rows, told: Told, ids: Sequence[int], job: int, origin: float
) -> dict[tuple[int, int], int]:
    """Add the stages of a batch; returns the row of each attempt."""
    known: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    for (stage, attempt), info in sorted(told.stages.items()):
        if stage not in ids:
            continue
        ended = info.completed is not None
        known[stage, attempt] = last[stage] = rows.add(
            "stages",
            stage=len(rows.tables["stages"]),
            job=job,
            name=(info.name or f"stage {stage}")[:200],
            attempt=attempt,
            tasks=info.tasks,
            submitted_at=_at(info.submitted, origin),
            finished_at=_at(info.completed, origin),
            status=None if not ended else "failed" if info.failure else "done",
            detail=json.dumps({"stage": stage}),
        )
        for parent in info.parents:
            if parent in last and attempt == 0:
                rows.add("edges", kind="stage", parent=last[parent], child=last[stage], bytes=None)
    return known


def _task(t: TaskEnd, origin: float, nodes: Mapping[str, int]) -> dict[str, Any]:
    """Return what the log tells of an attempt."""
    m, done = t.metrics, succeeded(t)
    row: dict[str, Any] = {
        "node": nodes.get(t.info.executor),
        "started_at": _at(t.info.launched, origin),
        "finished_at": _at(t.info.finished, origin),
        "status": "done" if done else "killed" if t.info.killed else "failed",
        "reason": None if done or t.reason is None else t.reason.reason,
        METRIC + "jvm_cpu_seconds": None,
    }
    if m is None:
        return row
    read, write = m.shuffle_read, m.shuffle_write
    shuffled_in = _sum(read.remote, read.local) if read else None
    shuffled_out = _sum(write.bytes) if write else None
    ran, before, after = (_seconds(ms) for ms in (m.run, m.deserialize, m.serialize))
    delay = None
    if ran is not None:
        fetched = t.info.getting_result
        ended = fetched if fetched > 0 else t.info.finished
        whole = (ended - t.info.launched) * MS
        delay = max(0.0, whole - ran - (before or 0.0) - (after or 0.0))
    cpu = _float(m.cpu)
    return row | {
        METRIC + "run_seconds": ran,
        METRIC + "deserialize_seconds": before,
        METRIC + "gc_seconds": _seconds(m.gc),
        METRIC + "scheduler_delay_seconds": delay,
        METRIC + "result_bytes": _float(m.result_size),
        METRIC + "spilled_memory_bytes": _float(m.memory_spilled),
        METRIC + "spilled_disk_bytes": _float(m.disk_spilled),
        METRIC + "peak_execution_bytes": _float(m.peak_execution),
        METRIC + "shuffle_read_bytes": shuffled_in,
        METRIC + "shuffle_write_bytes": shuffled_out,
        METRIC + "locality": t.info.locality,
        METRIC + "speculative": t.info.speculative,
        METRIC + "jvm_cpu_seconds": None if cpu is None else cpu * 1e-9,
        "bytes_in": _sum(shuffled_in, m.input.bytes if m.input else None),
        "bytes_out": _sum(shuffled_out, m.output.bytes if m.output else None),
    }


def _float(value: int | None) -> float | None:
    """Return a count; what the log does not tell is null, and none is negative."""
    return None if value is None or value < 0 else float(value)


def _sum(*values: float | None) -> float | None:
    """Return the sum of those that the log tells."""
    told = [float(v) for v in values if v is not None and v >= 0]
    return sum(told) if told else None


def _seconds(ms: int | None) -> float | None:
    return None if ms is None or ms < 0 else ms * MS
