"""Fork-join: stages of parallel tasks between joins, as in bulk-synchronous programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from toolkit.workflows.graph import Graph, Span, Weights, check_span, drawn, pointers
from toolkit.workload import Indices


@dataclass(frozen=True, kw_only=True)
class ForkJoin(Weights):
    """A source, then stages of ``width`` parallel tasks that each end in a join.

    A join is the fork of the next stage: 1 + stages × (width + 1) tasks and
    2 × stages × width edges.

    Args:
        width: Parallel tasks of every stage, or (low, high) of one draw per graph.
        stages: Number of stages, or (low, high).
    """

    width: Span = (4, 16)
    stages: Span = (3, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("width", self.width, 1)
        check_span("stages", self.stages, 1)

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        width, stages = drawn(self.width, rng), drawn(self.stages, rng)
        parent_ptr, parents = _structure(width, stages)
        return self.weighed(f"fork-join-{width}x{stages}", parent_ptr.copy(), parents.copy(), rng)


@lru_cache(maxsize=256)
def _structure(width: int, stages: int) -> tuple[Indices, Indices]:
    counts, parents = [0], []
    fork = 0
    for _ in range(stages):
        join = fork + width + 1
        counts += [1] * width + [width]
        parents += [fork] * width + list(range(fork + 1, join))
        fork = join
    return pointers(counts), np.array(parents, dtype=np.int32)
