"""The Gymnasium environment: what checkers ask for, and the same episodes as a rollout."""

import copy
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils import env_checker

from tests.envs.standins import SCENARIOS, Configuration, Placement, small
from toolkit import reward
from toolkit.catalogue import Catalogue
from toolkit.decision import last_seen
from toolkit.envs.environment import SchedulingEnv
from toolkit.errors import ConfigError, ToolkitError
from toolkit.live import rollout
from toolkit.scenarios.disturbances import Disturbances
from toolkit.simulator.simulator import Simulator
from toolkit.simulator.state import LOST, RETURNED

NAMES = Catalogue().groups["scenario"]


def play(env, seed=None, most=100_000, rng=None):
    """Play one episode with random allowed slots; return its steps, each led by the observation."""
    rng = rng or np.random.default_rng(0)
    observation, info = env.reset(seed=seed)
    steps = []
    for _ in range(most):
        action = int(rng.choice(np.flatnonzero(observation["mask"])))
        before = observation
        observation, paid, terminated, truncated, info = env.step(action)
        steps.append((before, action, paid, info, observation))
        if terminated or truncated:
            break
    return steps


@pytest.mark.parametrize("name", [*SCENARIOS, *NAMES])
@pytest.mark.filterwarnings("ignore")
def test_gymnasium_finds_nothing_to_say(name):
    env_checker.check_env(SchedulingEnv(small(name)), skip_render_check=True)


@pytest.mark.parametrize("name", [*SCENARIOS, *NAMES])
def test_stable_baselines_finds_nothing_to_say(name):
    from stable_baselines3.common.env_checker import check_env

    with warnings.catch_warnings():
        # Features per candidate are a table; the checker would rather have a vector.
        warnings.filterwarnings("ignore", message=".*unconventional shape")
        check_env(SchedulingEnv(small(name)))


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_episode_is_that_of_a_rollout(name):
    of = SCENARIOS[name]
    rng = np.random.default_rng(1)

    def choose(decision):
        return int(rng.choice(np.flatnonzero(decision.mask))), None

    episode = rollout(Simulator(of, 5), of.plan(5), choose, horizon=of.horizon, weights=of.weights)
    env = SchedulingEnv(of)
    observation, info = env.reset(seed=5)
    for i, step in enumerate(episode.steps):
        assert not info.get("metrics")
        np.testing.assert_array_equal(observation["globals"], step.decision.globals)
        np.testing.assert_array_equal(observation["candidates"], step.decision.candidates)
        np.testing.assert_array_equal(observation["mask"], step.decision.mask)
        assert info["time"] == step.decision.time
        observation, paid, terminated, truncated, info = env.step(step.action)
        assert paid == pytest.approx(step.reward, rel=1e-12, abs=1e-9)
        np.testing.assert_array_equal([*info["components"].values()], step.components)
        assert info["elapsed"] == pytest.approx(step.elapsed, abs=1e-12)
        assert terminated == (i == len(episode.steps) - 1)
        assert not truncated
    np.testing.assert_array_equal(env.scene.state.finished, episode.outcome.finished)


@pytest.mark.parametrize("name", SCENARIOS)
def test_rewards_sum_to_the_weighted_running_sums(name):
    of = SCENARIOS[name]
    env = SchedulingEnv(of)
    steps = play(env, seed=2)
    totals = env.scene.state.totals[reward.columns(of.weights)]
    paid = sum(step[2] for step in steps)
    assert paid == pytest.approx(float(reward.signed(of.weights) @ totals))
    named = dict(zip(reward.names(of.weights), totals, strict=True))
    for term, total in named.items():
        assert sum(s[3]["components"][term] for s in steps) == pytest.approx(total)
    metrics = steps[-1][3]["metrics"]
    assert metrics["return"] == pytest.approx(paid)
    assert metrics["decisions"] == len(steps)
    assert metrics["unfinished"] == 0
    latency = env.scene.state.completed - env.scene.state.arrived
    assert metrics["latency_mean"] == pytest.approx(latency.mean(), abs=0.01)


def test_choices_of_one_instant_are_paid_with_the_last():
    env = SchedulingEnv(SCENARIOS["placement"])
    steps = play(env, seed=0)
    assert any(s[3]["elapsed"] == 0 for s in steps)
    assert all(s[2] == 0 for s in steps if s[3]["elapsed"] == 0)


def test_a_masked_slot_is_counted_and_the_first_allowed_one_is_taken():
    blind, seeing = SchedulingEnv(Placement()), SchedulingEnv(Placement())
    observation, _ = blind.reset(seed=0)
    seeing.reset(seed=0)
    for _ in range(20):
        masked = int(np.flatnonzero(observation["mask"] == 0)[-1])
        allowed = int(np.flatnonzero(observation["mask"])[0])
        observation, paid, over, _, info = blind.step(masked)
        other, same, _, _, told = seeing.step(allowed)
        assert info["invalid"] and not told["invalid"]
        assert paid == same
        np.testing.assert_array_equal(observation["candidates"], other["candidates"])
        assert not over
    assert blind._batch.metrics(0)["invalid"] == 20


@pytest.mark.parametrize("action", [-1, 99])
def test_a_slot_that_does_not_exist_counts_as_masked(action):
    env = SchedulingEnv(Placement())
    env.reset(seed=0)
    assert env.step(action)[4]["invalid"]


