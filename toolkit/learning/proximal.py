"""Proximal: sb3-contrib's MaskablePPO over networks of ours, with a fading anchor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from torch import Tensor, nn

from toolkit.envs.flat import FlatVecEnv
from toolkit.learning.actor_critic import Replaying, ScorerPolicy
from toolkit.learning.rollouts import IrregularRollout, Minibatch
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Scorer
from toolkit.seeding import generator

if TYPE_CHECKING:
    from toolkit.learning.ppo import PPO


class ApartPolicy(ScorerPolicy):
    """Actor and critic with an optimiser each."""

    def _build(self, lr_schedule: Any) -> None:
        self.actor, self.critic = self._given
        self.optimizer = torch.optim.Adam(self.actor.parameters(), lr=lr_schedule(1), eps=1e-5)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), eps=1e-5)


class ReplayPPO(Replaying, MaskablePPO):
    """MaskablePPO in a replay: discounts by the clock, its own generators, a fading anchor.

    Args:
        settings: Hyper-parameters.
        env: The copies.
        actor: The policy.
        critic: Its values.
        discount_seconds: τ.
        seed: Of all that is drawn.
        device: Of torch.

    Attributes:
        reference: The policy that the divergence is measured from, where there is one.
        anchor: Weight of that divergence.
        actor_rate: Learning rate of the actor; 0 lets it stay as it is.
    """

    policy: ApartPolicy
    rollout_buffer: IrregularRollout

    def __init__(
        self,
        settings: PPO,
        env: FlatVecEnv,
        actor: Ensemble,
        critic: Scorer,
        *,
        discount_seconds: float,
        seed: int,
        device: str,
    ) -> None:
        super().__init__(
            ApartPolicy,
            env,
            learning_rate=settings.learning_rate,
            n_steps=settings.rollout,
            batch_size=settings.batch_size,
            n_epochs=settings.epochs,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip,
            ent_coef=settings.entropy,
            target_kl=settings.target_kl,
            rollout_buffer_class=IrregularRollout,
            rollout_buffer_kwargs={"alike": settings.alike},
            policy_kwargs={"actor": actor, "critic": critic},
            seed=None,
            device=device,
        )
        self._settings, self.tau = settings, discount_seconds
        self.reference: Ensemble | None = None
        self.anchor = 0.0
        self.actor_rate = settings.learning_rate
        self.rng = generator(seed, "minibatches")

    def train(self) -> None:
        """Learn from the last rollout."""
        self.measured = self.learn_from(self.rollout_buffer, actor=self.actor_rate > 0)

    def learn_from(self, rollout: IrregularRollout, *, actor: bool) -> dict[str, float]:
        """Take the gradient steps of one rollout, see :func:`learn_from`."""
        return learn_from(
            self.policy,
            rollout,
            self._settings,
            self.rng,
            actor_rate=self.actor_rate if actor else 0.0,
            reference=self.reference,
            anchor=self.anchor,
        )


def learn_from(
    policy: ApartPolicy,
    rollout: IrregularRollout,
    s: PPO,
    rng: np.random.Generator,
    *,
    actor_rate: float,
    reference: Ensemble | None = None,
    anchor: float = 0.0,
) -> dict[str, float]:
    """Take the gradient steps of one rollout.

    Args:
        policy: Actor and critic.
        rollout: What was played.
        s: Hyper-parameters.
        rng: Draws the minibatches.
        actor_rate: Learning rate of the actor; 0 where only the critic learns.
        reference: The policy that the divergence is measured from, where there is one.
        anchor: Weight of that divergence.

    Returns:
        Means of what was measured.
    """
    policy.set_training_mode(True)
    for group in policy.optimizer.param_groups:
        group["lr"] = actor_rate
    for group in policy.critic_optimizer.param_groups:
        group["lr"] = s.critic_rate
    sums: dict[str, list[float]] = {}
    stopped = actor_rate == 0
    for batch in rollout.minibatches(s.batch_size, s.epochs, rng):
        values = policy.critic.values(batch.observations).squeeze(1)
        value_loss = nn.functional.mse_loss(values, batch.returns)
        policy.critic_optimizer.zero_grad()
        value_loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(policy.critic.parameters(), 0.5)
        policy.critic_optimizer.step()
        told = {"value_loss": value_loss}
        if not stopped:
            found = _actor_loss(policy.actor, batch, s, reference, anchor)
            stopped = bool(found["kl"] > 1.5 * s.target_kl)
            if not stopped:
                policy.optimizer.zero_grad()
                found["policy_loss"].backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(policy.actor.parameters(), 0.5)
                policy.optimizer.step()
            told |= found
        for key, value in told.items():
            sums.setdefault(key, []).append(float(value.detach()))
    returns, values_ = rollout.returns[rollout.decided], rollout.values[rollout.decided]
    spread = float(returns.var())
    return {
        **{key: float(np.mean(values)) for key, values in sums.items()},
        "explained": 1 - float((returns - values_).var()) / spread if spread > 0 else 0.0,
        "value": float(values_.mean()),
        "value_std": float(values_.std()),
    }


def _actor_loss(
    actor: Ensemble, batch: Minibatch, s: PPO, reference: Ensemble | None, anchor: float
) -> dict[str, Tensor]:
    log_p = torch.log_softmax(actor(batch.observations)[0], 1)
    p = log_p.exp()
    chosen = log_p.gather(1, batch.actions.unsqueeze(1)).squeeze(1)
    log_ratio = chosen - batch.log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - s.clip, 1 + s.clip)
    gain = torch.min(ratio * batch.advantages, clipped * batch.advantages).mean()
    entropy = -(p * log_p).sum(1).mean()
    loss = -gain - s.entropy * entropy
    told = {
        "entropy": entropy,
        "clipped": ((ratio - 1).abs() > s.clip).to(torch.float32).mean(),
        "kl": ((ratio - 1) - log_ratio).mean(),
    }
    if reference is not None and anchor > 0:
        with torch.no_grad():
            before = torch.log_softmax(reference(batch.observations)[0], 1)
        # Masked slots have probability 0 in both, and the logarithms there are finite.
        divergence = (p * (log_p - before)).sum(1).mean()
        loss = loss + anchor * divergence
        told["from_reference"] = divergence
    return {"policy_loss": loss, **told}
