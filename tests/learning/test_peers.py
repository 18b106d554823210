"""The baseline of peers: a plain oracle, no say of one's own choice, and what it is for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envs.standins import Placement
from toolkit.envs.flat import FlatVecEnv
from toolkit.errors import ConfigError
from toolkit.learning.peers import less, others


def drawn(rng, T, N, alike):
    """Return advantages, workloads and times as copies have them: time grows within a workload."""
    workloads, times = np.zeros((T, N), dtype=np.int64), np.zeros((T, N))
    for n in range(N):
        ends = np.sort(rng.choice(T, min(T, 2), replace=False))
        part = np.searchsorted(ends, np.arange(T), side="right")
        workloads[:, n] = part + 10 * (n // alike)
        for p in range(3):
            times[part == p, n] = np.sort(rng.integers(0, 6, (part == p).sum()))
    return rng.normal(size=(T, N)), workloads, times


def told(advantages, workloads, times, alike, t, n):
    """The plain definition, one decision at a time."""
    found = []
    for m in range(n // alike * alike, n // alike * alike + alike):
        same = [k for k in range(len(times)) if workloads[k, m] == workloads[t, n]]
        if m == n or not same or times[same[-1], m] < times[t, n]:
            continue
        earlier = [k for k in same if times[k, m] <= times[t, n]]
        if earlier:
            found.append(advantages[earlier[-1], m])
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), T=st.integers(1, 12), alike=st.integers(1, 3))
def test_it_is_the_mean_of_what_peers_met_at_that_time(seed, T, alike):
    rows = drawn(np.random.default_rng(seed), T, 2 * alike, alike)
    baseline, has = others(*rows, alike)
    for t in range(T):
        for n in range(2 * alike):
            peers = told(*rows, alike, t, n)
            assert has[t, n] == bool(peers)
            if peers:
                assert baseline[t, n] == pytest.approx(np.mean(peers))


def test_ones_own_advantage_has_no_say():
    advantages, workloads, times = drawn(np.random.default_rng(3), 20, 4, 4)
    changed = advantages.copy()
    changed[:, 1] += 100.0
    before, after = (others(a, workloads, times, 4)[0][:, 1] for a in (advantages, changed))
    np.testing.assert_array_equal(before, after)


def test_what_all_meet_goes_and_what_one_did_stays():
    """Of common luck with spread 3 and effects of spread 1 only the effects are left."""
    rng = np.random.default_rng(0)
    T, N = 400, 8
    luck, effect = 3 * rng.normal(size=(T, 1)), rng.normal(size=(T, N))
    times = np.repeat(np.arange(T, dtype=float)[:, None], N, axis=1)
    advantages = luck + effect
    found = less(advantages, *others(advantages, np.zeros((T, N), dtype=np.int64), times, N))
    assert advantages.std() > 3
    assert found.std() == pytest.approx(1.0, rel=0.12)
    assert np.corrcoef(found.ravel(), effect.ravel())[0, 1] > 0.9


def test_peers_that_tell_nothing_change_nothing():
    rng = np.random.default_rng(1)
    a, b, has = rng.normal(size=4000), rng.normal(size=4000), rng.random(4000) < 0.5
    found = less(a, b, has)
    np.testing.assert_array_equal(found[~has], a[~has])
    assert found.std() == pytest.approx(a.std(), rel=1e-3)
    np.testing.assert_array_equal(less(a, b, np.zeros(4000, dtype=bool)), a)
    np.testing.assert_array_equal(less(a, np.ones(4000), has), a)


def test_copies_that_are_alike_play_the_same_and_choose_for_themselves():
    env = FlatVecEnv(Placement(), 4, seed=3, alike=2)
    first = env.reset()
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])
    rng = np.random.default_rng(0)
    met = [set() for _ in range(4)]
    for _ in range(400):
        seeds, times = env.moment()
        assert (times >= 0).all()
        for i, seed in enumerate(seeds.tolist()):
            met[i].add(seed)
        masks = env.action_masks()
        shown = env.step(np.where(masks, rng.random(masks.shape), -1.0).argmax(axis=1))[0]
    assert not np.array_equal(shown[0], shown[1])
    both = met[0] & met[1]
    assert len(both) >= 2 and len(met[0] ^ met[1]) <= 1
    assert not met[0] & met[2]


def test_groups_that_do_not_divide_the_copies_are_refused():
    with pytest.raises(ConfigError, match="multiple"):
        FlatVecEnv(Placement(), 4, alike=3)
