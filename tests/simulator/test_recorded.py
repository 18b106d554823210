"""The golden tests: a trace's own decisions show what was shown when it was recorded."""

import pytest

from tests.recordings import record
from toolkit.live import rollout
from toolkit.simulator.recorded import Forced, Recorded, replayable, scenario_of, workload_of
from toolkit.store import Store


@pytest.fixture(scope="module")
def trace():
    return record()


def replay(trace, run):
    of = scenario_of(trace)
    forced = Forced(trace, run)
    episode = rollout(
        Recorded(trace, run),
        workload_of(trace, run),
        forced.chooser,
        horizon=of.horizon,
        weights=of.weights,
    )
    return forced, episode


def test_factual_replay_shows_every_policy_what_it_saw_bit_by_bit(trace):
    for about in trace.runs("policy"):
        forced, episode = replay(trace, about["run"])
        assert forced.same == len(episode.steps) == len(trace.of("decisions", about["run"]))
        assert episode.terminated


def test_a_trace_cut_by_its_horizon_replays_to_the_cut():
    trace = record(horizon=1.0)
    forced, episode = replay(trace, 0)
    assert forced.same == len(trace.of("decisions", 0))
    assert not episode.terminated


def test_the_newest_trace_is_the_newest_that_can_be_replayed(tmp_path):
    store = Store(tmp_path)
    for name, pipelines in (("recorded", True), ("log", False)):
        store.partial("traces", name)
        store.commit("traces", name, inputs={}, about={"replayable": pipelines})
    assert store.get("traces").id == "log"
    assert replayable(store, "latest").id == "recorded"
    assert replayable(store, "log").id == "log"
