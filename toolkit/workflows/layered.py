"""Layered: random graphs in layers, the usual instances of list-scheduling papers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.errors import require
from toolkit.workflows.graph import Graph, Span, Weights, check_span, drawn, pointers


@dataclass(frozen=True, kw_only=True)
class Layered(Weights):
    """Random layers; every task but those of the first layer has a parent in the layer before.

    After the random graph generator of Topcuoglu, Hariri and Wu, TPDS 2002,
    doi:10.1109/71.993206, section 5.2.1: their shape parameter α is ``fatness``. Instead of
    their out-degree, ``density`` sets how many of the possible edges there are.

    Args:
        tasks: Number of tasks, or (low, high).
        fatness: The mean width of a layer is fatness × √tasks: above 1 short and parallel,
            below 1 long and sequential. Widths are uniform from 1 to twice the mean less 1.
        density: Probability of each edge beyond the one parent that is certain.
        reach: How many layers back a parent may lie.
    """

    tasks: Span = (20, 150)
    fatness: float = 1.0
    density: float = 0.2
    reach: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("tasks", self.tasks, 1)
        require(0.0 < self.fatness < np.inf, f"fatness must be > 0, got {self.fatness}")
        require(0.0 <= self.density <= 1.0, f"density must be from 0 to 1, got {self.density}")
        require(self.reach >= 1, f"reach must be >= 1, got {self.reach}")

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        n = drawn(self.tasks, rng)
        mean = min(max(1, round(self.fatness * n**0.5)), n)
        ends = rng.integers(1, 2 * mean, size=n).cumsum()
        layers = int(ends.searchsorted(n)) + 1
        starts = np.zeros(layers + 1, dtype=np.int64)
        starts[1:] = np.minimum(ends[:layers], n)
        layer = np.repeat(np.arange(layers), np.diff(starts))

        # Every possible edge in the order of child, then parent, so that the kept ones are
        # sorted as a graph wants them.
        lowest = starts[np.maximum(layer - self.reach, 0)]
        candidates = starts[layer] - lowest
        first = np.cumsum(candidates) - candidates
        child = np.repeat(np.arange(n), candidates)
        parent = np.arange(len(child)) + np.repeat(lowest - first, candidates)
        keep = rng.random(len(child)) < self.density
        later = np.arange(starts[1], n)
        before = starts[layer[later] - 1]
        width = starts[layer[later]] - before
        certain = before + (rng.random(len(later)) * width).astype(np.int64)
        keep[first[later] + certain - lowest[later]] = True

        counts = np.bincount(child[keep], minlength=n).astype(np.int32)
        return self.weighed(f"layered-{n}", pointers(counts), parent[keep].astype(np.int32), rng)
