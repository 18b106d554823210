"""Acyclic: which edges of a logged graph can be kept so that no task waits for itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def outside_cycles(
    count: int, parents: Sequence[int], children: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """Tell which edges lie on no cycle; which edge of a cycle is wrong, nobody can say.

    Args:
        count: Number of vertices.
        parents: Where each of the e edges begins, indices of vertices.
        children: Where each ends.

    Returns:
        Shape [e].
    """
    if not parents:
        return np.ones(0, dtype=np.bool_)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    parent, child = np.asarray(parents, dtype=np.int64), np.asarray(children, dtype=np.int64)
    ones = np.ones(len(parent), dtype=np.int8)
    graph = coo_matrix((ones, (parent, child)), shape=(count, count))
    _, part = connected_components(graph, directed=True, connection="strong")
    kept: npt.NDArray[np.bool_] = part[parent] != part[child]
    return kept
