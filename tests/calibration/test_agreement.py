"""Agreement of predictions with recordings: by hand, against scipy, and by what must hold."""

import dataclasses
import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from toolkit.calibration.agreement import (
    WAYS,
    Agreement,
    Check,
    coverage,
    curve_distance,
    floor,
    ks,
    pit,
    policies_agree,
    relative_errors,
    summarise,
)
from toolkit.seeding import generator

seconds = st.floats(0.1, 1e4)
lucks = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=60).map(np.array)
curves = st.lists(st.tuples(st.floats(0.01, 50), st.floats(0, 16)), min_size=1, max_size=12).map(
    lambda steps: (np.cumsum([s for s, _ in steps]), np.array([b for _, b in steps[:-1]] + [0.0]))
)


def check(split="workload", run=0, policy="a", seed=0, luck=(0.5,), **changed):
    luck = np.array(luck, dtype=np.float64)
    told = {
        "real": {"makespan": 10.0, "latency": 4.0},
        "predicted": {
            "held_out": {"makespan": np.array([9.0, 11.0, 12.0]), "latency": np.array([4.0])},
            "in_sample": {"makespan": np.array([10.5]), "latency": np.array([4.0])},
            "naive": {"makespan": np.array([13.0]), "latency": np.array([2.0])},
        },
        "log_errors": {way: np.full(len(luck), -0.1 * i) for i, way in enumerate(WAYS, 1)},
        "curve": 0.25,
        "extrapolated": 0.0,
    } | changed
    return Check(split=split, run=run, policy=policy, seed=seed, luck=luck, **told)


def test_an_error_is_that_of_the_median_draw():
    assert relative_errors(np.array([8.0, 12.0, 100.0]), 10.0) == pytest.approx(0.2)
    draws = np.array([[8.0, 8.0], [9.0, 13.0]])
    np.testing.assert_allclose(relative_errors(draws, np.array([10.0, 10.0])), [0.2, 0.1])


@given(st.lists(seconds, min_size=1, max_size=9), seconds, st.floats(0.01, 100))
def test_an_error_has_no_unit(draws, real, unit):
    error = relative_errors(np.array(draws), real)
    assert error >= 0
    assert relative_errors(unit * np.array(draws), unit * real) == pytest.approx(
        error, rel=1e-9, abs=1e-9
    )


def test_the_floor_by_hand():
    # 10 by the median 13 of 12 and 14, 12 by 12, 14 by 11.
    assert floor([10.0, 12.0, 14.0]) == pytest.approx((3 / 10 + 0 + 3 / 14) / 3)
    assert floor([7.0, 7.0, 7.0, 7.0]) == 0.0


@pytest.mark.parametrize("repeats", [[], [1.0], [1.0, 2.0], [1.0, 2.0, math.nan]])
def test_too_few_repeats_have_no_floor(repeats):
    assert math.isnan(floor(repeats))


@given(st.lists(seconds, min_size=3, max_size=8), st.floats(0.01, 100))
def test_the_floor_has_neither_order_nor_unit(repeats, unit):
    found = floor(repeats)
    assert floor(repeats[::-1]) == pytest.approx(found)
    assert floor(unit * np.array(repeats)) == pytest.approx(found, rel=1e-9, abs=1e-9)


def test_five_repeats_of_noise_have_a_floor_14_percent_above_the_noise():
    rng = np.random.default_rng(0)
    noise = 0.01 * math.sqrt(2 / math.pi)
    found = np.mean([floor(rng.normal(1, 0.01, 5)) for _ in range(5000)])
    assert found / noise == pytest.approx(1.14, abs=0.03)


def test_pit_counts_by_hand():
    luck = np.array([0.01, 0.26, 0.49, 0.5, 0.99, math.nan])
    assert pit(luck, bins=4).tolist() == [1, 2, 1, 1]
    assert pit(np.array([]), bins=3).tolist() == [0, 0, 0]


@given(lucks)
def test_pit_counts_every_task_once(luck):
    assert len(pit(luck)) == 20
    assert pit(luck).sum() == len(luck)


