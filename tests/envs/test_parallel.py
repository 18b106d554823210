"""The PettingZoo environment: what its test asks for, and the same episodes as one agent's."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from tests.envs.standins import SCENARIOS, small
from tests.workloads import TYPES
from toolkit.catalogue import Catalogue
from toolkit.envs.environment import SchedulingEnv
from toolkit.envs.parallel import SchedulingParallelEnv
from toolkit.errors import ConfigError

NAMES = Catalogue().groups["scenario"]


@pytest.mark.parametrize("name", [*SCENARIOS, *NAMES])
@pytest.mark.filterwarnings("error")
def test_pettingzoo_finds_nothing_to_say(name):
    parallel_api_test(SchedulingParallelEnv(small(name)), num_cycles=60)


@pytest.mark.parametrize("name", SCENARIOS)
def test_agents_together_run_the_episode_of_one_who_is_asked_in_turn(name):
    together, alone = SchedulingParallelEnv(SCENARIOS[name]), SchedulingEnv(SCENARIOS[name])
    shown, _ = together.reset(seed=4)
    observation, _ = alone.reset(seed=4)
    rng = np.random.default_rng(0)
    while together.agents:
        order = list(together.agents)
        if len(order) > 1:
            order = [TYPES[t] for t in together.scene.workload.arrays.order]
        # Who is asked first has seen no choice of this interval, and sees the same alone.
        np.testing.assert_array_equal(shown[order[0]]["globals"], observation["globals"])
        actions = {
            agent: rng.choice(np.flatnonzero(shown[agent]["action_mask"])) for agent in order
        }
        shown, paid, terminated, _, infos = together.step(actions)
        one = 0.0
        for agent in order:
            observation, reward, over, _, info = alone.step(actions[agent])
            one += reward
        assert set(paid.values()) == {one}
        assert set(terminated.values()) == {over}
        assert infos[agent]["components"] == info["components"]
    assert infos[agent]["metrics"]["unfinished"] == 0


def test_types_choose_at_once_and_see_the_choices_of_the_last_interval():
    env = SchedulingParallelEnv(SCENARIOS["allocation"])
    shown, _ = env.reset(seed=0)
    assert env.possible_agents == list(TYPES)
    current = [s["candidates"][:, 9] for s in shown.values()]
    assert not np.any(current)
    shown, *_ = env.step(dict.fromkeys(env.agents, 2))
    assert all(s["candidates"][2, 9] == 1 for s in shown.values())


def test_masked_slots_are_counted_per_agent_and_missing_actions_refused():
    env = SchedulingParallelEnv(SCENARIOS["allocation"])
    env.reset(seed=0)
    actions = {**dict.fromkeys(env.agents, 0), "trim": 4}  # more cpus than the node has
    *_, infos = env.step(actions)
    assert [agent for agent in env.agents if infos[agent]["invalid"]] == ["trim"]
    with pytest.raises(ConfigError, match=r"\['trim'\] have no action"):
        env.step({agent: 0 for agent in env.agents if agent != "trim"})
