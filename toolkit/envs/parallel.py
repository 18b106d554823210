"""The choices of one instant as the actions of agents that act at once (PettingZoo)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from toolkit.envs.environment import Observation, observations
from toolkit.envs.stepping import GOING, TERMINATED, TRUNCATED
from toolkit.envs.together import TogetherBatch
from toolkit.errors import require
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.scene import Scene


class SchedulingParallelEnv(ParallelEnv):  # type: ignore[misc]
    """A scenario whose agents choose together and share one reward.

    Who the agents are says :class:`~toolkit.envs.together.TogetherBatch`, of which this is one
    copy. Observations and infos are those of :class:`~toolkit.envs.environment.SchedulingEnv`,
    except that the mask among the observations is called ``action_mask``, as PettingZoo's tools
    expect.

    Args:
        scenario: What is planned afresh for every episode.
        seed: Seed of the first workload and of the stream of those after it.
        observation_noise: As for a single environment.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "scheduling_v0", "render_modes": []}

    def __init__(
        self, scenario: Scenario, seed: int = 0, observation_noise: float | None = None
    ) -> None:
        self._together = TogetherBatch(scenario, [seed], observation_noise)
        self.possible_agents = list(self._together.agents)
        self.agents: list[str] = []
        sizes = self._together.sizes
        self._observed = {
            agent: observations(sizes, "action_mask") for agent in self.possible_agents
        }
        self._acted = {agent: spaces.Discrete(sizes[1]) for agent in self.possible_agents}
        self.render_mode = None

    def observation_space(self, agent: str) -> spaces.Dict:
        """Return the space of an agent's observations."""
        return self._observed[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return the space of an agent's actions."""
        return self._acted[agent]

    @property
    def scene(self) -> Scene:
        """Where the episode stands."""
        return self._together.batch.scene(0)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Plan a workload and go to its first choice; ``options`` are not used."""
        self._together.start(0, seed)
        self.agents = list(self.possible_agents)
        return self._shown(), {agent: self._together.batch.info(0) for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, Observation],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Take the slots of all agents and go to the next choice.

        Args:
            actions: A slot for each agent.
        """
        missing = sorted(set(self.agents) - actions.keys())
        require(not missing, f"agents {missing} have no action")
        agents, together = self.agents, self._together
        together.step([[int(actions.get(agent, 0)) for agent in self.possible_agents]])
        over = together.over[0]
        if over != GOING:
            self.agents = []
        invalid = dict(zip(self.possible_agents, together.invalid[0].tolist(), strict=True))
        return (
            self._shown(),
            dict.fromkeys(agents, float(together.rewards[0])),
            dict.fromkeys(agents, bool(over == TERMINATED)),
            dict.fromkeys(agents, bool(over == TRUNCATED)),
            {agent: {**together.batch.info(0), "invalid": invalid[agent]} for agent in agents},
        )

    def _shown(self) -> dict[str, Observation]:
        together = self._together
        return {
            agent: {
                "globals": together.globals[0, i].copy(),
                "candidates": together.candidates[0, i].copy(),
                "action_mask": together.mask[0, i].astype(np.int8),
            }
            for i, agent in enumerate(self.possible_agents)
        }
