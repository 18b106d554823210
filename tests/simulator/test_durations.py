"""Duration models: they find what generated the data, and keep its spread."""

import numpy as np
import pytest

from toolkit.errors import ConfigError, CorruptError
from toolkit.simulator.durations import DurationModel, Observations, estimate


def observe(n=3000, seed=0, sigma=0.25):
    rng = np.random.default_rng(seed)
    reads = 4000 * np.exp(0.6 * rng.standard_normal(n))
    accuracy = rng.uniform(0.97, 0.999, n)
    type_of = rng.integers(0, 2, n)
    profile = rng.integers(0, 3, n)
    # Type 0 grows linearly and speeds up with the profile; type 1 with the square root.
    level = np.array([[-2.0, -2.6, -2.9], [-3.0, -3.0, -3.0]])[type_of, profile]
    slope = np.array([1.0, 0.5])[type_of]
    log = level + slope * np.log(reads / 4000) - 8 * (accuracy - 0.985) * (type_of == 0)
    seconds = np.exp(log + sigma * rng.standard_normal(n))
    return (
        Observations(
            type_of=type_of,
            profile=profile,
            features=np.stack([reads, accuracy], axis=1),
            sizes=reads,
            seconds=seconds,
        ),
        log,
    )


def test_a_model_finds_the_mean_that_made_the_data():
    observed, truth = observe()
    model = DurationModel.fit(observed, 2, 3)
    fresh, log = observe(seed=1)
    assert np.abs(model.log_mean(fresh) - log).mean() < 0.03
    assert np.abs(model.log_mean(observed) - truth).mean() < 0.03


def test_residuals_keep_their_spread_and_intervals_cover():
    observed, _ = observe()
    model = DurationModel.fit(observed, 2, 3)
    fresh, _ = observe(seed=2)
    residual = np.log(fresh.seconds) - model.log_mean(fresh)
    low = model.residual(fresh.type_of, np.full(len(fresh), 0.05))
    high = model.residual(fresh.type_of, np.full(len(fresh), 0.95))
    inside = ((residual >= low) & (residual <= high)).mean()
    assert abs(inside - 0.9) < 2.58 * np.sqrt(0.09 / len(fresh)) + 0.01


def test_a_model_survives_plain_values_and_refuses_damaged_ones():
    observed, _ = observe(300)
    model = DurationModel.fit(observed, 2, 3)
    again = DurationModel.from_dict(model.to_dict())
    np.testing.assert_array_equal(again.log_mean(observed), model.log_mean(observed))
    with pytest.raises(CorruptError, match="damaged"):
        DurationModel.from_dict({"centre": [1]})


def test_a_type_without_observations_is_named():
    observed, _ = observe(100)
    with pytest.raises(ConfigError, match="process type 2 was observed 0 times"):
        DurationModel.fit(observed, 3, 3)


def test_estimates_read_level_and_slope_off_a_sweep():
    sizes = np.array([1.0, 2.0, 8.0] * 2)
    profile = np.array([0, 0, 0, 1, 1, 1])
    seconds = np.where(profile == 0, 3.0, 1.5) * sizes**0.5
    observed = Observations(
        type_of=np.zeros(6, dtype=int),
        profile=profile,
        features=sizes[:, None],
        sizes=sizes,
        seconds=seconds,
    )
    told = estimate(observed, 1, 3, 1.0)
    np.testing.assert_allclose(told.exponent, [0.5])
    np.testing.assert_allclose(np.exp(told.intercept[0]), [3.0, 1.5, 1.5])
