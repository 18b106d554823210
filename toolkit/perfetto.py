"""Perfetto: a schedule as a trace that ui.perfetto.dev and chrome://tracing open.

The format is Chrome's Trace Event Format in JSON: a process per node, a thread per lane, a
complete event per execution, an arrow per edge whose data moved between nodes, and a counter of
what runs. Times are whole microseconds, since Perfetto leaves out an event that overlaps the one
before it on its thread by as little as a rounding error (google/perfetto, issue 4280); the exact
seconds stand among the arguments of each event.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, TextIO, cast

import numpy as np

from toolkit.errors import ConfigError
from toolkit.revision import revision
from toolkit.schedule import KILLED, KINDS, Schedule
from toolkit.workload import Indices, Ints

MOST_ARROWS = 5_000
"""Edges of a workload above which arrows hide more than they show, and none are written."""


def write(schedule: Schedule, path: Path) -> None:
    """Write a schedule as trace events; compressed when the name ends in ``.gz``.

    The file appears whole or not at all, and the same schedule gives the same bytes.

    Args:
        schedule: What to show.
        path: Where; its folder must exist.

    Raises:
        ConfigError: When there is no such folder.
    """
    if not path.parent.is_dir():
        raise ConfigError(
            f"there is no folder {str(path.parent)!r}", hint=f"make it: mkdir -p {path.parent}"
        )
    about = {"policy": schedule.policy, "seed": schedule.seed, "revision": revision()}
    with _aside(path) as stream:
        stream.write(f'{{"displayTimeUnit":"ms","otherData":{_json(about)},"traceEvents":[')
        separator = "\n"
        for event in _events(schedule):
            stream.write(separator + event)
            separator = ",\n"
        stream.write("\n]}\n")


@contextmanager
def _aside(path: Path) -> Iterator[TextIO]:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as raw:
            # Neither a name nor a time in the header: they would change the bytes.
            squeeze = path.suffix == ".gz"
            packed = gzip.GzipFile("", "wb", 6, raw, 0) if squeeze else nullcontext(raw)
            with packed as binary:
                text = io.TextIOWrapper(cast(IO[bytes], binary), encoding="utf-8", newline="\n")
                yield text
                text.flush()
                text.detach()
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _events(schedule: Schedule) -> Iterator[str]:
    nodes = schedule.node_names()
    cluster = len(nodes) + 1
    row = schedule.rows()
    rows = np.zeros(len(nodes), dtype=np.int64)
    np.maximum.at(rows, schedule.node, row + 1)
    # Numbers of processes and threads start at 1 and never meet: 0 is the idle task to Perfetto,
    # and a thread with the number of its process the main thread.
    first = cluster + 1 + np.concatenate([[0], np.cumsum(rows)])
    thread = (first[schedule.node] + row).astype(np.int32)

    for number, name in (*((m + 1, name) for m, name in enumerate(nodes)), (cluster, "cluster")):
        above = 0 if number == cluster else number
        yield _named("process_name", number, 0, {"name": name})
        yield _named("process_sort_index", number, 0, {"sort_index": above})
    for m in range(len(nodes)):
        for k in range(rows[m]):
            yield _named("thread_name", m + 1, int(first[m]) + k, {"name": f"lane {k}"})
            yield _named("thread_sort_index", m + 1, int(first[m]) + k, {"sort_index": k})

    order = np.lexsort((schedule.finish, schedule.start, thread)).astype(np.int32)
    begun, ended = _microseconds(schedule, order, thread)
    yield from _slices(schedule, order, thread, begun, ended)
    if len(schedule.workload.arrays.parents) <= MOST_ARROWS:
        yield from _arrows(schedule, thread, begun, ended)
    yield from _running(cluster, begun, ended)


def _named(name: str, process: int, thread: int, args: dict[str, Any]) -> str:
    event: dict[str, Any] = {"ph": "M", "name": name, "pid": process}
    return _json({**event, **({"tid": thread} if thread else {}), "args": args})


def _microseconds(schedule: Schedule, order: Indices, thread: Indices) -> tuple[Ints, Ints]:
    """Return start and finish of each execution in whole μs, none overlapping in its thread."""
    begun = np.rint(schedule.start * 1e6).astype(np.int64)
    ended = np.rint(schedule.finish * 1e6).astype(np.int64)
    # Neighbours that differ by less than the schedule's tolerance may round to an overlap.
    here, free = -1, 0
    for x, lane, start, finish in zip(
        order.tolist(),
        thread[order].tolist(),
        begun[order].tolist(),
        ended[order].tolist(),
        strict=True,
    ):
        at = max(start, free) if lane == here else start
        here, free = lane, max(finish, at)
        begun[x], ended[x] = at, free
    return begun, ended


def _slices(
    schedule: Schedule, order: Indices, thread: Indices, begun: Ints, ended: Ints
) -> Iterator[str]:
    w = schedule.workload.arrays
    kinds = [_json(name) for name in KINDS]
    types = [_json(name) for name in schedule.workload.types]
    task = schedule.task[order]
    for t, job, kind, node, lane, at, until, start, finish, of in zip(
        task.tolist(),
        w.job_of[task].tolist(),
        schedule.kind[order].tolist(),
        schedule.node[order].tolist(),
        thread[order].tolist(),
        begun[order].tolist(),
        ended[order].tolist(),
        schedule.start[order].tolist(),
        schedule.finish[order].tolist(),
        w.type_of[task].tolist(),
        strict=True,
    ):
        yield (
            f'{{"ph":"X","name":{_json(schedule.workload.label(t))},"cat":{kinds[kind]},'
            f'"pid":{node + 1},"tid":{lane},"ts":{at},"dur":{until - at},"args":{{"job":{job},'
            f'"type":{types[of]},"task":{t},"kind":{kinds[kind]},"start_s":{start!r},'
            f'"finish_s":{finish!r}}}}}'
        )


def _arrows(schedule: Schedule, thread: Indices, begun: Ints, ended: Ints) -> Iterator[str]:
    found = schedule.inputs()
    data = schedule.workload.arrays.data
    number = 0
    for x, edge, source in zip(
        found.execution.tolist(), found.edge.tolist(), found.source.tolist(), strict=True
    ):
        stayed = source < 0 or schedule.node[source] == schedule.node[x] or data[edge] == 0.0
        if stayed or schedule.kind[x] == KILLED:
            continue
        number += 1
        head = f'"name":"data","cat":"data","id":{number}'
        # An arrow belongs to the event around its end; the last instant of one is no part of it.
        leaves = max(int(begun[source]), int(ended[source]) - 1)
        yield (
            f'{{"ph":"s",{head},"pid":{schedule.node[source] + 1},"tid":{thread[source]},'
            f'"ts":{leaves},"args":{{"bytes":{data[edge].item()!r}}}}}'
        )
        yield (
            f'{{"ph":"f","bp":"e",{head},"pid":{schedule.node[x] + 1},"tid":{thread[x]},'
            f'"ts":{begun[x]}}}'
        )


def _running(process: int, begun: Ints, ended: Ints) -> Iterator[str]:
    times, at = np.unique(np.concatenate([begun, ended]), return_inverse=True)
    steps = np.bincount(at[: len(begun)], minlength=len(times))
    steps -= np.bincount(at[len(begun) :], minlength=len(times))
    for time, count in zip(times.tolist(), np.cumsum(steps).tolist(), strict=True):
        yield (
            f'{{"ph":"C","name":"running tasks","pid":{process},"ts":{time},'
            f'"args":{{"running":{count}}}}}'
        )
