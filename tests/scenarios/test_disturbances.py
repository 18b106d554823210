"""Disturbances and the truth of pipelines: what no policy is told, and what it may be told."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads import scenario
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.policies.random import Random
from toolkit.reward import WorkflowWeights
from toolkit.scenarios.disturbances import Disturbances, luck
from toolkit.scenarios.pipelines import MIB, Estimates, Pipelines, Process
from toolkit.scenarios.workflows import Group, Machines, Stream, Workflows
from toolkit.seeding import generator
from toolkit.simulator.simulator import Simulator
from toolkit.simulator.state import KILLED, LOST, N_KILLED, RETURNED, WASTED
from toolkit.workflows.layered import Layered

PROCESSES = (
    Process(type="qc", seconds=0.04, serial=0.4),
    Process(type="trim", seconds=0.05, serial=0.2, exponent=0.5),
    Process(type="kmer", seconds=0.13, serial=0.2, memory=32, thrash=2.0),
    Process(type="align", seconds=0.14),
    Process(type="merge", seconds=0.02, serial=1.0),
    Process(type="call", seconds=0.05, serial=0.2),
)


def synthetic(**changes):
    return scenario(**{"processes": PROCESSES, "sigma": 0.3, **changes})


def play(of, seed):
    workload = of.plan(seed)
    return workload, rollout(
        Simulator(of, seed),
        workload,
        chooser(Random(), seed),
        horizon=of.horizon,
        weights=of.weights,
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.floats(5.0, 500.0), st.floats(1.0, 500.0), st.integers(0, 1000))
def test_nodes_come_and_go_by_themselves_and_one_always_stays(nodes, losses, repair, seed):
    of = Disturbances(losses=losses, repair=repair, preemptions=200.0)
    at, node, kind = of.outages(nodes, 1000.0, generator(seed))
    assert (np.diff(at) >= 0).all()
    assert at[kind != RETURNED].max(initial=0.0) < 1000.0
    up = np.ones(nodes, dtype=bool)
    for i, k in zip(node, kind, strict=True):
        if k == LOST:
            assert up[i]
            up[i] = False
        elif k == RETURNED:
            assert not up[i]
            up[i] = True
        assert up.any()
    assert up.all()


def test_losses_and_preemptions_are_as_frequent_as_asked():
    of = Disturbances(losses=100.0, repair=20.0, preemptions=50.0)
    at, node, kind = of.outages(40, 12_000.0, generator(3))
    # A node lives through a cycle of 120 s.
    assert (kind == LOST).sum() / 40 == pytest.approx(100, rel=0.05)
    assert (kind == KILLED).sum() / 40 == pytest.approx(240, rel=0.05)
    away = [
        at[(node == n) & (kind == RETURNED)] - at[(node == n) & (kind == LOST)] for n in range(40)
    ]
    assert np.concatenate(away).mean() == pytest.approx(20.0, rel=0.05)


def test_nothing_goes_wrong_unless_asked():
    at, _, _ = Disturbances().outages(5, math.inf, generator(0))
    assert len(at) == 0
    scale = np.arange(1.0, 100.0)
    np.testing.assert_array_equal(Disturbances().slow(scale, generator(0)), scale)
    np.testing.assert_array_equal(luck(9, 0.0, generator(0)), 1.0)


def test_stragglers_are_as_many_and_as_slow_as_asked_and_more_of_them_are_the_same_and_more():
    scale = np.full(20_000, 2.0)
    few = Disturbances(straggler_share=0.1, straggler_factor=5.0).slow(scale, generator(1))
    many = Disturbances(straggler_share=0.3, straggler_factor=5.0).slow(scale, generator(1))
    assert set(few) == {2.0, 10.0}
    assert (few > 2).mean() == pytest.approx(0.1, abs=0.01)
    assert (many > 2).mean() == pytest.approx(0.3, abs=0.01)
    assert (many >= few).all()


@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_luck_has_mean_one(sigma):
    factors = luck(200_000, sigma, generator(0))
    assert factors.mean() == pytest.approx(1.0, rel=0.02)
    assert np.log(factors).std() == pytest.approx(sigma, rel=0.02)


def test_an_unreliable_cluster_kills_and_delays_and_still_finishes():
    def of(disturbances):
        nodes = Machines(groups=(Group(kind="a", count=4, memory=1),))
        return Workflows(
            name="test",
            graphs=Layered(tasks=15),
            jobs=6,
            arrivals=Stream(rate=0.02),
            cluster=nodes,
            weights=WorkflowWeights(sojourn=1.0),
            horizon=20_000.0,
            disturbances=disturbances,
        )

    _, calm = play(of(Disturbances()), 0)
    rough = Disturbances(
        losses=200.0, repair=50.0, preemptions=100.0, start_delay=1.0, seen_delay=0.5
    )
    workload, wild = play(of(rough), 0)
    assert wild.terminated
    assert wild.scene.state.totals[N_KILLED] > 0 == calm.scene.state.totals[N_KILLED]
    assert wild.scene.state.totals[WASTED] > 0
    # Work starts a second after it was handed over.
    w, out = workload.arrays, wild.outcome
    np.testing.assert_allclose(out.finished - out.started, w.scale + 1.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"straggler_share": 1.5}, "straggler_share"),
        ({"straggler_factor": 0.5}, "straggler_factor"),
        ({"losses": 0.0}, "losses"),
        ({"repair": math.inf}, "comes back"),
        ({"preemptions": -1.0}, "preemptions"),
        ({"start_delay": -1.0}, "start_delay"),
        ({"seen_delay": math.inf}, "seen_delay"),
        ({"observation_noise": -0.1}, "observation_noise"),
    ],
)
def test_disturbances_that_make_no_sense_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Disturbances(**wrong)


def test_losses_need_a_horizon():
    with pytest.raises(ConfigError, match="finite horizon"):
        Disturbances(losses=10.0).outages(2, math.inf, generator(0))


def test_a_process_scales_by_amdahls_law_and_thrashes_without_memory():
    profiles = np.array([[1, 64 * MIB], [2, 64 * MIB], [4, 64 * MIB], [2, 8 * MIB]])
    kmer = PROCESSES[2].lasts(profiles)
    np.testing.assert_allclose(kmer, 0.13 * np.array([1.0, 0.6, 0.4, 1.2]))


def test_pipelines_run_without_a_recording():
    of = synthetic()
    workload, episode = play(of, 1)
    assert episode.terminated
    w, out = workload.arrays, episode.outcome
    truth = of.truth(workload, 1)
    took = truth.seconds[w.type_of, out.profile] * truth.scale
    np.testing.assert_allclose(out.finished - out.started, took)
    relative = workload.sizes / of.unit
    size = np.stack([relative, np.sqrt(relative)], axis=1)
    np.testing.assert_allclose(w.scale.reshape(8, 6)[:, :2], size)


def test_pipelines_tell_exactly_the_mean_or_nothing():
    exact, mean, blind = (synthetic(jobs=500, estimates=e) for e in ("exact", "mean", "blind"))
    plan = exact.plan(1)
    truth = exact.truth(plan, 4)
    np.testing.assert_array_equal(truth.scale, plan.arrays.scale)
    np.testing.assert_array_equal(truth.seconds, plan.arrays.seconds)
    other = mean.plan(1)
    lucky = mean.truth(other, 1)
    np.testing.assert_array_equal(lucky.scale, truth.scale)
    factors = lucky.scale / other.arrays.scale
    assert factors.mean() == pytest.approx(1.0, abs=0.03)
    assert np.log(factors).std() == pytest.approx(0.3, abs=0.02)
    nothing = blind.plan(1)
    assert (nothing.arrays.seconds == 1).all()
    assert (nothing.arrays.scale == 1).all()
    np.testing.assert_array_equal(blind.truth(nothing, 1).scale, truth.scale)
    np.testing.assert_array_equal(blind.truth(nothing, 1).seconds, truth.seconds)


def test_estimates_of_a_recording_go_before_those_of_processes():
    of = synthetic(estimates="exact")
    told = Estimates.blind(6, 5, of.unit)
    plan = of.plan(1, estimates=told)
    assert plan.estimates is told
    assert (plan.arrays.scale == 1).all()
    recorded = scenario().plan(1)
    assert (recorded.arrays.seconds == 1).all()
    with pytest.raises(ConfigError, match="no processes"):
        scenario().truth(recorded, 1)


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0])
def test_sizes_vary_as_much_as_asked_around_the_same_mean(cv):
    of = synthetic(jobs=20_000, cv=cv)
    sizes = of.plan(3).sizes
    assert sizes.mean() / of.unit == pytest.approx(1.0, rel=0.03)
    assert sizes.std() / sizes.mean() == pytest.approx(cv, rel=0.06, abs=0.001)
    if cv:
        counts = np.bincount(of.plan(3).arrays.size_bin)
        np.testing.assert_allclose(counts / 20_000, 1 / 3, atol=0.02)
    assert of.unit == synthetic().unit
    plain, varied = synthetic().plan(3), synthetic(cv=cv).plan(3)
    np.testing.assert_array_equal(plain.job_features[:, 1:], varied.job_features[:, 1:])
    np.testing.assert_array_equal(plain.arrival, varied.arrival)


def test_a_scenario_with_processes_survives_plain_values_and_older_ones_are_read():
    of = synthetic(cv=0.5, estimates="exact")
    again = Pipelines.from_dict(of.to_dict())
    assert again == of
    np.testing.assert_array_equal(again.plan(3).arrays.scale, of.plan(3).arrays.scale)
    older = scenario().to_dict()
    for key in ("processes", "sigma", "cv", "estimates"):
        del older[key]
    assert Pipelines.from_dict(older) == scenario()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"processes": PROCESSES[:-1]}, "every type once"),
        ({"processes": (*PROCESSES, PROCESSES[0])}, "every type once"),
        ({"sigma": -1.0}, "sigma"),
        ({"cv": -0.1}, "cv"),
        ({"cv": 1.0, "size": ()}, "needs a feature"),
        ({"estimates": "all"}, "exact, mean, blind"),
    ],
)
def test_a_synthetic_truth_that_makes_no_sense_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        synthetic(**change)


@pytest.mark.parametrize(
    "wrong", [{"seconds": 0.0}, {"serial": 1.1}, {"thrash": 0.5}, {"memory": -1.0}]
)
def test_a_process_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match="of 'x' must be"):
        Process(**{"type": "x", "seconds": 1.0, **wrong})
