"""What holds of every algorithm of several agents."""

import numpy as np
import pytest
import torch

from tests.envs.standins import Placement
from tests.learning.lessons import CutError, cut_after, equal
from tests.learning.several import SMALL, drawn, given, learnt, small, tiny
from toolkit.data.transitions import Description
from toolkit.errors import ConfigError
from toolkit.learning.learner import run
from toolkit.learning.play import looked_at_together, play_together
from toolkit.policies import learned
from toolkit.simulator.simulator import simulated

NAMES = list(SMALL)
SEEDS = range(100, 148)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_and_its_artefact_acts_the_same(name, tmp_path):
    scenario, trained = tiny(), learnt(name)
    together = play_together(trained.network, scenario, SEEDS)
    assert together.batch.returns.mean() > drawn(scenario, SEEDS).mean() + 1.5
    assert not together.invalid.any()
    story = trained.story
    assert story["worst"] <= story["start"] <= story["best"]
    assert story["best"] > story["start"]
    about = Description.of(scenario.plan(0), scenario.weights).to_dict()
    learned.save(trained.network, about, tmp_path)
    policy = learned.load(tmp_path, "mine")
    assert equal(policy.network, trained.network)
    returns = [
        sum(
            step.reward
            for step in simulated(
                scenario, policy, scenario.plan(seed), seed,
                horizon=scenario.horizon, weights=scenario.weights,
            ).steps
        )
        for seed in SEEDS[:8]
    ]  # fmt: skip
    np.testing.assert_allclose(returns, together.batch.returns[:8])


def quick(name):
    changes = {"n_steps": 30, "gate_every": 10, "report_every": 10}
    if "ppo" in name:
        changes = {"n_steps": 1152, "gate_every": 1, "report_every": 384, "rollout": 96,
                   "copies": 4, "alike": 2}  # fmt: skip
    return {**changes, "gate_workloads": 2}


@pytest.mark.parametrize(
    ("name", "network"), [("marl_ppo", "candidates"), *((name, "mlp") for name in NAMES)]
)
def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(name, network, tmp_path):
    algo, file = small(name, **quick(name), network=network), tmp_path / "checkpoint.safetensors"
    assert algo.name == name
    whole = run(algo, given(3))
    with pytest.raises(CutError):
        run(algo, given(3), checkpoint=file, due=cut_after(2 if "ppo" in name else 15))
    torch.rand(10)
    resumed = run(algo, given(3), checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert whole.story == resumed.story
    assert whole.curve == [(s, pytest.approx(v)) for s, v in resumed.curve]


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_begins_with_other_weights(name):
    algo = small(name, **quick(name))
    one, again, other = (algo.start(given(seed)).present() for seed in (3, 3, 4))
    assert equal(one, again)
    assert not equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_states_are_worth_what_the_agents_say(name):
    learner = small(name, **quick(name)).start(given())
    while learner.done < learner._settings.n_steps:
        learner.step(learner._settings.n_steps - learner.done)
    seen = looked_at_together(tiny(), copies=4, steps=4, seed=0)
    worths = learner.worths(seen)
    assert worths.shape == seen.shape[:2]
    assert torch.isfinite(worths).all()
    same = seen[:, :1].expand_as(seen)
    torch.testing.assert_close(learner.worth(seen[:, 0]), learner.worths(same).mean(1))
    assert learner.worth(seen[:, 0]).std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_decisions_of_all_agents_count(name):
    algo = small(name, **quick(name))
    learner = algo.start(given())
    taken, _ = learner.step(algo.n_steps)
    n = 6
    if name == "independent_q":
        assert learner.story()["decisions"] == n * (256 + 8)
    else:
        assert taken == learner.done == 96 // n * n * 4


@pytest.mark.parametrize("name", NAMES)
def test_only_an_allocation_has_several_agents(name):
    with pytest.raises(ConfigError, match=f"{name} trains an agent for every process type"):
        small(name).start(given(scenario=Placement()))


@pytest.mark.parametrize("name", NAMES)
def test_it_heeds_neither_a_policy_nor_a_curriculum(name):
    algo = small(name)
    assert not algo.goes_on
    assert not algo.staged
    assert not algo.offline


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("marl_ppo", "clip", 0.0),
        ("marl_ppo", "warm_start", {
            "_target_": "toolkit.learning.warm_start.WarmStart", "critic_steps": 7}),
        ("hierarchical_ppo", "every", 0),
        ("hierarchical_ppo", "pull", -0.1),
        ("independent_q", "multi_step", 3),
        ("independent_q", "gate_workloads", 0),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(name, setting, value):
    with pytest.raises(Exception, match=setting):
        small(name, **{setting: value})
