"""Predictions: recorded choices give the recorded makespan, others keep the luck of each task."""

import numpy as np
import pytest

from tests.calibration.made import crowded, scenario_of, simulated
from tests.recordings import record
from toolkit.calibration.calibration import Sought, fit
from toolkit.calibration.executions import covariates
from toolkit.calibration.predict import (
    Abducted,
    Naive,
    in_use,
    predict,
    real,
    real_curve,
)
from toolkit.calibration.runs import Runs
from toolkit.live import rollout
from toolkit.policies.random import Random
from toolkit.simulator.recorded import Forced, instants_of, workload_of
from toolkit.simulator.simulator import Simulator


@pytest.fixture(scope="module")
def recorded():
    return Runs(record())


@pytest.fixture(scope="module")
def fitted(recorded):
    return fit(recorded, recorded.runs, Sought())


def forced(recorded, run, model):
    """Play the recorded choices at the recorded instants."""
    trace, planned = recorded.trace, recorded.planned
    return rollout(
        Simulator(model, 0),
        workload_of(trace, run, arrival="arrived_seen"),
        Forced(trace, run).chooser,
        horizon=planned.horizon,
        weights=planned.weights,
        instants=instants_of(trace, run).tolist(),
    )


@pytest.mark.parametrize("sought", [Sought(), Sought(interference=0.8, delay=3.0)])
def test_recorded_choices_give_back_the_recorded_run(recorded, sought):
    """Whatever is believed of contention: the work is that which it leaves of the seconds."""
    calibration = fit(recorded, recorded.runs, sought)
    for run in recorded.runs:
        model = Abducted(recorded=recorded, run=run, calibration=calibration)
        outcome = forced(recorded, run, model).outcome
        told = real(recorded, run)
        assert np.nanmax(outcome.finished) == pytest.approx(told["makespan"], rel=1e-6)
        latency = np.nanmean(outcome.completed - outcome.arrived)
        assert latency == pytest.approx(told["latency"], rel=1e-6)
        tasks = recorded.trace.of("tasks", run).sort_by("task")
        np.testing.assert_allclose(outcome.started, tasks["started_at"].to_numpy(), atol=1e-6)


def test_a_crowded_recording_is_given_back_as_well(tmp_path):
    of = crowded(scenario_of("allocation"), 0.7)
    recorded = Runs(simulated(of, tmp_path, runs=2))
    for interference in (0.0, 0.7):
        calibration = fit(recorded, recorded.runs, Sought(interference=interference))
        for run in recorded.runs:
            model = Abducted(recorded=recorded, run=run, calibration=calibration)
            found = np.nanmax(forced(recorded, run, model).outcome.finished)
            assert found == pytest.approx(real(recorded, run)["makespan"], rel=1e-6)


def test_another_choice_keeps_the_luck_of_each_task(recorded, fitted):
    workload = recorded.workload(0)
    truth = Abducted(recorded=recorded, run=0, calibration=fitted).truth(workload, 0)
    types, data = covariates(fitted.planned, workload)
    luck = np.log(truth.seconds) - fitted.durations.log_means(types, data)
    done = recorded.executions(0)
    own = luck[done.task, done.column]
    other = luck[done.task, (done.column + 1) % luck.shape[1]]
    for t in range(len(workload.types)):
        mine = done.type_of == t
        assert np.corrcoef(own[mine], other[mine])[0, 1] > 0.9


def test_a_task_that_was_not_recorded_draws_its_luck(recorded, fitted):
    workload = recorded.planned.plan(77)
    first, again, other = (fitted.truth(workload, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.seconds, again.seconds)
    np.testing.assert_array_equal(first.start_delay, again.start_delay)
    assert (first.seconds != other.seconds).any()
    assert first.seconds.shape == (workload.tasks, len(fitted.planned.columns))


def test_the_control_knows_the_mean_of_each_type_alone(recorded, fitted):
    naive = Naive.of(recorded, recorded.runs[:2], fitted)
    done = [recorded.executions(r) for r in recorded.runs[:2]]
    for t in range(len(fitted.planned.types)):
        seconds = np.concatenate([d.seconds[d.type_of == t] for d in done])
        assert naive.mean[t] == pytest.approx(seconds.mean())
    workload = recorded.workload(3)
    truth = naive.truth(workload, 0)
    types, _ = covariates(fitted.planned, workload)
    np.testing.assert_allclose(truth.seconds, naive.mean[types][:, None].repeat(5, axis=1))
    assert len(truth.rates) == 0


def test_predictions_are_reproducible_and_near_the_truth(recorded, fitted):
    workload = recorded.workload(0)
    first, again = (predict(fitted, fitted, workload, Random(), [3, 4, 5]) for _ in range(2))
    for name in ("makespan", "latency"):
        np.testing.assert_array_equal(first.metrics[name], again.metrics[name])
        assert first.metrics[name].shape == (3,)
    told = real(recorded, 0)["makespan"]
    assert np.median(first.metrics["makespan"]) == pytest.approx(told, rel=0.3)
    assert first.beyond < 0.3


def test_curves_count_the_cpus_in_use(recorded, fitted):
    at, busy = real_curve(recorded, 0)
    assert (np.diff(at) >= 0).all()
    assert busy[-1] == pytest.approx(0.0)
    assert busy.max() <= recorded.planned.cluster.cpus + 1e-9
    done = recorded.executions(0)
    assert busy[:-1] @ np.diff(at) == pytest.approx(done.cpus @ done.seconds)
    model = Abducted(recorded=recorded, run=0, calibration=fitted)
    again = in_use(forced(recorded, 0, model).outcome, recorded.workload(0))
    np.testing.assert_allclose(again[0], at, atol=1e-6)


def test_a_workload_unlike_the_recorded_ones_is_extrapolated(tmp_path):
    recorded = Runs(simulated(scenario_of("configuration", frames=(10,)), tmp_path, runs=2))
    calibration = fit(recorded, recorded.runs, Sought())
    larger = scenario_of("configuration", frames=(40,)).plan(0)
    assert predict(calibration, calibration, larger, Random(), [0]).beyond == 1.0
    known, done = recorded.workload(0), recorded.executions(0)
    column = np.zeros(known.tasks, dtype=np.int64)
    column[done.task] = done.column
    assert calibration.beyond(known, column) == 0.0
