"""Priorities: replay that prefers the transitions which surprise.

Schaul, Quan, Antonoglou and Silver, Prioritized Experience Replay, ICLR 2016, arXiv 1511.05952,
the proportional variant (section 3.3 and algorithm 1): a transition of priority p = |δ| + ε is
drawn with P ∝ p^α and counts (N P)^−β, by the greatest such weight of its batch.

The paper leaves open, and it is decided here: that a priority is the whole |δ|, although the loss
is linear beyond 1; that δ is the mean over critics of |δ|; and that the greatest priority, which
new transitions get, is the greatest so far, also where its transition has been forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from toolkit.errors import require
from toolkit.workload import Floats, Ints, Vector


@dataclass(frozen=True, kw_only=True)
class Priorities:
    """How replay prefers what surprises.

    Args:
        alpha: Exponent of priorities; 0: all are alike.
        beta: Exponent of the weights at first; in the end it is 1, where they make up for the
            preference in full.
        least: ε, what is added to |δ| so that nothing is forgotten while it is held.
    """

    alpha: float = 0.6
    beta: float = 0.4
    least: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"algo.priorities.{name} must be in [0, 1], got {value}")
        require(self.least > 0, f"algo.priorities.least must be positive, got {self.least}")

    def exponent(self, progress: float) -> float:
        """Return β at a share of the training."""
        return self.beta + progress * (1.0 - self.beta)


class SumTree:
    """Masses that are changed and found in the logarithm of their number.

    A binary tree in a flat array: the root at 1, below node i the nodes 2i and 2i + 1, and every
    node but the leaves holds the sum of those two, never a running sum that would drift.

    Args:
        capacity: How many masses there are, all 0 at first.
    """

    def __init__(self, capacity: int) -> None:
        require(capacity >= 1, f"a sum tree holds one mass or more, got {capacity}")
        self._capacity = capacity
        self._leaves = 1 << (capacity - 1).bit_length()
        self._nodes: Floats = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all masses."""
        return float(self._nodes[1])

    @property
    def masses(self) -> Floats:
        """All masses, shape [capacity]; a view that is not to be changed."""
        return self._nodes[self._leaves : self._leaves + self._capacity]

    def put(self, places: Ints, masses: Floats) -> None:
        """Change masses.

        Args:
            places: Which, shape [B]; of one that is named twice the last counts.
            masses: None of them negative, shape [B].
        """
        _put(self._nodes, self._leaves, places, masses)

    def find(self, sums: Floats) -> Ints:
        """Return the first place up to which, itself included, more than a sum lies; shape [B].

        Args:
            sums: From 0 to less than the total, shape [B].
        """
        return _find(self._nodes, self._leaves, sums)


@njit(cache=True)
def _put(nodes: Floats, leaves: int, places: Ints, masses: Floats) -> None:
    for i in range(len(places)):
        node = leaves + places[i]
        nodes[node] = masses[i]
        while node > 1:
            node //= 2
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]


@njit(cache=True)
def _find(nodes: Floats, leaves: int, sums: Floats) -> Ints:
    found = np.empty(len(sums), dtype=np.int64)
    for i in range(len(sums)):
        node, left = 1, sums[i]
        while node < leaves:
            node *= 2
            # What rounding leaves over must not lead to where nothing lies.
            if left >= nodes[node] and nodes[node + 1] > 0:
                left -= nodes[node]
                node += 1
        found[i] = node - leaves
    return found


class Prioritised:
    """Draws from a ring of transitions by their priorities.

    Args:
        settings: Exponents.
        capacity: Places of the ring.
    """

    def __init__(self, settings: Priorities, capacity: int) -> None:
        self._settings = settings
        self._tree = SumTree(capacity)
        self._greatest = 1.0

    def add(self, places: Ints) -> None:
        """Let new transitions have the greatest priority so far.

        Args:
            places: Where they lie, shape [B].
        """
        mass = self._greatest**self._settings.alpha
        self._tree.put(places, np.full(len(places), mass))

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Return the places of n draws, one from each n-th of the total; shape [n]."""
        total = self._tree.total
        sums = (np.arange(n) + rng.random(n)) * (total / n)
        return self._tree.find(np.minimum(sums, np.nextafter(total, 0.0)))

    def weights(self, places: Ints, held: int, progress: float) -> Vector:
        """Return what drawn transitions count, the greatest 1; shape [B].

        Args:
            places: Where they lie, shape [B].
            held: N, how many transitions there are.
            progress: Share of the training that is done.
        """
        chance = self._tree.masses[places] / self._tree.total
        weight = (held * chance) ** -self._settings.exponent(progress)
        found: Vector = (weight / weight.max()).astype(np.float32)
        return found

    def learnt(self, places: Ints, errors: Vector) -> None:
        """Change priorities.

        Args:
            places: Where the transitions lie, shape [B].
            errors: |δ| of each, shape [B].
        """
        priorities = errors.astype(np.float64) + self._settings.least
        self._tree.put(places, priorities**self._settings.alpha)
        self._greatest = max(self._greatest, float(priorities.max()))

    def state(self) -> tuple[Floats, dict[str, Any]]:
        """Return the masses, and numbers that are JSON-able."""
        return self._tree.masses.copy(), {"greatest": self._greatest}

    def restore(self, masses: Floats, told: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._tree.put(np.arange(len(masses)), masses)
        self._greatest = float(told["greatest"])
