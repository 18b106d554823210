"""Search: a learner of any family, whose episodes while it learns are a *replay* dataset.

Its policies draw a slot from the softmax of a linear score of the candidates' features, each
measured against the mean and spread of the slots that are allowed, so that one vector of weights
fits every unit and every number of slots. The cross-entropy method improves the weights generation
by generation (Rubinstein and Kroese, Springer 2004, doi:10.1007/978-1-4757-4321-0), from chance on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import require
from toolkit.policies.policy import Policy
from toolkit.seeding import generator
from toolkit.workload import Floats, Workload


@dataclass(frozen=True, kw_only=True)
class Softmax:
    """Draws from the softmax of a linear score.

    Args:
        name: Shown in indexes.
        weights: Of the candidate features, shape [F].
    """

    name: str
    weights: Floats

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare."""

    def probabilities(self, decision: Decision) -> Floats:
        """Return the softmax over the allowed slots, shape [K]."""
        allowed = decision.mask
        shown = decision.candidates[allowed].astype(np.float64)
        centred = shown - shown.mean(axis=0)
        spread = centred.std(axis=0)
        scores = (centred / np.where(spread > 1e-9, spread, np.inf)) @ self.weights
        chances = np.exp(scores - scores.max())
        found = np.zeros(len(allowed))
        found[allowed] = chances / chances.sum()
        return found


class Search:
    """A cross-entropy search over the weights of a softmax policy.

    All candidates of a generation meet the same workloads, so that luck does not choose among
    them.

    Args:
        features: F.
        population: Candidates of a generation.
        elite: How many of them shape the next.
        episodes: Of each candidate.
        spread: Standard deviation that each weight begins with.
        seed: Of the search.
    """

    def __init__(
        self,
        *,
        features: int,
        population: int = 24,
        elite: int = 6,
        episodes: int = 1,
        spread: float = 1.5,
        seed: int = 0,
    ) -> None:
        require(1 <= elite <= population, "elite must be from 1 to the population")
        require(episodes >= 1, f"episodes must be 1 or more, got {episodes}")
        self._population, self._elite, self._episodes = population, elite, episodes
        self._mean, self._spread = np.zeros(features), np.full(features, spread)
        self._least = 0.1 * spread
        self._rng = generator(seed, "search")
        self._drawn = np.zeros((population, features))
        self.generation = 0

    def ask(self) -> Sequence[tuple[Policy, int]]:
        """Return the policies of a generation's episodes, each with the number of its workload."""
        shape = (self._population, len(self._mean))
        self._drawn = self._mean + self._spread * self._rng.standard_normal(shape)
        # The present mean is one of them: a generation never forgets what is known.
        self._drawn[0] = self._mean
        # Ten generations share a name, so that a card can list them.
        name = f"search-{self.generation // 10 * 10:03d}"
        return [
            (Softmax(name=name, weights=weights), e)
            for weights in self._drawn
            for e in range(self._episodes)
        ]

    def tell(self, returns: Sequence[float]) -> None:
        """Move towards the candidates of greatest mean return, ties to the first."""
        means = np.array(returns).reshape(self._population, self._episodes).mean(axis=1)
        best = self._drawn[np.argsort(-means, kind="stable")[: self._elite]]
        # Half the way: the elite of two dozen is a noisy guide.
        self._mean = 0.5 * (self._mean + best.mean(axis=0))
        self._spread = np.maximum(0.5 * (self._spread + best.std(axis=0)), self._least)
        self.generation += 1
