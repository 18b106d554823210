"""On small graphs nobody beats the best of all schedules, and every bound is below it."""

import numpy as np
import pytest

from tests.planning import brute_force, dags
from tests.policies.test_planners import workload
from tests.policies.test_policies import NAMES, make
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.planning import bounds
from toolkit.planning.optimum import optimum
from toolkit.reward import WorkflowWeights
from toolkit.simulator.simulator import Simulator, Truth

SMALL = [dags.random_dag(seed, tasks, nodes) for seed, tasks, nodes in ((0, 6, 2), (1, 5, 3))]


class AsEstimated:
    """Everything takes as long as it is thought to."""

    def truth(self, workload, seed):
        return Truth(seconds=workload.arrays.seconds, scale=workload.arrays.scale)


@pytest.fixture(scope="module")
def best():
    return [brute_force.least(w, bounds.durations_of(w)) for w in SMALL]


def test_the_solver_equals_brute_force_and_bounds_stay_below(best):
    for w, least in zip(SMALL, best, strict=True):
        durations = bounds.durations_of(w)
        found = optimum(w, durations)
        assert found.proven
        assert found.makespan == pytest.approx(least, rel=1e-6)
        assert bounds.makespan(w, durations).value <= least + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_beats_brute_force(name, best):
    for w, least in zip(SMALL, best, strict=True):
        of, policy = workload(w), make(name)
        try:
            policy.reset(of)
        except ConfigError:
            pytest.skip(f"{name} is made for another family")
        episode = rollout(
            Simulator(AsEstimated(), 0),
            of,
            chooser(policy, 0),
            horizon=np.inf,
            weights=WorkflowWeights(elapsed=1.0),
        )
        o = episode.outcome
        assert o.finished.max() - o.started.min() >= least - 1e-9
