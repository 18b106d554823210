"""The one rollout loop: a policy over an engine, be it simulated, recorded or real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from toolkit import reward
from toolkit.decision import Decision, decide
from toolkit.policies.policy import Policy, draw
from toolkit.seeding import generator
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import CLOSED, N_WAITING, STAGE, settle
from toolkit.workload import ALLOCATION, INTERVAL, Floats, Ints, Workload


class Engine(Protocol):
    """A cluster that runs a workload and tells what it sees.

    The state of the scene that it starts is changed in place, by the events and choices of
    ``toolkit.simulator`` and by nothing else. A choice is due where its cursor says so.
    """

    def start(self, workload: Workload) -> Scene:
        """Begin an episode; returns the scene at time 0, before anything has arrived."""

    def act(self, key: int) -> None:
        """Carry out the choice that is due; ``key`` is one of those of the decision."""

    def advance(self, until: float) -> None:
        """Run until a choice is due, ``until`` seconds, or every job has finished."""

    def outcome(self) -> Outcome:
        """Return what truly happened, after the episode."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the tasks of an episode truly did, by the engine's own clock.

    Args:
        ready: When each task became ready and was submitted, s, shape [n].
        started: Shape [n], s; NaN where a task never started.
        finished: Shape [n], s; NaN where a task never finished.
        profile: Resource profile of each task, -1 where none was set; shape [n].
        node: Index of the node of each task, shape [n].
        arrived: Shape [J], s.
        completed: Shape [J], s; NaN where a job never finished.
    """

    ready: Floats
    started: Floats
    finished: Floats
    profile: Ints
    node: Ints
    arrived: Floats
    completed: Floats


@dataclass(frozen=True, kw_only=True)
class Step:
    """One decision, the answer to it, and what it was paid.

    Args:
        epoch: Index of the instant at which it was taken.
        decision: What was asked.
        action: The slot that was chosen.
        propensity: The probability with which it was chosen; None where unknown.
        elapsed: Seconds until the next decision.
        components: The terms of the reward over the interval, unweighted, shape [C].
        reward: Their weighted sum; 0 until the last choice of an instant.
    """

    epoch: int
    decision: Decision
    action: int
    propensity: float | None
    elapsed: float
    components: Floats
    reward: float


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A finished rollout.

    Args:
        steps: In the order in which they were taken; position is the decision's number.
        outcome: What truly happened.
        scene: The last scene.
        terminated: Whether every job finished.
        longest_queue: Greatest number of waiting tasks of one type at any epoch.
    """

    steps: tuple[Step, ...]
    outcome: Outcome
    scene: Scene
    terminated: bool
    longest_queue: int


Chooser = Callable[[Decision], tuple[int, float | None]]


def chooser(policy: Policy, seed: int) -> Chooser:
    """Return the driver's way of drawing a policy's answers with its own generator."""
    rng = generator(seed, "policy")
    return lambda decision: draw(policy, decision, rng)


def outcome_of(scene: Scene) -> Outcome:
    """Return what the state knows of the tasks, for engines whose state knows everything."""
    s, first = scene.state, scene.workload.arrays.job_ptr[:-1]
    # What was seen last need not have ended last.
    ended = np.fmax.reduceat(s.finished, first)
    return Outcome(
        ready=s.ready,
        started=s.started,
        finished=s.finished,
        profile=s.profile.astype(np.int64),
        node=s.node.astype(np.int64),
        arrived=s.arrived,
        completed=np.where(np.isnan(s.completed), np.nan, ended),
    )


def rollout(
    engine: Engine,
    workload: Workload,
    choose: Chooser,
    *,
    horizon: float,
    weights: reward.Reward,
    instants: Sequence[float] | None = None,
    record: bool = True,
) -> Episode:
    """Run one episode: ask wherever a choice is due, let time pass where none is.

    Args:
        engine: Simulated, recorded or real.
        workload: What arrives.
        choose: Answers a decision with a slot and its probability.
        horizon: Seconds after which the episode is truncated; without an end it is truncated
            where nothing will ever happen again.
        weights: Weights of the reward.
        instants: The instants of decision of an allocation where they are known, s; the
            workload's interval gives those that follow.
        record: Whether to keep the steps.
    """
    known = list(instants or ())
    interval = float(workload.arrays.numbers[INTERVAL])
    columns, signed = reward.columns(weights), reward.signed(weights)
    nothing = np.zeros(len(columns))
    scene = engine.start(workload)
    state = scene.state
    steps: list[Step] = []
    taken: list[tuple[Decision, int, float | None]] = []
    longest = 0
    epoch = 0
    while True:
        if int(state.cursor[STAGE]) != CLOSED:
            if float(state.time[0]) >= horizon:
                break
            decision = decide(scene)
            action, propensity = choose(decision)
            engine.act(int(decision.keys[action]))
            if record:
                taken.append((decision, action, propensity))
            continue
        if state.done or float(state.time[0]) >= horizon:
            break
        before = state.totals[columns]
        start = float(state.time[0])
        epoch += 1
        until = horizon
        if workload.family == ALLOCATION:
            due = known[epoch] if epoch < len(known) else max(epoch * interval, start)
            until = min(due, horizon)
        engine.advance(until)
        elapsed = float(state.time[0]) - start
        settle(scene.known, elapsed)
        longest = max(longest, int(state.by_type[:, N_WAITING].max()))
        paid = state.totals[columns] - before
        for i, (decision, action, propensity) in enumerate(taken):
            last = i == len(taken) - 1
            steps.append(
                Step(
                    epoch=epoch - 1,
                    decision=decision,
                    action=action,
                    propensity=propensity,
                    elapsed=elapsed if last else 0.0,
                    components=paid if last else nothing,
                    reward=float(signed @ paid) if last else 0.0,
                )
            )
        taken = []
        waited = int(state.cursor[STAGE]) == CLOSED or workload.family == ALLOCATION
        if until == np.inf and waited:
            break  # whatever could happen by itself has happened
    return Episode(
        steps=tuple(steps),
        outcome=engine.outcome(),
        scene=scene,
        terminated=state.done,
        longest_queue=longest,
    )
