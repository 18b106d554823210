"""Trace: what a cluster did, as eight Arrow tables and their provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolkit import consistency
from toolkit.errors import CorruptError, SchemaError
from toolkit.store import write_text

SCHEMA = 2
"""Version of the tables."""

FEATURE = "x_"
"""Prefix of the columns of ``jobs`` that hold data features, e.g. ``x_reads``."""

METRIC = "m_"
"""Prefix of further columns of ``tasks``, which one kind of source measures: ``m_gc_seconds``."""


def field(name: str, kind: pa.DataType, unit: str, nullable: bool = False) -> pa.Field:
    """Return a column; its unit is in its metadata."""
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit})


def _maybe(name: str, kind: pa.DataType, unit: str) -> pa.Field:
    """Return a column that is null where the source does not say."""
    return field(name, kind, unit, nullable=True)


_RUN = field("run", pa.int32(), "index")
_S = "s since the start of the run"
TABLES: dict[str, pa.Schema] = {
    "nodes": pa.schema(
        [
            _RUN,
            field("node", pa.int32(), "index"),
            field("name", pa.string(), "name"),
            field("kind", pa.string(), "nodes of one kind take equally long"),
            _maybe("cpus", pa.float64(), "cpus"),
            _maybe("memory", pa.float64(), "bytes"),
            _maybe("gpus", pa.float64(), "gpus"),
            field("logical", pa.bool_(), "flag: shares its hardware with other nodes"),
            _maybe("requested_at", pa.float64(), _S),
            _maybe("added_at", pa.float64(), _S),
            _maybe("removed_at", pa.float64(), _S),
            _maybe("detail", pa.string(), "JSON"),
        ]
    ),
    "jobs": pa.schema(
        [
            _RUN,
            field("job", pa.int32(), "index"),
            _maybe("name", pa.string(), "the source's own name"),
            field("arrived_at", pa.float64(), _S),
            _maybe("arrived_seen", pa.float64(), _S),
            _maybe("finished_at", pa.float64(), _S),
            _maybe("finished_seen", pa.float64(), _S),
            _maybe("status", pa.string(), "done | failed | killed"),
            _maybe("detail", pa.string(), "JSON"),
        ]
    ),
    "stages": pa.schema(
        [
            _RUN,
            field("stage", pa.int32(), "index"),
            field("job", pa.int32(), "index"),
            field("name", pa.string(), "name"),
            field("attempt", pa.int32(), "index"),
            _maybe("tasks", pa.int32(), "count that the source announced"),
            _maybe("submitted_at", pa.float64(), _S),
            _maybe("finished_at", pa.float64(), _S),
            _maybe("status", pa.string(), "done | failed | skipped"),
            _maybe("detail", pa.string(), "JSON"),
        ]
    ),
    "tasks": pa.schema(
        [
            _RUN,
            field("task", pa.int32(), "index"),
            field("attempt", pa.int32(), "index"),
            _maybe("name", pa.string(), "the source's own name"),
            field("job", pa.int32(), "index"),
            _maybe("stage", pa.int32(), "index"),
            field("type", pa.string(), "name"),
            _maybe("node", pa.int32(), "index"),
            _maybe("profile", pa.int32(), "index"),
            _maybe("cpus", pa.float64(), "cpus asked for"),
            _maybe("memory", pa.float64(), "bytes asked for"),
            _maybe("gpus", pa.float64(), "gpus asked for"),
            _maybe("decision", pa.int32(), "index"),
            _maybe("ready_at", pa.float64(), _S),
            _maybe("ready_seen", pa.float64(), _S),
            _maybe("submitted_at", pa.float64(), _S),
            _maybe("started_at", pa.float64(), _S),
            _maybe("started_seen", pa.float64(), _S),
            _maybe("finished_at", pa.float64(), _S),
            _maybe("finished_seen", pa.float64(), _S),
            _maybe("seconds", pa.float64(), "s that it ran, where the source says no start or end"),
            field("status", pa.string(), "done | failed | killed | running"),
            _maybe("reason", pa.string(), "why it did not finish"),
            _maybe("cpu_seconds", pa.float64(), "cpu-s"),
            _maybe("peak_memory", pa.float64(), "bytes over the worker's base"),
            _maybe("bytes_in", pa.float64(), "bytes"),
            _maybe("bytes_out", pa.float64(), "bytes"),
        ]
    ),
    "edges": pa.schema(
        [
            _RUN,
            field("kind", pa.string(), "task | stage: what parent and child are"),
            field("parent", pa.int32(), "index"),
            field("child", pa.int32(), "index"),
            _maybe("bytes", pa.float64(), "bytes"),
        ]
    ),
    "samples": pa.schema(
        [
            _RUN,
            field("at", pa.float64(), _S),
            _maybe("node", pa.int32(), "index"),
            field("metric", pa.string(), "name with unit"),
            field("value", pa.float64(), "as the metric says"),
        ]
    ),
    "spans": pa.schema(
        [
            _RUN,
            field("span", pa.int32(), "index"),
            field("kind", pa.string(), "what the source calls such an interval"),
            _maybe("parent", pa.int32(), "span"),
            _maybe("job", pa.int32(), "index"),
            _maybe("task", pa.int32(), "index"),
            field("name", pa.string(), "name"),
            _maybe("started_at", pa.float64(), _S),
            _maybe("finished_at", pa.float64(), _S),
            _maybe("detail", pa.string(), "JSON"),
        ]
    ),
    "decisions": pa.schema(
        [
            _RUN,
            field("decision", pa.int32(), "index"),
            field("epoch", pa.int32(), "index"),
            field("agent", pa.string(), "name"),
            field("at", pa.float64(), _S),
            field("action", pa.int32(), "slot; -1 where no slot shows what was chosen"),
            field("key", pa.int32(), "task, node, profile or configuration"),
            field("slots", pa.int32(), "count"),
            _maybe("propensity", pa.float64(), "probability"),
            field("policy", pa.string(), "name"),
            field("digest", pa.string(), "fingerprint of what the policy was shown"),
            field("inferred", pa.bool_(), "flag: read from what ran, not recorded"),
            field("invalid", pa.bool_(), "flag: the mask forbids what was chosen"),
        ]
    ),
}
"""Schema of each table; the unit of a column is in its metadata. What a source does not say is
null and never guessed. An execution has a row of ``tasks`` for each attempt."""

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
    "completeness",
)
"""What the provenance of every trace must say; null where it does not apply."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a cluster did in one or more runs.

    Args:
        tables: One for each of ``TABLES``.
        provenance: Source, scenario and estimates that the policies saw (null for a log), runs
            (index, seed, policy, mode), clock, engine versions, host, seed, and what is known of
            its completeness.
    """

    tables: Mapping[str, pa.Table]
    provenance: Mapping[str, Any]

    def runs(self, mode: str | None = None) -> list[Mapping[str, Any]]:
        """Return the runs, all or those of one mode (``policy``, ``sweep`` or ``log``)."""
        return [r for r in self.provenance["runs"] if mode is None or r["mode"] == mode]

    def of(self, table: str, run: int) -> pa.Table:
        """Return the rows of one run, in their own order."""
        whole = self.tables[table]
        return whole.filter(pc.equal(whole["run"], run))


def schema(name: str, extra: Sequence[pa.Field] = ()) -> pa.Schema:
    """Return the schema of a table with the columns that one source adds to it."""
    found = TABLES[name]
    for column in extra:
        found = found.append(column)
    return found


def features(names: Sequence[str]) -> list[pa.Field]:
    """Return the columns of ``jobs`` for data features."""
    return [field(FEATURE + name, pa.float64(), "feature") for name in names]


def table(name: str, rows: Sequence[Mapping[str, Any]], extra: Sequence[pa.Field] = ()) -> pa.Table:
    """Build a table from plain rows, in the column order of its schema; absent values are null."""
    return pa.Table.from_pylist(list(rows), schema=schema(name, extra))


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


AGAIN = "restore it from a copy, or record again: toolkit collect force=true"


def read_provenance(folder: Path) -> dict[str, Any]:
    """Read what a trace says of itself.

    Raises:
        SchemaError: When it was written by another schema version.
        CorruptError: When the file is missing or damaged.
    """
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptError(f"{folder / 'provenance.json'} cannot be read", hint=AGAIN) from error
    found = provenance.get("schema") if isinstance(provenance, dict) else None
    if found != SCHEMA:
        raise SchemaError(
            f"the trace in {folder} has schema version {found!r}; this release reads {SCHEMA}",
            hint=AGAIN,
        )
    return dict(provenance)


def read(folder: Path) -> Trace:
    """Read and validate a trace.

    Raises:
        SchemaError: When it was written by another schema version.
        CorruptError: When a file is missing or damaged or the trace contradicts itself.
    """
    provenance = read_provenance(folder)
    tables = {}
    for name in TABLES:
        file = folder / f"{name}.parquet"
        try:
            tables[name] = pq.read_table(file, memory_map=False)
        except (OSError, pa.ArrowException) as error:
            raise CorruptError(
                f"{file} is missing, truncated or no Parquet file", hint=AGAIN
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
    for name in TABLES:
        if name not in trace.tables:
            raise CorruptError(f"the trace has no table {name!r}")
    check(
        trace.provenance,
        {name: rows.schema for name, rows in trace.tables.items()},
        lambda name, columns: trace.tables[name].select(columns),
    )


def validate_files(folder: Path, provenance: Mapping[str, Any]) -> None:
    """Check a trace that lies in files, a few columns at a time.

    Raises:
        CorruptError: As :func:`validate` does.
    """
    files = {name: pq.ParquetFile(folder / f"{name}.parquet") for name in TABLES}
    try:
        check(
            provenance,
            {name: file.schema_arrow for name, file in files.items()},
            lambda name, columns: files[name].read(columns=columns),
        )
    finally:
        for file in files.values():
            file.close()


def check(
    provenance: Mapping[str, Any],
    schemas: Mapping[str, pa.Schema],
    columns: consistency.Columns,
) -> None:
    """Check what a trace says of itself and then its rows."""
    for key in PROVENANCE:
        if key not in provenance:
            raise CorruptError(f"the trace's provenance does not say {key!r}")
    runs = {int(r["run"]) for r in provenance["runs"]}
    consistency.check(TABLES, schemas, columns, runs)
