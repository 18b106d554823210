"""A2C in a scenario, on Stable-Baselines3's own.

Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, ICML 2016, arXiv 1602.01783, in
its synchronous form: all copies play a few decisions, then one step of RMSprop follows the policy
gradient of all of them at once. Its ``train`` is Stable-Baselines3's. Masks lie in the
observations and discounts follow the clock; actor and critic are networks of their own, as
Stable-Baselines3's are, where the paper lets them share layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3.common.logger import Logger

from toolkit.envs.flat import FlatVecEnv
from toolkit.learning.actor_critic import Replaying, ScorerPolicy
from toolkit.learning.learner import Given
from toolkit.learning.on_policy import OnPolicy, OnPolicyLearner
from toolkit.learning.rollouts import IrregularRollout
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Scorer

_FIRST = 4096
"""Decisions of the first rollout, which tells how rewards are measured."""


@dataclass(frozen=True, kw_only=True)
class A2C(OnPolicy):
    """Hyper-parameters of A2C.

    Args:
        value: Weight of the critic's loss beside the actor's.
        clip_gradient: Greatest norm of a gradient.
    """

    value: float
    clip_gradient: float

    title: ClassVar[str] = "a2c"
    rates: ClassVar[tuple[str, ...]] = ("learning_rate", "value", "clip_gradient")

    def start(self, given: Given) -> A2CLearner:
        """Return a training before its first step."""
        return A2CLearner(self, given)


class ReplayA2C(Replaying, SB3A2C):
    """Stable-Baselines3's A2C in a replay.

    Args:
        settings: Hyper-parameters.
        env: The copies.
        actor: The policy.
        critic: Its values.
        discount_seconds: τ.
        device: Of torch.

    Attributes:
        rate: Learning rate.
    """

    policy: ScorerPolicy  # type: ignore[assignment]
    rollout_buffer: IrregularRollout

    def __init__(
        self,
        settings: A2C,
        env: FlatVecEnv,
        actor: Ensemble,
        critic: Scorer,
        *,
        discount_seconds: float,
        device: str,
    ) -> None:
        self.rate = settings.learning_rate
        super().__init__(
            ScorerPolicy,  # type: ignore[arg-type]
            env,
            learning_rate=lambda _: self.rate,
            n_steps=settings.rollout,
            gae_lambda=settings.gae_lambda,
            ent_coef=settings.entropy,
            vf_coef=settings.value,
            max_grad_norm=settings.clip_gradient,
            rollout_buffer_class=IrregularRollout,
            policy_kwargs={"actor": actor, "critic": critic},
            seed=None,
            device=device,
        )
        self.tau = discount_seconds
        self.told = Logger(folder=None, output_formats=[])
        self.set_logger(self.told)

    def learnt(self) -> dict[str, float]:
        """Take the step of the last rollout; return what was measured."""
        self.train()
        told: Any = self.told.name_to_value
        return {
            "policy_loss": float(told["train/policy_loss"]),
            "value_loss": float(told["train/value_loss"]),
            "entropy": -float(told["train/entropy_loss"]),
            "explained": float(told["train/explained_variance"]),
            "value": float(self.rollout_buffer.values.mean()),
            "value_std": float(self.rollout_buffer.values.std()),
        }


class A2CLearner(OnPolicyLearner[A2C, ReplayA2C]):
    """A training by A2C.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount and seed.
    """

    def _modelled(self, actor: Ensemble, critic: Scorer) -> ReplayA2C:
        given = self._given
        return ReplayA2C(
            self._settings,
            self._env,
            actor,
            critic,
            discount_seconds=given.discount_seconds,
            device=given.device,
        )

    def _decisions(self) -> int:
        s = self._settings
        return s.rollout if self._model.scaled else max(s.rollout, _FIRST // s.copies)

    def _schedule(self) -> None:
        self._model.rate = self._rate()

    def _learn(self) -> dict[str, float]:
        return self._model.learnt()

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"rmsprop": self._model.policy.optimizer}
