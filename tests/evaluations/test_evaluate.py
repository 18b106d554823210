"""Evaluations: metrics by hand, paired cells, scores, the record."""

from itertools import pairwise

import numpy as np
import pytest

from evaluations import evaluate
from evaluations.metrics import UNITS, measure
from evaluations.suite import Suite
from tests.recordings import record
from tests.workloads import Fixed, Luck, estimates, scenario
from toolkit import trace as traces
from toolkit import tracking
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, NotFoundError
from toolkit.live import chooser, rollout
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.simulator.simulator import Simulator
from toolkit.store import Store
from toolkit.workload import CORES, INSTANCES

SUITE = Suite(
    name="test", engine="simulator", policies=["static", "random", "reactive"],
    first_seed=5000, seeds=8, floor="random", reference="static",
)  # fmt: skip


def test_metrics_of_one_job_by_hand():
    of = scenario(jobs=1)
    workload = of.plan(0, estimates=estimates(of))
    episode = rollout(
        Simulator(Luck(sigma=0, start=0, seen=0), 0),
        workload,
        chooser(Fixed([0] * 6), 0),
        horizon=of.horizon,
        weights=of.weights,
    )
    found = measure(episode)
    w = workload.arrays
    seconds = w.seconds[:, 0] * w.scale[0]
    qc, trim, kmer, align, merge, call = seconds
    latency = qc + trim + max(kmer, align) + merge + call
    assert found["latency_mean"] == pytest.approx(latency)
    assert found["makespan"] == pytest.approx(latency)
    assert found["throughput"] == pytest.approx(1 / latency)
    share = 0.5 * (1 + 2 * 8 / 96)
    assert found["cost"] == pytest.approx(seconds.sum() * share)
    assert found["unfinished"] == 0
    assert found["wait_mean"] == pytest.approx(0)
    assert found["service_mean"] == pytest.approx(latency)
    assert set(found) == set(UNITS) - {"core_seconds", "switches"}


def test_metrics_of_batches_by_hand():
    """Three batches in shapes A, A, B: executors start twice."""
    of = scenario_of("batches_tiny", ["scenario.period=null", "scenario.batches=3"])
    workload = of.plan(0)
    episode = rollout(
        Simulator(of, 0), workload, chooser(Fixed([0, 0, 4]), 0),
        horizon=of.horizon, weights=of.weights,
    )  # fmt: skip
    found = measure(episode)
    o = episode.outcome
    first = [o.started[a:b].min() for a, b in pairwise(workload.arrays.job_ptr)]
    assert found["wait_mean"] == pytest.approx(2 * of.startup / 3)
    assert found["service_mean"] == pytest.approx(np.mean(o.completed - first))
    assert found["latency_mean"] == pytest.approx(found["wait_mean"] + found["service_mean"])
    cores = of.fleets[[0, 0, 4], CORES] * of.fleets[[0, 0, 4], INSTANCES]
    assert found["core_seconds"] == pytest.approx(np.mean(cores * (o.completed - o.arrived)))
    assert found["switches"] == pytest.approx(0.5)
    assert set(found) == set(UNITS)


def test_an_episode_cut_by_its_horizon_counts_what_is_missing():
    of = scenario(jobs=8, rate=50)
    workload = of.plan(0, estimates=estimates(of))
    episode = rollout(
        Simulator(Luck(), 0),
        workload,
        chooser(Static(), 0),
        horizon=1.0,
        weights=of.weights,
    )
    found = measure(episode)
    assert not episode.terminated
    assert found["unfinished"] == np.isnan(episode.outcome.completed).sum() > 0


@pytest.fixture
def recorded_trace():
    store = Store()
    policies = [Random(), Static(), Random(), Static()]
    traces.write(record(policies), store.partial("traces", "rec"))
    return store.commit("traces", "rec", inputs={}, about={})


def test_policies_meet_the_same_luck_and_are_scored_from_floor_to_reference(recorded_trace):
    judged, fitted = evaluate.run(SUITE, trace="rec", policies=None, force=False)
    by_name = {j.policy: j for j in judged}
    assert set(by_name) == {"static", "random", "reactive"}
    assert [j.score.value for j in judged] == sorted((j.score.value for j in judged), reverse=True)
    assert by_name["random"].score.value == by_name["random"].score.low == 0.0
    assert by_name["static"].score.value == pytest.approx(100.0)
    for j in judged:
        assert j.cells["seed"].tolist() == list(range(5000, 5008))
        assert not j.learned
    board = tracking.board("test")
    assert board["policy"].tolist() == [j.policy for j in judged]
    assert board["calibration"].unique().tolist() == [fitted.id]
    assert board["n_seeds"].unique().tolist() == [8.0]
    for j in judged:
        row = board[board["policy"] == j.policy].iloc[0]
        assert row["score"] == pytest.approx(j.score.value)
        assert row["ci_low"] <= row["score"] <= row["ci_high"]
        assert row["latency_mean"] == pytest.approx(j.cells["latency_mean"].mean())


