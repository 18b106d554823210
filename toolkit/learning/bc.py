"""Behaviour cloning: the policy under which the choices of the data are likeliest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from d3rlpy.base import DeviceArg, register_learnable
from d3rlpy.optimizers.optimizers import OptimizerWrapper
from d3rlpy.torch_utility import Modules, TorchMiniBatch
from torch import nn

from toolkit.learning.masked import ScorerAlgo, ScorerConfig, ScorerImpl
from toolkit.learning.offline import Offline
from toolkit.networks.scorer import Scorers


@dataclass(frozen=True, kw_only=True)
class BC(Offline):
    """Hyper-parameters of behaviour cloning; ``multi_step`` is of no use to it."""

    title: ClassVar[str] = "bc"

    def config(self, shape: Mapping[str, Any]) -> MaskedBCConfig:
        """Return the algorithm as d3rlpy configures it."""
        return MaskedBCConfig(**shape)


@dataclasses.dataclass(frozen=True)
class BCModules(Modules):
    """The policy and its optimiser."""

    policy: Scorers
    optim: OptimizerWrapper


class BCImpl(ScorerImpl):
    """Cross-entropy over the allowed slots."""

    _modules: BCModules

    def inner_update(self, batch: TorchMiniBatch, grad_step: int) -> dict[str, float]:
        """Take one gradient step."""
        scores = self._modules.policy[0](batch.observations)[0]
        action = batch.actions.long().flatten()
        loss = nn.functional.cross_entropy(scores, action)
        self._modules.optim.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._modules.optim.step()
        agreed = (scores.argmax(1) == action).to(torch.float32).mean()
        return {"loss": float(loss.detach()), "agreement": float(agreed)}


@dataclasses.dataclass()
class MaskedBCConfig(ScorerConfig):
    """d3rlpy's side of the configuration; users set :class:`BC`."""

    def create(self, device: DeviceArg = False, enable_ddp: bool = False) -> MaskedBC:
        """Return the algorithm."""
        return MaskedBC(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "masked_discrete_bc"


class MaskedBC(ScorerAlgo):
    """Masked behaviour cloning."""

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Build network and optimiser."""
        config: MaskedBCConfig = self._config
        policy = config.scorers(1, self._device)
        self._impl = BCImpl(
            acting=policy,
            modules=BCModules(policy=policy, optim=config.adam(policy)),
            observation_shape=observation_shape,
            action_size=action_size,
            device=self._device,
        )


register_learnable(MaskedBCConfig)
