"""Who depends on whom in a Nextflow run: from its drawn graph, or from the links in its folders."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collectors.completeness import Completeness
from collectors.streams import Source
from toolkit.errors import CorruptError, SchemaError

MOST_DRAWN = 64 << 20
"""Bytes of the largest drawing that is read."""

MOST_STEPS = 5_000_000
"""Steps from vertex to vertex that finding the edges between processes may cost."""

MOST_ENTRIES = 100_000
"""Entries of one work folder that are looked at."""

DEPTH = 3
"""Folders within a work folder that are looked into."""

_VERTEX = re.compile(r"\s*(\w{1,64})\s*\[(.*)\]\s*;?\s*")
_ARROW = re.compile(r"\s*(\w{1,64})\s*->\s*(\w{1,64})\s*(?:\[.*\])?\s*;?\s*")
_LABEL = re.compile(r'(?:^|,)\s*label\s*=\s*"((?:[^"\\]|\\.)*)"')
_SHAPE = re.compile(r"(?:^|,)\s*shape\s*=")
_WORKDIR = re.compile(r"(.*?)/([0-9a-f]{2}/[0-9a-f]{30})/?", re.ASCII | re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{2}/[0-9a-f]{6}", re.ASCII)
_INSIDE = re.compile(r"([0-9a-f]{2}/[0-9a-f]{30})/(.+)", re.ASCII | re.DOTALL)


def process_graph(drawn: Source, report: Completeness) -> tuple[list[str], list[tuple[str, str]]]:
    """Read the graph of processes from what ``-with-dag <name>.dot`` draws.

    There, channels and operators are vertices too; two processes are joined where a path leads
    from one to the other without a third between them.

    Args:
        drawn: The DOT file.
        report: Where lines that are not understood are counted.

    Returns:
        The processes, and pairs of parent and child.

    Raises:
        SchemaError: When it is no DOT, or shows no process.
        CorruptError: When it is larger or more entangled than a workflow is.
    """
    text = drawn.whole(MOST_DRAWN).decode("utf-8", "replace")
    lines = text.splitlines()
    if not any(line.lstrip().startswith("digraph") for line in lines[:50]):
        raise SchemaError(
            f"{drawn.path.name} is no graph in DOT",
            hint="draw it with: nextflow run … -with-dag graph.dot",
        )
    processes: dict[str, str] = {}
    after: dict[str, dict[str, None]] = {}
    for line in lines:
        if (arrow := _ARROW.fullmatch(line)) is not None:
            after.setdefault(arrow[1], {})[arrow[2]] = None
        elif (vertex := _VERTEX.fullmatch(line)) is not None:
            label = _LABEL.search(vertex[2])
            # Only processes have a label and the default shape.
            if label is not None and label[1] and not _SHAPE.search(vertex[2]):
                processes[vertex[1]] = label[1]
        elif line.strip() not in ("", "}") and not line.lstrip().startswith("digraph"):
            report.see_unknown("line of the graph")
    if not processes:
        raise SchemaError(f"{drawn.path.name} shows no process")
    pairs: dict[tuple[str, str], None] = {}
    steps = 0
    for vertex_of, name in processes.items():
        met = {vertex_of}
        stack = [vertex_of]
        while stack:
            for other in after.get(stack.pop(), ()):
                steps += 1
                if other in processes:
                    pairs[name, processes[other]] = None
                elif other not in met:
                    met.add(other)
                    stack.append(other)
        if steps > MOST_STEPS:
            raise CorruptError(f"{drawn.path.name} is more entangled than a workflow is")
    return list(dict.fromkeys(processes.values())), list(pairs)


def work_key(workdir: str | None, short: str | None) -> tuple[str | None, str | None]:
    """Return what tells the work folder of a task from others, and the folder around it.

    Args:
        workdir: As the log has it, ``…/ab/cdef…``.
        short: The task's ``hash``, ``ab/cdef12``, for where there is no ``workdir``.
    """
    if workdir is not None and (found := _WORKDIR.fullmatch(workdir)) is not None:
        return found[2], found[1]
    if short is not None and _HASH.fullmatch(short):
        return short, None
    return None, None


@dataclass(kw_only=True)
class Staged:
    """What the links in work folders say.

    Args:
        keys: Full name of each row's work folder, None where it is not there.
        folders: Rows whose work folder is there.
        links: Row, name of the work folder that a link leads to, and the bytes of the file, None
            for what is no plain file there.
    """

    keys: list[str | None] = field(default_factory=list)
    folders: list[int] = field(default_factory=list)
    links: list[tuple[int, str, float | None]] = field(default_factory=list)


def staged(work: Path, keys: Sequence[str | None], bases: set[str]) -> Staged:
    """Look for links between work folders; no link is followed and no file opened.

    Folders are found by their two names below ``work``, never by a path from the log.

    Args:
        work: The work folder of the run, here.
        keys: What :func:`work_key` returned for each row.
        bases: Where the log says that the work folder was.
    """
    root = os.path.realpath(work)
    places = {root, os.path.abspath(work), *(b.rstrip("/") for b in bases if b.startswith("/"))}
    found = Staged()
    for k, key in enumerate(keys):
        whole = None if key is None else _full(root, key)
        found.keys.append(whole)
        if whole is None:
            continue
        found.folders.append(k)
        met: set[str] = set()
        for target in _links(os.path.join(root, whole)):
            if target in met:
                continue
            met.add(target)
            for place in places:
                inside = _INSIDE.fullmatch(target.removeprefix(f"{place}/"))
                if inside is not None and target.startswith(f"{place}/"):
                    found.links.append((k, inside[1], _bytes(root, inside[1], inside[2])))
                    break
    return found


def _full(root: str, key: str) -> str | None:
    """Return the name of a work folder that is there and no link, else None."""
    first, rest = key.split("/")
    try:
        if not stat.S_ISDIR(os.lstat(os.path.join(root, first)).st_mode):
            return None
        if len(rest) < 30:
            alike = [n for n in os.listdir(os.path.join(root, first)) if n.startswith(rest)]
            if len(alike) != 1 or not _WORKDIR.fullmatch(f"/{first}/{alike[0]}"):
                return None
            rest = alike[0]
        good = stat.S_ISDIR(os.lstat(os.path.join(root, first, rest)).st_mode)
    except OSError:
        return None
    return f"{first}/{rest}" if good else None


def _links(folder: str) -> Iterator[str]:
    """Yield where the links in a folder lead, as absolute paths that are not looked at."""
    left = MOST_ENTRIES
    stack = [(folder, 0)]
    while stack:
        place, depth = stack.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if entry.is_symlink():
                        yield os.path.normpath(os.path.join(place, os.readlink(entry.path)))
                    elif depth < DEPTH and entry.is_dir(follow_symlinks=False):
                        stack.append((entry.path, depth + 1))
        except OSError:
            continue


def _bytes(root: str, key: str, inside: str) -> float | None:
    """Return the size of a plain file in a work folder; None for what is none, or elsewhere."""
    home = os.path.join(root, key)
    path = os.path.join(home, inside)
    around = os.path.realpath(os.path.dirname(path))
    if around != home and not around.startswith(f"{home}/"):
        return None
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    return float(found.st_size) if stat.S_ISREG(found.st_mode) else None
