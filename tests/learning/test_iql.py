"""The expectile, the advantage weights, and that no unseen slot is asked for."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import optimize

from tests.learning.lessons import SMALL, F, G, algorithm, learn, transitions
from toolkit.errors import ConfigError
from toolkit.learning.iql import expectile_loss


@pytest.mark.parametrize("expectile", [0.5, 0.7, 0.9])
def test_the_minimum_is_the_expectile(expectile):
    """At the minimum the weighted deviations above and below are in balance."""
    x = torch.tensor(np.random.default_rng(0).exponential(size=400))
    best = optimize.minimize_scalar(lambda m: float(expectile_loss(x - m, expectile)), (0, 5)).x
    above, below = (x - best).clamp(min=0).mean(), (best - x).clamp(min=0).mean()
    assert expectile * float(above) == pytest.approx((1 - expectile) * float(below), rel=1e-4)
    if expectile == 0.5:
        assert best == pytest.approx(float(x.mean()), rel=1e-4)


def test_by_hand():
    d = torch.tensor([2.0, -1.0, 0.0])
    assert float(expectile_loss(d, 0.9)) == pytest.approx((0.9 * 4 + 0.1 * 1) / 3)


def bandit_of_two(n=3000, seed=0):
    """The first slot pays 1 and the second 0; three of four times the worse is taken."""
    rng = np.random.default_rng(seed)
    candidates = rng.normal(size=(n, 3, F)).astype(np.float32) * 0.1
    candidates[:, :, 0] = [1.0, -1.0, 9.0]
    mask = np.ones((n, 3), dtype=bool)
    action = (rng.random(n) < 0.75).astype(int)  # the third slot is never taken
    return transitions(rng.normal(size=(n, G)), candidates, mask, action, action == 0)


def shares(beta):
    settings = {**SMALL, "n_steps": 600, "beta": beta, "expectile": 0.5, "tau": 0.05}
    data = bandit_of_two()
    network = learn(algorithm("iql", **settings), data).network
    with torch.no_grad():
        x = torch.from_numpy(data.observations[:200])
        return torch.softmax(network(x)[0], 1).mean(0).numpy()


def test_without_weights_it_clones():
    np.testing.assert_allclose(shares(0.0), [0.25, 0.75, 0.0], atol=0.05)


def test_weights_are_the_exponential_of_the_advantage():
    """A(0) - A(1) is one reward, by the spread of returns: the odds grow by exp(beta / spread)."""
    beta = 1.0
    spread = bandit_of_two().reward.std()
    odds = 0.25 / 0.75 * np.exp(beta / spread)
    p = shares(beta)
    assert p[0] / p[1] == pytest.approx(odds, rel=0.25)
    assert p[2] < 0.02


@pytest.mark.parametrize(
    ("setting", "value"), [("expectile", 0.3), ("expectile", 1.0), ("beta", -1.0), ("tau", 0.0)]
)
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ConfigError, match=setting):
        dataclasses.replace(algorithm("iql"), **{setting: value})
