"""Traces: round trip, and every contradiction is found and named."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.recordings import record
from toolkit import trace as traces
from toolkit.errors import CorruptError, SchemaError
from toolkit.trace import Trace


@pytest.fixture(scope="module")
def trace():
    return record()


def test_a_trace_survives_its_files(trace, tmp_path):
    traces.write(trace, tmp_path)
    again = traces.read(tmp_path)
    for name in traces.TABLES:
        assert again.tables[name].equals(trace.tables[name]), name
    assert again.provenance == json.loads(json.dumps(trace.provenance))
    for name, schema in traces.TABLES.items():
        for field in schema:
            stored = again.tables[name].schema.field(field.name)
            assert stored.metadata[b"unit"] == field.metadata[b"unit"]


def changed(trace, table, column, change):
    rows = trace.tables[table].to_pydict()
    rows[column] = change(rows[column])
    schema = trace.tables[table].schema
    tables = {**trace.tables, table: pa.Table.from_pydict(rows, schema=schema)}
    return Trace(tables=tables, provenance=trace.provenance)


CONTRADICTIONS = [
    ("tasks", "job", lambda v: [999, *v[1:]], "tasks.job refers to 999"),
    ("tasks", "node", lambda v: [7, *v[1:]], "tasks.node refers to 7"),
    ("tasks", "decision", lambda v: [10**6, *v[1:]], "tasks.decision refers to"),
    ("tasks", "started_at", lambda v: [1e9, *v[1:]], "is after"),
    ("tasks", "finished_at", lambda v: [-1.0, *v[1:]], "is after"),
    ("tasks", "cpus", lambda v: [-1.0, *v[1:]], "must not be negative"),
    ("tasks", "ready_at", lambda v: [float("nan"), *v[1:]], "NaN"),
    ("tasks", "task", lambda v: [v[1], *v[1:]], "two rows of one task"),
    ("tasks", "run", lambda v: [77, *v[1:]], "not in provenance"),
    ("jobs", "job", lambda v: [v[1], *v[1:]], "not unique"),
    ("jobs", "finished_at", lambda v: [-5.0, *v[1:]], "is after"),
    ("edges", "child", lambda v: [10**6, *v[1:]], "edges.child refers to"),
    ("edges", "parent", lambda v: [-4, *v[1:]], "edges.parent refers to"),
    ("decisions", "propensity", lambda v: [0.0, *v[1:]], "propensities must lie in"),
    ("decisions", "propensity", lambda v: [1.5, *v[1:]], "propensities must lie in"),
]


@pytest.mark.parametrize(("table", "column", "change", "said"), CONTRADICTIONS)
def test_a_contradiction_is_named(trace, table, column, change, said):
    with pytest.raises(CorruptError, match=said):
        traces.validate(changed(trace, table, column, change))


def test_a_cycle_is_named(trace):
    edges = trace.tables["edges"].to_pydict()
    first = {k: v[0] for k, v in edges.items()}
    back = {**first, "parent": first["child"], "child": first["parent"]}
    more = {k: [*v, back[k]] for k, v in edges.items()}
    schema = trace.tables["edges"].schema
    tables = {**trace.tables, "edges": pa.Table.from_pydict(more, schema=schema)}
    with pytest.raises(CorruptError, match="cycle"):
        traces.validate(Trace(tables=tables, provenance=trace.provenance))


@pytest.mark.parametrize("name", list(traces.TABLES))
def test_a_missing_table_or_column_is_named(trace, name):
    tables = {k: v for k, v in trace.tables.items() if k != name}
    with pytest.raises(CorruptError, match=f"no table '{name}'"):
        traces.validate(Trace(tables=tables, provenance=trace.provenance))
    column = traces.TABLES[name].names[-1]
    cut = {**trace.tables, name: trace.tables[name].drop_columns([column])}
    with pytest.raises(CorruptError, match=f"no column '{column}'"):
        traces.validate(Trace(tables=cut, provenance=trace.provenance))


def test_another_schema_version_is_refused(trace, tmp_path):
    traces.write(trace, tmp_path)
    file = tmp_path / "provenance.json"
    file.write_text(json.dumps({**trace.provenance, "schema": 99}))
    with pytest.raises(SchemaError, match="schema version 99; this release reads"):
        traces.read(tmp_path)


@pytest.mark.parametrize("share", np.linspace(0, 0.99, 7))
def test_a_truncated_parquet_file_is_refused_with_the_next_command(trace, tmp_path, share):
    traces.write(trace, tmp_path)
    file = tmp_path / "tasks.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CorruptError, match=r"tasks\.parquet is missing, truncated") as caught:
        traces.read(tmp_path)
    assert "toolkit collect" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000])
def test_a_damaged_provenance_is_refused(trace, tmp_path, text):
    traces.write(trace, tmp_path)
    (tmp_path / "provenance.json").write_text(text)
    with pytest.raises((CorruptError, SchemaError)):
        traces.read(tmp_path)
