"""A network that selects and DEFT: a network that mimics a rule schedules as the rule does."""

import json

import numpy as np
import pytest
import torch

from tests.envs.standins import Allocation, Placement
from tests.learning.selections import jobs, lowest
from tests.policies.test_rules import workflows
from toolkit.data.transitions import Description
from toolkit.errors import ConfigError, CorruptError, ToolkitError
from toolkit.learning.decima import selected
from toolkit.networks.graph_network import GraphScorer
from toolkit.policies import learned
from toolkit.policies.fifo_deft import FifoDeft
from toolkit.policies.graph_deft import GraphDeft
from toolkit.policies.policy import draw
from toolkit.simulator.simulator import simulated
from toolkit.simulator.state import LOST, RETURNED

GROUNDS = {
    "unequal": workflows(),
    "copies": workflows(duplicate=True),
    "alike": jobs(),
    "few slots": jobs(slots=2),
    "outages": Placement(
        outages=((10.0, 0, LOST), (30.0, 0, RETURNED), (40.0, 1, LOST), (60.0, 1, RETURNED))
    ),
}


def about(of):
    return {**Description.of(of.plan(0), of.weights).to_dict(), "lineage": {"algo": "decima"}}


def play(policy, of, seed, record=False):
    return simulated(
        of, policy, of.plan(seed), seed, horizon=of.horizon, weights=of.weights, record=record
    )


def policy_of(of, network):
    return GraphDeft(name="mine", network=network.eval(), about=about(of))


def fresh(seed=0, **changes):
    torch.manual_seed(seed)
    return GraphScorer(**{"variant": "lachesis", "hidden": 4, "rounds": 4, **changes})


@pytest.mark.parametrize("name", GROUNDS)
def test_a_network_that_mimics_fifo_is_fifo_deft(name):
    of = GROUNDS[name]
    for seed in range(3):
        wanted = play(FifoDeft(), of, seed).outcome
        found = play(policy_of(of, lowest()), of, seed).outcome
        np.testing.assert_array_equal(found.finished, wanted.finished)
        np.testing.assert_array_equal(found.node, wanted.node)


def test_late_on_identical_nodes_is_the_head_of_the_line():
    """Whoever is selected finds a node with room, so that nobody is there to overtake."""
    for seed in range(3):
        wanted = play(FifoDeft(strict=True), jobs(), seed).outcome
        found = play(policy_of(jobs(), lowest(late=True)), jobs(), seed).outcome
        np.testing.assert_array_equal(found.finished, wanted.finished)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", GROUNDS)
def test_episodes_of_selections_are_those_of_the_engine(name, late):
    of, network = GROUNDS[name], fresh(late=late)
    playing = selected(network, of, range(4))
    for seed in range(4):
        episode = play(policy_of(of, network), of, seed, record=True)
        np.testing.assert_array_equal(
            playing.scene(seed).state.finished, episode.scene.state.finished
        )
        returned = sum(step.reward for step in episode.steps)
        # The engine pays from the first choice on, whether or not it was one.
        assert playing.returns[seed] == pytest.approx(returned)


def test_it_answers_for_sure_and_within_the_mask():
    of, rng = jobs(), np.random.default_rng(0)
    policy = policy_of(of, fresh(late=True))
    episode = play(policy, of, 0, record=True)
    assert episode.terminated
    workload = of.plan(0)
    policy.reset(workload)
    assert all(s.propensity == 1.0 and s.decision.mask[s.action] for s in episode.steps)
    with pytest.raises(ToolkitError, match="call reset"):
        policy.reset(of.plan(1))
        draw(policy, episode.steps[0].decision, rng)


def test_other_families_are_refused():
    with pytest.raises(ConfigError, match="placement"):
        policy_of(jobs(), fresh()).reset(Allocation().plan(0))
    with pytest.raises(ConfigError, match="no tasks to select"):
        selected(fresh(), Allocation(), [0])


def test_an_artefact_comes_back_and_acts_the_same(tmp_path):
    of, network = jobs(), fresh(late=True, network="mlp")
    learned.save(network, about(of), tmp_path)
    policy = learned.load(tmp_path, "mine")
    assert isinstance(policy, GraphDeft)
    assert policy.network.sizes() == network.sizes()
    wanted = play(policy_of(of, network), of, 5).outcome.finished
    np.testing.assert_array_equal(play(policy, of, 5).outcome.finished, wanted)
    policy.check(about(of))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "tree"}, {"kind": "scorer"}, {"sizes": {}}, {"sizes": [1]},
        {"hidden": 8}, {"hidden": 10**9}, {"rounds": 0}, {"variant": "decima"}, {"graph": 2},
    ],
)  # fmt: skip
def test_an_artefact_that_lies_is_refused(tmp_path, change):
    learned.save(fresh(), about(jobs()), tmp_path)
    file = tmp_path / "policy.json"
    document = json.loads(file.read_text())
    beside = {k: v for k, v in change.items() if k in ("kind", "sizes")}
    within = {k: v for k, v in change.items() if k not in beside}
    changed = {**document, "sizes": {**document["sizes"], **within}, **beside}
    file.write_text(json.dumps(changed))
    with pytest.raises(CorruptError, match="cannot be read"):
        learned.load(tmp_path, "mine")


def test_a_damaged_artefact_is_refused(tmp_path):
    learned.save(fresh(), about(jobs()), tmp_path)
    file = tmp_path / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CorruptError, match="cannot be read"):
        learned.load(tmp_path, "mine")
