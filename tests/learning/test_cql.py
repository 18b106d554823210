"""The network's symmetries, the mask in every place it must hold, learning, and the artefact."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from tests import workloads
from tests.recordings import record, transitions
from tests.workloads import before, estimates, scenario
from toolkit.data.padding import Transitions
from toolkit.errors import ConfigError, CorruptError, SchemaError
from toolkit.learning.cql import CQL, MaskedCQLConfig, ScorerFactory
from toolkit.learning.networks import MASKED, CandidateScorer, Ensemble, Shape
from toolkit.policies import learned

G, F, K = 7, 4, 6


def observation(rng, n=5, k=K):
    mask = rng.random((n, k)) < 0.6
    mask[:, 0] = True
    parts = [rng.normal(size=(n, G)), rng.normal(size=(n, k * F)), mask]
    return torch.tensor(np.concatenate(parts, axis=1), dtype=torch.float32), mask


def scorer(seed=0):
    torch.manual_seed(seed)
    return CandidateScorer(Shape(globals=G, candidates=F, hidden=16)).eval()


def test_scores_move_with_their_candidates():
    rng = np.random.default_rng(0)
    x, mask = observation(rng)
    order = rng.permutation(K)
    g, c = x[:, :G], x[:, G : G + K * F].reshape(-1, K, F)
    moved = torch.cat([g, c[:, order].reshape(len(x), -1), x[:, G + K * F :][:, order]], dim=1)
    with torch.no_grad():
        first, value = scorer()(x)
        second, value_moved = scorer()(moved)
    torch.testing.assert_close(first[:, order], second)
    torch.testing.assert_close(value, value_moved)
    assert (first[~torch.tensor(mask)] == MASKED).all()


def test_absent_candidates_change_nothing():
    rng = np.random.default_rng(1)
    x, _ = observation(rng, k=3)
    g, c, m = x[:, :G], x[:, G : G + 3 * F], x[:, G + 3 * F :]
    noise = torch.tensor(rng.normal(size=(len(x), 2 * F)), dtype=torch.float32)
    padded = torch.cat([g, c, noise, m, torch.zeros(len(x), 2)], dim=1)
    with torch.no_grad():
        small, value = scorer()(x)
        large, value_large = scorer()(padded)
    torch.testing.assert_close(small, large[:, :3])
    torch.testing.assert_close(value, value_large)


def bandit(n=4000, seed=0):
    """One-step episodes: the best allowed slot is the one with the largest first feature.

    A slot that is never allowed looks best of all, so that only a mask keeps away from it.
    """
    rng = np.random.default_rng(seed)
    candidates = rng.normal(size=(n, K, F)).astype(np.float32)
    mask = rng.random((n, K)) < 0.7
    mask[:, 0] = True
    mask[:, K - 1] = False
    candidates[:, K - 1, 0] = 5.0
    weights = mask / mask.sum(axis=1, keepdims=True)
    action = np.array([rng.choice(K, p=p) for p in weights])
    shown = rng.normal(size=(n, G)), candidates.reshape(n, -1), mask
    observations = np.concatenate(shown, axis=1).astype(np.float32)
    return Transitions(
        observations=np.vstack([observations, np.zeros_like(observations[:1])]),
        sizes=(G, K, F),
        action=action.astype(np.int64),
        reward=candidates[np.arange(n), action, 0].astype(np.float64),
        elapsed=np.ones(n),
        terminal=np.ones(n, dtype=bool),
        following=np.full(n, n),
        propensity=weights[np.arange(n), action],
        episode=np.arange(n),
        agent=np.zeros(n, dtype=np.int8),
        described=None,
    )


SMALL = CQL(
    n_steps=300, batch_size=128, learning_rate=3e-3, alpha=0.01, n_critics=2,
    target_interval=50, hidden=32, report_every=100,
)  # fmt: skip


def flat(data):
    n = len(data)
    parts = [data.globals, data.candidates.reshape(n, -1), data.mask.astype(np.float32)]
    return torch.tensor(np.concatenate(parts, axis=1))


def test_cql_learns_what_pays_and_never_a_masked_slot():
    network = SMALL.fit(bandit(), discount_seconds=1.0, seed=0, on_metric=lambda *_: None)
    fresh = bandit(500, seed=1)
    with torch.no_grad():
        chosen = network(flat(fresh))[0].argmax(1).numpy()
    rows = np.arange(len(fresh))
    assert fresh.mask[rows, chosen].all()
    best = np.where(fresh.mask, fresh.candidates[:, :, 0], -np.inf).max(axis=1)
    regret = (best - fresh.candidates[rows, chosen, 0]).mean()
    assert regret < 0.1
    assert (fresh.candidates[:, K - 1, 0] == 5.0).all()


def test_exactly_n_steps_are_taken_and_reported():
    seen = []
    settings = dataclasses.replace(SMALL, n_steps=25, report_every=10)
    settings.fit(
        bandit(300), discount_seconds=1.0, seed=0, on_metric=lambda s, v: seen.append((s, v))
    )
    assert [s for s, _ in seen] == [10, 20, 25]
    assert all(math.isfinite(x) for _, v in seen for x in v.values())
    assert set(seen[0][1]) == {"loss", "td_loss", "conservative_loss", "q_data"}


def test_one_seed_gives_the_same_weights():
    settings = dataclasses.replace(SMALL, n_steps=20)
    first, again, other = (
        settings.fit(bandit(300), discount_seconds=1.0, seed=s, on_metric=lambda *_: None)
        for s in (3, 3, 4)
    )
    same = [
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(first.members[0].value.weight, other.members[0].value.weight) or any(
        not torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_the_target_and_the_conservative_term_ignore_masked_slots():
    """With every weight at zero all allowed scores are equal: both terms are known by hand."""
    config = MaskedCQLConfig(
        batch_size=4, gamma=0.5, alpha=1.0, n_critics=1,
        encoder_factory=ScorerFactory(globals=G, candidates=F, hidden=8),
    )  # fmt: skip
    algo = config.create(device="cpu:0")
    rng = np.random.default_rng(0)
    x, mask = observation(rng, n=4)
    algo.create_impl((x.shape[1],), K)
    with torch.no_grad():
        for p in algo._impl._modules.q_funcs.parameters():
            p.zero_()
        for p in algo._impl._modules.targ_q_funcs.parameters():
            p.zero_()
        for scorer_ in algo.scorers():
            scorer_.score[-1].bias.fill_(2.0)
    from d3rlpy.dataset import TransitionMiniBatch
    from d3rlpy.torch_utility import TorchMiniBatch

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
    target = algo._impl.compute_target(torch_batch)
    torch.testing.assert_close(target[:3], torch.full((3, 1), 2.0))
    loss = algo._impl.compute_loss(torch_batch, target)
    expected = np.log(mask.sum(axis=1)).mean()
    assert float(loss.conservative_loss) == pytest.approx(expected, rel=1e-5)
    # Errors are |2 - y|: y = 1 + 0.5**interval * 2, and 1 at the end; smooth L1 above 1.
    y = np.array([3.0, 2.0, 1.5, 1.0])
    error = np.abs(2.0 - y)
    smooth = np.where(error < 1, 0.5 * error**2, error - 0.5).mean()
    assert float(loss.td_loss) == pytest.approx(smooth, rel=1e-5)


@pytest.fixture(scope="module")
def trained():
    data = transitions(record())
    network = dataclasses.replace(SMALL, n_steps=50).fit(
        data, discount_seconds=3.0, seed=0, on_metric=lambda *_: None
    )
    return network, {**data.described.to_dict(), "lineage": {"algo": "cql"}}


def ask():
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))
    return workload, workloads.ask(before(workload), 2)


def test_a_policy_survives_its_files(trained, tmp_path):
    network, about = trained
    learned.save(network, about, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]
    workload, decision = ask()
    policy = learned.load(tmp_path, "mine")
    policy.reset(workload)
    network.eval()
    before = learned.Learned(name="x", scorer=network, about=about)
    np.testing.assert_array_equal(policy.scores(decision), before.scores(decision))
    p = policy.probabilities(decision)
    assert p.sum() == 1.0
    assert decision.mask[p.argmax()]


def test_features_that_differ_are_named(trained, tmp_path):
    network, about = trained
    changed = {**about, "candidates": [["colour", "1"], *about["candidates"][1:]]}
    learned.save(network, changed, tmp_path)
    workload, _ = ask()
    with pytest.raises(SchemaError, match=r"only there: \['colour'\]; only here: \['cpus'\]"):
        learned.load(tmp_path, "mine").reset(workload)


@pytest.mark.parametrize(
    "change",
    [
        {"policy_schema": 9},
        {"shape": {"globals": 1, "candidates": 1, "hidden": 10**9}},
        {"shape": {"globals": 3, "candidates": 12, "hidden": 32}},
        {"members": 0},
        {"members": 10**9},
        {"globals": None},
    ],
)
def test_a_policy_file_that_lies_is_refused(trained, tmp_path, change):
    network, about = trained
    learned.save(network, about, tmp_path)
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises((CorruptError, SchemaError)):
        learned.load(tmp_path, "mine")


def test_a_damaged_policy_is_refused(trained, tmp_path):
    network, about = trained
    learned.save(network, about, tmp_path)
    tensors = tmp_path / "policy.safetensors"
    whole = tensors.read_bytes()
    for share in (0.0, 0.3, 0.9):
        tensors.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CorruptError, match="cannot be read"):
            learned.load(tmp_path, "mine")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_steps": 0}, "algo.n_steps must be at least 1"),
        ({"alpha": -1.0}, "alpha must not be negative"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(SMALL, **change)


def test_an_ensemble_is_the_mean_of_its_members():
    rng = np.random.default_rng(0)
    x, _ = observation(rng)
    members = [scorer(0), scorer(1), scorer(2)]
    with torch.no_grad():
        mean = torch.stack([m(x)[0] for m in members]).mean(0)
        torch.testing.assert_close(Ensemble(members)(x)[0], mean)
