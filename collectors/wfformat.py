"""WfFormat: recorded runs of real workflows, as WfCommons publishes them, into traces.

A file tells how long each task ran and how long the whole run took, rarely when a task started;
so a trace from it yields workloads and a check against the real makespan, but no transitions.
:mod:`collectors.wfformat_schema` says which fields are read and checks them;
:mod:`collectors.wfformat_export` is the way back.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from collectors.acyclic import outside_cycles
from collectors.completeness import Completeness
from collectors.importing import Log, Told
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source
from collectors.wfformat_export import export
from collectors.wfformat_schema import (
    V13,
    V14,
    Executed,
    Instance,
    Machine,
    Specified,
    Task,
    decode,
    is_instance,
    moment,
)
from toolkit import trace as traces
from toolkit.errors import CorruptError, ToolkitError
from toolkit.trace import METRIC
from toolkit.workflows.graph import quoted
from toolkit.workflows.wfformat import GREATEST, MAX_BYTES, purpose, without_numbers

__all__ = ["EXTRA", "WfFormat", "WfFormatImporter", "export"]

LONGEST_NAME = 1000
"""Letters of a name that are kept."""

MOST_STEPS = 50_000_000
"""Comparisons of files that the bytes of all edges of one file may cost."""

SECOND = 1.0
"""Resolution of the clocks by which tasks are dated."""

EXTRA = (
    traces.field(METRIC + "cpu_percent", pa.float64(), "% of one cpu, mean", nullable=True),
    traces.field(METRIC + "energy_kwh", pa.float64(), "kWh", nullable=True),
    traces.field(METRIC + "power_watts", pa.float64(), "W, mean", nullable=True),
    traces.field(METRIC + "priority", pa.float64(), "as the engine means it", nullable=True),
)
"""Columns of ``tasks`` that only this source has."""

ENDINGS = (".json", ".json.gz", ".json.zst")


@dataclass(frozen=True, kw_only=True)
class WfFormatImporter:
    """Reads WfFormat 1.3 to 1.6.

    Bytes and memory of version 1.3 are in kB, but for the bytes that Pegasus read and wrote, as
    WfCommons' own migration reads them.
    """

    @property
    def source(self) -> str:
        """Name of the kind of source."""
        return "wfformat"

    @property
    def extra(self) -> Mapping[str, Sequence[pa.Field]]:
        """Columns that this source adds, by table."""
        return {"tasks": EXTRA}

    def find(self, path: Path) -> list[Log]:
        """Return a file itself, or the files of a folder whose JSON has a ``workflow``."""
        if path.is_file():
            return [Log(name=path.name, files=(path,))]
        return [
            Log(name=file.relative_to(path).as_posix(), files=(file,))
            for file in sorted(path.rglob("*.json*"))
            if file.name.endswith(ENDINGS) and file.is_file() and _means_to_be(file)
        ]

    def read(self, log: Log, run: RunWriter, limits: Limits) -> Told:
        """Read one file as one run with one job.

        Raises:
            CorruptError: When it is no JSON, or larger than is read.
            SchemaError: When it is not as the schema of its version says.
        """
        source = Source(log.files[0], limits)
        raw = source.whole(min(limits.bytes, MAX_BYTES))
        if source.truncated:
            raise CorruptError(f"{log.files[0].name} ends in the middle of a compressed block")
        instance = decode(raw, log.files[0].name)
        del raw
        told = _Reading(instance=instance, report=run.completeness).into(run)
        return Told(
            clock=told.clock, engine=told.engine, about=told.about, files=[dict(source.about)]
        )


@dataclass(frozen=True, kw_only=True)
class WfFormat:
    """The collector ``wfformat``: imports only.

    Args:
        path: A file, or a folder of files.
    """

    path: str | None = None

    def importer(self) -> WfFormatImporter:
        """Return what reads the files."""
        return WfFormatImporter()


def _means_to_be(file: Path) -> bool:
    """Tell whether a file of a folder should be read, or refused with the reason.

    Whatever stands before the workflow is small, so the beginning of a large file tells.
    """
    try:
        chunks = Source(file, Limits()).chunks()
        beginning = next(chunks, b"")
        more = next(chunks, None) is not None
    except ToolkitError:
        return True
    return b'"workflow"' in beginning if more else is_instance(beginning)


@dataclass(slots=True)
class _Row:
    """A task of a file, whichever its version."""

    id: str
    type: str
    parents: Sequence[str]
    children: Sequence[str]
    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    ran: bool = False
    seconds: float | None = None
    cpus: float | None = None
    percent: float | None = None
    memory: float | None = None
    bytes_in: float | None = None
    bytes_out: float | None = None
    energy: float | None = None
    power: float | None = None
    priority: float | None = None
    machine: str | None = None
    executed_at: str | None = None


@dataclass(kw_only=True)
class _Reading:
    """One file on its way into a run."""

    instance: Instance
    report: Completeness
    sizes: dict[str, float] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    shared_machines: int = 0

    def into(self, run: RunWriter) -> Told:
        """Write the run; returns what the file says of it as a whole."""
        workflow = self.instance.workflow
        if isinstance(self.instance, V13 | V14):
            rows = list(self._of_list(self.instance))
            began_text: str | None = self.instance.workflow.executed_at
            machines = self.instance.workflow.machines
        else:
            rows = list(self._of_halves())
            execution = workflow.execution  # type: ignore[union-attr]
            began_text = execution.executed_at if execution else None
            machines = execution.machines if execution else None
        rows = self._unique(rows)
        if not rows:
            raise CorruptError("no task of the workflow can be kept")
        self._check_values(rows)
        index = {row.id: k for k, row in enumerate(rows)}
        parents, children, kind = self._edges(rows, index)
        nodes = self._nodes(run, machines or (), rows)
        makespan = self._makespan()
        longest = _longest_path(rows, parents, children)
        began = moment(began_text)
        starts, began = self._starts(rows, parents, children, began, makespan)
        self._check_makespan(makespan, longest)
        self._write(run, rows, nodes, starts)
        run.extend(
            "edges",
            {
                "kind": ["task"] * len(parents),
                "parent": parents,
                "child": children,
                "bytes": self._bytes(rows, parents, children),
            },
        )
        name = self.instance.name[:LONGEST_NAME]
        run.add(
            "jobs",
            job=0,
            name=name,
            arrived_at=0.0,
            finished_at=makespan,
            status=None if makespan is None else "done",
            detail=None if began_text is None else json.dumps({"executedAt": began_text[:100]}),
        )
        self.report.flags["edges"] = kind
        self.report.flags["version"] = self.instance.schema_version
        system = self.instance.runtime_system or self.instance.wms
        about: dict[str, Any] = {
            "app": name,
            "makespan": makespan,
            "longest_path": longest,
            "work": sum(row.seconds or 0.0 for row in rows),
        }
        if began is not None and began.tzinfo is not None:
            about["began_unix"] = began.timestamp()
        return Told(
            clock="the recorder's; time 0 is when the workflow was executed",
            engine={
                key: value[:LONGEST_NAME]
                for key, value in (
                    ("name", system.name if system else None),
                    ("version", system.version if system else None),
                )
                if value
            },
            about=about,
        )

    # What the versions say.

    def _of_halves(self) -> Iterator[_Row]:
        workflow: Any = self.instance.workflow
        count = self.report.of("tasks")
        ran: dict[str, Executed] = {}
        twice = 0
        for done in workflow.execution.tasks if workflow.execution else ():
            twice += done.id in ran
            ran.setdefault(done.id, done)
        if twice:
            self.report.note(f"{twice} tasks are executed twice: the first entry counts")
        planned: list[Specified] = workflow.specification.tasks
        count.expected = len(planned)
        for file in workflow.specification.files or ():
            self._see_file(file.id, file.size_in_bytes)
        for plan in planned:
            one = ran.get(plan.id)
            program = one.command.program if one and one.command else None
            row = _Row(
                plan.id,
                _type(plan.id, plan.name, plan.category, program),
                plan.parents,
                plan.children,
                plan.input_files or (),
                plan.output_files or (),
            )
            if one is not None:
                self._measured(row, one, 1.0, 1.0)
                row.seconds = one.runtime_in_seconds
                row.cpus = one.core_count
            yield row
        strange = ran.keys() - {plan.id for plan in planned}
        if strange:
            count.seen += len(strange)
            count.dropped += len(strange)
            self.report.note(
                f"{len(strange)} executed tasks are not in the specification and are left out, "
                f"e.g. {quoted(min(strange))}"
            )

    def _of_list(self, instance: V13 | V14) -> Iterator[_Row]:
        tasks: list[Task] = instance.workflow.tasks
        system = instance.wms or instance.runtime_system
        pegasus = "pegasus" in ((system.name if system else None) or "").lower()
        for task in tasks:
            own = task.name
            if task.id and task.id not in task.name:
                own = f"{task.name}_{task.id}"
            for alias in (task.name, task.id):
                if alias:
                    self.aliases.setdefault(alias, own)
            program = task.command.program if task.command else None
            reads: list[str] = []
            writes: list[str] = []
            for file in task.files or ():
                self._see_file(
                    file.name, file.size if file.size_in_bytes is None else file.size_in_bytes
                )
                link = file.link.lower()
                if link not in ("input", "output"):
                    self.report.see_unknown(f"link {file.link}")
                else:
                    (reads if link == "input" else writes).append(file.name)
            row = _Row(
                own,
                _type(own, task.name, task.category, program),
                task.parents or (),
                task.children or (),
                reads,
                writes,
                seconds=_first(task.runtime_in_seconds, task.runtime),
                cpus=task.cores,
            )
            self._measured(row, task, 1000.0, 1.0 if pegasus else 1000.0)
            row.ran = row.seconds is not None
            yield row

    def _measured(self, row: _Row, of: Executed | Task, memory: float, moved: float) -> None:
        """Take what every version says; the factors are for the names of version 1.3."""
        row.ran = True
        row.percent, row.energy, row.power = of.avg_cpu, of.energy, of.avg_power
        row.priority, row.executed_at = of.priority, of.executed_at
        row.memory, row.bytes_in, row.bytes_out = (
            of.memory_in_bytes,
            of.read_bytes,
            of.written_bytes,
        )
        if isinstance(of, Task):
            row.memory = _first(row.memory, of.memory, memory)
            row.bytes_in = _first(row.bytes_in, of.bytes_read, moved)
            row.bytes_out = _first(row.bytes_out, of.bytes_written, moved)
        if of.machines:
            row.machine = of.machines[0]
            self.shared_machines += len(set(of.machines)) > 1
        else:
            row.machine = of.machine
        row.machine = row.machine or None

    def _see_file(self, name: str, size: float | None) -> None:
        """Remember the size of a file; one that has two sizes has none."""
        if size is None:
            return
        known = self.sizes.setdefault(name, size)
        if known != size or not 0.0 <= size <= GREATEST:
            self.sizes[name] = float("nan")

    # What contradicts itself.

    def _unique(self, rows: list[_Row]) -> list[_Row]:
        count = self.report.of("tasks")
        count.seen += len(rows)
        first: dict[str, _Row] = {}
        for row in rows:
            first.setdefault(row.id, row)
        kept = list(first.values())
        if len(kept) < len(rows):
            count.dropped += len(rows) - len(kept)
            self.report.note(
                f"{len(rows) - len(kept)} tasks have the id of an earlier one and are left out"
            )
        return kept

    def _check_values(self, rows: list[_Row]) -> None:
        """Set what cannot be to null; what is left is finite and not negative."""
        count = self.report.of("tasks")
        names = {
            "seconds": "runtime",
            "cpus": "number of cores",
            "percent": "mean CPU utilisation",
            "memory": "memory",
            "bytes_in": "bytes read",
            "bytes_out": "bytes written",
            "energy": "energy",
            "power": "power",
        }
        wrong = dict.fromkeys((*names.values(), "priority"), 0)
        for row in rows:
            bad = False
            for key, called in names.items():
                value = getattr(row, key)
                if value is not None and not 0.0 <= value <= GREATEST:
                    setattr(row, key, None)
                    wrong[called] += 1
                    bad = True
            if row.cpus == 0.0:
                row.cpus = None
                wrong["number of cores"] += 1
                bad = True
            count.repaired += bad
            count.complete += row.seconds is not None
        for called, times in wrong.items():
            if times:
                self.report.note(f"the {called} of {times} tasks cannot be and is left empty")
        idle = sum(not row.ran for row in rows)
        if idle:
            self.report.note(f"{idle} tasks have no execution: they count as still running")
        largest = max((row.memory or 0.0 for row in rows), default=0.0)
        if 0.0 < largest < 2**20:
            self.report.note(
                f"no task has more than {largest:.0f} bytes of memory: kB may be meant; left so"
            )
        if self.shared_machines:
            self.report.note(
                f"{self.shared_machines} tasks ran on several machines: the first is kept"
            )

    def _edges(
        self, rows: list[_Row], index: Mapping[str, int]
    ) -> tuple[list[int], list[int], str]:
        """Return parent and child of each edge, and where they are from."""
        count = self.report.of("edges")
        pairs: dict[tuple[int, int], None] = {}
        unknown: dict[tuple[str, str], None] = {}
        for k, row in enumerate(rows):
            for name in row.parents:
                other = index.get(name)
                if other is None and self.aliases:
                    other = index.get(self.aliases.get(name, ""))
                if other is None:
                    unknown[name, row.id] = None
                else:
                    pairs[other, k] = None
        told = len(pairs)
        for k, row in enumerate(rows):
            for name in row.children:
                other = index.get(name)
                if other is None and self.aliases:
                    other = index.get(self.aliases.get(name, ""))
                if other is None:
                    unknown[row.id, name] = None
                else:
                    pairs[k, other] = None
        kind = "declared"
        if len(pairs) > told and told:
            self.report.note(f"{len(pairs) - told} edges are told by the parent only")
        if not pairs and not unknown:
            pairs, kind = self._edges_of_files(rows)
        if unknown:
            self.report.note(
                f"{len(unknown)} edges lead to tasks that are not there and are left out, e.g. "
                f"{' -> '.join(quoted(name) for name in next(iter(unknown)))}"
            )
        ordered = sorted(pairs, key=lambda pair: pair[::-1])
        parents, children = [p for p, _ in ordered], [c for _, c in ordered]
        kept = outside_cycles(len(rows), parents, children)
        count.seen, count.complete = len(pairs) + len(unknown), int(kept.sum())
        count.dropped = count.seen - count.complete
        if not kept.all():
            first = int(kept.argmin())
            self.report.note(
                f"{len(kept) - int(kept.sum())} edges lie on cycles and are left out, e.g. "
                f"{quoted(rows[parents[first]].id)} -> {quoted(rows[children[first]].id)}"
            )
            parents = [p for p, good in zip(parents, kept, strict=True) if good]
            children = [c for c, good in zip(children, kept, strict=True) if good]
        return parents, children, kind if parents else "none"

    def _edges_of_files(self, rows: list[_Row]) -> tuple[dict[tuple[int, int], None], str]:
        """Where nobody has a parent: whoever reads a file depends on the only one who writes it."""
        writers: dict[str, int] = {}
        for k, row in enumerate(rows):
            for name in row.writes:
                writers[name] = k if writers.get(name, k) == k else -1
        pairs: dict[tuple[int, int], None] = {}
        for k, row in enumerate(rows):
            for name in row.reads:
                writer = writers.get(name, -1)
                if writer not in (-1, k):
                    pairs[writer, k] = None
        if pairs:
            self.report.note("no task names a parent or child: edges are read from its files")
        return pairs, "files"

    def _makespan(self) -> float | None:
        workflow: Any = self.instance.workflow
        count = self.report.of("jobs")
        count.seen = 1
        if isinstance(self.instance, V13):
            found: float | None = workflow.makespan
        elif isinstance(self.instance, V14):
            found = workflow.makespan_in_seconds
        else:
            found = workflow.execution.makespan_in_seconds if workflow.execution else None
        if found is not None and not 0.0 <= found <= GREATEST:
            count.repaired = 1
            self.report.note(f"the makespan cannot be {found:g} s and is left empty")
            found = None
        count.complete = int(found is not None)
        return found

    def _check_makespan(self, makespan: float | None, longest: float) -> None:
        if makespan is None:
            return
        short = longest > makespan * 1.01 + SECOND
        self.report.flags["makespan"] = "too short" if short else "possible"
        if short:
            self.report.note(
                f"the longest path takes {longest:.1f} s, more than the makespan, "
                f"{makespan:.1f} s: tasks may have been resumed; left so"
            )

    def _starts(
        self,
        rows: list[_Row],
        parents: list[int],
        children: list[int],
        began: datetime | None,
        makespan: float | None,
    ) -> tuple[list[float | None], datetime | None]:
        """Return when tasks started; converters are known to write the time of the conversion.

        So one date that cannot be makes all of them worthless.
        """
        empty: list[float | None] = [None] * len(rows)
        dates = [moment(row.executed_at) for row in rows]
        given = [d for d in dates if d is not None]
        if not given:
            self.report.flags["task_starts"] = "none"
            return empty, began
        zoned = {d.tzinfo is not None for d in (*given, *([began] if began else ()))}
        if len(zoned) > 1:
            self.report.flags["task_starts"] = "refused"
            self.report.note("some dates have a time zone and some not: tasks have no start")
            return empty, began
        zero = began if began is not None else min(given)
        starts = [None if d is None else round((d - zero).total_seconds(), 6) for d in dates]
        end = GREATEST if makespan is None else makespan + SECOND
        outside = sum(
            s is not None and not (s >= -SECOND and s + (row.seconds or 0.0) <= end + SECOND)
            for s, row in zip(starts, rows, strict=True)
        )
        early = 0
        for p, c in zip(parents, children, strict=True):
            before, after = starts[p], starts[c]
            if before is not None and after is not None:
                early += after < before + (rows[p].seconds or 0.0) - 2 * SECOND
        if outside or early:
            self.report.flags["task_starts"] = "refused"
            self.report.of("tasks").repaired += len(given)
            self.report.note(
                f"the dates of tasks cannot be when they started ({outside} outside the run, "
                f"{early} before a parent ended): tasks have no start"
            )
            return empty, began
        self.report.flags["task_starts"] = "read"
        return starts, zero

    # What is written.

    def _nodes(
        self, run: RunWriter, machines: Sequence[Machine], rows: list[_Row]
    ) -> dict[str, int]:
        """Write the machines, described or only named; returns the index of each."""
        count = self.report.of("nodes")
        index: dict[str, int] = {}
        for machine in machines:
            count.seen += 1
            name = machine.node_name
            if name in index:
                count.dropped += 1
                self.report.note(f"the machine {quoted(name)} is described again: left out")
                continue
            index[name] = len(index)
            count.complete += 1
            self._node(run, index[name], machine)
        undescribed = 0
        for row in rows:
            if row.machine is not None and row.machine not in index:
                name = row.machine
                index[name] = len(index)
                undescribed += 1
                count.seen += 1
                count.complete += 1
                self._node(run, index[name], Machine(node_name=name))
        if undescribed:
            self.report.note(f"{undescribed} machines are named by tasks and described nowhere")
        return index

    def _node(self, run: RunWriter, node: int, machine: Machine) -> None:
        cpu = machine.cpu
        cpus = _first(cpu.core_count, cpu.count) if cpu else None
        memory = _first(machine.memory_in_bytes, machine.memory, 1000.0)
        speed = _first(cpu.speed_mhz, cpu.speed) if cpu else None
        name = machine.node_name[:LONGEST_NAME]
        for called, value in (("cores", cpus), ("memory", memory), ("speed", speed)):
            if value is not None and not 0.0 < value <= GREATEST:
                self.report.of("nodes").repaired += 1
                self.report.note(f"the {called} of {quoted(name)} cannot be {value:g}")
        cpus, memory, speed = (
            v if v is not None and 0.0 < v <= GREATEST else None for v in (cpus, memory, speed)
        )
        vendor = cpu.vendor if cpu else None
        detail = {
            "system": machine.system,
            "architecture": machine.architecture,
            "release": machine.release,
            "vendor": vendor,
            "speed_mhz": speed,
        }
        known = {k: v[:LONGEST_NAME] if isinstance(v, str) else v for k, v in detail.items() if v}
        # The clock is a snapshot; machines that are described alike count as equally fast.
        alike = [machine.architecture, vendor, f"{cpus:g} cpus" if cpus else None]
        run.add(
            "nodes",
            node=node,
            name=name,
            kind=" ".join(w for w in alike if w)[:LONGEST_NAME] if cpus else name,
            cpus=cpus,
            memory=memory,
            logical=False,
            detail=json.dumps(known) if known else None,
        )

    def _write(
        self,
        run: RunWriter,
        rows: list[_Row],
        nodes: Mapping[str, int],
        starts: Sequence[float | None],
    ) -> None:
        n = len(rows)
        run.extend(
            "tasks",
            {
                "task": range(n),
                "attempt": [0] * n,
                "name": [r.id[:LONGEST_NAME] for r in rows],
                "job": [0] * n,
                "type": [r.type for r in rows],
                "node": [None if r.machine is None else nodes[r.machine] for r in rows],
                "cpus": [r.cpus for r in rows],
                "started_at": starts,
                "seconds": [r.seconds for r in rows],
                "status": ["done" if r.ran else "running" for r in rows],
                "cpu_seconds": [
                    None if r.percent is None or r.seconds is None else r.percent / 100 * r.seconds
                    for r in rows
                ],
                "peak_memory": [r.memory for r in rows],
                "bytes_in": [r.bytes_in for r in rows],
                "bytes_out": [r.bytes_out for r in rows],
                METRIC + "cpu_percent": [r.percent for r in rows],
                METRIC + "energy_kwh": [r.energy for r in rows],
                METRIC + "power_watts": [r.power for r in rows],
                METRIC + "priority": [r.priority for r in rows],
            },
        )

    def _bytes(
        self, rows: list[_Row], parents: list[int], children: list[int]
    ) -> list[float | None]:
        """Return the size of the files that each parent writes and its child reads.

        It is null where they share none, or one without a size.
        """
        into: list[dict[int, int]] = [{} for _ in rows]
        for edge, (p, c) in enumerate(zip(parents, children, strict=True)):
            into[c][p] = edge
        writers: dict[str, set[int]] = {}
        for k, row in enumerate(rows):
            for name in row.writes:
                writers.setdefault(name, set()).add(k)
        found: list[float | None] = [None] * len(parents)
        unsized: set[str] = set()
        steps = 0
        for k, row in enumerate(rows):
            edges = into[k]
            if not edges:
                continue
            for name in dict.fromkeys(row.reads):
                own = writers.get(name)
                if own is None:
                    continue
                # From the shorter side, for files that many write and many read.
                origins = own & edges.keys() if len(own) <= len(edges) else edges.keys() & own
                steps += min(len(own), len(edges))
                if steps > MOST_STEPS:
                    self.report.note("files are too entangled: edges have no bytes")
                    return [None] * len(parents)
                size = self.sizes.get(name, float("nan"))
                if origins and size != size:
                    unsized.add(name)
                for p in origins:
                    found[edges[p]] = (found[edges[p]] or 0.0) + size
        if unsized:
            self.report.note(
                f"{len(unsized)} files that are handed on have no size, or several: their edges "
                "have no bytes"
            )
        return [None if b is None or b != b else b for b in found]


def _first(a: float | None, b: float | None, scale: float = 1.0) -> float | None:
    """Return ``a``, else ``b`` in the unit of ``a``."""
    return a if a is not None or b is None else b * scale


_purpose = lru_cache(4096)(purpose)


def _type(own: str, name: str | None, category: str | None, program: str | None) -> str:
    # Longer ones are scripts, which say nothing.
    words = (w if w is not None and len(w) <= LONGEST_NAME else None for w in (category, program))
    told = _purpose(*words) or without_numbers((name or own)[:LONGEST_NAME])
    return told if told.isprintable() else ascii(told)[1:-1]


def _longest_path(rows: Sequence[_Row], parents: Sequence[int], children: Sequence[int]) -> float:
    """Return the greatest sum of run times along a path, s; the edges have no cycle."""
    after: list[list[int]] = [[] for _ in rows]
    waits = [0] * len(rows)
    for p, c in zip(parents, children, strict=True):
        after[p].append(c)
        waits[c] += 1
    own = [row.seconds or 0.0 for row in rows]
    ready_at = [0.0] * len(rows)
    ready = deque(k for k, w in enumerate(waits) if w == 0)
    longest = 0.0
    while ready:
        k = ready.popleft()
        end = ready_at[k] + own[k]
        longest = max(longest, end)
        for c in after[k]:
            ready_at[c] = max(ready_at[c], end)
            waits[c] -= 1
            if waits[c] == 0:
                ready.append(c)
    return longest
