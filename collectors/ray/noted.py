"""Noted: what a watched program and its workers write beside Ray's own events, a line each.

Ray's events name neither data dependencies nor sizes, nor what a policy was shown and chose, nor
what a task truly used. ``collectors.ray.watch`` notes these while the program runs, so that
nothing is lost when it crashes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from collectors.completeness import Completeness
from collectors.ray.folding import Known, Session

VERSION = 1
"""Of these lines."""


class Begun(msgspec.Struct, tag="begun", kw_only=True):
    """The first line: which trace the program was watched for."""

    version: int
    trace: str
    policy: str | None = None


class Submitted(msgspec.Struct, tag="submitted", kw_only=True):
    """A task was handed to Ray: its id and those of the results that it takes, in hex.

    The id of a result is that of its task and, in its last four bytes, which result it is.
    """

    task: str
    takes: list[str]
    decision: int | None = None


class Decided(msgspec.Struct, tag="decided", kw_only=True):
    """A policy chose how a task is run."""

    decision: int
    agent: str
    at: float
    action: int
    slots: int
    propensity: float | None
    policy: str
    digest: str


class Probed(msgspec.Struct, tag="probed", kw_only=True):
    """What an attempt took: CPU seconds, bytes over the worker's base, bytes in and out.

    ``sizes`` are the bytes of each result; null where they are not known.
    """

    task: str
    attempt: int
    cpu_seconds: float
    peak_memory: float
    bytes_in: float | None = None
    sizes: list[float | None] = []


NOTE = b'{"type":'
"""How such a line begins."""

Note = Begun | Submitted | Decided | Probed

_NOTE = msgspec.json.Decoder(Note)
_MOST = 1 << 31
_INDEX = 4


def line(note: Note) -> bytes:
    """Return a note as a line."""
    return msgspec.json.encode(note) + b"\n"


def take_note(told: Session, text: bytes, report: Completeness) -> None:
    """Read a line into what is known of a session.

    Raises:
        msgspec.MsgspecError: When it is no such line.
    """
    note = _NOTE.decode(text)
    if isinstance(note, Begun):
        _require(note.version == VERSION, f"notes of version {note.version}")
        report.flags["watched"] = note.trace[:100]
    elif isinstance(note, Submitted):
        _require(note.decision is None or 0 <= note.decision < _MOST, "a decision's number")
        known = Known(decision=note.decision)
        for result in map(_id, note.takes):
            _require(len(result) > _INDEX, "the id of a result")
            number = int.from_bytes(result[-_INDEX:], "little")
            known.takes.setdefault(result[:-_INDEX], []).append(number)
        told.known[_id(note.task)] = known
    elif isinstance(note, Decided):
        _take_decision(told, note)
    else:
        _require(0 <= note.attempt < _MOST, "an attempt's number")
        task = _id(note.task)
        sizes = [_amount(size) for size in note.sizes]
        told.sizes[task] = sizes
        told.probes[task + note.attempt.to_bytes(4, "big")] = {
            "cpu_seconds": _amount(note.cpu_seconds),
            "peak_memory": _amount(note.peak_memory),
            "bytes_in": _amount(note.bytes_in),
            "bytes_out": total(sizes),
        }


def _take_decision(told: Session, note: Decided) -> None:
    _require(0 <= note.decision < _MOST and 0 < note.slots < _MOST, "a decision's number")
    _require(0 <= note.action < note.slots, "an action that is none of the slots")
    _require(note.propensity is None or 0 < note.propensity <= 1, "a propensity")
    _require(0 < note.at < 1 << 32, "a decision's time")
    row: dict[str, Any] = {
        "decision": note.decision,
        "epoch": note.decision,
        "agent": note.agent[:200],
        "at": note.at,
        "action": note.action,
        "key": note.action,
        "slots": note.slots,
        "propensity": note.propensity,
        "policy": note.policy[:200],
        "digest": note.digest[:80],
        "inferred": False,
        "invalid": False,
    }
    told.decisions.append(row)


def _require(good: bool, what: str) -> None:
    if not good:
        raise msgspec.ValidationError(f"{what} makes no sense")


def _id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    _require(0 < len(found) <= 64, "an id")
    return found


def total(sizes: Sequence[float | None]) -> float | None:
    """Return the sum of sizes; None where one of them is not known, or there are none."""
    known = [s for s in sizes if s is not None]
    return float(sum(known)) if known and len(known) == len(sizes) else None


def _amount(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value >= 0 else None
