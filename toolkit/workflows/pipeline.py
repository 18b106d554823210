"""Pipeline: chains of tasks, one or several side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.workflows.graph import Graph, Span, Weights, check_span, drawn, pointers


@dataclass(frozen=True, kw_only=True)
class Pipeline(Weights):
    """Independent chains: lanes × stages tasks and lanes × (stages − 1) edges.

    Args:
        stages: Length of every chain, or (low, high) of one draw per graph.
        lanes: Number of chains, or (low, high).
    """

    stages: Span = (10, 30)
    lanes: Span = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("stages", self.stages, 1)
        check_span("lanes", self.lanes, 1)

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        lanes, stages = drawn(self.lanes, rng), drawn(self.stages, rng)
        task = np.arange(lanes * stages, dtype=np.int32)
        later = task % stages > 0
        return self.weighed(
            f"pipeline-{lanes}x{stages}", pointers(later.astype(np.int32)), task[later] - 1, rng
        )