def test_uniform_luck_passes_and_shifted_luck_fails():
    luck = np.random.default_rng(4).random(2000)
    statistic, p = ks(luck)
    assert (statistic, p) == tuple(scipy.stats.kstest(luck, scipy.stats.uniform.cdf))
    assert p > 0.05
    statistic, p = ks(luck**1.3)
    assert p < 1e-6
    # The distance of u**1.3: the largest u**(1 / 1.3) - u.
    u = np.linspace(0, 1, 10_001)
    assert statistic == pytest.approx(np.max(u ** (1 / 1.3) - u), abs=0.03)


@given(lucks)
def test_luck_turned_round_is_as_far_from_uniform(luck):
    statistic, p = ks(luck)
    assert 0 < statistic <= 1 and 0 <= p <= 1
    assert ks(1 - luck)[0] == pytest.approx(statistic)


def test_coverage_by_hand_with_the_exact_interval():
    luck = np.array([0.05, 0.1, 0.5, 0.95, 0.96, 0.01, math.nan, 0.3, 0.7, 0.2])
    share, n = coverage(luck, 0.9)
    assert (share.value, n) == (7 / 9, 9)
    # Clopper and Pearson: quantiles of beta distributions.
    assert share.low == pytest.approx(scipy.stats.beta.ppf(0.025, 7, 3))
    assert share.high == pytest.approx(scipy.stats.beta.ppf(0.975, 8, 2))


