"""Replay: what Q-learning remembers of what it played, drawn alike or by priorities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from d3rlpy.dataset import TransitionMiniBatch
from torch import Tensor

from toolkit.learning.priorities import Priorities, Prioritised
from toolkit.workload import Ints, Mask, Vector

REWARD, TERMINAL, INTERVAL = range(3)
"""What each row of numbers holds."""


@dataclasses.dataclass(frozen=True)
class WeightedBatch(TransitionMiniBatch):
    """Transitions that do not count alike.

    Args:
        weights: What each counts, shape [B, 1].
    """

    weights: Vector


class Replay:
    """A ring of transitions; the oldest are forgotten.

    An observation and the one after it lie apart, as an episode may end between.

    Args:
        capacity: How many are remembered.
        width: Of an observation.
        priorities: How those that surprise are preferred; None: all are drawn alike.

    Attributes:
        count: How many were ever put.
        numbers: Reward, whether the episode ended, and interval of each, shape [capacity, 3].
    """

    def __init__(self, capacity: int, width: int, priorities: Priorities | None = None) -> None:
        self._capacity = capacity
        self._before: Vector = np.zeros((capacity, width), dtype=np.float32)
        self._after: Vector = np.zeros((capacity, width), dtype=np.float32)
        self.numbers: Vector = np.zeros((capacity, 3), dtype=np.float32)
        self._actions: Ints = np.zeros(capacity, dtype=np.int64)
        self._prioritised = None if priorities is None else Prioritised(priorities, capacity)
        self.count = 0

    @property
    def held(self) -> int:
        """How many are remembered."""
        return min(self.count, self._capacity)

    def put(
        self,
        before: Vector,
        actions: Ints,
        rewards: Vector,
        after: Vector,
        terminal: Mask,
        intervals: Any,
    ) -> None:
        """Remember transitions.

        Args:
            before: Observations, shape [N, W].
            actions: Slots taken, shape [N].
            rewards: Shape [N].
            after: Observations that followed, shape [N, W].
            terminal: Whether nothing follows them, shape [N].
            intervals: Time that passed in units of the discount's, shape [N] or one for all.
        """
        places = (self.count + np.arange(len(actions))) % self._capacity
        self._before[places], self._after[places] = before, after
        self._actions[places] = actions
        self.numbers[places, REWARD] = rewards
        self.numbers[places, TERMINAL] = terminal
        self.numbers[places, INTERVAL] = intervals
        self.count += len(actions)
        if self._prioritised is not None:
            self._prioritised.add(places)

    def draw(
        self, n: int, rng: np.random.Generator, *, scale: float, progress: float
    ) -> tuple[Ints, TransitionMiniBatch]:
        """Return transitions and where they lie.

        Args:
            n: How many, with replacement.
            rng: What draws.
            scale: Rewards are divided by this.
            progress: Share of the training that is done.
        """
        chosen = self._prioritised
        places = rng.integers(0, self.held, n) if chosen is None else chosen.draw(n, rng)
        numbers = self.numbers[places]
        told: dict[str, Any] = {
            "observations": self._before[places],
            "actions": self._actions[places, None].astype(np.float32),
            "rewards": numbers[:, [REWARD]] / np.float32(scale),
            "next_observations": self._after[places],
            "next_actions": np.zeros((n, 1), dtype=np.float32),
            "terminals": numbers[:, [TERMINAL]],
            "intervals": numbers[:, [INTERVAL]],
            "transitions": [],
        }
        if chosen is None:
            return places, TransitionMiniBatch(**told)
        weights = chosen.weights(places, self.held, progress)[:, None]
        return places, WeightedBatch(**told, weights=weights)

    def learnt(self, places: Ints, errors: Vector) -> None:
        """Change the priorities of transitions, where there are any, by their errors |δ|."""
        if self._prioritised is not None:
            self._prioritised.learnt(places, errors)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what :meth:`restore` takes: tensors, and numbers that are JSON-able."""
        tensors = {k: torch.from_numpy(v[: self.held].copy()) for k, v in self._rings().items()}
        numbers: dict[str, Any] = {"count": self.count}
        if self._prioritised is not None:
            masses, told = self._prioritised.state()
            tensors["masses"] = torch.from_numpy(masses[: self.held].copy())
            numbers |= told
        return tensors, numbers

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for name, ring in self._rings().items():
            held = tensors[name].numpy()
            ring[: len(held)] = held
        self.count = int(numbers["count"])
        if self._prioritised is not None:
            self._prioritised.restore(tensors["masses"].numpy(), numbers)

    def _rings(self) -> dict[str, Any]:
        return {
            "before": self._before,
            "after": self._after,
            "numbers": self.numbers,
            "actions": self._actions,
        }
