"""What a log may leave out and what no trace may say: stages, spans, attempts, nulls."""

import pytest

from toolkit import trace as traces
from toolkit.errors import CorruptError
from toolkit.trace import Trace

ROWS = {
    "nodes": [{"run": 0, "node": 0, "name": "n", "kind": "cpu", "logical": False}],
    "jobs": [{"run": 0, "job": 0, "arrived_at": 0.0}],
    "stages": [
        {"run": 0, "stage": k, "job": 0, "name": f"s{k}", "attempt": 0, "submitted_at": float(k)}
        for k in range(3)
    ],
    "tasks": [
        {"run": 0, "task": i, "attempt": 0, "job": 0, "stage": i, "type": "t", "status": "done",
         "started_at": 2.0 * i, "finished_at": 2.0 * i + 1}
        for i in range(3)
    ],
    "edges": [
        {"run": 0, "kind": "stage", "parent": 0, "child": 1},
        {"run": 0, "kind": "task", "parent": 0, "child": 2},
    ],
    "spans": [
        {"run": 0, "span": 0, "kind": "sql", "name": "q", "started_at": 0.0, "finished_at": 1.0},
        {"run": 0, "span": 1, "kind": "sql", "name": "q", "parent": 0, "task": 1},
    ],
}  # fmt: skip
PROVENANCE = dict.fromkeys(traces.PROVENANCE) | {"runs": [{"run": 0}], "schema": traces.SCHEMA}


def made(table=None, row=0, **changes):
    rows = {name: [dict(r) for r in ROWS.get(name, [])] for name in traces.TABLES}
    if table:
        rows[table][row].update(changes)
    tables = {name: traces.table(name, found) for name, found in rows.items()}
    return Trace(tables=tables, provenance=PROVENANCE)


def test_what_a_log_does_not_say_is_null_and_fine():
    traces.validate(made())
    traces.validate(made("tasks", started_at=None, finished_at=None, seconds=3.0))


@pytest.mark.parametrize(
    ("table", "row", "changes", "said"),
    [
        ("edges", 0, {"kind": "job"}, "edges.kind must be 'task' or 'stage', got 'job'"),
        ("edges", 0, {"child": 9}, "edges.child refers to 9"),
        ("edges", 0, {"child": 0}, r"cycle through \[0\]"),
        ("edges", 0, {"bytes": -1.0}, "edges.bytes must not be negative"),
        ("edges", 1, {"parent": 2, "child": 0}, "task 0 started before its parent 2 ended"),
        ("stages", 0, {"job": 4}, "stages.job refers to 4"),
        ("stages", 0, {"stage": 2}, "stage ids are not unique"),
        ("stages", 1, {"finished_at": 0.5}, "stages.submitted_at = 1.000000 is after"),
        ("tasks", 0, {"stage": 7}, "tasks.stage refers to 7"),
        ("tasks", 0, {"node": 3}, "tasks.node refers to 3"),
        ("tasks", 0, {"seconds": -1.0}, "tasks.seconds must not be negative"),
        ("spans", 1, {"parent": 5}, "spans.parent refers to 5"),
        ("spans", 1, {"task": 5}, "spans.task refers to 5"),
        ("spans", 0, {"finished_at": -1.0}, "spans.started_at = 0.000000 is after"),
        ("nodes", 0, {"cpus": -2.0}, "nodes.cpus must not be negative"),
        ("nodes", 0, {"memory": float("inf")}, "nodes.memory has NaN or infinite"),
    ],
)
def test_a_contradiction_is_named(table, row, changes, said):
    with pytest.raises(CorruptError, match=said):
        traces.validate(made(table, row, **changes))


def test_a_long_cycle_is_found_and_names_its_members():
    trace = made()
    edges = [{"run": 0, "kind": "stage", "parent": k, "child": (k + 1) % 3} for k in range(3)]
    tables = {**trace.tables, "edges": traces.table("edges", edges)}
    with pytest.raises(CorruptError, match=r"cycle through \[0, 1, 2\]"):
        traces.validate(Trace(tables=tables, provenance=PROVENANCE))


def test_one_task_of_two_runs_is_not_the_same():
    trace = made()
    more = [r | {"run": 1, "job": 0, "stage": None} for r in ROWS["tasks"]]
    tables = {
        **trace.tables,
        "tasks": traces.table("tasks", ROWS["tasks"] + more),
        "jobs": traces.table("jobs", [*ROWS["jobs"], {**ROWS["jobs"][0], "run": 1}]),
    }
    both = Trace(tables=tables, provenance=PROVENANCE | {"runs": [{"run": 0}, {"run": 1}]})
    traces.validate(both)


def test_a_column_that_one_source_adds_is_checked_for_nan():
    extra = [traces.field("m_gc_seconds", traces.pa.float64(), "s", nullable=True)]
    rows = [{**ROWS["tasks"][0], "m_gc_seconds": float("nan")}]
    trace = made()
    tables = {**trace.tables, "tasks": traces.table("tasks", rows, extra)}
    tables |= {name: traces.table(name, []) for name in ("edges", "spans")}
    with pytest.raises(CorruptError, match=r"tasks\.m_gc_seconds has NaN"):
        traces.validate(Trace(tables=tables, provenance=PROVENANCE))
