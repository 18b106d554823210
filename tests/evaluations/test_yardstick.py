"""Yardsticks: ratios by hand, and what cannot be measured."""

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from evaluations.yardstick import Yardstick, by_waiting, ratio_of
from toolkit.errors import ConfigError
from toolkit.seeding import generator


def test_ratios_are_geometric_and_trainings_are_averaged():
    best = pd.DataFrame({"seed": [1, 2], "training": 0, "cost": [10.0, 20.0]})
    some = pd.DataFrame(
        {"seed": [1, 2, 1, 2], "training": [0, 0, 1, 1], "cost": [5.0, 10.0, 20.0, 40.0]}
    )
    found = ratio_of(some, best, "cost", generator(0, "x"))
    assert found.value == pytest.approx(1.0)
    half = ratio_of(some[some["training"] == 0], best, "cost", generator(0, "x"))
    assert half.value == pytest.approx(0.5)
    np.testing.assert_allclose([half.low, half.high], 0.5)
    none = ratio_of(some.assign(cost=0.0), best, "cost", generator(0, "x"))
    assert np.isnan([none.value, none.low, none.high]).all()


def test_what_is_saved_by_waiting_less():
    slow = pd.DataFrame({"wait_mean": [2.0, 4.0], "latency_mean": [10.0, 12.0]})
    fast = pd.DataFrame({"wait_mean": [1.0, 2.0], "latency_mean": [6.0, 8.0]})
    assert by_waiting(fast, slow) == pytest.approx(1.5 / 4)
    assert by_waiting(slow, fast) is None


def test_a_metric_of_another_family_is_refused():
    one = Yardstick(
        name="x", baselines=["fifo", "random"], also=[], metrics=["core_seconds"], chosen_on=1,
        workloads=2, first_seed=20_000,
    )  # fmt: skip
    cfg = OmegaConf.create(
        {"executor": "processes", "workers": 1, "ray": {"address": None}, "force": False}
    )
    with pytest.raises(ConfigError, match="workflows_tiny has no 'core_seconds' of fifo"):
        one.measure(["workflows_tiny"], {}, cfg)
