"""Weightings: ranks and fronts."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from evaluations.experiments.ranks import on_the_front, ranked
from evaluations.experiments.weighed import Point
from evaluations.experiments.weightings import Size, Start
from toolkit.errors import ConfigError

LEVELS = [0, 0.1, 1, 10, 100]


def trainings(means, spread=0.1, n=2, m=20):
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 1, m)
    return [x + spread * rng.normal(0, 1, (n, 1)) + luck for x in means]


def test_what_follows_a_weight_is_told_from_what_does_not():
    up = ranked(LEVELS, trainings([1, 2, 3, 4, 5]), np.random.default_rng(1))
    assert up.rho.value > 0.95
    assert up.rho.low > 0.8
    assert up.p < 0.01
    assert up.follows(1)
    assert not up.follows(-1)
    by_chance = ranked(LEVELS, trainings([0] * 5, spread=1.0), np.random.default_rng(1))
    assert not by_chance.follows(1)
    assert not by_chance.follows(-1)
    one_each = ranked([0, 1, 2], trainings([1, 2, 3], n=1), np.random.default_rng(1))
    assert one_each.rho.value == pytest.approx(1)
    assert not one_each.follows(1), "three trainings are in order by chance in a third of deals"


def test_a_rank_correlation_is_spearmans():
    values = trainings([3, 1, 4, 1, 5], spread=1.0, n=3)
    flat = np.concatenate([v.mean(axis=1) for v in values])
    found = ranked(LEVELS, values, np.random.default_rng(0)).rho
    assert found.value == pytest.approx(spearmanr(np.repeat(LEVELS, 3), flat).statistic)
    assert found.low <= found.value <= found.high
    same = ranked(LEVELS, [np.ones((2, 4))] * 5, np.random.default_rng(0))
    assert (same.rho.value, same.p) == (0, 1)


def test_the_front_is_what_nobody_dominates():
    values = np.array([[1, 3], [2, 2], [3, 1], [3, 3], [2, 2], [1, 4]], dtype=np.float64)
    assert on_the_front(values).tolist() == [True, True, True, False, True, False]


def size(**changed):
    start = Start(settings={}, seeds=[0])
    told = {"workloads": 2, "chosen_on": 1, "levels": [0, 1, 10], "starts": {"a": start}}
    return Size(**{**told, **changed})


def test_points_are_the_base_each_weight_and_the_corners():
    names = [p.name for p in size(corners=[0.1, 10], crossed=["cost", "latency"]).points()]
    assert len(names) == len(set(names)) == 1 + 4 * 2 + 4
    assert names[0] == "base"
    assert {"bottleneck × 10", "cost × 0.1, latency × 10"} <= set(names)
    base = {"throughput": 1.0, "latency": 1.0, "cost": 1.0, "bottleneck": 0.25}
    assert Point(times={"bottleneck": 10}).words(base) == ["scenario.weights.bottleneck=2.5"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("workloads", 1), ("chosen_on", 0), ("levels", [0, 10, 100]), ("levels", [1, 0, 10]),
     ("starts", {}), ("crossed", ["speed"])],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(setting, value):
    with pytest.raises(ConfigError, match=setting):
        size(**{setting: value})
