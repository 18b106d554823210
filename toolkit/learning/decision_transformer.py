"""Decision Transformer, offline: the choice that followed where so much was still to be paid.

Chen et al., Decision Transformer: Reinforcement Learning via Sequence Modeling, NeurIPS 2021,
arXiv 2106.01345, by d3rlpy's own ``DiscreteDecisionTransformer``: model, optimiser and ``update``
are its, and a batch is one of its trajectories. d3rlpy knows no masks; two of its extension points
bring them in. An encoder of ours standardises observations as all networks here do before d3rlpy's
own fully connected one sees them; an implementation of ours fills the logits of masked slots with
−1e9 in ``compute_loss``, which counts no padding either, and in ``inner_predict``.

Time between decisions is irregular, and a return is asked for whole: what is still to be paid is
not discounted. Episodes have hundreds of decisions; those after the ``decisions``-th share its
embedding. A workload decides most of a return, so that a target tells the transformer of a
workload as much as of how well it shall be served.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from d3rlpy.algos import DiscreteDecisionTransformer, DiscreteDecisionTransformerConfig
from d3rlpy.algos.transformer.inputs import TorchTransformerInput
from d3rlpy.algos.transformer.torch.decision_transformer_impl import (
    DiscreteDecisionTransformerImpl,
)
from d3rlpy.base import DeviceArg, register_learnable
from d3rlpy.models.encoders import EncoderFactory, VectorEncoderFactory, register_encoder_factory
from d3rlpy.models.torch.encoders import Encoder
from d3rlpy.optimizers import GPTAdamWFactory
from d3rlpy.torch_utility import TorchTrajectoryMiniBatch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.learning.checkpoint import State, packed, state_of, unpack
from toolkit.learning.learner import Algorithm, Given
from toolkit.learning.offline import seen
from toolkit.learning.sequences import Sequences
from toolkit.learning.transformer import Sizes, Transformer, allowed
from toolkit.networks.scorer import MLP, Standardised

_WARMUP = 10_240
"""Decisions over which the learning rate rises, 512 * 20 as in the paper's appendix."""


@dataclass(frozen=True, kw_only=True)
class DecisionTransformer(Algorithm):
    """Hyper-parameters of the decision transformer.

    Args:
        n_steps: Gradient steps; exactly so many are taken.
        batch_size: Sequences per step.
        learning_rate: Of AdamW; it rises over the first 10,240 decisions and falls as half a
            cosine to a tenth.
        weight_decay: Of AdamW.
        context: Decisions of a sequence.
        decisions: Those after this one of an episode share its embedding.
        hidden: Width of an embedding; the encoder has two layers, the first twice as wide.
        layers: Blocks of attention.
        heads: Of each.
        dropout: Share of activations that are dropped while learning.
        target: The return that is asked for when acting: this quantile of the returns of the
            dataset's episodes.
        report_every: Steps between two points of the learning curve.
        network: ``mlp``, d3rlpy's own encoder.
    """

    n_steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    context: int
    decisions: int
    hidden: int
    layers: int
    heads: int
    dropout: float
    target: float
    report_every: int
    network: str = MLP

    title: ClassVar[str] = "decision_transformer"

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "report_every"):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        for name in ("context", "decisions", "hidden", "layers", "heads"):
            value = getattr(self, name)
            require(value >= 1, f"algo.{name} must be at least 1, got {value}")
        require(self.learning_rate > 0, "algo.learning_rate must be positive")
        require(self.weight_decay >= 0, "algo.weight_decay must not be negative")
        require(0 <= self.dropout < 1, f"algo.dropout must be in [0, 1), got {self.dropout}")
        require(0 <= self.target <= 1, f"algo.target is a quantile in [0, 1], got {self.target}")
        require(
            self.network == MLP,
            "a decision transformer embeds whole observations by d3rlpy's fully connected encoder, "
            f"and cannot hold the network {self.network!r}",
            hint="leave it out, or say network=mlp",
        )

    @property
    def offline(self) -> bool:
        """True."""
        return True

    def sizes(self, sizes: tuple[int, int, int]) -> Sizes:
        """Return the sizes of the transformer for observations of G, K and F."""
        G, K, F = sizes
        return Sizes(
            globals=G, slots=K, candidates=F, hidden=self.hidden, layers=self.layers,
            heads=self.heads, context=self.context, decisions=self.decisions,
        )  # fmt: skip

    def start(self, given: Given) -> TransformerLearner:
        """Return a training before its first step."""
        torch.manual_seed(given.seed)
        return TransformerLearner(self, given)


