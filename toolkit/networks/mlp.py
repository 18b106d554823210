"""MLP: the papers' own network, fully connected over the whole observation.

Two hidden layers with ReLU. It knows one number of slots and which place each has; what it learns
of one slot it does not know of another. The control for everything that is said of an algorithm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolkit.networks.scorer import MASKED, Scorer, Shape


class FullyConnected(Scorer):
    """Sees all features at once, those of slots that may not be chosen as 0.

    Args:
        shape: Sizes; ``slots`` says how many there are.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        h, k = shape.hidden, shape.slots
        width = shape.globals + k * (shape.candidates + 1)
        self.body = nn.Sequential(nn.Linear(width, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU())
        self.score = nn.Linear(h, k)
        self.value = nn.Linear(h, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return masked scores [B, K] and values [B, 1]."""
        hidden, mask = self._encode(x)
        return self.score(hidden).masked_fill(~mask, MASKED), self.value(hidden)

    def values(self, x: Tensor) -> Tensor:
        """Return values alone, shape [B, 1]."""
        found: Tensor = self.value(self._encode(x)[0])
        return found

    def begin_even(self) -> None:
        """Make scores nearly the same, so that what is drawn at first tells of all slots."""
        with torch.no_grad():
            self.score.weight.mul_(0.01)
            self.score.bias.zero_()

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat, mask = self.flat(x)
        return self.body(flat), mask
