"""Many copies in one call: each as if it were alone, bit for bit."""

import gymnasium
import numpy as np
import pytest

from tests.envs.standins import SCENARIOS, Placement
from toolkit.envs.environment import SchedulingEnv
from toolkit.envs.vector import BatchedEnv
from toolkit.errors import ConfigError


def draw(mask, rng):
    return (mask * rng.random(mask.shape)).argmax(axis=1)


def equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            equal(one[key], other[key])
    else:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "noise"), [*((name, 0.0) for name in SCENARIOS), ("advised", 0.1)]
)
def test_every_copy_is_what_it_would_be_alone(name, noise):
    of, N = SCENARIOS[name], 3
    together = BatchedEnv(of, N, seed=3, observation_noise=noise)
    alone = gymnasium.vector.SyncVectorEnv(
        [lambda i=i: SchedulingEnv(of, seed=3 + i, observation_noise=noise) for i in range(N)]
    )
    assert together.observation_space == alone.observation_space
    assert together.action_space == alone.action_space
    assert together.single_observation_space == alone.single_observation_space
    rng = np.random.default_rng(0)
    for seed in (None, 11, [4, 4, 5]):
        ends = 0
        one, other = together.reset(seed=seed), alone.reset(seed=seed)
        for _ in range(100):
            for a, b in zip(one, other, strict=True):
                equal(a, b)
            actions = draw(one[0]["mask"] + 1e-9, rng)
            one, other = together.step(actions), alone.step(actions)
            ends += int((one[2] | one[3]).sum())
        assert ends >= N


def test_an_observation_is_the_callers_unless_told_otherwise():
    for copy in (True, False):
        env = BatchedEnv(Placement(), 3, copy=copy)
        first, info = env.reset(seed=0)
        kept = first["candidates"].copy()
        second = env.step(first["mask"].argmax(axis=1))[0]
        assert np.shares_memory(first["candidates"], second["candidates"]) != copy
        assert np.shares_memory(first["mask"], info["action_mask"]) != copy
        assert np.array_equal(first["candidates"], kept) == copy
        assert second in env.observation_space


def test_a_copy_starts_anew_in_the_step_after_its_end():
    env = BatchedEnv(Placement(), 2, seed=0)
    observation, _ = env.reset()
    rng = np.random.default_rng(0)
    seeds = [env.scene(i).workload.seed for i in range(2)]
    while True:
        observation, _, terminated, truncated, info = env.step(draw(observation["mask"], rng))
        if terminated.any():
            break
    assert not truncated.any()
    np.testing.assert_array_equal(info["_metrics"], terminated)
    ended = int(np.flatnonzero(terminated)[0])
    assert env.scene(ended).workload.seed == seeds[ended]
    observation, paid, terminated, _, info = env.step(draw(observation["mask"], rng))
    assert env.scene(ended).workload.seed != seeds[ended]
    assert paid[ended] == 0 and not terminated[ended] and info["elapsed"][ended] == 0


def test_seeds_must_be_one_for_each_copy():
    with pytest.raises(ConfigError, match="3 copies, but 2 seeds"):
        BatchedEnv(Placement(), 3).reset(seed=[1, 2])
    with pytest.raises(ConfigError, match="at least one copy"):
        BatchedEnv(Placement(), 0)