def test_a_second_evaluation_reuses_the_record(recorded_trace, monkeypatch):
    first, _ = evaluate.run(SUITE, trace="rec", policies=None, force=False)
    before = tracking.board("test")["run_id"].tolist()

    def never(*_):
        raise AssertionError("simulated again")

    monkeypatch.setattr(evaluate, "_simulate", never)
    again, _ = evaluate.run(SUITE, trace="rec", policies=None, force=False)
    assert tracking.board("test")["run_id"].tolist() == before
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a.cells["latency_mean"], b.cells["latency_mean"])


def test_the_runs_of_a_trace_are_judged_as_they_happened(recorded_trace):
    recorded = Suite(
        name="recorded", engine="recorded", policies=[], first_seed=1000, seeds=2,
        floor="random", reference="static",
    )  # fmt: skip
    judged, _ = evaluate.run(recorded, trace="rec", policies=None, force=False)
    assert {j.policy for j in judged} == {"random", "static"}
    trace = traces.read(recorded_trace.path)
    for j in judged:
        for _, cell in j.cells.iterrows():
            jobs = trace.of("jobs", int(cell["seed"])).to_pandas()
            latency = (jobs["finished_at"] - jobs["arrived_at"]).mean()
            assert cell["latency_mean"] == pytest.approx(latency)


def test_a_recorded_policy_is_the_artefact_that_ran_not_a_newer_one():
    store = Store()
    for name in ("cql-old", "cql-new"):
        (store.partial("policies", name) / "x").write_text(name)
        about = {"algo": "cql", "dataset": f"data-of-{name}"}
        store.commit("policies", name, inputs={}, about=about)
    fixed = Fixed([1] * 6)
    fixed.name = "cql"
    traces.write(record([Random(), fixed, Random(), fixed]), store.partial("traces", "rec"))
    store.commit("traces", "rec", inputs={}, about={"artefacts": {"cql": "cql-old"}})
    suite = Suite(
        name="recorded", engine="recorded", policies=[], first_seed=1000, seeds=2,
        floor="random", reference="cql",
    )  # fmt: skip
    judged, _ = evaluate.run(suite, trace="rec", policies=None, force=False)
    assert {j.policy: j.learned for j in judged} == {"cql": True, "random": False}
    board = tracking.board("recorded").set_index("policy")
    assert board.loc["cql", "dataset"] == "data-of-cql-old"
    assert board.loc["random", "dataset"] == ""


def test_pairs_say_which_policies_differ(recorded_trace):
    judged, _ = evaluate.run(SUITE, trace="rec", policies=None, force=False)
    pairs = evaluate.compare(judged, SUITE)
    assert len(pairs) == 3
    for p in pairs:
        assert p["ci_low"] <= p["latency_difference"] <= p["ci_high"]
        assert p["differ"] == (p["ci_low"] > 0 or p["ci_high"] < 0)
    worst = next(p for p in pairs if {p["first"], p["second"]} == {"static", "random"})
    assert worst["differ"]


def test_a_policy_that_was_never_trained_is_named_with_the_command(recorded_trace):
    with pytest.raises(NotFoundError, match="there is no policy 'cql'") as caught:
        evaluate.run(SUITE, trace="rec", policies=["cql"], force=False)
    assert "toolkit train +algo=cql" in caught.value.hint


def test_a_reference_no_better_than_the_floor_is_refused(recorded_trace):
    import dataclasses

    upside_down = dataclasses.replace(SUITE, floor="static", reference="random")
    with pytest.raises(ConfigError, match="no better than"):
        evaluate.run(upside_down, trace="rec", policies=None, force=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "spark"}, "suite.engine"),
        ({"seeds": 1}, "suite.seeds"),
        ({"first_seed": 3}, "suite.first_seed"),
        ({"floor": "static"}, "must differ"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused(change, said):
    import dataclasses

    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(SUITE, **change)
