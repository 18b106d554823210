"""The recorded clock of placements: a recording repeated exactly as it happened."""

from __future__ import annotations

import json

import numpy as np

from toolkit.errors import ConfigError, CorruptError
from toolkit.live import Outcome, outcome_of
from toolkit.simulator.fitting import check_event
from toolkit.simulator.placing import ask, begun
from toolkit.simulator.recorded import instants_of
from toolkit.simulator.rules import arrival_at, choose, estimated_seconds, go_on, placed
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    CLOSED,
    COPIED,
    FINISHED,
    RUNNING,
    STAGE,
    STARTED,
    apply_event,
    initial,
    pass_time,
)
from toolkit.simulator.world import unknown
from toolkit.trace import Trace
from toolkit.workload import Workload

_EVENTS = (
    ("jobs", "arrived", ARRIVED),
    ("tasks", "started", STARTED),
    ("tasks", "finished", FINISHED),
)
_ORDER = {ARRIVED: 0, STARTED: 1, COPIED: 2, FINISHED: 3}

COPY = "copy"
"""Kind of the spans that are parents executed again before a task."""


class RecordedPlacement:
    """An :class:`~toolkit.live.Engine` that repeats a run whose placements were recorded.

    Where several events were seen at one instant jobs come first, and then the tasks in the order
    in which they were placed.

    Args:
        trace: The trace.
        run: Which of its runs.
        cut: When the recording was cut if it was, s; where that is not known, at the horizon.

    Raises:
        ConfigError: When the run has no decisions.
        CorruptError: When tasks were tried more than once.
    """

    def __init__(self, trace: Trace, run: int, cut: float = np.inf) -> None:
        tables = {
            name: trace.of(name, run).sort_by(name[:-1]).to_pydict() for name in ("jobs", "tasks")
        }
        numbers = tables["tasks"]["task"]
        if len(set(numbers)) != len(numbers):
            raise CorruptError(f"run {run} has tasks with several attempts; it cannot be replayed")
        if len(trace.of("decisions", run)) == 0:
            raise ConfigError(f"run {run} of the trace has no decisions to replay")
        placed_by = {
            t: -1 if d is None else d
            for t, d in zip(numbers, tables["tasks"]["decision"], strict=True)
        }
        events: list[tuple[float, int, int, int, int, float]] = []
        for name, word, kind in _EVENTS:
            rows = tables[name]
            for i, seen, at in zip(
                rows[name[:-1]], rows[f"{word}_seen"], rows[f"{word}_at"], strict=True
            ):
                if seen is not None:
                    late = 0 if kind == ARRIVED else 1 + placed_by[i]
                    events.append((seen, late, _ORDER[kind], i, kind, at))
        for task, at, seen in _copies(trace, run):
            late = 1 + placed_by.get(task, -1)
            events.append((seen, late, _ORDER[COPIED], task, COPIED, at))
        self._events = sorted(events)
        self._instants = instants_of(trace, run)
        self._cut = cut

    def start(self, workload: Workload) -> Scene:
        """Begin again at the first event."""
        self._event = self._epoch = 0
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        return self._scene

    def act(self, key: int) -> None:
        """Carry out a choice on the state; what it led to has been recorded."""
        s, state = self._scene.known, self._scene.state
        task, node, copied = (int(i) for i in choose(s, key))
        if task < 0:
            return
        now = float(state.time[0])
        start = max(now, float(arrival_at(s, task, node, copied)))
        if copied >= 0:
            own = max(now, float(arrival_at(s, copied, node, -1)))
            state.copying[task] = copied
            state.besides[task] = start
            start = max(start, own + float(estimated_seconds(s, copied, node)))
        placed(s, task, node, start)
        go_on(s)

    def advance(self, until: float) -> None:
        """Apply what was seen before the next recorded decision; ``until`` is not consulted."""
        scene = self._scene
        scene.state.cursor[STAGE] = CLOSED
        last = self._epoch >= len(self._instants)
        boundary = np.inf if last else float(self._instants[self._epoch])
        self._epoch += 1
        while self._event < len(self._events) and self._events[self._event][0] <= boundary:
            seen, _, _, subject, kind, at = self._events[self._event]
            if seen == boundary and kind != ARRIVED and not self._runs(subject):
                break  # It takes no time, and has not been placed yet.
            self._event += 1
            self._apply(kind, subject, at, seen)
        if scene.state.done:
            return
        if not last:
            ask(scene)
        elif (end := min(self._cut, until)) < np.inf:
            pass_time(scene.known, end)

    def _runs(self, task: int) -> bool:
        status = self._scene.state.status
        return 0 <= task < len(status) and int(status[task]) == RUNNING

    def _apply(self, kind: int, subject: int, at: float, seen: float) -> None:
        scene = self._scene
        if kind == ARRIVED:
            check_event(scene, ARRIVED, subject)
        else:
            check_event(scene, FINISHED, subject)  # What starts has been placed, too.
        if kind == STARTED:
            begun(scene, subject, at, seen)
            return
        if kind == COPIED and (
            len(scene.state.copying) == 0 or int(scene.state.copying[subject]) < 0
        ):
            raise CorruptError(f"no parent of task {subject} was chosen to be executed again")
        apply_event(scene.known, kind, subject, at, seen)

    def outcome(self) -> Outcome:
        """Return what was recorded."""
        return outcome_of(self._scene)


def _copies(trace: Trace, run: int) -> list[tuple[int, float, float]]:
    """Return the tasks before which a parent was executed again, when it was done and seen."""
    found = []
    for span in trace.of("spans", run).to_pylist():
        if span["kind"] != COPY or span["task"] is None or span["finished_at"] is None:
            continue
        try:
            seen = float(json.loads(span["detail"])["seen"])
        except (TypeError, ValueError, LookupError, RecursionError) as error:
            why = f"span {span['span']} of run {run} does not say when it was seen"
            raise CorruptError(why) from error
        found.append((int(span["task"]), float(span["finished_at"]), seen))
    return found
