"""Gate: fixed training workloads that tell which policy of a training is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toolkit.learning.play import play
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import GATE
from toolkit.workload import Floats

_KEPT = "best."

Returns = Callable[[Any, Scenario, Sequence[int]], Floats]
"""Plays a network's best choices on the workloads of some seeds; gives the return of each."""


class Gate:
    """Keeps the best policy, and goes back to it after a fall, with half the trust.

    Args:
        scenario: What is played.
        workloads: How many, always the same.
        tolerated: Share of the best return by which a look may lie below it; infinite where a
            training never goes back.
        device: Where policies lie.
        returns: How a network plays; where absent, it scores the slots of flat observations.

    Attributes:
        trust: What learning rates are multiplied by: halved by every fall, doubled up to 1 by every
            new best.
        looks: Mean return of every look.
        best: The greatest of them.
    """

    def __init__(
        self,
        scenario: Scenario,
        workloads: int,
        tolerated: float,
        device: str,
        returns: Returns | None = None,
    ) -> None:
        self.seeds: Sequence[int] = range(GATE, GATE + workloads)
        self.trust, self.best = 1.0, -np.inf
        self.looks: list[float] = []
        self._scenario, self._tolerated, self._device = scenario, tolerated, device
        self._returns = returns or self._of_slots
        self._kept: dict[str, Tensor] = {}

    def look(self, actor: nn.Module, *optimisers: torch.optim.Optimizer) -> None:
        """Play a policy, and change it where it has fallen."""
        score = float(self._returns(actor, self._scenario, self.seeds).mean())
        self.looks.append(score)
        if score > self.best:
            self.best = score
            self._kept = {k: v.detach().cpu().clone() for k, v in actor.state_dict().items()}
            self.trust = min(1.0, 2 * self.trust)
        elif score < self.best - self._tolerated * abs(self.best):
            self.give(actor)
            for optimiser in optimisers:
                optimiser.state.clear()
            self.trust /= 2

    def _of_slots(self, actor: nn.Module, scenario: Scenario, seeds: Sequence[int]) -> Floats:
        return play(actor, scenario, seeds, sampled=False, device=self._device).returns

    def give(self, actor: nn.Module) -> None:
        """Let a network be the best policy."""
        actor.load_state_dict(self._kept)

    def story(self) -> dict[str, float]:
        """Return where the training was seen to start, fall to, and end, and its regret.

        The regret is the mean by which the looks lay below the best, relative to its size.
        """
        looks = np.array(self.looks)
        return {
            "start": float(looks[0]),
            "worst": float(looks.min()),
            "end": float(looks[-1]),
            "best": self.best,
            "regret": float((self.best - looks).mean() / max(abs(self.best), 1e-12)),
        }

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what :meth:`restore` takes: tensors, and numbers that are JSON-able."""
        numbers = {"looks": self.looks, "best": self.best, "trust": self.trust}
        return {f"{_KEPT}{k}": v for k, v in self._kept.items()}, numbers

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._kept = {k.removeprefix(_KEPT): v for k, v in tensors.items() if k.startswith(_KEPT)}
        self.looks, self.best = list(numbers["looks"]), float(numbers["best"])
        self.trust = float(numbers["trust"])
