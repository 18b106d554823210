"""Warm start: how an offline policy is gone on from without losing it.

After Uni-O4 (arXiv 2311.03351), O2PPO (arXiv 2412.18855) and WSRL (arXiv 2412.07762): a critic that
is fitted to the rollouts of the policy as it is (neither an expectile nor a pessimistic Q is its
value), small first steps, a pull towards the offline policy that fades, and a gate that goes back
to the best policy so far when the return falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import require
from toolkit.learning.play import play
from toolkit.networks.networks import Ensemble
from toolkit.scenarios.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """How an offline policy is gone on from.

    Args:
        critic_steps: Decisions of the offline policy, at most, on which the critic alone learns.
        explained: Share of the variance of returns that the critic must explain before.
        ramp: Decisions over which the actor's learning rate grows from nothing.
        anchor: Weight of the divergence from the offline policy at first.
        anchored: Share of the training over which this weight falls to nothing.
        temperatures: Candidates for the temperature that turns action values into a policy; the
            warmest is taken that plays nearly as well as the best.
        tolerated: Fall of the return below the best so far, relative to its size, at which the
            gate goes back.
    """

    critic_steps: int = 131_072
    explained: float = 0.5
    ramp: int = 65_536
    anchor: float = 0.1
    anchored: float = 0.5
    temperatures: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3)
    tolerated: float = 0.05

    def __post_init__(self) -> None:
        require(self.critic_steps >= 0 and self.ramp >= 0, "algo.warm_start counts decisions")
        require(self.explained < 1, "algo.warm_start.explained must be below 1")
        require(self.anchor >= 0, "algo.warm_start.anchor must not be negative")
        require(0 < self.anchored <= 1, "algo.warm_start.anchored must be in (0, 1]")
        require(
            len(self.temperatures) > 0 and min(self.temperatures) > 0,
            "algo.warm_start.temperatures must be positive",
        )
        require(self.tolerated > 0, "algo.warm_start.tolerated must be positive")


def temperature_of(
    network: Ensemble,
    scenario: Scenario,
    seeds: Sequence[int],
    candidates: Sequence[float],
    *,
    tolerated: float,
    device: str = "cpu",
) -> float:
    """Return the warmest temperature whose draws from softmax(Q / T) play nearly as well as any.

    Args:
        network: Its scores are action values.
        scenario: What is played.
        seeds: Of the workloads.
        candidates: Temperatures.
        tolerated: Return given up for a warmer one, relative to the size of the best.
        device: Where the network lies.
    """
    reached = {}
    for temperature in sorted(candidates):
        cooled = Ensemble(list(network.members), temperature)
        returns = play(cooled, scenario, seeds, sampled=True, device=device).returns
        reached[temperature] = float(returns.mean())
    best = max(reached.values())
    return max(t for t, r in reached.items() if r >= best - tolerated * abs(best))
