"""Statistics of boards: against scipy, against definitions, and whether intervals cover."""

import numpy as np
import pytest
import scipy.stats

from leaderboard.statistics import bca, difference, optimality_gap, profiles, ranks
from toolkit.seeding import generator

SKEWED = np.random.default_rng(3).lognormal(0.0, 1.0, 40)


def test_bca_agrees_with_scipy_on_skewed_values():
    ours = bca(SKEWED, generator(0), repetitions=40_000)
    theirs = scipy.stats.bootstrap(
        (SKEWED,), np.mean, method="BCa", n_resamples=40_000, rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(SKEWED.mean())
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width
    assert ours.high - ours.value > ours.value - ours.low


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(7)
    hits = 0
    for k in range(400):
        found = bca(rng.exponential(1.0, 50), generator(k), repetitions=1000)
        hits += found.low <= 1.0 <= found.high
    # 95 % less what 50 values of so skewed a law cost; a normal interval has about 92 %.
    assert 0.90 <= hits / 400 <= 0.98


def test_tests_of_a_difference_are_scipys():
    rng = np.random.default_rng(2)
    first = rng.normal(0.4, 1.0, 25)
    second = rng.normal(0.0, 1.0, 25)
    found = difference(first, second, generator(0))
    assert found.n == 25
    assert found.difference.value == pytest.approx((first - second).mean())
    assert found.t == pytest.approx(scipy.stats.ttest_rel(first, second).pvalue)
    assert found.wilcoxon == pytest.approx(scipy.stats.wilcoxon(first, second).pvalue)
    permuted = scipy.stats.permutation_test(
        (first, second), lambda a, b, axis: (a - b).mean(axis), permutation_type="samples",
        n_resamples=20_000, rng=np.random.default_rng(0), vectorized=True,
    )  # fmt: skip
    assert found.sign_flip == pytest.approx(permuted.pvalue, abs=0.02)


@pytest.mark.parametrize(("gap", "p"), [(0.0, 1.0), (2.0, 0.0)])
def test_differences_without_spread(gap, p):
    scores = np.arange(12.0)
    found = difference(scores + gap, scores, generator(0))
    assert found.difference == type(found.difference)(gap, gap, gap)
    assert found.t == p
    assert found.wilcoxon == 1.0 if gap == 0.0 else found.wilcoxon < 0.01


def test_the_optimality_gap_by_hand():
    assert optimality_gap(np.array([[50.0, 100.0], [150.0, 80.0]])) == pytest.approx(17.5)
    assert optimality_gap(np.array([200.0, 101.0])) == 0.0


def test_a_profile_by_hand_and_its_interval():
    scores = np.array([[0.0, 50.0], [100.0, 60.0], [40.0, 90.0], [80.0, 10.0]])
    both = np.stack([scores, scores[::-1] / 2])
    share, low, high = profiles(both, np.array([-1.0, 45.0, 100.0]), generator(0))
    np.testing.assert_allclose(share, [[1.0, 5 / 8, 0.0], [1.0, 1 / 8, 0.0]])
    assert low[0, 1] < 5 / 8 < high[0, 1]
    assert (low[0, 0], high[0, 0]) == pytest.approx((1.0, 1.0))
    alone, *_ = profiles(scores[None, :, 0], np.array([45.0]), generator(0))
    np.testing.assert_allclose(alone, [[0.5]])


def test_ranks_tell_who_can_be_told_apart():
    rng = np.random.default_rng(4)
    luck = rng.normal(0, 30, (40, 2))
    scores = np.stack([luck + 50, luck + 50 + rng.normal(0, 1, (40, 2)), luck + 20, luck + 20])
    found = ranks(scores, generator(0))
    # Who differs by a constant on the same luck is told apart, however wild the luck.
    assert [r.value for r in found][2:] == [3.5, 3.5]
    assert {found[0].value, found[1].value} == {1.0, 2.0}
    assert (found[0].low, found[0].high) == (1.0, 2.0)
    assert (found[3].low, found[3].high) == (3.5, 3.5)


@pytest.mark.parametrize("scores", [np.zeros((2, 0)), np.full((2, 3), np.nan), np.zeros(4)])
def test_ranks_of_what_is_missing_are_refused(scores):
    with pytest.raises(ValueError, match="finite"):
        ranks(scores, generator(0))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="cannot compare"):
        difference(np.zeros(3), np.zeros(4), generator(0))
    with pytest.raises(ValueError, match="finite"):
        bca(np.array([np.inf]), generator(0))
