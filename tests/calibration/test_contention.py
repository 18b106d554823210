"""Contention: work is an integral, and what a crowded simulation shows gives it back."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calibration.made import CORES, FAMILIES, crowded, executed, scenario_of, simulated
from toolkit.calibration.calibration import speeds_of
from toolkit.calibration.contention import rates, work
from toolkit.calibration.planned import Planned
from toolkit.calibration.runs import Runs


def test_rates_by_hand():
    # Alone 1; on all 4 cores of a machine 1.6 times as long; beyond, the cores are shared.
    found = rates(0.6, 4, 6)
    told = [1, 1, 1 / 1.2, 1 / 1.4, 1 / 1.6, 4 / 5 / 1.6, 4 / 6 / 1.6]
    np.testing.assert_allclose(found, told)


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_without_interference_nothing_happens_before_the_cores_are_all_in_use(cores):
    found = rates(0.0, cores, cores + 2)
    assert (found[: cores + 1] == 1).all()
    np.testing.assert_allclose(found[-1], cores / (cores + 2))
    assert len(rates(0.5, cores, cores + 0.5)) == cores + 2


def integral(done, speeds):
    """Return the work of each execution, interval by interval."""
    found = np.zeros(len(done))
    for i in range(len(done)):
        beside = (done.run == done.run[i]) & (done.machine == done.machine[i])
        ends = np.concatenate([done.started[beside], done.finished[beside]])
        ends = np.unique(ends[(ends >= done.started[i]) & (ends <= done.finished[i])])
        for a, b in itertools.pairwise(ends):
            there = beside & (done.started <= a) & (done.finished >= b)
            load = done.cpus[there].sum()
            found[i] += (b - a) * np.interp(load, np.arange(len(speeds)), speeds)
    return np.maximum(found, 1e-6)


task = st.tuples(
    st.integers(0, 12), st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(0, 1), st.integers(0, 1),
)  # fmt: skip


@given(st.lists(task, min_size=1, max_size=14), st.floats(0, 1.5), st.integers(1, 5))
def test_work_is_the_integral_of_the_rate_over_the_life_of_a_task(tasks, interference, cores):
    start, length, cpus, machine, run = (np.array(c) for c in zip(*tasks, strict=True))
    nothing = np.zeros(len(tasks), dtype=np.int64)
    done = executed(
        nothing, nothing, np.ones((len(tasks), 1)), 0.0, started=start / 4.0,
        finished=(start + length) / 4.0, cpus=cpus, machine=machine, run=run,
    )  # fmt: skip
    speeds = rates(interference, cores, 6)
    np.testing.assert_allclose(work(done, speeds), integral(done, speeds), rtol=1e-9)


def test_what_is_alone_on_its_machine_works_all_the_time():
    n = np.zeros(5, dtype=np.int64)
    done = executed(n, n, np.ones((5, 1)), np.arange(1.0, 6.0))
    np.testing.assert_allclose(work(done, rates(0.9, 4, 4)), np.arange(1.0, 6.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_crowded_simulation_gives_back_the_true_work(family, tmp_path):
    of = crowded(scenario_of(family), 0.7)
    recorded = Runs(simulated(of, tmp_path, runs=2))
    for run in recorded.runs:
        done, workload = recorded.executions(run), recorded.workload(run)
        truth = of.truth(workload, int(recorded.about(run)["seed"]))
        w = workload.arrays
        own = truth.seconds[w.type_of[done.task], done.column] * truth.scale[done.task]
        np.testing.assert_allclose(work(done, rates(0.7, CORES, CORES)), own, rtol=1e-6)
        assert (done.seconds > 1.2 * own).any()


def test_where_parents_may_be_copied_nothing_contends():
    of = scenario_of("placement")
    for copies in (False, True):
        planned = Planned(scenario=replace(of, duplicate=copies), shared=True, cores=2.0)
        assert (speeds_of(planned, 0.5) == 1.0).all() == copies
