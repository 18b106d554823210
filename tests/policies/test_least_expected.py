"""The sequence of configurations of least expected time."""

import itertools

import numpy as np
import pytest

from tests.workloads import Fixed
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.policies.least_expected import LeastExpected, cheapest_path, expected
from toolkit.simulator.simulator import Simulator


def tiny(*words):
    return scenario_of("batches_tiny", ["scenario.period=null", *words])


def took(of, policy, seed=0):
    """When each batch was done, s."""
    workload = of.plan(seed)
    policy.reset(workload)
    episode = rollout(
        Simulator(of, seed), workload, chooser(policy, seed), horizon=of.horizon,
        weights=of.weights,
    )  # fmt: skip
    return episode.outcome.completed


@pytest.mark.parametrize("startup", [0.02, 0.3, 2.0])
def test_no_sequence_takes_less_where_there_is_no_luck(startup):
    of = tiny(
        "scenario.sigma=0", "scenario.cores=[1,3]", "scenario.memory=[500,1000]",
        "scenario.instances=[6]", "scenario.batches=5", "scenario.repeats=2",
        f"scenario.startup={startup}",
    )  # fmt: skip
    planned = took(of, LeastExpected(sigma=0.0, draws=1))[-1]
    every = [took(of, Fixed(list(c)))[-1] for c in itertools.product(range(4), repeat=5)]
    assert planned == pytest.approx(min(every))


def test_expectations_are_the_means_of_the_simulator():
    of = tiny("scenario.startup=0", "scenario.batches=6")
    workload = of.plan(3)
    told, _ = expected(workload, of.sigma, 4000)
    for fleet in (0, 9, 35):
        ends = []
        for seed in range(400):
            policy = Fixed([fleet] * 6)
            episode = rollout(
                Simulator(of, seed), workload, chooser(policy, seed), horizon=of.horizon,
                weights=of.weights, record=False,
            )  # fmt: skip
            ends.append(np.diff(episode.outcome.completed, prepend=0.0))
        mean, error = np.mean(ends, axis=0), np.std(ends, axis=0) / np.sqrt(len(ends))
        np.testing.assert_allclose(told[:, fleet], mean, atol=float(5 * error.max()))


def test_the_cheapest_path_is_that_of_all_paths():
    rng = np.random.default_rng(0)
    for _ in range(30):
        seconds, apply = rng.random((4, 3)), rng.random((3, 3))
        paths = itertools.product(range(3), repeat=4)

        def cost(path, seconds=seconds, apply=apply):
            moves = sum(apply[a, b] for a, b in itertools.pairwise(path))
            return moves + sum(seconds[j, q] for j, q in enumerate(path))

        assert cost(cheapest_path(seconds, apply)) == pytest.approx(min(map(cost, paths)))


@pytest.mark.parametrize(("setting", "value"), [("sigma", -1.0), ("draws", 0)])
def test_what_makes_no_sense_is_refused(setting, value):
    with pytest.raises(ConfigError, match=setting):
        LeastExpected(**{"sigma": 0.1, "draws": 2, setting: value})


def test_hosts_that_hold_nothing_are_refused():
    with pytest.raises(ConfigError, match="hold none"):
        LeastExpected(sigma=0.0, draws=1).reset(tiny("scenario.host_cpus=0.5").plan(0))
