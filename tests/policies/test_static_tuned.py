"""Fixed profiles that are told."""

import numpy as np
import pytest

from toolkit.catalogue import Catalogue
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, ToolkitError
from toolkit.policies.static import Static
from toolkit.policies.static_tuned import StaticTuned
from toolkit.simulator.simulator import simulated

TRAINING = range(5000, 5016)


def returns(of, policy):
    found = []
    for seed in TRAINING:
        episode = simulated(
            of, policy, of.plan(seed), seed, horizon=of.horizon, weights=of.weights
        )  # fmt: skip
        found.append(sum(s.reward for s in episode.steps))
    return np.array(found)


def test_every_task_of_a_type_gets_the_profile_that_is_told():
    of = scenario_of("genomics_tiny")
    policy = StaticTuned(profiles={"kmer": [2, 64], "call": [1, 64]})
    workload = of.plan(3)
    episode = simulated(of, policy, workload, 3, horizon=of.horizon, weights=of.weights)
    kinds = [workload.types[t] for t in workload.arrays.type_of]
    offered = [list(map(float, p)) for p in of.profiles]
    chosen = {k: offered[p] for k, p in zip(kinds, episode.outcome.profile, strict=True)}
    assert chosen["kmer"] == [2, 64]
    assert chosen["call"] == [1, 64]
    rest = simulated(of, Static(), workload, 3, horizon=of.horizon, weights=of.weights)
    usual = {k: offered[p] for k, p in zip(kinds, rest.outcome.profile, strict=True)}
    assert {k: chosen[k] for k in ("qc", "trim", "align", "merge")} == {
        k: usual[k] for k in ("qc", "trim", "align", "merge")
    }


def test_no_change_of_one_type_does_better_on_training_workloads():
    of = scenario_of("genomics_open")
    profiles = dict(Catalogue().read("policy/static_tuned")["profiles"])
    best = returns(of, StaticTuned(profiles=profiles)).mean()
    assert best > returns(of, Static()).mean() + 20
    for name in profiles:
        for other in [p for p in of.profiles if p[0] <= of.cpus]:
            told = {**profiles, name: list(other)}
            assert returns(of, StaticTuned(profiles=told)).mean() <= best + 1e-9


def test_it_asks_to_be_prepared():
    of = scenario_of("genomics_tiny")
    fresh = StaticTuned(profiles={})

    class Never:
        name = "never"
        probabilities = fresh.probabilities

        def reset(self, workload):
            pass

    with pytest.raises(ToolkitError, match="reset"):
        simulated(of, Never(), of.plan(0), 0, horizon=of.horizon, weights=of.weights)


def test_a_profile_that_is_not_offered_is_refused():
    with pytest.raises(ConfigError, match="offers no profile") as caught:
        StaticTuned(profiles={"qc": [3, 4]}).reset(scenario_of("genomics_tiny").plan(0))
    assert "[1, 4]" in caught.value.hint
    with pytest.raises(ConfigError, match="CPUs and MiB"):
        StaticTuned(profiles={"qc": [3]})
