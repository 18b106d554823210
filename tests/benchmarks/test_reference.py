"""References: the same return as of recorded steps, the same episodes for all, the best by role."""

import dataclasses
import math

import numpy as np
import pytest
from hydra.utils import instantiate

from tests.workloads import Luck, estimates, scenario
from toolkit.benchmarks.reference import BOUND, Reference, bound, choose, references
from toolkit.catalogue import Catalogue
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.reward import WorkflowWeights
from toolkit.simulator.simulator import Simulator

SEEDS = (5, 6, 7)
TINY = [
    ("workflows_tiny", ("random", "srpt_heft", "fifo"), []),
    ("genomics_tiny", ("random", "static_history"), []),
    ("genomics_tiny", ("random", "static"), ["scenario.horizon=1.5"]),
    ("batches_tiny", ("random", "paper_random"), []),
]


def make(names):
    return {n: instantiate(Catalogue().read(f"policy/{n}"), _convert_="all") for n in names}


def recorded(of, policy, seed):
    workload = of.plan(seed)
    policy.reset(workload)
    return rollout(
        Simulator(of, seed),
        workload,
        chooser(policy, seed),
        horizon=of.horizon,
        weights=of.weights,
    )


@pytest.mark.parametrize(("name", "policies", "words"), TINY, ids=str)
def test_returns_are_those_of_the_recorded_steps(name, policies, words):
    of = scenario_of(name, words)
    found = references(of, make(policies), SEEDS)
    assert list(found) == list(policies)
    for policy, reference in found.items():
        episodes = [recorded(of, make([policy])[policy], seed) for seed in SEEDS]
        returns = [sum(s.reward for s in e.steps) for e in episodes]
        assert reference.value == pytest.approx(np.mean(returns))
        assert min(returns) - 1e-9 <= reference.low <= reference.value
        assert reference.value <= reference.high <= max(returns) + 1e-9
        assert reference.seeds == len(SEEDS)
        assert reference.truncated == np.mean([not e.terminated for e in episodes])
        latency = [np.nanmean(e.outcome.completed - e.outcome.arrived) for e in episodes]
        assert reference.latency_mean == pytest.approx(np.mean(latency))
        span = [np.nanmax(e.outcome.completed) - e.outcome.arrived[0] for e in episodes]
        assert reference.makespan == pytest.approx(np.mean(span))


@pytest.mark.parametrize(("name", "policies", "words"), TINY, ids=str)
def test_nobody_exceeds_the_bound(name, policies, words):
    of = scenario_of(name, words)
    most = bound(of, SEEDS)
    assert (most.policy, most.seeds) == (BOUND, len(SEEDS))
    assert math.isnan(most.makespan)
    assert all(r.value <= most.value for r in references(of, make(policies), SEEDS).values())


def test_a_policy_is_worth_the_same_whoever_plays_beside_it():
    of = scenario_of("workflows_tiny")
    together = references(of, make(["srpt_heft", "random", "genetic"]), SEEDS)
    for name, reference in together.items():
        assert references(of, make([name]), SEEDS) == {name: reference}


def test_every_episode_is_told():
    told = []
    of = scenario_of("batches_tiny", ["scenario.batches=1"])
    references(of, make(["largest", "random"]), SEEDS, on_episode=told.append)
    assert sorted(told) == ["largest"] * 3 + ["random"] * 3


class Fitted:
    """What a calibration offers: plans, truth and rules of its own."""

    def __init__(self):
        self.planned = scenario()
        self.weights, self.horizon = self.planned.weights, self.planned.horizon

    def plan(self, seed):
        return self.planned.plan(seed, estimates=estimates(self.planned))

    def truth(self, workload, seed):
        return Luck().truth(workload, seed)


def test_a_calibration_plans_and_pays():
    of = Fitted()
    found = references(of, make(["static"]), SEEDS)["static"]
    assert math.isfinite(found.value)
    assert found.truncated == 0
    assert found.value <= bound(of, SEEDS).value


def test_an_episode_that_finishes_nothing_has_no_times():
    of = scenario_of("genomics_tiny", ["scenario.horizon=0.02", "scenario.interval=0.01"])
    found = references(of, make(["static"]), SEEDS)["static"]
    assert found.truncated == 1
    assert math.isnan(found.latency_mean)
    assert math.isnan(found.makespan)


def test_without_a_known_bound_there_is_none():
    weights = WorkflowWeights(utilisation=1)
    endless = dataclasses.replace(scenario_of("workflows_tiny"), weights=weights, horizon=math.inf)
    assert bound(endless, SEEDS) is None


def test_the_best_of_each_role_is_chosen():
    def one(policy, value):
        return Reference(
            policy=policy,
            value=value,
            low=value,
            high=value,
            seeds=1,
            latency_mean=1.0,
            makespan=1.0,
            truncated=0.0,
        )

    found = {n: one(n, v) for n, v in (("b", -1.0), ("a", -1.0), ("c", -3.0), ("d", 2.0))}
    roles = {"heft": ["c", "b", "a"], "static": ["c"], "any": ["a", "d", "absent"]}
    assert choose(found, roles) == {"heft": "a", "static": "c", "any": "d"}
    with pytest.raises(ConfigError, match="'rare'"):
        choose(found, {"rare": ["absent"]})


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_are_some_and_distinct(seeds):
    of = scenario_of("batches_tiny")
    with pytest.raises(ConfigError, match="seed"):
        references(of, {}, seeds)
    with pytest.raises(ConfigError, match="seed"):
        bound(of, seeds)
