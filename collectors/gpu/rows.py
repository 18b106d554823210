"""What a recording leaves behind: the tables of a trace, from an episode or a sweep."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from collectors.decisions import decision_rows
from collectors.gpu.engine import GpuEngine
from collectors.gpu.messages import Took
from toolkit import trace as traces
from toolkit.cluster import Cluster
from toolkit.live import Episode
from toolkit.trace import METRIC, Trace, field
from toolkit.workflows.operations import parsed
from toolkit.workload import CPUS, MEMORY

EXTRA = [
    field(METRIC + "flops", pa.float64(), "floating-point operations, by formula", True),
    field(METRIC + "size", pa.int64(), "what the size of the operation counts", True),
    field(METRIC + "host_seconds", pa.float64(), "s by the host's clock", True),
    field(METRIC + "device_seconds", pa.float64(), "s between two CUDA events", True),
    field(METRIC + "warm", pa.bool_(), "flag: its device ran the same before", True),
    field(METRIC + "co_runners", pa.float64(), "mean tasks beside it on the same hardware", True),
    field(METRIC + "energy_joules", pa.float64(), "J by the device's counter", True),
    field(METRIC + "clock_mhz", pa.float64(), "MHz of the multiprocessors at its end", True),
]
"""Columns of ``tasks`` that only this recorder fills."""


def took_columns(name: str, took: Took | None) -> dict[str, Any]:
    """Return the columns of a task that say what it computed and took."""
    operation, size = parsed(name)
    columns = {METRIC + "flops": operation.flops(size), METRIC + "size": size}
    if took is None:
        return columns
    return {
        **columns,
        "cpu_seconds": took.cpu_seconds,
        "peak_memory": took.peak_memory,
        "bytes_in": took.bytes_in,
        "bytes_out": took.bytes_out,
        METRIC + "host_seconds": took.host_seconds,
        METRIC + "device_seconds": took.device_seconds,
        METRIC + "warm": took.warm,
        METRIC + "energy_joules": took.energy,
        METRIC + "clock_mhz": took.clock,
    }


def beside(rows: Sequence[Mapping[str, Any]], hardware: Sequence[str]) -> list[float | None]:
    """Return how many tasks ran beside each on the same hardware, on the mean over its life.

    Args:
        rows: Of ``tasks``.
        hardware: What each node shares with others of the same word.
    """
    ended = [r for r in rows if r.get("finished_at") is not None]
    spans = np.array([[r["started_at"], r["finished_at"]] for r in ended]).reshape(-1, 2)
    where = np.array([hardware[r["node"]] for r in ended])
    found: list[float | None] = []
    for r in rows:
        if r.get("finished_at") is None:
            found.append(None)
            continue
        a, b = r["started_at"], r["finished_at"]
        common = np.minimum(spans[:, 1], b) - np.maximum(spans[:, 0], a)
        common = np.where(where == hardware[r["node"]], np.maximum(common, 0.0), 0.0)
        # It overlaps itself all the time.
        found.append(max(0.0, float(common.sum() / (b - a)) - 1.0) if b > a else None)
    return found


def hardware_of(cluster: Cluster) -> list[str]:
    """Return what each node shares with others: a CUDA device, or the cores of the host."""
    return [n.name.partition("/")[0] if n.gpus else "host" for n in cluster.nodes]


def record(
    engine: GpuEngine,
    episode: Episode,
    about: dict[str, Any],
    provenance: Mapping[str, Any],
    details: Sequence[Mapping[str, Any]],
) -> Trace:
    """Return an episode as a trace of one run.

    Args:
        engine: What ran it.
        episode: What the rollout loop returned.
        about: The run's entry in the provenance.
        provenance: Of the whole recording.
        details: What is known of each node beside its columns.
    """
    run, o = int(about["run"]), episode.outcome
    workload, w = engine.workload, engine.workload.arrays
    state, times = episode.scene.state, engine.times
    tasks: list[dict[str, Any]] = []
    for i in np.flatnonzero(state.node >= 0).tolist():
        p, done = int(state.profile[i]), not np.isnan(times["finished"][i])
        name = workload.types[int(w.type_of[i])]
        tasks.append(
            {
                "task": i,
                "attempt": 0,
                "name": workload.label(i),
                "job": int(w.job_of[i]),
                "type": name,
                "node": int(state.node[i]),
                "profile": p,
                "cpus": float(w.demand[p, CPUS]),
                "memory": float(w.demand[p, MEMORY]),
                "decision": int(state.decision[i]),
                "ready_seen": float(state.ready[i]),
                **{f"{k}_at": _known(times[k][i]) for k in _MOMENTS},
                **{f"{k}_seen": _known(times[f"{k}_seen"][i]) for k in ("started", "finished")},
                "status": "done" if done else "running",
                **took_columns(name, engine.took[i]),
            }
        )
    jobs = []
    for j in range(workload.jobs):
        own = slice(int(w.job_ptr[j]), int(w.job_ptr[j + 1]))
        if np.isnan(engine.arrived_seen[j]):
            continue  # the episode ended before
        jobs.append(
            {
                "job": j,
                "arrived_at": float(o.arrived[j]),
                "arrived_seen": float(engine.arrived_seen[j]),
                "finished_at": _known(o.completed[j]),
                "finished_seen": _known(times["finished_seen"][own].max()),
                "status": None if np.isnan(o.completed[j]) else "done",
                "detail": json.dumps({"deadline_seconds": float(w.deadline[j])})
                if np.isfinite(w.deadline[j])
                else None,
            }
        )
    known = {t["task"] for t in tasks}
    edges = [
        {"kind": "task", "parent": int(w.parents[e]), "child": c, "bytes": float(w.data[e])}
        for c in sorted(known)
        for e in range(int(w.parent_ptr[c]), int(w.parent_ptr[c + 1]))
    ]
    spans = [
        {
            "kind": "transfer",
            "job": int(w.job_of[t.child]),
            "task": t.child,
            "name": f"output of {workload.label(t.parent)}",
            "started_at": t.began,
            "finished_at": t.ended,
            "detail": json.dumps({"parent": t.parent, "bytes": t.bytes}),
        }
        for t in engine.transfers
    ]
    return assemble(
        run,
        workload.cluster,
        details,
        {
            "jobs": jobs,
            "tasks": tasks,
            "edges": edges,
            "spans": [{"span": i, **s} for i, s in enumerate(spans)],
            "samples": engine.samples,
            "decisions": decision_rows(run, episode, str(about["policy"])),
        },
        {**provenance, "runs": [about]},
    )


_MOMENTS = ("ready", "submitted", "started", "finished")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def assemble(
    run: int,
    cluster: Cluster,
    details: Sequence[Mapping[str, Any]],
    rows: dict[str, list[dict[str, Any]]],
    provenance: Mapping[str, Any],
) -> Trace:
    """Return a trace of one run from plain rows, which need not name the run."""
    tasks = rows["tasks"]
    for row, value in zip(tasks, beside(tasks, hardware_of(cluster)), strict=True):
        row[METRIC + "co_runners"] = value
    nodes = [
        {"node": m, **row, "detail": json.dumps(detail)}
        for m, (row, detail) in enumerate(zip(cluster.to_rows(), details, strict=True))
    ]
    rows = {"nodes": nodes, **rows}
    return Trace(
        tables={
            name: traces.table(
                name,
                [{"run": run, **row} for row in rows.get(name, [])],
                EXTRA if name == "tasks" else (),
            )
            for name in traces.TABLES
        },
        provenance=provenance,
    )
