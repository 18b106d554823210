"""Values of a chain that are known by hand, offline; learning by playing."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.envs.standins import Placement
from tests.learning.lessons import (
    PLAYED,
    SMALL,
    CutError,
    F,
    G,
    algorithm,
    cut_after,
    equal,
    learn,
    transitions,
)
from toolkit.errors import ConfigError
from toolkit.learning.exploration import Play
from toolkit.learning.learner import Given, run
from toolkit.learning.play import play


def chain(n=3000, seed=0):
    """Episodes of three steps of half a τ each: the right slot of two pays 1, the other 0."""
    rng = np.random.default_rng(seed)
    candidates = rng.normal(size=(3 * n, 2, F)).astype(np.float32)
    right = rng.integers(0, 2, 3 * n)
    candidates[np.arange(3 * n), right, 0], candidates[np.arange(3 * n), 1 - right, 0] = 1.0, -1.0
    globals_ = np.zeros((3 * n, G))
    globals_[:, 0] = np.tile([0.0, 1.0, 2.0], n)
    action = rng.integers(0, 2, 3 * n)
    last = np.tile([False, False, True], n)
    return transitions(
        globals_, candidates, np.ones((3 * n, 2), bool), action, action == right,
        elapsed=np.full(3 * n, 0.5),
        terminal=last,
        following=np.where(last, 3 * n, np.arange(3 * n) + 1),
        episode=np.repeat(np.arange(n), 3),
    )  # fmt: skip


def test_values_of_a_chain_are_those_known_by_hand():
    data = chain()
    settings = {**SMALL, "n_steps": 1500, "target_interval": 25, "n_critics": 1}
    trained = learn(algorithm("dqn", **settings), data)
    x = torch.from_numpy(data.observations[:3])
    with torch.no_grad():
        q = trained.network.members[0].action_values(x).numpy()
    # The learner divides rewards by the spread of discounted returns.
    from toolkit.learning.offline import return_scale

    g = np.exp(-0.5)
    best = np.array([1 + g + g * g, 1 + g, 1.0]) / return_scale(data, 1.0)
    right = data.candidates[:3, :, 0].argmax(axis=1)
    np.testing.assert_allclose(q[np.arange(3), right], best, atol=0.12)
    wrong = best - 1 / return_scale(data, 1.0)
    np.testing.assert_allclose(q[np.arange(3), 1 - right], wrong, atol=0.12)


@pytest.fixture
def playing():
    play_ = Play(**PLAYED)
    return dataclasses.replace(
        algorithm("dqn_online"), n_steps=60, batch_size=64, hidden=16, report_every=20, play=play_
    )


def given(seed=0):
    return Given(discount_seconds=40.0, seed=seed, scenario=Placement())


def test_one_seed_gives_the_same_weights_where_it_plays(playing):
    torch.set_num_threads(1)
    first, again, other = (run(playing, given(s)).network for s in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_a_cut_goes_on_where_it_plays(playing, tmp_path):
    torch.set_num_threads(1)
    whole = run(playing, given())
    file = tmp_path / "checkpoint.safetensors"

    with pytest.raises(CutError):
        run(playing, given(), checkpoint=file, due=cut_after(40))
    resumed = run(playing, given(), checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert whole.story == resumed.story


def test_playing_it_learns_to_beat_what_it_began_with(playing):
    torch.set_num_threads(1)
    settings = dataclasses.replace(playing, n_steps=600, learning_rate=1e-3, target_interval=50)
    trained = run(settings, given())
    seeds = range(100, 116)
    learnt = play(trained.network, Placement(), seeds, sampled=False).returns.mean()
    untrained = run(dataclasses.replace(playing, n_steps=1), given()).network
    drawn = play(untrained, Placement(), seeds, sampled=True).returns.mean()
    assert learnt > drawn


def test_what_makes_no_sense_is_refused(playing):
    with pytest.raises(ConfigError, match="multi_step must be 1"):
        dataclasses.replace(playing, multi_step=3)
    with pytest.raises(ConfigError, match="epsilon must fall"):
        Play(**{**PLAYED, "epsilon": 0.1, "epsilon_end": 0.5})
    with pytest.raises(ConfigError, match="plays a scenario"):
        playing.start(Given(discount_seconds=1.0, seed=0))


def test_exploration_falls_and_stays():
    play_ = Play(**PLAYED)
    assert [play_.share(x) for x in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [1.0, 0.525, 0.05, 0.05]
    )
