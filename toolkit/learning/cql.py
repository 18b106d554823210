"""Masked discrete CQL on d3rlpy.

Kumar et al., Conservative Q-Learning for Offline Reinforcement Learning, NeurIPS 2020, arXiv
2006.04779, eq. 4, in its discrete form over double DQN. d3rlpy knows no masks; here they hold in
the bootstrap's argmax and in the conservative log-sum-exp, because masked slots score −1e9.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from d3rlpy.base import register_learnable

from toolkit.errors import require
from toolkit.learning.dqn import QConfig, QLearning


@dataclass(frozen=True, kw_only=True)
class CQL(QLearning):
    """Hyper-parameters of masked discrete CQL.

    Args:
        alpha: Weight of the conservative term.
    """

    alpha: float

    title: ClassVar[str] = "cql"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.alpha >= 0, f"algo.alpha must not be negative, got {self.alpha}")

    def config(self, shape: Mapping[str, Any]) -> MaskedCQLConfig:
        """Return the algorithm as d3rlpy configures it."""
        return MaskedCQLConfig(
            **shape,
            n_critics=self.n_critics,
            target_update_interval=self.target_interval,
            conservative=self.alpha,
        )


@dataclasses.dataclass()
class MaskedCQLConfig(QConfig):
    """d3rlpy's side of the configuration; users set :class:`CQL`."""

    conservative: float = 1.0

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "masked_discrete_cql"


register_learnable(MaskedCQLConfig)
