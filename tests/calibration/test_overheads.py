"""Overheads: by hand, and as a simulation that delays every start by the same gives them."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.calibration.made import executed, scenario_of, simulated
from tests.recordings import record
from toolkit.calibration.overheads import cold_seconds, startups, tables
from toolkit.calibration.quantiles import QUANTILES, drawn
from toolkit.calibration.runs import Runs
from toolkit.scenarios.disturbances import Disturbances


def test_startups_are_a_line_in_how_many_start():
    found = startups(np.array([1, 2, 4, 0]), np.array([1.5, 2.0, 3.0, 99.0]), 5, 7.0)
    np.testing.assert_allclose(found, [1.5, 2.0, 2.5, 3.0, 3.5])


def test_startups_never_fall_and_are_the_usual_where_none_was_seen():
    falling = startups(np.array([1, 3]), np.array([4.0, 2.0]), 3, 7.0)
    np.testing.assert_allclose(falling, [3.0, 3.0, 3.0])
    np.testing.assert_allclose(startups(np.array([2, 2]), np.array([1.0, 2.0]), 2, 7.0), [1.5, 1.5])
    np.testing.assert_allclose(startups(np.array([0, 0]), np.array([1.0, 2.0]), 2, 7.0), [7.0, 7.0])
    steep = startups(np.array([3, 4]), np.array([1.0, 9.0]), 4, 7.0)
    np.testing.assert_allclose(steep, [0.0, 0.0, 1.0, 9.0])


def test_a_type_has_quantiles_of_its_own_from_ten_delays_on():
    values = np.concatenate([np.full(10, 2.0), np.full(9, 5.0)])
    found = tables(values, np.repeat([0, 1], [10, 9]), 3)
    assert found.shape == (3, QUANTILES)
    assert (found[0] == 2.0).all()
    np.testing.assert_array_equal(found[1], found[2])
    assert (found[1].min(), found[1].max()) == (2.0, 5.0)
    assert (tables(np.zeros(0), np.zeros(0, int), 2) == 0).all()


def test_delays_are_drawn_from_the_table_of_the_type():
    table = np.stack([np.linspace(0, 1, QUANTILES), np.full(QUANTILES, 3.0)])
    found = drawn(table, np.array([0, 1, 0, 0]), np.array([0.5, 0.1, 0.0, 1.0]))
    np.testing.assert_allclose(found, [0.5, 3.0, 0.0, 1.0])


def test_drawn_delays_are_distributed_as_the_recorded_ones():
    rng = np.random.default_rng(0)
    seen = rng.exponential(1.0, 4000)
    table = tables(seen, np.zeros(4000, int), 1)
    again = drawn(table, np.zeros(4000, int), rng.random(4000))
    for q in (0.1, 0.5, 0.9):
        assert np.quantile(again, q) == pytest.approx(np.quantile(seen, q), rel=0.1)


def test_cold_seconds_are_those_by_which_the_slowest_first_task_outlasts_a_usual_one():
    n = np.zeros(5, dtype=np.int64)
    done = executed(
        n, n, np.ones((5, 1)), np.array([3.0, 4.0, 9.0, 1.0, 2.0]),
        job=np.array([0, 0, 0, 1, 2]) + (7 << 32),
        cold=np.array([True, True, False, True, False]),
    )  # fmt: skip
    found = cold_seconds(done, np.full(5, 2.0), np.array([0, 1, 2, 3]))
    np.testing.assert_allclose(found, [2.0, 0.0, 0.0, 0.0])


def test_the_delays_of_pipelines_are_what_they_were():
    recorded = Runs(record())
    for run in recorded.runs:
        found = recorded.delayed(run)
        assert len(found.task) == recorded.workload(run).tasks
        np.testing.assert_allclose(found.start, 0.004, atol=1e-6)
        np.testing.assert_allclose(found.seen, 0.002, atol=1e-9)


@pytest.mark.parametrize("pull", [False, True])
def test_a_placement_waits_for_its_choice_and_its_data(pull, tmp_path):
    """What starts late although all is there has been delayed; the simulator starts at once."""
    trace = simulated(scenario_of("placement", pull=pull, ccr=0.5), tmp_path, runs=1)
    found = Runs(trace).delayed(0)
    np.testing.assert_allclose(found.start, 0.0, atol=1e-9)
    tasks = trace.tables["tasks"]
    late = 0.25 * (np.arange(len(tasks)) % 3)
    column = tasks.schema.get_field_index("started_at")
    moved = pa.array(tasks["started_at"].to_numpy() + late)
    tables = {**trace.tables, "tasks": tasks.set_column(column, tasks.schema.field(column), moved)}
    found = Runs(dataclasses.replace(trace, tables=tables)).delayed(0)
    np.testing.assert_allclose(found.start, late, atol=1e-9)


def test_a_task_of_a_batch_waits_for_its_stage_and_its_slot(tmp_path):
    of = scenario_of("configuration", disturbances=Disturbances(start_delay=0.3))
    recorded = Runs(simulated(of, tmp_path, runs=2))
    for run in recorded.runs:
        found, w = recorded.delayed(run), recorded.workload(run).arrays
        first = np.diff(w.parent_ptr)[found.task] == 0
        # Nothing is said of when the executors were there, for which the first tasks wait; and
        # where several slots were freed at about one time, the last of them counts.
        assert found.start.max() < 0.3 + 1e-9
        assert np.median(found.start[~first]) == pytest.approx(0.3)
        assert found.start[~first].min() > 0.1


def test_late_news_are_delays_until_an_end_is_known(tmp_path):
    of = scenario_of("placement")
    of = dataclasses.replace(of, disturbances=Disturbances(seen_delay=0.2))
    recorded = Runs(simulated(of, tmp_path, runs=1))
    np.testing.assert_allclose(recorded.delayed(recorded.runs[0]).seen, 0.2, atol=1e-9)
