"""Trace: what a cluster did, as six Arrow tables and their provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolkit.errors import CorruptError, SchemaError
from toolkit.store import write_text

SCHEMA = 1
"""Version of the tables."""

FEATURE = "x_"
"""Prefix of the columns of ``jobs`` that hold data features, e.g. ``x_reads``."""


def _field(name: str, kind: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


_RUN = _field("run", pa.int32(), "index")
_S = "s since the start of the run"
TABLES: dict[str, pa.Schema] = {
    "nodes": pa.schema(
        [
            _RUN,
            _field("node", pa.int32(), "index"),
            _field("name", pa.string(), "name"),
            _field("cpus", pa.float64(), "cpus"),
            _field("memory", pa.float64(), "bytes"),
            _field("logical", pa.bool_(), "flag"),
        ]
    ),
    "jobs": pa.schema(
        [
            _RUN,
            _field("job", pa.int32(), "index"),
            _field("arrived_at", pa.float64(), _S),
            _field("arrived_seen", pa.float64(), _S, nullable=True),
            _field("finished_at", pa.float64(), _S, nullable=True),
            _field("finished_seen", pa.float64(), _S, nullable=True),
        ]
    ),
    "tasks": pa.schema(
        [
            _RUN,
            _field("task", pa.int32(), "index"),
            _field("attempt", pa.int32(), "index"),
            _field("job", pa.int32(), "index"),
            _field("type", pa.string(), "name"),
            _field("node", pa.int32(), "index"),
            _field("profile", pa.int32(), "index"),
            _field("cpus", pa.float64(), "cpus"),
            _field("memory", pa.float64(), "bytes"),
            _field("decision", pa.int32(), "index", nullable=True),
            _field("ready_at", pa.float64(), _S),
            _field("ready_seen", pa.float64(), _S),
            _field("submitted_at", pa.float64(), _S),
            _field("started_at", pa.float64(), _S),
            _field("started_seen", pa.float64(), _S),
            _field("finished_at", pa.float64(), _S, nullable=True),
            _field("finished_seen", pa.float64(), _S, nullable=True),
            _field("status", pa.string(), "done | failed | killed"),
            _field("cpu_seconds", pa.float64(), "cpu-s", nullable=True),
            _field("peak_memory", pa.float64(), "bytes over the worker's base", nullable=True),
            _field("bytes_in", pa.float64(), "bytes", nullable=True),
            _field("bytes_out", pa.float64(), "bytes", nullable=True),
        ]
    ),
    "edges": pa.schema(
        [
            _RUN,
            _field("parent", pa.int32(), "task"),
            _field("child", pa.int32(), "task"),
            _field("bytes", pa.float64(), "bytes", nullable=True),
        ]
    ),
    "samples": pa.schema(
        [
            _RUN,
            _field("at", pa.float64(), _S),
            _field("node", pa.int32(), "index"),
            _field("metric", pa.string(), "name with unit"),
            _field("value", pa.float64(), "as the metric says"),
        ]
    ),
    "decisions": pa.schema(
        [
            _RUN,
            _field("decision", pa.int32(), "index"),
            _field("epoch", pa.int32(), "index"),
            _field("agent", pa.string(), "name"),
            _field("at", pa.float64(), _S),
            _field("action", pa.int32(), "slot"),
            _field("key", pa.int32(), "index of the profile"),
            _field("slots", pa.int32(), "count"),
            _field("propensity", pa.float64(), "probability", nullable=True),
            _field("policy", pa.string(), "name"),
            _field("digest", pa.string(), "fingerprint of what the policy was shown"),
            _field("inferred", pa.bool_(), "flag"),
        ]
    ),
}
"""Schema of each table; the unit of a column is in its metadata."""

PROVENANCE = (
    "source",
    "scenario",
    "estimates",
    "runs",
    "clock",
    "engine",
    "host",
    "seed",
    "schema",
)
"""What the provenance of every trace must say."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a cluster did in one or more runs.

    Args:
        tables: ``nodes``, ``jobs``, ``tasks``, ``edges``, ``samples`` and ``decisions``.
        provenance: Source, scenario, estimates that the policies saw, runs (index, seed,
            policy, mode), clock, engine versions, host and seed.
    """

    tables: Mapping[str, pa.Table]
    provenance: Mapping[str, Any]

    def runs(self, mode: str | None = None) -> list[Mapping[str, Any]]:
        """Return the runs, all or those of one mode (``policy`` or ``sweep``)."""
        return [r for r in self.provenance["runs"] if mode is None or r["mode"] == mode]

    def of(self, table: str, run: int) -> pa.Table:
        """Return the rows of one run, in their own order."""
        whole = self.tables[table]
        return whole.filter(pc.equal(whole["run"], run))


def empty(name: str, features: Sequence[str] = ()) -> pa.Table:
    """Return a table without rows."""
    return _schema(name, features).empty_table()


def table(name: str, rows: Sequence[Mapping[str, Any]], features: Sequence[str] = ()) -> pa.Table:
    """Build a table from plain rows, in the column order of its schema."""
    return pa.Table.from_pylist(list(rows), schema=_schema(name, features))


def _schema(name: str, features: Sequence[str]) -> pa.Schema:
    schema = TABLES[name]
    if name == "jobs":
        for feature in features:
            schema = schema.append(_field(FEATURE + feature, pa.float64(), "feature"))
    return schema


def write(trace: Trace, folder: Path) -> None:
    """Validate a trace and write it as Parquet, provenance last.

    Raises:
        CorruptError: When the trace contradicts itself.
    """
    validate(trace)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in trace.tables.items():
        aside = folder / f".{name}.parquet.tmp"
        pq.write_table(rows, aside, compression="zstd")
        aside.replace(folder / f"{name}.parquet")
    write_text(folder / "provenance.json", json.dumps(trace.provenance, indent=1))


def read(folder: Path) -> Trace:
    """Read and validate a trace.

    Raises:
        SchemaError: When it was written by another schema version.
        CorruptError: When a file is missing or damaged or the trace contradicts itself.
    """
    again = "restore it from a copy, or record again: toolkit collect force=true"
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptError(f"{folder / 'provenance.json'} cannot be read", hint=again) from error
    found = provenance.get("schema") if isinstance(provenance, dict) else None
    if found != SCHEMA:
        raise SchemaError(
            f"the trace in {folder} has schema version {found!r}; this release reads {SCHEMA}",
            hint=again,
        )
    tables = {}
    for name in TABLES:
        file = folder / f"{name}.parquet"
        try:
            tables[name] = pq.read_table(file, memory_map=False)
        except (OSError, pa.ArrowException) as error:
            raise CorruptError(
                f"{file} is missing, truncated or no Parquet file", hint=again
            ) from error
    trace = Trace(tables=tables, provenance=provenance)
    validate(trace)
    return trace


def concatenate(traces: Sequence[Trace], provenance: Mapping[str, Any]) -> Trace:
    """Join the runs of several traces; their run indices must differ."""
    return Trace(
        tables={
            name: pa.concat_tables([t.tables[name] for t in traces]).combine_chunks()
            for name in TABLES
        },
        provenance=provenance,
    )


def validate(trace: Trace) -> None:
    """Check schema, references, order of times and acyclicity.

    Raises:
        CorruptError: With the first contradiction found: table, column and row.
    """
    for key in PROVENANCE:
        if key not in trace.provenance:
            raise CorruptError(f"the trace's provenance does not say {key!r}")
    for name, expected in TABLES.items():
        if name not in trace.tables:
            raise CorruptError(f"the trace has no table {name!r}")
        _check_schema(name, trace.tables[name], expected)
    runs = {int(r["run"]) for r in trace.provenance["runs"]}
    for name, rows in trace.tables.items():
        strange = sorted(set(rows["run"].to_pylist()) - runs)
        if strange:
            raise CorruptError(f"table {name!r} has rows of run {strange[0]}, not in provenance")
    for run in sorted(runs):
        _check_run(trace, run)


def _check_schema(name: str, rows: pa.Table, expected: pa.Schema) -> None:
    for field in expected:
        if field.name not in rows.column_names:
            raise CorruptError(f"table {name!r} has no column {field.name!r}")
        if rows.schema.field(field.name).type != field.type:
            raise CorruptError(
                f"column {name}.{field.name} is {rows.schema.field(field.name).type}, "
                f"expected {field.type}"
            )
        if not field.nullable and rows[field.name].null_count:
            raise CorruptError(f"column {name}.{field.name} has missing values")
        if pa.types.is_floating(field.type):
            values = rows[field.name].drop_null().to_numpy()
            if not np.isfinite(values).all():
                raise CorruptError(f"column {name}.{field.name} has NaN or infinite values")


def _column(rows: pa.Table, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    return np.asarray(rows[name].to_numpy(zero_copy_only=False))


def _check_run(trace: Trace, run: int) -> None:
    import networkx as nx

    tasks, edges = trace.of("tasks", run), trace.of("edges", run)
    jobs, nodes = trace.of("jobs", run), trace.of("nodes", run)
    ids = _column(tasks, "task")
    for rows, column in ((jobs, "job"), (nodes, "node"), (trace.of("decisions", run), "decision")):
        values = _column(rows, column)
        if len(np.unique(values)) != len(values):
            raise CorruptError(f"run {run}: {column} ids are not unique")
    if len({*zip(ids.tolist(), _column(tasks, "attempt").tolist(), strict=True)}) != len(ids):
        raise CorruptError(f"run {run}: two rows of one task and attempt")
    for column, home in (("job", jobs), ("node", nodes)):
        _refer(run, "tasks", column, _column(tasks, column), _column(home, column))
    decided = tasks["decision"].drop_null().to_numpy()
    _refer(run, "tasks", "decision", decided, _column(trace.of("decisions", run), "decision"))
    for column in ("parent", "child"):
        _refer(run, "edges", column, _column(edges, column), ids)
    for a, b in (
        ("ready_at", "ready_seen"),
        ("ready_seen", "submitted_at"),
        ("submitted_at", "started_at"),
        ("started_at", "started_seen"),
        ("started_at", "finished_at"),
        ("finished_at", "finished_seen"),
    ):
        _ordered(run, tasks, "tasks", "task", a, b)
    _ordered(run, jobs, "jobs", "job", "arrived_at", "arrived_seen")
    _ordered(run, jobs, "jobs", "job", "arrived_at", "finished_at")
    for column in ("cpus", "memory"):
        if len(tasks) and float(_column(tasks, column).min()) <= 0:
            raise CorruptError(f"run {run}: tasks.{column} must be positive")
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_edges_from(
        zip(_column(edges, "parent").tolist(), _column(edges, "child").tolist(), strict=True)
    )
    if not nx.is_directed_acyclic_graph(graph):
        raise CorruptError(f"run {run}: the task graph has a cycle: {nx.find_cycle(graph)[:4]}")
    started = dict(zip(ids.tolist(), _column(tasks, "started_at").tolist(), strict=True))
    finished = dict(zip(ids.tolist(), tasks["finished_at"].to_pylist(), strict=True))
    for parent, child in graph.edges:
        if finished[parent] is not None and started[child] < finished[parent] - 1e-6:
            raise CorruptError(f"run {run}: task {child} started before its parent {parent} ended")
    propensity = trace.of("decisions", run)["propensity"].drop_null().to_numpy()
    if len(propensity) and (propensity.min() <= 0 or propensity.max() > 1):
        raise CorruptError(f"run {run}: propensities must lie in (0, 1]")


def _refer(
    run: int,
    table_name: str,
    column: str,
    values: np.ndarray[Any, Any],
    known: np.ndarray[Any, Any],
) -> None:
    strange = np.setdiff1d(values, known)
    if len(strange):
        raise CorruptError(
            f"run {run}: {table_name}.{column} refers to {int(strange[0])}, which does not exist"
        )


def _ordered(run: int, rows: pa.Table, name: str, key: str, a: str, b: str) -> None:
    both = rows.filter(pc.and_(pc.is_valid(rows[a]), pc.is_valid(rows[b])))
    early, late = _column(both, a), _column(both, b)
    wrong = np.flatnonzero(early > late + 1e-6)
    if len(wrong):
        i = int(wrong[0])
        raise CorruptError(
            f"run {run}: {name}.{a} = {early[i]:.6f} is after {b} = {late[i]:.6f} "
            f"({key} {int(_column(both, key)[i])})"
        )
