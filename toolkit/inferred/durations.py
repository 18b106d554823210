"""Durations: the mean seconds of what ran, as the estimates of a log."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from toolkit.inferred.log import Attempt
from toolkit.workload import Floats


class Durations:
    """Sums the seconds of attempts that ended well by row and column, both of any names."""

    def __init__(self) -> None:
        self._total: dict[tuple[Hashable, Hashable], float] = {}
        self._count: dict[tuple[Hashable, Hashable], int] = {}

    def add(self, row: Hashable, column: Hashable, attempt: Attempt) -> None:
        """Count an attempt."""
        if attempt.done and attempt.end is not None:
            place = row, column
            seconds = attempt.end - attempt.start
            self._total[place] = self._total.get(place, 0.0) + seconds
            self._count[place] = self._count.get(place, 0) + 1

    def means(self, rows: Sequence[Hashable], columns: Sequence[Hashable]) -> Floats:
        """Return the mean seconds by row and column, shape [rows, columns].

        Where none ended well in a column the mean of the row stands, where none did in a row
        that of all.
        """
        total = np.array([[self._total.get((r, c), 0.0) for c in columns] for r in rows])
        count = np.array([[float(self._count.get((r, c), 0)) for c in columns] for r in rows])
        overall = total.sum() / max(count.sum(), 1.0)
        in_row = total.sum(axis=1) / np.maximum(count.sum(axis=1), 1.0)
        in_row = np.where(count.sum(axis=1) > 0, in_row, overall)
        mean = np.where(count > 0, total / np.maximum(count, 1.0), in_row[:, None])
        return np.asarray(np.maximum(mean, 1e-9))


def mean_seconds(found: Sequence[tuple[int, int, Attempt]], rows: int, columns: int) -> Floats:
    """Return the mean seconds of the attempts that ended well, by row and column.

    Args:
        found: Row, column and attempt.
        rows: How many there are.
        columns: How many there are.
    """
    durations = Durations()
    for row, column, attempt in found:
        durations.add(int(row), int(column), attempt)
    return durations.means(range(rows), range(columns))
