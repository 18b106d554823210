"""Transformer: d3rlpy's discrete decision transformer as what an artefact holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.learning.learner import silence_gym
from toolkit.networks.scorer import MASKED

_MOST = {
    "globals": 8192, "slots": 8192, "candidates": 8192, "hidden": 1024, "layers": 16, "heads": 64,
    "context": 256, "decisions": 65536,
}  # fmt: skip
_MOST_WEIGHTS = 2**26


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a transformer.

    Args:
        globals: G, global features.
        slots: K.
        candidates: F, features of a candidate.
        hidden: Width of an embedding.
        layers: Blocks of attention.
        heads: Of each.
        context: T, decisions that are looked at.
        decisions: Greatest number of a decision that has an embedding of its own.
    """

    globals: int
    slots: int
    candidates: int
    hidden: int
    layers: int
    heads: int
    context: int
    decisions: int

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            require(
                isinstance(value, int) and 1 <= value <= most,
                f"transformer size {name!r} must be an integer in [1, {most}], got {value!r}",
            )
        require(
            self.hidden % self.heads == 0,
            f"the width must be a multiple of the heads, got {self.hidden} and {self.heads}",
        )
        inner = 12 * self.layers * self.hidden + self.decisions + 2 * self.width + self.slots
        require(
            inner * self.hidden <= _MOST_WEIGHTS,
            f"a transformer of {self.width} inputs and width {self.hidden} is too large",
        )

    @property
    def width(self) -> int:
        """W, numbers of an observation."""
        return self.globals + self.slots * (self.candidates + 1)


class Transformer(nn.Module):
    """Scores the slots by what was seen, done and still to be paid in the last decisions.

    Args:
        sizes: Of the body.
        body: d3rlpy's module.
        scale: What is still to be paid is divided by this.
        target: Return of the episode that is asked for, in the unit of returns.
    """

    kind: ClassVar[str] = "transformer"

    def __init__(self, sizes: Sizes, body: nn.Module, *, scale: float, target: float) -> None:
        super().__init__()
        require(math.isfinite(scale) and scale > 0, f"scale must be positive, got {scale}")
        require(math.isfinite(target), f"target must be a number, got {target}")
        self.shape, self.scale, self.target = sizes, scale, target
        self.body = body

    def sizes(self) -> dict[str, Any]:
        """Return sizes, scale and target."""
        return {"shape": asdict(self.shape), "scale": self.scale, "target": self.target}

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> Self:
        """Return a transformer of some sizes, its weights not yet set."""
        shape = Sizes(**sizes["shape"])
        silence_gym()
        # d3rlpy takes seconds to import, which policies of other kinds need not wait for.
        from toolkit.learning.decision_transformer import body_of

        scale, target = float(sizes["scale"]), float(sizes["target"])
        return cls(shape, body_of(shape), scale=scale, target=target)

    def forward(
        self, observations: Tensor, actions: Tensor, rests: Tensor, counts: Tensor, shown: Tensor
    ) -> Tensor:
        """Return masked scores, shape [B, T, K].

        Args:
            observations: Shape [B, T, W].
            actions: Slots, that of the last decision without effect; shape [B, T].
            rests: What was still to be paid before each decision, by ``scale``; shape [B, T].
            counts: Numbers of the decisions in their episode, shape [B, T].
            shown: 1 where there is a decision, 0 before the episode; shape [B, T].
        """
        _, scores = self.body(
            observations, actions.unsqueeze(2), rests.unsqueeze(2), counts, 1 - shown
        )
        return allowed(scores, observations)


def allowed(scores: Tensor, observations: Tensor) -> Tensor:
    """Return scores [..., K] that are −1e9 where observations [..., W] mask a slot."""
    return scores.masked_fill(observations[..., -scores.shape[-1] :] <= 0.5, MASKED)


def greedy(scores: Tensor) -> int:
    """Return the best slot of the last decision of one sequence [1, T, K], ties to the first."""
    return int(torch.argmax(scores[0, -1]))
