"""Consistency: whether the tables of a trace contradict themselves or each other.

Reads a few columns at a time, so that a trace need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolkit.errors import CorruptError

Columns = Callable[[str, list[str]], pa.Table]
"""Gives some columns of a table."""

_Array = npt.NDArray[Any]

UNIQUE = {
    "nodes": "node",
    "jobs": "job",
    "stages": "stage",
    "spans": "span",
    "decisions": "decision",
}
REFERENCES = (
    ("stages", "job", "jobs"),
    ("tasks", "job", "jobs"),
    ("tasks", "node", "nodes"),
    ("tasks", "stage", "stages"),
    ("tasks", "decision", "decisions"),
    ("samples", "node", "nodes"),
    ("spans", "job", "jobs"),
    ("spans", "task", "tasks"),
    ("spans", "parent", "spans"),
)
ORDERED = (
    ("jobs", "arrived_at", "arrived_seen"),
    ("jobs", "arrived_at", "finished_at"),
    ("stages", "submitted_at", "finished_at"),
    ("tasks", "ready_at", "ready_seen"),
    ("tasks", "ready_seen", "submitted_at"),
    ("tasks", "submitted_at", "started_at"),
    ("tasks", "started_at", "started_seen"),
    ("tasks", "started_at", "finished_at"),
    ("tasks", "finished_at", "finished_seen"),
    ("spans", "started_at", "finished_at"),
)
NEVER_NEGATIVE = (
    *(("nodes", c) for c in ("cpus", "memory", "gpus")),
    *(("tasks", c) for c in ("cpus", "memory", "gpus", "seconds", "cpu_seconds", "peak_memory")),
    ("tasks", "bytes_in"),
    ("tasks", "bytes_out"),
    ("edges", "bytes"),
)
SLACK = 1e-6
"""Seconds by which the clocks of one run may disagree."""


def check(
    tables: Mapping[str, pa.Schema],
    schemas: Mapping[str, pa.Schema],
    columns: Columns,
    runs: set[int],
) -> None:
    """Raise on the first contradiction.

    Args:
        tables: The schemas that are expected.
        schemas: Those that are there.
        columns: Gives the rows.
        runs: Those that the provenance names.

    Raises:
        CorruptError: Names table, column and row.
    """
    for name, expected in tables.items():
        _check_schema(name, schemas[name], expected, columns)
    for name in tables:
        strange = sorted(set(np.unique(_read(columns, name, "run")).tolist()) - runs)
        if strange:
            raise CorruptError(f"table {name!r} has rows of run {strange[0]}, not in provenance")
    _check_identities(columns)
    for name, column, home in REFERENCES:
        _refer(columns, name, column, home)
    for name, a, b in ORDERED:
        _ordered(columns, name, a, b)
    for name, column in NEVER_NEGATIVE:
        values = columns(name, [column])[column].drop_null().to_numpy()
        if len(values) and float(values.min()) < 0:
            raise CorruptError(f"{name}.{column} must not be negative, got {values.min()}")
    _check_edges(columns)
    chances = columns("decisions", ["propensity"])["propensity"].drop_null().to_numpy()
    if len(chances) and (chances.min() <= 0 or chances.max() > 1):
        raise CorruptError("decisions.propensity: propensities must lie in (0, 1]")


def _check_schema(name: str, found: pa.Schema, expected: pa.Schema, columns: Columns) -> None:
    for field in expected:
        if field.name not in found.names:
            raise CorruptError(f"table {name!r} has no column {field.name!r}")
        kind = found.field(field.name).type
        if kind != field.type:
            raise CorruptError(f"column {name}.{field.name} is {kind}, expected {field.type}")
    for field in found:
        floating = pa.types.is_floating(field.type)
        required = field.name in expected.names and not expected.field(field.name).nullable
        if not (floating or required):
            continue
        values = columns(name, [field.name])[field.name]
        if required and values.null_count:
            raise CorruptError(f"column {name}.{field.name} has missing values")
        if floating and not np.isfinite(values.drop_null().to_numpy()).all():
            raise CorruptError(f"column {name}.{field.name} has NaN or infinite values")


def _read(columns: Columns, name: str, column: str) -> _Array:
    return np.asarray(columns(name, [column])[column].to_numpy())


def _keys(columns: Columns, name: str, column: str) -> _Array:
    """Return run and index of each row as one number; rows whose index is null are left out."""
    rows = columns(name, ["run", column])
    index = rows[column]
    run = np.asarray(rows["run"].to_numpy()).astype(np.int64)
    if index.null_count:
        known = np.asarray(index.is_valid().to_numpy())
        run, index = run[known], index.drop_null()
    return (run << 32) + np.asarray(index.to_numpy()).astype(np.int64)


def _split(key: int) -> tuple[int, int]:
    index = ((key + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)
    return (key - index) >> 32, index


def _check_identities(columns: Columns) -> None:
    for name, column in UNIQUE.items():
        values, counts = np.unique(_keys(columns, name, column), return_counts=True)
        if (counts > 1).any():
            run, index = _split(int(values[np.argmax(counts > 1)]))
            raise CorruptError(f"run {run}: {column} ids are not unique ({index})")
    rows = columns("tasks", ["run", "task", "attempt"]).combine_chunks()
    task, attempt = _keys(columns, "tasks", "task"), np.asarray(rows["attempt"].to_numpy())
    order = np.lexsort((attempt, task))
    same = (np.diff(task[order]) == 0) & (np.diff(attempt[order]) == 0)
    if same.any():
        run, index = _split(int(task[order][np.argmax(same)]))
        raise CorruptError(f"run {run}: two rows of one task and attempt (task {index})")


def _refer(columns: Columns, name: str, column: str, home: str) -> None:
    of = UNIQUE.get(home, "task")
    strange = np.setdiff1d(_keys(columns, name, column), _keys(columns, home, of))
    if len(strange):
        run, index = _split(int(strange[0]))
        raise CorruptError(f"run {run}: {name}.{column} refers to {index}, which does not exist")


def _ordered(columns: Columns, name: str, a: str, b: str) -> None:
    rows = columns(name, [a, b])
    early, late = (np.asarray(rows[c].to_numpy(), dtype=np.float64) for c in (a, b))
    wrong = np.flatnonzero(early > late + SLACK)
    if len(wrong):
        i = int(wrong[0])
        raise CorruptError(f"{name}.{a} = {early[i]:.6f} is after {b} = {late[i]:.6f} (row {i})")


def _check_edges(columns: Columns) -> None:
    kinds = np.asarray(
        columns("edges", ["kind"])["kind"].to_numpy(zero_copy_only=False), dtype=object
    )
    strange = sorted({str(k) for k in np.unique(kinds.astype(str))} - {"task", "stage"})
    if strange:
        raise CorruptError(f"edges.kind must be 'task' or 'stage', got {strange[0]!r}")
    for kind, home in (("task", "tasks"), ("stage", "stages")):
        of_kind = kinds == kind
        if not of_kind.any():
            continue
        known = np.unique(_keys(columns, home, kind))
        ends = {}
        for column in ("parent", "child"):
            keys = _keys(columns, "edges", column)[of_kind]
            absent = np.setdiff1d(keys, known)
            if len(absent):
                run, index = _split(int(absent[0]))
                raise CorruptError(
                    f"run {run}: edges.{column} refers to {index}, which does not exist"
                )
            ends[column] = np.searchsorted(known, keys)
        _acyclic(known, ends["parent"], ends["child"])
        if kind == "task":
            _parents_first(columns, known, ends["parent"], ends["child"])


def _acyclic(known: _Array, parent: _Array, child: _Array) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(known)
    ones = np.ones(len(parent), dtype=np.int8)
    graph = coo_matrix((ones, (parent, child)), shape=(n, n))
    count, label = connected_components(graph, directed=True, connection="strong")
    loops = parent == child
    if count == n and not loops.any():
        return
    if loops.any():
        members = parent[np.argmax(loops)][None]
    else:
        members = np.flatnonzero(label == np.argmax(np.bincount(label) > 1))
    run, _ = _split(int(known[members[0]]))
    named = [_split(int(known[m]))[1] for m in members[:4]]
    raise CorruptError(f"run {run}: the task graph has a cycle through {named}")


def _parents_first(columns: Columns, known: _Array, parent: _Array, child: _Array) -> None:
    """Check that no attempt of a child starts before a parent has finished for the first time."""
    at = np.searchsorted(known, _keys(columns, "tasks", "task"))
    rows = columns("tasks", ["started_at", "finished_at", "status"])
    started, finished = (
        np.asarray(rows[c].to_numpy(), dtype=np.float64) for c in ("started_at", "finished_at")
    )
    done = np.asarray(rows["status"].to_numpy(zero_copy_only=False) == "done")
    first = np.full(len(known), np.inf)
    np.fmin.at(first, at, started)
    ended = np.full(len(known), np.inf)
    np.fmin.at(ended, at[done], finished[done])
    both = np.isfinite(first[child]) & np.isfinite(ended[parent])
    wrong = np.flatnonzero(both & (first[child] < ended[parent] - SLACK))
    if len(wrong):
        i = int(wrong[0])
        (run, c), (_, p) = _split(int(known[child[i]])), _split(int(known[parent[i]]))
        raise CorruptError(f"run {run}: task {c} started before its parent {p} ended")
