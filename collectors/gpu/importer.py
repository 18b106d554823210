"""GPU importer: which files are traces of profilers, and which samples belong to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

import pyarrow as pa

from collectors.gpu import smi
from collectors.gpu.kineto import EXTRA, Kineto, facts
from collectors.importing import Log, Told
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source
from toolkit.errors import SchemaError, ToolkitError, require

SNIFF = 256 << 10
"""Bytes from which it is decided what a file is."""

_VERSIONS = (
    "schemaVersion",
    "cuda_runtime_version",
    "cuda_driver_version",
    "hip_runtime_version",
    "hip_driver_version",
    "pytorch_version",
)
_BARE = re.compile(rb'\[\s*,?\s*\{\s*"')


@dataclass(frozen=True, kw_only=True)
class GpuImporter:
    """Reads Kineto and Chrome traces of GPUs; each is a run, with the samples beside it.

    Samples of nvidia-smi lie beside a trace when they are in the same folder. Of these a run
    takes what was sampled while it ran on the devices that it used.

    Args:
        zone: IANA name of the time zone in which nvidia-smi wrote its local times.
    """

    zone: str = "UTC"
    source: str = "gpu"
    extra: ClassVar[Mapping[str, Sequence[pa.Field]]] = EXTRA

    def __post_init__(self) -> None:
        require(
            _known(self.zone),
            f"there is no time zone {self.zone[:80]!r}",
            hint="an IANA name: collector.zone=UTC, collector.zone=Europe/Berlin",
        )

    def find(self, path: Path) -> list[Log]:
        """Return the traces in a file or folder, and samples that lie beside none.

        A single file is read alone; a folder with those below it.
        """
        traces: list[Path] = []
        samples: list[Path] = []
        for file in _files(path):
            kind = _kind(file)
            if kind == "trace":
                traces.append(file)
            elif kind == "samples":
                samples.append(file)
        logs = []
        for file in traces:
            beside = [s for s in samples if s.parent == file.parent]
            logs.append(Log(name=_name(file, path), files=(file, *beside)))
        homes = {t.parent for t in traces}
        lonely = [s for s in samples if s.parent not in homes]
        return logs + [Log(name=_name(s, path), files=(s,)) for s in lonely]

    def read(self, log: Log, run: RunWriter, limits: Limits) -> Told:
        """Read a trace and the samples beside it.

        Raises:
            CorruptError: When nothing can be saved of the trace.
            SchemaError: When it is of another kind, or there are samples without a trace.
        """
        first = log.files[0]
        if _kind(first) == "samples":
            raise SchemaError(
                "these are samples of nvidia-smi: samples without a run are no trace",
                hint="put it into the folder of the Kineto trace, and import that folder",
            )
        source = Source(first, limits)
        trace = Kineto(source, run)
        trace.read()
        files = [source.about]
        window = smi.Window(
            began_unix=trace.began_unix,
            seconds=trace.ended,
            nodes=trace.first_queue,
            names={
                d: str(about["name"]) for d, about in trace.devices.items() if about.get("name")
            },
            uuids={
                u.lower().removeprefix("gpu-"): d
                for d, about in trace.devices.items()
                if isinstance(u := about.get("uuid"), str)
            },
        )
        for file in log.files[1:]:
            beside = Source(file, limits)
            try:
                smi.Smi(beside, run, window, ZoneInfo(self.zone)).read()
            except ToolkitError as error:
                # What lies beside a trace must not make the trace itself unreadable.
                run.completeness.note(f"no samples from {file.name[:80]}: {error.message}")
                run.completeness.flags["samples_refused"] = (
                    run.completeness.flags.get("samples_refused", 0) + 1
                )
            files.append(beside.about)
        return Told(
            clock="the profiler's clock of the host; time 0 is the start of the earliest event",
            engine={"profiler": "kineto", **facts(trace.meta, _VERSIONS)},
            host=facts(trace.meta, ("host_name",)),
            about={
                "began_unix": trace.began_unix,
                **facts(trace.meta, ("trace_id",)),
                **_distributed(trace.meta.get("distributedInfo")),
            },
            files=files,
        )


def _known(zone: str) -> bool:
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from sorted(p for p in path.rglob("*") if p.is_file())


def _name(file: Path, path: Path) -> str:
    return file.name if path.is_file() else file.relative_to(path).as_posix()


def _kind(file: Path) -> Literal["trace", "samples"] | None:
    """Return what a file is by its first bytes, whatever its name."""
    head = b""
    try:
        with closing(Source(file, Limits()).chunks()) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                head += chunk
                if len(head) >= SNIFF:
                    break
    except (ToolkitError, OSError):
        return None
    text = head[:SNIFF].lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{"):
        named = b'"traceEvents"' in text or b'"deviceProperties"' in text
        return "trace" if named else None
    if _BARE.match(text):
        return "trace" if b'"ph"' in text[: 64 << 10] else None
    return "samples" if smi.kind_of(head[:SNIFF]) else None


def _distributed(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    return {"distributed": facts(given, ("backend", "rank", "world_size"))}
