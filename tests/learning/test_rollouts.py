"""Advantages with discounts that follow the clock, against sums that are plainly right."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.learning.rollouts import IrregularRollout, spread_of_returns


def filled(rng, T, N, lam, slots=3):
    rollout = IrregularRollout(
        T,
        spaces.Box(-1, 1, (2,), np.float32),
        spaces.Discrete(slots),
        "cpu",
        gae_lambda=lam,
        n_envs=N,
    )
    rows = {
        "rewards": rng.normal(size=(T, N)).astype(np.float32),
        "values": rng.normal(size=(T, N)).astype(np.float32),
        "discounts": rng.uniform(0.3, 1.0, (T, N)).astype(np.float32),
        "starts": (rng.random((T + 1, N)) < 0.2).astype(np.float32),
        "masks": rng.random((T, N, slots)) < 0.5,
    }
    rows["masks"][..., 0] = True
    for t in range(T):
        rollout.put(
            rows["discounts"][t], (np.arange(N), np.full(N, float(t))),
            rng.normal(size=(N, 2)), np.zeros((N, 1)), rows["rewards"][t], rows["starts"][t],
            torch.tensor(rows["values"][t]), torch.zeros(N),
            action_masks=rows["masks"][t],
        )  # fmt: skip
    last = rng.normal(size=(N, 1)).astype(np.float32)
    rollout.compute_returns_and_advantage(torch.tensor(last), rows["starts"][T])
    return rollout, rows, last[:, 0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), T=st.integers(1, 7), N=st.integers(1, 3), lam=st.floats(0, 1)
)
def test_an_advantage_is_the_weighted_sum_of_errors(seed, T, N, lam):
    """A_t = sum_k (prod of discounts and λ before k) δ_k, until the episode ends (eq. 16)."""
    rollout, rows, last = filled(np.random.default_rng(seed), T, N, lam)
    values = np.vstack([rows["values"], last])
    for n in range(N):
        for t in range(T):
            total, weight = 0.0, 1.0
            for k in range(t, T):
                ends = rows["starts"][k + 1, n]
                g = rows["discounts"][k, n]
                delta = rows["rewards"][k, n] + g * (1 - ends) * values[k + 1, n] - values[k, n]
                total += weight * delta
                if ends:
                    break
                weight *= g * lam
            assert rollout.advantages[t, n] == pytest.approx(total, rel=1e-3, abs=1e-4)
            assert rollout.returns[t, n] == pytest.approx(total + values[t, n], rel=1e-3, abs=1e-4)


def test_peers_change_advantages_and_not_what_the_critic_learns():
    """Where all copies meet the same luck, it no longer counts for or against a choice."""
    rng = np.random.default_rng(4)
    ours, rows, last = filled(rng, 30, 4, 0.9)
    ours.rewards += 5 * rng.normal(size=(30, 1)).astype(np.float32)
    found = []
    for ours.alike, ours.workloads[:] in ((1, 0), (4, 0)):
        ours.compute_returns_and_advantage(torch.tensor(last[:, None]), rows["starts"][30])
        found.append((ours.advantages.copy(), ours.returns.copy()))
    (plain, returns), (compared, same) = found
    np.testing.assert_array_equal(returns, same)
    assert compared.var() < 0.6 * plain.var()


def test_with_one_discount_it_is_that_of_stable_baselines():
    from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer

    rng = np.random.default_rng(0)
    ours, rows, last = filled(rng, 6, 2, 0.9)
    theirs = MaskableRolloutBuffer(
        6, ours.observation_space, ours.action_space, "cpu", gae_lambda=0.9, gamma=0.8, n_envs=2
    )
    ours.discounts[:] = 0.8
    theirs.rewards, theirs.values = rows["rewards"], rows["values"]
    theirs.episode_starts = rows["starts"][:6]
    for buffer in (ours, theirs):
        buffer.compute_returns_and_advantage(torch.tensor(last[:, None]), rows["starts"][6])
    np.testing.assert_allclose(ours.advantages, theirs.advantages, rtol=1e-5, atol=1e-6)


def test_minibatches_hold_every_choice_once_an_epoch_and_none_that_was_forced():
    rollout, rows, _ = filled(np.random.default_rng(1), 8, 3, 0.9)
    rollout.observations[..., 0] = np.arange(24).reshape(8, 3)
    free = np.flatnonzero(rows["masks"].reshape(24, -1).sum(axis=1) > 1)
    rng = np.random.default_rng(2)
    batches = list(rollout.minibatches(5, 2, rng))
    seen = torch.cat([b.observations[:, 0] for b in batches]).numpy().astype(int)
    assert sorted(seen[: len(free)]) == sorted(seen[len(free) :]) == free.tolist()
    assert not np.array_equal(seen[: len(free)], seen[len(free) :])
    told = torch.cat([b.advantages for b in batches]).numpy()[: len(free)]
    assert told.mean() == pytest.approx(0, abs=1e-5)
    assert told.std() == pytest.approx(1, abs=1e-4)


def test_the_spread_of_returns_by_hand():
    rewards = np.array([[1.0], [2.0], [4.0]])
    discounts = np.full((3, 1), 0.5)
    goes_on = np.array([[1.0], [0.0], [1.0]])  # an episode ends with the second step
    assert spread_of_returns(rewards, discounts, goes_on) == pytest.approx(np.std([2.0, 2.0, 4.0]))
    assert spread_of_returns(np.zeros((2, 1)), discounts[:2], goes_on[:2]) > 0


def test_who_decides_less_often_is_paid_for_all_until_the_next_decision():
    """Rows without a decision are folded into the one before: the same as if they were not there.

    Of five steps the first and the third are decisions; an episode ends with the second.
    """
    rollout, rows, last = filled(np.random.default_rng(0), 5, 1, 0.7)
    rollout.decided[:, 0] = [True, False, True, False, False]
    rollout.episode_starts[:, 0] = [1, 0, 1, 0, 0]
    rollout.compute_returns_and_advantage(torch.tensor(last[:, None]), np.array([False]))
    r, d, v = (rows[k][:, 0].astype(float) for k in ("rewards", "discounts", "values"))
    third = r[2] + d[2] * (r[3] + d[3] * (r[4] + d[4] * last[0])) - v[2]
    first = r[0] + d[0] * r[1] - v[0]
    np.testing.assert_allclose(rollout.advantages[:, 0], [first, 0, third, 0, 0], rtol=1e-5)
    seen = list(rollout.minibatches(8, 1, np.random.default_rng(0)))
    free = rollout.action_masks.reshape(5, -1).sum(1) > 1
    assert sum(len(b.actions) for b in seen) == (free & rollout.decided[:, 0]).sum()
