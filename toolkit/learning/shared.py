"""Shared: parameters that several learners change at once, and how old their gradients are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from toolkit.workload import Vector

Gradients = Sequence[Vector | None]
"""One for each parameter, None where a loss does not depend on it."""
_BOUNDS = (0, 1, 2, 4, 8, 16)
"""Least staleness of each bin of a histogram."""


class Errand(NamedTuple):
    """What a learner is to do next.

    Args:
        version: Of the weights: how many gradients had been applied to them.
        weights: Of each parameter.
        steps: Decisions of each of its copies.
    """

    version: int
    weights: Sequence[Vector]
    steps: int


class Outcome(NamedTuple):
    """What came of a round.

    Args:
        weights: Of each parameter.
        optimiser: State of the optimiser.
        stale: Of each gradient that was applied, its staleness.
        told: Means of what the learners measured.
        returns: Of the episodes that ended.
    """

    weights: Sequence[Vector]
    optimiser: Mapping[str, Any]
    stale: Sequence[int]
    told: Mapping[str, float]
    returns: Sequence[float]


class Shared:
    """Applies gradients as they come, by one RMSprop whose moments all learners share.

    Mnih et al., arXiv 1602.01783, algorithm S3 and section 4. The staleness of a gradient is how
    many others were applied since the weights were handed out that it was computed from.

    Args:
        weights: Of each parameter.
        optimiser: State to go on from.
        copies: Of each learner.
        rollout: Decisions of each copy between two gradients.
    """

    def __init__(
        self, weights: Sequence[Vector], optimiser: Mapping[str, Any], copies: int, rollout: int
    ) -> None:
        torch.set_num_threads(1)
        self._weights = [nn.Parameter(torch.from_numpy(w.copy())) for w in weights]
        self._optimiser = torch.optim.RMSprop(self._weights)
        self._optimiser.load_state_dict(dict(optimiser))
        self._copies, self._rollout = copies, rollout
        self._version = self._left = 0
        self._begin()

    def _begin(self) -> None:
        self._stale: list[int] = []
        self._told: list[Mapping[str, float]] = []
        self._returns: list[float] = []

    def grant(self, decisions: int, rate: float) -> None:
        """Begin a round.

        Args:
            decisions: That all learners may take together, a multiple of ``copies``.
            rate: Learning rate.
        """
        self._left = decisions
        self._begin()
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def pull(self) -> Errand | None:
        """Return what is to be done, None where the round is over."""
        steps = min(self._rollout, self._left // self._copies)
        if steps == 0:
            return None
        self._left -= steps * self._copies
        return Errand(self._version, self._now(), steps)

    def push(
        self,
        version: int,
        gradients: Gradients,
        told: Mapping[str, float],
        returns: Sequence[float],
    ) -> Errand | None:
        """Apply gradients; return what is to be done next.

        Args:
            version: Of the weights that they were computed from.
            gradients: Of each parameter.
            told: What the learner measured.
            returns: Of its episodes that ended.
        """
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = None if gradient is None else torch.from_numpy(gradient.copy())
        self._optimiser.step()
        self._stale.append(self._version - version)
        self._version += 1
        self._told.append(told)
        self._returns.extend(returns)
        return self.pull()

    def outcome(self) -> Outcome:
        """Return what came of the round."""
        names = self._told[0] if self._told else ()
        told = {name: float(np.mean([t[name] for t in self._told])) for name in names}
        return Outcome(self._now(), self._optimiser.state_dict(), self._stale, told, self._returns)

    def _now(self) -> list[Vector]:
        return [w.detach().numpy().copy() for w in self._weights]


class Staleness:
    """How stale gradients were.

    Attributes:
        counts: Gradients by staleness 0, 1, 2–3, 4–7, 8–15 and 16 or more.
        total: Sum of all.
        most: Greatest.
    """

    def __init__(self) -> None:
        self.counts, self.total, self.most = [0] * len(_BOUNDS), 0, 0

    def add(self, stale: Sequence[int]) -> None:
        """Count the gradients of a round."""
        for bin_ in np.searchsorted(_BOUNDS, stale, side="right") - 1:
            self.counts[int(bin_)] += 1
        self.total += sum(stale)
        self.most = max(self.most, *stale) if stale else self.most

    def told(self) -> dict[str, float]:
        """Return mean, maximum and the share of each bin."""
        n = max(1, sum(self.counts))
        bins = {
            f"stale_{low}" if high == low + 1 else f"stale_{low}_to_{high - 1}": count / n
            for low, high, count in zip(_BOUNDS, _BOUNDS[1:], self.counts, strict=False)
        }
        return {
            "stale": self.total / n,
            "stale_most": float(self.most),
            **bins,
            f"stale_from_{_BOUNDS[-1]}": self.counts[-1] / n,
        }
