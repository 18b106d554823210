"""Column: what the board shows of each policy, with units, and how its numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard.row import Row, failure

NONE = "–"
"""Stands where nothing was measured."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its heading and unit, what it sorts by, and the ends of its interval.

    Args:
        key: Field of the row.
        title: What people call it.
        unit: Unit, empty where it has none.
        interval: Whether the row holds a 95 % interval of it.
        chief: Whether a terminal shows it too, where little fits.
        measured: Whether it is wall clock, which no command makes again to the digit.
    """

    key: str
    title: str
    unit: str = ""
    interval: bool = False
    chief: bool = False
    measured: bool = False

    @property
    def note(self) -> str:
        """Return unit and mark, empty where there is neither."""
        return ", ".join(w for w in (self.unit, "measured" if self.measured else "") if w)

    @property
    def heading(self) -> str:
        """Return title and note."""
        return f"{self.title} ({self.note})" if self.note else self.title

    @property
    def full_heading(self) -> str:
        """Return the heading, with what stands in brackets beside the numbers."""
        return f"{self.heading} [95 % CI]" if self.interval else self.heading

    @property
    def keys(self) -> list[str]:
        """Return the fields of the value and of the ends of its interval."""
        stem = "ci" if self.key == "score" else f"{self.key}_ci"
        return [self.key, f"{stem}_low", f"{stem}_high"] if self.interval else [self.key]

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """Return the cells of a column, all with the same number of decimals."""
        table = [[getattr(row, k) for k in self.keys] for row in rows]
        finite = [abs(v) for line in table for v in line if math.isfinite(v)]
        whole = all(v == int(v) for v in finite)
        largest = max(finite, default=0.0)
        n = 0 if whole or largest >= 1_000 else 1 if largest >= 10 else 2 if largest >= 1 else 4
        return [self._cell(r, line, n) for r, line in zip(rows, table, strict=True)]

    def _cell(self, row: Row, numbers: Sequence[float], decimals: int) -> str:
        failed = failure(row) if self.key == "score" else ""
        return failed or number(numbers, decimals)


COLUMNS = (
    Column(key="score", title="score", interval=True, chief=True),
    Column(key="latency_mean", title="latency mean", unit="s", interval=True, chief=True),
    Column(key="latency_p95", title="p95", unit="s", chief=True),
    Column(key="latency_p99", title="p99", unit="s"),
    Column(key="throughput", title="throughput", unit="jobs/s", chief=True),
    Column(key="cost", title="cost", chief=True),
    Column(key="max_queue", title="max queue", chief=True),
    Column(key="makespan", title="makespan", unit="s"),
    Column(key="of_bound", title="of bound", unit="×"),
    Column(key="slr", title="SLR"),
    Column(key="speedup", title="speedup", unit="×"),
    Column(key="slowdown_mean", title="slowdown", unit="×"),
    Column(key="response_time", title="response", unit="s"),
    Column(key="utilisation", title="utilisation"),
    Column(key="fairness", title="fairness"),
    Column(key="slo_violations", title="SLO misses"),
    Column(key="money", title="money"),
    Column(key="decision_ms", title="decision", unit="ms", measured=True),
    Column(key="n_seeds", title="n", chief=True),
)


def columns(rows: Sequence[Row], *, chief: bool = False) -> list[Column]:
    """Return the score and whatever else was measured.

    Args:
        rows: Of one table.
        chief: Only what a terminal shows.
    """
    return [
        c
        for c in COLUMNS
        if c.key == "score"
        or ((c.chief or not chief) and any(math.isfinite(getattr(r, c.key)) for r in rows))
    ]


def number(numbers: Sequence[float], decimals: int) -> str:
    """Return a number, with its interval where three are given; what is not finite is a dash."""

    def one(value: float) -> str:
        return f"{value:,.{decimals}f}" if math.isfinite(value) else NONE

    value, *ends = map(one, numbers)
    return value if not ends or NONE in ends else f"{value} [{', '.join(ends)}]"
