"""Configurations of a set of applications: one decision each, among those that were seen."""

import pytest

from toolkit import trace as traces
from toolkit.errors import ConfigError
from toolkit.inferred.configuration import application, infer

GIB = 2.0**30


def app(*, cores, memory, count, seconds=1.0, tasks=6):
    """Two stages of tasks that take turns on the executors; all that a log of Spark tells."""
    nodes = [
        {"run": 0, "node": m, "name": str(m), "kind": "cpu", "cpus": cores, "memory": memory,
         "logical": False, "added_at": 0.0}
        for m in range(count)
    ]  # fmt: skip
    stages = [
        {"run": 0, "stage": k, "job": 0, "name": name, "attempt": 0}
        for k, name in enumerate(("read", "write"))
    ]
    rows = []
    for i in range(2 * tasks):
        stage, turn = divmod(i, tasks)
        begun = stage * 100.0 + turn * seconds
        rows.append(
            {"run": 0, "task": i, "attempt": 0, "job": 0, "stage": stage,
             "type": stages[stage]["name"], "node": turn % count, "cpus": 1.0,
             "started_at": begun, "finished_at": begun + seconds, "status": "done"}
        )  # fmt: skip
    found = {
        "nodes": nodes,
        "jobs": [{"run": 0, "job": 0, "arrived_at": 0.0}],
        "stages": stages,
        "tasks": rows,
        "edges": [{"run": 0, "kind": "stage", "parent": 0, "child": 1}],
    }
    return {name: traces.table(name, found.get(name, [])) for name in traces.TABLES}


def test_each_application_is_one_decision_among_the_fleets_of_all():
    fleets = [(2.0, GIB, 3), (1.0, GIB, 3), (2.0, GIB, 3), (1.0, 2 * GIB, 2)]
    found = infer([application(app(cores=c, memory=m, count=k)) for c, m, k in fleets])
    options = [
        (o["cores"], o["memory"], o["instances"]) for o in found[0].options["configurations"]
    ]
    assert options == sorted(set(fleets))
    for one, fleet in zip(found, fleets, strict=True):
        assert one.columns["key"] == [options.index(fleet)]
        assert one.columns["slots"] == [3]
        assert one.columns["invalid"] == [False]
        assert one.columns["agent"] == ["fleet"]
        assert one.columns["propensity"] == [None]


def test_executors_that_follow_one_another_count_once():
    tables = app(cores=1.0, memory=GIB, count=4)
    nodes = tables["nodes"].to_pylist()
    for n, (came, went) in zip(nodes, [(0, 50), (50, None), (0, 50), (60, None)], strict=True):
        n["added_at"], n["removed_at"] = float(came), went and float(went)
    tables["nodes"] = traces.table("nodes", nodes)
    assert application(tables).fleet == (1.0, GIB, 2)


def test_where_all_ran_on_the_same_nobody_chose():
    same = application(app(cores=1.0, memory=GIB, count=2))
    with pytest.raises(ConfigError, match="nobody chose"):
        infer([same, same])


def test_executors_of_unknown_size_are_no_configuration():
    with pytest.raises(ConfigError, match="does not tell the cores"):
        application(app(cores=1.0, memory=None, count=2))
