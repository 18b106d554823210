"""nvidia-smi: its samples of utilisation, memory, power and clocks, beside the trace of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from collectors.gpu.events import number
from collectors.run_writer import RunWriter
from collectors.streams import Source

AROUND = 1.0
"""Seconds before and after a run of which samples are kept: counters cover up to one second."""

DAY = 86400.0

Kind = Literal["query", "dmon"]

_MIB = float(1 << 20)
_UNITS: dict[str, tuple[str, float]] = {
    "%": ("percent", 1.0),
    "mib": ("bytes", _MIB),
    # dmon says MB and means MiB.
    "mb": ("bytes", _MIB),
    "w": ("watts", 1.0),
    "c": ("celsius", 1.0),
    "mhz": ("mhz", 1.0),
    "mb/s": ("bytes_per_second", 1e6),
    "kb/s": ("bytes_per_second", 1e3),
    "ms": ("milliseconds", 1.0),
    "us": ("microseconds", 1.0),
}
_QUERY = {
    "utilization.gpu": "gpu_utilisation",
    "utilization.memory": "memory_utilisation",
    "utilization.encoder": "encoder_utilisation",
    "utilization.decoder": "decoder_utilisation",
    "power.draw": "power",
    "clocks.sm": "sm_clock",
    "clocks.current.sm": "sm_clock",
    "clocks.mem": "memory_clock",
    "clocks.current.memory": "memory_clock",
    "clocks.gr": "graphics_clock",
    "clocks.current.graphics": "graphics_clock",
    "temperature.gpu": "temperature",
    "temperature.memory": "memory_temperature",
}
_QUERY_UNITS = {"temperature.gpu": "c", "temperature.memory": "c"}
_DMON = {
    "pwr": "power",
    "gtemp": "temperature",
    "mtemp": "memory_temperature",
    "sm": "sm_utilisation",
    "mem": "memory_utilisation",
    "enc": "encoder_utilisation",
    "dec": "decoder_utilisation",
    "jpg": "jpeg_utilisation",
    "ofa": "optical_flow_utilisation",
    "mclk": "memory_clock",
    "pclk": "sm_clock",
    "fb": "memory_used",
    "bar1": "bar1_used",
    "rxpci": "pcie_received",
    "txpci": "pcie_sent",
}
_WHO = {"timestamp", "index", "uuid", "gpu_uuid", "name", "gpu_name", "count", "driver_version"}
_WHO |= {
    "pci.bus_id",
    "gpu_bus_id",
    "serial",
    "gpu_serial",
    "pci.bus",
    "pci.device",
    "vbios_version",
}
_KNOWN = re.compile(r"(?:utilization|memory|power|clocks|temperature|fan|pcie|pstate|index|uuid)\b")
_HEADER_UNIT = re.compile(r"\s*\[([^\]]*)\]\s*$")
_DATED = re.compile(r"(\d{4})[/-](\d\d)[/-](\d\d)[ T](\d\d):(\d\d):(\d\d)(\.\d{1,9})?\s*$")
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)$")
_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)$")
_VALUE = re.compile(r"(-?\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z%/]{0,5})$")
_NONE = re.compile(
    r"-|n/a|\[?(?:n/a|not supported|unknown error|insufficient permissions)\]?", re.I
)


def kind_of(head: bytes) -> Kind | None:
    """Return which of its formats the beginning of a file is in, or None."""
    lines = [one for one in head[:8192].decode("utf-8", "replace").splitlines() if one.strip()][:2]
    if not lines:
        return None
    if lines[0].lstrip().startswith("#"):
        second = lines[1].lstrip() if len(lines) > 1 else "# idx"
        named = "gpu" in _words(lines[0]) and second.startswith("#")
        return "dmon" if named and "idx" in _words(second) else None
    names = [_HEADER_UNIT.sub("", c).strip().lower() for c in lines[0].split(",")]
    known = sum(bool(_KNOWN.match(n)) for n in names)
    return "query" if known and (known > 1 or "timestamp" in names) else None


@dataclass(frozen=True, kw_only=True)
class Window:
    """The run that samples are beside.

    Args:
        began_unix: Seconds since 1970 at its time 0; None where its trace does not say.
        seconds: How long it took.
        nodes: The node of each device, by the index of the device.
        names: Name of each device, by index, where the trace says.
        uuids: Index of the device of each UUID, where the trace says.
    """

    began_unix: float | None
    seconds: float
    nodes: Mapping[int, int]
    names: Mapping[int, str]
    uuids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Column:
    metric: str
    scale: float


_Sample = tuple[float, int | None, str, float]
"""Time, node, metric and value."""


class Smi:
    """Samples of one file.

    Args:
        source: The file.
        run: Takes the rows.
        window: The run that they are beside.
        zone: Of the times in the file.
    """

    def __init__(self, source: Source, run: RunWriter, window: Window, zone: ZoneInfo) -> None:
        self._source, self._run, self._window, self._zone = source, run, window, zone
        self._report = run.completeness
        self._columns: list[str] = []
        self._metrics: dict[int, _Column] = {}
        self._nodes: dict[tuple[str, str, str], int | None] = {}
        self._others: set[tuple[str, str, str]] = set()
        self._outside = self._other_device = self._absent = self._kept = 0
        self._nearest: float | None = None

    def read(self) -> None:
        """Read the file and write the samples that belong to the run.

        Raises:
            CorruptError: When the file is damaged or larger than is allowed.
        """
        name = self._source.path.name
        if self._window.began_unix is None:
            for _ in self._source.chunks():
                pass
            self._refuse("the trace does not say when it was: it has no baseTimeNanoseconds")
            return
        first, lines = _peek(self._source)
        kind = kind_of("\n".join(first).encode())
        if kind == "query":
            why = self._query(lines)
        elif kind == "dmon":
            why = self._dmon(lines)
        else:
            why = "it does not begin with the names of its columns"
            for _ in lines:
                pass
        if why is None and not self._kept:
            why = self._elsewhere()
        if why is not None:
            self._refuse(why)
        for flag, count in (
            ("samples_of_other_times", self._outside),
            ("samples_of_other_devices", self._other_device),
            ("samples_not_available", self._absent),
        ):
            if count:
                self._report.flags[flag] = self._report.flags.get(flag, 0) + count
        if self._others:
            self._report.note(
                f"{name[:80]}: samples of {len(self._others)} more devices, which the trace does "
                "not use, are left out"
            )

    def _refuse(self, why: str) -> None:
        self._report.note(f"no samples from {self._source.path.name[:80]}: {why}")
        self._report.flags["samples_refused"] = self._report.flags.get("samples_refused", 0) + 1

    def _elsewhere(self) -> str:
        if self._nearest is None:
            return "it has no sample of a device that the trace uses"
        hours = round(self._nearest / 900) / 4
        why = f"its nearest time is {abs(self._nearest):,.0f} s from the run"
        if hours and abs(hours) <= 14 and abs(self._nearest - hours * 3600) < 300:
            why += f", about {hours:+g} h: is collector.zone={self._zone.key} its time zone?"
        return why

    # -- nvidia-smi --query-gpu=… --format=csv --------------------------------------------------

    def _query(self, lines: Iterator[tuple[str, bool]]) -> str | None:
        width = 0
        for text, cut in lines:
            if not text.strip():
                continue
            cells = [c.strip() for c in text.split(",")]
            names = [_HEADER_UNIT.sub("", c).strip().lower() for c in cells]
            if "timestamp" in names or (not width and kind_of(text.encode()) == "query"):
                if "timestamp" not in names:
                    return "it has no column timestamp: query timestamp as well"
                width = len(cells)
                self._head(names, [_unit(c) for c in cells], _QUERY, _QUERY_UNITS)
                continue
            when = names.index("timestamp") if not width else self._columns.index("timestamp")
            if len(cells) != width:
                self._lose(len(self._metrics))
                continue
            moment = self._moment(cells[when])
            if moment is None:
                self._lose(len(self._metrics))
                continue
            at = moment - (self._window.began_unix or 0.0)
            self._row(at, cells, cut=cut)
        return None

    def _moment(self, text: str) -> float | None:
        found = _DATED.match(text)
        if not found:
            return None
        try:
            year, month, day, hour, minute, second = (int(g) for g in found.groups()[:6])
            whole = datetime(year, month, day, hour, minute, second, tzinfo=self._zone)
            return whole.timestamp() + float(found[7] or 0.0)
        except (ValueError, OverflowError):
            return None

    # -- nvidia-smi dmon ------------------------------------------------------------------------

    def _dmon(self, lines: Iterator[tuple[str, bool]]) -> str | None:
        began = datetime.fromtimestamp(self._window.began_unix or 0.0, tz=self._zone)
        midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
        names: list[str] = []
        passes: dict[int, list[_Sample]] = {}
        turns, before = 0, -1.0
        for text, cut in lines:
            words = _words(text)
            if text.lstrip().startswith("#"):
                if "gpu" in words:
                    names = words
                elif "idx" in words and len(words) == len(names):
                    self._head(names, words, _DMON, {})
                continue
            cells = [w for w in re.split(r"[\s,]+", text.strip()) if w]
            if not cells:
                continue
            if "time" not in names:
                return "dmon writes no time unless asked to: dmon -o DT"
            if len(cells) != len(names) or not self._columns:
                self._lose(len(self._metrics))
                continue
            clock = _CLOCK.match(cells[names.index("time")])
            if not clock or int(clock[1]) > 23 or int(clock[2]) > 59 or int(clock[3]) > 60:
                self._lose(len(self._metrics))
                continue
            since = int(clock[1]) * 3600.0 + int(clock[2]) * 60.0 + int(clock[3])
            if "date" in names:
                moment = self._date(cells[names.index("date")], since)
                if moment is None:
                    self._lose(len(self._metrics))
                    continue
                self._row(moment - (self._window.began_unix or 0.0), cells, cut=cut)
                continue
            turns += since < before - DAY / 2
            before = since
            at = (midnight + timedelta(seconds=since) - began).total_seconds()
            at = min((at - DAY, at, at + DAY), key=lambda a: abs(a - self._window.seconds / 2))
            # Rows of one pass over the run, also over midnight, agree on when the file began.
            opened = round(turns * DAY + since - at)
            self._row(at, cells, cut=cut, held=passes.setdefault(opened, []))
        passes = {opened: rows for opened, rows in passes.items() if rows}
        if len(passes) > 1:
            return "it goes over the time of day of the run more than once: dmon -o DT has dates"
        for rows in passes.values():
            for row in rows:
                self._keep(*row)
        return None

    def _date(self, text: str, since: float) -> float | None:
        found = _DATE.match(text)
        if not found:
            return None
        try:
            day = datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=self._zone)
            return (day + timedelta(seconds=since)).timestamp()
        except (ValueError, OverflowError):
            return None

    # -- both -----------------------------------------------------------------------------------

    def _head(
        self,
        names: Sequence[str],
        units: Sequence[str],
        known: Mapping[str, str],
        tacit: Mapping[str, str],
    ) -> None:
        self._columns = list(names)
        self._metrics = {}
        for at, (name, said) in enumerate(zip(names, units, strict=True)):
            if name in _WHO or name in ("gpu", "date", "time"):
                continue
            unit = said.strip().lower() or tacit.get(name, "")
            suffix, scale = _UNITS.get(unit, (re.sub(r"\W+", "_", unit).strip("_"), 1.0))
            metric = known.get(name, re.sub(r"\W+", "_", name).strip("_"))
            self._metrics[at] = _Column(metric=f"{metric}_{suffix}".strip("_")[:80], scale=scale)

    def _row(
        self, at: float, cells: Sequence[str], *, cut: bool, held: list[_Sample] | None = None
    ) -> None:
        if not -AROUND <= at <= self._window.seconds + AROUND:
            self._outside += len(self._metrics)
            away = at if at < 0 else at - self._window.seconds
            if self._nearest is None or abs(away) < abs(self._nearest):
                self._nearest = away
            return
        there, node = self._node(cells)
        if not there:
            self._other_device += len(self._metrics)
            return
        count = self._report.of("samples")
        for column, about in self._metrics.items():
            text = cells[column]
            if _NONE.fullmatch(text):
                self._absent += 1
                continue
            found = _VALUE.match(text)
            value = number(found[1]) if found else None
            if (value is None and text[:1].isalpha()) or text.startswith("0x"):
                self._report.see_unknown(f"{about.metric} (text)")
                continue
            count.seen += 1
            if value is None or (cut and column == len(cells) - 1):
                count.dropped += 1
                continue
            count.complete += 1
            row = (at, node, about.metric, value * about.scale)
            if held is None:
                self._keep(*row)
            else:
                held.append(row)

    def _keep(self, at: float, node: int | None, metric: str, value: float) -> None:
        self._kept += 1
        self._run.add("samples", at=at, node=node, metric=metric, value=value)

    def _lose(self, cells: int) -> None:
        count = self._report.of("samples")
        count.seen += cells
        count.dropped += cells

    def _node(self, cells: Sequence[str]) -> tuple[bool, int | None]:
        """Return whether a row is of a device of the trace, and the node where it says which."""

        def cell(*names: str) -> str:
            return next((cells[self._columns.index(n)] for n in names if n in self._columns), "")

        who = (
            cell("uuid", "gpu_uuid"),
            cell("index") or cell("gpu"),
            cell("name", "gpu_name"),
        )
        if who in self._others:
            return False, None
        if who not in self._nodes:
            there, node = self._find(*who)
            if not there:
                self._others.add(who)
                return False, None
            self._nodes[who] = node
        return True, self._nodes[who]

    def _find(self, uuid: str, index: str, name: str) -> tuple[bool, int | None]:
        window = self._window
        if uuid and window.uuids:
            known = window.uuids.get(uuid.lower().removeprefix("gpu-"))
            return known in window.nodes, window.nodes.get(known) if known is not None else None
        if index.isdigit() and len(index) < 6:
            device = int(index)
            if device not in window.nodes:
                return False, None
            if name and window.names.get(device, name) != name:
                return False, None
            return True, window.nodes[device]
        if name and window.names and name not in window.names.values():
            return False, None
        self._report.note(
            f"{self._source.path.name[:80]}: neither index nor a UUID that the trace knows says "
            "of which device its samples are; their node is null"
        )
        return bool(window.nodes), None


def _unit(cell: str) -> str:
    found = _HEADER_UNIT.search(cell)
    return found[1] if found else ""


def _words(text: str) -> list[str]:
    return [w.lower() for w in re.split(r"[\s,]+", text.replace("#", " ").strip()) if w]


def _peek(source: Source) -> tuple[list[str], Iterator[tuple[str, bool]]]:
    """Return the first two lines, and all lines, each with whether it was cut off."""
    lines = source.lines()
    first = []
    for line in lines:
        first.append(line.decode("utf-8", "replace").lstrip("\ufeff"))
        if sum(bool(f.strip()) for f in first) >= 2:
            break

    def every() -> Iterator[tuple[str, bool]]:
        # A line is known to be whole once the next one is there, or the file is at its end.
        waiting = list(first)
        for line in lines:
            for text in waiting:
                yield text, False
            waiting = [line.decode("utf-8", "replace")]
        for k, text in enumerate(waiting):
            yield text, source.truncated and k == len(waiting) - 1

    return first, every()
