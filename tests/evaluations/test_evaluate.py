"""Evaluations: metrics by hand, paired cells, scores, the record."""

import dataclasses
import json
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from omegaconf import OmegaConf

from collectors.simulated import SimulatedCollector
from evaluations import cells, episode
from evaluations.as_recorded import JOULES, energy
from evaluations.judged import compare, scored
from evaluations.metrics import UNITS, measure
from evaluations.suite import Suite
from tests.recordings import record
from tests.workloads import Fixed, Luck, estimates, scenario
from toolkit import cli, evaluate, tracking
from toolkit import trace as traces
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, NotFoundError
from toolkit.live import chooser, rollout
from toolkit.policies.named import named
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.seeding import GATE
from toolkit.simulator.simulator import Simulator
from toolkit.store import Store
from toolkit.workload import CORES, INSTANCES, MEMORY

TOLD = {
    "trace": "latest", "executor": "processes", "workers": 1, "ray": {"address": None},
    "force": False,
}  # fmt: skip


def judged(suite, trace="latest"):
    return suite.judged(OmegaConf.create({**TOLD, "trace": trace}))


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
    assert found["makespan"] == found["response_time"] == pytest.approx(latency)
    fitting = w.profile_column[(w.demand <= w.capacity.max(axis=0)).all(axis=1)]
    qc, trim, kmer, align, merge, call = w.seconds[:, fitting].min(axis=1) * w.scale[0]
    path = qc + trim + max(kmer, align) + merge + call
    assert found["slr"] == found["slowdown_mean"] == pytest.approx(latency / path)
    assert found["fairness"] == pytest.approx(1)
    assert found["latency_p99"] == pytest.approx(latency)
    assert found["cpu_seconds"] == pytest.approx(seconds.sum())
    assert found["gib_seconds"] == pytest.approx(seconds.sum() * w.demand[0, MEMORY] / 2**30)
    assert found["utilisation"] == pytest.approx(seconds.sum() / w.capacity[:, 0].sum() / latency)
    assert found["task_seconds"] == pytest.approx(seconds.mean())
    assert found["throughput"] == pytest.approx(1 / latency)
    share = 0.5 * (1 + 2 * 8 / 96)
    assert found["cost"] == pytest.approx(seconds.sum() * share)
    assert found["unfinished"] == 0
    assert found["wait_mean"] == pytest.approx(0)
    assert found["service_mean"] == pytest.approx(latency)
    of_suites = {"money", "of_bound", "decision_ms", "energy"}
    others = {"core_seconds", "switches", "slo_violations", "speedup"}
    assert set(found) == set(UNITS) - of_suites - others


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
    assert found["slo_violations"] == 0
    assert set(found) == set(UNITS) - {"money", "of_bound", "decision_ms", "energy", "speedup"}


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
    found, source = judged(SUITE, "rec")
    by_name = {j.policy: j for j in found}
    assert set(by_name) == {"static", "random", "reactive"}
    assert [j.score.value for j in found] == sorted((j.score.value for j in found), reverse=True)
    assert by_name["random"].score.value == by_name["random"].score.low == 0.0
    assert by_name["static"].score.value == pytest.approx(100.0)
    for j in found:
        assert j.cells["seed"].tolist() == list(range(5000, 5008))
        assert not j.by.learned
    board = tracking.board("test")
    assert board["policy"].tolist() == [j.policy for j in found]
    assert board["calibration"].unique().tolist() == [source.calibration]
    assert board["n_seeds"].unique().tolist() == [8.0]
    for j in found:
        row = board[board["policy"] == j.policy].iloc[0]
        assert row["score"] == pytest.approx(j.score.value)
        assert row["ci_low"] <= row["score"] <= row["ci_high"]
        assert row["latency_mean"] == pytest.approx(j.cells["latency_mean"].mean())


