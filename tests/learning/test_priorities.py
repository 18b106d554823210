"""Priorities against sums that are plainly right, and the paper's own example."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.errors import ConfigError
from toolkit.learning.priorities import Priorities, Prioritised, SumTree

CHANGES = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(
            st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, 50)), min_size=1, max_size=8),
            min_size=1, max_size=10,
        ),
    )
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(CHANGES)
def test_a_tree_finds_what_running_sums_do(told):
    n, batches = told
    tree, plain = SumTree(n), np.zeros(n)
    for batch in batches:
        places, masses = (np.array(x) for x in zip(*batch, strict=True))
        tree.put(places, masses.astype(np.float64))
        for place, mass in batch:
            plain[place] = mass
        np.testing.assert_array_equal(tree.masses, plain)
        assert tree.total == plain.sum()
        sums = np.arange(0.0, plain.sum(), 0.5)
        expected = np.searchsorted(np.cumsum(plain), sums, side="right")
        np.testing.assert_array_equal(tree.find(sums), expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=70), st.integers(0, 2**32 - 1))
def test_what_has_no_mass_is_never_found(masses, seed):
    masses = np.array(masses) + 0.0
    if masses.sum() == 0:
        masses[-1] = 1e-300
    tree = SumTree(len(masses))
    tree.put(np.arange(len(masses)), masses)
    shares = np.append(np.random.default_rng(seed).random(50), [0.0, 1.0])
    assert (masses[tree.find(shares * tree.total)] > 0).all()


def drawn(prioritised, batches, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([prioritised.draw(n, rng) for _ in range(batches)])


def filled(errors, **words):
    found = Prioritised(Priorities(**words), capacity=len(errors) + 3)
    found.add(np.arange(len(errors)))
    found.learnt(np.arange(len(errors)), np.array(errors, dtype=np.float32))
    return found


def test_draws_are_as_frequent_as_the_paper_says():
    errors = [0.0, 0.1, 0.5, 1.0, 3.0, 10.0]
    found = filled(errors, alpha=0.6, least=0.01)
    mass = (np.array(errors) + 0.01) ** 0.6
    chance = mass / mass.sum()
    n = 64_000
    seen = np.bincount(drawn(found, n // 64, 64), minlength=len(errors))
    assert len(seen) == len(errors)
    # Draws from equal parts of the whole vary no more than independent ones do.
    assert (np.abs(seen - n * chance) < 5 * np.sqrt(n * chance * (1 - chance))).all()


def test_each_draw_comes_from_its_own_part_of_the_whole():
    found = filled(np.ones(8))
    np.testing.assert_array_equal(np.sort(found.draw(8, np.random.default_rng(0))), np.arange(8))


def test_weights_are_those_of_the_paper():
    errors = np.array([0.2, 1.0, 4.0])
    found = filled(errors, alpha=0.7, beta=0.4, least=0.5)
    mass = (errors + 0.5) ** 0.7
    for progress, beta in ((0.0, 0.4), (0.5, 0.7), (1.0, 1.0)):
        places = np.array([2, 1, 1])
        plain = (3 * mass[places] / mass.sum()) ** -beta
        told = found.weights(places, held=3, progress=progress)
        np.testing.assert_allclose(told, plain / plain.max(), rtol=1e-6)
        assert told.max() == 1.0


def test_at_the_end_weights_undo_what_the_draws_prefer():
    errors = np.array([0.1, 0.4, 1.0, 5.0])
    found = filled(errors)
    pays = np.array([3.0, -1.0, 2.0, 7.0])
    places = drawn(found, 4000, 16)
    weight = found.weights(places, held=4, progress=1.0)
    assert (weight * pays[places]).sum() / weight.sum() == pytest.approx(pays.mean(), rel=0.02)


def test_with_alpha_0_all_are_alike():
    found = filled([0.0, 1e-3, 1.0, 100.0, 5.0], alpha=0.0)
    places = drawn(found, 1000, 50)
    seen = np.bincount(places, minlength=5)
    assert (np.abs(seen - 10_000) < 5 * np.sqrt(50_000 * 0.2 * 0.8)).all()
    np.testing.assert_array_equal(found.weights(places, held=5, progress=0.3), 1.0)


def test_what_is_new_has_the_greatest_priority_so_far():
    found = Prioritised(Priorities(alpha=1.0, least=0.5), capacity=4)
    found.add(np.array([0, 1]))
    np.testing.assert_array_equal(found.state()[0], [1, 1, 0, 0])
    found.learnt(np.array([0, 1]), np.array([7.0, 0.25], dtype=np.float32))
    found.add(np.array([0, 2]))  # the greatest is forgotten, its priority is not
    np.testing.assert_array_equal(found.state()[0], [7.5, 0.75, 7.5, 0])


def test_a_state_is_gone_on_from():
    found = filled([0.5, 2.0, 9.0])
    other = Prioritised(Priorities(), capacity=6)
    other.restore(*found.state())
    other.add(np.array([3]))
    found.add(np.array([3]))
    np.testing.assert_array_equal(other.state()[0], found.state()[0])
    np.testing.assert_array_equal(drawn(other, 5, 7), drawn(found, 5, 7))


def cliffwalk(n):
    """All that can happen in n states where one of two actions goes on and the other ends it.

    Figure 1 of the paper: only the last of n right actions pays, in one of 2^(n+1) − 2 transitions.
    """
    rows = []
    for walk in range(2**n):
        for state in range(n):
            right = (walk >> state) & 1
            rows.append((state, right, float(right and state == n - 1)))
            if not right:
                break
    return np.array(rows)


def updates_until_known(n, seed, priorities=None):
    """Return how many updates a table of values takes from a memory of a cliffwalk."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(cliffwalk(n))
    state, action, reward = rows[:, 0].astype(int), rows[:, 1].astype(int), rows[:, 2]
    assert len(rows) == 2 ** (n + 1) - 2
    assert reward.sum() == 1
    discount = 1 - 1 / n
    q = np.zeros((n + 1, 2))
    truth = np.zeros((n + 1, 2))
    truth[:n, 1] = discount ** np.arange(n - 1, -1, -1)
    memory = None
    if priorities is not None:
        memory = Prioritised(priorities, len(rows))
        memory.add(np.arange(len(rows)))
    for count in range(1_000_000):
        if count % 50 == 0 and ((q - truth) ** 2).mean() < 1e-3:
            return count
        i = int(rng.integers(len(rows)) if memory is None else memory.draw(1, rng)[0])
        follows = q[state[i] + 1].max() if action[i] and not reward[i] else 0.0
        error = reward[i] + discount * follows - q[state[i], action[i]]
        q[state[i], action[i]] += error / 4
        if memory is not None:
            memory.learnt(np.array([i]), np.array([abs(error)], dtype=np.float32))
    raise AssertionError("never known")


def test_a_blind_walk_along_a_cliff_is_learnt_from_far_fewer_updates():
    uniform = [updates_until_known(8, seed) for seed in range(3)]
    preferred = [updates_until_known(8, seed, Priorities()) for seed in range(3)]
    assert np.median(preferred) < np.median(uniform) / 3


@pytest.mark.parametrize("words", [{"alpha": 1.5}, {"beta": -0.1}, {"least": 0.0}])
def test_what_makes_no_sense_is_refused(words):
    (name,) = words
    with pytest.raises(ConfigError, match=f"algo.priorities.{name} must be"):
        Priorities(**words)
