"""Masked discrete CQL on d3rlpy.

Kumar et al., Conservative Q-Learning for Offline Reinforcement Learning, NeurIPS 2020, arXiv
2006.04779, in its discrete form over double DQN. d3rlpy knows no masks; here they hold in the
bootstrap's argmax and in the conservative log-sum-exp, because masked slots score −1e9. Each
state is encoded once for both terms of the loss.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from d3rlpy.algos.qlearning.base import QLearningAlgoBase
from d3rlpy.algos.qlearning.torch.dqn_impl import DoubleDQNImpl, DQNLoss, DQNModules
from d3rlpy.base import DeviceArg, LearnableConfig, register_learnable
from d3rlpy.constants import ActionSpace
from d3rlpy.models.builders import create_discrete_q_function
from d3rlpy.models.encoders import EncoderFactory, register_encoder_factory
from d3rlpy.models.q_functions import QFunctionFactory, register_q_func_factory
from d3rlpy.models.torch.encoders import Encoder
from d3rlpy.models.torch.q_functions.base import DiscreteQFunction, QFunctionOutput
from d3rlpy.models.torch.q_functions.mean_q_function import DiscreteMeanQFunctionForwarder
from d3rlpy.optimizers.optimizers import AdamFactory
from d3rlpy.torch_utility import TorchMiniBatch
from torch import Tensor, nn

from toolkit.data.buffer import FlatBuffer
from toolkit.data.padding import Transitions
from toolkit.errors import require
from toolkit.learning.networks import CandidateScorer, Ensemble, Shape

OnMetric = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class CQL:
    """Hyper-parameters of masked discrete CQL.

    Args:
        n_steps: Gradient steps; exactly so many are taken.
        batch_size: Transitions per step.
        learning_rate: Of Adam.
        alpha: Weight of the conservative term.
        n_critics: Q functions; the least of them is the target, their mean the policy.
        target_interval: Steps between copies to the target network.
        hidden: Width of the network.
        report_every: Steps between two points of the learning curve.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    alpha: float
    n_critics: int
    target_interval: int
    hidden: int
    report_every: int

    def __post_init__(self) -> None:
        for name in (
            "n_steps",
            "batch_size",
            "n_critics",
            "target_interval",
            "hidden",
            "report_every",
        ):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        require(self.learning_rate > 0, "algo.learning_rate must be positive")
        require(self.alpha >= 0, f"algo.alpha must not be negative, got {self.alpha}")

    @property
    def name(self) -> str:
        """``cql``."""
        return "cql"

    def fit(
        self, data: Transitions, *, discount_seconds: float, seed: int, on_metric: OnMetric
    ) -> Ensemble:
        """Train on transitions.

        Args:
            data: The transitions.
            discount_seconds: τ of the discount exp(−elapsed/τ).
            seed: Fixes initialisation and sampling.
            on_metric: Called every ``report_every`` steps with the means since the last call.

        Returns:
            The critics: their mean scores are Q values.
        """
        torch.manual_seed(seed)
        valid = data.action >= 0
        scale = _return_scale(data, discount_seconds)
        buffer = FlatBuffer(data, discount_seconds=discount_seconds, seed=seed, reward_scale=scale)
        shape = Shape(
            globals=data.globals.shape[1], candidates=data.candidates.shape[2], hidden=self.hidden
        )
        config = MaskedCQLConfig(
            batch_size=self.batch_size,
            gamma=math.exp(-1.0),
            learning_rate=self.learning_rate,
            alpha=self.alpha,
            n_critics=self.n_critics,
            target_update_interval=self.target_interval,
            encoder_factory=ScorerFactory(
                globals=shape.globals, candidates=shape.candidates, hidden=shape.hidden
            ),
        )
        algo = config.create(device="cuda:0" if torch.cuda.is_available() else "cpu:0")
        algo.create_impl((buffer.dataset_info.observation_signature.shape[0]), data.mask.shape[1])
        statistics = normaliser(data, valid)
        for scorer in algo.scorers():
            scorer.normalise(statistics)
        sums: dict[str, float] = {}
        since = 0
        for step in range(1, self.n_steps + 1):
            losses = algo.update(buffer.sample_transition_batch(self.batch_size))
            since += 1
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + value
            if step % self.report_every == 0 or step == self.n_steps:
                on_metric(step, {k: v / since for k, v in sums.items()})
                sums, since = {}, 0
        return Ensemble([scorer.cpu() for scorer in algo.scorers()[: self.n_critics]])


