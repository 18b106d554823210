"""Trace → transitions, by factual replay: the rollout loop over the recorded clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from toolkit.data.transitions import rows
from toolkit.decision import decide
from toolkit.live import rollout
from toolkit.simulator.recorded import Forced, Recorded, scenario_of, workload_of
from toolkit.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """One run of a trace as transitions.

    Args:
        run: Which run.
        policy: Its behaviour policy.
        table: Its transitions.
        same: Decisions whose features equal, bit by bit, what the policy was shown live.
        total: Sum of the rewards.
    """

    run: int
    policy: str
    table: pa.Table
    same: int
    total: float


def reconstruct(trace: Trace) -> Iterator[Reconstructed]:
    """Yield the transitions of every run that was recorded under a policy."""
    scenario = scenario_of(trace)
    for number, about in enumerate(trace.runs("policy")):
        run = int(about["run"])
        workload = workload_of(trace, run)
        forced = Forced(trace, run)
        episode = rollout(
            Recorded(trace, run),
            workload,
            forced.chooser,
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        closing = None if episode.terminated else decide(episode.scene)
        yield Reconstructed(
            run=run,
            policy=str(about["policy"]),
            table=rows(episode, workload, number, run, closing),
            same=forced.same,
            total=sum(s.reward for s in episode.steps),
        )
