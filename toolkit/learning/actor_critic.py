"""Actor and critic: what Stable-Baselines3's algorithms need for our networks and our time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from torch import Tensor

from toolkit.learning.rollouts import IrregularRollout
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Scorer


class ScorerPolicy(MaskableActorCriticPolicy):
    """Actor and critic over networks of ours; masks lie in the observations.

    Args:
        observation_space: Of flat observations.
        action_space: K slots.
        lr_schedule: Of the optimiser.
        actor: The policy.
        critic: Its values.
        use_sde: Algorithms say so to every policy; it means nothing for slots.
        others: As for sb3-contrib's policy.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        *,
        actor: Ensemble,
        critic: Scorer,
        use_sde: bool = False,
        **others: Any,
    ) -> None:
        self._given = (actor, critic)
        super().__init__(observation_space, action_space, lr_schedule, **others)

    def _build(self, lr_schedule: Any) -> None:
        self.actor, self.critic = self._given
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def forward(
        self, obs: Tensor, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions [B], values [B, 1] and log-probabilities [B]."""
        log_p = torch.log_softmax(self.actor(obs)[0], 1)
        if deterministic:
            actions = log_p.argmax(1)
        else:
            # Drawn by the generator of the CPU, whose state a checkpoint keeps.
            drawn = torch.multinomial(log_p.exp().cpu(), 1).squeeze(1)
            actions = drawn.to(log_p.device)
        chosen = log_p.gather(1, actions.unsqueeze(1)).squeeze(1)
        return actions, self.critic.values(obs), chosen

    def get_distribution(self, obs: Any, action_masks: Any = None) -> MaskableDistribution:
        """Return the distribution over slots."""
        found = self.action_dist.proba_distribution(action_logits=self.actor(obs)[0])
        if action_masks is not None:
            found.apply_masking(action_masks)
        return found

    def predict_values(self, obs: Any) -> Tensor:
        """Return values [B, 1]."""
        return self.critic.values(obs)

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return values [B, 1], log-probabilities [B] and entropies [B]."""
        log_p = torch.log_softmax(self.actor(obs)[0], 1)
        chosen = log_p.gather(1, actions.long().reshape(-1, 1)).squeeze(1)
        return self.critic.values(obs), chosen, -(log_p.exp() * log_p).sum(1)


class Replaying:
    """How an algorithm of Stable-Baselines3 plays: discounts by the clock, rewards by a scale.

    Attributes:
        tau: τ of the discount exp(−elapsed/τ), s.
        scale: What rewards are divided by.
        scaled: Whether it has been measured.
        returns: Of the episodes that ended in the last rollout.
    """

    policy: Any
    device: Any
    env: Any
    num_timesteps: int
    rollout_buffer: Any
    _last_obs: Any
    _last_episode_starts: Any
    _update_info_buffer: Any

    tau: float
    scale: float = 1.0
    scaled: bool = False
    returns: Sequence[float] = ()

    def collect_rollouts(
        self,
        env: Any,
        callback: Any,
        rollout_buffer: Any,
        n_rollout_steps: int,
        use_masking: bool = True,
    ) -> bool:
        """Play ``n_rollout_steps`` decisions in every copy."""
        buffer: IrregularRollout = rollout_buffer
        if callback is not None:
            callback.on_rollout_start()
        self.policy.set_training_mode(False)
        buffer.reset()
        returns: list[float] = []
        slots = env.action_space.n
        with torch.no_grad():
            for _ in range(n_rollout_steps):
                seen: Any = self._last_obs
                shown = torch.from_numpy(seen).to(self.device)
                actions, values, log_probs = self.policy(shown)
                taken = actions.cpu().numpy()
                moment = env.moment()
                following, rewards, dones, infos = env.step(taken)
                self.num_timesteps += env.num_envs
                discount = np.exp(-env.elapsed / self.tau).astype(np.float32)
                rewards = rewards / self.scale
                for i in np.flatnonzero(dones).tolist():
                    returns.append(infos[i]["metrics"]["return"])
                    # Before the first rollout has told the scale, the critic knows nothing yet.
                    if infos[i]["TimeLimit.truncated"] and self.scaled:
                        last = torch.from_numpy(infos[i]["terminal_observation"][None])
                        value = float(self.policy.predict_values(last.to(self.device)))
                        rewards[i] += discount[i] * value
                buffer.put(
                    discount,
                    moment,
                    seen,
                    taken.reshape(-1, 1),
                    rewards,
                    self._last_episode_starts,
                    values,
                    log_probs,
                    action_masks=seen[:, -slots:],
                )
                self._last_obs, self._last_episode_starts = following, dones
                if callback is not None:
                    callback.update_locals(locals())
                    self._update_info_buffer(infos, dones)
                    if not callback.on_step():
                        return False
            last_values = self.policy.predict_values(
                torch.from_numpy(self._last_obs).to(self.device)
            )
        self.returns = returns
        buffer.compute_returns_and_advantage(last_values, self._last_episode_starts)
        if callback is not None:
            callback.on_rollout_end()
        return True
