"""Quantiles: a distribution as a table, one row for each type of task."""

from __future__ import annotations

import numpy as np

from toolkit.workload import Floats, Ints

QUANTILES = 201
"""Entries of a row, at the midpoints of as many equal parts."""

GRID = (np.arange(QUANTILES) + 0.5) / QUANTILES
"""The share of values below each entry, shape [QUANTILES]."""


def quantiles(values: Floats) -> Floats:
    """Return the row of some values, shape [QUANTILES]."""
    return np.asarray(np.quantile(values, GRID))


def drawn(table: Floats, type_of: Ints, luck: Floats) -> Floats:
    """Return F⁻¹(luck) of the distribution of each task's type, shape [n].

    Args:
        table: Shape [T, QUANTILES].
        type_of: Shape [n].
        luck: In (0, 1), shape [n].
    """
    out = np.empty(len(type_of))
    for t in np.unique(type_of):
        mine = type_of == t
        out[mine] = np.interp(luck[mine], GRID, table[t])
    return out
