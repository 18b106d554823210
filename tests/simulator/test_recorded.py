"""The golden tests: a trace's own decisions give back its features, rewards and makespan."""

import numpy as np
import pytest

from tests.recordings import record
from tests.workloads import scenario
from toolkit.live import rollout
from toolkit.simulator.calibration import Calibration, Replayed, fidelity, fit, recorded, simulate
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


def test_recorded_durations_give_back_the_recorded_makespan(trace):
    calibration = fit(trace)
    for about in trace.runs("policy"):
        run = about["run"]
        truth = Replayed(trace=trace, run=run, calibration=calibration)
        simulated = simulate(trace, run, calibration, truth, 0)
        np.testing.assert_allclose(simulated, recorded(trace, run), rtol=1e-6)


def test_another_choice_keeps_the_luck_of_each_task(trace):
    calibration = fit(trace)
    workload = workload_of(trace, 0)
    truth = Replayed(trace=trace, run=0, calibration=calibration).truth(workload, 0)
    tasks = trace.of("tasks", 0).sort_by("task").to_pandas()
    w = workload.arrays
    mean = np.exp(calibration.durations.log_means(workload))
    rows = np.arange(workload.tasks)
    own = np.log(truth.seconds[rows, tasks["profile"]] / mean[rows, tasks["profile"]])
    other = np.log(
        truth.seconds[rows, (tasks["profile"] + 1) % 4] / mean[rows, (tasks["profile"] + 1) % 4]
    )
    for t in range(len(workload.types)):
        mine = w.type_of == t
        assert np.corrcoef(own[mine], other[mine])[0, 1] > 0.9


def test_the_fidelity_report_tells_a_good_model_from_a_naive_one():
    trace = record(of=scenario(jobs=16))
    found = fidelity(trace, fit(trace))
    assert found["factual_makespan_error"] < 0.001
    assert found["held_out_latency_error"] < found["naive_latency_error"]
    assert 0.8 < found["coverage_90"] < 0.97


def test_a_calibration_survives_its_file(trace, tmp_path):
    fitted = fit(trace)
    fitted.save(tmp_path)
    again = Calibration.load(tmp_path)
    workload = again.plan(12345)
    first, second = fitted.truth(workload, 7), again.truth(workload, 7)
    np.testing.assert_array_equal(first.seconds, second.seconds)
    np.testing.assert_array_equal(first.start_delay, second.start_delay)


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
