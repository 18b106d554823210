"""Ordered rows: rows that are finished in any order are written in the order of their indices."""

from __future__ import annotations

from typing import Any

from collectors.run_writer import RunWriter

HELD = 50_000
"""Rows of jobs or stages that wait for earlier ones, so that rows come in the order of indices."""


class Ordered:
    """Hands rows on in the order of their indices, as far as few must wait for it.

    Args:
        run: Where the rows go.
        table: Whose rows they are.
    """

    def __init__(self, run: RunWriter, table: str) -> None:
        self._run, self._table = run, table
        self._held: dict[int, dict[str, Any]] = {}
        self._next = 0

    def add(self, index: int, row: dict[str, Any]) -> None:
        """Take the row of an index."""
        self._held[index] = row
        while self._next in self._held:
            self._run.add(self._table, **self._held.pop(self._next))
            self._next += 1
        if len(self._held) > HELD:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        for index in sorted(self._held):
            self._run.add(self._table, **self._held.pop(index))
            self._next = max(self._next, index + 1)
