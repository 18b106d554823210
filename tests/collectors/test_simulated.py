"""Recording in the simulator: every family, every decision, and runs that are not made twice."""

import json

import numpy as np
import pytest

from collectors.simulated import SimulatedCollector
from toolkit import trace as traces
from toolkit.envs.registration import scenario_of
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.replays.reconstruct import replays

FAMILIES = ["workflows_tiny", "genomics_tiny", "batches_tiny"]


def collect(name, folder, *, runs=2, policies=None, **settings):
    policies = policies or (Random(),)
    collector = SimulatedCollector(runs=runs, behaviours=["x"] * len(policies), **settings)
    return collector.collect(scenario_of(name), policies, 5, folder)


@pytest.mark.parametrize("name", [*FAMILIES, "paper_c_8_unreliable", "paper_c_8_duplication"])
def test_every_family_becomes_a_valid_trace(name, tmp_path):
    trace = collect(name, tmp_path, runs=1)
    traces.validate(trace)
    decisions = trace.tables["decisions"]
    assert len(decisions) > 0
    assert decisions["propensity"].null_count == 0
    assert trace.provenance["source"] == "simulated"


def test_a_pipeline_recording_replays_to_what_the_policy_was_shown(tmp_path):
    policies = (Mixture(of=Static(), epsilon=0.5),)
    trace = collect("genomics_tiny", tmp_path, policies=policies)
    for found in replays(trace):
        assert found.same == len(found.episode.steps)


def test_killed_attempts_have_rows_of_their_own(tmp_path):
    trace = collect("paper_c_8_unreliable", tmp_path, runs=1)
    tasks = trace.tables["tasks"].to_pydict()
    killed = [i for i, s in enumerate(tasks["status"]) if s == "killed"]
    assert killed
    assert trace.runs()[0]["kills_not_told"] == 0
    for i in killed:
        later = [
            k
            for k, task in enumerate(tasks["task"])
            if task == tasks["task"][i] and tasks["attempt"][k] == tasks["attempt"][i] + 1
        ]
        assert len(later) == 1
        assert tasks["started_at"][later[0]] >= tasks["finished_at"][i]


def test_finished_runs_are_not_made_again(tmp_path):
    first = collect("workflows_tiny", tmp_path, runs=1)
    kept = tmp_path / "run-0" / "provenance.json"
    told = json.loads(kept.read_text())
    told["host"] = {"kept": True}
    kept.write_text(json.dumps(told))
    again = collect("workflows_tiny", tmp_path, runs=2)
    assert again.provenance["host"] == {"kept": True}
    assert again.of("tasks", 0).equals(first.tables["tasks"])


def test_paired_runs_meet_the_same_workloads(tmp_path):
    policies = (Random(), Mixture(of=Static(), epsilon=0.5))
    trace = collect("genomics_tiny", tmp_path, policies=policies, paired=True)
    one, two = (trace.of("jobs", run) for run in (0, 1))
    np.testing.assert_array_equal(one["arrived_at"], two["arrived_at"])
    assert [r["policy"] for r in trace.runs()] == [p.name for p in policies]


def test_a_synthetic_log_tells_nobodys_decisions(tmp_path):
    trace = collect("workflows_tiny", tmp_path, runs=1, decisions=False)
    assert len(trace.tables["decisions"]) == 0
    assert trace.tables["tasks"]["decision"].null_count == len(trace.tables["tasks"])
    assert trace.provenance["source"] == "synthetic"
    assert trace.runs("log")
