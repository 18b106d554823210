"""The recorded clock of placements: a live recording repeated exactly as it happened."""

from __future__ import annotations

import numpy as np

from toolkit.errors import ConfigError, CorruptError
from toolkit.live import Outcome, outcome_of
from toolkit.simulator.placing import answer, ask, begun
from toolkit.simulator.recorded import instants_of
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import ARRIVED, CLOSED, FINISHED, STAGE, STARTED, apply_event, initial
from toolkit.simulator.world import unknown
from toolkit.trace import Trace
from toolkit.workload import Workload

_EVENTS = (
    ("jobs", "arrived", ARRIVED),
    ("tasks", "started", STARTED),
    ("tasks", "finished", FINISHED),
)


class RecordedPlacement:
    """An :class:`~toolkit.live.Engine` that repeats a run whose placements were recorded.

    Args:
        trace: The trace.
        run: Which of its runs.

    Raises:
        ConfigError: When the run has no decisions.
        CorruptError: When tasks were tried more than once.
    """

    def __init__(self, trace: Trace, run: int) -> None:
        tables = {
            name: trace.of(name, run).sort_by(name[:-1]).to_pydict() for name in ("jobs", "tasks")
        }
        tasks = tables["tasks"]["task"]
        if len(set(tasks)) != len(tasks):
            raise CorruptError(f"run {run} has tasks with several attempts; it cannot be replayed")
        if len(trace.of("decisions", run)) == 0:
            raise ConfigError(f"run {run} of the trace has no decisions to replay")
        self._events = sorted(
            (seen, order, i, at, kind)
            for order, (name, word, kind) in enumerate(_EVENTS)
            for i, (seen, at) in enumerate(
                zip(tables[name][f"{word}_seen"], tables[name][f"{word}_at"], strict=True)
            )
            if seen is not None
        )
        self._instants = instants_of(trace, run)

    def start(self, workload: Workload) -> Scene:
        """Begin again at the first event."""
        self._event = self._epoch = 0
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        return self._scene

    def act(self, key: int) -> None:
        """Carry out a choice on the state; what it led to has been recorded."""
        answer(self._scene, key)

    def advance(self, until: float) -> None:
        """Apply what was seen before the next recorded decision; ``until`` is not consulted."""
        scene = self._scene
        scene.state.cursor[STAGE] = CLOSED
        last = self._epoch >= len(self._instants)
        boundary = np.inf if last else float(self._instants[self._epoch])
        self._epoch += 1
        while self._event < len(self._events) and self._events[self._event][0] <= boundary:
            seen, _, subject, at, kind = self._events[self._event]
            self._event += 1
            if kind == STARTED:
                begun(scene, subject, at, seen)
            else:
                apply_event(scene.known, kind, subject, at, seen)
        if scene.state.done:
            return
        if last:
            # The recording was cut here: let the clock leave any horizon behind.
            scene.state.time[0] = np.inf
        else:
            ask(scene)

    def outcome(self) -> Outcome:
        """Return what was recorded."""
        return outcome_of(self._scene)
