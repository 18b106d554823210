"""Masked double DQN, offline on a dataset or online in a scenario.

van Hasselt et al., Deep Reinforcement Learning with Double Q-learning, AAAI 2016, arXiv
1509.06461: the online networks choose the slot whose value the target networks tell. Masks hold
in the bootstrap's argmax and in the exploration, which draws among the allowed slots only. Where
it plays, what it learns from can be drawn by priorities (:mod:`toolkit.learning.priorities`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from d3rlpy.base import DeviceArg, register_learnable
from d3rlpy.optimizers.optimizers import OptimizerWrapper
from d3rlpy.torch_utility import Modules, TorchMiniBatch, hard_sync
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.learning.exploration import Play
from toolkit.learning.learner import Given, Learner
from toolkit.learning.masked import ScorerAlgo, ScorerConfig, ScorerImpl
from toolkit.learning.offline import Offline
from toolkit.learning.priorities import Priorities
from toolkit.learning.replay import WeightedBatch
from toolkit.networks.scorer import Scorers
from toolkit.workload import Vector


@dataclass(frozen=True, kw_only=True)
class QLearning(Offline):
    """Hyper-parameters of what learns action values.

    Args:
        n_critics: Q functions; the least of them is the target, their mean the policy.
        target_interval: Steps between copies to the target networks.
    """

    n_critics: int
    target_interval: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_critics", "target_interval"):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")

    @property
    def values(self) -> bool:
        """True: scores are action values."""
        return True


@dataclass(frozen=True, kw_only=True)
class DQN(QLearning):
    """Hyper-parameters of masked double DQN.

    Args:
        play: How it plays while it learns; on a dataset it does not.
        priorities: How it prefers what surprises among what it played; None: all are alike.
        discount: γ of every decision where it plays, as most papers have it; None: what follows is
            discounted by the clock, exp(−elapsed/τ).
    """

    play: Play | None = None
    priorities: Priorities | None = None
    discount: float | None = None

    title: ClassVar[str] = "dqn"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.play is None or self.multi_step == 1,
            "algo.multi_step must be 1 where DQN plays: what was done before differs from now",
        )
        for name in ("priorities", "discount"):
            require(
                self.play is not None or getattr(self, name) is None,
                f"algo.{name} is heeded only where DQN plays",
                hint="take toolkit train +algo=dqn_online, or set it to null",
            )
        require(
            self.discount is None or 0 < self.discount <= 1,
            f"algo.discount must be in (0, 1], got {self.discount}",
        )

    @property
    def name(self) -> str:
        """``dqn``, where it plays ``dqn_online``, and ``dqn_prioritised`` with priorities."""
        if self.play is None:
            return self.title
        return f"{self.title}_{'online' if self.priorities is None else 'prioritised'}"

    @property
    def offline(self) -> bool:
        """Whether it learns from a dataset."""
        return self.play is None

    @property
    def staged(self) -> bool:
        """Whether it plays, and so can go through a curriculum."""
        return self.play is not None

    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""
        if self.play is None:
            return super().start(given)
        from toolkit.learning.online import OnlineLearner  # it needs Stable-Baselines3

        torch.manual_seed(given.seed)
        return OnlineLearner(self, self.play, given)

    def config(self, shape: Mapping[str, Any]) -> QConfig:
        """Return the algorithm as d3rlpy configures it."""
        return QConfig(
            **shape, n_critics=self.n_critics, target_update_interval=self.target_interval
        )


@dataclasses.dataclass(frozen=True)
class QModules(Modules):
    """Critics, their targets, and the optimiser of the critics."""

    q_funcs: Scorers
    targ_q_funcs: Scorers
    optim: OptimizerWrapper


class QImpl(ScorerImpl):
    """Double Q-learning over scorers; each state is encoded once.

    Args:
        conservative: Weight of the term that holds down the values of slots the data lack.
        target_update_interval: Steps between copies to the target networks.
        gamma: Discount of an interval.
        others: See :class:`ScorerImpl`.

    Attributes:
        errors: Mean over critics of |δ| of each transition of the last batch, shape [B].
    """

    _modules: QModules

    def __init__(
        self, *, conservative: float, target_update_interval: int, gamma: float, **others: Any
    ) -> None:
        super().__init__(**others)
        self._conservative, self._gamma = conservative, gamma
        self._target_update_interval = target_update_interval
        hard_sync(self._modules.targ_q_funcs, self._modules.q_funcs)
        self.errors = torch.zeros(0)

    def worth(self, x: Tensor) -> Tensor:
        """Return the greatest mean value of a slot that may be chosen, shape [B]."""
        return torch.stack([q.action_values(x) for q in self._modules.q_funcs]).mean(0).amax(1)

    def compute_target(self, batch: TorchMiniBatch) -> Tensor:
        """Return r + γ^Δ min Q′(s′, argmax Q(s′, ·)), shape [B, 1]."""
        x = batch.next_observations
        with torch.no_grad():
            action = self.inner_predict_best_action(x).unsqueeze(1)
            told = [q.action_values(x).gather(1, action) for q in self._modules.targ_q_funcs]
            following = torch.stack(told).amin(0)
            discount = self._gamma**batch.intervals * (1 - batch.terminals)
            target: Tensor = batch.rewards + discount * following
            return target

    def compute_loss(self, batch: TorchMiniBatch, target: Tensor) -> dict[str, Tensor]:
        """Return the loss, its terms, and mean and spread of the values of the actions taken.

        Transitions of a :class:`~toolkit.learning.replay.WeightedBatch` count by their weights.
        """
        action = batch.actions.long()
        given = batch.numpy_batch
        weights: Tensor | float = 1.0
        if isinstance(given, WeightedBatch):
            weights = torch.from_numpy(given.weights).to(target.device)
        td = conservative = torch.zeros((), device=target.device)
        values = []
        for critic in self._modules.q_funcs:
            q = critic.action_values(batch.observations)
            taken = q.gather(1, action)
            each = nn.functional.smooth_l1_loss(taken, target, reduction="none")
            td = td + (weights * each).mean()
            if self._conservative > 0:
                conservative = conservative + (torch.logsumexp(q, 1, keepdim=True) - taken).mean()
            values.append(taken.detach())
        all_values = torch.stack(values)
        self.errors = (all_values - target).abs().mean(0).flatten()
        told = {
            "loss": td + self._conservative * conservative,
            "td_loss": td,
            "value": all_values.mean(),
            "value_std": all_values.mean(0).std(),
        }
        if self._conservative > 0:
            told["conservative_loss"] = conservative
        return told

    def inner_update(self, batch: TorchMiniBatch, grad_step: int) -> dict[str, float]:
        """Take one gradient step."""
        self._modules.optim.zero_grad()
        losses = self.compute_loss(batch, self.compute_target(batch))
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        self._modules.optim.step()
        if grad_step % self._target_update_interval == 0:
            hard_sync(self._modules.targ_q_funcs, self._modules.q_funcs)
        return {k: float(v.detach()) for k, v in losses.items()}


@dataclasses.dataclass()
class QConfig(ScorerConfig):
    """d3rlpy's side of the configuration; users set :class:`DQN`."""

    n_critics: int = 2
    target_update_interval: int = 500
    conservative: float = 0.0

    def create(self, device: DeviceArg = False, enable_ddp: bool = False) -> MaskedQ:
        """Return the algorithm."""
        return MaskedQ(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "masked_double_dqn"


class MaskedQ(ScorerAlgo):
    """Masked double DQN, conservative where the configuration says so."""

    @property
    def errors(self) -> Vector:
        """Mean over critics of |δ| of each transition of the last batch, shape [B]."""
        impl: QImpl = self._impl
        found: Vector = impl.errors.cpu().numpy()
        return found

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Build networks and optimiser."""
        config: QConfig = self._config
        q_funcs = config.scorers(config.n_critics, self._device)
        modules = QModules(
            q_funcs=q_funcs,
            targ_q_funcs=config.scorers(config.n_critics, self._device),
            optim=config.adam(q_funcs),
        )
        self._impl = QImpl(
            conservative=config.conservative,
            target_update_interval=config.target_update_interval,
            gamma=config.gamma,
            acting=q_funcs,
            modules=modules,
            observation_shape=observation_shape,
            action_size=action_size,
            device=self._device,
        )


register_learnable(QConfig)
