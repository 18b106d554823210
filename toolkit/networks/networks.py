"""Networks: what an artefact can hold, and the scorer of a shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from toolkit.errors import require
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.mlp import FullyConnected
from toolkit.networks.scorer import MASKED, MLP, Scorer, Scorers, Shape


class Network(Protocol):
    """A module that an artefact can hold.

    Attributes:
        kind: Names its class in ``toolkit.policies.learned``.
    """

    kind: ClassVar[str]

    def sizes(self) -> dict[str, Any]:
        """Return what :meth:`of` builds it from again, JSON-able."""

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> Self:
        """Return a network of some sizes, its weights not yet set.

        Raises:
            ConfigError, KeyError, TypeError, ValueError: When they make none.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Set the weights."""

    def eval(self) -> Self:
        """Prepare for acting."""


def scorer_of(shape: Shape) -> Scorer:
    """Return a fresh scorer."""
    return FullyConnected(shape) if shape.network == MLP else CandidateScorer(shape)


class Ensemble(nn.Module):
    """The mean of several scorers: what one of them misjudges by chance, the others do not.

    Args:
        members: Scorers of one shape.
        temperature: Scores are divided by this: what turns Q values into logits.
    """

    kind: ClassVar[str] = "scorer"

    def __init__(self, members: Sequence[Scorer], temperature: float = 1.0) -> None:
        super().__init__()
        require(1 <= len(members) <= 64, f"an ensemble has 1 to 64 members, got {len(members)}")
        require(temperature > 0, f"temperature must be positive, got {temperature}")
        self.shape = members[0].shape
        self.temperature = temperature
        self.members = Scorers(members)

    def sizes(self) -> dict[str, Any]:
        """Return shape, number of members and temperature."""
        return {
            "shape": asdict(self.shape),
            "members": len(self.members),
            "temperature": self.temperature,
        }

    @classmethod
    def of(cls, sizes: Mapping[str, Any]) -> Self:
        """Return an ensemble of some sizes, its weights not yet set."""
        shape, members = Shape(**sizes["shape"]), int(sizes["members"])
        require(1 <= members <= 64, f"members must be 1 to 64, got {members}")
        return cls([scorer_of(shape) for _ in range(members)], float(sizes["temperature"]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean masked scores [B, K] and mean values [B, 1]."""
        if len(self.members) == 1:
            scores, value = self.members[0](x)
        else:
            found = [member(x) for member in self.members]
            scores = torch.stack([s for s, _ in found]).mean(0)
            value = torch.stack([v for _, v in found]).mean(0)
        if self.temperature != 1.0:
            scores = torch.where(scores > MASKED / 2, scores / self.temperature, scores)
        return scores, value
