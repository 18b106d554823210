"""Simulator: an engine whose durations come from a model (counterfactual replay)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from toolkit import reward
from toolkit.errors import ToolkitError
from toolkit.live import Episode, Outcome, chooser, outcome_of, rollout
from toolkit.policies.policy import Policy
from toolkit.simulator import kernel, world
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import initial
from toolkit.workload import DUPLICATE, Floats, Indices, Workload

SIMULATOR = 3
"""Version of the engine's rules; scores of different versions are never mixed."""


def _none() -> Floats:
    return np.zeros(0)


def _nowhere() -> Indices:
    return np.zeros(0, dtype=np.int32)


def _no_delay() -> Floats:
    return np.zeros(1)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What an episode's durations and delays really are; no policy sees it.

    A task takes ``seconds[type, column] * scale[task]``, or ``seconds[task, column]`` where there
    is no scale.

    Args:
        seconds: Shape [T, C], or [n, C] where there is no scale.
        scale: Shape [n] or [0].
        start_delay: Seconds from hand-over to start, shape [1] or [n].
        seen_delay: Seconds from an event to its being seen, shape [1] or [n].
        startup: Seconds that executors take to start: one number, or one by how many start at
            once, shape [S].
        rates: Speed of tasks by the cpus in use on their machine, linear between whole numbers
            and constant beyond the last; shape [L + 1], or [0] where nothing contends.
        machine: The machine that each node is on, from 0; shape [M], or [0]: each on its own.
        outages: Times in ascending order, nodes, and ``LOST``, ``RETURNED`` or ``KILLED``.
    """

    seconds: Floats
    scale: Floats = field(default_factory=_none)
    start_delay: Floats = field(default_factory=_no_delay)
    seen_delay: Floats = field(default_factory=_no_delay)
    startup: Floats | float = 0.0
    rates: Floats = field(default_factory=_none)
    machine: Indices = field(default_factory=_nowhere)
    outages: tuple[Floats, Indices, Indices] | None = None


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
        self._scene: Scene | None = None

    def start(self, workload: Workload) -> Scene:
        """Begin an episode."""
        self._scene = scene_of(workload, self._model.truth(workload, self._seed))
        return self._scene

    def act(self, key: int) -> None:
        """Carry out a choice."""
        kernel.act(self._started().handle, key)

    def advance(self, until: float) -> None:
        """Let time pass until a choice is due, ``until``, or every job has finished."""
        kernel.advance(self._started().handle, until)

    def outcome(self) -> Outcome:
        """Return what truly happened."""
        return outcome_of(self._started())

    def _started(self) -> Scene:
        if self._scene is None:
            raise ToolkitError("the simulator was not started; call start(workload) first")
        return self._scene


def simulated(
    model: TruthModel,
    policy: Policy,
    workload: Workload,
    seed: int,
    *,
    horizon: float,
    weights: reward.Reward,
    record: bool = True,
) -> Episode:
    """Run one episode of a policy.

    Args:
        model: Draws durations and delays.
        policy: Who decides; it is prepared for the workload.
        workload: What arrives.
        seed: Of the luck, and of what the policy draws.
        horizon: Seconds after which the episode is truncated.
        weights: Weights of the reward.
        record: Whether to keep the steps.
    """
    policy.reset(workload)
    return rollout(
        Simulator(model, seed),
        workload,
        chooser(policy, seed),
        horizon=horizon,
        weights=weights,
        record=record,
    )


def scene_of(workload: Workload, truth: Truth) -> Scene:
    """Return an episode before anything has arrived.

    Raises:
        ToolkitError: When the truth is of another shape than the workload.
    """
    w = workload.arrays
    rows = len(w.seconds) if len(truth.scale) else workload.tasks
    wanted = (rows, w.seconds.shape[1])
    if truth.seconds.shape != wanted or len(truth.scale) not in (0, workload.tasks):
        raise ToolkitError(
            f"the duration model answered shapes {truth.seconds.shape} and {truth.scale.shape} "
            f"where {wanted} and ({workload.tasks},) were expected"
        )
    _check_contention(workload, truth)
    true = world.create(
        w,
        np.ascontiguousarray(truth.seconds),
        np.ascontiguousarray(truth.scale),
        np.ascontiguousarray(truth.start_delay),
        np.ascontiguousarray(truth.seen_delay),
        truth.startup,
        truth.outages,
        np.ascontiguousarray(truth.rates, dtype=np.float64),
        np.ascontiguousarray(truth.machine).astype(np.int32, casting="same_kind"),
    )
    return Scene(workload=workload, state=initial(workload), world=true)


def _check_contention(workload: Workload, truth: Truth) -> None:
    if not len(truth.rates):
        return
    nodes = len(workload.arrays.capacity)
    speeds = np.isfinite(truth.rates) & (truth.rates > 0)
    if truth.rates.ndim != 1 or len(truth.rates) < 2 or not speeds.all():
        raise ToolkitError(
            f"rates must be positive speeds at loads 0, 1, …; got {truth.rates.tolist()}"
        )
    if truth.machine.shape not in ((0,), (nodes,)) or (truth.machine < 0).any():
        raise ToolkitError(
            f"machine must name one of each of the {nodes} nodes, got {truth.machine.tolist()}"
        )
    if workload.arrays.rules[DUPLICATE]:
        raise ToolkitError(
            "where tasks contend, parents cannot be executed again beside their children",
            hint="leave out the rates, or use a scenario with duplicate=false",
        )
