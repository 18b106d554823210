"""Rollouts: what was collected, with discounts that follow the clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer, MaskableRolloutBufferSamples
from torch import Tensor

from toolkit.errors import require
from toolkit.learning.peers import less, others
from toolkit.workload import Floats, Ints, Mask, Vector

_LEAST = 1e-6


class Minibatch(NamedTuple):
    """Decisions of a rollout.

    Args:
        observations: Shape [B, W].
        actions: Shape [B].
        log_probs: Of the actions when they were taken, shape [B].
        advantages: Over the whole rollout of mean 0 and spread 1, shape [B].
        returns: What the critic learns, shape [B].
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor


class IrregularRollout(MaskableRolloutBuffer):
    """Generalised advantages with the discount exp(−elapsed/τ) of each step.

    Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation,
    ICLR 2016, eq. 16, where γ is not the same for every step.

    Attributes:
        alike: Copies in a group that plays the same workloads, see :mod:`toolkit.learning.peers`.
        discounts: Of each step, shape [T, N].
        workloads: Seed of the workload of each step, shape [T, N].
        times: Simulated time of each step, s, shape [T, N].
        decided: Whether there was a decision at a step; what is paid until the next one counts as
            paid for the one before, each reward discounted by the time until it. Shape [T, N].
    """

    def __init__(self, *args: Any, alike: int = 1, **kwargs: Any) -> None:
        self.alike = alike
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Forget what was collected."""
        shape = (self.buffer_size, self.n_envs)
        self.discounts: Vector = np.ones(shape, dtype=np.float32)
        self.workloads: Ints = np.zeros(shape, dtype=np.int64)
        self.times: Floats = np.zeros(shape)
        self.decided: Mask = np.ones(shape, dtype=np.bool_)
        super().reset()

    def put(self, discount: Vector, moment: tuple[Ints, Floats], *args: Any, **kwargs: Any) -> None:
        """Add a step of every copy.

        Args:
            discount: exp(−elapsed/τ), shape [N].
            moment: Seeds of the workloads and simulated times at which was chosen, shapes [N].
            args: As for ``add``.
            kwargs: As for ``add``.
        """
        self.discounts[self.pos] = discount
        self.workloads[self.pos], self.times[self.pos] = moment
        self.add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: Any) -> None:
        """Fill ``advantages`` and ``returns``.

        Args:
            last_values: Of the states after the last step, shape [N, 1].
            dones: Whether an episode ended with the last step, shape [N].
        """
        following = last_values.detach().cpu().numpy().flatten()
        goes_on = 1.0 - np.asarray(dones, dtype=np.float32)
        advantage = np.zeros(self.n_envs, dtype=np.float32)
        paid, discount = np.zeros_like(advantage), np.ones_like(advantage)
        for t in reversed(range(self.buffer_size)):
            ahead = self.discounts[t] * goes_on
            paid, discount = self.rewards[t] + ahead * paid, ahead * discount
            delta = paid + discount * following - self.values[t]
            decided = self.decided[t]
            found = delta + discount * self.gae_lambda * advantage
            self.advantages[t] = np.where(decided, found, 0.0)
            advantage = np.where(decided, found, advantage)
            following = np.where(decided, self.values[t], following)
            paid, discount = np.where(decided, 0.0, paid), np.where(decided, 1.0, discount)
            goes_on = 1.0 - self.episode_starts[t]
        self.returns = self.advantages + self.values
        if self.alike > 1:
            told = self.advantages.astype(np.float64)
            # Steps without a decision are nobody's peers.
            played = np.where(self.decided, self.workloads, -1)
            baseline, has = others(told, played, self.times, self.alike)
            self.advantages = less(told, baseline, has & self.decided).astype(np.float32)

    def get(self, batch_size: int | None = None) -> Iterator[MaskableRolloutBufferSamples]:  # type: ignore[override]
        """Yield all decisions at once, in order.

        A2C takes one step over all of them, for which no order needs to be drawn from NumPy's
        global generator, as its own buffer does.

        Args:
            batch_size: Must be absent, see :meth:`minibatches`.
        """
        require(batch_size is None, "a rollout is given whole; draw minibatches(…) of it")
        count = self.buffer_size * self.n_envs
        whole: dict[str, Any] = {
            "observations": self.observations.reshape(count, -1),
            "actions": self.actions.reshape(count, -1),
            "old_values": self.values.reshape(count),
            "old_log_prob": self.log_probs.reshape(count),
            "advantages": self.advantages.reshape(count),
            "returns": self.returns.reshape(count),
            "action_masks": self.action_masks.reshape(count, -1),
        }
        yield MaskableRolloutBufferSamples(
            **{k: torch.from_numpy(v).to(self.device) for k, v in whole.items()}
        )

    def minibatches(
        self, batch_size: int, epochs: int, rng: np.random.Generator
    ) -> Iterator[Minibatch]:
        """Yield the decisions in which there was a choice, ``epochs`` times in an order drawn anew.

        Args:
            batch_size: Decisions in each; the last of an epoch may have fewer.
            epochs: How often each is seen.
            rng: What draws the orders.
        """
        masks = self.action_masks.reshape(-1, self.mask_dims)
        free = np.flatnonzero((masks.sum(axis=1) > 1) & self.decided.reshape(-1))
        count = len(masks)
        advantages = self.advantages.reshape(count)
        spread = advantages[free].std() if len(free) else 1.0
        middle = advantages[free].mean() if len(free) else 0.0
        whole = {
            "observations": self.observations.reshape(count, -1),
            "actions": self.actions.reshape(count).astype(np.int64),
            "log_probs": self.log_probs.reshape(count),
            "advantages": (advantages - middle) / (spread + 1e-8),
            "returns": self.returns.reshape(count),
        }
        for _ in range(epochs):
            order = free[rng.permutation(len(free))]
            for begin in range(0, len(order), batch_size):
                rows = order[begin : begin + batch_size]
                yield Minibatch(
                    **{k: torch.from_numpy(v[rows]).to(self.device) for k, v in whole.items()}
                )


def spread_of_returns(rewards: Vector, discounts: Vector, goes_on: Vector) -> float:
    """Return the standard deviation of discounted sums of rewards, 1 where they are all the same.

    Args:
        rewards: Shape [T, N].
        discounts: Of each step, shape [T, N].
        goes_on: 1 where the episode goes on after the step, else 0; shape [T, N].
    """
    sums = np.zeros_like(rewards)
    following = np.zeros(rewards.shape[1], dtype=rewards.dtype)
    for t in reversed(range(len(rewards))):
        following = rewards[t] + discounts[t] * goes_on[t] * following
        sums[t] = following
    spread = float(sums.std())
    return spread if spread > _LEAST else 1.0
