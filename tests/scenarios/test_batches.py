"""Batches: 36 configurations, and durations that follow from frames, cores and memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.policies.policy import certain
from toolkit.policies.random import Random
from toolkit.reward import BatchWeights
from toolkit.scenarios.batches import GIB, MIB, Batches, Stage
from toolkit.scenarios.disturbances import Disturbances
from toolkit.simulator.simulator import Simulator
from toolkit.simulator.state import LATE, N_KILLED

GREYSCALE = Stage(name="greyscale", seconds=0.01, overhead=0.2, parallel=0.4, memory=10, spill=2.0)


def batches(**changes):
    return Batches(
        **{
            "name": "test",
            "stages": (Stage(name="resize", seconds=0.003), GREYSCALE),
            "batches": 6,
            "startup": 0.5,
            "weights": BatchWeights(inverse=1.0),
            **changes,
        }
    )


class Always:
    """One configuration for every batch."""

    name = "always"

    def __init__(self, slot):
        self.slot = slot

    def reset(self, workload):
        """Nothing to prepare."""

    def probabilities(self, decision):
        return certain(self.slot, len(decision.mask))


def play(of, seed, policy=None):
    workload = of.plan(seed)
    return workload, rollout(
        Simulator(of, seed),
        workload,
        chooser(policy or Random(), seed),
        horizon=of.horizon,
        weights=of.weights,
    )


def slot_of(workload, cores, memory, instances):
    wanted = [cores, memory * MIB, instances]
    return int(np.flatnonzero((workload.arrays.fleets[:, 1:] == wanted).all(axis=1))[0])


def test_the_papers_36_configurations_are_there_once():
    fleets = batches().plan(0).arrays.fleets
    assert len(np.unique(fleets[:, 1:], axis=0)) == len(fleets) == 36
    assert fleets[:, 1:].min(axis=0).tolist() == [1, 500 * MIB, 5]
    assert fleets[:, 1:].max(axis=0).tolist() == [3, 1000 * MIB, 8]
    hosts = batches().plan(0).arrays.hosts
    assert hosts[:, :2].tolist() == [[4, 8 * GIB]] * 3


def test_every_task_of_a_stage_depends_on_all_tasks_of_the_stage_before():
    plan = batches(stages=[Stage(name=n, seconds=0.1) for n in "abc"]).plan(1)
    w = plan.arrays
    assert plan.tasks == 3 * plan.partitions.sum()
    for job, p in enumerate(plan.partitions):
        first = w.job_ptr[job]
        for task in range(first, w.job_ptr[job + 1]):
            stage = (task - first) // p
            above = w.parents[w.parent_ptr[task] : w.parent_ptr[task + 1]]
            expected = first + (stage - 1) * p + np.arange(p) if stage else []
            assert above.tolist() == list(expected)
            assert plan.types[w.type_of[task]] == f"{'abc'[stage]}@{plan.frames[job]}"
    assert (w.data == 0).all()


def test_batches_vary_as_declared_and_in_the_same_way_for_the_same_seed():
    of = batches(batches=600)
    plan, again, other = of.plan(1), of.plan(1), of.plan(2)
    np.testing.assert_array_equal(plan.frames, again.frames)
    np.testing.assert_array_equal(plan.arrays.type_of, again.arrays.type_of)
    assert not np.array_equal(plan.frames, other.frames)
    assert set(plan.frames) == {10, 20, 30, 40, 50, 60}
    assert set(plan.partitions) == {5, 6, 7, 8}
    # One draw does not shift another.
    more = batches(batches=600, partitions=(2, 3)).plan(1)
    np.testing.assert_array_equal(more.frames, plan.frames)
    held = batches(batches=600, repeats=20).plan(1)
    assert (held.frames.reshape(30, 20) == held.frames[::20, None]).all()


def test_batches_come_by_the_clock_or_one_after_another():
    timed, closed = batches(period=7.0), batches()
    assert timed.plan(0).arrays.arrival.tolist() == [0, 7, 14, 21, 28, 35]
    assert timed.horizon == 5 * 7.0 + 600
    _, episode = play(closed, 0)
    out = episode.outcome
    np.testing.assert_allclose(out.arrived[1:], out.completed[:-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 3), st.floats(100, 2000))
def test_a_task_takes_longer_with_more_frames_and_less_memory(frames, cores, memory):
    def lasts(f, c, m):
        return float(GREYSCALE.lasts(f, np.array([float(c)]), np.array([m]))[0])

    alone = 0.2 + 0.01 * frames
    own = lasts(frames, cores, memory)
    assert own <= lasts(frames + 1, cores, memory)
    assert own <= lasts(frames, cores, memory * 0.7)
    need, have = 10 * frames, memory / cores
    if need <= have:
        assert own == pytest.approx(alone * (0.6 + 0.4 / cores))
    twice = lasts(frames, cores, need * cores / 2)
    assert twice == pytest.approx(3.0 * alone * (0.6 + 0.4 / cores))


@pytest.mark.parametrize("frames", [10, 60])
@pytest.mark.parametrize(("cores", "memory"), [(1, 1000), (3, 500)])
def test_tasks_of_an_episode_take_what_their_stage_says(frames, cores, memory):
    of = batches(frames=[frames, 30])
    plan = of.plan(0)
    plan, episode = play(of, 0, Always(slot_of(plan, cores, memory, 5)))
    out, names = episode.outcome, np.array(plan.types)[plan.arrays.type_of]
    mine = names == f"greyscale@{frames}"
    assert mine.any()
    expected = GREYSCALE.lasts(frames, np.array([float(cores)]), np.array([float(memory)]))[0]
    np.testing.assert_allclose((out.finished - out.started)[mine], expected)


def test_hosts_grant_what_fits_and_executors_of_the_same_shape_stay():
    of = batches(stages=[Stage(name="a", seconds=0, overhead=1.0)], partitions=[8])
    plan = of.plan(0)
    _, episode = play(of, 0, Always(slot_of(plan, 3, 1000, 8)))
    # Three hosts of four cpus hold three executors of three cores: 9 slots, one wave.
    took = episode.outcome.completed - episode.outcome.arrived
    np.testing.assert_allclose(took, [1.5, 1, 1, 1, 1, 1])
    _, episode = play(of, 0, Always(slot_of(plan, 1, 500, 5)))
    took = episode.outcome.completed - episode.outcome.arrived
    np.testing.assert_allclose(took, [2.5, 2, 2, 2, 2, 2])


def test_exact_estimates_are_the_truth_and_mean_ones_lack_luck():
    exact, mean = batches(sigma=0.4, estimates="exact"), batches(sigma=0.4)
    plan, other = exact.plan(1), mean.plan(1)
    truth = exact.truth(plan, 9)
    np.testing.assert_array_equal(truth.scale, plan.arrays.scale)
    np.testing.assert_array_equal(truth.seconds, plan.arrays.seconds)
    own = mean.truth(other, 1)
    np.testing.assert_array_equal(own.scale, truth.scale)
    np.testing.assert_array_equal(own.seconds, other.arrays.seconds)
    assert not np.array_equal(own.scale, mean.truth(other, 2).scale)
    long = batches(sigma=0.4, batches=500)
    luck = long.truth(long.plan(0), 0).scale / long.plan(0).arrays.scale
    assert luck.mean() == pytest.approx(1.0, abs=0.03)
    assert np.log(luck).std() == pytest.approx(0.4, abs=0.02)


def test_blind_estimates_are_one_second_and_the_truth_stays():
    blind, mean = batches(sigma=0.4, estimates="blind"), batches(sigma=0.4)
    plan = blind.plan(1)
    assert (plan.arrays.scale == 1).all()
    assert (plan.arrays.seconds == 1).all()
    true, own = blind.truth(plan, 1), mean.truth(mean.plan(1), 1)
    np.testing.assert_array_equal(true.scale, own.scale)
    np.testing.assert_array_equal(true.seconds, own.seconds)
    assert true.startup == 0.5


def test_batches_are_done_although_executors_are_preempted():
    quiet = batches(period=2.0, max_waiting=60.0)
    rough = batches(
        period=2.0,
        max_waiting=60.0,
        disturbances=Disturbances(preemptions=5.0, start_delay=0.01, seen_delay=0.02),
    )
    (_, calm), (_, wild) = play(quiet, 0), play(rough, 0)
    assert calm.scene.state.totals[N_KILLED] == 0 < wild.scene.state.totals[N_KILLED]
    assert wild.terminated
    assert wild.outcome.completed[-1] > calm.outcome.completed[-1]
    _, late = play(batches(max_waiting=0.6), 0)
    assert late.scene.state.totals[LATE] > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batches": 0}, "batches must be at least 1"),
        ({"stages": ()}, "stages must name"),
        ({"stages": (GREYSCALE, GREYSCALE)}, "unique"),
        ({"frames": (0, 10)}, "frames must be positive"),
        ({"memory": ()}, "memory must name"),
        ({"period": 0.0}, "period"),
        ({"startup": -1.0}, "startup"),
        ({"sigma": -1.0}, "sigma"),
        ({"max_waiting": 0.0}, "max_waiting"),
        ({"estimates": "none"}, "exact, mean, blind"),
        ({"disturbances": Disturbances(losses=10.0)}, "cannot be lost"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        batches(**change)


@pytest.mark.parametrize("wrong", [{"seconds": -1}, {"parallel": 1.5}, {"seconds": 0}])
def test_a_stage_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match="'x'"):
        Stage(**{"name": "x", "seconds": 1.0, **wrong})


def test_columns_of_durations_belong_to_their_shape():
    of = batches()
    w = of.plan(0).arrays
    greyscale_at_60 = w.seconds[-1] * 60 / of.unit
    for shape, cores, memory, _ in w.fleets:
        own = GREYSCALE.lasts(60, np.array([cores]), np.array([memory / MIB]))[0]
        assert greyscale_at_60[int(shape)] == pytest.approx(own)
