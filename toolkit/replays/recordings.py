"""Recordings: what it takes to replay a run whose decisions were recorded, whoever recorded it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolkit.errors import ConfigError, CorruptError, ToolkitError
from toolkit.live import Engine
from toolkit.reward import Reward, WorkflowWeights
from toolkit.scenarios import torch_dags
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.described import rebuilt
from toolkit.scenarios.pipelines import Pipelines
from toolkit.scenarios.workflows import Workflows
from toolkit.simulator import recorded
from toolkit.simulator.recorded import Recorded
from toolkit.simulator.recorded_batches import RecordedBatches
from toolkit.simulator.recorded_placement import RecordedPlacement
from toolkit.trace import Trace
from toolkit.workload import Workload


class LeftOutError(ConfigError):
    """A run cannot be replayed although nothing is wrong with the trace."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recorded run, ready to be replayed.

    Args:
        workload: What arrived.
        engine: Repeats what happened.
        weights: Of the reward.
        horizon: Seconds after which it is cut.
    """

    workload: Workload
    engine: Engine
    weights: Reward
    horizon: float


Opener = Callable[[Mapping[str, Any]], Recording]
"""Gives the recording of a run by its entry in the provenance."""


@contextmanager
def believing(what: str) -> Iterator[None]:
    """Turn the errors that a stranger's values lead to into one that says so.

    Raises:
        CorruptError: Naming what the trace says wrongly.
    """
    try:
        yield
    except ToolkitError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise CorruptError(
            f"what the trace says of {what} makes no sense: {type(error).__name__}: {error}"
        ) from error


def opener_of(trace: Trace) -> Opener:
    """Return how to open the runs of a trace that were recorded under policies.

    Raises:
        LeftOutError: When it names no scenario that could be replayed.
        CorruptError: When it does, but not one that makes sense.
    """
    source, told = trace.provenance["source"], trace.provenance["scenario"]
    engine = trace.provenance["engine"]
    with believing("its scenario"):
        if isinstance(told, dict) and "profiles" in told:
            return _pipelines(trace, Pipelines.from_dict(told), planned=source == "simulated")
        if isinstance(told, dict) and source == "simulated":
            scenario = rebuilt(told, Workflows | Batches)
            return _simulated(trace, scenario)
        if isinstance(told, dict) and source == "spark":
            return _batches(trace, rebuilt(told, Batches))
        if source == "gpu" and isinstance(engine, dict) and "scenario" in engine:
            weights = rebuilt(engine["scenario"]["weights"], WorkflowWeights, "the weights")
            return _torch(trace, weights)
    raise LeftOutError(
        f"the trace comes from {str(source)[:40]} and names no scenario that could be replayed",
        hint="see the recordings that do: toolkit list what=traces; make one: toolkit collect",
    )


def whole(about: Mapping[str, Any], name: str) -> int:
    """Return a whole number of a run's entry, not negative.

    Raises:
        CorruptError: When it is none.
    """
    value = about.get(name)
    if type(value) is not int or value < 0:
        raise CorruptError(f"the {name} of a run must be a whole number, got {str(value)[:40]!r}")
    return value


def seconds(about: Mapping[str, Any], name: str) -> float | None:
    """Return a time of a run's entry, None where it does not say.

    Raises:
        CorruptError: When it is no finite number.
    """
    value = about.get(name)
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise CorruptError(f"{name} of a run must be in seconds, got {str(value)[:40]!r}")
    return float(value)


def _pipelines(trace: Trace, scenario: Pipelines, *, planned: bool) -> Opener:
    def opened(about: Mapping[str, Any]) -> Recording:
        run = whole(about, "run")
        # What was recorded elsewhere took the features and the arrivals that it took.
        workload = (
            scenario.plan(whole(about, "seed")) if planned else recorded.workload_of(trace, run)
        )
        return Recording(
            workload=workload,
            engine=Recorded(trace, run, scenario.horizon),
            weights=scenario.weights,
            horizon=scenario.horizon,
        )

    return opened


def _simulated(trace: Trace, scenario: Workflows | Batches) -> Opener:
    def opened(about: Mapping[str, Any]) -> Recording:
        run, at_fault = whole(about, "run"), scenario.disturbances
        if min(at_fault.losses, at_fault.preemptions) < math.inf:
            raise LeftOutError(
                f"run {run} lost nodes or tasks, of which its trace does not tell all"
            )
        batches = isinstance(scenario, Batches)
        return Recording(
            workload=scenario.plan(whole(about, "seed")),
            engine=RecordedBatches(trace, run) if batches else RecordedPlacement(trace, run),
            weights=scenario.weights,
            horizon=scenario.horizon,
        )

    return opened


def _batches(trace: Trace, scenario: Batches) -> Opener:
    def opened(about: Mapping[str, Any]) -> Recording:
        run = whole(about, "run")
        # The clock of a live engine has passed the horizon when it is cut.
        ended = seconds(about, "ended_at") if not about.get("terminated", True) else None
        return Recording(
            workload=scenario.plan(whole(about, "seed")),
            engine=RecordedBatches(
                trace,
                run,
                math.inf if ended is None else ended,
                planned=about.get("regime") != "submit",
            ),
            weights=scenario.weights,
            horizon=scenario.horizon if ended is None else ended,
        )

    return opened


def _torch(trace: Trace, weights: WorkflowWeights) -> Opener:
    def opened(about: Mapping[str, Any]) -> Recording:
        run = whole(about, "run")
        if about.get("terminated") is not True:
            raise LeftOutError(f"run {run} was cut short, so that not all of its tasks are known")
        return Recording(
            workload=torch_dags.workload_of(trace, run),
            engine=RecordedPlacement(trace, run),
            weights=weights,
            horizon=math.inf,
        )

    return opened