def normaliser(
    data: Transitions, valid: np.ndarray[Any, np.dtype[np.bool_]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return means and standard deviations of the features over valid rows and slots."""
    g = data.globals[valid]
    c = data.candidates[valid][data.mask[valid]]
    return {
        "globals_mean": g.mean(axis=0),
        "globals_std": np.maximum(g.std(axis=0), 1e-3),
        "candidates_mean": c.mean(axis=0),
        "candidates_std": np.maximum(c.std(axis=0), 1e-3),
    }


def _return_scale(data: Transitions, discount_seconds: float) -> float:
    """Return the spread of discounted returns, so that Q values are of order one."""
    g = np.exp(-data.elapsed / discount_seconds)
    returns = np.zeros(len(data) + 1)
    for i in range(len(data) - 1, -1, -1):
        ends = (
            data.following[i] == len(data)
            or data.episode[i] != data.episode[min(i + 1, len(data) - 1)]
        )
        returns[i] = data.reward[i] + (0.0 if ends else g[i] * returns[i + 1])
    return float(max(returns[:-1].std(), 1e-6))


class _ScoreEncoder(Encoder):
    """d3rlpy's encoder slot holds the whole scorer: its output is one score per candidate."""

    def __init__(self, scorer: CandidateScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.scorer(x)[0]
        return scores


@dataclasses.dataclass()
class ScorerFactory(EncoderFactory):
    """Builds the candidate scorer where d3rlpy expects an encoder."""

    globals: int = 1
    candidates: int = 1
    hidden: int = 64

    def create(self, observation_shape: Any) -> Encoder:
        """Return the scorer."""
        return _ScoreEncoder(
            CandidateScorer(
                Shape(globals=self.globals, candidates=self.candidates, hidden=self.hidden)
            )
        )

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "candidate_scorer"


class _ScoreQFunction(DiscreteQFunction):
    """The Q values are the encoder's scores."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, x: Tensor) -> QFunctionOutput:
        return QFunctionOutput(q_value=self._encoder(x), quantiles=None, taus=None)

    @property
    def encoder(self) -> Encoder:
        return self._encoder


@dataclasses.dataclass()
class ScoreQFactory(QFunctionFactory):
    """Reads Q values off a candidate scorer."""

    def create_discrete(
        self, encoder: Encoder, hidden_size: int, action_size: int
    ) -> tuple[DiscreteQFunction, DiscreteMeanQFunctionForwarder]:
        """Return the Q function and its forwarder."""
        q_func = _ScoreQFunction(encoder)
        return q_func, DiscreteMeanQFunctionForwarder(q_func, action_size)

    def create_continuous(self, encoder: Any, hidden_size: int) -> Any:
        """Refuse: candidates are discrete."""
        raise TypeError("a candidate scorer has discrete actions only")

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "candidate_scores"


@dataclasses.dataclass(frozen=True)
class CQLLoss(DQNLoss):
    """The loss and its two terms, and the mean Q of the actions in the data."""

    td_loss: Tensor
    conservative_loss: Tensor
    q_data: Tensor


class _MaskedCQLImpl(DoubleDQNImpl):
    def __init__(self, *, alpha: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._alpha = alpha

    def compute_loss(self, batch: TorchMiniBatch, q_tpn: Tensor) -> CQLLoss:
        target = batch.rewards + self._gamma**batch.intervals * q_tpn * (1 - batch.terminals)
        action = batch.actions.long()
        td = conservative = taken_mean = torch.zeros((), device=target.device)
        critics: nn.ModuleList = self._modules.q_funcs
        for critic in critics:
            q = critic(batch.observations).q_value
            taken = q.gather(1, action)
            td = td + nn.functional.smooth_l1_loss(taken, target)
            conservative = conservative + (torch.logsumexp(q, 1, keepdim=True) - taken).mean()
            taken_mean = taken_mean + taken.detach().mean() / len(critics)
        return CQLLoss(
            loss=td + self._alpha * conservative,
            td_loss=td,
            conservative_loss=conservative,
            q_data=taken_mean,
        )


@dataclasses.dataclass()
class MaskedCQLConfig(LearnableConfig):
    """d3rlpy's side of the configuration; users set :class:`CQL`."""

    learning_rate: float = 3e-4
    alpha: float = 1.0
    n_critics: int = 2
    target_update_interval: int = 500
    encoder_factory: ScorerFactory = dataclasses.field(default_factory=ScorerFactory)

    def create(self, device: DeviceArg = False, enable_ddp: bool = False) -> MaskedCQL:
        """Return the algorithm."""
        return MaskedCQL(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "masked_discrete_cql"


class MaskedCQL(QLearningAlgoBase[_MaskedCQLImpl, MaskedCQLConfig]):
    """The algorithm, in d3rlpy's own form: ``update``, ``fit`` and ``predict`` work."""

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Build networks and optimiser."""
        q_funcs, forwarder = self._critics(observation_shape, action_size)
        targets, target_forwarder = self._critics(observation_shape, action_size)
        optim = AdamFactory().create(
            q_funcs.named_modules(), lr=self._config.learning_rate, compiled=False
        )
        self._impl = _MaskedCQLImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=DQNModules(q_funcs=q_funcs, targ_q_funcs=targets, optim=optim),
            q_func_forwarder=forwarder,
            targ_q_func_forwarder=target_forwarder,
            target_update_interval=self._config.target_update_interval,
            gamma=self._config.gamma,
            compiled=False,
            device=self._device,
            alpha=self._config.alpha,
        )

    def _critics(self, observation_shape: Any, action_size: int) -> Any:
        return create_discrete_q_function(
            observation_shape,
            action_size,
            self._config.encoder_factory,
            ScoreQFactory(),
            n_ensembles=self._config.n_critics,
            device=self._device,
            enable_ddp=self._enable_ddp,
        )

    def scorers(self) -> list[CandidateScorer]:
        """Return the scorers of the critics, then those of their targets."""
        impl: Any = self._impl
        modules = [*impl._modules.q_funcs, *impl._modules.targ_q_funcs]
        return [q.encoder.scorer for q in modules]

    def get_action_type(self) -> ActionSpace:
        """Return DISCRETE."""
        return ActionSpace.DISCRETE


register_encoder_factory(ScorerFactory)
register_q_func_factory(ScoreQFactory)
register_learnable(MaskedCQLConfig)
