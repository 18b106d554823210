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
from toolkit.simulator.state import COST, JOBS_DONE, N_WAITING, SOJOURN, State
from toolkit.workload import Floats, Ints, Workload


class Engine(Protocol):
    """A cluster that runs a workload and tells what it sees.

    The state it returns is advanced by the events of ``toolkit.simulator.state`` and by
    nothing else; ``State.choice`` holds the profiles of tasks submitted from now on.
    """

    def start(self, workload: Workload) -> State:
        """Begin an episode; returns the state at time 0, before anything has arrived."""

    def advance(self, state: State, until: float) -> State:
        """Run until ``until`` seconds or until every job has finished.

        Returns:
            The state afterwards; its clock tells when. May be the same object.
        """

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
        components: The four reward components of the interval, shape [4].
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
        state: The last state.
        terminated: Whether every job finished.
        longest_queue: Greatest number of waiting tasks of one type at any epoch.
    """

    steps: tuple[Step, ...]
    outcome: Outcome
    state: State
    terminated: bool
    longest_queue: int


Chooser = Callable[[Decision], tuple[int, float | None]]


def chooser(policy: Policy, seed: int) -> Chooser:
    """Return the driver's way of drawing a policy's answers with its own generator."""
    rng = generator(seed, "policy")
    return lambda decision: draw(policy, decision, rng)


def rollout(
    engine: Engine,
    workload: Workload,
    choose: Chooser,
    *,
    interval: float,
    horizon: float,
    weights: reward.Weights,
    instants: Sequence[float] | None = None,
    record: bool = True,
) -> Episode:
    """Run one episode: every ``interval`` seconds, ask for one process type after another.

    Args:
        engine: Simulated, recorded or real.
        workload: What arrives.
        choose: Answers a decision with a slot and its probability.
        interval: Seconds between instants of decision.
        horizon: Seconds after which the episode is truncated.
        weights: Weights of the reward.
        instants: The instants of decision where they are known, s; ``interval`` gives those
            that follow.
        record: Whether to keep the steps.
    """
    known = list(instants or ())
    state = engine.start(workload)
    signed = weights.signed()
    steps: list[Step] = []
    longest = 0
    number = 0
    epoch = 0
    types = len(workload.types)
    nothing = np.zeros(4)
    while not state.done and float(state.time[0]) < horizon:
        taken: list[tuple[Decision, int, float | None]] = []
        for position in range(types):
            decision = decide(state, workload, position)
            action, propensity = choose(decision)
            state.choice[decision.subject] = int(decision.keys[action])
            state.chooser[decision.subject] = number
            number += 1
            taken.append((decision, action, propensity))
        before = state.totals[[JOBS_DONE, SOJOURN, COST]]
        start = float(state.time[0])
        epoch += 1
        state = engine.advance(
            state, known[epoch] if epoch < len(known) else max(epoch * interval, start)
        )
        elapsed = float(state.time[0]) - start
        queue = float(state.by_type[:, N_WAITING].max())
        longest = max(longest, int(queue))
        if record:
            paid = reward.components(
                before, state.totals[[JOBS_DONE, SOJOURN, COST]], queue, elapsed
            )
            for i, (decision, action, propensity) in enumerate(taken):
                last = i == types - 1
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
    return Episode(
        steps=tuple(steps),
        outcome=engine.outcome(),
        state=state,
        terminated=state.done,
        longest_queue=longest,
    )
