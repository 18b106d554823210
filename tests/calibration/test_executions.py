"""Executions: what a trace says of its tasks, as arrays."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.calibration.made import FAMILIES, RANDOM, scenario_of, simulated
from tests.recordings import record
from toolkit.calibration.executions import Executions, covariates
from toolkit.calibration.runs import Runs
from toolkit.errors import ConfigError


@pytest.mark.parametrize("family", FAMILIES)
def test_executions_are_the_tasks_of_the_run(family, tmp_path):
    trace = simulated(scenario_of(family), tmp_path, runs=2)
    recorded = Runs(trace)
    assert recorded.runs == [0, 1]
    for run in recorded.runs:
        done, workload = recorded.executions(run), recorded.workload(run)
        tasks = trace.of("tasks", run).to_pandas()
        assert len(done) == workload.tasks == len(np.unique(done.task))
        np.testing.assert_array_equal(done.seconds, tasks["finished_at"] - tasks["started_at"])
        types, data = covariates(recorded.planned, workload)
        np.testing.assert_array_equal(done.type_of, types[done.task])
        np.testing.assert_array_equal(done.data, data[done.task])
        assert [recorded.planned.types[t] for t in done.type_of] == [
            name.partition("@")[0] for name in tasks["type"]
        ]
        assert not done.cold.any()
    both = Executions.join([recorded.executions(r) for r in recorded.runs])
    assert not set(both.job[both.run == 0]) & set(both.job[both.run == 1])


def test_a_job_that_is_met_again_has_its_number(tmp_path):
    """Else it would be among those from which it is predicted in cross-validation."""
    trace = simulated(scenario_of("allocation"), tmp_path, runs=4, policies=RANDOM * 2, paired=True)
    recorded = Runs(trace)
    jobs = [set(recorded.executions(r).job) for r in recorded.runs]
    assert jobs[0] == jobs[1]
    assert jobs[2] == jobs[3]
    assert not jobs[0] & jobs[2]


def test_the_column_is_the_profile_the_kind_or_the_shape(tmp_path):
    found = {}
    for family in FAMILIES:
        trace = simulated(scenario_of(family), tmp_path / family, runs=1)
        found[family] = trace, Runs(trace).executions(0)
    trace, done = found["allocation"]
    np.testing.assert_array_equal(done.column, trace.of("tasks", 0)["profile"].to_numpy())
    trace, done = found["placement"]
    np.testing.assert_array_equal(done.column, done.machine)
    trace, done = found["configuration"]
    keys = trace.of("decisions", 0)["key"].to_numpy()
    of = scenario_of("configuration")
    told = of.fleets[keys[trace.of("tasks", 0)["job"].to_numpy()], 0]
    np.testing.assert_array_equal(done.column, told)


def test_what_the_data_are(tmp_path):
    of = scenario_of("allocation")
    recorded = Runs(simulated(of, tmp_path / "a", runs=1))
    workload = recorded.workload(0)
    job = workload.arrays.job_of
    _, data = covariates(recorded.planned, workload)
    np.testing.assert_allclose(data[:, 0], workload.sizes[job])
    np.testing.assert_allclose(data[:, 1:], workload.job_features[job])
    recorded = Runs(simulated(scenario_of("configuration"), tmp_path / "b", runs=1))
    workload = recorded.workload(0)
    _, data = covariates(recorded.planned, workload)
    np.testing.assert_array_equal(data[:, 0], workload.frames[workload.arrays.job_of])


def test_what_did_not_end_well_is_no_execution():
    trace = record()
    tasks = trace.tables["tasks"].to_pylist()
    tasks[0]["status"] = "failed"
    tasks[1]["finished_at"] = None
    tables = {**trace.tables, "tasks": pa.Table.from_pylist(tasks, trace.tables["tasks"].schema)}
    done = Runs(dataclasses.replace(trace, tables=tables)).executions(0)
    assert len(done) == len(trace.of("tasks", 0)) - 2
    assert not {0, 1} & set(done.task)


def test_runs_that_were_cut_are_not_learnt_from(tmp_path):
    trace = simulated(scenario_of("allocation"), tmp_path, runs=2)
    told = [{**r, "terminated": r["run"] == 1} for r in trace.runs()]
    cut = dataclasses.replace(trace, provenance={**trace.provenance, "runs": told})
    assert Runs(cut).runs == [1]


def test_a_sweep_tells_of_itself():
    """The tasks of a run that is called a sweep are the same, without a workload."""
    trace = record()
    told = [{**r, "mode": "sweep" if r["run"] == 1 else r["mode"]} for r in trace.runs()]
    swept = Runs(dataclasses.replace(trace, provenance={**trace.provenance, "runs": told}))
    assert (swept.runs, swept.sweeps) == ([0, 2, 3], [1])
    own, plain = swept.executions(1), Runs(trace).executions(1)
    for field in dataclasses.fields(own):
        np.testing.assert_allclose(getattr(own, field.name), getattr(plain, field.name))
    assert swept.delayed(1) is None
    with pytest.raises(ConfigError, match="run 1 is a sweep"):
        swept.workload(1)


def test_a_warm_worker_is_said_by_its_trace():
    trace = record()
    tasks = trace.tables["tasks"]
    warm = pa.array([None, False, True] * len(tasks), pa.bool_())[: len(tasks)]
    tables = {**trace.tables, "tasks": tasks.append_column("m_warm", warm)}
    done = Runs(dataclasses.replace(trace, tables=tables)).executions(0)
    np.testing.assert_array_equal(done.cold, np.arange(len(done)) % 3 == 1)
