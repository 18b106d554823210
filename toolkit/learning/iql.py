"""Masked discrete IQL on d3rlpy, whose own is for continuous actions only.

Kostrikov et al., Offline Reinforcement Learning with Implicit Q-Learning, ICLR 2022, arXiv
2110.06169: V is an upper expectile of Q over the actions of the data (eq. 5), Q bootstraps from V
(eq. 6), and the policy is cloned with weights exp(β A) (eq. 7). Masks hold in the policy.

What a choice adds to a return can be a hundredth of what the workload decides. Where Q and V are
networks of their own, their errors about the state swamp that part. Here Q is v + a, the value of
the state and what a slot adds to it, and V is v plus an expectile of a, so that v drops out of the
advantage; weights are measured by the spread of advantages rather than of returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from d3rlpy.base import DeviceArg, register_learnable
from d3rlpy.optimizers.optimizers import OptimizerWrapper
from d3rlpy.torch_utility import Modules, TorchMiniBatch, hard_sync, soft_sync
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.learning.masked import ScorerAlgo, ScorerConfig, ScorerImpl
from toolkit.learning.offline import Offline
from toolkit.networks.scorer import Scorers

_LEAST = 1e-6


@dataclass(frozen=True, kw_only=True)
class IQL(Offline):
    """Hyper-parameters of masked discrete IQL.

    Args:
        expectile: Of V among the values of the data's actions: 0.5 is their mean, near 1 their
            greatest.
        beta: How sharply the policy prefers actions of greater advantage, in units of the spread
            of advantages in a batch.
        most_weight: Greatest weight of a transition in the policy's loss.
        n_critics: Q functions; the least that one of them lets a slot add counts.
        tau: Share by which the target networks follow at every step.
    """

    expectile: float
    beta: float
    most_weight: float
    n_critics: int
    tau: float

    title: ClassVar[str] = "iql"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0.5 <= self.expectile < 1, f"algo.expectile must be in [0.5, 1), got {self.expectile}"
        )
        require(self.beta >= 0, f"algo.beta must not be negative, got {self.beta}")
        require(self.most_weight >= 1, "algo.most_weight must be at least 1")
        require(self.n_critics >= 1, f"algo.n_critics must be at least 1, got {self.n_critics}")
        require(0 < self.tau <= 1, f"algo.tau must be in (0, 1], got {self.tau}")

    def config(self, shape: Mapping[str, Any]) -> MaskedIQLConfig:
        """Return the algorithm as d3rlpy configures it."""
        return MaskedIQLConfig(
            **shape,
            expectile=self.expectile,
            beta=self.beta,
            most_weight=self.most_weight,
            n_critics=self.n_critics,
            tau=self.tau,
        )


@dataclasses.dataclass(frozen=True)
class IQLModules(Modules):
    """Critics, their targets, V, the policy, and their optimisers."""

    q_funcs: Scorers
    targ_q_funcs: Scorers
    value: Scorers
    policy: Scorers
    q_optim: OptimizerWrapper
    value_optim: OptimizerWrapper
    policy_optim: OptimizerWrapper


class IQLImpl(ScorerImpl):
    """Implicit Q-learning over scorers.

    Args:
        config: Hyper-parameters.
        others: See :class:`ScorerImpl`.
    """

    _modules: IQLModules

    def __init__(self, *, config: MaskedIQLConfig, **others: Any) -> None:
        super().__init__(**others)
        self._config = config
        hard_sync(self._modules.targ_q_funcs, self._modules.q_funcs)

    def inner_update(self, batch: TorchMiniBatch, grad_step: int) -> dict[str, float]:
        """Take one gradient step of V, Q and the policy."""
        m, config = self._modules, self._config
        x, action = batch.observations, batch.actions.long()
        with torch.no_grad():
            added = self._told(x)[0].gather(1, action)
            following = batch.next_observations
            state = self._told(following)[1]
            discount = config.gamma**batch.intervals * (1 - batch.terminals)
            y = batch.rewards + discount * (state + m.value[0].values(following))

        expected = m.value[0].values(x)
        advantage = (added - expected).detach()
        value_loss = expectile_loss(added - expected, config.expectile)
        _step(m.value_optim, value_loss)

        taken = torch.stack([q.action_values(x).gather(1, action) for q in m.q_funcs])
        q_loss = nn.functional.mse_loss(taken, y.expand_as(taken)) * len(m.q_funcs)
        _step(m.q_optim, q_loss)

        chosen = torch.log_softmax(m.policy[0](x)[0], 1).gather(1, action)
        measured = advantage / advantage.std(unbiased=False).clamp(min=_LEAST)
        weight = torch.exp(config.beta * measured).clamp(max=config.most_weight)
        policy_loss = -(weight * chosen).mean()
        _step(m.policy_optim, policy_loss)

        soft_sync(m.targ_q_funcs, m.q_funcs, config.tau)
        told_now = {
            "loss": policy_loss + q_loss + value_loss,
            "q_loss": q_loss,
            "value_loss": value_loss,
            "policy_loss": policy_loss,
            "value": taken.mean(),
            "value_std": taken.std(),
            "advantage_std": advantage.std(),
        }
        return {k: float(v.detach()) for k, v in told_now.items()}

    def worth(self, x: Tensor) -> Tensor:
        """Return V, what following the policy of the data is worth by an upper expectile, [B]."""
        return (self._told(x)[1] + self._modules.value[0].values(x)).flatten()

    def _told(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least that target critics let slots add, [B, K], and their value, [B, 1]."""
        parts = [q.parted(x) for q in self._modules.targ_q_funcs]
        added, value = (torch.stack(found) for found in zip(*parts, strict=True))
        return added.amin(0), value.mean(0)


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Return the mean of |expectile − 1(d < 0)| d², eq. 5 of the paper.

    Args:
        difference: Values less their prediction, any shape.
        expectile: From 0 to 1.
    """
    weight = torch.where(difference > 0, expectile, 1.0 - expectile)
    return (weight * difference**2).mean()


def _step(optimiser: OptimizerWrapper, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@dataclasses.dataclass()
class MaskedIQLConfig(ScorerConfig):
    """d3rlpy's side of the configuration; users set :class:`IQL`."""

    expectile: float = 0.7
    beta: float = 3.0
    most_weight: float = 100.0
    n_critics: int = 2
    tau: float = 0.005

    def create(self, device: DeviceArg = False, enable_ddp: bool = False) -> MaskedIQL:
        """Return the algorithm."""
        return MaskedIQL(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "masked_discrete_iql"


class MaskedIQL(ScorerAlgo):
    """Masked discrete IQL."""

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Build networks and optimisers."""
        config: MaskedIQLConfig = self._config
        q_funcs = config.scorers(config.n_critics, self._device)
        value, policy = config.scorers(1, self._device), config.scorers(1, self._device)
        modules = IQLModules(
            q_funcs=q_funcs,
            targ_q_funcs=config.scorers(config.n_critics, self._device),
            value=value,
            policy=policy,
            q_optim=config.adam(q_funcs),
            value_optim=config.adam(value),
            policy_optim=config.adam(policy),
        )
        self._impl = IQLImpl(
            config=config,
            acting=policy,
            modules=modules,
            observation_shape=observation_shape,
            action_size=action_size,
            device=self._device,
        )


register_learnable(MaskedIQLConfig)