class TransformerLearner:
    """A training of a decision transformer.

    Args:
        settings: Hyper-parameters.
        given: Dataset and seed.
    """

    def __init__(self, settings: DecisionTransformer, given: Given) -> None:
        data = given.transitions(settings.name)
        s, self._shape = settings, settings.sizes(data.sizes)
        self._settings = settings
        self._sequences = Sequences(data, context=s.context, decisions=s.decisions, seed=given.seed)
        self._target = float(np.quantile(self._sequences.returns, s.target))
        self._algo = algo_of(
            self._shape,
            given.device,
            batch_size=s.batch_size,
            learning_rate=s.learning_rate,
            optim_factory=GPTAdamWFactory(
                betas=(0.9, 0.95), weight_decay=s.weight_decay, clip_grad_norm=1.0
            ),
            attn_dropout=s.dropout,
            resid_dropout=s.dropout,
            embed_dropout=s.dropout,
            warmup_tokens=_WARMUP,
            final_tokens=s.n_steps * s.batch_size * s.context,
        )
        encoder: Any = self._algo.body._encoder
        encoder.standard.normalise(seen(data, given.seed).to(given.device))

    @property
    def done(self) -> int:
        """Gradient steps taken."""
        return int(self._algo.grad_step)

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Take one gradient step."""
        return 1, self._algo.update(self._sequences.draw(self._settings.batch_size))

    def network(self) -> Transformer:
        """Return the transformer, on the CPU."""
        body = copy.deepcopy(self._algo.body).cpu()
        scale = self._sequences.scale
        return Transformer(self._shape, body, scale=scale, target=self._target).eval()

    def present(self) -> Transformer:
        """Return the same: the last network is the one that is kept."""
        return self.network()

    def worth(self, x: Tensor) -> Tensor | None:
        """Return None: what is still to be paid is asked for, not estimated."""
        return None

    def story(self) -> Mapping[str, float]:
        """Return the return that is asked for, and the least and greatest of the dataset."""
        returns = self._sequences.returns
        return {
            "target": self._target,
            "least_return": float(returns.min()),
            "greatest_return": float(returns.max()),
        }

    def state(self) -> State:
        """Return weights, moments, counters, generators and the present learning rate."""
        algo = self._algo
        return State(
            tensors={
                **packed({"body": algo.body}, {"adam": algo.adam}),
                "torch": torch.get_rng_state(),
                **(
                    {"cuda": torch.cuda.get_rng_state(algo.place)}
                    if algo.place.type == "cuda"
                    else {}
                ),
            },
            numbers={
                "done": self.done,
                "sequences": state_of(self._sequences.rng),
                "schedule": algo.schedule(),
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state."""
        algo, told = self._algo, state.numbers
        unpack(state.tensors, {"body": algo.body}, {"adam": algo.adam})
        torch.set_rng_state(state.tensors["torch"])
        if algo.place.type == "cuda" and "cuda" in state.tensors:  # where dropout is drawn
            torch.cuda.set_rng_state(state.tensors["cuda"], algo.place)
        self._sequences.rng.bit_generator.state = told["sequences"]
        algo.set_grad_step(int(told["done"]))
        algo.go_on(told["schedule"])


class SlotEncoder(Encoder):
    """Standardises a flat observation, then lets d3rlpy's own encoder see it.

    Args:
        standard: Knows how.
        encoder: d3rlpy's.
    """

    def __init__(self, standard: Standardised, encoder: Encoder) -> None:
        super().__init__()
        self.standard, self.encoder = standard, encoder

    def forward(self, x: Any) -> Tensor:
        """Return embeddings [B, H] of observations [B, W]."""
        found: Tensor = self.encoder(self.standard.flat(x)[0])
        return found


