"""Fitting: whether a recorded event can have happened, before compiled code believes it."""

from __future__ import annotations

import numpy as np

from toolkit.errors import CorruptError
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    FINISHED,
    KILLED,
    LOST,
    RETURNED,
    RUNNING,
    STARTED,
    WAITING,
)

_NAMES = {
    ARRIVED: "job {} arrives",
    STARTED: "task {} starts",
    FINISHED: "task {} finishes",
    LOST: "node {} is lost",
    RETURNED: "node {} is there",
    KILLED: "task {} is killed",
}
_MAY_BE = {STARTED: (WAITING,), FINISHED: (RUNNING,), KILLED: (WAITING, RUNNING)}


def check_event(scene: Scene, kind: int, subject: int) -> None:
    """Refuse what cannot happen now: compiled code would write where nothing is.

    Raises:
        CorruptError: When there is no such job, task or node, or it is in no such state.
    """
    state = scene.state
    if kind == ARRIVED:
        good = 0 <= subject < len(state.arrived) and bool(np.isnan(state.arrived[subject]))
    elif kind in _MAY_BE:
        good = 0 <= subject < len(state.status) and int(state.status[subject]) in _MAY_BE[kind]
    else:
        good = 0 <= subject < len(state.up)
    if not good:
        what = _NAMES[kind].format(subject)
        raise CorruptError(
            f"the trace does not fit its scenario: {what} after {float(state.time[0]):.6g} s, "
            "where it cannot"
        )
