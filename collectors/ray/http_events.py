"""HTTP events: what Ray's event aggregator posts, kept as JSON lines by whoever received it.

Each line is one posted body, a list of events, or a single event. An event of a task's life may
carry some of its states only and no node, so all are folded by task and attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from collectors.completeness import Completeness
from collectors.ray.export_events import UNREADABLE, equip, within
from collectors.ray.folding import (
    ACTOR_CALL,
    ACTOR_ID,
    STATES,
    ActorTold,
    JobTold,
    NodeTold,
    Session,
    WorkerTold,
    plain_id,
)
from collectors.streams import Limits, Source
from toolkit.errors import CorruptError

_MS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Function(msgspec.Struct, rename="camel"):
    function_name: str = ""
    class_name: str = ""


class _Functions(msgspec.Struct, rename="camel"):
    python_function_descriptor: _Function | None = None


class _Error(msgspec.Struct, rename="camel"):
    error_type: str = ""
    error_message: str = ""


class _TaskDefinition(msgspec.Struct, rename="camel"):
    task_id: str
    task_attempt: int = 0
    job_id: str = ""
    task_name: str = ""
    actor_task_name: str = ""
    task_type: str = ""
    parent_task_id: str = ""
    actor_id: str = ""
    task_func: _Functions | None = None
    actor_func: _Functions | None = None
    required_resources: dict[str, float] | None = None


class _Change(msgspec.Struct, rename="camel"):
    state: str = ""
    timestamp: str = ""
    node_id: str = ""
    resources: dict[str, float] | None = None
    worker_launch_time_ms: int = 0
    start_time_ms: int = 0
    end_time_ms: int = 0
    death_info: dict[str, Any] = {}


class _TaskLife(msgspec.Struct, rename="camel"):
    task_id: str
    task_attempt: int = 0
    job_id: str = ""
    node_id: str = ""
    worker_id: str = ""
    state_transitions: list[_Change] = []
    ray_error_info: _Error | None = None


class _NodeDefinition(msgspec.Struct, rename="camel"):
    node_id: str
    node_ip_address: str = ""
    hostname: str = ""
    start_timestamp: str = ""
    labels: dict[str, str] = {}


class _Life(msgspec.Struct, rename="camel"):
    node_id: str = ""
    worker_id: str = ""
    job_id: str = ""
    actor_id: str = ""
    state_transitions: list[_Change] = []


class _ActorDefinition(msgspec.Struct, rename="camel"):
    actor_id: str
    class_name: str = ""


class _Event(msgspec.Struct, rename="camel"):
    event_type: str = ""
    session_name: str = ""
    task_definition_event: _TaskDefinition | None = None
    actor_task_definition_event: _TaskDefinition | None = None
    task_lifecycle_event: _TaskLife | None = None
    node_definition_event: _NodeDefinition | None = None
    node_lifecycle_event: _Life | None = None
    worker_lifecycle_event: _Life | None = None
    driver_job_lifecycle_event: _Life | None = None
    actor_definition_event: _ActorDefinition | None = None
    actor_lifecycle_event: _Life | None = None


_ALONE = msgspec.json.Decoder(_Event, strict=False)
_MANY = msgspec.json.Decoder(list[msgspec.Raw], strict=False)
_REPEATED = ("WORKER_DEFINITION_EVENT", "DRIVER_JOB_DEFINITION_EVENT")
"""Say nothing that other events do not say."""


def nanoseconds(text: str) -> int:
    """Return an RFC 3339 time with up to nine decimals as ns since 1970; 0 where it is none."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    try:
        since = datetime.fromisoformat(whole).replace(tzinfo=UTC) - _EPOCH
        return within((since.days * 86_400 + since.seconds) * 10**9 + int(rest[:9].ljust(9, "0")))
    except ValueError:
        return 0


def read_http_events(
    files: Sequence[Path], limits: Limits, report: Completeness
) -> tuple[Session, list[Source]]:
    """Read what the aggregator of one session sent.

    Args:
        files: JSON lines, plain or compressed.
        limits: What each may cost.
        report: Counts what is not read.

    Returns:
        What they say, and the files as they were read.

    Raises:
        CorruptError: When nothing in them tells of a task.
    """
    told, sources = Session(), []
    session = ""
    for file in files:
        source = Source(file, limits)
        sources.append(source)
        for number, line in enumerate(source.lines(), 1):
            text = line.strip()
            if not text:
                continue
            try:
                bodies = _MANY.decode(text) if text.startswith(b"[") else [msgspec.Raw(text)]
            except UNREADABLE as error:
                _lose(report, source, number, error)
                continue
            for body in bodies:
                try:
                    event = _ALONE.decode(body)
                    session = session or event.session_name
                    if event.session_name != session:
                        raise msgspec.ValidationError(
                            f"an event of another session, {event.session_name[:80]}"
                        )
                    _take(told, event, report)
                except UNREADABLE as error:
                    _lose(report, source, number, error)
    if not len(told):
        raise CorruptError("none of the events tells of a task")
    return told, sources


