"""What Ray leaves behind, as a run of a trace: export events, HTTP events or a timeline."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pyarrow as pa

from collectors.importing import Log, Told
from collectors.ray.export_events import FILES, NOTES, read_export_events
from collectors.ray.folding import EXTRA
from collectors.ray.http_events import read_http_events
from collectors.ray.timeline import read_timeline
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source
from toolkit.errors import CorruptError, ToolkitError

EXPORT, HTTP, TIMELINE = "export events", "HTTP events", "timeline"

_HEAD = 1 << 16
_EVENT = re.compile(rb'"eventType"\s*:\s*"[A-Z_]+_EVENT"')
_SESSION = re.compile(rb'"sessionName"\s*:\s*"([^"]{1,200})"')
_EXPORTED = re.compile(rb'"source_type"\s*:\s*"EXPORT_')
_WORK = re.compile(rb'"tid"\s*:\s*"(worker|driver):')
_ORDER = ("DRIVER_JOB", "NODE", "ACTOR", "TASK")


@dataclass(frozen=True, kw_only=True)
class RayImporter:
    """Reads what a Ray session leaves behind; the content of a file says which form it has.

    A session's export files, its folder, a folder of sessions, the JSON lines that an HTTP
    receiver of Ray's events kept, or the JSON of ``ray.timeline()``. Each session is a run.
    """

    @property
    def source(self) -> str:
        """Name of the kind of source."""
        return "ray"

    @property
    def extra(self) -> Mapping[str, Sequence[pa.Field]]:
        """Columns that Ray's records add."""
        return EXTRA

    def find(self, path: Path) -> list[Log]:
        """Return the sessions in a file or folder."""
        if path.is_file():
            if _is_export(path):
                return [_session_of(path.parent)]
            return [Log(name=path.name, files=(path,))] if _form(path)[0] else []
        logs: list[Log] = []
        posted: dict[str, list[Path]] = {}
        for folder in _folders(path):
            if any(fnmatch(f.name, FILES) for f in folder.iterdir()):
                logs.append(_session_of(folder))
                continue
            for file in sorted(folder.iterdir()):
                if not file.is_file() or ".json" not in file.name:
                    continue
                form, session = _form(file)
                if form == HTTP and session:
                    posted.setdefault(session, []).append(file)
                elif form:
                    logs.append(Log(name=str(file.relative_to(path)), files=(file,)))
        logs += [Log(name=s, files=tuple(files)) for s, files in posted.items()]
        return _with_names(logs)

    def read(self, log: Log, run: RunWriter, limits: Limits) -> Told:
        """Read a session into a run.

        Raises:
            CorruptError: When nothing in it tells of a task.
            SchemaError: When Ray made its files but sent the events elsewhere.
        """
        form = EXPORT if _is_export(log.files[0]) else _form(log.files[0])[0]
        if form == TIMELINE:
            zero, source = read_timeline(log.files[0], limits, run)
            run.completeness.flags["edges"] = "none"
            sources = [source]
        elif form in (EXPORT, HTTP):
            reader = read_export_events if form == EXPORT else read_http_events
            told, sources = reader(log.files, limits, run.completeness)
            zero = told.write(run)
        else:
            raise CorruptError(f"{log.name} holds none of the forms that Ray writes")
        if any(s.truncated for s in sources):
            run.completeness.flags["truncated"] = True
        return Told(
            clock="Ray's: a worker says when it starts, the owner of a task all else, each by the "
            "clock of its host; time 0 is the first thing that is told",
            engine={"ray": None, "form": form},
            about={"began_unix": zero, "form": form},
            files=[s.about for s in sources],
        )


def _is_export(file: Path) -> bool:
    return fnmatch(file.name, FILES) or fnmatch(file.name, NOTES)


def _folders(path: Path) -> Iterator[Path]:
    """Yield a folder and those in it, in a fixed order; links are not followed."""
    for here, folders, _ in os.walk(path):
        folders.sort()
        yield Path(here)


def _session_of(folder: Path) -> Log:
    """Return the export files of a folder as one log, what the head wrote first."""
    files = [f for f in sorted(folder.iterdir()) if f.is_file() and _is_export(f)]

    def rank(file: Path) -> tuple[int, str]:
        found = [k for k, word in enumerate(_ORDER) if f"EXPORT_{word}" in file.name]
        return (found[0] if found else len(_ORDER), file.name)

    whole = folder.resolve()
    name = whole.name
    if name == "export_events" and whole.parent.name == "logs":
        name = whole.parent.parent.name
    return Log(name=name, files=tuple(sorted(files, key=rank)))


def _form(file: Path) -> tuple[str, str]:
    """Return which form a file has, judged by its beginning, and its session where it says so."""
    try:
        head = next(Source(file, Limits()).chunks(), b"")[:_HEAD]
    except (ToolkitError, OSError):
        return "", ""
    if _EXPORTED.search(head):
        return EXPORT, ""
    if _EVENT.search(head):
        session = _SESSION.search(head)
        return HTTP, session[1].decode("utf-8", "replace") if session else ""
    if b'"cat"' in head and _WORK.search(head):
        return TIMELINE, ""
    return "", ""


def _with_names(logs: Sequence[Log]) -> list[Log]:
    """Return the logs by name; of equal names, all but the first get a number."""
    met: dict[str, int] = {}
    named = []
    for log in sorted(logs, key=lambda g: (g.name, [str(f) for f in g.files])):
        met[log.name] = met.get(log.name, 0) + 1
        again = met[log.name]
        named.append(log if again == 1 else Log(name=f"{log.name} ({again})", files=log.files))
    return named
