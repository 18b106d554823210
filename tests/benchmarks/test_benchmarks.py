"""Benchmarks: every tier of every benchmark can be played, and its references are known."""

import pytest

from toolkit.benchmarks.benchmark import FIRST_SEED, SEARCH, benchmark_of, benchmarks
from toolkit.benchmarks.generate import simulate
from toolkit.catalogue import Catalogue
from toolkit.data.card import TIERS
from toolkit.data.transitions import Description
from toolkit.envs.registration import scenario_of
from toolkit.policies.named import named
from toolkit.store import Store
from toolkit.workload import FAMILIES


def scene(name):
    recipe = benchmark_of(name)
    scenario = scenario_of(recipe.scenario, list(recipe.overrides))
    return recipe, scenario, scenario.plan(FIRST_SEED)


def test_every_family_has_a_benchmark_with_all_tiers():
    found = {FAMILIES[scene(n)[2].family]: set(scene(n)[0].tiers) for n in benchmarks()}
    assert found == {family: set(TIERS[:-1]) for family in FAMILIES}


@pytest.mark.parametrize("name", benchmarks())
def test_every_behaviour_policy_plays(name):
    recipe, scenario, workload = scene(name)
    described = Description.of(workload, scenario.weights)
    policies = {p for tier in recipe.tiers.values() for p in tier if p != SEARCH}
    for policy in sorted(policies):
        rows, about = simulate(scenario, named(policy, Store()).policy, FIRST_SEED, described)
        assert about.policy == policy
        assert rows.decisions > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_references_are_policies_of_their_family(family):
    roles = Catalogue().read(f"reference/{family}")
    assert {"random", "static", "heft", "heuristic"} == set(roles)
    name = next(n for n in benchmarks() if FAMILIES[scene(n)[2].family] == family)
    workload = scene(name)[2]
    for role in roles.values():
        for policy in role:
            named(policy, Store()).policy.reset(workload)