def _lose(report: Completeness, source: Source, number: int, error: Exception) -> None:
    count = report.of("tasks")
    count.seen += 1
    count.dropped += 1
    if source.truncated:
        report.flags["truncated"] = True
    why = str(error) or type(error).__name__
    report.note(f"{source.path.name}, line {number} cannot be read: {why[:200]}")


def _take(told: Session, event: _Event, report: Completeness) -> None:
    if event.task_lifecycle_event is not None:
        _take_life(told, event.task_lifecycle_event)
    elif event.task_definition_event is not None:
        _take_definition(told, event.task_definition_event)
    elif event.actor_task_definition_event is not None:
        _take_definition(told, event.actor_task_definition_event, ACTOR_CALL)
    elif event.node_definition_event is not None:
        _take_node(told, event.node_definition_event)
    elif event.node_lifecycle_event is not None:
        _take_node_life(told, event.node_lifecycle_event)
    elif event.worker_lifecycle_event is not None:
        _take_worker(told, event.worker_lifecycle_event)
    elif event.driver_job_lifecycle_event is not None:
        _take_job(told, event.driver_job_lifecycle_event)
    elif event.actor_definition_event is not None:
        one = event.actor_definition_event
        told.actors.setdefault(_must(one.actor_id), ActorTold()).name = one.class_name[:200]
    elif event.actor_lifecycle_event is not None:
        _take_actor(told, event.actor_lifecycle_event)
    elif event.event_type not in _REPEATED:
        report.see_unknown(event.event_type or "(no eventType)")


def _must(text: str) -> bytes:
    found = plain_id(text)
    if found is None:
        raise msgspec.ValidationError("an event without an id of what it is about")
    return found


def _attempt(told: Session, task: str, number: int) -> int:
    if not 0 <= number < 1 << 31:
        raise msgspec.ValidationError("an attempt of no sensible number")
    return told.attempt(_must(task), number)


def _take_definition(told: Session, task: _TaskDefinition, kind: str = "") -> None:
    row = _attempt(told, task.task_id, task.task_attempt)
    functions = task.task_func or task.actor_func
    function = functions.python_function_descriptor if functions is not None else None
    name = task.task_name or task.actor_task_name
    if function is not None and function.function_name:
        owner = f"{function.class_name}." if function.class_name else ""
        name = owner + function.function_name
    told.belong(row, plain_id(task.job_id))
    kind = kind or task.task_type
    told.define(
        row,
        name=name,
        kind=kind,
        asked=task.required_resources,
        parent=plain_id(task.parent_task_id),
        actor=plain_id(task.actor_id) or _must(task.task_id)[ACTOR_ID:],
    )


def _take_life(told: Session, life: _TaskLife) -> None:
    row = _attempt(told, life.task_id, life.task_attempt)
    told.belong(row, plain_id(life.job_id))
    told.place(row, plain_id(life.node_id), plain_id(life.worker_id))
    for change in life.state_transitions:
        state = STATES.get(change.state)
        if state is not None:
            told.state(row, state, nanoseconds(change.timestamp))
    if life.ray_error_info is not None:
        told.fail(row, life.ray_error_info.error_type, life.ray_error_info.error_message)


def _take_node(told: Session, node: _NodeDefinition) -> None:
    one = told.nodes.setdefault(_must(node.node_id), NodeTold())
    one.host = (node.hostname or node.node_ip_address)[:200]
    one.added = nanoseconds(node.start_timestamp) or one.added
    equip(one, None, node.labels)


def _take_node_life(told: Session, life: _Life) -> None:
    one = told.nodes.setdefault(_must(life.node_id), NodeTold())
    for change in life.state_transitions:
        equip(one, change.resources, {})
        if change.state == "ALIVE":
            one.added = one.added or nanoseconds(change.timestamp)
        elif change.state == "DEAD":
            one.removed = nanoseconds(change.timestamp)
            one.reason = str(change.death_info.get("reason", ""))[:80]


def _take_worker(told: Session, life: _Life) -> None:
    one = told.workers.setdefault(_must(life.worker_id), WorkerTold())
    for change in life.state_transitions:
        one.launched = within(change.worker_launch_time_ms * _MS) or one.launched
        one.ready = within(change.start_time_ms * _MS) or one.ready
        one.ended = within(change.end_time_ms * _MS) or one.ended


def _take_job(told: Session, life: _Life) -> None:
    one = told.jobs.setdefault(_must(life.job_id), JobTold())
    for change in life.state_transitions:
        if change.state == "CREATED":
            one.started = nanoseconds(change.timestamp)
        elif change.state == "FINISHED":
            one.ended = nanoseconds(change.timestamp)


def _take_actor(told: Session, life: _Life) -> None:
    one = told.actors.setdefault(_must(life.actor_id), ActorTold())
    one.whole_seconds = False
    for change in life.state_transitions:
        one.node = plain_id(change.node_id) or one.node
        if change.state == "DEAD":
            one.ended = nanoseconds(change.timestamp)
