"""Kineto: what a profiler saw of GPUs and of the threads that fed them, as the rows of a run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from collectors.gpu.columns import (
    Codes,
    Columns,
    Floats,
    Rows,
    Shapes,
    coded,
    dense,
    floats,
    nullable,
    numbers_of,
    products,
)
from collectors.gpu.events import Args, Event, Events, number
from collectors.gpu.names import annotated, short
from collectors.gpu.nesting import ROUNDING, containing, inside_of, parents
from collectors.run_writer import RunWriter
from collectors.streams import Source
from toolkit import trace as traces
from toolkit.errors import CorruptError, SchemaError

FAR = 30 * 86400e6
"""Microseconds from the median beyond which a time is taken for damage."""

EPOCH = 1e15
"""Microseconds from which on a time without a base is one since 1970, as in 2001 or later."""

LONG = 500
"""Characters that are kept of a name."""

_ROWS = 1 << 15

# Names of both generations of Kineto; those of 2021 begin with a capital letter.
TASKS = {
    "kernel": 0,
    "gpu_memcpy": 1,
    "gpu_memset": 2,
    "Kernel": 0,
    "Memcpy": 1,
    "Memset": 2,
}
ANNOTATION, OP, RUNTIME, ON_GPU = 0, 1, 2, 3
SPANS = {
    "user_annotation": ANNOTATION,
    "gpu_user_annotation": ON_GPU,
    "cpu_op": OP,
    "Operator": OP,
    "cuda_runtime": RUNTIME,
    "cuda_driver": RUNTIME,
    "hip_runtime": RUNTIME,
    "xpu_runtime": RUNTIME,
    "xpu_driver": RUNTIME,
    "privateuse1_runtime": RUNTIME,
    "privateuse1_driver": RUNTIME,
    "Runtime": RUNTIME,
}
KINDS = ("annotation", "op", "runtime", "annotation")

METRICS: dict[str, str] = {
    "m_device": "index that the profiler gives the device",
    "m_stream": "number of the stream",
    "m_correlation": "id that kernel and runtime call share",
    "m_external_id": "id that the profiler gives the op",
    "m_blocks": "thread blocks of the grid",
    "m_threads_per_block": "threads",
    "m_registers_per_thread": "registers",
    "m_shared_memory_bytes": "bytes per block",
    "m_occupancy_percent": "% of the warps of an SM, estimated by the profiler",
    "m_bytes": "bytes moved",
    "m_bandwidth_gb_per_second": "1e9 bytes/s",
}
EXTRA = {"tasks": [traces.field(n, pa.float64(), u, nullable=True) for n, u in METRICS.items()]}

_LAUNCH = re.compile(r"(?:cuda|cu|hip)(?:Ext)?(?:Module|Graph)?(?:Launch|Mem(?:cpy|set))")
_STEP = re.compile(r"ProfilerStep#\d+")
_LAST_NUMBER = re.compile(r"(\d{1,9})\D*$")
_NO_ARGS = Args()


class Kineto:
    """One trace, gathered event by event and written at its end.

    Times cannot be written before the whole file was read: what ties a kernel to the call that
    launched it, and an op to the one around it, may stand anywhere. Kept are some numbers per
    event, and every name once.

    A node is a queue (device and stream) and has all of its device: its memory, and ``gpus`` of 1;
    ``logical`` says that it shares them with the other streams. A trace without activities of a
    GPU has a node per thread. A task is an activity of a GPU; its ``job`` is the step of the
    profiler in which the call that launched it began, in the same process. No edges are written:
    what runs in order on a stream need not depend on each other.

    Args:
        source: The file.
        run: Takes the rows.
    """

    def __init__(self, source: Source, run: RunWriter) -> None:
        self._run = run
        self._events = Events(source)
        self._name = source.path.name
        self._spans, self._tasks, self._memory = Columns(), Columns(), Columns()
        self._names, self._threads, self._queues = Codes(), Codes(), Codes()
        self._details = Shapes({(b"", b""): 0})
        self._endless = 0
        self._labels: dict[tuple[Any, Any], str] = {}
        self.meta: dict[str, Any] = {}
        self.origin = 0.0
        """Microseconds of the profiler's clock at time 0 of the run."""
        self.ended = 0.0
        """Seconds since the start of the run at which the last of its rows ends."""
        self.began_unix: float | None = None
        """Seconds since 1970 at time 0 of the run; None where the trace does not say."""
        self.devices: dict[int, Mapping[str, Any]] = {}
        """What the trace says of each GPU, by index."""
        self.first_queue: dict[int, int] = {}
        """The first node of each device."""

    def read(self) -> None:
        """Read the file and write its rows.

        Raises:
            CorruptError: When nothing can be saved of it.
            SchemaError: When it is of another kind.
        """
        for events in self._events.blocks():
            self._gather(events)
        self.meta = self._events.meta
        if not self._spans.parts and not self._tasks.parts:
            if self._events.truncated or self._events.damaged:
                raise CorruptError(f"{self._name} ends before its first event of a GPU or an op")
            raise SchemaError(
                f"{self._name} has no event of a GPU or of an op: it is no trace of a GPU profiler",
                hint="another source of Chrome traces? toolkit collect +collector=<name> …",
            )
        self._write()

    # -- reading ------------------------------------------------------------------------------

    def _gather(self, events: Sequence[Event]) -> None:
        spans: list[Event] = []
        tasks: list[Event] = []
        others: list[Event] = []
        route = dict.fromkeys(SPANS, spans.append) | dict.fromkeys(TASKS, tasks.append)
        other = others.append
        for event in events:
            (route.get(event.cat, other) if event.ph == "X" else other)(event)
        if spans:
            self._gather_spans(spans)
        if tasks:
            self._gather_tasks(tasks)
        if others:
            self._gather_others(others)

    def _gather_spans(self, found: list[Event]) -> None:
        args = [e.args or _NO_ARGS for e in found]
        names, threads, details = self._names, self._threads, self._details
        self._spans.take(
            ts=floats([e.ts for e in found]),
            dur=floats([e.dur for e in found]),
            kind=np.array([SPANS[e.cat] for e in found], dtype=np.int8),
            name=coded(names, [e.name for e in found]),
            thread=coded(threads, zip([e.pid for e in found], [e.tid for e in found], strict=True)),
            correlation=numbers_of([a.correlation for a in args])[0],
            size=numbers_of([a.size for a in args])[0],
            detail=coded(
                details,
                zip([bytes(a.dims) for a in args], [bytes(a.types) for a in args], strict=True),
            ),
        )

    def _gather_tasks(self, found: list[Event]) -> None:
        args = [e.args or _NO_ARGS for e in found]
        names, queues = self._names, self._queues
        both = list(zip(found, args, strict=True))
        devices = [e.pid if a.device is None else a.device for e, a in both]
        streams = [e.tid if a.stream is None else a.stream for e, a in both]
        numbers: dict[str, Floats] = {}
        for name in ("registers", "shared", "occupancy", "bytes", "bandwidth"):
            numbers[name], endless = numbers_of([getattr(a, name) for a in args])
            self._endless += endless
        self._tasks.take(
            ts=floats([e.ts for e in found]),
            dur=floats([e.dur for e in found]),
            name=coded(names, [e.name for e in found]),
            queue=coded(queues, zip(devices, streams, strict=True)),
            correlation=numbers_of([a.correlation for a in args])[0],
            external=numbers_of([a.external for a in args])[0],
            grid=products([a.grid for a in args]),
            block=products([a.block for a in args]),
            **numbers,
        )

    def _gather_others(self, found: list[Event]) -> None:
        memory = []
        for event in found:
            if event.ph == "M":
                label = event.args.name if event.args else None
                if label and event.name == "thread_name" and len(self._labels) < 10_000:
                    self._labels[event.pid, event.tid] = label[:LONG]
            elif event.name == "[memory]" and event.args is not None:
                memory.append(event)
            else:
                self._run.completeness.see_unknown(event.cat or event.name or f"ph {event.ph}")
        if memory:
            args = [e.args or _NO_ARGS for e in memory]
            self._memory.take(
                ts=floats([e.ts for e in memory]),
                device=numbers_of([a.device_id for a in args])[0],
                kind=numbers_of([a.device_type for a in args])[0],
                allocated=numbers_of([a.allocated for a in args])[0],
                reserved=numbers_of([a.reserved for a in args])[0],
            )

    # -- writing ------------------------------------------------------------------------------

    def _write(self) -> None:
        report = self._run.completeness
        tasks, spans = Rows(self._tasks), Rows(self._spans)
        tasks.seen += self._events.damaged_tasks
        spans.seen += self._events.damaged - self._events.damaged_tasks
        tasks.repaired += self._endless
        if self._endless:
            report.note(f"{self._endless:,} metrics of activities were infinite: null")
        self._clean(tasks, spans)
        self._place()
        lost = self._link(tasks, spans)
        spans.drop("correlation", "size")
        spans["parent"] = parents(spans["thread"], spans["kind"], spans["start"], spans["end"])
        on_gpu = len(tasks) > 0
        if on_gpu:
            self._gpu_nodes()
        else:
            tasks = self._cpu_tasks(spans, tasks)
        self._overlaps(tasks)
        steps = self._jobs(tasks, spans, on_gpu=on_gpu)
        self._write_tasks(tasks, on_gpu=on_gpu)
        self._write_spans(spans)
        self._write_memory()
        for table, rows in (("tasks", tasks), ("spans", spans)):
            count = report.of(table)
            count.seen, count.complete = rows.seen, rows.complete
            count.dropped, count.repaired = rows.seen - len(rows), rows.repaired
        jobs = report.of("jobs")
        jobs.seen = jobs.complete = steps
        report.flags["edges"] = "none"
        if self._events.truncated:
            report.flags["truncated"] = True
            # In a log that breaks off, a launch announces the activity that did not come.
            report.of("tasks").expected = max(tasks.seen, len(tasks) + lost)
            report.note(
                f"the document ends in the middle; {lost:,} launches of which the activity is "
                "not there count as tasks that are missing"
            )
        if self._events.damaged:
            report.flags["damaged_events"] = self._events.damaged
            report.note(f"{self._events.damaged:,} events could not be read and are left out")
        if self._events.repaired:
            report.flags["bent_values"] = self._events.repaired
            report.note(f"{self._events.repaired:,} values of events were no numbers: null")
        if "cuda_profiler_range" in report.unknown:
            report.note(
                "cuda_profiler_range is not read: the profiler divides its time evenly over the "
                "ranges, so that their times are none"
            )

    def _clean(self, tasks: Rows, spans: Rows) -> None:
        """Leave out what has no possible time, null what contradicts, and find time 0."""
        report = self._run.completeness
        every = np.concatenate([tasks["ts"], spans["ts"]])
        every = np.sort(every[np.isfinite(every)])
        if not len(every):
            raise CorruptError(f"no event of {self._name} says when it began")
        middle = float(every[len(every) // 2])
        for rows, what in ((tasks, "activities"), (spans, "spans")):
            kept = np.abs(rows["ts"] - middle) < FAR
            if not kept.all():
                report.note(
                    f"{(~kept).sum():,} {what} have no time, or one over 30 days from the others: "
                    "left out"
                )
                rows.keep(kept)
            wrong = ~((rows["dur"] >= 0) & (rows["dur"] < FAR)) & ~np.isnan(rows["dur"])
            if wrong.any():
                report.note(
                    f"{wrong.sum():,} {what} have a negative or absurd duration: their end is null"
                )
                rows["dur"] = np.where(wrong, np.nan, rows["dur"])
                rows.repaired += int(wrong.sum())
        self.origin = min(float(r["ts"].min()) for r in (tasks, spans) if len(r))
        for rows in (tasks, spans):
            # The end is rounded to the nanosecond: sums of microseconds in floats would make
            # one interval end just after the next begins.
            rows["start"] = np.round(rows["ts"] - self.origin, 3)
            rows["end"] = np.round(rows["start"] + rows["dur"], 3)
            rows.drop("ts", "dur")
            rows.complete = int(np.isfinite(rows["end"]).sum())
            if len(rows):
                last = max(float(rows["start"].max()), float(np.nan_to_num(rows["end"]).max()))
                self.ended = max(self.ended, last / 1e6)

    def _place(self) -> None:
        """Find out when, and on which devices, this was."""
        base = number(self.meta.get("baseTimeNanoseconds"))
        if base and 0 < base < 9e18:
            self.began_unix = base / 1e9 + self.origin / 1e6
        elif EPOCH < self.origin < 9 * EPOCH:
            self.began_unix = self.origin / 1e6
        given = self.meta.get("deviceProperties")
        for one in given if isinstance(given, list) else []:
            index = number(one.get("id")) if isinstance(one, dict) else None
            if index is not None and 0 <= index < 1 << 16:
                self.devices[int(index)] = one

    def _link(self, tasks: Rows, spans: Rows) -> int:
        """Tie activities to the runtime calls that launched them, by correlation.

        Returns:
            Launches of which no activity is there.
        """
        report = self._run.completeness
        calls = np.flatnonzero((spans["kind"] == RUNTIME) & (spans["correlation"] > 0))
        calls = calls[np.lexsort((spans["start"][calls], spans["correlation"][calls]))]
        keys, first = np.unique(spans["correlation"][calls], return_index=True)
        process = np.unique(
            np.array([_text(pid) for pid, _ in self._threads] or [""]), return_inverse=True
        )[1]
        of = process[spans["thread"][calls]] if len(calls) else np.empty(0, dtype=np.int64)
        # Ids of several processes in one file may be equal: these tell nothing.
        ambiguous = np.zeros(len(keys), dtype=bool)
        if len(calls):
            ambiguous = np.maximum.reduceat(of, first) != np.minimum.reduceat(of, first)
        partner = np.full(len(tasks), -1, dtype=np.int64)
        wanted = tasks["correlation"]
        if len(keys):
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            hit = (keys[at] == wanted) & ~ambiguous[at]
            partner[hit] = calls[first[at[hit]]]
        tasks["launch"] = partner
        linked = partner >= 0
        submitted = np.full(len(tasks), np.nan)
        submitted[linked] = spans["start"][partner[linked]]
        late = submitted > tasks["start"] + ROUNDING
        if late.any():
            report.note(f"{late.sum():,} activities began before their launch: submitted_at null")
            tasks.repaired += int(late.sum())
        submitted[late] = np.nan
        tasks["submitted"] = np.fmin(submitted, np.where(linked & ~late, tasks["start"], np.nan))
        bare = np.isnan(tasks["bytes"]) & linked
        tasks["bytes"][bare] = spans["size"][partner[bare]]
        # Every call with the id points to its activity; of several activities, to the first.
        spans["task"] = np.full(len(spans), -1, dtype=np.int32)
        known, earliest, shared = np.unique(wanted[linked], return_index=True, return_counts=True)
        if len(known):
            rows = np.flatnonzero(linked)[earliest]
            mine = spans["correlation"][calls]
            at = np.minimum(np.searchsorted(known, mine), len(known) - 1)
            hit = known[at] == mine
            spans["task"][calls[hit]] = rows[at[hit]]
        unlinked = int((~linked).sum())
        if unlinked:
            report.flags["unlinked_kernels"] = unlinked
        if (shared > 1).any():
            report.flags["launches_of_several"] = int((shared > 1).sum())
        if ambiguous.any():
            report.flags["ambiguous_correlations"] = int(ambiguous.sum())
        names = list(self._names)
        launches = np.array([bool(_LAUNCH.match(n)) for n in names] or [False])
        lost = int(
            (launches[spans["name"]] & (spans["kind"] == RUNTIME) & (spans["task"] < 0)).sum()
        )
        if lost:
            report.flags["launches_without_activity"] = lost
        return lost

    def _gpu_nodes(self) -> None:
        self._device = np.full(len(self._queues), np.nan)
        self._stream = np.full(len(self._queues), np.nan)
        for node, (device, stream) in enumerate(self._queues):
            d, s = _index(device), _index(stream)
            about = self.devices.get(d, {}) if d is not None else {}
            if d is not None:
                self._device[node] = d
                self.first_queue.setdefault(d, node)
            if s is not None:
                self._stream[node] = s
            kind = about.get("name")
            memory = number(about.get("totalGlobalMem"))
            where = (_text(device) if d is None else d, _text(stream) if s is None else s)
            self._run.add(
                "nodes",
                node=node,
                name="gpu{}/stream{}".format(*where),
                kind=kind[:200] if isinstance(kind, str) and kind else "gpu",
                memory=memory if memory is not None and memory >= 0 else None,
                gpus=1.0,
                logical=True,
                detail=json.dumps({"device": d, "stream": s, **_plain(about)}),
            )

    def _cpu_tasks(self, spans: Rows, none: Rows) -> Rows:
        """Make tasks of what threads did, in a trace without a GPU.

        Annotations ``task:…`` if there are any, else the ops that are in no other op.
        """
        report = self._run.completeness
        names = list(self._names)
        marks = np.array([n.startswith("task:") for n in names] or [False])
        marked = marks[spans["name"]] & (spans["kind"] == ANNOTATION)
        of = marked if marked.any() else spans["kind"] == OP
        chosen = np.flatnonzero(of & ~inside_of(spans["parent"], of))
        report.note(
            "no activity of a GPU: tasks are "
            + ("the annotations task:…" if marked.any() else "the ops that are in no other op")
            + ", nodes are threads"
        )
        tasks = Rows(Columns(), len(chosen))
        for column in ("start", "end", "name"):
            tasks[column] = spans[column][chosen]
        used, node = dense(spans["thread"][chosen])
        tasks["queue"] = node
        tasks["launch"] = chosen
        tasks["submitted"] = np.full(len(chosen), np.nan)
        tasks.seen = len(chosen) + none.seen
        tasks.complete = int(np.isfinite(tasks["end"]).sum())
        spans["task"][chosen] = np.arange(len(chosen))
        threads = list(self._threads)
        for index, thread in enumerate(used):
            pid, tid = threads[thread]
            self._run.add(
                "nodes",
                node=index,
                name=f"pid{_text(pid)}/thread{_text(tid)}",
                kind="cpu",
                logical=True,
                detail=json.dumps({"thread": self._labels.get((pid, tid))}),
            )
        return tasks

    def _overlaps(self, tasks: Rows) -> None:
        """Count activities that begin before the one before them on their queue has ended."""
        order = np.lexsort((tasks["start"], tasks["queue"]))
        queue, start = tasks["queue"][order], tasks["start"][order]
        end = np.where(np.isnan(tasks["end"][order]), start, tasks["end"][order])
        # One running maximum over all queues: each is lifted above those before it.
        lift = queue * (float(end.max(initial=0.0)) + 1.0)
        latest = np.maximum.accumulate(end + lift) - lift
        over = (queue[1:] == queue[:-1]) & (start[1:] < latest[:-1] - ROUNDING)
        if over.any():
            self._run.completeness.flags["overlapping_on_a_queue"] = int(over.sum())
            self._run.completeness.note(
                f"{over.sum():,} tasks begin over 1 µs before another on their queue has ended, "
                "as those of a CUDA graph do; nothing was changed"
            )

    def _jobs(self, tasks: Rows, spans: Rows, *, on_gpu: bool) -> int:
        """Write a job per profiler step, and one for what was launched outside of any.

        Returns:
            The jobs.
        """
        names = list(self._names)
        steps_named = np.array([bool(_STEP.fullmatch(n)) for n in names] or [False])
        steps = np.flatnonzero(
            steps_named[spans["name"]] & (spans["kind"] == ANNOTATION) & np.isfinite(spans["end"])
        )
        process = np.unique(
            np.array([_text(pid) for pid, _ in self._threads] or [""]), return_inverse=True
        )[1]
        spans["job"] = containing(steps, process[spans["thread"]], spans["start"], spans["end"])
        launched = tasks["launch"]
        job = np.full(len(tasks), -1, dtype=np.int64)
        job[launched >= 0] = spans["job"][launched[launched >= 0]]
        count = len(steps)
        if count == 0:
            spans["job"][:] = 0
        outside = job < 0
        ended = np.where(np.isnan(tasks["end"]), tasks["start"], tasks["end"]) / 1e6
        last = np.full(count + 1, -np.inf)
        begin = np.full(count + 1, np.inf)
        job[outside] = count
        np.maximum.at(last, job, ended)
        np.minimum.at(begin, job, np.fmin(tasks["submitted"], tasks["start"]) / 1e6)
        for index, step in enumerate(steps):
            self._run.add(
                "jobs",
                job=index,
                name=names[spans["name"][step]],
                arrived_at=spans["start"][step] / 1e6,
                finished_at=max(spans["end"][step] / 1e6, last[index]),
                status="done",
            )
        if outside.any() or count == 0:
            some = math.isfinite(last[count])
            self._run.add(
                "jobs",
                job=count,
                # Where nothing marks steps, the job is the whole run.
                arrived_at=float(begin[count]) if some and count else 0.0,
                finished_at=float(last[count]) if some else None,
            )
            count += 1
        tasks["job"] = job
        return count

    def _write_tasks(self, tasks: Rows, *, on_gpu: bool) -> None:
        names = list(self._names)
        types = [(short if on_gpu else annotated)(n) or "(no name)" for n in names]
        cut = [n[:LONG] for n in names]
        metrics = {}
        if on_gpu:
            metrics = {
                "m_device": self._device[tasks["queue"]],
                "m_stream": self._stream[tasks["queue"]],
                "m_correlation": tasks["correlation"],
                "m_external_id": tasks["external"],
                "m_blocks": tasks["grid"],
                "m_threads_per_block": tasks["block"],
                "m_registers_per_thread": tasks["registers"],
                "m_shared_memory_bytes": tasks["shared"],
                "m_occupancy_percent": tasks["occupancy"],
                "m_bytes": tasks["bytes"],
                "m_bandwidth_gb_per_second": tasks["bandwidth"],
            }
        for low in range(0, len(tasks), _ROWS):
            part = slice(low, min(low + _ROWS, len(tasks)))
            name = tasks["name"][part].tolist()
            end = tasks["end"][part]
            self._run.extend(
                "tasks",
                {
                    "task": list(range(part.start, part.stop)),
                    "attempt": [0] * len(name),
                    "name": [cut[n] for n in name],
                    "job": tasks["job"][part].tolist(),
                    "type": [types[n] for n in name],
                    "node": tasks["queue"][part].tolist(),
                    "submitted_at": (tasks["submitted"][part] / 1e6).tolist(),
                    "started_at": (tasks["start"][part] / 1e6).tolist(),
                    "finished_at": (end / 1e6).tolist(),
                    "status": np.where(np.isnan(end), "running", "done").tolist(),
                    **{n: v[part].tolist() for n, v in metrics.items()},
                },
            )

    def _write_spans(self, spans: Rows) -> None:
        names = [n[:LONG] or "(no name)" for n in self._names]
        threads, details = list(self._threads), list(self._details)
        where, detail = np.unique(
            spans["thread"].astype(np.int64) * len(details) + spans["detail"], return_inverse=True
        )
        texts = [
            _detail(threads[both // len(details)], details[both % len(details)])
            for both in where.tolist()
        ]
        for low in range(0, len(spans), _ROWS):
            part = slice(low, min(low + _ROWS, len(spans)))
            self._run.extend(
                "spans",
                {
                    "span": list(range(part.start, part.stop)),
                    "kind": [KINDS[k] for k in spans["kind"][part].tolist()],
                    "parent": nullable(spans["parent"][part]),
                    "job": nullable(spans["job"][part]),
                    "task": nullable(spans["task"][part]),
                    "name": [names[n] for n in spans["name"][part].tolist()],
                    "started_at": (spans["start"][part] / 1e6).tolist(),
                    "finished_at": (spans["end"][part] / 1e6).tolist(),
                    "detail": [texts[d] for d in detail[part].tolist()],
                },
            )

    def _write_memory(self) -> None:
        """Write what the allocator of the framework held, as the profiler saw it."""
        rows = Rows(self._memory)
        if not rows.seen:
            return
        at = (rows["ts"] - self.origin) / 1e6
        kept = np.abs(at) < FAR / 1e6
        count = self._run.completeness.of("samples")
        for metric in ("allocated", "reserved"):
            good = kept & np.isfinite(rows[metric])
            count.seen += rows.seen
            count.dropped += int((~good).sum())
            count.complete += int(good.sum())
            on_gpu = rows["kind"][good] == 1
            device = np.where(on_gpu, rows["device"][good], -1)
            device = np.where(np.isfinite(device), device, -1)
            self._run.extend(
                "samples",
                {
                    "at": at[good].tolist(),
                    "node": [self.first_queue.get(d) for d in device.tolist()],
                    "metric": [
                        f"{'gpu' if g else 'cpu'}_allocator_{metric}_bytes" for g in on_gpu.tolist()
                    ],
                    "value": rows[metric][good].tolist(),
                },
            )


def _text(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value)[:80]


def _index(value: Any) -> int | None:
    """Return the number of a device or stream; ``stream 7`` is 7, as Kineto wrote in 2021."""
    found = number(value)
    if found is None and isinstance(value, str):
        last = _LAST_NUMBER.search(value[:80])
        found = float(last[1]) if last else None
    return int(found) if found is not None and 0 <= found < 1 << 53 else None


def _plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the short and simple facts about a device."""
    simple = {
        k[:80]: v
        for k, v in list(about.items())[:40]
        if isinstance(v, str | int | float) and k not in ("id", "name", "totalGlobalMem")
    }
    return {k: v[:200] if isinstance(v, str) else v for k, v in simple.items()}


def _detail(thread: tuple[Any, Any], shapes: tuple[bytes, bytes]) -> str:
    plain: dict[str, Any] = {"pid": _short_id(thread[0]), "tid": _short_id(thread[1])}
    for key, raw in zip(("input_dims", "input_types"), shapes, strict=True):
        if raw:
            try:
                plain[key] = msgspec.json.decode(raw)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue
    return json.dumps(plain)


def _short_id(value: Any) -> Any:
    return value[:80] if isinstance(value, str) else value


def facts(meta: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return those of the named facts that are short and simple."""
    return {
        n: (v[:200] if isinstance(v, str) else v)
        for n in names
        if isinstance(v := meta.get(n), str | int | float)
    }
