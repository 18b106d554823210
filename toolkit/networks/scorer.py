"""Scorer: what every network is that scores the slots of a flat observation.

An observation is the flat vector ``[globals G | candidates K x F | mask K]``. The same module is
the Q function of the offline algorithms, actor and critic of the online ones, and what an
artefact holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from toolkit.errors import require, unknown

MASKED = -1e9
"""Score of a slot that may not be chosen; −inf would make losses NaN."""
CANDIDATES, MLP = "candidates", "mlp"
"""Networks: scores each candidate with shared weights and the pooled set; sees the whole
observation at once, as the papers' own do."""
_HEADS = 4
_LEAST_SPREAD = 1e-3
_FAR = 10.0
_MOST_WEIGHTS = 2**26


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a network.

    Args:
        globals: G, global features.
        candidates: F, features of a candidate.
        hidden: Width of the layers.
        attention: Whether candidates look at one another beside the pooled set: more to learn
            with, and about three times the time.
        network: ``candidates`` or ``mlp``.
        slots: K, which an ``mlp`` must know; 0 for what takes any number.
    """

    globals: int
    candidates: int
    hidden: int
    attention: bool = False
    network: str = CANDIDATES
    slots: int = 0

    def __post_init__(self) -> None:
        if self.network not in (CANDIDATES, MLP):
            raise unknown("network", self.network, [CANDIDATES, MLP])
        fixed = self.network == MLP
        for name in ("globals", "candidates", "hidden", *(["slots"] if fixed else [])):
            value = getattr(self, name)
            require(
                isinstance(value, int) and 1 <= value <= 8192,
                f"network size {name!r} must be an integer in [1, 8192], got {value!r}",
            )
        require(fixed or self.slots == 0, f"network {self.network} takes any number of slots")
        require(isinstance(self.attention, bool), "algo.attention must be true or false")
        require(
            not (fixed and self.attention), "algo.attention is of the network candidates, not mlp"
        )
        require(
            not self.attention or self.hidden % _HEADS == 0,
            f"with attention the width must be a multiple of {_HEADS}, got {self.hidden}",
        )
        width = self.globals + self.slots * (self.candidates + 1)
        require(
            width * self.hidden <= _MOST_WEIGHTS,
            f"a network of {width} inputs and width {self.hidden} is too large",
        )

    @classmethod
    def of(cls, sizes: tuple[int, int, int], *, hidden: int, attention: bool, network: str) -> Self:
        """Return the shape of a network for observations of some sizes.

        Args:
            sizes: G, K and F.
            hidden: Width of the layers.
            attention: Whether candidates look at one another.
            network: ``candidates`` or ``mlp``.
        """
        G, K, F = sizes
        slots = K if network == MLP else 0
        return cls(
            globals=G, candidates=F, hidden=hidden, attention=attention, network=network,
            slots=slots,
        )  # fmt: skip


class Standardised(nn.Module):
    """Knows how the features of flat observations are standardised.

    Features go through sign(x) log(1 + abs(x)), as seconds and bytes span decades while shares
    hardly change, and are then standardised.

    Args:
        globals_: G, global features.
        candidates: F, features of a candidate.
    """

    def __init__(self, globals_: int, candidates: int) -> None:
        super().__init__()
        self.globals_mean: Tensor
        self.globals_std: Tensor
        self.candidates_mean: Tensor
        self.candidates_std: Tensor
        self.register_buffer("globals_mean", torch.zeros(globals_))
        self.register_buffer("globals_std", torch.ones(globals_))
        self.register_buffer("candidates_mean", torch.zeros(candidates))
        self.register_buffer("candidates_std", torch.ones(candidates))

    def normalise(self, x: Tensor) -> None:
        """Set the means and standard deviations with which features are standardised.

        Args:
            x: Observations, shape [B, G + K F + K]; slots that may not be chosen do not count.
        """
        globals_, candidates, mask = self.split(x)
        for name, rows in (("globals", globals_), ("candidates", candidates[mask])):
            if len(rows) == 0:
                continue
            # Sums of many numbers that are nearly the same lose digits in single precision.
            moved = _logarithm(rows).double()
            getattr(self, f"{name}_mean").copy_(moved.mean(0))
            spread = moved.std(0, unbiased=False).clamp(min=_LEAST_SPREAD)
            getattr(self, f"{name}_std").copy_(spread)

    def normalise_like(self, other: Standardised) -> None:
        """Standardise as another network does."""
        for name, buffer in self.named_buffers():
            buffer.copy_(other.get_buffer(name))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return globals [B, G], candidates [B, K, F] and mask [B, K] of a flat observation."""
        g, f = len(self.globals_mean), len(self.candidates_mean)
        k = (x.shape[1] - g) // (f + 1)
        return x[:, :g], x[:, g : g + k * f].reshape(-1, k, f), x[:, g + k * f :] > 0.5

    def flat(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised observations [B, W], 0 where a slot is masked, and masks [B, K]."""
        globals_, candidates, mask = self.split(x)
        seen = standard(globals_, self.globals_mean, self.globals_std)
        each = standard(candidates, self.candidates_mean, self.candidates_std)
        each = each * mask.unsqueeze(2)
        return torch.cat([seen, each.reshape(len(x), -1), mask.to(x.dtype)], dim=1), mask


class Scorer(Standardised, ABC):
    """Maps ``[B, G + K F + K]`` to one score per slot, ``[B, K]``, and a value ``[B, 1]``.

    Args:
        shape: Sizes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape.globals, shape.candidates)
        self.shape = shape

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return masked scores [B, K] and values [B, 1]."""

    @abstractmethod
    def values(self, x: Tensor) -> Tensor:
        """Return values alone, shape [B, 1]; scores need not be computed for them."""

    @abstractmethod
    def begin_even(self) -> None:
        """Make scores nearly the same, so that what is drawn at first tells of all slots."""

    def action_values(self, x: Tensor) -> Tensor:
        """Return Q of each slot, shape [B, K]: the value plus what the slot adds to it."""
        added, value = self.parted(x)
        found: Tensor = torch.where(added > MASKED / 2, added + value, added)
        return found

    def parted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each slot adds to the value, its score less the mean, [B, K]; and [B, 1].

        Most of a return is decided by the state, whatever is chosen in it: the value learns that
        part at once for all slots. Wang et al., Dueling Network Architectures, ICML 2016, eq. 9.
        """
        scores, value = self(x)
        mask = scores > MASKED / 2
        mean = scores.masked_fill(~mask, 0.0).sum(1, keepdim=True)
        mean = mean / mask.sum(1, keepdim=True).clamp(min=1)
        return (scores - mean).masked_fill(~mask, MASKED), value


def _logarithm(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(torch.abs(x))


def standard(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return standardised features."""
    return ((_logarithm(x) - mean) / std).clamp(-_FAR, _FAR)


class Scorers(nn.ModuleList):
    """A list of networks; d3rlpy and torch want modules, whoever uses them scorers."""

    def __iter__(self) -> Iterator[Scorer]:
        """Yield them."""
        return super().__iter__()  # type: ignore[return-value]

    def __getitem__(self, i: int) -> Scorer:  # type: ignore[override]
        """Return one of them."""
        return super().__getitem__(i)  # type: ignore[return-value]
