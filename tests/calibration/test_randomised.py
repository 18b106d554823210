"""The errors of a replay as something to train against."""

import numpy as np
import pytest

from tests.recordings import record
from toolkit.calibration.calibration import Sought, fit
from toolkit.calibration.randomised import Randomised
from toolkit.calibration.runs import Runs
from toolkit.errors import ConfigError


@pytest.fixture(scope="module")
def fitted():
    recorded = Runs(record())
    return fit(recorded, recorded.runs, Sought())


def test_factors_are_those_of_a_machine_a_type_and_an_episode(fitted):
    spread, logs = 0.3, []
    for seed in range(400):
        workload = fitted.plan(seed)
        told = Randomised(of=fitted, spread=spread).truth(workload, seed)
        known = fitted.truth(workload, seed)
        ratio = np.log(told.seconds / known.seconds)
        types = workload.arrays.type_of
        for t in np.unique(types):
            assert np.ptp(ratio[types == t]) < 1e-9
        logs.append(ratio[types == 0][0, 0])
    # Machine and type are independent: variances add.
    assert np.std(logs) == pytest.approx(spread * np.sqrt(2), rel=0.15)
    assert np.mean(logs) == pytest.approx(0, abs=0.08)


def test_without_a_spread_it_is_the_replay(fitted):
    workload = fitted.plan(3)
    told, known = Randomised(of=fitted, spread=0.0).truth(workload, 3), fitted.truth(workload, 3)
    np.testing.assert_array_equal(told.seconds, known.seconds)
    np.testing.assert_array_equal(told.start_delay, known.start_delay)


def test_the_same_seed_gives_the_same_truth_and_policies_are_told_the_same(fitted):
    scenario = Randomised(of=fitted, spread=0.5)
    workload = scenario.plan(5)
    a, b = scenario.truth(workload, 5), scenario.truth(workload, 5)
    np.testing.assert_array_equal(a.seconds, b.seconds)
    np.testing.assert_array_equal(workload.arrays.seconds, fitted.plan(5).arrays.seconds)
    assert scenario.name == fitted.planned.name
    with pytest.raises(ConfigError, match="spread"):
        Randomised(of=fitted, spread=-1.0)
