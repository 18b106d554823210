"""A3C in a scenario: learners that play and learn at once, each on weights that others change.

Mnih et al., Asynchronous Methods for Deep Reinforcement Learning, ICML 2016, arXiv 1602.01783,
algorithm S3. Each learner is a Ray actor with copies of its own: it takes the weights, plays a few
decisions, computes the gradient of Stable-Baselines3's A2C, and hands it in; whoever holds the
weights applies it at once, whatever has been applied meanwhile, by an RMSprop that all share. How
many others that were is the gradient's staleness, which the curve and the story tell.

What is learnt depends on who comes first, so that no seed gives the same weights twice. All pause
after ``round`` decisions, when the gate looks and a checkpoint may be written: it holds weights,
moments and counts, and those who go on from it begin new episodes. The first rollout is played
before there are learners, by one step of A2C, as it tells how rewards are measured.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from toolkit.envs.flat import FlatVecEnv
from toolkit.errors import require
from toolkit.learning.a2c import A2C, A2CLearner, ReplayA2C
from toolkit.learning.checkpoint import State
from toolkit.learning.learner import Given
from toolkit.learning.shared import Gradients, Outcome, Staleness
from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.networks.scorer import Shape
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import Vector


@dataclass(frozen=True, kw_only=True)
class A3C(A2C):
    """Hyper-parameters of A3C; ``copies`` are those of each learner, the gate counts rounds.

    Args:
        actors: Learners.
        round: Decisions of all of them after which they pause.
        address: Of a Ray cluster that exists; null starts one on loopback.
    """

    actors: int
    round: int
    address: str | None = None

    title: ClassVar[str] = "a3c"
    counts: ClassVar[tuple[str, ...]] = (*A2C.counts, "actors", "round")
    repeatable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.actors <= 256, f"algo.actors must be at most 256, got {self.actors}")
        require(
            self.round % self.copies == 0,
            f"algo.round must be a multiple of algo.copies, got {self.round} and {self.copies}",
        )

    @property
    def staged(self) -> bool:
        """False: learners are told one scenario."""
        return False

    def start(self, given: Given) -> A3CLearner:
        """Return a training before its first step."""
        return A3CLearner(self, given)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """What a learner is told before it begins.

    Args:
        settings: Hyper-parameters.
        scenario: What it plays.
        shape: Of the networks.
        weights: Of the policy, standardisation included.
        discount_seconds: τ.
        scale: What rewards are divided by.
        seed: Of the training.
        number: Of the learner.
        done: Decisions of the training before it begins; who goes on meets other workloads.
    """

    settings: A3C
    scenario: Scenario
    shape: Shape
    weights: Mapping[str, Vector]
    discount_seconds: float
    scale: float
    seed: int
    number: int
    done: int


class Player:
    """A learner: plays copies of its own and computes gradients.

    Args:
        placed: What it is told.
    """

    def __init__(self, placed: Placed) -> None:
        torch.set_num_threads(1)
        s = placed.settings
        rng = generator(placed.seed, "learner", placed.number, placed.done)
        first, drawn = rng.integers(2**30, size=2).tolist()
        torch.manual_seed(drawn)
        self._env = FlatVecEnv(placed.scenario, s.copies, first)
        self._model = ReplayA2C(
            s,
            self._env,
            Ensemble([scorer_of(placed.shape)]),
            scorer_of(placed.shape),
            discount_seconds=placed.discount_seconds,
            device="cpu",
        )
        # The gradient is for others to follow.
        self._model.rate = 0.0
        self._model.scale, self._model.scaled = placed.scale, True
        policy = self._model.policy
        policy.load_state_dict({k: torch.from_numpy(v) for k, v in placed.weights.items()})
        self._model._last_obs = self._env.reset()
        self._model._last_episode_starts = np.ones(s.copies, dtype=np.bool_)

    def gradients(
        self, weights: list[Vector], steps: int
    ) -> tuple[Gradients, dict[str, float], list[float]]:
        """Play with some weights; return gradients, what was measured, and returns.

        Args:
            weights: Of each parameter.
            steps: Decisions of each copy.
        """
        model = self._model
        parameters = list(model.policy.parameters())
        with torch.no_grad():
            for parameter, weight in zip(parameters, weights, strict=True):
                parameter.copy_(torch.from_numpy(weight))
        model.rollout_buffer.buffer_size = steps
        model.collect_rollouts(self._env, None, model.rollout_buffer, steps)
        measured = model.learnt()
        found = [None if p.grad is None else p.grad.numpy() for p in parameters]
        return found, measured, list(model.returns)


class A3CLearner(A2CLearner):
    """A training by A3C.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount and seed.
    """

    def __init__(self, settings: A3C, given: Given) -> None:
        self._of = settings
        self._staleness = Staleness()
        self._gang: Any = None
        super().__init__(settings, given)

    def _round(self, most: int) -> tuple[int, dict[str, float]]:
        if not self._model.scaled:
            return super()._round(most)
        s, model = self._of, self._model
        taken = min(s.round, most)
        if self._gang is None:
            self._gang = self._started()
        outcome: Outcome = self._gang.round(taken, model.rate)
        with torch.no_grad():
            pairs = zip(model.policy.parameters(), outcome.weights, strict=True)
            for parameter, weight in pairs:
                parameter.copy_(torch.from_numpy(weight.copy()))
        model.policy.optimizer.load_state_dict(dict(outcome.optimiser))
        model.returns = outcome.returns
        self._staleness.add(outcome.stale)
        now = Staleness()
        now.add(outcome.stale)
        if self._done + taken >= s.n_steps:
            self._gang.close()
        return taken, {**outcome.told, **now.told()}

    def _started(self) -> Any:
        """Start learners and whoever holds the weights."""
        s, given, policy = self._of, self._given, self._model.policy
        told: dict[str, Any] = {
            "settings": s,
            "scenario": self._scenario,
            "shape": policy.critic.shape,
            "weights": {k: v.cpu().numpy() for k, v in policy.state_dict().items()},
            "discount_seconds": given.discount_seconds,
            "scale": self._model.scale,
            "seed": given.seed,
            "done": self.done,
        }
        # The core imports no collector; what starts Ray and cleans up after it lies there.
        gang: Any = importlib.import_module("collectors.ray.asynchronous").Gang(
            holding=(
                [p.detach().cpu().numpy() for p in policy.parameters()],
                policy.optimizer.state_dict(),
                s.copies,
                s.rollout,
            ),
            placed=[Placed(**told, number=i) for i in range(s.actors)],
            address=s.address,
        )
        weakref.finalize(self, gang.close)
        return gang

    def story(self) -> Mapping[str, float]:
        """Return what the gate saw, and how stale gradients were."""
        return {**super().story(), **self._staleness.told()}

    def state(self) -> State:
        """Return weights, moments and counts; where learners stand is not known."""
        state, seen = super().state(), self._staleness
        own = {"stale": {"counts": seen.counts, "total": seen.total, "most": seen.most}}
        return State(tensors=state.tensors, numbers={**state.numbers, **own})

    def restore(self, state: State) -> None:
        """Go on from a state, in new episodes."""
        super().restore(state)
        told, seen = state.numbers["stale"], self._staleness
        seen.counts = [int(n) for n in told["counts"]]
        seen.total, seen.most = int(told["total"]), int(told["most"])
