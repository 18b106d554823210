"""Independent Q-learning: each process type learns the values of its own profiles, by itself.

Tan, Multi-Agent Reinforcement Learning: Independent vs. Cooperative Agents, ICML 1993, §4. Every
agent is a learner of masked double DQN (:mod:`toolkit.learning.dqn`) with networks, targets and
optimiser of its own; what it learns from is its own observation, choice and following observation
of a step of all at once, and the reward that all share. The others are part of its environment,
which changes while they learn. All draw the same steps from memory, as these happened together.
Which agents explore in a step is drawn for each by itself. The gate keeps the best, as for PPO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from d3rlpy.dataset import TransitionMiniBatch
from torch import Tensor, nn

from toolkit.envs.stepping import GOING, TERMINATED
from toolkit.envs.together import TogetherBatch
from toolkit.errors import require
from toolkit.learning.agents import Agents
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.dqn import QConfig, QLearning
from toolkit.learning.exploration import Play
from toolkit.learning.gate import Gate
from toolkit.learning.learner import Given, Learner
from toolkit.learning.marl_ppo import together_only
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at_together, play_together
from toolkit.learning.rollouts import spread_of_returns
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import Floats, Ints, Mask, Vector

_REWARD, _TERMINAL, _INTERVAL = range(3)
"""What each row of numbers holds."""
_LOOKED = 16_384


@dataclass(frozen=True, kw_only=True)
class IndependentQ(QLearning):
    """Hyper-parameters of independent Q-learning; ``n_steps`` are gradient steps of every agent.

    Args:
        play: How all play while they learn; decisions are counted for each agent.
        gate_every: Gradient steps between two looks of the gate.
        gate_workloads: Training workloads on which it judges, always the same.
    """

    play: Play
    gate_every: int
    gate_workloads: int

    title: ClassVar[str] = "independent_q"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gate_every", "gate_workloads"):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        require(
            self.multi_step == 1,
            "algo.multi_step must be 1 where agents play: what was done before differs from now",
        )

    @property
    def offline(self) -> bool:
        """False: it plays."""
        return False

    @property
    def staged(self) -> bool:
        """False: it plays one scenario."""
        return False

    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""
        torch.manual_seed(given.seed)
        return IndependentLearner(self, given)

    def config(self, shape: Mapping[str, Any]) -> QConfig:
        """Return the algorithm of an agent as d3rlpy configures it."""
        return QConfig(
            **shape, n_critics=self.n_critics, target_update_interval=self.target_interval
        )


class IndependentLearner:
    """A training by independent Q-learning.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount and seed.
    """

    def __init__(self, settings: IndependentQ, given: Given) -> None:
        scenario = together_only(given.played(settings.name), settings.name)
        self._settings, self._play, self._given = settings, settings.play, given
        first = int(generator(given.seed, "copies").integers(2**30))
        copies = self._play.copies
        self._env = env = TogetherBatch(scenario, range(first, first + copies))
        for i in range(copies):
            env.start(i)
        self._seen = env.flat()
        _, n, width = self._seen.shape
        self._algos = [settings.algo(env.sizes, given.device) for _ in range(n)]
        steps = max(1, _LOOKED // (copies * n))
        seen = looked_at_together(scenario, copies=copies, steps=steps, seed=given.seed)
        for i, algo in enumerate(self._algos):
            algo.create_impl((width,), env.sizes[1])
            normalise(algo.networks().values(), seen[:, i])
        self._rng = generator(given.seed, "online")
        capacity = self._play.capacity
        # Rings: an observation and the one after it lie apart, as an episode may end between.
        self._before: Vector = np.zeros((capacity, n, width), dtype=np.float32)
        self._after: Vector = np.zeros((capacity, n, width), dtype=np.float32)
        self._numbers: Vector = np.zeros((capacity, 3), dtype=np.float32)
        self._actions: Ints = np.zeros((capacity, n), dtype=np.int64)
        self._count = 0
        self._scale = 1.0
        self._returns: list[float] = []
        self._gate = Gate(
            scenario, settings.gate_workloads, np.inf, given.device, self._returned
        )  # fmt: skip
        self._gate.look(self.present())

    @property
    def done(self) -> int:
        """Gradient steps of every agent."""
        return int(self._algos[0].grad_step)

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play some choices of all agents, and let each take one gradient step."""
        if self._count == 0:
            self._fill()
        epsilon = self._play.share(self.done / self._settings.n_steps)
        self._returns = []
        for _ in range(self._play.rounds):
            self._decide(epsilon)
        rows = self._rng.integers(0, self._held, self._settings.batch_size)
        told = [algo.update(self._batch(i, rows)) for i, algo in enumerate(self._algos)]
        measured = {key: float(np.mean([each[key] for each in told])) for key in told[0]}
        if self.done % self._settings.gate_every == 0 or self.done >= self._settings.n_steps:
            self._gate.look(self.present())
        measured |= {"epsilon": epsilon, "gate": self._gate.looks[-1]}
        return 1, measured | (
            {"return": float(np.mean(self._returns))} if self._returns else {}
        )  # fmt: skip

    @property
    def _held(self) -> int:
        return min(self._count, self._play.capacity)

    def _batch(self, i: int, rows: Ints) -> TransitionMiniBatch:
        """Return what an agent learns from in some steps that are remembered."""
        numbers = self._numbers[rows]
        return TransitionMiniBatch(
            observations=self._before[rows, i],
            actions=self._actions[rows, i, None].astype(np.float32),
            rewards=numbers[:, [_REWARD]] / np.float32(self._scale),
            next_observations=self._after[rows, i],
            next_actions=np.zeros((len(rows), 1), dtype=np.float32),
            terminals=numbers[:, [_TERMINAL]],
            intervals=numbers[:, [_INTERVAL]],
            transitions=[],
        )

    def _fill(self) -> None:
        """Play draws before anything is learnt, and measure rewards by what follows in them."""
        play = self._play
        rounds = -(-play.before // play.copies)
        ended = np.array([self._decide(1.0) for _ in range(rounds)])
        told = self._numbers[: rounds * play.copies].reshape(rounds, play.copies, 3)
        self._scale = spread_of_returns(
            told[..., _REWARD], np.exp(-told[..., _INTERVAL]), 1.0 - ended.astype(np.float32)
        )

    def _decide(self, epsilon: float) -> Mask:
        """Let all agents choose in every copy and remember what came of it; return whose ended."""
        env, seen = self._env, self._seen
        mask = env.mask.copy()
        chosen = np.where(mask, self._rng.random(mask.shape), -1.0).argmax(axis=2)
        greedy = self._rng.random(chosen.shape) >= epsilon
        for i, algo in enumerate(self._algos):
            rows = np.flatnonzero(greedy[:, i])
            if len(rows):
                chosen[rows, i] = algo.predict(seen[rows, i])
        env.step(chosen)
        ended: Mask = env.over != GOING
        places = (self._count + np.arange(len(chosen))) % self._play.capacity
        self._before[places], self._after[places] = seen, env.flat()
        self._actions[places] = chosen
        self._numbers[places, _REWARD] = env.rewards
        self._numbers[places, _TERMINAL] = env.over == TERMINATED
        self._numbers[places, _INTERVAL] = env.elapsed / self._given.discount_seconds
        self._count += len(chosen)
        for i in np.flatnonzero(ended).tolist():
            self._returns.append(float(env.batch.returns[i]))
            env.start(i)
        self._seen = env.flat()
        return ended

    def _returned(self, network: Any, scenario: Scenario, seeds: Sequence[int]) -> Floats:
        together = play_together(network, scenario, seeds, device="cpu")
        return together.batch.returns

    def network(self) -> Agents:
        """Return the networks that the gate found best."""
        found = self.present()
        self._gate.give(found)
        return found

    def present(self) -> Agents:
        """Return the networks as they are now."""
        networks = [algo.network() for algo in self._algos]
        return Agents(dict(zip(self._env.agents, networks, strict=True))).eval()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return the mean over agents of the value of the best slot, as returns; shape [B]."""
        return self.worths(x[:, None].expand(-1, len(self._algos), -1)).mean(1)

    def worths(self, x: Tensor) -> Tensor:
        """Return the value of the best slot of every agent in what it sees, as returns.

        Args:
            x: Shape [B, n, W].

        Returns:
            Shape [B, n].
        """
        agents, found = self.present(), []
        with torch.inference_mode():
            for i in range(len(self._algos)):
                told = [q.action_values(x[:, i]) for q in agents.actor(i).members]
                found.append(torch.stack(told).mean(0).amax(1))
        return torch.stack(found, dim=1) * self._scale

    def story(self) -> Mapping[str, float]:
        """Return how many decisions were played, and what the gate saw."""
        return {**self._gate.story(), "decisions": float(self._count * len(self._algos))}

    def state(self) -> State:
        """Return weights, moments, counters, generators, what is remembered, and the copies."""
        best, seen = self._gate.state()
        rings = {k: torch.from_numpy(v[: self._held]) for k, v in self._rings().items()}
        return State(
            tensors={
                **packed(self._modules(), self._optimisers()),
                **best,
                **rings,
                "torch": torch.get_rng_state(),
            },
            numbers={
                "done": self.done,
                "count": self._count,
                "scale": self._scale,
                "gate": seen,
                "online": state_of(self._rng),
                "copies": self._env.state(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told = state.numbers
        unpack(state.tensors, self._modules(), self._optimisers())
        torch.set_rng_state(state.tensors["torch"])
        self._gate.restore(state.tensors, told["gate"])
        for name, ring in self._rings().items():
            held = state.tensors[name].numpy()
            ring[: len(held)] = held
        self._count, self._scale = int(told["count"]), float(told["scale"])
        self._rng.bit_generator.state = told["online"]
        for algo in self._algos:
            algo.set_grad_step(int(told["done"]))
        self._env.restore(told["copies"])
        self._seen = self._env.flat()

    def _rings(self) -> dict[str, Any]:
        return {
            "ring.before": self._before,
            "ring.after": self._after,
            "ring.numbers": self._numbers,
            "ring.actions": self._actions,
        }

    def _modules(self) -> dict[str, nn.Module]:
        return {
            f"{name}.{i}": module
            for i, algo in enumerate(self._algos)
            for name, module in algo.networks().items()
        }

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            f"{name}.{i}": optimiser
            for i, algo in enumerate(self._algos)
            for name, optimiser in algo.optimisers().items()
        }
