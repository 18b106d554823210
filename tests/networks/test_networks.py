"""The network's symmetries, its mask, and the same scores without torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.learning.lessons import F, G, K, observation
from toolkit.errors import ConfigError
from toolkit.networks.alone import Alone
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import MASKED, Shape


def scorer(seed=0, attention=False):
    torch.manual_seed(seed)
    made = CandidateScorer(Shape(globals=G, candidates=F, hidden=16, attention=attention)).eval()
    made.normalise(observation(np.random.default_rng(9), n=50)[0])
    return made


@pytest.mark.parametrize("attention", [False, True])
def test_scores_move_with_their_candidates(attention):
    rng = np.random.default_rng(0)
    x, mask = observation(rng)
    order = rng.permutation(K)
    g, c = x[:, :G], x[:, G : G + K * F].reshape(-1, K, F)
    moved = torch.cat([g, c[:, order].reshape(len(x), -1), x[:, G + K * F :][:, order]], dim=1)
    with torch.no_grad():
        first, value = scorer(attention=attention)(x)
        second, value_moved = scorer(attention=attention)(moved)
    torch.testing.assert_close(first[:, order], second)
    torch.testing.assert_close(value, value_moved)
    assert (first[~torch.tensor(mask)] == MASKED).all()


@pytest.mark.parametrize("attention", [False, True])
def test_absent_candidates_change_nothing(attention):
    rng = np.random.default_rng(1)
    x, _ = observation(rng, k=3)
    g, c, m = x[:, :G], x[:, G : G + 3 * F], x[:, G + 3 * F :]
    noise = torch.tensor(rng.normal(size=(len(x), 61 * F)), dtype=torch.float32)
    padded = torch.cat([g, c, noise, m, torch.zeros(len(x), 61)], dim=1)
    with torch.no_grad():
        small, value = scorer(attention=attention)(x)
        large, value_large = scorer(attention=attention)(padded)
    torch.testing.assert_close(small, large[:, :3])
    torch.testing.assert_close(value, value_large)


def test_attention_lets_candidates_look_at_one_another():
    """Without it two candidates differ by the same whatever a third is like within the pool."""
    x, _ = observation(np.random.default_rng(2), n=1)
    x[:, G + K * F :] = 1.0
    network = scorer(attention=True)
    weights = [p for name, p in network.named_parameters() if name.startswith("attention")]
    score = network(x)[0].sum()
    score.backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in weights)


@pytest.mark.parametrize("attention", [False, True])
def test_a_state_without_a_candidate_has_a_value(attention):
    x = torch.zeros(3, G + K * F + K)
    scores, value = scorer(attention=attention)(x)
    assert (scores == MASKED).all()
    assert torch.isfinite(value).all()
    (scores.clamp(min=-1).sum() + value.sum()).backward()


def test_values_alone_are_those_beside_the_scores():
    x, _ = observation(np.random.default_rng(3))
    network = scorer()
    with torch.no_grad():
        torch.testing.assert_close(network.values(x), network(x)[1])


def test_action_values_have_the_value_as_their_mean():
    x, mask = observation(np.random.default_rng(4))
    network = scorer()
    with torch.no_grad():
        q, value = network.action_values(x), network(x)[1]
    means = torch.stack([row[torch.tensor(m)].mean() for row, m in zip(q, mask, strict=True)])
    torch.testing.assert_close(means, value.squeeze(1))
    assert (q[~torch.tensor(mask)] == MASKED).all()


def test_features_are_standardised_over_allowed_slots_only():
    rng = np.random.default_rng(5)
    x, mask = observation(rng, n=400)
    c = x[:, G : G + K * F].reshape(-1, K, F)
    c[~torch.tensor(mask)] = 1e6
    network = scorer()
    network.normalise(x)
    shown = c[torch.tensor(mask)]
    logs = torch.sign(shown) * torch.log1p(shown.abs())
    torch.testing.assert_close(network.candidates_mean, logs.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        network.candidates_std, logs.std(0, unbiased=False), atol=1e-5, rtol=1e-5
    )


def test_an_ensemble_is_the_mean_of_its_members():
    x, mask = observation(np.random.default_rng(0))
    members = [scorer(0), scorer(1), scorer(2)]
    with torch.no_grad():
        mean = torch.stack([m(x)[0] for m in members]).mean(0)
        torch.testing.assert_close(Ensemble(members)(x)[0], mean)
        cool = Ensemble(members, temperature=0.1)(x)[0]
    allowed = torch.tensor(mask)
    torch.testing.assert_close(cool[allowed], mean[allowed] * 10)
    assert (cool[~allowed] == MASKED).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    members=st.integers(1, 4),
    attention=st.booleans(),
    temperature=st.sampled_from([0.03, 1.0]),
)
def test_without_torch_the_scores_are_the_same(seed, members, attention, temperature):
    rng = np.random.default_rng(seed)
    x, mask = observation(rng, n=1)
    x[:, : G + K * F] *= 10 ** rng.uniform(-3, 6)
    network = Ensemble([scorer(i, attention) for i in range(members)], temperature).eval()
    with torch.no_grad():
        expected = network(x)[0][0].numpy()
    told = Alone(network).scores(
        x[0, :G].numpy(), x[0, G : G + K * F].reshape(K, F).numpy(), mask[0]
    )
    np.testing.assert_allclose(told, expected, rtol=2e-4, atol=2e-5 / temperature)


@pytest.mark.parametrize(
    "sizes", [{"hidden": 0}, {"globals": 10**9}, {"candidates": 1.5}, {"hidden": 18}]
)
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ConfigError):
        Shape(**{"globals": 2, "candidates": 2, "hidden": 8, "attention": True, **sizes})