def test_a_second_evaluation_reuses_the_record(recorded_trace, monkeypatch):
    first, _ = judged(SUITE, "rec")
    before = tracking.board("test")["run_id"].tolist()

    def never(*_):
        raise AssertionError("simulated again")

    monkeypatch.setattr(cells, "_play_piece", never)
    monkeypatch.setattr(episode, "simulated", never)
    again, _ = judged(SUITE, "rec")
    assert tracking.board("test")["run_id"].tolist() == before
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a.cells["latency_mean"], b.cells["latency_mean"])


def test_the_runs_of_a_trace_are_judged_as_they_happened(recorded_trace):
    recorded = Suite(
        name="recorded", engine="recorded", policies=[], first_seed=1000, seeds=2,
        floor="random", reference="static",
    )  # fmt: skip
    found, _ = judged(recorded, "rec")
    assert {j.policy for j in found} == {"random", "static"}
    trace = traces.read(recorded_trace.path)
    for j in found:
        for _, cell in j.cells.iterrows():
            jobs = trace.of("jobs", int(cell["seed"])).to_pandas()
            latency = (jobs["finished_at"] - jobs["arrived_at"]).mean()
            assert cell["latency_mean"] == pytest.approx(latency)


def test_a_trace_of_any_family_is_judged_as_it_happened(tmp_path):
    store, policies = Store(), [named(n, Store()).policy for n in ("random", "fifo")]
    collector = SimulatedCollector(runs=8, behaviours=["random", "fifo"], paired=True, times=2)
    made = collector.collect(scenario_of("workflows_tiny"), policies, 1000, tmp_path / "runs")
    traces.write(made, store.partial("traces", "placed"))
    store.commit("traces", "placed", inputs={}, about={})
    suite = Suite(
        name="recorded", engine="recorded", policies=[], first_seed=1000, seeds=2,
        floor="random", reference="fifo",
    )  # fmt: skip
    found, _ = judged(suite, "placed")
    assert [j.policy for j in found] == ["fifo", "random"]
    assert found[0].cells["seed"].tolist() == [1000, 1001]
    assert "energy" not in found[0].cells


@pytest.mark.parametrize(("told", "found"), [([2.0, 4.0], {"energy": 3.0}), ([2.0, None], {})])
def test_energy_is_known_where_every_task_tells(told, found):
    tasks = pa.table({JOULES: pa.array(told, pa.float64())})
    assert energy(tasks, 2) == found
    assert energy(tasks.drop_columns(JOULES), 2) == {}


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
    found, _ = judged(suite, "rec")
    assert {j.policy: j.by.learned for j in found} == {"cql": True, "random": False}
    board = tracking.board("recorded").set_index("policy")
    assert board.loc["cql", "dataset"] == "data-of-cql-old"
    assert board.loc["random", "dataset"] == ""


def test_pairs_say_which_policies_differ(recorded_trace):
    found, _ = judged(SUITE, "rec")
    pairs = compare(found)
    assert len(pairs) == 3
    for p in pairs:
        assert p["ci_low"] <= p["latency_difference"] <= p["ci_high"]
        assert p["differ"] == (p["ci_low"] > 0 or p["ci_high"] < 0)
    worst = next(p for p in pairs if {p["first"], p["second"]} == {"static", "random"})
    assert worst["differ"]


def test_a_policy_that_was_never_trained_is_named_with_the_command(recorded_trace):
    with pytest.raises(NotFoundError, match="there is no policy 'cql'") as caught:
        judged(dataclasses.replace(SUITE, policies=["cql"]), "rec")
    assert "toolkit train +algo=cql" in caught.value.hint


def test_a_reference_no_better_than_the_floor_is_refused(recorded_trace):
    upside_down = dataclasses.replace(SUITE, floor="static", reference="random")
    with pytest.raises(ConfigError, match="no better than"):
        judged(upside_down, "rec")


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
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(SUITE, **change)


