"""Allocations read from requests: those of the policy that made them."""

from pathlib import Path

import pyarrow as pa
import pytest

from collectors.simulated import SimulatedCollector
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.inferred.allocation import infer
from toolkit.policies.random import Random
from toolkit.policies.static import Static


@pytest.fixture(scope="module")
def of():
    return scenario_of("genomics_tiny")


def recorded(of, policy, tmp_path):
    collector = SimulatedCollector(runs=1, behaviours=["x"])
    return collector.collect(of, [policy], 3, Path(tmp_path))


def submitted_when_ready(trace):
    """The simulated trace with the submissions that a log of Ray would tell."""
    tasks = trace.tables["tasks"].to_pydict()
    tasks["submitted_at"] = tasks["ready_at"]
    changed = pa.Table.from_pydict(tasks, schema=trace.tables["tasks"].schema)
    return {**trace.tables, "tasks": changed}


def test_what_a_policy_chose_is_found_again_wherever_a_task_shows_it(of, tmp_path):
    trace = recorded(of, Random(), tmp_path)
    true = trace.tables["decisions"].to_pydict()
    found = infer(submitted_when_ready(trace), interval=of.interval).columns
    demand = [(float(c), float(m) * 2**20) for c, m in of.profiles]
    tasks = trace.tables["tasks"].to_pydict()
    used = sorted({(c, m) for c, m in zip(tasks["cpus"], tasks["memory"], strict=True)})
    shown = {d for d in tasks["decision"]}
    by_instant = {
        (round(at, 6), agent): used[key]
        for at, agent, key in zip(found["at"], found["agent"], found["key"], strict=True)
    }
    compared = 0
    for number in shown:
        instant = (round(true["at"][number], 6), true["agent"][number])
        assert by_instant[instant] == demand[true["key"][number]]
        compared += 1
    assert compared > 10
    assert not any(found["invalid"])
    assert set(found["propensity"]) == {None}


def test_where_all_ask_for_the_same_nobody_chose(of, tmp_path):
    tables = submitted_when_ready(recorded(of, Static(), tmp_path))
    with pytest.raises(ConfigError, match="nobody chose"):
        infer(tables, interval=of.interval)


def test_requests_that_are_not_told_are_not_invented(of, tmp_path):
    trace = recorded(of, Random(), tmp_path)
    tasks = trace.tables["tasks"].to_pydict()
    tasks["cpus"][0] = None
    silent = pa.Table.from_pydict(tasks, schema=trace.tables["tasks"].schema)
    with pytest.raises(ConfigError, match="does not tell what each task asked for"):
        infer({**trace.tables, "tasks": silent}, interval=of.interval)


def test_too_fine_an_interval_is_refused(of, tmp_path):
    with pytest.raises(ConfigError, match="more than 500,000"):
        infer(recorded(of, Random(), tmp_path).tables, interval=1e-9)
