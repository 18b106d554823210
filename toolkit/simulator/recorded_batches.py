"""The recorded clock of batches: executors and tasks repeated exactly as the state was shown them.

Which executor is where is told by the spans of kind ``executor``: one for each time that an
executor was shown to the state, or came into the slot of another unseen.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from toolkit.errors import ConfigError, CorruptError
from toolkit.live import Outcome, outcome_of
from toolkit.simulator.fitting import check_event
from toolkit.simulator.recorded import instants_of
from toolkit.simulator.rules import choose, employ, granted, open_epoch
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    BATCH,
    BLOCKED,
    CLOSED,
    DONE,
    FINISHED,
    KILLED,
    RETURNED,
    STAGE,
    STARTED,
    apply_event,
    begin,
    initial,
    next_arrival,
    occupy,
    pass_time,
)
from toolkit.simulator.world import unknown
from toolkit.trace import Trace
from toolkit.workload import Workload

EXECUTOR = "executor"
"""Kind of these spans."""

_APART = 1e-7
"""Seconds between two events that a live engine shows one after the other."""


class _Event(NamedTuple):
    """In the order in which events of one instant happen."""

    seen: float
    rank: int  # arrivals, executors, tasks
    task: int
    order: int  # of one task: its start, its end
    kind: int
    subject: int
    at: float
    slot: int


class RecordedBatches:
    """An :class:`~toolkit.live.Engine` that repeats a run of batches.

    Args:
        trace: The trace.
        run: Which of its runs.
        cut: When the recording was cut if it was, s; where that is not known, at the horizon.
        planned: Whether the tasks of the trace are those of the workload. Where a user's own
            command ran, the state was shown the planned ones as done when the command was.

    Raises:
        ConfigError: When the run has no decisions.
        CorruptError: When spans do not tell what they should.
    """

    def __init__(
        self, trace: Trace, run: int, cut: float = np.inf, *, planned: bool = True
    ) -> None:
        if len(trace.of("decisions", run)) == 0:
            raise ConfigError(f"run {run} of the trace has no decisions to replay")
        jobs = trace.of("jobs", run).sort_by("job").to_pydict()
        events = [
            _Event(seen, 0, -1, 0, ARRIVED, job, at, -1)
            for job, seen, at in zip(
                jobs["job"], jobs["arrived_seen"], jobs["arrived_at"], strict=True
            )
            if seen is not None
        ]
        slots: dict[int, list[tuple[float, int]]] = {}
        for span in trace.of("spans", run).to_pylist():
            if span["kind"] != EXECUTOR:
                continue
            node, slot, asked, shown = _place(span, run)
            slots.setdefault(node, []).append((asked if shown is None else shown, slot))
            if shown is not None:
                events.append(_Event(shown, 1, -1, 0, RETURNED, slot, asked, slot))
        for places in slots.values():
            places.sort()
        if planned:
            events += _tasks(trace.of("tasks", run).to_pydict(), slots)
            self._served: list[tuple[float, int]] = []
        else:
            self._served = sorted(
                (at, job)
                for job, at in zip(jobs["job"], jobs["finished_at"], strict=True)
                if at is not None
            )
        self._events = sorted(events)
        self._instants = instants_of(trace, run)
        self._cut = cut

    def start(self, workload: Workload) -> Scene:
        """Begin again at the first event."""
        self._left = list(self._events)
        self._event = self._epoch = self._jobs = self._done = 0
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        return self._scene

    def act(self, key: int) -> None:
        """Carry out a choice on the state; what it led to has been recorded."""
        s, state = self._scene.known, self._scene.state
        job, count = int(state.cursor[BATCH]), int(granted(s, key))
        choose(s, key)
        employ(s, key, count)
        begin(s, job)

    def advance(self, until: float) -> None:
        """Apply what was seen before the next recorded decision; ``until`` is not consulted."""
        s, state = self._scene.known, self._scene.state
        state.cursor[STAGE] = CLOSED
        last = self._epoch >= len(self._instants)
        boundary = np.inf if last else float(self._instants[self._epoch])
        self._epoch += 1
        held: list[_Event] = []
        while self._event < len(self._left) and self._left[self._event].seen <= boundary:
            event = self._left[self._event]
            while self._done < len(self._served) and self._served[self._done][0] < event.seen:
                self._serve()
            self._event += 1
            if event.seen == boundary and self._follows(event):
                held.append(event)
            else:
                self._apply(event)
        self._event -= len(held)
        self._left[self._event : self._event + len(held)] = held
        while self._done < len(self._served) and self._served[self._done][0] <= boundary:
            self._serve()
        if state.done:
            return
        if not last:
            pass_time(s, boundary)
            open_epoch(s, bool(next_arrival(s, self._jobs) < np.inf))
        elif (end := min(self._cut, until)) < np.inf:
            pass_time(s, end)

    def _follows(self, event: _Event) -> bool:
        """Return whether an event of the instant of a decision is what the decision leads to."""
        if event.kind == RETURNED:
            return event.at >= event.seen
        status = self._scene.state.status
        known = event.kind != ARRIVED and 0 <= event.subject < len(status)
        return known and int(status[event.subject]) in (BLOCKED, DONE)

    def _apply(self, event: _Event) -> None:
        scene = self._scene
        check_event(scene, event.kind, event.subject)
        if event.kind == ARRIVED:
            self._jobs += 1
        elif event.kind == STARTED:
            if not 0 <= event.slot < len(scene.state.up):
                raise CorruptError(
                    f"nothing tells where task {event.subject} ran after {event.seen:.6g} s"
                )
            occupy(scene.known, event.subject, event.slot)
        apply_event(scene.known, event.kind, event.subject, event.at, event.seen)

    def _serve(self) -> None:
        """Show the state the tasks of a batch, one after another and each for no time."""
        ended, job = self._served[self._done]
        self._done += 1
        state, w = self._scene.state, self._scene.workload.arrays
        if not 0 <= job < len(w.arrival):
            raise CorruptError(f"the trace does not fit its scenario: there is no batch {job}")
        for task in range(int(w.job_ptr[job]), int(w.job_ptr[job + 1])):
            for kind in (STARTED, FINISHED):
                seen = max(ended, float(state.time[0]) + _APART)
                self._apply(_Event(seen, 2, task, 0, kind, task, ended, 0))

    def outcome(self) -> Outcome:
        """Return what was recorded."""
        return outcome_of(self._scene)


def _tasks(
    rows: Mapping[str, list[Any]], slots: Mapping[int, list[tuple[float, int]]]
) -> list[_Event]:
    """Return the starts and ends that the state was shown."""
    events = []
    for i, task in enumerate(rows["task"]):
        seen, at = rows["started_seen"][i], rows["started_at"][i]
        if seen is not None:
            places = slots.get(rows["node"][i], [])
            k = bisect_right(places, (seen, np.inf)) - 1
            # As the recorder does where the log does not tell: the first.
            slot = places[k][1] if k >= 0 else 0
            events.append(_Event(seen, 2, task, 0, STARTED, task, at, slot))
        seen, at = rows["finished_seen"][i], rows["finished_at"][i]
        if seen is not None:
            kind = FINISHED if rows["status"][i] == "done" else KILLED
            events.append(_Event(seen, 2, task, 1, kind, task, at, -1))
    return events


def _place(span: Mapping[str, Any], run: int) -> tuple[int, int, float, float | None]:
    """Return node and slot of an executor, when it was asked for or came, and when it was shown."""
    try:
        told = json.loads(span["detail"])
        node, slot = told["node"], told["slot"]
        shown, since = span["finished_at"], span["started_at"]
        if type(node) is int and type(slot) is int and since is not None:
            return node, slot, float(since), shown
    except (TypeError, ValueError, LookupError, RecursionError):
        pass
    raise CorruptError(f"span {span['span']} of run {run} does not say which executor is where")
