"""Events: the objects of a Chrome trace one block after another, whole, cut or damaged."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from collectors.streams import Source
from toolkit.errors import CorruptError, SchemaError

BLOCK = 1 << 20
"""Bytes of text that are decoded at once."""

LONGEST = 16 << 20
"""Bytes of the longest event, and of all that is said before and after the events."""

TRIES = 64
"""Places at which the end of a damaged event is looked for before it is given up."""

MOST_DAMAGED = 20_000
"""Damaged events after which a file that has more of them than of others is given up."""

PATIENCE = 4 << 20
"""Bytes of an event of which the end may still come."""

WALK = 16 << 10
"""Bytes in which the end of an event is looked for bracket by bracket."""

Number = float | str | None
Identity = int | str | float | None


class Args(msgspec.Struct, gc=False):
    """What is read of the ``args`` of an event; profilers write numbers as text at times."""

    external: float | None = msgspec.field(default=None, name="External id")
    correlation: float | None = None
    device: Number = None
    stream: Number = None
    grid: list[float] | None = None
    block: list[float] | None = None
    registers: Number = msgspec.field(default=None, name="registers per thread")
    shared: Number = msgspec.field(default=None, name="shared memory")
    occupancy: Number = msgspec.field(default=None, name="est. achieved occupancy %")
    bytes: Number = None
    bandwidth: Number = msgspec.field(default=None, name="memory bandwidth (GB/s)")
    size: Number = None
    dims: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="Input Dims")
    types: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="Input type")
    allocated: Number = msgspec.field(default=None, name="Total Allocated")
    reserved: Number = msgspec.field(default=None, name="Total Reserved")
    device_id: Number = msgspec.field(default=None, name="Device Id")
    device_type: Number = msgspec.field(default=None, name="Device Type")
    name: str | None = None


class Event(msgspec.Struct, gc=False):
    """One object of ``traceEvents``; ``ts`` and ``dur`` in microseconds."""

    ph: str = ""
    cat: str = ""
    name: str = ""
    pid: Identity = None
    tid: Identity = None
    ts: float | None = None
    dur: float | None = None
    args: Args | None = None


_EVENTS = msgspec.json.Decoder(list[Event])
_NAMES = {f.name: f.encode_name for f in msgspec.structs.fields(Args)}
# Possessive, so that a gap of a million spaces is passed once.
_ARRAY = re.compile(rb'"traceEvents"\s*+:\s*+\[')
# A quote cannot follow a brace inside a string without a backslash, so a false boundary is rare;
# none is trusted before what lies between two of them has been decoded.
_BOUNDARY = re.compile(rb'\}(\s*+,\s*+)\{\s*+"')
_END = re.compile(rb'\}(?=\s*+(?:,\s*+)?(?:\]|\{\s*+"|\Z))')
_EVENT_START = re.compile(rb'\s*+,\s*+\{\s*+"(?:ph|cat|name|pid|tid|ts|dur|id|s|bp|args)"\s*+:')
_CLOSED = re.compile(rb'\}\s*+(?:,\s*+)?(\])\s*+(?:,\s*+"|\}\s*+\Z|\Z)')
_GAP = re.compile(rb"[\s,]*+")
_NO_NUMBER = re.compile(rb":(\s*+)-?(?:inf|nan|Infinity|NaN)\b")
_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.DOTALL)
_BASE = re.compile(rb'"baseTimeNanoseconds"\s*:\s*(\d{1,19})\b')
_NUMBERS = ("registers", "shared", "occupancy", "bytes", "bandwidth", "size")
_MEMORY = ("allocated", "reserved", "device_id", "device_type", "device", "stream")


class Events:
    """The events of one document: ``{..., "traceEvents": [...], ...}`` or a bare array.

    Args:
        source: The file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.meta: dict[str, Any] = {}
        """What is said before and after the events; filled when they have been read."""
        self.truncated = False
        """Whether the document ends before its end."""
        self.damaged = 0
        """Events that could not be read at all."""
        self.repaired = 0
        """Events of which a value was no number or text and is null now."""
        self.damaged_tasks = 0
        """Those of the damaged that seem to be of a GPU."""
        self._head = b""
        self._tail = b""
        self._closed = False
        self._done = self._whole = 0
        self._seam = b""

    def blocks(self) -> Iterator[list[Event]]:
        """Yield lists of events in the order of the file.

        Raises:
            CorruptError: When the file is damaged or larger than is allowed.
            SchemaError: When it is no such document.
        """
        rest, inside = b"", False
        for chunk in self._source.chunks():
            if self._ended():
                self._tail = (self._tail + chunk)[:LONGEST]
                continue
            rest += chunk
            if not inside:
                at = self._array(rest)
                if at is None:
                    continue
                self._head, rest, inside = rest[:at], rest[at:], True
            yield from self._take(rest, final=False)
            rest = rest[self._done :]
            if self._ended():
                self._tail, rest = rest, b""
        if not inside:
            raise SchemaError(f"{self._source.path.name} has no traceEvents: it is no Chrome trace")
        if not self._ended():
            yield from self._take(rest, final=True)
            self._tail = rest[self._done :]
        self._conclude()

    def _ended(self) -> bool:
        return self._closed

    def _array(self, data: bytes) -> int | None:
        """Return where the first event may begin."""
        text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
        if text[:1] == b"[":
            return len(data) - len(text) + 1
        found = _ARRAY.search(data)
        if found:
            return found.end()
        if len(data) > LONGEST:
            raise SchemaError(f"{self._source.path.name} has no traceEvents: it is no Chrome trace")
        return None

    def _take(self, data: bytes, *, final: bool) -> Iterator[list[Event]]:
        """Yield what can be decoded; ``_done`` is up to where the text is done with."""
        start, size = 0, BLOCK
        self._done = 0
        while not self._ended() and start < len(data):
            stop = min(len(data), start + size)
            cut = _last_boundary(data, start, stop)
            if cut is not None:
                end, after = cut
                events = self._decode(data[start:end])
                if events is not None:
                    if not self._seam:
                        self._seam = data[end:after]
                    self._done = start = after
                    self._whole += len(events)
                    size = min(BLOCK, size * 4)
                    yield events
                    continue
                if stop - start > 4096:
                    size = (stop - start) // 2
                    continue
            elif stop == len(data) and not final and stop - start < LONGEST:
                return
            one = self._one(data, start, final=final)
            if one is None:
                return
            events, start = one
            self._done = start
            size = 2048
            self._whole += len(events)
            if self.damaged > max(MOST_DAMAGED, self._whole):
                raise CorruptError(
                    f"{self._source.path.name} is damaged: of its first "
                    f"{self.damaged + self._whole:,} events {self.damaged:,} cannot be read"
                )
            if events:
                yield events

    def _decode(self, text: bytes) -> list[Event] | None:
        """Return the events in a text, or None where one of them is not as it should be."""
        whole = b"[" + text + b"]"
        try:
            return _EVENTS.decode(whole)
        except msgspec.ValidationError:
            return None
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            place = _AT_BYTE.search(str(error))
            near = max(0, int(place[1]) - 64) if place else 0
            if not _NO_NUMBER.search(whole, near, near + 128 if place else len(whole)):
                return None
        # Versions of Kineto of 2021 wrote a bare ``inf`` where a copy took no time.
        whole, count = _NO_NUMBER.subn(rb":\1null", whole)
        try:
            events = _EVENTS.decode(whole)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        self.repaired += count
        return events

    def _one(self, data: bytes, start: int, *, final: bool) -> tuple[list[Event], int] | None:
        """Take one event, whatever its state, or find that the array ends here.

        Returns:
            The event, if it could be read, and where the next may begin; None where more text is
            needed to tell.
        """
        gap = _GAP.match(data, start)
        self._done = start = gap.end() if gap else start
        if data[start : start + 1] == b"]":
            if self.damaged:
                # Part of a damaged event may have been taken for events, and this for the end.
                more = self._next(data, start)
                if more is not None:
                    return [], more
                if not final and len(data) - start < BLOCK:
                    return None
            self._closed = True
            return [], start + 1
        tried, resume, sure = 0, None, False
        for end in _END.finditer(data, start):
            tried += 1
            text = data[start : end.end()]
            event = self._lenient(text) if tried == 1 else self._strict(text)
            if event is not None:
                return [event], end.end()
            if resume is None and self._resumes(data, end):
                resume = end.end()
            if tried == 1:
                # Objects inside an event end as events do; its own end is where all are closed.
                exact = _balanced(data, start)
                event = self._lenient(data[start:exact]) if exact else None
                if event is not None and exact:
                    return [event], exact
                resume, sure = resume or exact, exact is not None
            if sure or tried >= TRIES or (resume is not None and tried >= TRIES // 8):
                break
        here = len(data) - start
        enough = sure or here > LONGEST or (tried >= TRIES // 8 and here > PATIENCE)
        if not (final or enough):
            return None
        if resume is None:
            resume = self._next(data, start)
        torn = data[start:resume]
        if resume is None:
            closed = _CLOSED.search(data, start)
            torn = data[start : closed.start()] if closed else data[start:]
            self._closed = closed is not None
            resume = closed.end(1) if closed else len(data)
        if torn.strip():
            self.damaged += 1
            self.damaged_tasks += b'"kernel"' in torn or b'"gpu_mem' in torn
        return [], resume

    def _resumes(self, data: bytes, end: re.Match[bytes]) -> bool:
        """Return whether an event seems to begin after a place at which one may end."""
        at = end.end()
        return (
            data.startswith(self._seam, at)
            and _EVENT_START.match(data, at) is not None
            and b'"ph"' in data[at : at + 4096]
        )

    def _next(self, data: bytes, start: int) -> int | None:
        """Return the end of the first thing after which an event seems to begin."""
        ends = _END.finditer(data, start)
        return next((e.end() for e in ends if self._resumes(data, e)), None)

    def _strict(self, text: bytes) -> Event | None:
        found = self._decode(text)
        return found[0] if found is not None and len(found) == 1 else None

    def _lenient(self, text: bytes) -> Event | None:
        """Read an event that may hold values of the wrong kind; these become null."""
        found = self._decode(text)
        if found is not None:
            return found[0] if len(found) == 1 else None
        try:
            plain = json.loads(text.decode("utf-8", "replace"), parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return None
        if not isinstance(plain, dict):
            return None
        event, bent = _coerced(plain)
        self.repaired += bent
        return event

    def _conclude(self) -> None:
        """Read what is said before and after the events, as far as it can be read."""
        bare = self._head.strip(b"\xef\xbb\xbf \t\r\n") == b"["
        closed = self._closed and (bare or self._tail.rstrip().endswith(b"}"))
        self.truncated = self._source.truncated or not closed
        if bare:
            return
        for text in (self._head + b"]" + self._tail, self._head + b"]}"):
            try:
                # Traces of Windows hold paths whose backslashes nobody escaped.
                found = msgspec.json.decode(text.replace(b"\\", b"/"))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                self.meta = found
                return
        base = _BASE.search(self._head) or _BASE.search(self._tail)
        if base:
            self.meta = {"baseTimeNanoseconds": int(base[1])}


def _last_boundary(data: bytes, start: int, stop: int) -> tuple[int, int] | None:
    """Return where the last event that surely ends before ``stop`` ends, and the next begins."""
    width = 4096
    while True:
        low = max(start, stop - width)
        last = None
        for found in _BOUNDARY.finditer(data, low, stop):
            last = found
        if last is not None:
            return last.start() + 1, last.end(1)
        if low == start:
            return None
        width *= 8


def _balanced(data: bytes, start: int) -> int | None:
    """Return where every bracket opened from ``start`` on is closed, if that is near."""
    depth = 0
    for token in _TOKEN.finditer(data, start, min(len(data), start + WALK)):
        letter = token[0][:1]
        if token[0] == b'"':
            return None
        depth += (letter in b"{[") - (letter in b"}]")
        if depth <= 0:
            return token.end() if depth == 0 and letter == b"}" else None
    return None


def number(value: Any) -> float | None:
    """Return a finite number, also where it was written as text, else None."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(int(value, 0)) if _hex(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _hex(value: Any) -> bool:
    return isinstance(value, str) and value[:2] in ("0x", "0X") and len(value) < 40


def _sound(text: str) -> str:
    """Return text without halves of surrogate pairs, which no table can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _coerced(plain: dict[str, Any]) -> tuple[Event, bool]:
    """Return an event made of what is usable, and whether something was not."""
    bent = False

    def numeric(value: Any) -> float | None:
        nonlocal bent
        found = number(value)
        bent |= value is not None and found is None
        return found

    def text(value: Any) -> str:
        nonlocal bent
        bent |= value is not None and not isinstance(value, str)
        return _sound(value) if isinstance(value, str) else ""

    def identity(value: Any) -> Identity:
        nonlocal bent
        if isinstance(value, str):
            return _sound(value)
        if isinstance(value, int) and abs(value) < 1 << 63:
            return value
        return numeric(value)

    def sizes(value: Any) -> list[float] | None:
        found = [numeric(v) for v in value] if isinstance(value, list) else []
        return [v for v in found if v is not None] or None

    given = plain.get("args")
    args = None
    if isinstance(given, dict):
        args = Args(
            external=numeric(given.get(_NAMES["external"])),
            correlation=numeric(given.get("correlation")),
            grid=sizes(given.get("grid")),
            block=sizes(given.get("block")),
            name=_sound(n) if isinstance(n := given.get("name"), str) else None,
        )
        for name in (*_NUMBERS, *_MEMORY):
            setattr(args, name, numeric(given.get(_NAMES[name])))
    event = Event(
        ph=text(plain.get("ph")),
        cat=text(plain.get("cat")),
        name=text(plain.get("name")),
        pid=identity(plain.get("pid")),
        tid=identity(plain.get("tid")),
        ts=numeric(plain.get("ts")),
        dur=numeric(plain.get("dur")),
        args=args,
    )
    return event, bent
