"""PPO in a scenario, from scratch or from an offline policy, on sb3-contrib's MaskablePPO.

Schulman et al., Proximal Policy Optimization Algorithms, arXiv 1707.06347. Discounts follow the
clock; actor and critic are networks of their own, so that a critic can be fitted to an offline
policy before that policy changes at all (:mod:`toolkit.learning.warm_start`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from toolkit.errors import require
from toolkit.learning.checkpoint import State, state_of
from toolkit.learning.distil import distilled
from toolkit.learning.learner import Given, Learner
from toolkit.learning.on_policy import OnPolicy, OnPolicyLearner
from toolkit.learning.proximal import ReplayPPO
from toolkit.learning.warm_start import WarmStart, temperature_of
from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.networks.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class PPO(OnPolicy):
    """Hyper-parameters of PPO.

    Args:
        alike: So many copies each play the same workloads with the same luck, and are compared
            with one another, see :mod:`toolkit.learning.peers`; 1: none.
        batch_size: Decisions per gradient step.
        epochs: How often each decision is learnt from.
        critic_rate: Learning rate of the critic.
        clip: Of the ratio of probabilities.
        target_kl: Divergence from the policy that played at which an update ends early.
        warm_start: How an offline policy is gone on from.
    """

    alike: int
    batch_size: int
    epochs: int
    critic_rate: float
    clip: float
    target_kl: float
    warm_start: WarmStart = field(default_factory=WarmStart)

    title: ClassVar[str] = "ppo"
    counts: ClassVar[tuple[str, ...]] = (*OnPolicy.counts, "alike", "batch_size", "epochs")
    rates: ClassVar[tuple[str, ...]] = ("learning_rate", "critic_rate", "clip", "target_kl")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.copies % self.alike == 0,
            f"algo.copies must be a multiple of algo.alike, got {self.copies} and {self.alike}",
        )

    @property
    def goes_on(self) -> bool:
        """True: from ``init``."""
        return True

    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""
        return PPOLearner(self, given)


class PPOLearner(OnPolicyLearner[PPO, ReplayPPO]):
    """A training by PPO.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount, seed, and the policy that it goes on from.
    """

    def __init__(self, settings: PPO, given: Given) -> None:
        fresh = given.init is None
        self._warming = not fresh and settings.warm_start.critic_steps > 0
        self._warmed = 0
        tolerated = np.inf if fresh else settings.warm_start.tolerated
        super().__init__(settings, given, alike=settings.alike, tolerated=tolerated)

    def _networks(self) -> tuple[Ensemble, Scorer]:
        s, given = self._settings, self._given
        if given.init is None:
            return super()._networks()
        actor = copy.deepcopy(given.init)
        if given.values:
            actor.temperature = temperature_of(
                actor.to(given.device),
                self._scenario,
                self._gate.seeds,
                s.warm_start.temperatures,
                tolerated=0.02,
                device=given.device,
            )
        if len(actor.members) > 1:
            actor = distilled(actor, self._scenario, seed=given.seed, device=given.device)
        critic = scorer_of(actor.shape)
        critic.normalise_like(actor.members[0])
        return actor, critic

    def _modelled(self, actor: Ensemble, critic: Scorer) -> ReplayPPO:
        given = self._given
        model = ReplayPPO(
            self._settings,
            self._env,
            actor,
            critic,
            discount_seconds=given.discount_seconds,
            seed=given.seed,
            device=given.device,
        )
        if given.init is not None:
            model.reference = copy.deepcopy(actor).requires_grad_(False).eval()
        return model

    def _learn(self) -> dict[str, float]:
        return self._model.learn_from(self._model.rollout_buffer, actor=not self._warming)

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        policy = self._model.policy
        return {"actor_adam": policy.optimizer, "critic_adam": policy.critic_optimizer}

    def _may_look(self, measured: Mapping[str, float], taken: int) -> bool:
        """Return False for an update that only warmed the critic, and see whether that is over."""
        if not self._warming:
            return True
        warm = self._settings.warm_start
        self._warmed += taken
        enough = measured["explained"] >= warm.explained
        self._warming = not enough and self._warmed < warm.critic_steps
        return False

    def _schedule(self) -> None:
        s, model = self._settings, self._model
        rate = self._rate()
        if self._given.init is not None:
            ramp = s.warm_start.ramp
            learnt = self._done - self._warmed
            rate *= min(1.0, (learnt + s.copies) / ramp) if ramp > 0 else 1.0
            share = self._done / s.n_steps
            model.anchor = s.warm_start.anchor * max(0.0, 1 - share / s.warm_start.anchored)
        model.actor_rate = rate

    def story(self) -> Mapping[str, float]:
        """Return what the gate saw, and how long the critic was warmed."""
        return {**super().story(), "critic_warmed": float(self._warmed)}

    def state(self) -> State:
        """Return all that decides how the training goes on."""
        state = super().state()
        own = {
            "warmed": self._warmed,
            "warming": self._warming,
            "minibatches": state_of(self._model.rng),
        }
        return State(tensors=state.tensors, numbers={**state.numbers, **own})

    def restore(self, state: State) -> None:
        """Go on from a state."""
        super().restore(state)
        told = state.numbers
        self._warmed, self._warming = int(told["warmed"]), bool(told["warming"])
        self._model.rng.bit_generator.state = told["minibatches"]
