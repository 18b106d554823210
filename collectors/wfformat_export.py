"""WfFormat out of traces: one job of a run, from whatever source, as WfCommons' tools read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from collectors.wfformat_schema import moment
from toolkit.errors import ConfigError, require
from toolkit.store import write_text
from toolkit.trace import METRIC, Trace

_STRANGE = re.compile(r"[^0-9A-Za-z_.#-]", re.ASCII)
"""Letters that WfFormat 1.5 forbids in references to tasks."""


def export(trace: Trace, run: int, path: str | Path, *, job: int | None = None) -> None:
    """Write one job of a trace as a WfFormat 1.5 file.

    An execution that was tried again counts once, with its last attempt that was done. Bytes of
    an edge become a file that only its two ends share. WfFormat has no place for queueing,
    failed attempts, memory asked for, profiles and decisions: they are lost.

    Args:
        trace: Any trace.
        run: Index of the run.
        path: Of the file to write.
        job: Which, where the run has several.

    Raises:
        ConfigError: When there is no such run or job, or nothing says how long the job took.
    """
    about = next((r for r in trace.runs() if r["run"] == run), None)
    if about is None:
        raise ConfigError(f"the trace has no run {run}")
    jobs = {row["job"]: row for row in trace.of("jobs", run).to_pylist()}
    if job is None:
        require(
            len(jobs) == 1,
            f"run {run} has {len(jobs)} jobs; WfFormat holds one",
            hint="say which: export(…, job=<index>)",
        )
        (job,) = jobs
    require(job in jobs, f"run {run} has no job {job}")
    whole = trace.of("tasks", run)
    rows = _once(row for row in whole.to_pylist() if row["job"] == job)
    require(len(rows) > 0, f"job {job} of run {run} has no tasks")
    names = _names(rows)
    edges = [
        row
        for row in trace.of("edges", run).to_pylist()
        if row["kind"] == "task" and row["parent"] in rows and row["child"] in rows
    ]
    zero = jobs[job]["arrived_at"]
    makespan = _span(jobs[job], rows, zero)
    began = _began(jobs[job], about, zero)
    nodes = {row["node"]: row for row in trace.of("nodes", run).to_pylist()}
    execution: dict[str, Any] = {
        "makespanInSeconds": makespan,
        "executedAt": began or "unknown",
        "tasks": [
            _executed(row, names[task], nodes, moment(began), zero)
            for task, row in rows.items()
            if _seconds(row) is not None
        ],
    }
    if nodes:
        execution["machines"] = [_machine(row) for row in nodes.values()]
    workflow: dict[str, Any] = {"specification": _specification(rows, names, edges)}
    if execution["tasks"]:
        workflow["execution"] = execution
    engine = trace.provenance["engine"]
    document = {
        "name": jobs[job]["name"] or f"job {job}",
        "description": f"Exported from a trace of {trace.provenance['source']}",
        "schemaVersion": "1.5",
        "runtimeSystem": {
            "name": str(engine.get("name") or trace.provenance["source"]),
            "version": str(engine.get("version") or "unknown"),
        },
        "workflow": workflow,
    }
    write_text(Path(path), msgspec.json.format(msgspec.json.encode(document), indent=1).decode())


def _once(rows: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Return one row per task, by index: its last attempt that was done, else its last."""
    best: dict[int, dict[str, Any]] = {}
    for row in rows:
        known = best.get(row["task"])
        rank = (row["status"] == "done", row["attempt"])
        if known is None or rank > (known["status"] == "done", known["attempt"]):
            best[row["task"]] = row
    return dict(sorted(best.items()))


