"""Export events: the files that Ray writes where RAY_enable_export_api_write=1, a line per event.

They lie in ``<session>/logs/export_events``: one file of nodes, actors and drivers each, written
by the head, and one file of tasks for every process. Ray writes them about once a second, so what
a killed process did in its last second may be missing; the report counts that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from collectors.completeness import Completeness
from collectors.ray.folding import (
    ActorTold,
    JobTold,
    NodeTold,
    Session,
    plain_id,
)
from collectors.ray.noted import NOTE, take_note
from collectors.streams import Limits, Source
from toolkit.errors import CorruptError, SchemaError

FILES = "event_EXPORT_*.log*"
"""What Ray calls them."""

NOTES = "toolkit_*.jsonl"
"""What ``collectors.ray.watch`` leaves beside them."""

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What a damaged or hostile line raises."""

_MS = 1_000_000
_S = 1_000_000_000
_PHASES = {
    "task:deserialize_arguments": "fetch",
    "task:execute": "execute",
    "task:store_outputs": "store",
}


class _Error(msgspec.Struct):
    error_type: str = ""
    error_message: str = ""


class _States(msgspec.Struct):
    state_ts_ns: dict[int, int] = {}
    node_id: str = ""
    worker_id: str = ""
    error_info: _Error | None = None


class _Info(msgspec.Struct):
    func_or_class_name: str = ""
    type: str = ""
    parent_task_id: str = ""
    actor_id: str = ""
    required_resources: dict[str, float] | None = None


class _Interval(msgspec.Struct):
    event_name: str = ""
    start_time: int = 0
    end_time: int = 0


class _Profile(msgspec.Struct):
    component_type: str = ""
    events: list[_Interval] = []


class _Task(msgspec.Struct):
    task_id: str
    attempt_number: int = 0
    job_id: str = ""
    task_info: _Info | None = None
    state_updates: _States | None = None
    profile_events: _Profile | None = None


class _Node(msgspec.Struct):
    node_id: str
    node_manager_address: str = ""
    state: str = ""
    start_time_ms: int = 0
    end_time_ms: int = 0
    resources_total: dict[str, float] | None = None
    labels: dict[str, str] = {}
    death_info: dict[str, Any] = {}


class _Job(msgspec.Struct):
    job_id: str
    start_time: int = 0
    end_time: int = 0


class _Actor(msgspec.Struct):
    actor_id: str
    class_name: str = ""
    node_id: str = ""
    state: str = ""


class _Line(msgspec.Struct):
    event_data: msgspec.Raw
    source_type: str = ""
    timestamp: int = 0


_LINE = msgspec.json.Decoder(_Line, strict=False)
_TASK = msgspec.json.Decoder(_Task, strict=False)
_NODE = msgspec.json.Decoder(_Node, strict=False)
_JOB = msgspec.json.Decoder(_Job, strict=False)
_ACTOR = msgspec.json.Decoder(_Actor, strict=False)


def read_export_events(
    files: Sequence[Path], limits: Limits, report: Completeness
) -> tuple[Session, list[Source]]:
    """Read the export files of one session.

    Args:
        files: Those of Ray and what a watched program noted beside them.
        limits: What each may cost.
        report: Counts what is not read.

    Returns:
        What they say, and the files as they were read.

    Raises:
        SchemaError: When Ray made the files but sent the events elsewhere.
        CorruptError: When no line of them can be read.
    """
    told, sources = Session(), []
    lines = bad = 0
    for file in files:
        source = Source(file, limits)
        sources.append(source)
        for number, line in enumerate(source.lines(), 1):
            if not line.strip():
                continue
            lines += 1
            # Told apart by what they say, so that the files may also lie in one.
            take = take_note if line.startswith(NOTE) else _take
            try:
                take(told, line, report)
            except UNREADABLE as error:
                bad += 1
                _lose(report, source, number, error)
    if not lines:
        raise SchemaError(
            "all export files are empty: while Ray's event aggregator is on "
            "(RAY_enable_ray_event or RAY_enable_core_worker_ray_event_to_aggregator), the files "
            "are made but nothing is written to them",
            hint="import what the aggregator sent (its JSONL file), or record again with "
            "RAY_enable_export_api_write=1 alone",
        )
    if bad == lines or not len(told):
        if _only_empty(sources):
            raise SchemaError(
                "the files of the tasks are empty although nodes were recorded: the tasks' events "
                "went to Ray's event aggregator",
                hint="record again without RAY_enable_core_worker_ray_event_to_aggregator",
            )
        raise CorruptError("no line of the export files tells of a task")
    return told, sources


