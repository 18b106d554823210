"""Credit: of choices whose effect is known, of agents and of one who chooses in turn."""

import copy
import math

import numpy as np
import pytest
import torch

from evaluations.experiments.credit import choosing_of, credit, judging_of
from tests.learning.lessons import algorithm
from tests.learning.several import given, small, tiny
from tests.networks.test_agents import NAMES, agents
from toolkit.envs.stepping import GOING
from toolkit.envs.together import TogetherBatch
from toolkit.learning.play import play, play_together
from toolkit.networks.agents import NO_TARGET

SEEDS = range(20, 26)


@pytest.mark.parametrize("every", [0, 2])
def test_a_choice_that_is_replaced_is_the_only_one(every):
    """The difference is that of two episodes of which one departs from the other in one choice."""
    choosing, tau = choosing_of(agents(every)), 2.0
    one = credit(choosing, tiny(), SEEDS[:1], discount_seconds=tau, instants=1, seed=3)
    assert [c.agent for c in one] == list(NAMES)
    # Again by hand: the instant and the slots are drawn as there.
    from toolkit.seeding import generator

    env = TogetherBatch(tiny(), SEEDS[:1])
    env.start(0)
    stages, targets = [], torch.full((1, 6), NO_TARGET)
    while env.over[0] == GOING:
        before = copy.deepcopy(env)
        chosen, following = choosing(env, targets)
        stages.append((before, chosen, following))
        env.step(chosen)
        targets = following
    rng = generator(3, "credit")
    at = int(rng.choice(len(stages), size=1, replace=False)[0])

    def worth(env, chosen, targets):
        total, weight = 0.0, 1.0
        while True:
            env.step(chosen)
            total += weight * env.rewards[0]
            weight *= math.exp(-env.elapsed[0] / tau)
            if env.over[0] != GOING:
                return total
            chosen, targets = choosing(env, targets)

    before, chosen, following = stages[at]
    usual = worth(copy.deepcopy(before), chosen, following)
    for k, found in enumerate(one):
        others = np.flatnonzero(before.mask[0, k])
        others = others[others != chosen[0, k]]
        replaced = chosen.copy()
        replaced[0, k] = rng.choice(others)
        other = worth(copy.deepcopy(before), replaced, following)
        assert found.replaced == 1
        assert found.difference == pytest.approx(abs(usual - other))


def test_one_who_chooses_in_turn_plays_as_ever():
    ppo = algorithm(
        "ppo", n_steps=64, copies=8, alike=4, rollout=8, hidden=8, gate_workloads=2
    ).start(given())  # fmt: skip
    network, choosing = ppo.present(), None
    choosing = choosing_of(network)
    env = TogetherBatch(tiny(), SEEDS)
    for i in range(len(SEEDS)):
        env.start(i)
    while (env.over == GOING).any():
        env.step(choosing(env, torch.zeros(len(SEEDS), 6))[0])
    np.testing.assert_allclose(
        env.batch.returns, play(network, tiny(), SEEDS, sampled=False).returns
    )
    found = credit(
        choosing, tiny(), SEEDS, discount_seconds=1.0, judging=judging_of(ppo), instants=2
    )
    assert sum(c.replaced for c in found) > 50
    assert all(c.difference >= 0 and c.share >= 0 for c in found)
    assert all(math.isnan(c.correlation) or abs(c.correlation) <= 1 for c in found)


def test_a_critic_that_knows_what_follows_is_told_from_one_that_knows_nothing():
    choosing, tau = choosing_of(agents()), 2.0

    def rest(env):
        """What follows, found by playing on."""
        twin, total = copy.deepcopy(env), np.zeros(len(env.over))
        weight = np.ones(len(total))
        while (twin.over == GOING).any():
            twin.step(choosing(twin, torch.full(twin.invalid.shape, NO_TARGET))[0])
            total += weight * twin.rewards
            weight *= np.exp(-twin.elapsed / tau)
        return np.repeat(total[:, None], 6, axis=1)

    def noise(env):
        return np.random.default_rng(0).normal(scale=100, size=env.invalid.shape)

    told, untold = (
        credit(choosing, tiny(), SEEDS, discount_seconds=tau, judging=j, instants=3)
        for j in (rest, noise)
    )
    assert [c.difference for c in told] == [c.difference for c in untold]
    moved = [c for c in told if c.difference > 0]
    assert len(moved) >= 4
    assert all(c.correlation == pytest.approx(1.0, abs=1e-6) for c in moved)
    assert np.nanmean([abs(c.correlation) for c in untold]) < 0.7
    blind = credit(choosing, tiny(), SEEDS, discount_seconds=tau, instants=3)
    assert all(math.isnan(c.correlation) for c in blind)


@pytest.mark.parametrize("name", ["marl_ppo", "hierarchical_ppo", "independent_q"])
def test_trainings_of_several_agents_can_be_asked(name):
    changes = {"gate_workloads": 2}
    if "ppo" in name:
        changes |= {"copies": 4, "alike": 2}
    learner = small(name, **changes).start(given())
    choosing = choosing_of(learner.present())
    found = credit(
        choosing, tiny(), SEEDS, discount_seconds=1.0, judging=judging_of(learner), instants=2
    )
    assert len(found) == 6
    together = play_together(learner.present(), tiny(), SEEDS)
    assert np.isfinite(together.batch.returns).all()
