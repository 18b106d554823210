"""Trace → decisions with all features, by factual replay: what was recorded is asked again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from toolkit.decision import Decision, decide
from toolkit.errors import ConfigError, CorruptError
from toolkit.live import Episode, rollout
from toolkit.progress import say
from toolkit.replays.logs import INFERRED, InferredRun, inferred_runs
from toolkit.replays.recordings import (
    LeftOutError,
    Opener,
    Recording,
    believing,
    opener_of,
    seconds,
    whole,
)
from toolkit.reward import REWARDS, Reward
from toolkit.simulator.recorded import Forced
from toolkit.simulator.rules import open_epoch
from toolkit.simulator.state import CLOSED, STAGE
from toolkit.trace import Trace
from toolkit.workload import ALLOCATION, FAMILIES, Workload


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One run of a trace, replayed factually.

    Args:
        run: Which run.
        seed: Seed of its workload, where it has one.
        policy: Its behaviour policy; ``log`` where the decisions are inferred.
        began: When the run began, unix s, where the trace says it.
        workload: What arrived.
        weights: The reward under which it was replayed.
        episode: Its steps, as a rollout gives them.
        inferred: Whether its decisions were read from what ran.
        invalid: Which recorded choices the mask forbids or no slot shows, shape [steps].
        same: Decisions whose features equal, bit by bit, what the policy was shown; of a log,
            those that are inferred now as they were at its import.
        closing: What would have been asked next, where the episode was truncated.
    """

    run: int
    seed: int | None
    policy: str
    began: float | None
    workload: Workload
    weights: Reward
    episode: Episode
    inferred: bool
    invalid: npt.NDArray[np.bool_]
    same: int
    closing: Decision | None


def replays(trace: Trace, weights: Reward | None = None) -> Iterator[Replayed]:
    """Yield every run with decisions, one at a time; what cannot be replayed is said.

    Args:
        trace: A recording, or an import with inferred decisions.
        weights: Of the reward; those of the recording where absent, for logs those of
            ``toolkit.replays.logs.TOLD``.

    Raises:
        ConfigError: When no run can be replayed.
        CorruptError: When the trace contradicts itself or what it says makes no sense.
    """
    deciding = set(pc.unique(trace.tables["decisions"]["run"]).to_pylist())
    with believing("its runs"):
        runs = [r for r in trace.runs() if whole(r, "run") in deciding]
    logs = [r for r in runs if r.get(INFERRED) is not None]
    count, reasons = 0, []
    opened: Opener | None = None
    for about in (r for r in runs if r.get(INFERRED) is None and r["mode"] != "sweep"):
        try:
            opened = opened or opener_of(trace)
            with believing(f"run {about['run']}"):
                recording = opened(about)
        except LeftOutError as error:
            reasons.append(error)
            continue
        yield _replayed(trace, about, recording, weights)
        count += 1
        del recording  # One run is in memory at a time.
    for run in inferred_runs(trace, logs, weights):
        yield _of_log(run)
        count += 1
        del run
    if reasons and count:
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        say(f"left out: {reasons[0].message}{more}")
    if count == 0:
        raise (
            reasons[0]
            if reasons
            else ConfigError(
                "the trace has no run with decisions to replay",
                hint="record some: toolkit collect; or infer them from a log: infer=placement",
            )
        )


def _replayed(
    trace: Trace, about: Mapping[str, Any], recording: Recording, weights: Reward | None
) -> Replayed:
    run, workload = whole(about, "run"), recording.workload
    chosen = recording.weights if weights is None else weights
    kind = REWARDS[workload.family]
    if not isinstance(chosen, kind):
        raise ConfigError(f"a run of {FAMILIES[workload.family]} is paid by {kind.__name__}")
    forced = Forced(trace, run)
    invalid: list[bool] = []

    def choose(decision: Decision) -> tuple[int, float | None]:
        action, propensity = forced.chooser(decision)
        if not 0 <= action < len(decision.mask):
            raise CorruptError(
                f"run {run}: decision {len(invalid)} chose slot {action} of {len(decision.mask)}"
            )
        invalid.append(not decision.mask[action])
        if invalid[-1] and workload.family != ALLOCATION:
            raise CorruptError(
                f"run {run}: decision {len(invalid) - 1} chose what the mask forbids: the trace "
                "does not fit its scenario"
            )
        return action, propensity

    episode = rollout(recording.engine, workload, choose, horizon=recording.horizon, weights=chosen)
    return Replayed(
        run=run,
        seed=None if about.get("seed") is None else whole(about, "seed"),
        policy=str(about.get("policy")),
        began=seconds(about, "began_unix"),
        workload=workload,
        weights=chosen,
        episode=episode,
        inferred=False,
        invalid=np.array(invalid, dtype=np.bool_),
        same=forced.same,
        closing=_closing(episode),
    )


def _of_log(run: InferredRun) -> Replayed:
    episode = run.steps.episode(run.found.scene)
    return Replayed(
        run=whole(run.about, "run"),
        seed=None,
        policy="log",
        began=seconds(run.about, "began_unix"),
        workload=run.found.scene.workload,
        weights=run.weights,
        episode=episode,
        inferred=True,
        invalid=run.steps.invalid,
        same=run.same,
        closing=_closing(episode),
    )


def _closing(episode: Episode) -> Decision | None:
    """Return what is asked at the end of an episode that was truncated, if anything can be."""
    scene = episode.scene
    if episode.terminated:
        return None
    if int(scene.state.cursor[STAGE]) == CLOSED and scene.workload.family != ALLOCATION:
        open_epoch(scene.known, True)
    return None if int(scene.state.cursor[STAGE]) == CLOSED else decide(scene)
