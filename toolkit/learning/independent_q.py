"""Independent Q-learning: each process type learns the values of its own profiles, by itself.

Tan, Multi-Agent Reinforcement Learning: Independent vs. Cooperative Agents, ICML 1993, §4. Every
agent is a learner of masked double DQN (:mod:`toolkit.learning.dqn`) with networks, targets and
optimiser of its own; what it learns from is its own observation, choice and following observation
of a step of all at once, and the reward that all share. The others are part of its environment,
which changes while they learn. Each draws from a memory of its own, and whether it explores in a
step is drawn for it by itself. The gate keeps the best, as for PPO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.envs.stepping import GOING, TERMINATED
from toolkit.envs.together import TogetherBatch
from toolkit.errors import require
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.dqn import MaskedQ, QConfig, QLearning
from toolkit.learning.exploration import Play
from toolkit.learning.gate import Gate
from toolkit.learning.learner import Given, Learner
from toolkit.learning.marl_ppo import LOOKED, together_only
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at_together, play_together
from toolkit.learning.replay import INTERVAL, REWARD, Replay
from toolkit.learning.rollouts import spread_of_returns
from toolkit.networks.agents import Agents
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import Floats, Mask

_RING = "ring."


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
        made: Any = [settings.algo(env.sizes, given.device) for _ in range(n)]
        self._algos: list[MaskedQ] = made
        steps = max(1, LOOKED // copies)
        seen = looked_at_together(scenario, copies=copies, steps=steps, seed=given.seed)
        for i, algo in enumerate(self._algos):
            algo.create_impl((width,), env.sizes[1])
            normalise(algo.networks().values(), seen[:, i])
        self._rng = generator(given.seed, "online")
        self._replays = [Replay(self._play.capacity, width) for _ in range(n)]
        self._drawn, self._episodes = 0, 0
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
        if self._replays[0].count == 0:
            self._fill()
        s, progress = self._settings, self.done / self._settings.n_steps
        self._returns = []
        for _ in range(self._play.rounds):
            choices = self._replays[0].count - self._drawn
            epsilon = self._play.share(progress, decisions=choices, episodes=self._episodes)
            self._episodes += int(self._decide(epsilon).sum())
        told = []
        for algo, replay in zip(self._algos, self._replays, strict=True):
            _, batch = replay.draw(s.batch_size, self._rng, scale=self._scale, progress=progress)
            told.append(algo.update(batch))
        measured = {key: float(np.mean([each[key] for each in told])) for key in told[0]}
        if self.done % s.gate_every == 0 or self.done >= s.n_steps:
            self._gate.look(self.present())
        measured |= {"epsilon": epsilon, "gate": self._gate.looks[-1]}
        return 1, measured | ({"return": float(np.mean(self._returns))} if self._returns else {})

    def _fill(self) -> None:
        """Play draws before anything is learnt, and measure rewards by what follows in them."""
        play, first = self._play, self._replays[0]
        rounds = -(-play.before // play.copies)
        ended = np.array([self._decide(1.0) for _ in range(rounds)])
        self._drawn = first.count
        told = first.numbers[: self._drawn].reshape(rounds, play.copies, -1)
        self._scale = spread_of_returns(
            told[..., REWARD], np.exp(-told[..., INTERVAL]), 1.0 - ended.astype(np.float32)
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
                best = algo.best(torch.from_numpy(seen[rows, i]).to(self._given.device))
                chosen[rows, i] = best.cpu().numpy()
        env.step(chosen)
        after, terminal = env.flat(), env.over == TERMINATED
        intervals = env.elapsed / self._given.discount_seconds
        rewards = env.rewards.astype(np.float32)
        for i, replay in enumerate(self._replays):
            replay.put(seen[:, i], chosen[:, i], rewards, after[:, i], terminal, intervals)
        ended: Mask = env.over != GOING
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
        told = [algo.worth(x[:, i].to(self._given.device)) for i, algo in enumerate(self._algos)]
        return torch.stack([each for each in told if each is not None], dim=1).cpu() * self._scale

    def story(self) -> Mapping[str, float]:
        """Return how many decisions were played, and what the gate saw."""
        decisions = sum(replay.count for replay in self._replays)
        return {**self._gate.story(), "decisions": float(decisions)}

    def state(self) -> State:
        """Return weights, moments, counters, generators, what is remembered, and the copies."""
        best, seen = self._gate.state()
        remembered = [replay.state() for replay in self._replays]
        rings = {
            f"{_RING}{i}.{k}": v for i, (held, _) in enumerate(remembered) for k, v in held.items()
        }
        return State(
            tensors={
                **packed(self._modules(), self._optimisers()),
                **best,
                **rings,
                "torch": torch.get_rng_state(),
            },
            numbers={
                "done": self.done,
                "replays": [counted for _, counted in remembered],
                "drawn": self._drawn,
                "episodes": self._episodes,
                "scale": self._scale,
                "gate": seen,
                "online": state_of(self._rng),
                "copies": self._env.state(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told, tensors = state.numbers, state.tensors
        unpack(tensors, self._modules(), self._optimisers())
        torch.set_rng_state(tensors["torch"])
        self._gate.restore(tensors, told["gate"])
        for i, (replay, counted) in enumerate(zip(self._replays, told["replays"], strict=True)):
            start = f"{_RING}{i}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            replay.restore(own, counted)
        self._drawn, self._episodes = int(told["drawn"]), int(told["episodes"])
        self._scale = float(told["scale"])
        self._rng.bit_generator.state = told["online"]
        for algo in self._algos:
            algo.set_grad_step(int(told["done"]))
        self._env.restore(told["copies"])
        self._seen = self._env.flat()

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