def _only_empty(sources: Sequence[Source]) -> bool:
    tasks = [s for s in sources if s.path.name.startswith("event_EXPORT_TASK")]
    return bool(tasks) and not any(s.bytes for s in tasks)


def _lose(report: Completeness, source: Source, number: int, error: Exception) -> None:
    """Count a line that cannot be read; a last one that nothing ends was being written."""
    table = "tasks"
    for word, name in (("NODE", "nodes"), ("ACTOR", "spans"), ("DRIVER_JOB", "jobs")):
        if word in source.path.name:
            table = name
    count = report.of(table)
    count.seen += 1
    count.dropped += 1
    if source.truncated:
        report.flags["truncated"] = True
    why = str(error) or type(error).__name__
    report.note(f"{source.path.name}, line {number} cannot be read: {why[:200]}")


def _take(told: Session, line: bytes, report: Completeness) -> None:
    event = _LINE.decode(line)
    kind = event.source_type
    if kind == "EXPORT_TASK":
        _take_task(told, _TASK.decode(event.event_data))
    elif kind == "EXPORT_NODE":
        _take_node(told, _NODE.decode(event.event_data))
    elif kind == "EXPORT_DRIVER_JOB":
        _take_job(told, _JOB.decode(event.event_data))
    elif kind == "EXPORT_ACTOR":
        _take_actor(told, _ACTOR.decode(event.event_data), event.timestamp)
    else:
        report.see_unknown(kind or "(no source_type)")


def _take_task(told: Session, task: _Task) -> None:
    name = plain_id(task.task_id)
    if name is None or not 0 <= task.attempt_number < 1 << 31:
        raise msgspec.ValidationError("a task without an id, or an attempt of no sensible number")
    row = told.attempt(name, task.attempt_number)
    told.belong(row, plain_id(task.job_id))
    info, states, profile = task.task_info, task.state_updates, task.profile_events
    if info is not None:
        told.define(
            row,
            name=info.func_or_class_name,
            kind=info.type,
            asked=info.required_resources,
            parent=plain_id(info.parent_task_id),
            actor=plain_id(info.actor_id),
        )
    if states is not None:
        for state, ns in states.state_ts_ns.items():
            told.state(row, state, ns)
        told.place(row, plain_id(states.node_id), plain_id(states.worker_id))
        if states.error_info is not None:
            told.fail(row, states.error_info.error_type, states.error_info.error_message)
    if profile is not None and profile.component_type != "driver":
        for one in profile.events:
            phase = _PHASES.get(one.event_name)
            if phase is not None:
                told.phase(row, phase, one.end_time - one.start_time)
            elif one.event_name.startswith("task::"):
                told.call(row, one.event_name[len("task::") :])


def _take_node(told: Session, node: _Node) -> None:
    name = plain_id(node.node_id)
    if name is None:
        raise msgspec.ValidationError("a node without an id")
    one = told.nodes.setdefault(name, NodeTold())
    one.host = node.node_manager_address[:200] or one.host
    equip(one, node.resources_total, node.labels)
    one.added = within(node.start_time_ms * _MS) or one.added
    if node.state == "DEAD":
        one.removed = within(node.end_time_ms * _MS)
        one.reason = str(node.death_info.get("reason", ""))[:80]


def equip(node: NodeTold, resources: dict[str, float] | None, labels: dict[str, str]) -> None:
    """Note what a node holds, and its accelerator where a label names it."""
    if resources:
        amounts = [resources.get(r, 0.0) for r in ("CPU", "memory", "GPU")]
        node.cpus, node.memory, node.gpus = (
            float(a) if 0 <= a < float("inf") else None for a in amounts
        )
    node.kind = labels.get("ray.io/accelerator-type", "")[:80] or node.kind


def within(ns: int) -> int:
    """Return a time, ns since 1970, or 0 where it is none."""
    return ns if 0 < ns < 1 << 62 else 0


def _take_job(told: Session, job: _Job) -> None:
    name = plain_id(job.job_id)
    if name is None:
        raise msgspec.ValidationError("a job without an id")
    one = told.jobs.setdefault(name, JobTold())
    one.started = within(job.start_time * _MS) or one.started
    one.ended = within(job.end_time * _MS) or one.ended


def _take_actor(told: Session, actor: _Actor, timestamp: int) -> None:
    name = plain_id(actor.actor_id)
    if name is None:
        raise msgspec.ValidationError("an actor without an id")
    one = told.actors.setdefault(name, ActorTold())
    one.name = actor.class_name[:200] or one.name
    one.node = plain_id(actor.node_id) or one.node
    if actor.state == "DEAD":
        one.ended = within(timestamp * _S)
