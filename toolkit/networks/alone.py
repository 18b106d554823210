"""Alone: the network in plain NumPy, for one decision at a time.

Torch takes longer to start its operations than a single decision takes to compute. The weights
are those of the module, and so are the scores, but for the order of sums.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import CANDIDATES, MASKED
from toolkit.workload import Mask, Vector

_FAR = np.float32(10.0)


class Alone:
    """The scores of an ensemble, decision by decision.

    Args:
        network: An ensemble whose members standardise alike, as those of one training do.
    """

    def __init__(self, network: Ensemble) -> None:
        plain = network.shape.network == CANDIDATES and not network.shape.attention
        self._torch = None if plain else network
        if not plain:
            return
        members = [cast(CandidateScorer, m) for m in network.members]
        self._temperature = np.float32(network.temperature)
        first = members[0]
        self._globals = _of(first.globals_mean), _of(first.globals_std)
        self._candidates = _of(first.candidates_mean), _of(first.candidates_std)
        self._candidate = _stacked([cast(Any, m.candidate[0]) for m in members])
        self._context = [_stacked([cast(Any, m.context[i]) for m in members]) for i in (0, 2)]
        self._own = _stacked([m.own for m in members])
        self._shared = _stacked([m.shared for m in members])
        self._score = _stacked([m.score for m in members])

    def scores(self, globals_: Vector, candidates: Vector, mask: Mask) -> Vector:
        """Return the mean score of each slot, shape [K].

        Args:
            globals_: Shape [G].
            candidates: Shape [K, F].
            mask: Shape [K].
        """
        if self._torch is not None:
            flat = np.concatenate([globals_, candidates.reshape(-1), mask.astype(np.float32)])
            with torch.inference_mode():
                found: Vector = self._torch(torch.from_numpy(flat)[None])[0][0].numpy()
            return found
        rows = np.flatnonzero(mask)
        scores: Vector = np.full(len(mask), MASKED, dtype=np.float32)
        if len(rows) == 0:
            return scores
        each = _layer(_standard(candidates[rows], *self._candidates)[None], self._candidate)
        E, _, H = each.shape
        G = len(globals_)
        pooled = np.empty((E, 1, G + 2 * H), dtype=np.float32)
        pooled[:, 0, :G] = _standard(globals_, *self._globals)
        pooled[:, 0, G : G + H] = each.mean(axis=1)
        pooled[:, 0, G + H :] = each.max(axis=1)
        context = _layer(_layer(pooled, self._context[0]), self._context[1])
        own, shared = self._own, self._shared
        hidden = np.maximum(each @ own[0] + own[1] + context @ shared[0], np.float32(0))
        told = hidden @ self._score[0] + self._score[1]
        scores[rows] = told[..., 0].mean(axis=0) / self._temperature
        return scores


def _of(tensor: torch.Tensor) -> Vector:
    found: Vector = tensor.detach().cpu().numpy()
    return found


def _stacked(layers: list[Any]) -> tuple[Vector, Vector]:
    """Return weights [E, in, out] and biases [E, 1, out] of the same layer of all members."""
    weights = np.stack([np.ascontiguousarray(_of(layer.weight).T) for layer in layers])
    if layers[0].bias is None:
        return weights, np.zeros((len(layers), 1, weights.shape[2]), dtype=np.float32)
    return weights, np.stack([_of(layer.bias)[None] for layer in layers])


def _layer(x: Vector, layer: tuple[Vector, Vector]) -> Vector:
    found: Vector = np.maximum(x @ layer[0] + layer[1], np.float32(0))
    return found


def _standard(x: Vector, mean: Vector, std: Vector) -> Vector:
    moved = (np.sign(x) * np.log1p(np.abs(x)) - mean) / std
    found: Vector = np.minimum(np.maximum(moved, -_FAR), _FAR)
    return found
