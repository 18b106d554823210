"""Placements read from what ran: those of the policy that chose them, or marked invalid."""

from pathlib import Path

import pyarrow as pa
import pytest

from collectors.simulated import SimulatedCollector
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.inferred import log as logs
from toolkit.inferred.placement import infer, workload_of
from toolkit.policies.fifo import Fifo
from toolkit.policies.random import Random


def recorded(name, policy, tmp_path, overrides=()):
    of = scenario_of(name, overrides)
    collector = SimulatedCollector(runs=1, behaviours=["x"])
    return collector.collect(of, [policy], 3, Path(tmp_path))


def tables(trace, **changes):
    return {**trace.tables, **changes}


def choices(columns):
    """Which task went where and when; the order within an instant is in no log."""
    rows = zip(columns["at"], columns["agent"], columns["key"], strict=True)
    chosen = [(round(at, 6), agent, key) for at, agent, key in rows if key >= 0]
    tasks = [(at, key) for at, agent, key in chosen if agent == "task"]
    nodes = [key for _, agent, key in chosen if agent == "node"]
    return sorted(zip(tasks, nodes, strict=True))


def waits(columns):
    return {round(a, 6) for a, key in zip(columns["at"], columns["key"], strict=True) if key < 0}


@pytest.mark.parametrize("policy", [Fifo(), Random()], ids=lambda p: p.name)
def test_the_choices_of_a_simulated_run_are_found_again(policy, tmp_path):
    trace = recorded("workflows_tiny", policy, tmp_path, ["scenario.ccr=1.0e-12"])
    found = infer(tables(trace), wait_after=1e-6)
    true = trace.tables["decisions"].to_pydict()
    assert choices(found.columns) == choices(true)
    assert found.invalid == 0
    assert set(found.columns["propensity"]) == {None}
    assert all(found.columns["inferred"])


def test_waits_are_found_where_the_policy_waited(tmp_path):
    trace = recorded("workflows_tiny", Random(), tmp_path, ["scenario.ccr=1.0e-12"])
    found = infer(tables(trace), wait_after=1e-6)
    assert waits(found.columns)
    assert waits(found.columns) <= waits(trace.tables["decisions"].to_pydict())
    assert infer(tables(trace), wait_after=1e9).waits == 0


def test_what_runs_beside_more_than_the_node_holds_raises_what_it_holds(tmp_path):
    trace = recorded("workflows_tiny", Fifo(), tmp_path)
    nodes = trace.tables["nodes"].to_pydict()
    nodes["cpus"] = [None] * len(nodes["cpus"])
    unknown = pa.Table.from_pydict(nodes, schema=trace.tables["nodes"].schema)

    def cpus(found):
        return [n.cpus for n in workload_of(logs.read(found, placed=True)).cluster.nodes]

    assert cpus(tables(trace, nodes=unknown)) == cpus(tables(trace))


def test_killed_attempts_wait_again(tmp_path):
    trace = recorded("paper_c_8_unreliable", Fifo(), tmp_path)
    status = trace.tables["tasks"]["status"].to_pylist()
    assert status.count("killed") > 0
    found = infer(tables(trace), wait_after=1e9)
    assert not found.left_out
    assert found.decisions == 2 * len(status)


def test_a_log_without_starts_has_no_decisions(tmp_path):
    trace = recorded("workflows_tiny", Fifo(), tmp_path)
    tasks = trace.tables["tasks"].to_pydict()
    tasks["started_at"] = [None] * len(tasks["task"])
    silent = pa.Table.from_pydict(tasks, schema=trace.tables["tasks"].schema)
    with pytest.raises(ConfigError, match="names no start"):
        infer(tables(trace, tasks=silent), wait_after=1.0)


def test_without_edges_a_task_is_ready_when_it_was_submitted(tmp_path):
    trace = recorded("workflows_tiny", Fifo(), tmp_path)
    tasks = trace.tables["tasks"].to_pydict()
    tasks["submitted_at"] = tasks["ready_at"]
    submitted = pa.Table.from_pydict(tasks, schema=trace.tables["tasks"].schema)
    edges = trace.tables["edges"].slice(0, 0)
    found = infer(tables(trace, tasks=submitted, edges=edges), wait_after=1e9, edges_known=False)
    assert found.decisions == 2 * len(tasks["task"])
    assert found.invalid == 0


def test_tasks_that_may_wait_for_anything_are_not_inferred(tmp_path):
    trace = recorded("workflows_tiny", Fifo(), tmp_path)
    tasks = trace.tables["tasks"].to_pydict()
    tasks["ready_at"] = [None] * len(tasks["task"])
    silent = pa.Table.from_pydict(tasks, schema=trace.tables["tasks"].schema)
    with pytest.raises(ConfigError, match="neither what its tasks wait for nor when"):
        infer(tables(trace, tasks=silent), wait_after=1.0, edges_known=False)


def test_tasks_whose_end_is_not_told_are_not_inferred(tmp_path):
    trace = recorded("workflows_tiny", Fifo(), tmp_path)
    tasks = trace.tables["tasks"].to_pydict()
    tasks["finished_at"][0] = None
    endless = pa.Table.from_pydict(tasks, schema=trace.tables["tasks"].schema)
    with pytest.raises(ConfigError, match="does not tell when the tasks"):
        infer(tables(trace, tasks=endless), wait_after=1.0)
