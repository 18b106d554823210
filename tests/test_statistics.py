"""The statistics against scipy's and against what they promise."""

import math

import numpy as np
import pytest
import scipy.stats

from toolkit import statistics
from toolkit.seeding import generator
from toolkit.statistics import (
    Interval,
    bootstrap,
    crossed,
    iqm,
    mean,
    paired,
    probability_of_improvement,
)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 24, 101])
def test_iqm_is_scipys_trimmed_mean(n):
    scores = np.random.default_rng(n).normal(size=(6, n))
    expected = scipy.stats.trim_mean(scores, 0.25, axis=1)
    np.testing.assert_allclose(iqm(scores), expected, rtol=1e-12)


def test_one_wild_seed_does_not_move_the_iqm():
    calm = np.linspace(40, 60, 12)
    wild = calm.copy()
    wild[-1] = 1e9
    assert iqm(wild) == iqm(calm)


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_interval_agrees_with_scipys_percentile_bootstrap(statistic):
    scores = np.random.default_rng(5).normal(50, 10, 40)
    ours = bootstrap(scores, generator(0), statistic=statistic, repetitions=20_000)
    theirs = scipy.stats.bootstrap(
        (scores,),
        lambda x, axis: statistic(np.moveaxis(x, axis, -1)),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.04 * width
    assert abs(ours.high - theirs.high) < 0.04 * width


def test_strata_keep_the_difference_between_tasks_out_of_the_interval():
    rng = np.random.default_rng(2)
    table = rng.normal(0, 1, (20, 3)) + np.array([0.0, 100.0, 200.0])
    stratified = bootstrap(table, generator(0), statistic=mean)
    pooled = bootstrap(table.reshape(-1), generator(0), statistic=mean)
    assert stratified.value == pooled.value
    assert stratified.high - stratified.low < 2
    assert pooled.high - pooled.low > 20


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_coverage_of_the_interval(statistic):
    """400 experiments of 30 seeds: about 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(400):
        interval = bootstrap(rng.normal(7, 3, 30), rng, statistic=statistic, repetitions=2000)
        hits += interval.low <= 7 <= interval.high
    proportion = scipy.stats.binomtest(hits, 400).proportion_ci(0.999)
    # A percentile interval of 30 seeds is known to be a little narrow: 93 to 95 %.
    assert proportion.low <= 0.95
    assert proportion.high >= 0.935
    assert hits / 400 > 0.90


def test_same_generator_same_interval():
    scores = np.random.default_rng(0).normal(size=24)
    first = bootstrap(scores, generator(3, "board"))
    assert first == bootstrap(scores, generator(3, "board"))
    assert first != bootstrap(scores, generator(4, "board"))


def test_chunks_of_resampling_cover_all_repetitions(monkeypatch):
    monkeypatch.setattr(statistics, "_CHUNK", 100)
    interval = bootstrap(np.arange(30.0), generator(0), statistic=mean, repetitions=501)
    assert interval.low < interval.value < interval.high


def test_one_seed_has_an_interval_without_width():
    interval = bootstrap(np.array([3.0]), generator(0))
    assert (interval.value, interval.low, interval.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize("scores", [[], [[]], [math.nan, 1.0], [[[1.0]]], [math.inf]])
def test_what_is_no_table_of_scores_is_refused(scores):
    with pytest.raises(ValueError, match="scores must be"):
        bootstrap(np.array(scores, dtype=float), generator(0))


def test_pairing_sees_what_overlapping_intervals_hide():
    rng = np.random.default_rng(3)
    luck = rng.normal(0, 20, 24)
    first, second = 55 + luck + rng.normal(0, 1, 24), 50 + luck + rng.normal(0, 1, 24)
    assert bootstrap(first, generator(0)).low < bootstrap(second, generator(0)).high
    result = paired(first, second, generator(0))
    assert result.verdict == 1
    assert paired(second, first, generator(0)).verdict == -1
    assert result.difference.value == pytest.approx((first - second).mean())
    assert result.n == 24


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_pairs_never_decide(n):
    result = paired(np.full(n, 90.0) + np.arange(n), np.arange(n) * 1.5, generator(0))
    assert result.difference.low > 0
    assert result.verdict == 0


def test_equal_policies_cannot_be_told_apart():
    scores = np.arange(10.0)
    result = paired(scores, scores, generator(0))
    assert (result.verdict, result.p, result.difference.value) == (0, 1.0, 0.0)


def test_false_alarms_stay_near_five_percent_with_eight_seeds():
    rng = np.random.default_rng(8)
    alarms = sum(
        paired(rng.normal(size=8), rng.normal(size=8), rng, repetitions=2000).verdict != 0
        for _ in range(500)
    )
    assert alarms <= 40  # 25 expected, 99.9 % of fair tests stay below 41


def test_sign_flip_is_exact_for_few_pairs_and_near_scipy_for_many():
    differences = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert statistics.sign_flip(differences, generator(0), 4000) == 2 / 2**6
    many = np.random.default_rng(0).normal(0.4, 1, 40)
    theirs = scipy.stats.permutation_test(
        (many,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue
    assert statistics.sign_flip(many, generator(0), 20_000) == pytest.approx(theirs, abs=0.01)


def test_probability_of_improvement_is_mann_whitney():
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.5, 1, 20), rng.normal(0, 1, 15)
    u = scipy.stats.mannwhitneyu(first, second).statistic
    result = probability_of_improvement(first, second, generator(0))
    assert result.value == pytest.approx(u / (20 * 15))
    assert result.low < result.value < result.high
    assert probability_of_improvement(first, first, generator(0)).value == 0.5
    sure = probability_of_improvement(first + 100, second, generator(0))
    assert (sure.value, sure.low, sure.high) == pytest.approx((1.0, 1.0, 1.0))


def test_probability_of_improvement_averages_tasks():
    first = np.array([[1.0, 0.0], [1.0, 0.0]])
    second = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert probability_of_improvement(first, second, generator(0)).value == 0.5


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cannot pair"):
        paired(np.zeros(3), np.zeros(4), generator(0))
    with pytest.raises(ValueError, match="cannot compare"):
        probability_of_improvement(np.zeros((3, 2)), np.zeros((3, 3)), generator(0))


@pytest.mark.parametrize("trainings", [2, 3, 5, 8])
def test_an_interval_over_trainings_and_workloads_covers(trainings):
    """Of 400 pairs of arms whose trainings differ about 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(trainings)
    hits = 0
    for _ in range(400):
        work = rng.normal(0, 0.5, 40)
        a, b = (
            work + rng.normal(0, 0.1, (trainings, 1)) + rng.normal(0, 0.05, (trainings, 40))
            for _ in range(2)
        )
        found = crossed(a, b)
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 400 <= 0.995


def test_one_training_has_an_interval_over_workloads_alone():
    x = np.random.default_rng(0).normal(1, 1, (1, 30))
    found = crossed(x)
    low, high = scipy.stats.t.interval(0.95, 29, x.mean(), scipy.stats.sem(x[0]))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert crossed(x, x) == Interval(0.0, 0.0, 0.0)
    assert math.isnan(crossed(np.log(np.array([[1.0, 0.0]]))).low)


def test_trainings_that_differ_widen_it():
    alike = np.log(0.8) + np.repeat(np.random.default_rng(0).normal(0, 0.01, (1, 50)), 4, axis=0)
    apart = alike + np.array([[0.0], [0.3], [-0.3], [0.0]])
    a, b = crossed(alike), crossed(apart)
    assert a.value == pytest.approx(b.value)
    assert b.high - b.low > 5 * (a.high - a.low)
