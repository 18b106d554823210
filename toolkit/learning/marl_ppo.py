"""PPO of several agents: each process type learns its own actor and critic from a shared reward.

de Witt et al., Is Independent Learning All You Need in the StarCraft Multi-Agent Challenge?, arXiv
2011.09533; Yu et al., The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games, arXiv
2103.01955. Every agent sees the global state, so that the local critics of the one and the
centralised critics of the other see the same here. Nothing is shared but the reward: neither
weights, as there in part, nor minibatches. Advantages are standardised for each agent; values are
those of rewards divided by one number, the spread of what follows in the first rollout.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.envs.stepping import GOING, TRUNCATED
from toolkit.envs.together import TogetherBatch
from toolkit.errors import require
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.gate import Gate
from toolkit.learning.learner import Given, Learner
from toolkit.learning.member import Member
from toolkit.learning.offline import normalise
from toolkit.learning.play import looked_at_together, play_together
from toolkit.learning.ppo import PPO
from toolkit.learning.proximal import learn_from
from toolkit.learning.rollouts import spread_of_returns
from toolkit.learning.warm_start import WarmStart
from toolkit.networks.agents import Agents
from toolkit.networks.networks import Ensemble, scorer_of
from toolkit.networks.scorer import Shape
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import ALLOCATION, Floats, Ints, Mask, Vector

LOOKED = 1024
"""Observations of each agent from which is standardised."""


@dataclass(frozen=True, kw_only=True)
class MarlPPO(PPO):
    """Hyper-parameters of PPO of several agents, see :class:`~toolkit.learning.ppo.PPO`.

    A choice of all n agents at once counts as n decisions. The last ones are taken together even
    where ``n_steps`` is no multiple of them.
    """

    title: ClassVar[str] = "marl_ppo"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.warm_start == WarmStart(),
            f"{self.title} begins with nothing and heeds no warm_start",
            hint="leave it out, or take toolkit train +algo=ppo init=<policy>",
        )

    @property
    def goes_on(self) -> bool:
        """False: it begins anew."""
        return False

    @property
    def staged(self) -> bool:
        """False: it plays one scenario."""
        return False

    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""
        torch.manual_seed(given.seed)
        return MarlLearner(self, given)


class MarlLearner:
    """A training by PPO of several agents.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount and seed.
    """

    def __init__(self, settings: MarlPPO, given: Given) -> None:
        self._settings, self._given = settings, given
        self._scenario = together_only(given.played(settings.name), settings.name)
        first = int(generator(given.seed, "copies").integers(2**30))
        seeds = [first + i // settings.alike for i in range(settings.copies)]
        self._env = TogetherBatch(self._scenario, seeds)
        self._gate = Gate(
            self._scenario, settings.gate_workloads, np.inf, given.device, self._returned
        )
        steps = max(1, LOOKED // settings.copies)
        seen = looked_at_together(
            self._scenario, copies=settings.copies, steps=steps, seed=given.seed
        )
        self._members = self._made(seen)
        self._rng = generator(given.seed, "minibatches")
        self._scale, self._scaled = 1.0, False
        for i in range(settings.copies):
            self._env.start(i)
        self._fresh: Mask = np.ones(settings.copies, dtype=np.bool_)
        self._done, self._updates = 0, 0
        self._look()

    def _made(self, seen: Tensor) -> list[Member]:
        """Return those that learn, first the agents in the order of the environment.

        Args:
            seen: What agents see that draw, shape [B, n, W].
        """
        shape = shape_of(self._env.sizes, self._settings)
        found = []
        for i in range(len(self._env.agents)):
            member = self._member(shape, self._settings.copies)
            normalise([member.policy.actor, member.policy.critic], seen[:, i])
            found.append(member)
        return found

    def _member(self, shape: Shape, envs: int) -> Member:
        actor, critic = Ensemble([scorer_of(shape)]), scorer_of(shape)
        for one in actor.members:
            one.begin_even()
        slots = self._env.sizes[1]
        return Member(
            actor, critic,
            width=shape.globals + slots * (shape.candidates + 1), slots=slots, envs=envs,
            settings=self._settings, device=self._given.device,
        )  # fmt: skip

    @property
    def done(self) -> int:
        """Decisions taken, n by every choice of n agents."""
        return self._done

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Play a rollout and learn from it."""
        s, n = self._settings, len(self._env.agents)
        steps = max(1, min(s.rollout // n, -(-most // (n * s.copies))))
        returns = self._play(steps)
        rate = s.learning_rate * (1 - 0.9 * self._done / s.n_steps) * self._gate.trust
        told: dict[str, list[float]] = {}
        for member in self._members:
            found = learn_from(member.policy, member.rollout, s, self._rng, actor_rate=rate)
            for key, value in found.items():
                told.setdefault(key, []).append(value)
        measured = {key: float(np.mean(values)) for key, values in told.items()}
        measured |= self._learn_above(rate)
        taken = steps * n * s.copies
        self._done += taken
        self._updates += 1
        if self._updates % s.gate_every == 0 or self._done >= s.n_steps:
            self._look()
        if returns:
            measured["return"] = float(np.mean(returns))
        measured["gate"] = self._gate.looks[-1]
        return taken, measured

    def _learn_above(self, rate: float) -> dict[str, float]:
        """Let those learn that are above the agents; there are none."""
        return {}

    def _play(self, steps: int) -> list[float]:
        """Play so many choices of every agent in every copy; return returns of what ended."""
        env, s = self._env, self._settings
        rewards: Vector = np.zeros((steps, s.copies), dtype=np.float32)
        discounts = np.zeros_like(rewards)
        ends: Mask = np.zeros((steps, s.copies), dtype=np.bool_)
        returns: list[float] = []
        self._begin(steps)
        with torch.no_grad():
            for t in range(steps):
                env.step(self._choose(env.flat()))
                rewards[t] = env.rewards
                discounts[t] = np.exp(-env.elapsed / self._given.discount_seconds)
                ends[t] = self._fresh = env.over != GOING
                cut = np.flatnonzero(env.over == TRUNCATED)
                # Before the first rollout has told the scale, the critics know nothing yet.
                if len(cut) and self._scaled:
                    self._cut(t, env.flat()[cut], cut)
                for i in np.flatnonzero(self._fresh).tolist():
                    returns.append(float(env.batch.returns[i]))
                    env.start(i)
        if not self._scaled:
            goes_on = 1.0 - ends.astype(np.float32)
            self._scale, self._scaled = spread_of_returns(rewards, discounts, goes_on), True
        self._pay(rewards / np.float32(self._scale), discounts)
        return returns

    def _begin(self, steps: int) -> None:
        for member in self._members:
            member.begin(steps)

    def _choose(self, seen: Vector) -> Ints:
        """Return what all agents choose in all copies, shape [N, n], and remember it."""
        moment, chosen = self._env.moment(), []
        for i, member in enumerate(self._members):
            found = member.choose(seen[:, i])
            member.put(moment, seen[:, i], found, self._fresh)
            chosen.append(found[0])
        return np.stack(chosen, axis=1)

    def _cut(self, t: int, seen: Vector, copies: Ints) -> None:
        """Remember what states are worth in which episodes were cut.

        Args:
            t: Step of the rollout.
            seen: What was seen there, shape [B, n, W].
            copies: Whose episodes they were, shape [B].
        """
        for i, member in enumerate(self._members):
            member.cut[t, copies] = member.values(seen[:, i]).cpu().numpy()[:, 0]

    def _pay(self, rewards: Vector, discounts: Vector) -> None:
        """Tell all what the rollout paid.

        Args:
            rewards: In the unit of the critics, shape [T, N].
            discounts: Shape [T, N].
        """
        last = self._env.flat()
        for i, member in enumerate(self._members):
            member.pay(rewards, discounts, last[:, i], self._fresh)

    def _agents(self) -> Agents:
        """Return the present actors, not copied."""
        actors = [member.policy.actor for member in self._members]
        return Agents(dict(zip(self._env.agents, actors, strict=True)))

    def _returned(self, network: Any, scenario: Scenario, seeds: Sequence[int]) -> Floats:
        together = play_together(network, scenario, seeds, device=self._given.device)
        return together.batch.returns

    def _look(self) -> None:
        self._gate.look(self._agents(), *(m.policy.optimizer for m in self._members))

    def network(self) -> Agents:
        """Return the policy that the gate found best."""
        found = copy.deepcopy(self._agents()).cpu()
        self._gate.give(found)
        return found.eval()

    def present(self) -> Agents:
        """Return the actors as they are now."""
        return copy.deepcopy(self._agents()).cpu().eval()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return the mean of what the agents' critics say, in the unit of returns; shape [B]."""
        return self.worths(x[:, None].expand(-1, len(self._env.agents), -1)).mean(1)

    def worths(self, x: Tensor) -> Tensor:
        """Return what every agent's critic says of what it sees, in the unit of returns.

        Args:
            x: Shape [B, n, W].

        Returns:
            Shape [B, n].
        """
        with torch.inference_mode():
            each = [m.policy.critic.values(x[:, i].to(self._given.device))[:, 0]
                    for i, m in enumerate(self._members)]  # fmt: skip
        return torch.stack(each, dim=1).cpu() * self._scale

    def story(self) -> Mapping[str, float]:
        """Return what the gate saw."""
        return self._gate.story()

    def state(self) -> State:
        """Return all that decides how the training goes on."""
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
                "scaled": self._scaled,
                "scale": self._scale,
                "gate": seen,
                "minibatches": state_of(self._rng),
                "copies": self._env.state(),
                "fresh": self._fresh.tolist(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        told = state.numbers
        unpack(state.tensors, self._modules(), self._optimisers())
        self._gate.restore(state.tensors, told["gate"])
        self._done, self._updates = int(told["done"]), int(told["updates"])
        self._scaled, self._scale = bool(told["scaled"]), float(told["scale"])
        self._rng.bit_generator.state = told["minibatches"]
        self._env.restore(told["copies"])
        self._fresh = np.array(told["fresh"], dtype=np.bool_)
        torch.set_rng_state(state.tensors["torch"])

    def _modules(self) -> Mapping[str, nn.Module]:
        found: dict[str, nn.Module] = {}
        for i, member in enumerate(self._members):
            found |= {f"actor.{i}": member.policy.actor, f"critic.{i}": member.policy.critic}
        return found

    def _optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        found: dict[str, torch.optim.Optimizer] = {}
        for i, member in enumerate(self._members):
            found[f"actor_adam.{i}"] = member.policy.optimizer
            found[f"critic_adam.{i}"] = member.policy.critic_optimizer
        return found


def together_only(scenario: Scenario, name: str) -> Scenario:
    """Return a scenario in which several agents choose at once.

    Args:
        scenario: What is to be played.
        name: Of the algorithm.

    Raises:
        ConfigError: When one choice follows from another in it.
    """
    require(
        scenario.plan(0).family == ALLOCATION,
        f"{name} trains an agent for every process type; in {scenario.name} one agent makes all "
        "choices",
        hint="take an allocation, e.g. scenario=genomics_open, or toolkit train +algo=ppo",
    )
    return scenario


def shape_of(sizes: tuple[int, int, int], settings: PPO, more: int = 0) -> Shape:
    """Return the shape of a network.

    Args:
        sizes: G, K and F.
        settings: Hyper-parameters.
        more: Features that a candidate has beside the F.
    """
    G, K, F = sizes
    return Shape.of(
        (G, K, F + more),
        hidden=settings.hidden, attention=settings.attention, network=settings.network,
    )  # fmt: skip
