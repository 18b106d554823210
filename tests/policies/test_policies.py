"""Every YAML of ``conf/policy`` keeps the contract; the heuristics do what they say."""

import numpy as np
import pytest
from hydra.utils import instantiate

from tests.workloads import Fixed, Luck, ask, before, estimates, scenario
from toolkit.catalogue import Catalogue
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.features.allocation import MHEFT_ADVICE, STATIC_ADVICE
from toolkit.live import chooser, rollout
from toolkit.policies.mixture import Mixture
from toolkit.policies.policy import IllegalPolicyError, draw
from toolkit.policies.random import Random
from toolkit.policies.reactive import Reactive
from toolkit.seeding import generator
from toolkit.simulator.simulator import Simulator
from toolkit.simulator.state import ARRIVED, apply_event

NAMES = Catalogue().groups["policy"]


def make(name):
    return instantiate(Catalogue().read(f"policy/{name}"))


def decisions(of=None, seed=0):
    of = of or scenario(rate=8)
    workload = of.plan(seed, estimates=estimates(of))
    seen = []
    answer = chooser(Random(), seed)

    def look(decision):
        seen.append(decision)
        return answer(decision)

    rollout(
        Simulator(Luck(), seed),
        workload,
        look,
        horizon=of.horizon,
        weights=of.weights,
    )
    return workload, seen


ALIASES = {"heft": "heft_static"}
TINY = [scenario_of(name) for name in ("genomics_tiny", "workflows_tiny", "batches_tiny")]


def played(name, of):
    """The choices of a policy in a tiny scenario; None where it is made for another family."""
    workload, policy = of.plan(3), make(name)
    try:
        policy.reset(workload)
    except ConfigError:
        return None
    assert policy.name == ALIASES.get(name, name)
    episode = rollout(
        Simulator(of, 3), workload, chooser(policy, 3), horizon=of.horizon, weights=of.weights
    )
    assert episode.terminated
    for step in episode.steps:
        assert step.decision.mask[step.action]
    return [step.action for step in episode.steps]


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_plays_its_family_legally_and_repeats_itself(name):
    """``draw`` refuses whatever is no distribution over the allowed slots."""
    first = [played(name, of) for of in TINY]
    assert any(actions is not None for actions in first)
    assert first == [played(name, of) for of in TINY]


def test_static_takes_the_profile_that_lets_most_through():
    workload, seen = decisions()
    w = workload.arrays
    share = np.maximum(w.demand[:, 0] / 2, w.demand[:, 1] / (96 * 2**20))
    cost = w.seconds * share
    cost[:, 4] = np.inf
    for decision in seen:
        expected = int(np.argmin(cost[decision.subject]))
        assert decision.candidates[expected, STATIC_ADVICE] == 1.0
        assert decision.candidates[:, STATIC_ADVICE].sum() == 1.0


def test_mheft_takes_at_most_half_while_another_waits_and_the_fastest_when_alone():
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))
    scene = before(workload)
    first = int(workload.arrays.order[0])
    apply_event(scene.known, ARRIVED, 0, 0.0, 0.0)
    alone = ask(scene, 0)
    assert alone.subject == first
    fastest = int(np.argmin(workload.arrays.seconds[first][:4]))
    assert alone.candidates[:, MHEFT_ADVICE].argmax() == fastest
    other = int(workload.arrays.order[1])
    scene.state.by_type[other, 0] = 2.0
    crowded = ask(scene, 0).candidates[:, MHEFT_ADVICE].argmax()
    assert workload.arrays.demand[crowded, 0] <= 1
    assert workload.arrays.demand[crowded, 1] <= 48 * 2**20


def test_reactive_gives_more_to_longer_queues():
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))
    policy = Reactive(rung=2)
    taken = []
    for waiting in range(9):
        scene = before(workload)
        scene.state.by_type[0, 0] = waiting
        position = list(workload.arrays.order).index(0)
        slot = int(np.argmax(policy.probabilities(ask(scene, position))))
        taken.append(tuple(workload.arrays.demand[slot, :2]))
    assert taken == sorted(taken)
    assert taken[0] == (1, 8 * 2**20)
    assert taken[-1] == (2, 64 * 2**20)


def test_a_mixture_explores_at_its_rate_and_records_it():
    _workload, seen = decisions()
    slots = [0] * 6
    mixed = Mixture(of=Fixed(slots), epsilon=0.4)
    p = mixed.probabilities(seen[0])
    np.testing.assert_allclose(p, [0.6 + 0.1, 0.1, 0.1, 0.1, 0.0])
    rng = generator(0, "test")
    drawn = [draw(mixed, seen[0], rng) for _ in range(4000)]
    share = np.mean([slot == 0 for slot, _ in drawn])
    assert abs(share - 0.7) < 2.58 * np.sqrt(0.7 * 0.3 / 4000)
    assert {round(q, 12) for slot, q in drawn if slot == 0} == {0.7}


@pytest.mark.parametrize("epsilon", [-0.1, 1.1])
def test_a_mixture_refuses_what_is_no_probability(epsilon):
    with pytest.raises(ConfigError, match="epsilon"):
        Mixture(of=Random(), epsilon=epsilon)


@pytest.mark.parametrize(
    "answer",
    [[0.5, 0.5], [0.0, 0.0, 0.0, 0.0, 1.0], [float("nan")] * 5, [2, -1, 0, 0, 0], [0.2] * 4 + [0]],
)
def test_an_illegal_answer_is_refused_with_its_mask(answer):
    _, seen = decisions()

    class Broken(Fixed):
        def probabilities(self, decision):
            return np.array(answer, dtype=float)

    with pytest.raises(IllegalPolicyError, match="mask"):
        draw(Broken([0] * 6), seen[0], generator(0))
