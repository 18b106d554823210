"""Many copies whose agents choose at once: each as its PettingZoo environment alone."""

import numpy as np
import pytest

from tests.envs.standins import SCENARIOS, Allocation
from toolkit.envs.environment import SchedulingEnv
from toolkit.envs.parallel import SchedulingParallelEnv
from toolkit.envs.stepping import GOING, TRUNCATED
from toolkit.envs.together import TogetherBatch


def drawn(mask, rng):
    return (mask * rng.random(mask.shape)).argmax(axis=-1)


@pytest.mark.parametrize(
    ("name", "noise"), [*((name, 0.0) for name in SCENARIOS), ("allocation", 0.2)]
)
def test_every_copy_is_the_environment_of_pettingzoo_alone(name, noise):
    N, ended = 3, 0
    many = TogetherBatch(SCENARIOS[name], range(5, 5 + N), noise)
    alone = [SchedulingParallelEnv(SCENARIOS[name], 5 + i, noise) for i in range(N)]
    shown = [None] * N
    for i, env in enumerate(alone):
        many.start(i)
        shown[i], _ = env.reset()
    assert many.agents == tuple(alone[0].possible_agents)
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = drawn(many.mask + 1e-9, rng)
        many.step(actions)
        for i, env in enumerate(alone):
            told = dict(zip(many.agents, actions[i].tolist(), strict=True))
            shown[i], paid, terminated, truncated, infos = env.step(told)
            for k, agent in enumerate(many.agents):
                np.testing.assert_array_equal(shown[i][agent]["globals"], many.globals[i, k])
                np.testing.assert_array_equal(shown[i][agent]["candidates"], many.candidates[i, k])
                np.testing.assert_array_equal(shown[i][agent]["action_mask"], many.mask[i, k])
                assert paid[agent] == many.rewards[i]
                assert infos[agent]["invalid"] == many.invalid[i, k]
            over = terminated[many.agents[0]] or truncated[many.agents[0]]
            assert over == (many.over[i] != GOING)
            if over:
                ended += 1
                many.start(i)
                shown[i], _ = env.reset()
    assert ended > 0


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_copy_goes_on_where_another_stood(noise):
    rng = np.random.default_rng(1)
    first, other = (TogetherBatch(Allocation(jobs=20), [3, 8], noise) for _ in range(2))
    for i in range(2):
        first.start(i)
    for _ in range(7):
        first.step(drawn(first.mask, rng))
    other.restore(first.state())
    for _ in range(5):
        np.testing.assert_array_equal(first.flat(), other.flat())
        np.testing.assert_array_equal(first.instants, other.instants)
        actions = drawn(first.mask, rng)
        first.step(actions)
        other.step(actions)
    assert first.rewards.any()
    np.testing.assert_array_equal(first.rewards, other.rewards)


def test_an_episode_that_is_cut_shows_what_would_be_asked_there():
    of = Allocation(jobs=12, horizon=2.0)
    many, alone = TogetherBatch(of, [4]), SchedulingEnv(of, 4)
    many.start(0)
    alone.reset()
    order = many.batch.scene(0).workload.arrays.order
    before = None
    while many.over[0] == GOING:
        before = many.globals[0].copy()
        many.step(np.ones((1, len(order)), dtype=int))
        for _ in order:
            observation, *_ = alone.step(1)
    assert many.over[0] == TRUNCATED
    assert not np.array_equal(before, many.globals[0])
    np.testing.assert_array_equal(many.globals[0, order[0]], observation["globals"])
    np.testing.assert_array_equal(many.candidates[0, order[0]], observation["candidates"])


def test_looking_moves_nothing():
    many = TogetherBatch(Allocation(), [4])
    many.start(0)
    state = many.batch.scene(0).state
    cursor = state.cursor.copy()
    before = many.flat()
    many._see(0, 1)
    np.testing.assert_array_equal(state.cursor, cursor)
    np.testing.assert_array_equal(many.flat(), before)
