"""Nextflow: its ``trace.txt`` into traces, with edges only where something says them.

Fields: https://docs.seqera.io/nextflow/reference/trace (any subset, raw or in human units; a
``-`` is a missing value). Human sizes have one decimal and human durations of a minute and more
whole seconds; set ``trace.raw = true`` for all of them. Nextflow counts 1 KB as 1024 bytes.

A trace has no edges. They are read from the graph that ``-with-dag`` draws, between processes,
or from the links by which Nextflow stages files in work folders, between tasks
(:mod:`collectors.nextflow_edges`), and never from times.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from collectors.acyclic import outside_cycles
from collectors.completeness import Completeness
from collectors.importing import Log, Told
from collectors.nextflow_edges import process_graph, staged, work_key
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, SchemaError, ToolkitError, require
from toolkit.trace import METRIC
from toolkit.workflows.graph import quoted

MOST_TASKS = 5_000_000
"""Rows that are read; each is held until the whole log is known."""

LONGEST_NAME = 1000
"""Letters of a name that are kept."""

GREATEST = 1e18
"""The greatest number of bytes or seconds that is believed."""

LAST_YEAR = 4_102_444_800.0
"""Unix time of 2100: later dates are no dates."""

SLACK = 1.5
"""Seconds by which rounded durations may contradict each other."""


def _metric(name: str, unit: str) -> pa.Field:
    return traces.field(METRIC + name, pa.float64(), unit, nullable=True)


EXTRA = (
    _metric("cpu_percent", "% of one cpu, mean"),
    _metric("rchar_bytes", "bytes read, from caches too"),
    _metric("wchar_bytes", "bytes written, to caches too"),
    _metric("rss_bytes", "bytes"),
    _metric("peak_vmem_bytes", "bytes"),
    _metric("disk_bytes", "bytes asked for"),
    _metric("time_limit_seconds", "s asked for"),
    _metric("exit_code", "code"),
)
"""Columns of ``tasks`` that only this source has."""

STATUSES = {
    "COMPLETED": "done",
    "FAILED": "failed",
    "ABORTED": "killed",
    "NEW": "running",
    "PENDING": "running",
    "SUBMITTED": "running",
    "RUNNING": "running",
}
"""What Nextflow calls the end of a task; rows with ``CACHED`` are of an earlier run."""

UNREAD = frozenset(
    [
        *("task_id", "hash", "native_id", "workdir", "submit", "start", "complete", "duration"),
        *("module", "container", "tag", "script", "scratch", "queue", "env", "error_action"),
        *("%mem", "vmem", "syscr", "syscw", "vol_ctxt", "inv_ctxt"),
    ]
)
"""Fields that are known beside those of ``_VALUES``."""

IMPORTANT = ("submit", "start", "complete", "realtime", "attempt", "cpus", "memory", "peak_rss")
"""Fields whose absence is told."""

_MISSING = ("", "-", "null")
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{1,12})?", re.ASCII)
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,12})?)\s?([KMGTPE]?B)?", re.ASCII)
_SIZES = {"B": 1, **{f"{c}B": 1 << 10 * (k + 1) for k, c in enumerate("KMGTPE")}}
_DURATION = re.compile(r"(?:\d{1,15}(?:\.\d{1,9})?\s?(?:ms|s|m|h|d)\s?)+", re.ASCII)
_PART = re.compile(r"([\d.]+)\s?(ms|s|m|h|d)", re.ASCII)
_PARTS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TAGGED = re.compile(r"(\S+) \(.*\)", re.DOTALL)


def number(text: str) -> float | None:
    """Return a number; None for what is none."""
    return float(text) if _NUMBER.fullmatch(text) else None


def code(text: str) -> float | None:
    """Return an exit code, which may be negative; None for what is none."""
    found = number(text.removeprefix("-"))
    return -found if found is not None and text.startswith("-") else found


def size(text: str) -> float | None:
    """Return bytes, from a whole number or ``8 GB``; None for what is neither."""
    found = _SIZE.fullmatch(text)
    return None if found is None else float(found[1]) * _SIZES[found[2] or "B"]


def duration(text: str) -> float | None:
    """Return seconds, from whole milliseconds or ``1h 21m 24s``; None for what is neither."""
    if text.isascii() and text.isdecimal() and len(text) < 16:
        return int(text) / 1000
    if len(text) > 64 or not _DURATION.fullmatch(text):
        return None
    try:
        return sum(float(n) * _PARTS[unit] for n, unit in _PART.findall(text))
    except ValueError:
        return None


def percent(text: str) -> float | None:
    """Return a percentage, with or without its sign; None for what is none."""
    return number(text.removesuffix("%").strip())


def date(text: str) -> tuple[float, bool] | None:
    """Return seconds and whether they are Unix time; None for what is no date.

    Without a time zone they count from 1970 in the log's own, unknown one.
    """
    if text.isascii() and text.isdecimal() and len(text) < 16:
        at, unix = int(text) / 1000, True
    else:
        if len(text) > 40:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        unix = moment.tzinfo is not None
        at = (moment if unix else moment.replace(tzinfo=UTC)).timestamp()
    return (at, unix) if 0.0 < at < LAST_YEAR else None


_VALUES: dict[str, tuple[str, Callable[[str], float | None]]] = {
    "cpus": ("cpus", number),
    "memory": ("memory", size),
    "peak_rss": ("peak_memory", size),
    "read_bytes": ("bytes_in", size),
    "write_bytes": ("bytes_out", size),
    "realtime": ("seconds", duration),
    "walltime": ("seconds", duration),
    "%cpu": (METRIC + "cpu_percent", percent),
    "rchar": (METRIC + "rchar_bytes", size),
    "wchar": (METRIC + "wchar_bytes", size),
    "rss": (METRIC + "rss_bytes", size),
    "peak_vmem": (METRIC + "peak_vmem_bytes", size),
    "disk": (METRIC + "disk_bytes", size),
    "time": (METRIC + "time_limit_seconds", duration),
    "exit": (METRIC + "exit_code", code),
}
"""Column and reader of each field that is a number."""

_NAMES = ("process", "name", "status", "attempt", "hostname", "cpu_model")


@dataclass(frozen=True, kw_only=True)
class NextflowImporter:
    """Reads the trace files of Nextflow.

    Args:
        dag: Graph of the processes, as ``-with-dag <name>.dot`` draws it.
        work: The work folder, on this machine; where given, the links in it are edges.
    """

    dag: Path | None = None
    work: Path | None = None

    @property
    def source(self) -> str:
        """Name of the kind of source."""
        return "nextflow"

    @property
    def extra(self) -> Mapping[str, Sequence[pa.Field]]:
        """Columns that this source adds, by table."""
        return {"tasks": EXTRA}

    def find(self, path: Path) -> list[Log]:
        """Return a file itself, or the files of a folder that are called ``…trace….txt``."""
        dag = () if self.dag is None else (self.dag,)
        if path.is_file():
            return [Log(name=path.name, files=(path, *dag))]
        return [
            Log(name=file.relative_to(path).as_posix(), files=(file, *dag))
            for file in sorted(path.rglob("*trace*"))
            if file.name.removesuffix(".gz").removesuffix(".zst").endswith((".txt", ".tsv"))
            and file.is_file()
            and _looks_right(file)
        ]

    def read(self, log: Log, run: RunWriter, limits: Limits) -> Told:
        """Read one file as one run with one job and a stage per process.

        Raises:
            CorruptError: When no row can be read.
            SchemaError: When it is no trace file, or has not the fields that are needed.
        """
        source = Source(log.files[0], limits)
        reading = _Reading(report=run.completeness, name=log.files[0].name)
        reading.rows_of(source)
        about = [dict(source.about)]
        graph = None
        if self.dag is not None:
            drawn = Source(self.dag, limits)
            graph = process_graph(drawn, run.completeness)
            about.append(dict(drawn.about))
        told = reading.into(run, graph, self.work)
        return Told(clock=told.clock, engine=told.engine, about=told.about, files=about)


@dataclass(frozen=True, kw_only=True)
class Nextflow:
    """The collector ``nextflow``: imports only.

    Args:
        path: A trace file, or a folder of them.
        dag: Graph of the processes in DOT; None for no edges between processes.
        edges: ``files`` reads edges between tasks from the links in ``work``; ``none`` does not.
        work: The work folder; nothing outside is looked at, and no file is opened.

    Raises:
        ConfigError: When ``edges`` is neither, or a file or folder is not there.
    """

    path: str | None = None
    dag: str | None = None
    edges: str = "none"
    work: str | None = None

    def __post_init__(self) -> None:
        require(
            self.edges in ("none", "files"),
            f"edges must be none or files, got {self.edges!r}",
            hint="edges between processes are read from a graph: collector.dag=<file>.dot",
        )
        require(
            (self.edges == "files") == (self.work is not None),
            "edges=files needs the work folder, and nothing else does",
            hint="type: collector.edges=files collector.work=<folder>",
        )

    def importer(self) -> NextflowImporter:
        """Return what reads the files."""
        dag = None if self.dag is None else Path(self.dag).expanduser()
        work = None if self.work is None else Path(self.work).expanduser()
        if dag is not None and not dag.is_file():
            raise ConfigError(f"there is no file {self.dag!r}")
        if work is not None and not work.is_dir():
            raise ConfigError(f"there is no folder {self.work!r}")
        return NextflowImporter(dag=dag, work=work)


def _looks_right(file: Path) -> bool:
    """Tell whether a file of a folder has the header of a trace, or cannot be read at all."""
    try:
        first = next(Source(file, Limits()).lines(), b"")
    except ToolkitError:
        return True
    return len(_header(first) & {*_VALUES, *_NAMES, *UNREAD}) >= 3


def _header(line: bytes) -> frozenset[str]:
    return frozenset(line.decode("utf-8-sig", "replace").strip("\r\n ").split("\t"))


@dataclass(slots=True, kw_only=True)
class _Row:
    """One row of the log; times are seconds since 1970."""

    name: str | None
    process: int
    status: str
    attempt: int
    node: int | None
    submitted_at: float | None
    started_at: float | None
    finished_at: float | None
    values: dict[str, float]
    key: str | None
    task: int = -1
    repaired: bool = False


@dataclass(kw_only=True)
class _Reading:
    """One file on its way into a run."""

    report: Completeness
    name: str
    rows: list[_Row] = field(default_factory=list)
    processes: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    why: Counter[str] = field(default_factory=Counter)
    edges_known: bool = True
    unix: bool | None = None
    rounded: bool = False
    columns: frozenset[str] = frozenset()

    # The lines.

    def rows_of(self, source: Source) -> None:
        """Read all rows."""
        lines = source.lines()
        first = next(lines, b"").decode("utf-8-sig", "replace").strip("\r\n ")
        fields = first.split("\t")
        self.columns = frozenset(fields)
        self._check_header(fields)
        count = self.report.of("tasks")
        seen: set[str] = set()
        known = 0
        held: bytes | None = None
        for line in lines:
            if held is not None:
                known += self._line(held, fields, seen, ended=True)
            held = line
            if known > MOST_TASKS:
                raise CorruptError(f"{self.name} has more than {MOST_TASKS:,} tasks")
        if held is not None:
            known += self._line(held, fields, seen, ended=not source.truncated)
        if source.truncated:
            self.report.flags["truncated"] = True
        if self.why["cached"]:
            self.report.flags["cached"] = self.why["cached"]
            self.report.note(
                f"{self.why['cached']} rows are CACHED, of an earlier run, and are left out"
            )
        for reason, text in (
            ("width", "rows have not as many fields as the header"),
            ("status", "rows have an unknown status"),
            ("twice", "rows have the task_id of an earlier one"),
        ):
            if self.why[reason]:
                count.dropped += self.why[reason]
                self.report.note(f"{self.why[reason]} {text} and are left out")
        if not self.rows:
            raise CorruptError(f"{self.name} has no row of a task that ran")

    def _check_header(self, fields: Sequence[str]) -> None:
        hint = "write it with: nextflow run … -with-trace, or trace.sep = '\\t'"
        if not self.columns & {"name", "process"}:
            raise SchemaError(
                f"{self.name} is no trace of Nextflow: its first line names neither 'name' nor "
                "'process', between tabs",
                hint=hint,
            )
        if not self.columns & {"status", "exit"}:
            raise SchemaError(
                f"{self.name} has neither 'status' nor 'exit', so nothing says how tasks ended",
                hint="add them to trace.fields",
            )
        if len(self.columns) < len(fields):
            raise SchemaError(f"{self.name} names a field twice", hint=hint)
        for name in sorted(self.columns - {*_VALUES, *_NAMES, *UNREAD}):
            self.report.see_unknown(f"field {name}")
        absent = [f for f in IMPORTANT if f not in self.columns]
        if absent:
            self.report.flags["fields_absent"] = " ".join(absent)

    def _line(self, line: bytes, fields: Sequence[str], seen: set[str], *, ended: bool) -> int:
        """Take a line; returns 1 where it is a row."""
        if not line.strip():
            return 0
        cells = line.decode("utf-8", "replace").rstrip("\r").split("\t")
        count = self.report.of("tasks")
        if len(cells) != len(fields):
            count.seen += 1
            self.why["width"] += 1
            return 1
        said = {
            f: c.strip() for f, c in zip(fields, cells, strict=True) if c.strip() not in _MISSING
        }
        status = said.get("status")
        if status == "CACHED":
            self.why["cached"] += 1
            key, _ = work_key(said.get("workdir"), said.get("hash"))
            if key is not None:
                self.cached.add(key)
            return 1
        count.seen += 1
        if status is None and "exit" in said:
            status = "COMPLETED" if said["exit"] == "0" else "FAILED"
        if status not in STATUSES:
            self.why["status"] += 1
            return 1
        own = said.get("task_id")
        if own is not None:
            if own in seen:
                self.why["twice"] += 1
                return 1
            seen.add(own)
        cut = not ended and fields[-1] in said
        if cut:
            # Nobody knows how much of the last value is there.
            del said[fields[-1]]
            self.report.note("the last line does not end: its last field is left empty")
        self._row(said, STATUSES[status], cut)
        return 1

    def _row(self, said: Mapping[str, str], status: str, repaired: bool) -> None:
        name = said.get("name")
        process = said.get("process") or _process(name)
        key, base = work_key(said.get("workdir"), said.get("hash"))
        if base is not None:
            self.bases.add(base)
        values: dict[str, float] = {}
        for name_of, (column, read) in _VALUES.items():
            if name_of in said:
                value = read(said[name_of])
                if value is None or value > GREATEST:
                    self.why[f"value of {name_of}"] += 1
                    repaired = True
                else:
                    values[column] = value
                    self.rounded |= said[name_of][-1].isalpha()
        if values.get("cpus") == 0.0:
            del values["cpus"]
            repaired = True
        attempt = number(said.get("attempt", "1")) or 1.0
        host = said.get("hostname")
        node = None
        if host is not None:
            node, _ = self.nodes.setdefault(
                host[:LONGEST_NAME], (len(self.nodes), said.get("cpu_model"))
            )
        row = _Row(
            name=None if name is None else name[:LONGEST_NAME],
            process=self.processes.setdefault(process[:LONGEST_NAME], len(self.processes)),
            status=status,
            attempt=int(min(max(attempt, 1.0), 1e6)) - 1,
            node=node,
            submitted_at=None,
            started_at=None,
            finished_at=None,
            values=values,
            key=key,
            repaired=repaired,
        )
        self._times(row, said)
        self.rows.append(row)

    def _times(self, row: _Row, said: Mapping[str, str]) -> None:
        for f, column in (
            ("submit", "submitted_at"),
            ("start", "started_at"),
            ("complete", "finished_at"),
        ):
            if f not in said:
                continue
            found = date(said[f])
            if found is not None and self.unix is None:
                self.unix = found[1]
            if found is None or found[1] != self.unix:
                self.why[f"value of {f}"] += 1
                row.repaired = True
            else:
                setattr(row, column, found[0])
        took = duration(said["duration"]) if "duration" in said else None
        if took is not None and took > GREATEST:
            took = None
        if row.finished_at is None and row.submitted_at is not None and took is not None:
            row.finished_at = row.submitted_at + took
            self.why["finish"] += 1
        if _after(row.submitted_at, row.started_at):
            row.started_at = None
            self._contradiction(row, "starts before their submission")
        if _after(row.submitted_at, row.finished_at) or _after(row.started_at, row.finished_at):
            row.finished_at = None
            self._contradiction(row, "ends before their start or submission")
        begin = row.submitted_at if row.submitted_at is not None else row.started_at
        seconds = row.values.get("seconds")
        if None not in (begin, row.finished_at, seconds) and (
            seconds > row.finished_at - begin + SLACK  # type: ignore[operator]
        ):
            del row.values["seconds"]
            self._contradiction(row, "run times longer than from submission to end")

    def _contradiction(self, row: _Row, what: str) -> None:
        row.repaired = True
        self.why[what] += 1

    # The run.

    def into(
        self,
        run: RunWriter,
        graph: tuple[list[str], list[tuple[str, str]]] | None,
        work: Path | None,
    ) -> Told:
        """Write the run; returns what the file says of it as a whole."""
        for row in self.rows:
            self._complete(row)
        tasks = self._attempts()
        kinds = []
        if graph is not None:
            kinds.append("process")
            self._edges_of_processes(run, graph)
        if work is not None:
            kinds.append("files")
            self._edges_of_files(run, work, tasks)
        # Where some are not known, a task without parents may wait for others all the same.
        self.report.flags["edges"] = "+".join(kinds) if kinds and self.edges_known else "none"
        count = self.report.of("tasks")
        count.repaired += sum(row.repaired for row in self.rows)
        for reason, times in sorted(self.why.items()):
            if reason.startswith("value of "):
                self.report.note(f"the {reason} cannot be read in {times} rows: left empty")
            elif " " in reason:
                self.report.note(f"{times} {reason}: left empty")
        self.report.flags["rounded"] = self.rounded
        if self.why["finish"]:
            self.report.flags["finish"] = "submit + duration"
        zero = self._zero()
        self._write(run, zero)
        ends = [row.finished_at for row in self.rows]
        last = None if None in ends else round(max(e for e in ends if e is not None) - zero, 6)
        final = {row.task: row.status for row in sorted(self.rows, key=lambda r: r.attempt)}
        run.add(
            "jobs",
            job=0,
            arrived_at=0.0,
            finished_at=last,
            status="done" if last is not None and {*final.values()} == {"done"} else None,
        )
        if self.unix:
            clock = "the machine that ran Nextflow; time 0 is the first submission"
        else:
            clock = (
                "local time of the machine that ran Nextflow, its zone is not recorded; time 0 "
                "is the first submission"
            )
        return Told(
            clock=clock,
            engine={"name": "nextflow"},
            about={"began_unix": zero} if self.unix else {},
        )

    def _complete(self, row: _Row) -> None:
        ends = self.columns & {"complete", "duration"}
        if row.status == "running":
            return
        if row.status == "killed":
            # It may never have begun.
            good = row.submitted_at is not None or "submit" not in self.columns
        elif ends:
            good = row.finished_at is not None and (
                row.started_at is not None or "start" not in self.columns
            )
        else:
            good = "seconds" in row.values
        self.report.of("tasks").complete += good

    def _attempts(self) -> int:
        """Number the tasks; a later attempt goes on the only failed row that it can follow."""
        failed: dict[tuple[int, str, int], list[int]] = {}
        for k, row in enumerate(self.rows):
            if row.name is not None and row.status in ("failed", "killed"):
                failed.setdefault((row.process, row.name, row.attempt), []).append(k)
        same = Counter((row.process, row.name, row.attempt) for row in self.rows)
        root = list(range(len(self.rows)))
        alone = 0
        for k in sorted(root, key=lambda k: self.rows[k].attempt):
            row = self.rows[k]
            if row.attempt == 0:
                continue
            before = failed.get((row.process, row.name or "", row.attempt - 1), [])
            if len(before) == 1 and same[row.process, row.name, row.attempt] == 1:
                root[k] = root[before[0]]
            else:
                alone += 1
        numbers: dict[int, int] = {}
        for k, row in enumerate(self.rows):
            row.task = numbers.setdefault(root[k], len(numbers))
        if alone:
            self.report.note(
                f"{alone} later attempts follow no failed task, or could follow several: each "
                "counts as a task of its own"
            )
        return len(numbers)

    def _zero(self) -> float:
        first = [r.submitted_at for r in self.rows if r.submitted_at is not None]
        if not first:
            first = [t for r in self.rows for t in (r.started_at, r.finished_at) if t is not None]
        return min(first, default=0.0)

    def _edges_of_processes(
        self, run: RunWriter, graph: tuple[list[str], list[tuple[str, str]]]
    ) -> None:
        drawn, pairs = graph
        absent = [p for p in self.processes if p not in set(drawn)]
        if absent:
            self.edges_known = False
            self.report.note(
                f"{len(absent)} processes ran that the graph does not show, e.g. "
                f"{quoted(absent[0])}"
            )
        for name in drawn:
            self.processes.setdefault(name[:LONGEST_NAME], len(self.processes))
        index = self.processes
        parents = [index[p[:LONGEST_NAME]] for p, _ in pairs]
        children = [index[c[:LONGEST_NAME]] for _, c in pairs]
        self._add_edges(run, "stage", len(index), parents, children, [None] * len(pairs))

    def _edges_of_files(self, run: RunWriter, work: Path, tasks: int) -> None:
        keys = [row.key for row in self.rows]
        found = staged(work, keys, self.bases)
        self.report.flags["work_folders"] = f"{len(found.folders)} of {len(self.rows)}"
        if len(found.folders) < len(self.rows):
            self.edges_known = False
            self.report.note(
                f"the work folders of {len(self.rows) - len(found.folders)} rows are not there: "
                "edges into their tasks are unknown"
            )
        # A folder that was cleaned up can still be whom a link names.
        of = {found.keys[k] or row.key: row.task for k, row in enumerate(self.rows)}
        moved: dict[tuple[int, int], float | None] = {}
        cached = foreign = 0
        for k, key, number_of in found.links:
            parent = of.get(key)
            child = self.rows[k].task
            if parent is None:
                if key in self.cached or key[:9] in self.cached:
                    cached += 1
                else:
                    foreign += 1
            elif parent != child:
                before = moved.get((parent, child), 0.0)
                both = before is not None and number_of is not None
                moved[parent, child] = before + number_of if both else None  # type: ignore[operator]
        if cached:
            self.report.flags["edges_from_cached"] = cached
        if foreign:
            self.report.note(f"{foreign} links lead to tasks that this trace does not hold")
        ordered = sorted(moved, key=lambda pair: pair[::-1])
        parents, children = [p for p, _ in ordered], [c for _, c in ordered]
        kept = self._add_edges(
            run, "task", tasks, parents, children, [moved[pair] for pair in ordered]
        )
        self._parents_first(kept)

    def _add_edges(
        self,
        run: RunWriter,
        kind: str,
        count: int,
        parents: list[int],
        children: list[int],
        moved: list[float | None],
    ) -> list[tuple[int, int]]:
        """Write the edges that lie on no cycle; returns them."""
        good = outside_cycles(count, parents, children)
        said = self.report.of("edges")
        said.seen += len(parents)
        said.complete += int(good.sum())
        said.dropped += len(parents) - int(good.sum())
        if not good.all():
            self.report.note(f"{int((~good).sum())} {kind} edges lie on cycles and are left out")
        kept = [(p, c, b) for p, c, b, g in zip(parents, children, moved, good, strict=True) if g]
        for p, c, b in kept:
            run.add("edges", kind=kind, parent=p, child=c, bytes=b)
        return [(p, c) for p, c, _ in kept]

    def _parents_first(self, edges: Sequence[tuple[int, int]]) -> None:
        """Empty the starts of tasks that would precede the end of a parent."""
        ended: dict[int, float] = {}
        for row in self.rows:
            if row.status == "done" and row.finished_at is not None:
                ended[row.task] = min(row.finished_at, ended.get(row.task, row.finished_at))
        latest: dict[int, float] = {}
        for p, c in edges:
            if p in ended:
                latest[c] = max(ended[p], latest.get(c, 0.0))
        for row in self.rows:
            if _after(latest.get(row.task), row.started_at):
                row.started_at = None
                self._contradiction(row, "starts before the end of a parent")

    def _write(self, run: RunWriter, zero: float) -> None:
        for name, process in self.processes.items():
            run.add("stages", stage=process, job=0, name=name, attempt=0)
        for name, (node, model) in self.nodes.items():
            kind = name if model is None else model[:LONGEST_NAME]
            run.add("nodes", node=node, name=name, kind=kind, logical=False)
        types = list(self.processes)
        for row in self.rows:
            v = row.values
            times = {
                column: None if at is None else round(at - zero, 6)
                for column, at in (
                    ("submitted_at", row.submitted_at),
                    ("started_at", row.started_at),
                    ("finished_at", row.finished_at),
                )
            }
            busy, seconds = v.get(METRIC + "cpu_percent"), v.get("seconds")
            code = v.get(METRIC + "exit_code")
            failed = row.status in ("failed", "killed")
            run.add(
                "tasks",
                task=row.task,
                attempt=row.attempt,
                name=row.name,
                job=0,
                stage=row.process,
                type=types[row.process],
                node=row.node,
                status=row.status,
                reason=f"exit {code:g}" if failed and code is not None else None,
                cpu_seconds=None if busy is None or seconds is None else busy / 100 * seconds,
                **times,
                **v,
            )


def _after(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and a > b


def _process(name: str | None) -> str:
    """Return the process of a task's name, which Nextflow writes as ``process (tag)``."""
    if name is None:
        return "process"
    found = _TAGGED.fullmatch(name)
    return name if found is None else found[1]
