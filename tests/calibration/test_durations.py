"""Duration models: each kind finds the law it was made for, and keeps its spread."""

import json

import numpy as np
import pytest

from tests.calibration.made import executed
from toolkit.calibration.durations import BOOSTED, MEAN, PARAMETRIC, POOLED, Durations
from toolkit.errors import ConfigError, CorruptError

RESOURCES = np.array([[1.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
SIGMA = 0.2


def columns_only(size, column):
    return np.array([0.0, -0.7, -0.3])[column]


def amdahl(size, column):
    """Log-linear in the size, with a part that more cpus make shorter."""
    return -3.0 + 0.8 * np.log(size / 4000) + 1.2 / RESOURCES[column, 0]


def bent(size, column):
    """No line: twice as long at every second step of the size."""
    return np.log(2.0) * (np.floor(2 * np.log(size)) % 2) - 0.5 * column


LAWS = {MEAN: columns_only, PARAMETRIC: amdahl, BOOSTED: bent}


def drawn(laws, n=1500, seed=0, sigma=SIGMA):
    """Return executions of types with these laws, their logarithms and the laws' means."""
    rng = np.random.default_rng(seed)
    type_of = rng.integers(0, len(laws), n)
    column, size = rng.integers(0, 3, n), 4000 * np.exp(0.6 * rng.standard_normal(n))
    mean = np.empty(n)
    for t, law in enumerate(laws):
        mine = type_of == t
        mean[mine] = law(size[mine], column[mine])
    y = mean + sigma * rng.standard_normal(n)
    done = executed(type_of, column, np.stack([size, rng.uniform(1, 2, n)], axis=1), np.exp(y))
    return done, y, mean


def asked(done):
    return done.type_of, done.data, done.column


@pytest.fixture(scope="module")
def fitted():
    done, y, _ = drawn(list(LAWS.values()), 2400)
    return Durations.fit(done, np.exp(y), 3, RESOURCES)


def test_each_law_is_won_by_its_kind_and_found(fitted):
    assert fitted.kinds == (MEAN, PARAMETRIC, BOOSTED)
    fresh, _, mean = drawn(list(LAWS.values()), seed=1)
    error = np.abs(fitted.log_mean(*asked(fresh)) - mean)
    for t, most in enumerate((0.03, 0.03, 0.1)):
        assert error[fresh.type_of == t].mean() < most


def test_cross_validated_errors_are_those_of_unseen_executions(fitted):
    for errors, kind in zip(fitted.errors, fitted.kinds, strict=True):
        assert errors.keys() == {MEAN, PARAMETRIC, BOOSTED}
        assert SIGMA**2 * 0.8 < errors[kind] < SIGMA**2 * 1.5
    assert fitted.errors[1][MEAN] > 3 * fitted.errors[1][PARAMETRIC]
    assert fitted.errors[2][PARAMETRIC] > 2 * fitted.errors[2][BOOSTED]


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_cover_as_often_as_they_say(fitted, level):
    fresh, y, _ = drawn(list(LAWS.values()), 3000, seed=2)
    residual = y - fitted.log_mean(*asked(fresh))
    low, high = (
        fitted.residual(fresh.type_of, np.full(len(fresh), u))
        for u in (0.5 - level / 2, 0.5 + level / 2)
    )
    inside = ((residual >= low) & (residual <= high)).mean()
    assert inside == pytest.approx(level, abs=0.03)


def test_luck_is_the_inverse_of_the_residual_and_clipped(fitted):
    type_of, u = np.repeat([0, 1, 2], 9), np.tile(np.linspace(0.02, 0.98, 9), 3)
    np.testing.assert_allclose(fitted.luck(type_of, fitted.residual(type_of, u)), u, atol=1e-6)
    ends = fitted.luck(np.array([1, 1]), np.array([-99.0, 99.0]))
    np.testing.assert_allclose(ends, [1 / 402, 1 - 1 / 402])


def test_amdahls_term_speaks_of_cpus_that_were_never_given():
    """Two of four columns are enough to know the others, by their cpus."""
    done, y, _ = drawn([amdahl], 900)
    seen = done.column != 1
    made = Durations.fit(done.where(seen), np.exp(y[seen]), 1, RESOURCES, kinds=(PARAMETRIC,))
    size = np.full(2, 4000.0)
    told = made.log_mean(np.zeros(2, int), np.stack([size, np.ones(2)], axis=1), np.array([0, 1]))
    assert told[1] < told[0] - 0.1


def test_a_type_with_few_executions_has_its_own_level_and_the_slope_of_all():
    done, y, _ = drawn([amdahl], 600)
    rare = np.arange(600) < 6
    done = executed(rare.astype(int), done.column, done.data, np.exp(y + rare))
    made = Durations.fit(done, done.seconds, 2, RESOURCES)
    assert made.kinds == (PARAMETRIC, POOLED)
    assert made.errors[1] == {}
    fresh, _, mean = drawn([amdahl], 300, seed=3)
    told = made.log_mean(np.ones(300, int), fresh.data, fresh.column)
    assert np.std(told - mean) < 0.1
    assert np.mean(told - mean) == pytest.approx(1.0, abs=0.35)
    ends = made.luck(np.array([1, 1]), np.array([-99.0, 99.0]))
    np.testing.assert_allclose(ends, [1 / 12, 11 / 12])


def test_a_type_that_never_ran_is_told_by_all_others():
    done, y, mean = drawn([amdahl], 300)
    made = Durations.fit(done, np.exp(y), 2, RESOURCES)
    assert made.kinds == (PARAMETRIC, POOLED)
    told = made.log_mean(np.ones(300, int), done.data, done.column)
    assert np.abs(told - mean).mean() < 0.1
    assert made.beyond(np.ones(300, int), done.data, done.column).all()


def test_few_jobs_are_pooled_however_many_tasks_they_have():
    done, y, _ = drawn([amdahl], 100)
    two = executed(done.type_of, done.column, done.data, np.exp(y), job=np.arange(100) % 2)
    assert Durations.fit(two, np.exp(y), 1, RESOURCES).kinds == (POOLED,)


def test_the_mean_of_a_column_is_its_own_and_that_of_all_where_none_was():
    column = np.repeat([0, 1], 20)
    done = executed(np.zeros(40, int), column, np.ones((40, 1)), np.exp(column * 2.0))
    made = Durations.fit(done, done.seconds, 1, RESOURCES, kinds=(MEAN,))
    told = made.log_means(np.zeros(1, int), np.ones((1, 1)))
    np.testing.assert_allclose(told, [[0.0, 2.0, 1.0]], atol=1e-9)


def test_what_was_never_seen_is_flagged(fitted):
    low, high = fitted.low[1, 0], fitted.high[1, 0]
    size = np.array([low, high, high * 1.09, high * 1.11, low / 1.09, low / 1.11])
    data = np.stack([size, np.full(6, 1.5)], axis=1)
    found = fitted.beyond(np.ones(6, int), data, np.zeros(6, int))
    assert found.tolist() == [False, False, False, True, False, True]
    done, y, _ = drawn([amdahl], 300)
    some = done.column != 2
    part = Durations.fit(done.where(some), np.exp(y[some]), 1, RESOURCES)
    assert part.beyond(*asked(done)).tolist() == (~some).tolist()


def test_log_means_are_those_of_every_column(fitted):
    fresh, _, _ = drawn(list(LAWS.values()), 50, seed=4)
    table = fitted.log_means(fresh.type_of, fresh.data)
    np.testing.assert_array_equal(
        table[np.arange(50), fresh.column], fitted.log_mean(*asked(fresh))
    )


def test_kinds_that_are_known_need_no_competition(fitted):
    done, y, _ = drawn(list(LAWS.values()), 2400)
    made = Durations.fit(done, np.exp(y), 3, RESOURCES, kinds=fitted.kinds)
    assert made.kinds == fitted.kinds
    assert [list(e) for e in made.errors] == [[MEAN], [PARAMETRIC], [BOOSTED]]
    assert json.dumps(made.trees[2].to_dict()) == json.dumps(fitted.trees[2].to_dict())


def test_the_same_data_and_seed_give_the_same_bytes(fitted):
    done, y, _ = drawn(list(LAWS.values()), 2400)
    again = Durations.fit(done, np.exp(y), 3, RESOURCES)
    assert json.dumps(again.to_dict()) == json.dumps(fitted.to_dict())


def test_a_model_survives_json_with_its_trees(fitted):
    again = Durations.from_dict(json.loads(json.dumps(fitted.to_dict())))
    fresh, y, _ = drawn(list(LAWS.values()), 200, seed=5)
    np.testing.assert_array_equal(again.log_mean(*asked(fresh)), fitted.log_mean(*asked(fresh)))
    residual = y - fitted.log_mean(*asked(fresh))
    np.testing.assert_array_equal(
        again.luck(fresh.type_of, residual), fitted.luck(fresh.type_of, residual)
    )
    assert json.dumps(again.to_dict()) == json.dumps(fitted.to_dict())


def test_a_type_that_never_ran_survives_json():
    done, y, _ = drawn([amdahl], 100)
    made = Durations.fit(done, np.exp(y), 2, RESOURCES)
    text = json.dumps(made.to_dict(), allow_nan=False)
    again = Durations.from_dict(json.loads(text))
    np.testing.assert_array_equal(again.low, made.low)
    np.testing.assert_array_equal(again.high, made.high)


def loops(told):
    told["trees"]["2"]["left"][0] = 0


def forgets(told):
    del told["trees"]["2"]["threshold"]


def asks_beyond(told):
    told["trees"]["2"]["feature"][0] = 5


def belongs_to_none(told):
    told["trees"]["3"] = told["trees"]["2"]


@pytest.mark.parametrize(
    "damage",
    [
        loops,
        forgets,
        asks_beyond,
        belongs_to_none,
        lambda told: told.pop("centre"),
        lambda told: told.update(trees=[]),
        lambda told: told.update(trees={"x": {}}),
        lambda told: told.update(residuals="many"),
        lambda told: told.update(coefficients=[[1.0]]),
        lambda told: told["counts"][0].__setitem__(0, 10**30),
        lambda told: told["kinds"].pop(),
        lambda told: told["residuals"].pop(),
        lambda told: told["resources"].pop(),
        lambda told: told["low"][0].pop(),
        lambda told: told.update(errors=[1]),
    ],
)
def test_a_damaged_model_is_refused(fitted, damage):
    told = json.loads(json.dumps(fitted.to_dict()))
    damage(told)
    with pytest.raises(CorruptError, match="the duration model is damaged"):
        Durations.from_dict(told)


def test_a_model_that_is_none_is_refused():
    with pytest.raises(CorruptError, match="damaged"):
        Durations.from_dict([])


def test_too_few_executions_are_no_data():
    done, y, _ = drawn([amdahl], 2)
    with pytest.raises(ConfigError, match="2 finished tasks are too few") as caught:
        Durations.fit(done, np.exp(y), 1, RESOURCES)
    assert "toolkit collect" in caught.value.hint
