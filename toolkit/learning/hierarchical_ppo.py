"""Hierarchical PPO: a manager sets every process type a target, workers choose for each interval.

Dayan & Hinton, Feudal Reinforcement Learning, NIPS 1992; Vezhnevets et al., FeUdal Networks, arXiv
1703.01161; Ahilan & Dayan, Feudal Multi-Agent Hierarchies, arXiv 1901.08492. Those papers leave
open what a goal is where actions are resource profiles. Here:

- A target is a profile. The manager chooses it for each type among the type's own candidates, at
  the first instant of an episode and after every ``every`` others; its choices for the types of
  one instant are independent of one another given what is seen, made by one network for all types,
  which sees whose target is asked for.
- A worker sees its candidates with two features more, whether it is the target and how far it
  lies from it, and is paid the shared reward, measured by the spread of returns, less ``pull``
  times that distance in every interval. It does not see how long the target will stand.
- The manager is paid the shared reward of the time for which its targets stand, discounted by the
  clock like everything else, as in a semi-Markov decision process: Sutton, Precup & Singh,
  Between MDPs and Semi-MDPs, Artificial Intelligence 112, 1999, §3.
- No gradient flows from the workers to the manager, and both learn from the same rollouts by PPO.
- What a state is worth says the manager's critic, as that of a worker counts the distance too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.learning.checkpoint import State
from toolkit.learning.learner import Given, Learner
from toolkit.learning.marl_ppo import MarlLearner, MarlPPO, shape_of
from toolkit.learning.member import Member
from toolkit.learning.offline import normalise
from toolkit.learning.proximal import learn_from
from toolkit.networks.agents import NO_TARGET, TARGETED, Agents, aimed, distances
from toolkit.seeding import generator
from toolkit.workload import Floats, Ints, Vector

_TOLD = ("entropy", "kl", "value_loss", "explained")


@dataclass(frozen=True, kw_only=True)
class HierarchicalPPO(MarlPPO):
    """Hyper-parameters of hierarchical PPO, see :class:`~toolkit.learning.ppo.PPO` for the others.

    What a manager decides is no decision of its own: ``n_steps`` counts the workers'.

    Args:
        every: Instants for which a target stands.
        pull: What an interval at distance 1 from the target costs a worker, in spreads of returns;
            0 leaves it free.
    """

    every: int
    pull: float

    title: ClassVar[str] = "hierarchical_ppo"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.every >= 1, f"algo.every must be at least 1, got {self.every}")
        require(self.pull >= 0, f"algo.pull must not be negative, got {self.pull}")

    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""
        torch.manual_seed(given.seed)
        return HierarchicalLearner(self, given)


class HierarchicalLearner(MarlLearner):
    """A training by hierarchical PPO.

    Args:
        settings: Hyper-parameters.
        given: Scenario, discount and seed.
    """

    _settings: HierarchicalPPO

    def _made(self, seen: Tensor) -> list[Member]:
        s, (N, n) = self._settings, self._env.mask.shape[:2]
        self._shape = shape_of(self._env.sizes, s)
        self._targets: Ints = np.full((N, n), NO_TARGET, dtype=np.int64)
        # Columns are those of the agents one after another: neighbours that are alike stay so.
        self._manager = self._member(self._shape, n * N)
        policy = self._manager.policy
        normalise([policy.actor, policy.critic], seen.reshape(-1, seen.shape[2]))
        rng = generator(self._given.seed, "targets")
        mask = seen[..., -self._env.sizes[1] :].numpy() > 0.5
        drawn = torch.from_numpy(np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=2))
        found = []
        for i in range(n):
            worker = self._member(shape_of(self._env.sizes, s, TARGETED), N)
            shown = aimed(seen[:, i], drawn[:, i], self._shape)
            normalise([worker.policy.actor, worker.policy.critic], shown)
            found.append(worker)
        return found

    def _agents(self) -> Agents:
        workers = [member.policy.actor for member in self._members]
        return Agents(
            dict(zip(self._env.agents, workers, strict=True)),
            self._manager.policy.actor,
            self._settings.every,
        )

    def _begin(self, steps: int) -> None:
        super()._begin(steps)
        self._manager.begin(steps)
        self._away: Vector = np.zeros((steps, *self._targets.shape), dtype=np.float32)

    def _choose(self, seen: Vector) -> Ints:
        self._set_targets(seen)
        at = self._manager.rollout.pos - 1
        chosen = super()._choose(self._aimed(seen))
        self._away[at] = self._distances(chosen)
        return chosen

    def _set_targets(self, seen: Vector) -> None:
        """Let the manager set targets where they are due, and remember it."""
        manager, (N, n) = self._manager, self._targets.shape
        due = self._env.instants % self._settings.every == 0
        shown, whose = _columns(seen), _repeated(due, n)
        actions: Ints = np.zeros(n * N, dtype=np.int64)
        values, log_probs = torch.zeros(n * N, 1), torch.zeros(n * N)
        if due.any():
            found = manager.choose(shown[whose])
            actions[whose] = found[0]
            values[whose], log_probs[whose] = found[1].cpu(), found[2].cpu()
            self._targets[due] = actions.reshape(n, N).T[due]
        moment, fresh = self._env.moment(), _repeated(self._fresh, n)
        manager.rollout.decided[manager.rollout.pos] = whose
        seeds, times = _repeated(moment[0], n), _repeated(moment[1], n)
        manager.put((seeds, times), shown, (actions, values, log_probs), fresh)

    def _aimed(self, seen: Vector, copies: Any = slice(None)) -> Vector:
        """Return what workers see, shape [B, n, W + 2 K], of what managers do."""
        targets = torch.from_numpy(self._targets[copies])
        found: Vector = aimed(torch.from_numpy(seen), targets, self._shape).numpy()
        return found

    def _distances(self, chosen: Ints) -> Floats:
        """Return how far choices lie from their targets, shape [N, n]."""
        candidates = torch.from_numpy(self._env.candidates)
        away = distances(candidates, torch.from_numpy(self._targets))
        found: Floats = away.gather(2, torch.from_numpy(chosen)[..., None])[..., 0].numpy()
        return found

    def _cut(self, t: int, seen: Vector, copies: Ints) -> None:
        super()._cut(t, self._aimed(seen, copies), copies)
        N, n = self._targets.shape
        columns = (np.arange(n)[:, None] * N + copies).reshape(-1)
        told = self._manager.values(_columns(seen))
        self._manager.cut[t, columns] = told.cpu().numpy()[:, 0]

    def _pay(self, rewards: Vector, discounts: Vector) -> None:
        last, n = self._env.flat(), self._targets.shape[1]
        costs = np.float32(self._settings.pull) * self._away
        shown = self._aimed(last)
        for i, worker in enumerate(self._members):
            worker.pay(rewards - costs[..., i], discounts, shown[:, i], self._fresh)
        self._manager.pay(
            np.tile(rewards, (1, n)), np.tile(discounts, (1, n)), _columns(last),
            _repeated(self._fresh, n),
        )  # fmt: skip

    def _learn_above(self, rate: float) -> dict[str, float]:
        manager = self._manager
        found = learn_from(
            manager.policy, manager.rollout, self._settings, self._rng, actor_rate=rate
        )
        told = {f"manager_{key}": found[key] for key in _TOLD if key in found}
        return {**told, "distance": float(self._away.mean())}

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what the manager's critic says of states, in the unit of returns; shape [B]."""
        with torch.inference_mode():
            found: Tensor = self._manager.policy.critic.values(x.to(self._given.device))[:, 0]
        return found.cpu() * self._scale

    def worths(self, x: Tensor) -> Tensor:
        """Return what the manager's critic says of what every agent sees; shape [B, n]."""
        found = self.worth(x.reshape(-1, x.shape[2]))
        assert found is not None
        return found.reshape(x.shape[:2])

    def state(self) -> State:
        """Return all that decides how the training goes on."""
        found = super().state()
        targets = torch.from_numpy(self._targets.copy())
        return State(tensors={**found.tensors, "targets": targets}, numbers=found.numbers)

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._targets[:] = state.tensors["targets"].numpy()
        super().restore(state)

    def _modules(self) -> Mapping[str, nn.Module]:
        policy = self._manager.policy
        return {
            **super()._modules(), "manager_actor": policy.actor, "manager_critic": policy.critic,
        }  # fmt: skip

    def _optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        policy = self._manager.policy
        return {
            **super()._optimisers(),
            "manager_actor_adam": policy.optimizer,
            "manager_critic_adam": policy.critic_optimizer,
        }


def _columns(seen: Vector) -> Vector:
    """Return what is seen as one column after another, shape [n B, W] of [B, n, W]."""
    found: Vector = seen.transpose(1, 0, 2).reshape(-1, seen.shape[2])
    return found


def _repeated(each: Any, n: int) -> Any:
    """Return what holds of copies for the columns of all agents, shape [n N] of [N]."""
    return np.tile(each, n)