@dataclasses.dataclass()
class SlotEncoderFactory(EncoderFactory):
    """d3rlpy's way to be told of an encoder."""

    globals: int = 1
    candidates: int = 1
    hidden: int = 64

    def create(self, observation_shape: Any) -> SlotEncoder:
        """Return an encoder of flat observations."""
        # The transformer itself bends what comes out, as it does all its embeddings.
        vector = VectorEncoderFactory(
            hidden_units=[2 * self.hidden, self.hidden], exclude_last_activation=True
        )
        return SlotEncoder(
            Standardised(self.globals, self.candidates), vector.create(observation_shape)
        )

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "slots"


class MaskedTransformerImpl(DiscreteDecisionTransformerImpl):
    """d3rlpy's implementation with masks."""

    def compute_loss(self, batch: TorchTrajectoryMiniBatch) -> Tensor:
        """Return the mean cross-entropy of what was chosen among the allowed slots."""
        _, logits = self._modules.transformer(
            batch.observations, batch.actions, batch.returns_to_go, batch.timesteps,
            1 - batch.masks,
        )  # fmt: skip
        scores = allowed(logits, torch.as_tensor(batch.observations))
        each = nn.functional.cross_entropy(
            scores.flatten(0, 1), batch.actions.flatten().long(), reduction="none"
        )
        counted = batch.masks.flatten()
        mean: Tensor = (each * counted).sum() / counted.sum()
        return mean

    def inner_predict(self, inpt: TorchTransformerInput) -> Tensor:
        """Return the masked scores of the last decision, shape [K]."""
        scores: Tensor = super().inner_predict(inpt)
        return allowed(scores, torch.as_tensor(inpt.observations)[0, -1])


@dataclasses.dataclass()
class MaskedTransformerConfig(DiscreteDecisionTransformerConfig):
    """d3rlpy's side of the configuration; users set :class:`DecisionTransformer`."""

    def create(self, device: DeviceArg = False, enable_ddp: bool = False) -> MaskedTransformer:
        """Return the algorithm."""
        return MaskedTransformer(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        """Return the registered name."""
        return "masked_decision_transformer"


class MaskedTransformer(DiscreteDecisionTransformer):
    """d3rlpy's discrete decision transformer with masks."""

    _impl: Any

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Let d3rlpy build module and optimiser, and learn and act with masks."""
        super().inner_create_impl(observation_shape, action_size)
        modules, config = self._impl.modules, self._config
        self._impl = MaskedTransformerImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=modules,
            warmup_tokens=config.warmup_tokens,
            final_tokens=config.final_tokens,
            initial_learning_rate=config.learning_rate,
            compiled=self.compiled,
            device=self._device,
        )

    @property
    def body(self) -> nn.Module:
        """d3rlpy's module; that of an algorithm that has been built."""
        body: nn.Module = self._impl.modules.transformer
        return body

    @property
    def place(self) -> torch.device:
        """Where it learns."""
        return next(self.body.parameters()).device

    @property
    def adam(self) -> torch.optim.Optimizer:
        """Its optimiser."""
        found: torch.optim.Optimizer = self._impl.modules.optim.optim
        return found

    def schedule(self) -> dict[str, float]:
        """Return where the learning rate stands, which d3rlpy's own files leave out."""
        return {"tokens": self._impl._tokens, "rate": self.adam.param_groups[0]["lr"]}

    def go_on(self, schedule: Mapping[str, float]) -> None:
        """Let the learning rate go on from what :meth:`schedule` returned."""
        self._impl._tokens = int(schedule["tokens"])
        for group in self.adam.param_groups:
            group["lr"] = float(schedule["rate"])


def algo_of(sizes: Sizes, device: str = "cpu", **others: Any) -> MaskedTransformer:
    """Return the algorithm in d3rlpy's own form, built.

    Args:
        sizes: Of the transformer.
        device: Of torch.
        others: More of its configuration.
    """
    algo = MaskedTransformerConfig(
        encoder_factory=SlotEncoderFactory(
            globals=sizes.globals, candidates=sizes.candidates, hidden=sizes.hidden
        ),
        context_size=sizes.context,
        max_timestep=sizes.decisions,
        num_layers=sizes.layers,
        num_heads=sizes.heads,
        **others,
    ).create(device=device)
    algo.create_impl((sizes.width,), sizes.slots)
    return algo


def body_of(sizes: Sizes) -> nn.Module:
    """Return d3rlpy's module, its weights not yet set."""
    return algo_of(sizes).body


register_encoder_factory(SlotEncoderFactory)
register_learnable(MaskedTransformerConfig)