@pytest.mark.parametrize("name", ["allocation", "placement", "configuration"])
def test_the_horizon_truncates_and_shows_what_would_be_asked_there(name):
    of = replace(SCENARIOS[name], horizon=1.2 if name == "allocation" else 40.0)
    env = SchedulingEnv(of)
    steps = play(env, seed=0)
    before, _, _, info, after = steps[-1]
    assert info["time"] >= of.horizon
    assert info["metrics"]["unfinished"] > 0
    seen = last_seen(env._batch.scene(0))
    if seen is None:  # Nobody knows the next batch.
        assert name == "configuration"
        for key in before:
            np.testing.assert_array_equal(before[key], after[key])
    else:
        np.testing.assert_array_equal(after["globals"], seen.globals)
        np.testing.assert_array_equal(after["candidates"], seen.candidates)
        np.testing.assert_array_equal(after["mask"], seen.mask)
        assert not np.array_equal(before["globals"], after["globals"])
    _, paid, terminated, truncated, _ = env.step(0)
    assert (paid, terminated, truncated) == (0.0, False, True)


def test_jobs_that_can_never_finish_wait_until_the_horizon():
    lost = tuple((30.0, m, LOST) for m in range(3))
    of = Placement(outages=lost, rate=1.0, horizon=500.0)
    env = SchedulingEnv(of)
    steps = play(env, seed=0)
    info = steps[-1][3]
    assert info["time"] == of.horizon
    assert info["metrics"]["unfinished"] == of.jobs
    assert info["metrics"]["return"] < -of.jobs * 400
    endless = SchedulingEnv(replace(of, horizon=np.inf))
    info = play(endless, seed=0)[-1][3]
    assert info["time"] == 30.0 and info["metrics"]["unfinished"] == of.jobs


def test_observations_stay_finite_while_nodes_come_and_go():
    outages = tuple((10.0 * (i + 1), i % 3, LOST if i % 6 < 3 else RETURNED) for i in range(60))
    env = SchedulingEnv(Placement(outages=outages, advice=True))
    for observation, *_ in play(env, seed=1):
        assert np.isfinite(observation["globals"]).all()
        assert np.isfinite(observation["candidates"]).all()


def test_a_seed_names_the_workload_and_all_that_follow():
    one, other, third = (SchedulingEnv(Placement(), seed=s) for s in (7, 0, 0))
    seen = []
    for env, seed in ((one, None), (other, 7), (third, None)):
        env.reset(seed=seed)
        seeds = [env.scene.workload.seed]
        for _ in range(3):
            env.reset()
            seeds.append(env.scene.workload.seed)
        seen.append(seeds)
    assert seen[0] == seen[1] != seen[2]
    assert seen[0][0] == 7 and seen[2][0] == 0
    assert len(set(seen[0])) == 4


def test_noise_errs_in_proportion_and_never_in_the_mask():
    exact, blurred = SchedulingEnv(Placement()), SchedulingEnv(Placement(), observation_noise=0.1)
    errors = []
    for a, b in zip(play(exact, seed=3), play(blurred, seed=3), strict=True):
        np.testing.assert_array_equal(a[0]["mask"], b[0]["mask"])
        assert a[1:3] == b[1:3]
        true, told = a[0]["candidates"], b[0]["candidates"]
        assert (told[true == 0] == 0).all()
        errors.append(told[true != 0] / true[true != 0] - 1)
    errors = np.concatenate(errors)
    assert errors.std() == pytest.approx(0.1, rel=0.1)
    assert errors.mean() == pytest.approx(0, abs=0.01)
    unreliable = replace(Placement(), disturbances=Disturbances(observation_noise=0.1))
    again = play(SchedulingEnv(unreliable), seed=3)
    np.testing.assert_array_equal(again[-1][0]["globals"], b[0]["globals"])


def test_it_says_what_is_missing():
    with pytest.raises(ConfigError, match="observation_noise"):
        SchedulingEnv(Placement(), observation_noise=-1.0)
    with pytest.raises(ToolkitError, match="call reset"):
        SchedulingEnv(Placement()).step(0)


def test_workloads_of_other_sizes_are_refused():
    class Growing(Placement):
        def plan(self, seed):
            return Placement(nodes=20 + seed).plan(seed)

    env = SchedulingEnv(Growing())
    env.reset(seed=0)
    with pytest.raises(ToolkitError, match="seed 5"):
        env.reset(seed=5)


@pytest.mark.parametrize("name", ["allocation", "advised", "duplicating", "configuration"])
def test_a_copy_goes_on_from_the_same_moment(name):
    env = SchedulingEnv(SCENARIOS[name], observation_noise=0.1)
    play(env, seed=1, most=3)
    twin = copy.deepcopy(env)
    seen = []
    for one in (env, twin):
        rng = np.random.default_rng(2)
        paid = []
        for _ in range(60):
            action = int(rng.choice(np.flatnonzero(one.action_masks())))
            observation, reward_, terminated, _, info = one.step(action)
            paid.append((reward_, info["time"], float(observation["candidates"].sum())))
            if terminated:
                one.reset()
        seen.append(paid)
    assert seen[0] == seen[1]


def test_a_picture_of_what_has_run_so_far():
    env = gymnasium.wrappers.OrderEnforcing(SchedulingEnv(Configuration(), render_mode="rgb_array"))
    env.reset(seed=0)
    blank = env.render()
    assert blank.dtype == np.uint8 and blank.shape[2] == 3 and (blank == 255).all()
    env.step(0)
    shown = env.render()
    assert shown.dtype == np.uint8 and shown.shape[2] == 3 and not (shown == 255).all()
    assert SchedulingEnv(Configuration()).render() is None