@given(lucks, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_wider_intervals_cover_no_less(luck, one, other):
    (narrow, n), (wide, _) = (coverage(luck, level) for level in sorted((one, other)))
    assert n == len(luck)
    assert 0 <= narrow.low <= narrow.value <= narrow.high <= 1
    assert narrow.value <= wide.value


def test_nothing_measured_is_nan():
    for luck in (np.array([]), np.array([math.nan])):
        assert all(map(math.isnan, ks(luck)))
        share, n = coverage(luck, 0.5)
        assert n == 0 and math.isnan(share.value)


def test_distance_of_curves_by_hand():
    at, busy = np.array([0.0, 2.0, 4.0]), np.array([2.0, 4.0, 0.0])
    # |2 - 3| on [0, 2], |4 - 3| on [2, 4], |0 - 3| on [4, 5], by 2 * 2 + 4 * 2.
    assert curve_distance(at, busy, np.array([0.0, 5.0]), np.array([3.0, 0.0])) == 7 / 12
    assert curve_distance(at, busy, np.array([]), np.array([])) == 1.0
    # Work that is done later, where nothing was done: both areas count.
    assert curve_distance(at, busy, at + 4, busy) == 2.0


def test_the_last_of_equal_breakpoints_holds():
    once = np.array([1.0, 3.0]), np.array([2.0, 0.0])
    twice = np.array([1.0, 1.0, 3.0]), np.array([9.0, 2.0, 0.0])
    assert curve_distance(*once, *twice) == 0.0


@given(curves, curves, st.floats(0.1, 10), st.floats(0.1, 10))
def test_distance_of_curves_has_no_unit_and_one_direction(a, b, hours, cores):
    area = [float(busy[:-1] @ np.diff(at)) for at, busy in (a, b)]
    if min(area) < 1e-6:
        return
    found = curve_distance(*a, *b)
    assert curve_distance(*a, *a) == 0.0
    assert 0 <= found <= 1 + area[1] / area[0] + 1e-9
    assert curve_distance(*b, *a) * area[1] == pytest.approx(found * area[0], rel=1e-9, abs=1e-9)
    scaled = [x for at, busy in (a, b) for x in (hours * at, cores * busy)]
    assert curve_distance(*scaled) == pytest.approx(found, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("busy", [[], [0.0, 0.0], [math.nan, 0.0]])
def test_an_idle_or_unknown_cluster_has_no_distance(busy):
    at = np.arange(float(len(busy)))
    other = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    assert math.isnan(curve_distance(at, np.array(busy), *other))


def runs(means, seeds, repeats, *, spread, seed):
    rng = np.random.default_rng(seed)
    load = np.random.default_rng(0).normal(0, 20, seeds)
    return {
        policy: {s: mean + load[s] + rng.normal(0, spread, repeats) for s in range(seeds)}
        for policy, mean in means.items()
    }


def test_agreement_on_constructed_data():
    real = {p: {s: [v + s] for s in range(8)} for p, v in {"a": 10, "b": 20, "c": 40}.items()}
    # c is simulated between a and b: two of three pairs keep their sign.
    means = {"a": 10, "b": 20, "c": 15}
    simulated = {p: {s: [v + s] * 3 for s in range(8)} for p, v in means.items()}
    found = policies_agree(simulated, real, generator(0))
    assert (found.policies, found.seeds, found.pairs, found.differ) == (3, 8, 3, 3)
    assert found.same_sign == pytest.approx(2 / 3)
    assert found.spearman == pytest.approx(0.5)
    assert found.kendall == pytest.approx(1 / 3)
    # (-10 * -10 + -5 * -30 + 5 * -20) / (10**2 + 5**2 + 5**2)
    assert found.slope == found.slope_low == found.slope_high == pytest.approx(1.0)


def test_the_slope_is_that_of_least_squares():
    means = {"a": 100, "b": 120, "c": 130, "d": 170}
    simulated = runs(means, 12, 6, spread=5, seed=1)
    real = runs(means, 12, 1, spread=10, seed=2)
    x, y = ([np.mean([*of[p].values()]) for p in means] for of in (simulated, real))
    found = policies_agree(simulated, real, generator(0))
    assert found.slope == pytest.approx(scipy.stats.linregress(x, y).slope)
    assert found.slope_low < found.slope < found.slope_high
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    assert found.kendall == pytest.approx(scipy.stats.kendalltau(x, y).statistic)


@pytest.mark.parametrize(("seeds", "repeats"), [(1, 5), (3, 3), (8, 1), (8, 3)])
def test_what_differs_is_told_and_what_does_not_is_not(seeds, repeats):
    means = {"a": 100, "b": 100, "c": 160}
    simulated = runs(means, seeds, 8, spread=2, seed=3)
    real = runs(means, seeds, repeats, spread=4, seed=4)
    found = policies_agree(simulated, real, generator(0))
    assert (found.pairs, found.differ, found.same_sign) == (3, 2, 1.0)
    assert found.slope == pytest.approx(1, abs=0.1)
    assert found.slope_low < found.slope < found.slope_high


@pytest.mark.parametrize(("seeds", "repeats"), [(1, 5), (6, 1)])
def test_equal_policies_seldom_differ(seeds, repeats):
    """Of 5000 such pairs 5.9 and 6.8 % do; 11.5 and 13.1 % with intervals not widened."""
    rng = np.random.default_rng(7)
    same = {p: {s: [1.0] for s in range(seeds)} for p in "ab"}
    alarms = 0
    for _ in range(800):
        real = {p: {s: rng.normal(100, 4, repeats) for s in range(seeds)} for p in "ab"}
        alarms += policies_agree(same, real, rng).differ
    assert 0.03 < alarms / 800 < 0.09


@pytest.mark.parametrize(("seeds", "repeats"), [(1, 1), (5, 1), (1, 3), (2, 2)])
def test_too_few_runs_tell_nothing_apart(seeds, repeats):
    means = {"a": 100, "b": 900}
    simulated = runs(means, seeds, 4, spread=1, seed=0)
    found = policies_agree(simulated, runs(means, seeds, repeats, spread=1, seed=1), generator(0))
    assert (found.pairs, found.differ, found.same_sign) == (1, 0, None)
    assert (found.slope_low, found.slope_high) == (None, None)
    assert found.slope == pytest.approx(1, abs=0.05)


def test_policies_are_compared_on_the_workloads_of_all():
    simulated = runs({"a": 1, "b": 2, "only simulated": 3}, 9, 2, spread=1, seed=0)
    real = runs({"a": 1, "b": 2, "only recorded": 3}, 7, 1, spread=1, seed=1)
    real["b"][2] = np.array([])
    del real["a"][3]
    found = policies_agree(simulated, real, generator(0))
    assert (found.policies, found.seeds, found.pairs) == (2, 5, 1)


@given(st.floats(0.1, 10), st.floats(-100, 100))
def test_agreement_has_no_unit(unit, shift):
    means = {"a": 100, "b": 120, "c": 125}
    simulated, real = (runs(means, 6, 2, spread=5, seed=k) for k in (1, 2))
    changed = [
        {p: {s: unit * v + shift for s, v in of[p].items()} for p in of} for of in (simulated, real)
    ]
    first = dataclasses.asdict(policies_agree(simulated, real, generator(0)))
    assert dataclasses.asdict(policies_agree(*changed, generator(0))) == pytest.approx(first)


def test_nothing_to_compare_is_none():
    nothing = Agreement(policies=0, seeds=0)
    assert policies_agree({}, {}, generator(0)) == nothing
    one = {"a": {0: [1.0, 2.0]}}
    assert policies_agree(one, one, generator(0)) == dataclasses.replace(
        nothing, policies=1, seeds=1
    )
    apart = {"a": {0: [1.0]}, "b": {1: [1.0]}}
    assert policies_agree(apart, apart, generator(0)) == dataclasses.replace(nothing, policies=2)


@pytest.mark.parametrize("value", [1.0, math.nan])
def test_equal_or_unknown_means_have_neither_rank_nor_slope(value):
    same = {p: {s: [value] * 2 for s in range(6)} for p in "abc"}
    found = policies_agree(same, same, generator(0))
    assert (found.pairs, found.differ, found.same_sign) == (3, 0, None)
    assert (found.spearman, found.kendall, found.slope) == (None, None, None)
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_a_summary_by_hand():
    far = {
        **check().predicted,
        "held_out": {"makespan": np.array([14.0]), "latency": np.array([5.0])},
    }
    checks = [
        check(luck=(0.5, 0.2, 0.01), extrapolated=1 / 3),
        check(run=1, seed=1, predicted=far, luck=(0.7,), curve=0.35),
    ]
    repeats = {("a", 0): [{"makespan": s} for s in (10.0, 12.0, 14.0)], ("b", 0): []}
    found = summarise(checks, repeats)["workload"]
    assert (found["runs"], found["tasks"]) == (2, 4)
    makespan, noise = found["metrics"]["makespan"], floor([10.0, 12.0, 14.0])
    assert makespan == pytest.approx(
        {
            "held_out": (0.1 + 0.4) / 2,
            "held_out_worst": 0.4,
            "in_sample": 0.05,
            "naive": 0.3,
            "floor": noise,
            "explained": (0.25 - noise) / (0.3 - noise),
        }
    )
    latency = found["metrics"]["latency"]
    assert latency["floor"] is None
    assert latency["explained"] == pytest.approx(0.125 / 0.5)
    assert found["log_error"] == pytest.approx({"held_out": 0.1, "in_sample": 0.2, "naive": 0.3})
    assert found["coverage"]["50"]["share"] == 0.5
    assert found["coverage"]["90"]["share"] == 0.75
    assert found["coverage"]["90"]["n"] == sum(found["pit"]) == 4
    assert found["ks"]["statistic"] == pytest.approx(0.3)
    assert found["curve"] == pytest.approx(0.3)
    assert found["extrapolated"] == pytest.approx(0.25)


def test_splits_and_metrics_are_kept_apart():
    batch = check("policy", real={"total": 5.0}, predicted={"held_out": {"total": np.array([4.0])}})
    found = summarise([check("time"), batch])
    assert list(found) == ["time", "policy"]
    assert list(found["time"]["metrics"]) == ["makespan", "latency"]
    assert found["policy"]["metrics"]["total"] == pytest.approx(
        dict.fromkeys(("in_sample", "naive", "floor", "explained"))
        | {"held_out": 0.2, "held_out_worst": 0.2}
    )


def test_naive_at_the_floor_explains_nothing():
    exact = {way: {"makespan": np.array([10.0])} for way in WAYS}
    found = summarise([check(predicted=exact)])["workload"]["metrics"]["makespan"]
    assert found["naive"] == 0.0
    assert found["explained"] is None


@pytest.mark.parametrize("empty", [True, False])
def test_what_is_unknown_is_null(empty):
    nan = np.array([]) if empty else np.array([math.nan])
    unknown = check(
        predicted={way: {"makespan": nan} for way in WAYS},
        log_errors=dict.fromkeys(WAYS, nan),
        luck=nan,
        curve=math.nan,
        extrapolated=math.nan,
    )
    found = summarise([unknown])["workload"]
    assert set(found["metrics"]["makespan"].values()) == {None}
    assert set(found["log_error"].values()) == set(found["ks"].values()) == {None}
    assert found["coverage"]["50"] == {"share": None, "low": None, "high": None, "n": 0}
    assert found["curve"] is found["extrapolated"] is None
    json.dumps(found, allow_nan=False)
    assert summarise([]) == {}
