"""The choices of one instant as the actions of agents that act at once (PettingZoo)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from toolkit.envs.batch import Batch
from toolkit.envs.environment import Observation, observations
from toolkit.envs.stepping import GOING, INVALID, OVER, REWARD, TERMINATED, TRUNCATED
from toolkit.errors import require
from toolkit.features.observe import observe
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import POSITION
from toolkit.workload import ALLOCATION, CONFIGURATION


class SchedulingParallelEnv(ParallelEnv):  # type: ignore[misc]
    """A scenario whose agents choose together and share one reward.

    In an allocation every process type is an agent: all choose their profile for the next
    interval at once, each seeing what the others chose for the last one. In a placement and in a
    configuration one choice follows from another; there one agent, ``scheduler`` or ``fleet``,
    makes them all.

    Observations and infos are those of :class:`~toolkit.envs.environment.SchedulingEnv`, except
    that the mask among the observations is called ``action_mask``, as PettingZoo's tools expect.

    Args:
        scenario: What is planned afresh for every episode.
        seed: Seed of the first workload and of the stream of those after it.
        observation_noise: As for a single environment.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "scheduling_v0", "render_modes": []}

    def __init__(
        self, scenario: Scenario, seed: int = 0, observation_noise: float | None = None
    ) -> None:
        self._batch = Batch(scenario, [seed], observation_noise)
        self._together = self._batch.family == ALLOCATION
        if self._together:
            self.possible_agents = list(self._batch.types)
        else:
            single = "fleet" if self._batch.family == CONFIGURATION else "scheduler"
            self.possible_agents = [single]
        self.agents: list[str] = []
        self._observed = {
            agent: observations(self._batch.sizes, "action_mask") for agent in self.possible_agents
        }
        self._acted = {
            agent: spaces.Discrete(self._batch.sizes[1]) for agent in self.possible_agents
        }
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
        return self._batch.scene(0)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Plan a workload and go to its first choice; ``options`` are not used."""
        self._batch.start(0, seed)
        self.agents = list(self.possible_agents)
        self._shown = self._observe()
        return self._shown, {agent: self._batch.info(0) for agent in self.agents}

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
        agents, batch = self.agents, self._batch
        invalid = {}
        paid = 0.0
        for agent in self._turns():
            batch.step(int(actions[agent]))
            paid += float(batch.numbers[0, REWARD])
            invalid[agent] = bool(batch.flags[0, INVALID])
        over = batch.flags[0, OVER]
        if over == GOING:
            self._shown = self._observe()
        else:
            self.agents = []
        return (
            self._shown,
            dict.fromkeys(agents, paid),
            dict.fromkeys(agents, bool(over == TERMINATED)),
            dict.fromkeys(agents, bool(over == TRUNCATED)),
            {agent: {**batch.info(0), "invalid": invalid[agent]} for agent in agents},
        )

    def _turns(self) -> list[str]:
        """Return the agents that act, in the order in which the engine asks."""
        if not self._together or not self.agents:
            return self.agents
        return [self._batch.types[t] for t in self.scene.workload.arrays.order]

    def _observe(self) -> dict[str, Observation]:
        batch, shown = self._batch, {}
        arrays = (batch.globals[0], batch.candidates[0], batch.mask[0], batch.keys[0])
        turns = self._turns()
        # The first agent last: the arrays must describe what the engine asks first.
        for position in reversed(range(len(turns))):
            if self._together:
                self.scene.state.cursor[POSITION] = position
                observe(self.scene.handle, *arrays)
                batch.blur(0)
            shown[turns[position]] = {
                "globals": batch.globals[0].copy(),
                "candidates": batch.candidates[0].copy(),
                "action_mask": batch.mask[0].astype(np.int8),
            }
        return {agent: shown[agent] for agent in self.agents}
