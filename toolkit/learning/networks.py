"""The one network: scores each candidate with shared weights and the pooled set.

Permutation-equivariant in the candidates and independent of their number, so that a policy that
was trained on 8 devices acts on 64. An observation is the flat vector ``[globals G | candidates
K x F | mask K]``. The same module is the Q function of the offline algorithms, actor and critic
of the online ones, and what an artefact holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolkit.errors import require

MASKED = -1e9
"""Score of a slot that may not be chosen; −inf would make losses NaN."""
_HEADS = 4
_LEAST_SPREAD = 1e-3
_FAR = 10.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a network.

    Args:
        globals: G, global features.
        candidates: F, features of a candidate.
        hidden: Width of the layers.
        attention: Whether candidates look at one another beside the pooled set: more to learn
            with, and about three times the time.
    """

    globals: int
    candidates: int
    hidden: int
    attention: bool = False

    def __post_init__(self) -> None:
        for name in ("globals", "candidates", "hidden"):
            value = getattr(self, name)
            require(
                isinstance(value, int) and 1 <= value <= 8192,
                f"network size {name!r} must be an integer in [1, 8192], got {value!r}",
            )
        require(isinstance(self.attention, bool), "network.attention must be true or false")
        require(
            not self.attention or self.hidden % _HEADS == 0,
            f"with attention the width must be a multiple of {_HEADS}, got {self.hidden}",
        )


class CandidateScorer(nn.Module):
    """Maps ``[B, G + K F + K]`` to one score per slot, ``[B, K]``, and a value ``[B, 1]``.

    Features go through sign(x) log(1 + abs(x)), as seconds and bytes span decades while shares
    hardly change, and are then standardised.

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
        self.attention = (
            nn.MultiheadAttention(h, _HEADS, batch_first=True) if shape.attention else None
        )
        self.context = nn.Sequential(nn.Linear(g + 2 * h, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU())
        # The first layer of the score, in two parts: what all slots share is computed once.
        self.own = nn.Linear(h, h)
        self.shared = nn.Linear(h, h, bias=False)
        self.score = nn.Linear(h, 1)
        self.value = nn.Linear(h, 1)

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

    def normalise_like(self, other: CandidateScorer) -> None:
        """Standardise as another network does."""
        for name, buffer in self.named_buffers():
            buffer.copy_(other.get_buffer(name))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return globals [B, G], candidates [B, K, F] and mask [B, K] of a flat observation."""
        g, f = self.shape.globals, self.shape.candidates
        k = (x.shape[1] - g) // (f + 1)
        return x[:, :g], x[:, g : g + k * f].reshape(-1, k, f), x[:, g + k * f :] > 0.5

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return masked scores [B, K] and values [B, 1]."""
        each, (row, slot), context, mask = self._encode(x)
        hidden = torch.relu(self.own(each) + self.shared(context).index_select(0, row))
        scores = torch.full(mask.shape, MASKED, dtype=each.dtype, device=x.device)
        scores = scores.index_put((row, slot), self.score(hidden).squeeze(-1))
        return scores, self.value(context)

    def values(self, x: Tensor) -> Tensor:
        """Return values alone, shape [B, 1]; scores need not be computed for them."""
        found: Tensor = self.value(self._encode(x)[2])
        return found

    def _encode(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, Tensor]:
        """Return allowed candidates [M, H], their rows and slots [M], contexts [B, H], the mask.

        Mostly a few slots of many are allowed: only those are computed.
        """
        globals_, candidates, mask = self.split(x)
        row, slot = mask.nonzero(as_tuple=True)
        found = _standard(candidates[row, slot], self.candidates_mean, self.candidates_std)
        each = self.candidate(found)
        if self.attention is not None:
            each = torch.relu(each + self._looked(each, row, slot, mask))
        nothing = each.new_zeros(len(x), each.shape[1])
        count = mask.sum(1, keepdim=True).clamp(min=1)
        mean = nothing.index_add(0, row, each) / count
        # ReLU outputs are not negative, so that the 0 of a state without a slot is no winner.
        most = nothing.scatter_reduce(0, row.unsqueeze(1).expand_as(each), each, "amax")
        seen = _standard(globals_, self.globals_mean, self.globals_std)
        return each, (row, slot), self.context(torch.cat([seen, mean, most], dim=1)), mask

    def _looked(self, each: Tensor, row: Tensor, slot: Tensor, mask: Tensor) -> Tensor:
        """Return what each allowed candidate sees of the others, shape [M, H]."""
        assert self.attention is not None
        dense = each.new_zeros(*mask.shape, each.shape[1]).index_put((row, slot), each)
        # A state without a candidate, as after the end, attends to slots that are not there.
        absent = ~mask & mask.any(1, keepdim=True)
        looked, _ = self.attention(dense, dense, dense, key_padding_mask=absent, need_weights=False)
        found: Tensor = looked[row, slot]
        return found

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


def _standard(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return ((_logarithm(x) - mean) / std).clamp(-_FAR, _FAR)


class Scorers(nn.ModuleList):
    """A list of networks; d3rlpy and torch want modules, whoever uses them scorers."""

    def __iter__(self) -> Iterator[CandidateScorer]:
        """Yield them."""
        return super().__iter__()  # type: ignore[return-value]

    def __getitem__(self, i: int) -> CandidateScorer:  # type: ignore[override]
        """Return one of them."""
        return super().__getitem__(i)  # type: ignore[return-value]


class Ensemble(nn.Module):
    """The mean of several scorers: what one of them misjudges by chance, the others do not.

    Args:
        members: Scorers of one shape.
        temperature: Scores are divided by this: what turns Q values into logits.
    """

    def __init__(self, members: Sequence[CandidateScorer], temperature: float = 1.0) -> None:
        super().__init__()
        require(1 <= len(members) <= 64, f"an ensemble has 1 to 64 members, got {len(members)}")
        require(temperature > 0, f"temperature must be positive, got {temperature}")
        self.shape = members[0].shape
        self.temperature = temperature
        self.members = Scorers(members)

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
