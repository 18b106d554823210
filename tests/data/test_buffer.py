"""Returns over several steps, against sums that are plainly right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.learning.lessons import F, G, transitions
from toolkit.data.buffer import FlatBuffer
from toolkit.errors import ConfigError


def episodes(seed, n=40):
    """Episodes of 1 to 6 rows; some rows are not for training, some ends are cut."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, n)
    total = int(lengths.sum())
    last = np.zeros(total, dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    terminal = last & (rng.random(total) < 0.7)
    action = np.where(rng.random(total) < 0.15, -1, rng.integers(0, 2, total))
    action[last & ~terminal] = -1
    return transitions(
        rng.normal(size=(total, G)), rng.normal(size=(total, 2, F)), np.ones((total, 2), bool),
        action, rng.normal(size=total),
        elapsed=rng.exponential(2.0, total),
        terminal=terminal,
        following=np.where(last, total, np.arange(total) + 1),
        episode=np.repeat(np.arange(n), lengths),
    )  # fmt: skip


def plainly(data, i, steps, tau):
    """Return what a row and those after it pay, the intervals that pass, what follows, the end."""
    paid, passed, j = 0.0, 0.0, i
    for _ in range(steps):
        paid += np.exp(-passed) * data.reward[j]
        passed += data.elapsed[j] / tau
        if data.terminal[j]:
            return paid, passed, None
        j = data.following[j]
        if data.action[j] < 0:
            break
    return paid, passed, j


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 8))
def test_rewards_of_several_steps_are_summed(seed, steps):
    data, tau = episodes(seed), 3.0
    if len(data.rows) == 0:
        return
    buffer = FlatBuffer(data, discount_seconds=tau, seed=0, reward_scale=2.0, multi_step=steps)
    batch = buffer.sample_transition_batch(300)
    of = {data.observations[i].tobytes(): i for i in data.rows}
    for k in range(300):
        i = of[batch.observations[k].tobytes()]
        paid, passed, j = plainly(data, i, steps, tau)
        assert batch.rewards[k, 0] == pytest.approx(paid / 2, rel=1e-4, abs=1e-5)
        assert batch.intervals[k, 0] == pytest.approx(passed, rel=1e-4, abs=1e-6)
        assert batch.actions[k, 0] == data.action[i]
        assert bool(batch.terminals[k, 0]) == (j is None)
        expected = np.zeros(G + 2 * F + 2) if j is None else data.observations[j]
        np.testing.assert_array_equal(batch.next_observations[k], expected.astype(np.float32))


@pytest.mark.parametrize("steps", [1, 4])
def test_from_a_file_it_is_the_same(tmp_path, steps):
    data = episodes(5)
    file = tmp_path / "observations.f32"
    data.observations.tofile(file)
    import dataclasses

    mapped = dataclasses.replace(
        data, observations=np.memmap(file, np.float32, "r", shape=data.observations.shape)
    )
    one, two = (
        FlatBuffer(mapped, discount_seconds=3.0, seed=1, multi_step=steps, most_mapped=most)
        for most in (1 << 30, 0)
    )
    for _ in range(3):
        a, b = one.sample_transition_batch(64), two.sample_transition_batch(64)
        for name in ("observations", "next_observations", "rewards", "intervals", "terminals"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_no_step_is_refused():
    with pytest.raises(ConfigError, match="multi_step must be 1 or more"):
        FlatBuffer(episodes(0), discount_seconds=1.0, seed=0, multi_step=0)
