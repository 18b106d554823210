"""The copies as Stable-Baselines3 knows them: each is what it is alone, and can be gone back to."""

import json

import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

from tests.envs.standins import Allocation, Placement
from toolkit.envs.environment import SchedulingEnv
from toolkit.envs.flat import FlatVecEnv


def flat(observation):
    parts = (observation["globals"], observation["candidates"].ravel(), observation["mask"])
    return np.concatenate(parts).astype(np.float32)


def pick(rng, masks):
    return np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1)


@pytest.mark.parametrize("scenario", [Allocation(), Placement()])
def test_every_copy_is_an_environment_of_its_own(scenario):
    many, ones = FlatVecEnv(scenario, 3, seed=5), [SchedulingEnv(scenario, 5 + i) for i in range(3)]
    shown = many.reset()
    for row, one in zip(shown, ones, strict=True):
        np.testing.assert_array_equal(row, flat(one.reset()[0]))
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(400):
        actions = pick(rng, many.action_masks())
        shown, rewards, dones, infos = many.step(actions)
        for i, one in enumerate(ones):
            observation, reward, terminated, truncated, info = one.step(actions[i])
            assert rewards[i] == pytest.approx(reward, rel=1e-6)
            assert many.elapsed[i] == info["elapsed"]
            assert dones[i] == (terminated or truncated)
            if dones[i]:
                ended += 1
                np.testing.assert_array_equal(infos[i]["terminal_observation"], flat(observation))
                assert infos[i]["TimeLimit.truncated"] == truncated
                assert infos[i]["metrics"] == info["metrics"]
                observation, _ = one.reset()
            np.testing.assert_array_equal(shown[i], flat(observation))
    assert ended > 3


@pytest.mark.parametrize("noise", [False, True])
def test_where_a_copy_stands_can_be_written_down(noise):
    from toolkit.scenarios.disturbances import Disturbances

    told = Disturbances(observation_noise=0.1 if noise else 0.0)
    scenario = Placement(disturbances=told)
    one, rng = FlatVecEnv(scenario, 2, seed=1), np.random.default_rng(1)
    one.reset()
    for _ in range(137):
        one.step(pick(rng, one.action_masks()))
    state = json.loads(json.dumps(one.state()))
    other = FlatVecEnv(scenario, 2, seed=99)
    np.testing.assert_array_equal(other.restore(state), one._observations())
    for _ in range(150):
        actions = pick(rng, one.action_masks())
        for a, b in zip(one.step(actions)[:3], other.step(actions)[:3], strict=True):
            np.testing.assert_array_equal(a, b)


def test_sb3s_own_maskable_ppo_learns_in_it():
    env = FlatVecEnv(Placement(), 4)
    assert is_masking_supported(env)
    env.reset()
    np.testing.assert_array_equal(np.stack(get_action_masks(env)), env.action_masks())
    model = MaskablePPO("MlpPolicy", env, n_steps=32, batch_size=64, n_epochs=1, seed=0)
    model.learn(256)
    assert model.num_timesteps == 256


def test_what_copies_do_not_have_is_said():
    env = FlatVecEnv(Placement(), 2)
    with pytest.raises(AttributeError, match="cannot be set"):
        env.set_attr("x", 1)
    with pytest.raises(AttributeError, match="action_masks"):
        env.env_method("render")
    assert env.env_is_wrapped(object) == [False, False]
