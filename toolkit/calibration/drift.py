"""Drift: whether a new recording still fits a calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.calibration.agreement import coverage, ks
from toolkit.calibration.calibration import Calibration, speeds_of
from toolkit.calibration.contention import work
from toolkit.calibration.executions import Executions
from toolkit.calibration.runs import Runs
from toolkit.errors import ConfigError

MOST = 0.15
"""Distance of the luck of tasks from uniform that is no drift yet, however many there are."""

_DOUBT = 0.001
"""Probability below which a distance is not chance."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the tasks of a type fit.

    Args:
        type: What they do; ``all`` for all of them.
        tasks: How many.
        factor: How much longer they take than was learnt: the median of the ratios.
        distance: Of their luck from uniform (Kolmogorov–Smirnov).
        p: Of a distance as large.
        inside: Share within their 90 % interval.
        beyond: Share outside of what was fitted.
    """

    type: str
    tasks: int
    factor: float
    distance: float
    p: float
    inside: float
    beyond: float

    @property
    def drifted(self) -> bool:
        """Whether they no longer fit: by more than chance, and by more than a little."""
        return self.distance > MOST and self.p < _DOUBT


def drift(calibration: Calibration, recorded: Runs) -> list[Drift]:
    """Compare the tasks of a recording with what was learnt; all of them first, then by type.

    Raises:
        ConfigError: When the recording is of another scenario.
    """
    planned = calibration.planned
    if recorded.planned.types != planned.types or recorded.planned.family != planned.family:
        raise ConfigError(
            f"the trace is of the scenario {recorded.planned.name!r}, the calibration of "
            f"{planned.name!r}",
            hint="fit one to it: toolkit calibrate trace=<id>",
        )
    done = Executions.join([recorded.executions(r) for r in recorded.runs])
    alone = work(done, speeds_of(planned, calibration.sought.interference))[~done.cold]
    done = done.where(~done.cold)
    residual = np.log(alone) - calibration.durations.log_mean(done.type_of, done.data, done.column)
    luck = calibration.durations.luck(done.type_of, residual)
    beyond = calibration.durations.beyond(done.type_of, done.data, done.column)
    found = []
    for t, name in enumerate(("all", *planned.types)):
        mine = np.ones(len(done), dtype=np.bool_) if t == 0 else done.type_of == t - 1
        if not mine.any():
            continue
        distance, p = ks(luck[mine])
        found.append(
            Drift(
                type=name,
                tasks=int(mine.sum()),
                factor=float(np.exp(np.median(residual[mine]))),
                distance=distance,
                p=p,
                inside=coverage(luck[mine], 0.9)[0].value,
                beyond=float(beyond[mine].mean()),
            )
        )
    return found
