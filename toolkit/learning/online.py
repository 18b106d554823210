"""Online: learning action values from what is played meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from d3rlpy.dataset import TransitionMiniBatch

from toolkit.envs.flat import FlatVecEnv
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.exploration import Play
from toolkit.learning.learner import Given
from toolkit.learning.networks import Ensemble
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at
from toolkit.learning.rollouts import spread_of_returns
from toolkit.seeding import generator
from toolkit.workload import Ints, Mask, Vector

if TYPE_CHECKING:
    from toolkit.learning.dqn import DQN

_REWARD, _TERMINAL, _INTERVAL = range(3)
"""What each row of numbers holds."""


class OnlineLearner:
    """A training on what it plays.

    Args:
        settings: Hyper-parameters of the algorithm.
        play: How it plays.
        given: Scenario, discount and seed.
    """

    def __init__(self, settings: DQN, play: Play, given: Given) -> None:
        scenario = given.played(settings.name)
        self._settings, self._play, self._tau = settings, play, given.discount_seconds
        first = int(generator(given.seed, "copies").integers(2**30))
        self._env = FlatVecEnv(scenario, play.copies, first)
        self._algo = settings.algo(self._env.sizes, given.device)
        width, slots = self._env.observation_space.shape[0], self._env.sizes[1]  # type: ignore[index]
        self._algo.create_impl((width,), slots)
        self._device = given.device
        steps = max(1, 16_384 // play.copies)
        seen = looked_at(scenario, copies=play.copies, steps=steps, seed=given.seed)
        normalise(self._algo.networks().values(), seen)
        self._rng = generator(given.seed, "online")
        # Rings: an observation and the one after it lie apart, as an episode may end between.
        self._before: Vector = np.zeros((play.capacity, width), dtype=np.float32)
        self._after: Vector = np.zeros((play.capacity, width), dtype=np.float32)
        self._numbers: Vector = np.zeros((play.capacity, 3), dtype=np.float32)
        self._actions: Ints = np.zeros(play.capacity, dtype=np.int64)
        self._count = 0
        self._scale = 1.0
        self._seen = self._env.reset()
        self._returns: list[float] = []

    @property
    def done(self) -> int:
        """Gradient steps taken."""
        return int(self._algo.grad_step)

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play some decisions and take one gradient step."""
        if self._count == 0:
            self._fill()
        epsilon = self._play.share(self.done / self._settings.n_steps)
        self._returns = []
        for _ in range(self._play.rounds):
            self._decide(epsilon)
        held = min(self._count, self._play.capacity)
        rows = self._rng.integers(0, held, self._settings.batch_size)
        numbers = self._numbers[rows]
        measured = self._algo.update(
            TransitionMiniBatch(
                observations=self._before[rows],
                actions=self._actions[rows, None].astype(np.float32),
                rewards=numbers[:, [_REWARD]] / self._scale,
                next_observations=self._after[rows],
                next_actions=np.zeros((len(rows), 1), dtype=np.float32),
                terminals=numbers[:, [_TERMINAL]],
                intervals=numbers[:, [_INTERVAL]],
                transitions=[],
            )
        )
        told = {**measured, "epsilon": epsilon}
        return 1, told | ({"return": float(np.mean(self._returns))} if self._returns else {})

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
        """Take one decision in every copy and remember what came of it; return whose ended."""
        env, seen = self._env, self._seen
        mask = env.action_masks()
        best = np.asarray(self._algo.predict(seen), dtype=np.int64)
        drawn = np.where(mask, self._rng.random(mask.shape), -1.0).argmax(axis=1)
        chosen = np.where(self._rng.random(len(best)) < epsilon, drawn, best)
        stepped: Any = env.step(chosen)
        following, rewards, dones, infos = stepped
        after = following.copy()
        for i in np.flatnonzero(dones).tolist():
            after[i] = infos[i]["terminal_observation"]
            self._returns.append(infos[i]["metrics"]["return"])
        places = (self._count + np.arange(env.num_envs)) % self._play.capacity
        self._before[places], self._after[places] = seen, after
        self._actions[places] = chosen
        self._numbers[places, _REWARD] = rewards
        self._numbers[places, _TERMINAL] = dones & ~env.truncated
        self._numbers[places, _INTERVAL] = env.elapsed / self._tau
        self._count += env.num_envs
        self._seen = following
        ended: Mask = dones
        return ended

    def network(self) -> Ensemble:
        """Return the networks that decide."""
        return self._algo.network()

    def present(self) -> Ensemble:
        """Return the same: the last networks are those that are kept."""
        return self.network()

    def worth(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return what the best slots of states are thought to be worth, as returns; shape [B]."""
        with torch.inference_mode():
            told = torch.stack([s.action_values(x) for s in self._algo.network().members])
        return told.mean(0).amax(1) * self._scale

    def story(self) -> Mapping[str, float]:
        """Return how many decisions were played."""
        return {"decisions": float(self._count)}

    def state(self) -> State:
        """Return weights, moments, counters, generators, what is remembered, and the copies."""
        held = min(self._count, self._play.capacity)
        remembered = {
            "before": self._before[:held],
            "after": self._after[:held],
            "numbers": self._numbers[:held],
            "actions": self._actions[:held],
        }
        return State(
            tensors={
                **packed(self._algo.networks(), self._algo.optimisers()),
                **{f"ring.{k}": torch.from_numpy(v) for k, v in remembered.items()},
                "torch": torch.get_rng_state(),
            },
            numbers={
                "done": self.done,
                "count": self._count,
                "scale": self._scale,
                "online": state_of(self._rng),
                "copies": self._env.state(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told = state.numbers
        unpack(state.tensors, self._algo.networks(), self._algo.optimisers())
        torch.set_rng_state(state.tensors["torch"])
        rings: dict[str, Any] = {
            "before": self._before,
            "after": self._after,
            "numbers": self._numbers,
            "actions": self._actions,
        }
        for name, ring in rings.items():
            held = state.tensors[f"ring.{name}"].numpy()
            ring[: len(held)] = held
        self._count, self._scale = int(told["count"]), float(told["scale"])
        self._rng.bit_generator.state = told["online"]
        self._algo.set_grad_step(int(told["done"]))
        self._seen = self._env.restore(told["copies"])
