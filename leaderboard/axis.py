"""Axis: round marks between two ends, and where values lie between them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Axis:
    """An axis of a picture, whose places are percentages of its length.

    Args:
        low: Value at 0 %.
        high: Value at 100 %, above ``low``.
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the place of a value in percent."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @cached_property
    def ticks(self) -> list[dict[str, float | str]]:
        """Return place and text of the round marks."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        marks = [round(i * step, 12) for i in range(first, last + 1)]
        return [{"at": self.at(t), "text": _text(t)} for t in marks]


def _text(value: float) -> str:
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e9 else f"{value:g}"


def spanning(values: Iterable[float], *, room: float = 0.04) -> Axis:
    """Return the axis on which all finite values fit.

    Args:
        values: To be shown.
        room: Free at either end, a share of the span.
    """
    found = [v for v in values if math.isfinite(v)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    span = (high - low) or abs(high) or 1.0
    if high == low:
        room = max(room, 0.04)
    return Axis(low - room * span, high + room * span)
