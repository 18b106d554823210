"""A2C: Stable-Baselines3's own step, learning, masks, and going on after a cut."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.envs.standins import Allocation, Placement
from tests.learning.lessons import CutError, algorithm, cut_after, equal
from toolkit.errors import ConfigError
from toolkit.learning.learner import Given, run
from toolkit.learning.play import looked_at, play
from toolkit.policies import learned

SMALL = {
    "n_steps": 2048, "copies": 8, "rollout": 8, "hidden": 16, "gate_every": 8,
    "gate_workloads": 4, "report_every": 512, "learning_rate": 2e-3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def a2c(**settings):
    return dataclasses.replace(algorithm("a2c", **SMALL), **settings)


def given(seed=0, scenario=None, **more):
    return Given(discount_seconds=40.0, seed=seed, scenario=scenario or Placement(), **more)


@pytest.mark.parametrize("network", ["candidates", "mlp"])
def test_it_learns(network):
    trained = run(a2c(n_steps=20_480, network=network, hidden=32, gate_every=64), given())
    seeds = range(100, 124)
    learnt = play(trained.network, Placement(), seeds, sampled=False).returns
    untrained = run(a2c(n_steps=8), given()).network
    drawn = play(untrained, Placement(), seeds, sampled=True).returns
    assert learnt.mean() > drawn.mean() + 0.2 * abs(drawn.mean())
    assert trained.story["worst"] <= trained.story["start"] <= trained.story["best"]


def test_one_seed_gives_the_same_weights_and_exactly_n_steps_are_taken():
    algo = a2c(n_steps=4096 + 1128)
    first, again, other = (run(algo, given(s, Allocation())) for s in (1, 1, 2))
    assert equal(first.network, again.network)
    assert not equal(first.network, other.network)
    assert first.curve[-1][0] == algo.n_steps
    with pytest.raises(ConfigError, match="must be a multiple of"):
        run(a2c(n_steps=1001), given())


def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path):
    algo, file = a2c(n_steps=6144), tmp_path / "checkpoint.safetensors"
    whole = run(algo, given())
    with pytest.raises(CutError):
        run(algo, given(), checkpoint=file, due=cut_after(12))
    torch.rand(10)
    np.random.rand(3)
    resumed = run(algo, given(), checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert whole.story == resumed.story
    assert whole.curve == [(s, pytest.approx(v)) for s, v in resumed.curve]


def test_a_step_follows_the_gradient_of_the_whole_rollout():
    """Equation by equation: what Stable-Baselines3's step does to our networks."""
    settings = a2c(gae_lambda=1.0, entropy=0.01, value=0.5, clip_gradient=1e9)
    learner = settings.start(given())
    learner.step(8192)
    model = learner._model
    buffer = model.rollout_buffer
    buffer.buffer_size = 8
    model.collect_rollouts(learner._env, None, buffer, 8)
    # Sums of rewards, discounted by the clock, and the value of what follows.
    following = model.policy.predict_values(torch.from_numpy(model._last_obs))
    sums = following.detach().numpy().flatten()
    ended = np.asarray(model._last_episode_starts)
    for t in reversed(range(8)):
        sums = buffer.rewards[t] + buffer.discounts[t] * (1 - ended) * sums
        np.testing.assert_allclose(buffer.returns[t], sums, rtol=1e-4, atol=1e-4)
        ended = buffer.episode_starts[t]
    x = torch.from_numpy(buffer.observations.reshape(64, -1))
    log_p = torch.log_softmax(model.policy.actor(x)[0], 1)
    action = torch.from_numpy(buffer.actions.reshape(64, 1)).long()
    advantage = torch.from_numpy(buffer.advantages.flatten())
    gain = (log_p.gather(1, action).squeeze(1) * advantage).mean()
    values = model.policy.critic.values(x).squeeze(1)
    value_loss = nn.functional.mse_loss(values, torch.from_numpy(buffer.returns.flatten()))
    entropy = -(log_p.exp() * log_p).sum(1).mean()
    loss = -gain + 0.5 * value_loss - 0.01 * entropy
    wanted = torch.autograd.grad(loss, list(model.policy.parameters()), allow_unused=True)
    model.train()
    for parameter, gradient in zip(model.policy.parameters(), wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_masks_hold_and_its_artefact_acts_the_same(tmp_path):
    trained = run(a2c(), given())
    learned.save(trained.network, {"globals": [], "candidates": [], "lineage": {}}, tmp_path)
    again = learned.load(tmp_path, "mine").network
    x = looked_at(Placement(), copies=4, steps=16, seed=3)
    with torch.no_grad():
        scores = trained.network(x)[0]
        assert torch.equal(scores, again(x)[0])
    slots = scores.shape[1]
    assert (x[:, -slots:].gather(1, scores.argmax(1, keepdim=True)) > 0).all()


def test_values_are_told_in_the_unit_of_returns():
    learner = a2c(n_steps=12_288, gate_every=64).start(given())
    while learner.done < 12_288:
        learner.step(12_288 - learner.done)
    x = looked_at(Placement(), copies=4, steps=16, seed=3)
    worth = learner.worth(x)
    assert worth.shape == (64,)
    # Penalties alone: nothing is worth more than nothing, once that has been learnt.
    assert -2000 < worth.mean() < -5


@pytest.mark.parametrize(
    ("setting", "value"), [("n_steps", 0), ("rollout", 0), ("value", 0.0), ("clip_gradient", 0.0)]
)
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"algo.{setting}"):
        dataclasses.replace(a2c(), **{setting: value})


def test_users_of_stable_baselines_may_call_learn():
    from stable_baselines3 import A2C

    learner = a2c().start(given())
    model = learner._model
    assert isinstance(model, A2C)
    model.learn(1024)
    assert model.num_timesteps >= 1024
