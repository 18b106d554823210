"""Online: learning action values from what is played meanwhile."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from toolkit.envs.flat import FlatVecEnv
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.curriculum import Curriculum
from toolkit.learning.exploration import Play
from toolkit.learning.learner import Given
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at
from toolkit.learning.replay import INTERVAL, REWARD, Replay
from toolkit.learning.rollouts import spread_of_returns
from toolkit.networks.networks import Ensemble
from toolkit.seeding import generator
from toolkit.workload import Mask

if TYPE_CHECKING:
    from toolkit.learning.dqn import DQN, MaskedQ

_RING = "ring."


class OnlineLearner:
    """A training on what it plays.

    Args:
        settings: Hyper-parameters of the algorithm.
        play: How it plays.
        given: Scenarios, discount and seed.
    """

    def __init__(self, settings: DQN, play: Play, given: Given) -> None:
        self._settings, self._play, self._tau = settings, play, given.discount_seconds
        self._curriculum = Curriculum.of(given, settings.name)
        self._first = int(generator(given.seed, "copies").integers(2**30))
        self._stage = 0
        self._env = self._entered()
        algo: Any = settings.algo(self._env.sizes, given.device)
        self._algo: MaskedQ = algo
        width, slots = self._env.observation_space.shape[0], self._env.sizes[1]  # type: ignore[index]
        self._algo.create_impl((width,), slots)
        self._device = given.device
        steps = max(1, 16_384 // play.copies)
        seen = looked_at(self._curriculum.last, copies=play.copies, steps=steps, seed=given.seed)
        normalise(self._algo.networks().values(), seen)
        self._rng = generator(given.seed, "online")
        self._replay = Replay(play.capacity, width, settings.priorities)
        self._scale = 1.0
        self._seen = self._env.reset()
        self._drawn, self._episodes = 0, 0
        self._returns: list[float] = []

    @property
    def done(self) -> int:
        """Gradient steps taken."""
        return int(self._algo.grad_step)

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play some decisions and take one gradient step."""
        if self._replay.count == 0:
            self._fill()
        self._next_stage()
        progress = self.done / self._settings.n_steps
        self._returns = []
        for _ in range(self._play.rounds):
            decisions = self._replay.count - self._drawn
            epsilon = self._play.share(progress, decisions=decisions, episodes=self._episodes)
            self._episodes += int(self._decide(epsilon).sum())
        places, batch = self._replay.draw(
            self._settings.batch_size, self._rng, scale=self._scale, progress=progress
        )
        measured = self._algo.update(batch)
        self._replay.learnt(places, self._algo.errors)
        told = {**measured, "epsilon": epsilon}
        return 1, told | ({"return": float(np.mean(self._returns))} if self._returns else {})

    def _fill(self) -> None:
        """Play draws before anything is learnt, and measure rewards by what follows in them."""
        play = self._play
        rounds = -(-play.before // play.copies)
        ended = np.array([self._decide(1.0) for _ in range(rounds)])
        self._drawn = self._replay.count
        told = self._replay.numbers[: self._drawn].reshape(rounds, play.copies, -1)
        self._scale = spread_of_returns(
            told[..., REWARD], np.exp(-told[..., INTERVAL]), 1.0 - ended.astype(np.float32)
        )

    def _decide(self, epsilon: float) -> Mask:
        """Take one decision in every copy and remember what came of it; return whose ended."""
        env, seen = self._env, self._seen
        mask = env.action_masks()
        chosen = np.where(mask, self._rng.random(mask.shape), -1.0).argmax(axis=1)
        greedy = self._rng.random(len(chosen)) >= epsilon
        if greedy.any():
            best = self._algo.best(torch.from_numpy(seen[greedy]).to(self._device))
            chosen[greedy] = best.cpu().numpy()
        stepped: Any = env.step(chosen)
        following, rewards, dones, infos = stepped
        after = following
        if dones.any():
            after = following.copy()
            for i in np.flatnonzero(dones).tolist():
                after[i] = infos[i]["terminal_observation"]
                self._returns.append(infos[i]["metrics"]["return"])
        self._replay.put(seen, chosen, rewards, after, dones & ~env.truncated, self._passed())
        self._seen = following
        ended: Mask = dones
        return ended

    def _passed(self) -> Any:
        """Return by how much the last decisions discount what follows them, as −log γ."""
        per_decision = self._settings.discount
        return self._env.elapsed / self._tau if per_decision is None else -math.log(per_decision)

    def _entered(self) -> FlatVecEnv:
        """Return the copies of the present stage."""
        first = self._first + self._stage * self._play.copies
        return FlatVecEnv(self._curriculum.scenario(self._stage), self._play.copies, first)

    def _next_stage(self) -> None:
        """Go on to the scenario of the curriculum that is due; what was played is remembered."""
        due = self._curriculum.due(self.done / self._settings.n_steps)
        if due != self._stage:
            self._stage = due
            self._env = self._entered()
            self._seen = self._env.reset()

    def network(self) -> Ensemble:
        """Return the networks that decide."""
        return self._algo.network()

    def present(self) -> Ensemble:
        """Return the same: the last networks are those that are kept."""
        return self.network()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return the greatest mean value of a slot that may be chosen, in the unit of returns.

        Args:
            x: Flat observations, shape [B, W].
        """
        found = self._algo.worth(x.to(self._device))
        return None if found is None else self._scale * found.cpu()

    def story(self) -> Mapping[str, float]:
        """Return how many decisions were played."""
        return {"decisions": float(self._replay.count)}

    def state(self) -> State:
        """Return weights, moments, counters, generators, what is remembered, and the copies."""
        remembered, counted = self._replay.state()
        return State(
            tensors={
                **packed(self._algo.networks(), self._algo.optimisers()),
                **{f"{_RING}{k}": v for k, v in remembered.items()},
                "torch": torch.get_rng_state(),
            },
            numbers={
                "done": self.done,
                "replay": counted,
                "drawn": self._drawn,
                "episodes": self._episodes,
                "scale": self._scale,
                "stage": self._stage,
                "online": state_of(self._rng),
                "copies": self._env.state(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told, tensors = state.numbers, state.tensors
        unpack(tensors, self._algo.networks(), self._algo.optimisers())
        torch.set_rng_state(tensors["torch"])
        remembered = {k.removeprefix(_RING): v for k, v in tensors.items() if k.startswith(_RING)}
        self._replay.restore(remembered, told["replay"])
        self._drawn, self._episodes = int(told["drawn"]), int(told["episodes"])
        self._scale = float(told["scale"])
        self._rng.bit_generator.state = told["online"]
        self._algo.set_grad_step(int(told["done"]))
        self._stage = int(told["stage"])
        self._env = self._entered()
        self._seen = self._env.restore(told["copies"])
