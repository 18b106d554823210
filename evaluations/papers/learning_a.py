"""Learning in paper A: whether DQN learns less stably than PPO, and values states less surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from evaluations.experiments.arms import Followed
from evaluations.experiments.curves import learning_curves
from evaluations.experiments.stability import (
    apart,
    disagreement,
    disagreements,
    drawdown,
)
from evaluations.papers import judging_a as judging
from evaluations.verdicts.claims import Finding
from evaluations.verdicts.comparison import Compared
from evaluations.verdicts.part import Part
from evaluations.verdicts.report import Picture, Table, interval

PPO, DQN = "ppo", "dqn_online"


def part(trained: Mapping[str, Sequence[Followed]], played: Compared, command: str) -> Part:
    """Return curves, values and findings of A5 and A6.

    Args:
        trained: Trainings of ``PPO`` and ``DQN``.
        played: The open system, with an arm for each of both.
        command: What to type to get it again.
    """
    falls = {a: [drawdown(f.returns) for f in each] for a, each in trained.items()}
    found = apart(falls[DQN], falls[PPO])
    best = played.best("latency_mean")
    latency = played.ratio(DQN, best, "latency_mean")
    values = {a: np.stack([f.values for f in each]) for a, each in trained.items()}
    ratio = disagreements(values[DQN], values[PPO])
    probes = trained[PPO][0].probes
    spread = float(probes.var(ddof=1))
    counts = {a: len(each) for a, each in trained.items()}
    a5 = Finding(
        claim="A5",
        verdict=judging.unstable(found, latency),
        figure=f"the curve of DQN falls back by {interval(found.value, found.low, found.high, 2)} "
        f"of return more than that of PPO; its latency is "
        f"{interval(latency.value, latency.low, latency.high)} of {best}'s",
        why=f"{counts[DQN]} trainings of DQN and {counts[PPO]} of PPO with as many decisions; "
        "confirmed where DQN's curve falls back more and its latency is not below the rule's, "
        "over trainings and workloads",
        command=command,
    )
    a6 = Finding(
        claim="A6",
        verdict=judging.exceeds(ratio),
        figure=f"variance of DQN's values by that of PPO's: "
        f"{interval(ratio.value, ratio.low, ratio.high, 2)}",
        why=f"of {counts[DQN]} and {counts[PPO]} trainings; the value of a state is that of its "
        "best slot for DQN and what the critic says for PPO; where trainings become other "
        "policies, their values differ for that reason too",
        command=command,
    )
    table = pd.DataFrame(
        [
            {
                "algorithm": algo,
                "trainings": counts[algo],
                "decisions": int(each[0].decisions[-1]),
                "seconds each": float(np.mean([f.seconds for f in each])),
                "return in the end": float(np.mean([f.returns[-1] for f in each])),
                "mean fall from the best so far": float(np.mean(falls[algo])),
                "mean value": float(values[algo].mean()),
                "variance of values": disagreement(values[algo]),
                "by variance of returns": disagreement(values[algo]) / spread,
            }
            for algo, each in trained.items()
        ]
    )
    rules = {
        rule: float(played.before[rule]["return_mean"].mean()) for rule in ("static", "reactive")
    }
    n = len(probes)
    return Part(
        tables=[
            Table(
                caption=f"The paper's Table 1: variance over trainings of the value of {n} states "
                "that draws among the allowed profiles pass through on training workloads, "
                "averaged over them; discounted returns from there have mean "
                f"{probes.mean():.1f} and variance {spread:.1f}.",
                frame=table,
            )
        ],
        pictures=[
            Picture(
                name="learning_curves",
                caption="Mean return of the policy as it is after so many decisions, taking its "
                "best slots on the same training workloads: each training thin, their mean with "
                "its 95 % interval (t) over trainings. Lines: rules on the same workloads.",
                draw=partial(learning_curves, {"decisions taken": trained}, rules),
            )
        ],
        findings=[a5, a6],
    )
