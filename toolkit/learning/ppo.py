"""PPO in a scenario, from scratch or from an offline policy, on sb3-contrib's MaskablePPO.

Schulman et al., Proximal Policy Optimization Algorithms, arXiv 1707.06347. Discounts follow the
clock; actor and critic are networks of their own, so that a critic can be fitted to an offline
policy before that policy changes at all (:mod:`toolkit.learning.warm_start`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.envs.flat import FlatVecEnv
from toolkit.errors import require
from toolkit.learning.actor_critic import ReplayPPO
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.curriculum import Curriculum
from toolkit.learning.distil import distilled
from toolkit.learning.gate import Gate
from toolkit.learning.learner import Given
from toolkit.learning.networks import Ensemble, scorer_of
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at
from toolkit.learning.rollouts import spread_of_returns
from toolkit.learning.scorer import CANDIDATES, Scorer, Shape
from toolkit.learning.warm_start import WarmStart, temperature_of
from toolkit.seeding import generator


@dataclass(frozen=True, kw_only=True)
class PPO:
    """Hyper-parameters of PPO.

    Args:
        n_steps: Decisions; exactly so many are taken.
        copies: Episodes that are played side by side.
        alike: So many of them each play the same workloads with the same luck, and are compared
            with one another, see :mod:`toolkit.learning.peers`; 1: none.
        rollout: Decisions of each copy between two updates.
        batch_size: Decisions per gradient step.
        epochs: How often each decision is learnt from.
        learning_rate: Of the actor, falling to a tenth in the end.
        critic_rate: Learning rate of the critic.
        clip: Of the ratio of probabilities.
        gae_lambda: λ of the advantages.
        entropy: Weight of the entropy.
        target_kl: Divergence from the policy that played at which an update ends early.
        hidden: Width of the networks.
        attention: Whether candidates look at one another.
        gate_every: Updates between two looks of the gate.
        gate_workloads: Training workloads on which it judges, always the same.
        report_every: Decisions between two points of the learning curve.
        warm_start: How an offline policy is gone on from.
        network: ``candidates`` or ``mlp``, where it begins with nothing.
    """

    n_steps: int
    copies: int
    alike: int
    rollout: int
    batch_size: int
    epochs: int
    learning_rate: float
    critic_rate: float
    clip: float
    gae_lambda: float
    entropy: float
    target_kl: float
    hidden: int
    attention: bool
    gate_every: int
    gate_workloads: int
    report_every: int
    warm_start: WarmStart = field(default_factory=WarmStart)
    network: str = CANDIDATES

    title: ClassVar[str] = "ppo"

    def __post_init__(self) -> None:
        for name in (
            "n_steps",
            "copies",
            "alike",
            "rollout",
            "batch_size",
            "epochs",
            "hidden",
            "gate_every",
            "gate_workloads",
            "report_every",
        ):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        for name in ("learning_rate", "critic_rate", "clip", "target_kl"):
            require(getattr(self, name) > 0, f"algo.{name} must be positive")
        require(
            self.copies % self.alike == 0,
            f"algo.copies must be a multiple of algo.alike, got {self.copies} and {self.alike}",
        )
        require(0 <= self.gae_lambda <= 1, "algo.gae_lambda must be in [0, 1]")
        require(self.entropy >= 0, "algo.entropy must not be negative")

    @property
    def name(self) -> str:
        """``ppo``."""
        return self.title

    @property
    def offline(self) -> bool:
        """False."""
        return False

    @property
    def values(self) -> bool:
        """False: scores are logits."""
        return False

    @property
    def goes_on(self) -> bool:
        """True: from ``init``."""
        return True

    @property
    def staged(self) -> bool:
        """True: through ``stages``."""
        return True

    def start(self, given: Given) -> PPOLearner:
        """Return a training before its first step."""
        return PPOLearner(self, given)


class PPOLearner:
    """A training by PPO.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount, seed, and the policy that it goes on from.
    """

    def __init__(self, settings: PPO, given: Given) -> None:
        self._curriculum = Curriculum.of(given, settings.name)
        scenario, copies = self._curriculum.last, settings.copies
        require(
            settings.n_steps % copies == 0,
            f"algo.n_steps must be a multiple of algo.copies, {copies}, got {settings.n_steps}",
        )
        torch.manual_seed(given.seed)
        self._settings, self._given, self._scenario = settings, given, scenario
        self._first = int(generator(given.seed, "copies").integers(2**30))
        self._stage = 0
        self._env = self._entered()
        tolerated = settings.warm_start.tolerated if given.init is not None else np.inf
        self._gate = Gate(scenario, settings.gate_workloads, tolerated, given.device)
        actor, critic = self._networks()
        self._model = ReplayPPO(
            settings,
            self._env,
            actor.to(given.device),
            critic.to(given.device),
            discount_seconds=given.discount_seconds,
            seed=given.seed,
            device=given.device,
        )
        self._warming = given.init is not None and settings.warm_start.critic_steps > 0
        if given.init is not None:
            self._model.reference = copy.deepcopy(actor).requires_grad_(False).eval()
        self._settle(self._env.reset(), np.ones(copies, dtype=np.bool_))
        self._done, self._updates, self._warmed = 0, 0, 0
        self._look()

    def _networks(self) -> tuple[Ensemble, Scorer]:
        s, given = self._settings, self._given
        if given.init is None:
            shape = Shape.of(
                self._env.sizes, hidden=s.hidden, attention=s.attention, network=s.network
            )
            actor = Ensemble([scorer_of(shape)])
            for member in actor.members:
                member.begin_even()
            critic = scorer_of(shape)
            steps = max(1, 16_384 // s.copies)
            seen = looked_at(self._scenario, copies=s.copies, steps=steps, seed=given.seed)
            normalise([actor, critic], seen)
            return actor, critic
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

    @property
    def done(self) -> int:
        """Decisions taken."""
        return self._done

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play a rollout and learn from it."""
        s, model = self._settings, self._model
        self._next_stage()
        steps = min(s.rollout, most // s.copies)
        model.rollout_buffer.buffer_size = steps
        self._schedule()
        model.collect_rollouts(self._env, None, model.rollout_buffer, steps)
        if not model.scaled:
            self._scale()
        taken = steps * s.copies
        measured = model.learn_from(model.rollout_buffer, actor=not self._warming)
        self._done += taken
        self._updates += 1
        if self._warming:
            self._warmed += taken
            enough = measured["explained"] >= s.warm_start.explained
            self._warming = not enough and self._warmed < s.warm_start.critic_steps
        elif self._updates % s.gate_every == 0 or self._done >= s.n_steps:
            self._look()
        if model.returns:
            measured["return"] = float(np.mean(model.returns))
        measured["gate"] = self._gate.looks[-1]
        return taken, measured

    def network(self) -> Ensemble:
        """Return the policy that the gate found best."""
        actor = copy.deepcopy(self._model.policy.actor).cpu()
        self._gate.give(actor)
        return actor.eval()

    def present(self) -> Ensemble:
        """Return the actor as it is now."""
        return copy.deepcopy(self._model.policy.actor).cpu().eval()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what the critic says of states, in the unit of returns; shape [B]."""
        model = self._model
        with torch.inference_mode():
            found: Tensor = model.policy.critic.values(x.to(model.device))[:, 0].cpu()
        return found * model.scale

    def story(self) -> Mapping[str, float]:
        """Return what the gate saw, and how long the critic was warmed."""
        return {**self._gate.story(), "critic_warmed": float(self._warmed)}

    def state(self) -> State:
        """Return all that decides how the training goes on."""
        model = self._model
        best, seen = self._gate.state()
        return State(
            tensors={
                **packed(self._modules(), self._optimisers()),
                **best,
                "torch": torch.get_rng_state(),
            },
            numbers={
                "done": self._done,
                "updates": self._updates,
                "warmed": self._warmed,
                "warming": self._warming,
                "scaled": model.scaled,
                "scale": model.scale,
                "gate": seen,
                "stage": self._stage,
                "minibatches": state_of(model.rng),
                "copies": self._env.state(),
                "fresh": np.asarray(model._last_episode_starts).tolist(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told, model = state.numbers, self._model
        unpack(state.tensors, self._modules(), self._optimisers())
        self._gate.restore(state.tensors, told["gate"])
        self._done, self._updates = int(told["done"]), int(told["updates"])
        self._warmed, self._warming = int(told["warmed"]), bool(told["warming"])
        model.scaled, model.scale = bool(told["scaled"]), float(told["scale"])
        model.rng.bit_generator.state = told["minibatches"]
        self._enter(int(told["stage"]))
        seen = self._env.restore(told["copies"])
        self._settle(seen, np.array(told["fresh"], dtype=np.bool_))
        torch.set_rng_state(state.tensors["torch"])

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self._model.policy.actor, "critic": self._model.policy.critic}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        policy = self._model.policy
        return {"actor_adam": policy.optimizer, "critic_adam": policy.critic_optimizer}

    def _settle(self, seen: Any, fresh: Any) -> None:
        self._model._last_obs, self._model._last_episode_starts = seen, fresh

    def _entered(self) -> FlatVecEnv:
        """Return the copies of the present stage."""
        s, scenario = self._settings, self._curriculum.scenario(self._stage)
        return FlatVecEnv(scenario, s.copies, self._first + self._stage * s.copies, s.alike)

    def _next_stage(self) -> None:
        """Go on to the scenario of the curriculum that is due."""
        due = self._curriculum.due(self._done / self._settings.n_steps)
        if due != self._stage:
            self._enter(due)
            self._settle(self._env.reset(), np.ones(self._settings.copies, dtype=np.bool_))

    def _enter(self, stage: int) -> None:
        if stage != self._stage:
            self._stage = stage
            self._model.env = self._env = self._entered()

    def _schedule(self) -> None:
        s, model = self._settings, self._model
        share = self._done / s.n_steps
        rate = s.learning_rate * (1 - 0.9 * share) * self._gate.trust
        if self._given.init is not None:
            ramp = s.warm_start.ramp
            learnt = self._done - self._warmed
            rate *= min(1.0, (learnt + s.copies) / ramp) if ramp > 0 else 1.0
            model.anchor = s.warm_start.anchor * max(0.0, 1 - share / s.warm_start.anchored)
        model.actor_rate = rate

    def _scale(self) -> None:
        """Measure rewards by the spread of what follows in the first rollout."""
        model = self._model
        rollout = model.rollout_buffer
        last: Any = model._last_episode_starts
        starts = np.vstack([rollout.episode_starts[1:], last[None]])
        goes_on = 1.0 - starts.astype(np.float32)
        model.scale = spread_of_returns(rollout.rewards, rollout.discounts, goes_on)
        rollout.rewards /= model.scale
        with torch.no_grad():
            shown = torch.from_numpy(np.asarray(model._last_obs)).to(model.device)
            values = model.policy.predict_values(shown)
        rollout.compute_returns_and_advantage(values, model._last_episode_starts)
        model.scaled = True

    def _look(self) -> None:
        policy = self._model.policy
        self._gate.look(policy.actor, policy.optimizer)
