"""Event logs of Spark: which files in a folder belong to which application."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from collectors.importing import Log
from collectors.streams import Limits, Source
from toolkit.errors import ToolkitError

DEPTH = 8
"""Folders within folders that are searched."""

_EVENTS = re.compile(r"events_(\d{1,9})_(.+)")
_SNIFFED = 1 << 16
"""Bytes that are looked at to tell whether a file is an event log."""
_EVENT = re.compile(
    rb'(?:^|\n)\s{0,9}\{\s{0,9}"Event"\s{0,9}:\s{0,9}"(?:SparkListener|org\.apache\.spark\.)'
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a rolling log.

    Args:
        index: Its place; Spark counts from 1.
        file: Where it is.
        compact: Whether the history server has thinned it out and what was before it.
    """

    index: int
    file: Path
    compact: bool


def logs(path: Path) -> list[Log]:
    """Return the event logs in a file or folder, ordered by path.

    A folder with files ``events_<n>_<application>`` is one rolling log; any other folder is
    searched, and each file with an event near its
    beginning is a log. Links within it are not followed.
    """
    if path.is_file():
        return [Log(name=path.name, files=(path,))] if is_log(path) else []
    found = [*_within(path, path, 0)]
    return sorted(found, key=lambda log: log.name)


def _within(folder: Path, top: Path, depth: int) -> Iterator[Log]:
    rolling = parts(folder)
    if rolling:
        name = str(folder.relative_to(top)) if folder != top else folder.resolve().name
        status = sorted(p for p in folder.glob("appstatus_*") if _is_file(p))
        yield Log(name=name, files=(*(p.file for p in rolling), *status))
        return
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries)
    for name in names:
        path = folder / name
        if name.startswith((".", "_")) or name.endswith(".crc") or path.is_symlink():
            continue
        if path.is_dir() and depth < DEPTH:
            yield from _within(path, top, depth + 1)
        elif path.is_file() and is_log(path):
            yield Log(name=str(path.relative_to(top)), files=(path,))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def parts(folder: Path) -> list[Part]:
    """Return the files of a rolling log in the order in which they were written.

    What came before the last compacted file is in it and left out here.
    """
    found = []
    for file in folder.iterdir():
        match = _EVENTS.fullmatch(file.name)
        if match is None or file.name.endswith((".crc", ".compact.inprogress")):
            continue
        if _is_file(file):
            compact = file.name.endswith(".compact")
            found.append(Part(index=int(match[1]), file=file, compact=compact))
    last = max((p.index for p in found if p.compact), default=0)
    kept = [p for p in found if p.index > last or (p.index == last and p.compact)]
    return sorted(kept, key=lambda p: (p.index, p.file.name))


def events_of(log: Log) -> list[Part]:
    """Return the files of a log that hold events, by what their names say."""
    rolled = []
    for file in log.files:
        match = _EVENTS.fullmatch(file.name)
        if match:
            compact = file.name.endswith(".compact")
            rolled.append(Part(index=int(match[1]), file=file, compact=compact))
    if rolled:
        return rolled
    return [
        Part(index=1, file=f, compact=f.name.endswith(".compact"))
        for f in log.files
        if not f.name.startswith("appstatus_")
    ]


def in_progress(log: Log) -> bool:
    """Return whether Spark had not closed the log when it was copied."""
    return any(f.name.endswith(".inprogress") for f in log.files)


def is_log(file: Path) -> bool:
    """Return whether a file begins with an event of Spark, compressed or not."""
    source = Source(file, Limits())
    head = b""
    try:
        for chunk in islice(source.chunks(), 16):
            head += chunk[:_SNIFFED]
            if _EVENT.search(head) or len(head) >= _SNIFFED:
                break
    except (ToolkitError, OSError):
        pass
    return _EVENT.search(head) is not None
