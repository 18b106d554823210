"""Member: one of several agents that learn side by side, its actor, critic and what they played."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from toolkit.learning.ppo import PPO
from toolkit.learning.proximal import ApartPolicy
from toolkit.learning.rollouts import IrregularRollout
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Scorer
from toolkit.workload import Floats, Ints, Mask, Vector


class Member:
    """An actor with its critic, and what they played.

    Args:
        actor: The policy.
        critic: Its values.
        width: Of an observation.
        slots: K.
        envs: How many choose side by side.
        settings: Hyper-parameters.
        device: Of torch.

    Attributes:
        policy: Both, with their optimisers.
        rollout: What they played.
        cut: What states are worth in which an episode was cut after a step, shape [T, envs].
    """

    def __init__(
        self,
        actor: Ensemble,
        critic: Scorer,
        *,
        width: int,
        slots: int,
        envs: int,
        settings: PPO,
        device: str,
    ) -> None:
        shown, chosen = spaces.Box(-np.inf, np.inf, (width,), np.float32), spaces.Discrete(slots)
        self.policy = ApartPolicy(
            shown, chosen, lambda _: settings.learning_rate, actor=actor, critic=critic
        ).to(device)
        self.rollout = IrregularRollout(
            settings.rollout, shown, chosen, device,
            gae_lambda=settings.gae_lambda, n_envs=envs, alike=settings.alike,
        )  # fmt: skip
        self._slots, self._device = slots, device

    def begin(self, steps: int) -> None:
        """Forget what was played, and be ready for so many steps."""
        self.policy.set_training_mode(False)
        self.rollout.buffer_size = steps
        self.rollout.reset()
        self.cut: Vector = np.zeros((steps, self.rollout.n_envs), dtype=np.float32)

    def choose(self, seen: Vector) -> tuple[Ints, Tensor, Tensor]:
        """Return slots drawn, values and log-probabilities; shapes [B], [B, 1] and [B].

        Args:
            seen: Flat observations, shape [B, W].
        """
        actions, values, log_probs = self.policy(torch.from_numpy(seen).to(self._device))
        return actions.cpu().numpy(), values, log_probs

    def put(
        self,
        moment: tuple[Ints, Floats],
        seen: Vector,
        chosen: tuple[Ints, Tensor, Tensor],
        fresh: Mask,
    ) -> None:
        """Remember what was chosen; what it is paid is told by :meth:`pay`.

        Args:
            moment: Seeds of the workloads and simulated times, shapes [envs].
            seen: Flat observations, shape [envs, W].
            chosen: What :meth:`choose` returned.
            fresh: Whether an episode began with it, shape [envs].
        """
        actions, values, log_probs = chosen
        nothing: Vector = np.zeros(len(seen), dtype=np.float32)
        self.rollout.put(
            nothing, moment, seen, actions.reshape(-1, 1), nothing, fresh, values, log_probs,
            action_masks=seen[:, -self._slots :],
        )  # fmt: skip

    def values(self, seen: Vector) -> Tensor:
        """Return what the critic says of states, shape [B, 1]."""
        return self.policy.predict_values(torch.from_numpy(seen).to(self._device))

    def pay(self, rewards: Vector, discounts: Vector, last: Vector, dones: Mask) -> None:
        """Fill advantages and returns.

        Args:
            rewards: Shape [T, envs].
            discounts: Shape [T, envs].
            last: What is seen after the last step, shape [envs, W].
            dones: Whether an episode ended with it, shape [envs].
        """
        self.rollout.discounts[:] = discounts
        self.rollout.rewards[:] = rewards + discounts * self.cut
        with torch.no_grad():
            self.rollout.compute_returns_and_advantage(self.values(last), dones)
