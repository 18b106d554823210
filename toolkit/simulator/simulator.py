"""Simulator: an engine whose durations come from a model (counterfactual replay)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from toolkit.errors import ToolkitError
from toolkit.live import Outcome
from toolkit.simulator import kernel
from toolkit.simulator.state import State, initial
from toolkit.workload import Floats, Workload

SIMULATOR = 1
"""Version of the engine's rules; scores of different versions are never mixed."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What an episode's durations and delays really are; no policy sees it.

    Args:
        durations: Seconds of each task under each profile, shape [n, P].
        start_delay: Seconds from hand-over to start, shape [n].
        seen_delay: Seconds from an event to its being seen, shape [n].
    """

    durations: Floats
    start_delay: Floats
    seen_delay: Floats


class TruthModel(Protocol):
    """Draws the truth of a workload; the same workload and seed give the same truth."""

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return durations and delays for ``workload``."""


class Simulator:
    """An :class:`~toolkit.live.Engine` over the compiled kernel.

    Args:
        model: Draws durations and delays.
        seed: Common random numbers: two policies judged with one seed meet the same luck.
    """

    def __init__(self, model: TruthModel, seed: int) -> None:
        self._model = model
        self._seed = seed
        self._workload: Workload | None = None
        self._world: kernel.World | None = None
        self._last: State | None = None

    def start(self, workload: Workload) -> State:
        """Begin an episode."""
        truth = self._model.truth(workload, self._seed)
        n = workload.tasks
        if truth.durations.shape != (n, len(workload.profiles)):
            raise ToolkitError(
                f"the duration model answered shape {truth.durations.shape} for {n} tasks and "
                f"{len(workload.profiles)} profiles"
            )
        self._workload = workload
        self._world = kernel.create(
            workload.arrays, truth.durations, truth.start_delay, truth.seen_delay
        )
        self._last = initial(workload)
        return self._last

    def advance(self, state: State, until: float) -> State:
        """Return the state after ``until``; the argument is left as it was."""
        if self._workload is None or self._world is None:
            raise ToolkitError("the simulator was not started; call start(workload) first")
        after = state.copy()
        kernel.advance(self._world, after, self._workload.arrays, until)
        self._last = after
        return after

    def outcome(self) -> Outcome:
        """Return what truly happened."""
        if self._world is None or self._last is None or self._workload is None:
            raise ToolkitError("the simulator was not started; call start(workload) first")
        world, state, w = self._world, self._last, self._workload.arrays
        last = w.job_ptr[1:] - 1
        finished = np.where(state.left == 0, world.finished[last], np.nan)
        return Outcome(
            ready=state.ready,
            started=world.started,
            finished=world.finished,
            profile=state.profile,
            node=world.node,
            arrived=np.where(np.isnan(state.arrived), np.nan, w.arrival),
            completed=_completed(world.finished, w.job_ptr, finished),
        )


def _completed(finished: Floats, job_ptr: np.ndarray, known: Floats) -> Floats:
    """Return the finish of each job's last task, NaN where a job did not finish."""
    latest = np.maximum.reduceat(np.nan_to_num(finished, nan=-np.inf), job_ptr[:-1])
    return np.where(np.isnan(known), np.nan, latest)
