"""Masks in the target and in the conservative term, by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from d3rlpy.dataset import TransitionMiniBatch
from d3rlpy.torch_utility import TorchMiniBatch

from tests.learning.lessons import SMALL, F, G, K, algorithm, learn, observation, transitions
from toolkit.errors import ConfigError
from toolkit.learning.cql import MaskedCQLConfig


def test_the_target_and_the_conservative_term_ignore_masked_slots():
    """With every weight at zero all allowed values are equal: both terms are known by hand."""
    config = MaskedCQLConfig(
        batch_size=4, gamma=0.5, conservative=1.0, n_critics=1, globals=G, candidates=F, hidden=8
    )
    algo = config.create(device="cpu:0")
    x, mask = observation(np.random.default_rng(0), n=4)
    algo.create_impl((x.shape[1],), K)
    modules = algo.impl.modules
    with torch.no_grad():
        for networks in (modules.q_funcs, modules.targ_q_funcs):
            for p in networks.parameters():
                p.zero_()
            networks[0].value.bias.fill_(2.0)
    numpy_x = x.numpy()
    batch = TransitionMiniBatch(
        observations=numpy_x,
        actions=np.zeros((4, 1), dtype=np.float32),
        rewards=np.ones((4, 1), dtype=np.float32),
        next_observations=np.concatenate([numpy_x[:3], np.zeros_like(numpy_x[:1])]),
        next_actions=np.zeros((4, 1), dtype=np.float32),
        terminals=np.array([[0], [0], [0], [1]], dtype=np.float32),
        intervals=np.array([[0], [1], [2], [1]], dtype=np.float32),
        transitions=[],
    )
    torch_batch = TorchMiniBatch.from_batch(
        batch, gamma=0.5, compute_returns_to_go=False, device="cpu:0"
    )
    # r + 0.5**interval * 2, and r at the end.
    y = torch.tensor([[3.0], [2.0], [1.5], [1.0]])
    target = algo.impl.compute_target(torch_batch)
    torch.testing.assert_close(target, y)
    loss = algo.impl.compute_loss(torch_batch, target)
    expected = np.log(mask.sum(axis=1)).mean()
    assert float(loss["conservative_loss"]) == pytest.approx(expected, rel=1e-5)
    # Errors are |2 - y|, squared and halved below 1, less a half above.
    error = np.abs(2.0 - y.numpy())
    smooth = np.where(error < 1, 0.5 * error**2, error - 0.5).mean()
    assert float(loss["td_loss"]) == pytest.approx(smooth, rel=1e-5)


def test_what_the_data_lack_is_held_down():
    """A slot that was never taken is worth less the greater alpha is."""
    rng = np.random.default_rng(0)
    n = 1500
    candidates = rng.normal(size=(n, 2, F)).astype(np.float32)
    candidates[:, 0, 0], candidates[:, 1, 0] = -1.0, 1.0
    data = transitions(
        rng.normal(size=(n, G)), candidates, np.ones((n, 2), bool), np.zeros(n), rng.normal(size=n)
    )
    gaps = []
    for alpha in (0.0, 0.3):
        algo = algorithm("cql", **{**SMALL, "alpha": alpha, "n_critics": 1})
        network = learn(algo, data).network
        with torch.no_grad():
            q = network.members[0].action_values(torch.from_numpy(data.observations[:-1]))
        gaps.append(float((q[:, 1] - q[:, 0]).mean()))
    assert gaps[1] < gaps[0] - 0.5


def test_alpha_may_not_be_negative():
    with pytest.raises(ConfigError, match="alpha must not be negative"):
        dataclasses.replace(algorithm("cql"), alpha=-1.0)
