"""Offline: what the algorithms share that learn from a dataset."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.data.buffer import FlatBuffer
from toolkit.data.padding import Transitions
from toolkit.errors import require
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.learner import Algorithm, Given, Learner
from toolkit.learning.masked import ScorerAlgo, ScorerConfig
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import CANDIDATES, Scorer
from toolkit.seeding import generator

_ROWS = 65_536
"""How many rows tell means and standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Offline(Algorithm):
    """Hyper-parameters that the offline algorithms share.

    Args:
        n_steps: Gradient steps; exactly so many are taken.
        batch_size: Transitions per step.
        learning_rate: Of Adam; from a dataset it falls to a tenth in the end.
        multi_step: Steps whose rewards count before the value of what follows does.
        hidden: Width of the network.
        attention: Whether candidates look at one another.
        report_every: Steps between two points of the learning curve.
        network: ``candidates`` or ``mlp``.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    multi_step: int
    hidden: int
    attention: bool
    report_every: int
    network: str = CANDIDATES

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "multi_step", "hidden", "report_every"):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        require(self.learning_rate > 0, "algo.learning_rate must be positive")

    @property
    def offline(self) -> bool:
        """True."""
        return True

    @abstractmethod
    def config(self, shape: Mapping[str, Any]) -> ScorerConfig:
        """Return the algorithm as d3rlpy configures it.

        Args:
            shape: What every configuration is told, see :class:`ScorerConfig`.
        """

    def algo(self, sizes: tuple[int, int, int], device: str = "cpu") -> ScorerAlgo:
        """Return the algorithm in d3rlpy's own form.

        Args:
            sizes: G, K and F of the observations.
            device: Of torch.
        """
        G, K, F = sizes
        told = {
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "globals": G,
            "candidates": F,
            "slots": K,
            "hidden": self.hidden,
            "attention": self.attention,
            "network": self.network,
        }
        algo: ScorerAlgo = self.config(told).create(device=device)
        return algo

    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""
        data = given.transitions(self.name)
        torch.manual_seed(given.seed)
        return OfflineLearner(self.algo(data.sizes, given.device), data, given, self)


class OfflineLearner:
    """A training on a dataset.

    Args:
        algo: The algorithm, in d3rlpy's form.
        data: The dataset.
        given: Discount and seed.
        settings: Hyper-parameters.
    """

    def __init__(
        self, algo: ScorerAlgo, data: Transitions, given: Given, settings: Offline
    ) -> None:
        self._scale = return_scale(data, given.discount_seconds)
        self._buffer = FlatBuffer(
            data,
            discount_seconds=given.discount_seconds,
            seed=given.seed,
            reward_scale=self._scale,
            multi_step=settings.multi_step,
        )
        self._algo, self._settings, self._device = algo, settings, given.device
        algo.create_impl((data.observations.shape[1],), data.sizes[1])
        normalise(algo.networks().values(), seen(data, given.seed))

    @property
    def done(self) -> int:
        """Gradient steps taken."""
        return int(self._algo.grad_step)

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Take one gradient step."""
        s = self._settings
        for optimiser in self._algo.optimisers().values():
            for group in optimiser.param_groups:
                group["lr"] = s.learning_rate * (1 - 0.9 * self.done / s.n_steps)
        batch = self._buffer.sample_transition_batch(s.batch_size)
        return 1, self._algo.update(batch)

    def network(self) -> Ensemble:
        """Return the networks that decide."""
        return self._algo.network()

    def present(self) -> Ensemble:
        """Return the same: the last networks are those that are kept."""
        return self.network()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what states are worth in the unit of returns, shape [B]; None: nothing knows.

        Q-learning tells the greatest mean value of a slot that may be chosen, implicit Q-learning
        its V; cloning estimates no values.

        Args:
            x: Flat observations, shape [B, W].
        """
        found = self._algo.worth(x.to(self._device))
        return None if found is None else self._scale * found.cpu()

    def story(self) -> Mapping[str, float]:
        """Return nothing: the curve tells all."""
        return {}

    def state(self) -> State:
        """Return weights, moments, counters and generators."""
        return State(
            tensors={
                **packed(self._algo.networks(), self._algo.optimisers()),
                "torch": torch.get_rng_state(),
            },
            numbers={"done": self.done, "buffer": state_of(self._buffer.rng)},
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        unpack(state.tensors, self._algo.networks(), self._algo.optimisers())
        torch.set_rng_state(state.tensors["torch"])
        self._buffer.rng.bit_generator.state = state.numbers["buffer"]
        self._algo.set_grad_step(int(state.numbers["done"]))


def seen(data: Transitions, seed: int) -> Tensor:
    """Return observations of a dataset from which to standardise, shape [B, W]."""
    rows = data.rows
    if len(rows) > _ROWS:
        rows = np.sort(generator(seed, "normaliser").choice(rows, _ROWS, replace=False))
    return torch.from_numpy(np.take(data.observations, rows, axis=0))


def normalise(lists: Iterable[nn.Module], x: Tensor) -> None:
    """Let all scorers of lists of modules standardise by the same observations."""
    scorers = [s for m in lists for s in m.modules() if isinstance(s, Scorer)]
    scorers[0].normalise(x.to(scorers[0].globals_mean.device))
    for scorer in scorers[1:]:
        scorer.normalise_like(scorers[0])


def return_scale(data: Transitions, discount_seconds: float) -> float:
    """Return the spread of discounted returns, so that Q values are of order one."""
    discount = np.exp(-data.elapsed / discount_seconds)
    returns = np.zeros(len(data) + 1)
    following = data.following
    for i in range(len(data) - 1, -1, -1):
        returns[i] = data.reward[i] + discount[i] * returns[following[i]]
    spread = float(returns[data.rows].std())
    # Returns that are all the same need no scale, and would be blown up by their rounding.
    return spread if spread > 1e-6 else 1.0
