"""Learner: what every algorithm is given, and how a training is stepped, stopped and carried on."""

from __future__ import annotations

import contextlib
import importlib
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from toolkit.data.padding import Transitions
from toolkit.errors import ConfigError, require
from toolkit.learning.checkpoint import State, load, save
from toolkit.networks.networks import Ensemble, Network
from toolkit.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor

OnMetric = Callable[[int, Mapping[str, float]], None]
"""Told the number of steps taken and the means of what was measured since it was told last."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a curriculum plays first.

    Args:
        until: Share of the training at which it ends.
        scenario: What is played.
    """

    until: float
    scenario: Scenario

    def __post_init__(self) -> None:
        require(0 < self.until < 1, f"a stage ends at a share in (0, 1), got {self.until}")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What an algorithm learns from.

    Args:
        discount_seconds: τ of the discount exp(−elapsed/τ).
        seed: Fixes initialisation, sampling and the workloads that are played.
        data: What offline algorithms learn from.
        scenario: Where online algorithms play.
        stages: Scenarios that are played before, in order.
        init: The policy that a training goes on from.
        values: Whether the scores of ``init`` are action values rather than logits.
        device: Of torch.
    """

    discount_seconds: float
    seed: int
    data: Transitions | None = None
    scenario: Scenario | None = None
    stages: Sequence[Stage] = ()
    init: Ensemble | None = None
    values: bool = False
    device: str = "cpu"

    def transitions(self, name: str) -> Transitions:
        """Return the dataset.

        Raises:
            ConfigError: When there is none.
        """
        if self.data is None:
            raise ConfigError(f"{name} learns from a dataset", hint="name one: dataset=<id>")
        return self.data

    def played(self, name: str) -> Scenario:
        """Return the scenario.

        Raises:
            ConfigError: When there is none.
        """
        if self.scenario is None:
            raise ConfigError(f"{name} plays a scenario", hint="name one: scenario=<name>")
        return self.scenario


class Learner(Protocol):
    """A training that can be stopped after any step and carried on as if it had not been."""

    @property
    def done(self) -> int:
        """Steps taken."""

    def step(self, most: int) -> tuple[int, Mapping[str, float]]:
        """Learn from one batch.

        Args:
            most: Steps that may still be taken.

        Returns:
            How many were taken, and what was measured.
        """

    def network(self) -> Network:
        """Return what was learnt, on the CPU."""

    def present(self) -> Network:
        """Return the policy as it is now, on the CPU; ``network`` may be the best so far."""

    def worth(self, x: Tensor) -> Tensor | None:
        """Return what states are thought to be worth, in the unit of returns; shape [B].

        Args:
            x: Flat observations, shape [B, W].

        Returns:
            V of a critic, or Q of the best slot; None where no values are learnt.
        """

    def story(self) -> Mapping[str, float]:
        """Return what is to be told of the training as a whole."""

    def state(self) -> State:
        """Return all that decides how the training goes on."""

    def restore(self, state: State) -> None:
        """Go on from a state."""


class Algorithm(ABC):
    """What a YAML of ``conf/algo`` makes; what is not said otherwise plays, and begins anew."""

    n_steps: int
    report_every: int

    title: ClassVar[str]
    repeatable: ClassVar[bool] = True
    """Whether one seed gives the same weights every time."""

    @property
    def name(self) -> str:
        """Name of the algorithm, and of its policies."""
        return self.title

    @property
    def offline(self) -> bool:
        """Whether it learns from a dataset; else it plays."""
        return False

    @property
    def values(self) -> bool:
        """Whether the scores of its networks are action values; else they are logits."""
        return False

    @property
    def goes_on(self) -> bool:
        """Whether it can go on from a policy."""
        return False

    @property
    def staged(self) -> bool:
        """Whether it can go through a curriculum."""
        return False

    @abstractmethod
    def start(self, given: Given) -> Learner:
        """Return a training before its first step."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave.

    Args:
        network: What was learnt.
        curve: Pairs of steps taken and means of what was measured since the pair before.
        story: What is to be told of the training as a whole.
        seconds: What it took, those before the checkpoint that it went on from included.
        seen: Pairs of steps taken and what was seen by whom watched.
    """

    network: Network
    curve: Sequence[tuple[int, Mapping[str, float]]]
    story: Mapping[str, float]
    seconds: float
    seen: Sequence[tuple[int, Mapping[str, Any]]] = ()


def run(
    algorithm: Algorithm,
    given: Given,
    on_metric: OnMetric = lambda *_: None,
    checkpoint: Path | None = None,
    due: Callable[[], bool] = lambda: False,
    watch: Callable[[Learner], Mapping[str, Any]] | None = None,
) -> Trained:
    """Train to the end, from a checkpoint where there is one.

    Args:
        algorithm: What is trained.
        given: What it learns from.
        on_metric: Told every ``report_every`` steps.
        checkpoint: File that the training goes on from, and is written to.
        due: Asked after each batch whether it is time to write it; when it is written decides
            nothing about what is learnt.
        watch: Looks at the training at every point of its curve; what it returns is JSON-able.

    Returns:
        What was learnt, after exactly ``n_steps``.
    """
    began = time.monotonic()
    learner = algorithm.start(given)
    sums: dict[str, list[float]] = {}
    curve: list[tuple[int, Mapping[str, float]]] = []
    seen: list[tuple[int, Mapping[str, Any]]] = []
    if checkpoint is not None and checkpoint.is_file():
        state = load(checkpoint)
        learner.restore(state)
        began -= float(state.numbers["run.seconds"])
        sums = {k: list(v) for k, v in state.numbers["run.sums"].items()}
        curve = [(int(step), values) for step, values in state.numbers["run.curve"]]
        seen = [(int(step), values) for step, values in state.numbers["run.seen"]]
        if curve:
            on_metric(*curve[-1])
    while learner.done < algorithm.n_steps:
        before = learner.done
        taken, measured = learner.step(algorithm.n_steps - before)
        for key, value in measured.items():
            # Not every batch measures everything.
            total, steps = sums.get(key, [0.0, 0])
            sums[key] = [total + value * taken, steps + taken]
        whole = learner.done // algorithm.report_every > before // algorithm.report_every
        if whole or learner.done >= algorithm.n_steps:
            told = {k: total / n for k, (total, n) in sums.items()}
            if watch is not None:
                seen.append((learner.done, watch(learner)))
                told["played"] = float(seen[-1][1]["played"])
            curve.append((learner.done, told))
            on_metric(*curve[-1])
            sums = {}
        if checkpoint is not None and due():
            state = learner.state()
            seconds = time.monotonic() - began
            own: dict[str, Any] = {
                "run.sums": sums, "run.curve": curve, "run.seconds": seconds, "run.seen": seen,
            }  # fmt: skip
            save(checkpoint, State(tensors=state.tensors, numbers={**state.numbers, **own}))
    return Trained(
        network=learner.network(), curve=curve, story=learner.story(),
        seconds=time.monotonic() - began, seen=seen,
    )  # fmt: skip


def silence_gym() -> None:
    """Import gym, which d3rlpy needs beside gymnasium, without its appeal on every start."""
    with contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module("gym")
