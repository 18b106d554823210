"""Timeline: the Chrome trace that ``ray.timeline()`` dumps, read as far as it tells of tasks.

It holds what the workers did, with the task's id, but not when a task was submitted, what it
asked for, which attempt it was or how it ended. Those stay null, or are flagged where a trace
must have a value.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from collectors.ray.export_events import UNREADABLE
from collectors.ray.folding import PHASES
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source
from toolkit.errors import CorruptError
from toolkit.trace import METRIC

MOST = 512 << 20
"""Bytes of the largest dump: one JSON document, which is read as a whole."""

_PHASES = dict(
    zip(("task:deserialize_arguments", "task:execute", "task:store_outputs"), PHASES, strict=True)
)
_TASK = "task::"
_SUBMIT = "submit_task"
_JOB_ID = 8
_SLACK = 1.0


class _Arguments(msgspec.Struct):
    task_id: str = ""


class _Event(msgspec.Struct):
    cat: str = ""
    pid: str | int = ""
    tid: str | int = ""
    ts: float = 0.0
    dur: float = 0.0
    ph: str = ""
    args: _Arguments = msgspec.field(default_factory=_Arguments)


class _Attempt(msgspec.Struct):
    """One execution of a task; times in microseconds since 1970."""

    task: str
    type: str
    host: str
    thread: str
    started: float
    finished: float
    phases: dict[str, float] = {}


_EVENTS = msgspec.json.Decoder(list[msgspec.Raw])
_EVENT = msgspec.json.Decoder(_Event)


def read_timeline(file: Path, limits: Limits, run: RunWriter) -> tuple[float, Source]:
    """Read a dump into a run.

    Args:
        file: The JSON document, plain or compressed.
        limits: What it may cost.
        run: Takes the rows.

    Returns:
        Time 0 of the run, s since 1970, and the file as it was read.

    Raises:
        CorruptError: When it is no such document or tells of no task.
    """
    source = Source(file, limits)
    events = _events(source, run)
    attempts, loose = _attempts(events)
    if not attempts:
        raise CorruptError(f"{file.name} tells of no task that was executed")
    _write(attempts, loose, events, run)
    return min(e.ts for e in events) / 1e6, source


def _events(source: Source, run: RunWriter) -> list[_Event]:
    text = source.whole(min(MOST, source.limits.bytes))
    report = run.completeness
    try:
        bodies = _EVENTS.decode(text)
    except UNREADABLE:
        # A dump that was cut: what lies before its last whole event can be read.
        end = text.rfind(b"}, {")
        try:
            bodies = _EVENTS.decode(text[: end + 1] + b"]") if end > 0 else []
        except UNREADABLE as error:
            raise CorruptError(f"{source.path.name} is damaged: {str(error)[:200]}") from error
        report.flags["truncated"] = True
        report.of("tasks").seen += 1
        report.of("tasks").dropped += 1
    found = []
    for number, body in enumerate(bodies):
        try:
            event = _EVENT.decode(body)
        except UNREADABLE as error:
            report.of("tasks").seen += 1
            report.of("tasks").dropped += 1
            report.note(f"event {number} cannot be read: {(str(error) or 'too deep')[:200]}")
            continue
        sane = math.isfinite(event.ts) and math.isfinite(event.dur)
        if event.ph != "X" or not (sane and event.ts > 0 and event.dur >= 0):
            report.see_unknown(f"{event.cat} ({event.ph or 'no ph'})")
            continue
        if not _known(event.cat):
            report.see_unknown(event.cat)
        found.append(event)
    return found


def _known(category: str) -> bool:
    return category in _PHASES or category == _SUBMIT or category.startswith(_TASK)


def _attempts(events: Sequence[_Event]) -> tuple[list[_Attempt], list[_Event]]:
    """Return the executions, and the phases that belong to none of which the end is told."""
    whole = [
        _Attempt(
            task=e.args.task_id[:100],
            type=e.cat[len(_TASK) :][:200] or "unknown",
            host=str(e.pid)[:200],
            thread=str(e.tid)[:200],
            started=e.ts,
            finished=e.ts + e.dur,
            phases={},
        )
        for e in events
        if e.cat.startswith(_TASK)
    ]
    by_thread: dict[str, list[_Attempt]] = {}
    for one in whole:
        by_thread.setdefault(one.thread, []).append(one)
    parts: dict[str, list[_Event]] = {}
    for event in events:
        if event.cat in _PHASES:
            parts.setdefault(str(event.tid)[:200], []).append(event)
    loose = []
    for thread, some in parts.items():
        loose += _share_out(some, by_thread.get(thread, []))
    return whole, loose


def _share_out(parts: list[_Event], attempts: list[_Attempt]) -> list[_Event]:
    """Add phases to the execution around each; where several overlap, to none of them.

    Returns:
        Those around which there is none.
    """
    attempts.sort(key=lambda a: a.started)
    active: list[_Attempt] = []
    nxt, loose = 0, []
    for event in sorted(parts, key=lambda e: e.ts):
        while nxt < len(attempts) and attempts[nxt].started <= event.ts + _SLACK:
            active.append(attempts[nxt])
            nxt += 1
        active = [a for a in active if a.finished >= event.ts]
        around = [a for a in active if a.finished >= event.ts + event.dur - _SLACK]
        if len(around) == 1:
            phase = _PHASES[event.cat]
            around[0].phases[phase] = around[0].phases.get(phase, 0.0) + event.dur / 1e6
        elif not around:
            loose.append(event)
    return loose


def _write(
    attempts: list[_Attempt], loose: list[_Event], events: list[_Event], run: RunWriter
) -> None:
    report = run.completeness
    zero = min(e.ts for e in events)
    hosts: dict[str, int] = {}
    for event in events:
        hosts.setdefault(str(event.pid)[:200], len(hosts))
    for host, k in hosts.items():
        report.of("nodes").seen += 1
        report.of("nodes").complete += 1
        run.add("nodes", node=k, name=host, kind=f"host-{k}", logical=False)
    attempts.sort(key=lambda a: (a.started, a.task))
    jobs = _jobs(attempts, events, zero, run)
    numbers: dict[str, int] = {}
    tries: Counter[str] = Counter()
    count = report.of("tasks")
    for position, one in enumerate(attempts):
        name = one.task or f"unnamed-{position}"
        task = numbers.setdefault(name, len(numbers))
        stored = "store" in one.phases
        count.seen += 1
        count.complete += 1
        row: dict[str, Any] = {METRIC + f"{p}_seconds": one.phases.get(p) for p in PHASES}
        run.add(
            "tasks",
            task=task,
            attempt=tries[name],
            name=one.task or None,
            job=jobs[_job_of(one)],
            type=one.type,
            node=hosts[one.host],
            started_at=(one.started - zero) / 1e6,
            finished_at=(one.finished - zero) / 1e6,
            status="done" if stored else "failed",
            reason=None if stored else "it stored no outputs",
            **{METRIC + "worker": one.thread.rpartition(":")[2]},
            **row,
        )
        tries[name] += 1
    submitted = sum(e.cat == _SUBMIT for e in events)
    # Ray keeps a thousand events of a task, so that many submissions may be missing here.
    count.expected = submitted + len(attempts) - len(numbers) if submitted else None
    if loose:
        threads = len({str(e.tid) for e in loose})
        count.seen += threads
        count.dropped += threads
        report.note(
            f"{threads} workers began executions of which neither name nor end is told, as those "
            "do that die; they were left out"
        )
    report.flags["form"] = "timeline: no submissions, resources, attempts or outcomes"
    report.flags["attempts"] = "numbered by their start; those of dead workers are not told"
    report.flags["outcomes"] = "inferred: done where outputs were stored"


def _job_of(one: _Attempt) -> str:
    """Return the job: the last bytes of a task's id; empty where it has none."""
    return one.task[-_JOB_ID:] if len(one.task) > _JOB_ID else ""


def _jobs(
    attempts: Sequence[_Attempt], events: Sequence[_Event], zero: float, run: RunWriter
) -> dict[str, int]:
    """Write the jobs; a job arrives, as far as is told, with the first event of its driver."""
    first: dict[str, float] = {}
    for one in attempts:
        job = _job_of(one)
        first[job] = min(first.get(job, math.inf), one.started)
    for event in events:
        kind, _, owner = str(event.tid).partition(":")
        job = owner[:_JOB_ID]
        if kind == "driver" and job in first:
            first[job] = min(first[job], event.ts)
    count = run.completeness.of("jobs")
    for k, (job, at) in enumerate(first.items()):
        count.seen += 1
        count.complete += 1
        run.add("jobs", job=k, name=job or None, arrived_at=(at - zero) / 1e6)
    return {job: k for k, job in enumerate(first)}
