"""Runs: those of a recording, read once: what ran, what was planned and what was added."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from toolkit.calibration.executions import Executions, executions
from toolkit.calibration.overheads import Delayed, delayed
from toolkit.calibration.planned import planned_of
from toolkit.errors import ConfigError
from toolkit.replays.recordings import opener_of
from toolkit.trace import Trace
from toolkit.workload import Workload


class Runs:
    """The runs of a trace, read once: what ran, what was planned and what was added.

    Args:
        trace: A recording.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace, self.planned = trace, planned_of(trace)
        self._opener = opener_of(trace)
        self._known: dict[int, tuple[Workload | None, Executions, Delayed | None]] = {}

    def about(self, run: int) -> Mapping[str, Any]:
        """Return the entry of a run in the provenance."""
        return next(r for r in self.trace.runs() if int(r["run"]) == run)

    @cached_property
    def runs(self) -> list[int]:
        """Runs of policies, in the order of recording."""
        return [int(r["run"]) for r in self.trace.runs("policy") if r.get("terminated", True)]

    @cached_property
    def sweeps(self) -> list[int]:
        """Runs that measured one task at a time."""
        return [int(r["run"]) for r in self.trace.runs("sweep")]

    def workload(self, run: int) -> Workload:
        """Return what arrived in a run."""
        found = self._of(run)[0]
        if found is None:
            raise ConfigError(f"run {run} is a sweep, which has no workload")
        return found

    def executions(self, run: int) -> Executions:
        """Return what ran."""
        return self._of(run)[1]

    def delayed(self, run: int) -> Delayed | None:
        """Return the overheads; None for a sweep."""
        return self._of(run)[2]

    def _of(self, run: int) -> tuple[Workload | None, Executions, Delayed | None]:
        if run not in self._known:
            if run in self.sweeps:
                done = executions(self.planned, self.trace, run, None)
                self._known[run] = None, done, None
            else:
                workload = self._opener(self.about(run)).workload
                self._known[run] = (
                    workload,
                    executions(self.planned, self.trace, run, workload),
                    delayed(self.planned, self.trace, run, workload),
                )
        return self._known[run]