SCENARIOS = Suite(
    name="two", engine="simulator",
    scenarios=["genomics_tiny", "genomics_tiny scenario.jobs=2"],
    policies=["static", "users_own:breaks_down"],
    first_seed=20_000, seeds=3, floor="random", reference="static", chosen_on=2,
)  # fmt: skip


def test_a_suite_of_scenarios_needs_no_trace_and_shows_what_failed(tmp_path, monkeypatch):
    text = "def breaks_down(decision):\n    raise ZeroDivisionError('<b>')\n"
    (tmp_path / "users_own.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    found, source = judged(SCENARIOS)
    assert [j.policy for j in found] == ["static", "random", "users_own:breaks_down"]
    assert source.calibration == ""
    best = found[0]
    assert best.score.value == pytest.approx(100) == best.chosen
    assert list(best.cells.groupby("task").size()) == [3, 3]
    assert (best.cells["of_bound"] >= 1).all()
    hourly = best.cells["cpu_seconds"] * 0.04048 + best.cells["gib_seconds"] * 0.004445
    np.testing.assert_allclose(best.cells["money"], hourly / 3600)
    assert (best.cells["decision_ms"] > 0).all()
    board = tracking.board("two").set_index("policy")
    assert board.loc["users_own:breaks_down", "failed"] == 6
    assert np.isnan(board.loc["users_own:breaks_down", "score"])
    assert board["score"].idxmax() == "static"
    shown = tracking.episode(board.loc["static", "run_id"])
    assert shown["seed"] == 20_000 and shown["task"] == "genomics_tiny"
    assert len(shown["bars"]) == 6 * shown["jobs"]
    choices = shown["choices"]
    assert len(choices["time"]) == len(choices["value"]) == len(choices["queue"])
    report = SCENARIOS.run(OmegaConf.create(TOLD))
    assert "failed in 6 of 6 cells: ZeroDivisionError: <b>" in report.text


def test_a_function_is_judged_in_python_and_on_the_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "users_own.py").write_text("def first(d):\n    return int(d.mask.argmax())\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    words = ["suite=pipelines", "suite.scenarios=[genomics_tiny]", "suite.seeds=2", "workers=1"]
    words += ["suite.chosen_on=0", "policy=users_own:first", "format=json"]
    assert cli.main(["evaluate", *words]) == 0
    told = {p["policy"]: p for p in json.loads(capsys.readouterr().out)["policies"]}
    assert set(told) == {"users_own:first", "static", "random"}
    both = {}
    for policy in ("users_own:first", lambda d: int(d.mask.argmax())):
        both |= evaluate(policy, "genomics_tiny", seeds=[20_000, 20_001])
    assert len(both) == 2
    for reached in both.values():
        assert reached.value == pytest.approx(told["users_own:first"]["return_mean"])


def test_the_best_heuristic_is_chosen_on_training_workloads():
    suite = dataclasses.replace(SCENARIOS, policies=["reactive", "static_history"])
    found = {j.policy: j for j in judged(suite)[0]}
    known = dataclasses.replace(suite, first_seed=GATE, seeds=2, chosen_on=0)
    training = {j.policy: j for j in judged(known)[0]}
    for name, j in found.items():
        assert j.chosen == pytest.approx(training[name].score.value)


def test_scores_go_from_floor_to_reference_on_each_ground():
    def cells_of(easy, hard):
        rows = {"task": ["a", "a", "b", "b"], "seed": [1, 2, 1, 2]}
        return pd.DataFrame({**rows, "return_mean": [*easy, *hard]})

    met = {
        "floor": cells_of([0, 10], [-100, -200]),
        "good": cells_of([10, 20], [0, -100]),
        "half": cells_of([5, 15], [-50, -150]),
    }
    found = scored(met, "floor", "good")
    assert found["floor"]["score"].tolist() == [0] * 4
    assert found["good"]["score"].tolist() == [100] * 4
    assert found["half"]["score"].tolist() == [50] * 4
