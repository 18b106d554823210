"""The one network: scores each candidate with shared weights and the pooled set.

Permutation-equivariant in the candidates and independent of their number, so that a policy that
was trained on 8 devices acts on 64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolkit.networks.scorer import MASKED, Scorer, Shape, standard

_HEADS = 4


class CandidateScorer(Scorer):
    """Encodes each allowed candidate by itself, and scores it beside the mean and most of all.

    Args:
        shape: Sizes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        g, f, h = shape.globals, shape.candidates, shape.hidden
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

    def begin_even(self) -> None:
        """Make scores nearly the same, so that what is drawn at first tells of all slots."""
        with torch.no_grad():
            self.score.weight.mul_(0.01)

    def _encode(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, Tensor]:
        """Return allowed candidates [M, H], their rows and slots [M], contexts [B, H], the mask.

        Mostly a few slots of many are allowed: only those are computed.
        """
        globals_, candidates, mask = self.split(x)
        row, slot = mask.nonzero(as_tuple=True)
        found = standard(candidates[row, slot], self.candidates_mean, self.candidates_std)
        each = self.candidate(found)
        if self.attention is not None:
            each = torch.relu(each + self._looked(each, row, slot, mask))
        nothing = each.new_zeros(len(x), each.shape[1])
        count = mask.sum(1, keepdim=True).clamp(min=1)
        mean = nothing.index_add(0, row, each) / count
        # ReLU outputs are not negative, so that the 0 of a state without a slot is no winner.
        most = nothing.scatter_reduce(0, row.unsqueeze(1).expand_as(each), each, "amax")
        seen = standard(globals_, self.globals_mean, self.globals_std)
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
