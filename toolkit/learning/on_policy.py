"""On policy: what the algorithms share that learn from what they have just played.

Copies of the scenario play a rollout, the networks learn from it, and now and then a gate looks at
the policy and keeps the best. Discounts follow the clock, and rewards are measured by the spread
of what follows in the first rollout.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.envs.flat import FlatVecEnv
from toolkit.errors import require
from toolkit.learning.actor_critic import Replaying
from toolkit.learning.checkpoint import State, packed, unpack
from toolkit.learning.curriculum import Curriculum
from toolkit.learning.gate import Gate
from toolkit.learning.learner import Algorithm, Given
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at
from toolkit.learning.rollouts import spread_of_returns
from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.networks.scorer import CANDIDATES, Scorer, Shape
from toolkit.seeding import generator


@dataclass(frozen=True, kw_only=True)
class OnPolicy(Algorithm):
    """Hyper-parameters that the algorithms share.

    Args:
        n_steps: Decisions; exactly so many are taken.
        copies: Episodes that are played side by side.
        rollout: Decisions of each copy between two updates.
        learning_rate: Of the actor, and of the critic where both have one optimiser, falling to a
            tenth in the end.
        gae_lambda: λ of the advantages.
        entropy: Weight of the entropy.
        hidden: Width of the networks.
        attention: Whether candidates look at one another.
        gate_every: Updates between two looks of the gate.
        gate_workloads: Training workloads on which it judges, always the same.
        report_every: Decisions between two points of the learning curve.
        network: ``candidates`` or ``mlp``, where it begins with nothing.
    """

    n_steps: int
    copies: int
    rollout: int
    learning_rate: float
    gae_lambda: float
    entropy: float
    hidden: int
    attention: bool
    gate_every: int
    gate_workloads: int
    report_every: int
    network: str = CANDIDATES

    counts: ClassVar[tuple[str, ...]] = (
        "n_steps", "copies", "rollout", "hidden", "gate_every", "gate_workloads", "report_every",
    )  # fmt: skip
    rates: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def __post_init__(self) -> None:
        for name in self.counts:
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        for name in self.rates:
            require(getattr(self, name) > 0, f"algo.{name} must be positive")
        require(0 <= self.gae_lambda <= 1, "algo.gae_lambda must be in [0, 1]")
        require(self.entropy >= 0, "algo.entropy must not be negative")

    @property
    def staged(self) -> bool:
        """True: through ``stages``."""
        return True


S = TypeVar("S", bound=OnPolicy)
M = TypeVar("M", bound=Replaying)


class OnPolicyLearner(ABC, Generic[S, M]):
    """A training on what it has just played.

    Args:
        settings: Hyper-parameters.
        given: Scenario and stages before it, discount, and seed.
        alike: So many copies each play the same workloads.
        tolerated: Fall at which the gate goes back, see :class:`Gate`.
    """

    def __init__(
        self, settings: S, given: Given, *, alike: int = 1, tolerated: float = np.inf
    ) -> None:
        self._curriculum = Curriculum.of(given, settings.name)
        scenario, copies = self._curriculum.last, settings.copies
        require(
            settings.n_steps % copies == 0,
            f"algo.n_steps must be a multiple of algo.copies, {copies}, got {settings.n_steps}",
        )
        torch.manual_seed(given.seed)
        self._settings, self._given, self._scenario = settings, given, scenario
        self._alike = alike
        self._first = int(generator(given.seed, "copies").integers(2**30))
        self._stage = 0
        self._env = self._entered()
        self._gate = Gate(scenario, settings.gate_workloads, tolerated, given.device)
        actor, critic = self._networks()
        self._model = self._modelled(actor.to(given.device), critic.to(given.device))
        self._settle(self._env.reset(), np.ones(copies, dtype=np.bool_))
        self._done, self._updates = 0, 0
        self._look()

    @abstractmethod
    def _modelled(self, actor: Ensemble, critic: Scorer) -> M:
        """Return the algorithm of Stable-Baselines3 over networks."""

    @abstractmethod
    def _learn(self) -> dict[str, float]:
        """Learn from the rollout; return means of what was measured."""

    @abstractmethod
    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name."""

    def _networks(self) -> tuple[Ensemble, Scorer]:
        """Return actor and critic before the first step."""
        s = self._settings
        shape = Shape.of(self._env.sizes, hidden=s.hidden, attention=s.attention, network=s.network)
        actor = Ensemble([scorer_of(shape)])
        for member in actor.members:
            member.begin_even()
        critic = scorer_of(shape)
        steps = max(1, 16_384 // s.copies)
        seen = looked_at(self._scenario, copies=s.copies, steps=steps, seed=self._given.seed)
        normalise([actor, critic], seen)
        return actor, critic

    def _decisions(self) -> int:
        """Return how many decisions of each copy the next rollout has."""
        return self._settings.rollout

    def _schedule(self) -> None:
        """Set the rates of the next update."""

    def _rate(self) -> float:
        """Return the learning rate of the actor now."""
        share = self._done / self._settings.n_steps
        return self._settings.learning_rate * (1 - 0.9 * share) * self._gate.trust

    def _may_look(self, measured: Mapping[str, float], taken: int) -> bool:
        """Return whether the actor has learnt, so that the gate may look."""
        return True

    @property
    def done(self) -> int:
        """Decisions taken."""
        return self._done

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play a rollout and learn from it."""
        self._next_stage()
        self._schedule()
        taken, measured = self._round(most)
        s, model = self._settings, self._model
        self._done += taken
        self._updates += 1
        due = self._updates % s.gate_every == 0 or self._done >= s.n_steps
        if self._may_look(measured, taken) and due:
            self._look()
        if model.returns:
            measured["return"] = float(np.mean(model.returns))
        measured["gate"] = self._gate.looks[-1]
        return taken, measured

    def _round(self, most: int) -> tuple[int, dict[str, float]]:
        """Play a rollout and learn from it; return its decisions and what was measured."""
        s, model = self._settings, self._model
        steps = min(self._decisions(), most // s.copies)
        model.rollout_buffer.buffer_size = steps
        model.collect_rollouts(self._env, None, model.rollout_buffer, steps)
        if not model.scaled:
            self._scale()
        return steps * s.copies, self._learn()

    def network(self) -> Ensemble:
        """Return the policy that the gate found best."""
        actor = copy.deepcopy(self._model.policy.actor).cpu()
        self._gate.give(actor)
        best: Ensemble = actor.eval()
        return best

    def present(self) -> Ensemble:
        """Return the actor as it is now."""
        actor: Ensemble = copy.deepcopy(self._model.policy.actor).cpu().eval()
        return actor

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what the critic says of states, in the unit of returns; shape [B]."""
        model = self._model
        with torch.inference_mode():
            found: Tensor = model.policy.critic.values(x.to(model.device))[:, 0].cpu()
        return found * model.scale

    def story(self) -> Mapping[str, float]:
        """Return what the gate saw."""
        return self._gate.story()

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
                "scaled": model.scaled,
                "scale": model.scale,
                "gate": seen,
                "stage": self._stage,
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
        model.scaled, model.scale = bool(told["scaled"]), float(told["scale"])
        self._enter(int(told["stage"]))
        seen = self._env.restore(told["copies"])
        self._settle(seen, np.array(told["fresh"], dtype=np.bool_))
        torch.set_rng_state(state.tensors["torch"])

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self._model.policy.actor, "critic": self._model.policy.critic}

    def _settle(self, seen: Any, fresh: Any) -> None:
        self._model._last_obs, self._model._last_episode_starts = seen, fresh

    def _entered(self) -> FlatVecEnv:
        """Return the copies of the stage at hand."""
        scenario, copies = self._curriculum.scenario(self._stage), self._settings.copies
        return FlatVecEnv(scenario, copies, self._first + self._stage * copies, self._alike)

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