def _names(rows: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """Return an id for each task: its own name where that is allowed and nobody else's."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for task, row in rows.items():
        name = _STRANGE.sub("_", row["name"] or f"{row['type']}_{task}") or f"task_{task}"
        while name in taken:
            name = f"{name}#{task}"
        names[task] = name
        taken.add(name)
    return names


def _seconds(row: Mapping[str, Any]) -> float | None:
    if row["seconds"] is not None:
        return float(row["seconds"])
    if row["started_at"] is None or row["finished_at"] is None:
        return None
    return float(row["finished_at"] - row["started_at"])


def _span(job: Mapping[str, Any], rows: Mapping[int, Mapping[str, Any]], zero: float) -> float:
    end = job["finished_at"]
    if end is None:
        ends = [row["finished_at"] for row in rows.values()]
        require(
            None not in ends,
            f"nothing says when job {job['job']} ended, and WfFormat needs its makespan",
        )
        end = max(ends)
    return float(end - zero)


def _began(job: Mapping[str, Any], about: Mapping[str, Any], zero: float) -> str | None:
    try:
        said = json.loads(job["detail"] or "{}").get("executedAt")
    except (ValueError, AttributeError):
        said = None
    if isinstance(said, str) and said:
        return said
    if about.get("began_unix") is None:
        return None
    return datetime.fromtimestamp(about["began_unix"] + zero, UTC).isoformat()


def _executed(
    row: Mapping[str, Any],
    name: str,
    nodes: Mapping[int, Mapping[str, Any]],
    began: datetime | None,
    zero: float,
) -> dict[str, Any]:
    seconds = _seconds(row)
    percent = row.get(METRIC + "cpu_percent")
    if percent is None and row["cpu_seconds"] is not None and seconds:
        percent = row["cpu_seconds"] / seconds * 100
    found: dict[str, Any] = {
        "id": name,
        "runtimeInSeconds": seconds,
        "coreCount": row["cpus"] if (row["cpus"] or 0) >= 1 else None,
        "avgCPU": percent,
        "readBytes": row["bytes_in"],
        "writtenBytes": row["bytes_out"],
        "memoryInBytes": row["peak_memory"],
        "energyInKWh": row.get(METRIC + "energy_kwh"),
        "avgPowerInW": row.get(METRIC + "power_watts"),
        "priority": row.get(METRIC + "priority"),
        "machines": None if row["node"] is None else [nodes[row["node"]]["name"]],
    }
    if began is not None and row["started_at"] is not None:
        found["executedAt"] = (began + timedelta(seconds=row["started_at"] - zero)).isoformat()
    return {key: value for key, value in found.items() if value is not None}


def _machine(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        detail = json.loads(row["detail"] or "{}")
    except ValueError:
        detail = {}
    detail = detail if isinstance(detail, dict) else {}
    cpu = {
        "coreCount": _whole(row["cpus"]),
        "speedInMHz": _whole(detail.get("speed_mhz")),
        "vendor": detail.get("vendor"),
    }
    cpu = {key: value for key, value in cpu.items() if value is not None}
    found = {
        "nodeName": row["name"] or f"node {row['node']}",
        "system": detail.get("system"),
        "architecture": detail.get("architecture"),
        "release": detail.get("release"),
        "memoryInBytes": _whole(row["memory"]),
        "cpu": cpu or None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and value >= 1 else None


def _specification(
    rows: Mapping[int, Mapping[str, Any]],
    names: Mapping[int, str],
    edges: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    tasks = {
        task: {
            "name": row["type"] or names[task],
            "id": names[task],
            "category": row["type"],
            "parents": [],
            "children": [],
            "inputFiles": [],
            "outputFiles": [],
        }
        for task, row in rows.items()
    }
    files = []
    for k, edge in enumerate(edges):
        parent, child = tasks[edge["parent"]], tasks[edge["child"]]
        parent["children"].append(names[edge["child"]])
        child["parents"].append(names[edge["parent"]])
        if edge["bytes"] is not None:
            file = f"edge-{k}"
            size = float(edge["bytes"])
            files.append({"id": file, "sizeInBytes": int(size) if size.is_integer() else size})
            parent["outputFiles"].append(file)
            child["inputFiles"].append(file)
    return {"tasks": list(tasks.values()), "files": files}
