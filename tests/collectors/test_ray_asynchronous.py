"""A3C on a real Ray: gradients come late, and what is learnt is learnt."""

import dataclasses

import numpy as np
import pytest
import ray
import torch

from tests.learning.lessons import algorithm, equal
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.learning.a3c import Placed, Player
from toolkit.learning.learner import Given
from toolkit.learning.play import play
from toolkit.learning.shared import Shared, Staleness

SMALL = {
    "n_steps": 4096 + 8192, "actors": 2, "copies": 4, "rollout": 8, "round": 4096, "hidden": 16,
    "gate_workloads": 4, "report_every": 4096, "learning_rate": 2e-3,
}  # fmt: skip


def a3c(**settings):
    return dataclasses.replace(algorithm("a3c", **SMALL), **settings)


def given(seed=0):
    return Given(discount_seconds=3.0, seed=seed, scenario=scenario_of("genomics_tiny"))


@pytest.mark.engine
def test_learners_share_weights_and_learn():
    torch.set_num_threads(1)
    learner = a3c().start(given())
    scenario, seeds = scenario_of("genomics_tiny"), range(100, 116)
    drawn = play(learner.present(), scenario, seeds, sampled=True).returns.mean()
    while learner.done < a3c().n_steps:
        taken, measured = learner.step(a3c().n_steps - learner.done)
        assert taken == 4096
    assert not ray.is_initialized()
    learnt = play(learner.network(), scenario, seeds, sampled=False).returns.mean()
    assert learnt > drawn + 0.05 * abs(drawn)
    story = learner.story()
    shares = [v for k, v in story.items() if k.startswith("stale_") and k != "stale_most"]
    assert sum(shares) == pytest.approx(1.0)
    assert 0 < story["stale"] <= story["stale_most"]
    assert 0 < measured["stale_most"] <= story["stale_most"]
    # Who goes on from a checkpoint has the same weights, moments and counts.
    fresh = a3c().start(given())
    fresh.restore(learner.state())
    assert fresh.done == learner.done
    assert fresh.story() == story
    assert equal(fresh.present(), learner.present())
    moments = (
        x._model.policy.optimizer.state_dict()["state"][0]["square_avg"] for x in (fresh, learner)
    )
    assert torch.equal(*moments)


def test_a_gradient_is_applied_to_what_the_weights_are_by_then():
    weights = [np.ones(3, dtype=np.float32), np.zeros(2, dtype=np.float32)]
    plain = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
    rmsprop = torch.optim.RMSprop(plain, alpha=0.99, eps=1e-5)
    shared = Shared(weights, rmsprop.state_dict(), copies=4, rollout=8)
    shared.grant(4 * 20, rate=0.01)
    one, two = shared.pull(), shared.pull()
    assert (one.version, one.steps, two.version, two.steps) == (0, 8, 0, 8)
    rng = np.random.default_rng(0)
    for group in rmsprop.param_groups:
        group["lr"] = 0.01
    for version, left in ((0, 4), (0, None), (1, None)):
        gradient = rng.normal(size=3).astype(np.float32)
        errand = shared.push(version, [gradient, None], {"loss": float(version)}, [])
        assert (errand and errand.steps) == left
        plain[0].grad = torch.from_numpy(gradient)
        rmsprop.step()
    outcome = shared.outcome()
    assert outcome.stale == [0, 1, 1]
    assert outcome.told == {"loss": pytest.approx(1 / 3)}
    np.testing.assert_array_equal(outcome.weights[0], plain[0].detach().numpy())
    np.testing.assert_array_equal(outcome.weights[1], weights[1])


def test_a_learner_computes_the_gradient_at_the_weights_that_it_is_given():
    settings, torch_of = a3c(), torch.from_numpy
    learner = settings.start(given())
    policy = learner._model.policy
    placed = Placed(
        settings=settings, scenario=scenario_of("genomics_tiny"), shape=policy.critic.shape,
        weights={k: v.numpy() for k, v in policy.state_dict().items()},
        discount_seconds=3.0, scale=1.0, seed=0, number=1, done=0,
    )  # fmt: skip
    player = Player(placed)
    weights = [p.detach().numpy() + 0.01 for p in policy.parameters()]
    gradients, measured, _ = player.gradients(weights, 8)
    now = list(player._model.policy.parameters())
    assert all(torch.equal(p, torch_of(w)) for p, w in zip(now, weights, strict=True))
    norm = np.sqrt(sum((g**2).sum() for g in gradients if g is not None))
    assert 0 < norm <= settings.clip_gradient + 1e-4
    assert np.isfinite(list(measured.values())).all()
    again, _, _ = Player(placed).gradients(weights, 8)
    for a, b in zip(gradients, again, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


def test_staleness_is_told_as_mean_maximum_and_shares():
    seen = Staleness()
    seen.add([0, 0, 1, 3, 2])
    seen.add([])
    seen.add([17, 9, 5])
    assert seen.told() == {
        "stale": 37 / 8, "stale_most": 17.0, "stale_0": 0.25, "stale_1": 0.125,
        "stale_2_to_3": 0.25, "stale_4_to_7": 0.125, "stale_8_to_15": 0.125,
        "stale_from_16": 0.125,
    }  # fmt: skip


@pytest.mark.parametrize(("setting", "value"), [("actors", 0), ("actors", 999), ("round", 1001)])
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"algo.{setting}"):
        a3c(**{setting: value})
