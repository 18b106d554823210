"""Figures of paper B: who is compared, and numbers with their intervals, also as text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from evaluations.verdicts.report import interval
from evaluations.yardstick import ratio_of
from toolkit.seeding import generator
from toolkit.statistics import Floats, Interval, bootstrap, mean

RANDOM = "paper_random"
"""What the paper calls random."""
STATIC = "static, no dearer"
"""The best configuration that never changes, at no more core-seconds than the policy's."""
TIMES = {"latency_mean": "in all", "service_mean": "batch alone"}
"""Readings of the time of a batch: with the time until its executors are there, and without."""

Frames = dict[str, pd.DataFrame]
"""By policy a row per workload, see ``served_b.served``."""


def ratio(frames: Frames, some: str, other: str, metric: str) -> Interval:
    """Return the ratio of a metric of two policies, see ``yardstick.ratio_of``."""
    rng = generator(0, "ratio", some, other, metric)
    return ratio_of(frames[some], frames[other], metric, rng)


def mean_of(values: Floats, *names: str) -> Interval:
    """Return the mean of values with its interval."""
    rng = generator(0, "mean", *names)
    return bootstrap(np.asarray(values, dtype=np.float64), rng, statistic=mean)


def ms(frame: pd.DataFrame) -> float:
    """Return the mean time of a batch, ms."""
    return 1e3 * float(frame["latency_mean"].mean())


def line(rates: Mapping[int, Frames], arm: str, column: str, scale: float) -> pd.DataFrame:
    """Return means with intervals by frame rate."""
    rows = []
    for f, frames in rates.items():
        found = mean_of(scale * frames[arm][column].to_numpy(), "line", arm, column)
        rows.append({"frames": f, **vars(found)})
    return pd.DataFrame(rows)


def scaled(found: Interval, scale: float, digits: int) -> str:
    """Return an interval in another unit as text."""
    return shown(Interval(*(scale * x for x in (found.value, found.low, found.high))), digits)


def shown(found: Interval, digits: int = 3) -> str:
    """Return an interval as text."""
    return interval(found.value, found.low, found.high, digits)


def percent(share: Interval, digits: int = 1) -> str:
    """Return shares as text."""
    return f"{share.value:.{digits}%} [{share.low:.{digits}%}, {share.high:.{digits}%}]"
