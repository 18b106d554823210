"""The one network: scores each candidate with shared weights and the pooled set.

Permutation-equivariant in the candidates and independent of their number. An observation is
the flat vector ``[globals G | candidates K x F | mask K]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.errors import require

MASKED = -1e9
"""Score of a slot that may not be chosen; −inf would make losses NaN."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a network.

    Args:
        globals: G, global features.
        candidates: F, features of a candidate.
        hidden: Width of the layers.
    """

    globals: int
    candidates: int
    hidden: int

    def __post_init__(self) -> None:
        for name in ("globals", "candidates", "hidden"):
            value = getattr(self, name)
            require(
                isinstance(value, int) and 1 <= value <= 8192,
                f"network size {name!r} must be an integer in [1, 8192], got {value!r}",
            )


class CandidateScorer(nn.Module):
    """Maps ``[B, G + K F + K]`` to one score per slot, ``[B, K]``, and a value ``[B, 1]``.

    Args:
        shape: Sizes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        g, f, h = shape.globals, shape.candidates, shape.hidden
        self.shape = shape
        self.globals_mean: Tensor
        self.globals_std: Tensor
        self.candidates_mean: Tensor
        self.candidates_std: Tensor
        self.register_buffer("globals_mean", torch.zeros(g))
        self.register_buffer("globals_std", torch.ones(g))
        self.register_buffer("candidates_mean", torch.zeros(f))
        self.register_buffer("candidates_std", torch.ones(f))
        self.candidate = nn.Sequential(nn.Linear(f, h), nn.ReLU())
        self.context = nn.Sequential(nn.Linear(g + 2 * h, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU())
        self.score = nn.Sequential(nn.Linear(2 * h, h), nn.ReLU(), nn.Linear(h, 1))
        self.value = nn.Linear(h, 1)

    def normalise(self, statistics: Mapping[str, Any]) -> None:
        """Set the means and standard deviations with which features are standardised.

        Args:
            statistics: ``globals_mean``, ``globals_std`` of shape [G] and ``candidates_mean``,
                ``candidates_std`` of shape [F].
        """
        for name in ("globals_mean", "globals_std", "candidates_mean", "candidates_std"):
            buffer = getattr(self, name)
            buffer.copy_(torch.as_tensor(statistics[name], dtype=torch.float32))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return globals [B, G], candidates [B, K, F] and mask [B, K] of a flat observation."""
        g, f = self.shape.globals, self.shape.candidates
        k = (x.shape[1] - g) // (f + 1)
        return x[:, :g], x[:, g : g + k * f].reshape(-1, k, f), x[:, g + k * f :] > 0.5

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return masked scores [B, K] and values [B, 1]."""
        globals_, candidates, mask = self.split(x)
        globals_ = ((globals_ - self.globals_mean) / self.globals_std).clamp(-10, 10)
        candidates = ((candidates - self.candidates_mean) / self.candidates_std).clamp(-10, 10)
        each = self.candidate(candidates)
        present = mask.unsqueeze(-1).to(each.dtype)
        mean = (each * present).sum(1) / present.sum(1).clamp(min=1.0)
        # ReLU outputs are not negative, so an absent candidate's 0 never wins the maximum.
        most = (each * present).amax(1)
        context = self.context(torch.cat([globals_, mean, most], dim=1))
        both = torch.cat([each, context.unsqueeze(1).expand_as(each)], dim=-1)
        scores = self.score(both).squeeze(-1)
        return torch.where(mask, scores, torch.full_like(scores, MASKED)), self.value(context)


class Ensemble(nn.Module):
    """The mean of several scorers: what one of them misjudges by chance, the others do not.

    Args:
        members: Scorers of one shape.
    """

    def __init__(self, members: Sequence[CandidateScorer]) -> None:
        super().__init__()
        require(1 <= len(members) <= 64, f"an ensemble has 1 to 64 members, got {len(members)}")
        self.shape = members[0].shape
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean masked scores [B, K] and mean values [B, 1]."""
        scores, values = zip(*(member(x) for member in self.members), strict=True)
        return torch.stack(scores).mean(0), torch.stack(values).mean(0)
