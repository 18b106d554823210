"""Source: where cells come from, which is what rows of the board must share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.store import Product


@dataclass(frozen=True, kw_only=True)
class Source:
    """What was played, or recorded.

    Args:
        engine: ``simulator`` or what really ran.
        grounds: Words by which each is played, see :func:`evaluations.cells.cells`, by name.
        keys: Change with what is played.
        trace: Id of the recording behind it; "" where there is none.
        calibration: Id of the calibration; "" where there is none.
        error: Its relative makespan error on held-out runs; NaN where it is unknown.
    """

    engine: str
    grounds: Mapping[str, tuple[str, ...]]
    keys: Sequence[Any]
    trace: str = ""
    calibration: str = ""
    error: float = float("nan")


def error_of(calibration: Product) -> float:
    """Return the held-out makespan error of a calibration; NaN where it is unknown."""
    told = calibration.manifest["about"]["fidelity"].get("held_out_makespan_error")
    return float("nan") if told is None else float(told)
