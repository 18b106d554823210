"""Gauss: the task graph of Gaussian elimination."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from toolkit.workflows.graph import Graph, Span, Weights, check_span, drawn, pointers
from toolkit.workload import Floats, Indices


@dataclass(frozen=True, kw_only=True)
class Gauss(Weights):
    """Gaussian elimination of an m × m matrix by columns: (m² + m − 2) / 2 tasks.

    Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, section 5.3.1. Step k, from 1 to
    m − 1, divides its pivot column (m − k divisions) and then updates every later column with
    it (m − k multiplications and as many subtractions each). The pivot task feeds the updates
    of its step; the update of column j feeds the task of column j in the next step. An edge
    moves the m − k elements of a column that its step has changed. So there are m² − m − 1
    edges (m ≥ 2) and 2 (m − 1) levels.

    Args:
        m: Order of the matrix, or (low, high).
    """

    m: Span = (6, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("m", self.m, 2)

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        m = drawn(self.m, rng)
        parent_ptr, parents, operations, elements = _structure(m)
        return self.weighed(
            f"gauss-{m}",
            parent_ptr.copy(),
            parents.copy(),
            rng,
            operations=operations,
            elements=elements,
        )


@lru_cache(maxsize=256)
def _structure(m: int) -> tuple[Indices, Indices, Floats, Floats]:
    counts: list[int] = []
    parents: list[int] = []
    operations: list[float] = []
    elements: list[float] = []
    updated: dict[int, int] = {}
    for k in range(1, m):
        pivot = len(counts)
        above = [updated[k]] if k > 1 else []
        counts.append(len(above))
        parents += above
        elements += [m - k + 1] * len(above)
        operations.append(m - k)
        for j in range(k + 1, m + 1):
            above = [updated[j]] if k > 1 else []
            updated[j] = len(counts)
            counts.append(len(above) + 1)
            # The update of the step before has the lower index.
            parents += [*above, pivot]
            elements += [m - k + 1] * len(above) + [m - k]
            operations.append(2 * (m - k))
    return (
        pointers(counts),
        np.array(parents, dtype=np.int32),
        np.array(operations, dtype=np.float64),
        np.array(elements, dtype=np.float64),
    )
