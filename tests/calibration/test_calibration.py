"""Calibrations: what is fitted, that it survives its file, and that a damaged file is refused."""

import dataclasses
import json

import numpy as np
import pytest

from tests.calibration.made import CORES, FAMILIES, crowded, scenario_of, simulated
from toolkit.calibration.calibration import FILE, Calibration, Sought, fit, speeds_of
from toolkit.calibration.contention import rates
from toolkit.calibration.executions import covariates
from toolkit.calibration.runs import Runs
from toolkit.errors import CorruptError, SchemaError
from toolkit.scenarios.batches import Stage
from toolkit.simulator.simulator import scene_of


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def recorded(family, tmp_path_factory):
    of = crowded(scenario_of(family), 0.6)
    return Runs(simulated(of, tmp_path_factory.mktemp(family), runs=4))


@pytest.fixture(scope="module")
def fitted(recorded):
    return fit(recorded, recorded.runs, Sought(interference=0.6))


def test_durations_alone_are_found_in_a_crowd(family, recorded, fitted):
    """With the interference that was, what each task takes alone is what the scenario says."""
    of, workload = scenario_of(family, sigma=0.0), recorded.workload(0)
    types, data = covariates(fitted.planned, workload)
    truth, w = of.truth(workload, 0), workload.arrays
    told = np.log(truth.seconds[w.type_of] * truth.scale[:, None])
    done = recorded.executions(0)
    error = fitted.durations.log_means(types, data) - told
    assert np.abs(error[done.task, done.column]).mean() < 0.06
    blind = fit(recorded, recorded.runs, Sought())
    worse = blind.durations.log_means(types, data) - told
    assert worse[done.task, done.column].mean() > 0.1


def test_a_file_gives_back_the_same_truths(fitted, tmp_path):
    fitted.save(tmp_path)
    again = Calibration.load(tmp_path)
    workload = again.plan(12345)
    first, second = fitted.truth(workload, 7), again.truth(workload, 7)
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=field.name)
    scene_of(workload, second)
    text = (tmp_path / FILE).read_text()
    again.save(tmp_path)
    assert (tmp_path / FILE).read_text() == text


def test_the_same_trace_and_seed_give_the_same_bytes(recorded, fitted, tmp_path):
    again = fit(Runs(recorded.trace), recorded.runs, Sought(interference=0.6))
    again.save(tmp_path)
    told = (tmp_path / FILE).read_bytes()
    fitted.save(tmp_path)
    assert (tmp_path / FILE).read_bytes() == told


def test_luck_is_common_to_all_who_are_judged_with_one_seed(fitted):
    workload = fitted.plan(1)
    first = fitted.truth(workload, 3)
    assert (first.seconds != fitted.truth(workload, 4).seconds).any()
    types, data = covariates(fitted.planned, workload)
    luck = np.log(first.seconds) - fitted.durations.log_means(types, data)
    np.testing.assert_allclose(luck, luck[:, :1].repeat(luck.shape[1], axis=1), atol=1e-9)


def test_the_speeds_are_those_of_the_machines(family, recorded):
    found = speeds_of(recorded.planned, 0.6)
    np.testing.assert_allclose(found, rates(0.6, CORES, CORES))
    calibration = fit(recorded, recorded.runs, Sought())
    assert len(calibration.truth(recorded.workload(0), 0).rates) == 0


def test_executors_that_share_a_machine_load_it_together(tmp_path):
    recorded = Runs(simulated(scenario_of("configuration"), tmp_path, runs=1))
    shared = dataclasses.replace(recorded.planned, shared=True, cores=3.0)
    np.testing.assert_allclose(speeds_of(shared, 0.6), rates(0.6, 3, 2 * CORES))


def test_the_factor_of_delays_is_applied(recorded, fitted):
    start = np.full_like(fitted.start, 0.25)
    twice = dataclasses.replace(fitted, start=start, sought=Sought(delay=2.0))
    truth = twice.truth(recorded.workload(0), 0)
    np.testing.assert_allclose(truth.start_delay, 0.5)
    np.testing.assert_allclose(truth.seen_delay, 0.0, atol=1e-9)


def test_startup_is_the_scenarios_where_nothing_was_recorded(family, fitted):
    wanted = [0.1, 0.1] if family == "configuration" else [0.0]
    np.testing.assert_allclose(fitted.startup, wanted)


def test_a_rare_type_is_pooled_and_nothing_fails(tmp_path):
    of = scenario_of(
        "configuration", batches=2, stages=[Stage(name="a", seconds=0.1)], partitions=(4,)
    )
    recorded = Runs(simulated(of, tmp_path, runs=1))
    assert fit(recorded, recorded.runs, Sought()).durations.kinds == ("pooled",)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", "{}", '{"schema": 2}', '{"schema": 2, "planned": []}', "[" * 100_000,
        "\x00",
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(text, tmp_path):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CorruptError, match="cannot be read") as caught:
        Calibration.load(tmp_path)
    assert "toolkit calibrate force=true" in caught.value.hint


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CorruptError, match="cannot be read"):
        Calibration.load(tmp_path)


def test_another_version_is_refused(tmp_path):
    (tmp_path / FILE).write_text(json.dumps({"schema": 1}))
    with pytest.raises(SchemaError, match="schema version 1; this release reads 2") as caught:
        Calibration.load(tmp_path)
    assert "force=true" in caught.value.hint


@pytest.mark.parametrize(
    "changed",
    [
        {"sought": []},
        {"sought": {"more": 1}},
        {"sought": {"delay": "much"}},
        {"durations": {}},
        {"planned": {"scenario": {}}},
        {"start": "soon"},
    ],
)
def test_a_damaged_part_is_refused(changed, fitted, tmp_path):
    fitted.save(tmp_path)
    told = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**told, **changed}))
    with pytest.raises(CorruptError):
        Calibration.load(tmp_path)
