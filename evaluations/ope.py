"""Off-policy evaluation: what a policy would have earned, from another's recorded decisions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ConfigError
from toolkit.live import rollout
from toolkit.policies.policy import Policy
from toolkit.simulator.recorded import Forced, Recorded, scenario_of, workload_of
from toolkit.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate from recorded episodes.

    Args:
        value: Of the mean return; NaN where the policy would never have done what was recorded.
        episodes: How many there were.
        effective: How many equally weighted ones they are worth (Kish's effective sample size).
            Near one it is the return of a single episode and says next to nothing.
    """

    value: float
    episodes: int
    effective: float


def require_propensities(trace: Trace) -> None:
    """Refuse a trace whose decisions were not drawn with known probabilities.

    Raises:
        ConfigError: Says how many lack a propensity, and how many of those were inferred.
    """
    decisions = trace.tables["decisions"]
    lacking = decisions["propensity"].null_count
    if len(decisions) and not lacking:
        return
    inferred = int(np.sum(decisions["inferred"].to_numpy(zero_copy_only=False)))
    raise ConfigError(
        f"{lacking:,} of {len(decisions):,} decisions have no propensity, {inferred:,} of them "
        "inferred from a log: with which probability they were chosen is not known, so no "
        "estimate of another policy can be made from them",
        hint="record under a policy that draws: toolkit collect; judge in the replay instead: "
        "toolkit evaluate",
    )


def weighted_importance(
    trace: Trace, policy: Policy, *, discount_seconds: float = math.inf
) -> Estimate:
    """Return the weighted importance sampling estimate of a policy's mean return.

    Each recorded return weighs as much as the product over its decisions of the policy's
    probability by the recorded propensity; the weights are normalised, which biases the estimate
    and keeps its variance finite (Precup, Sutton and Singh, ICML 2000). Long episodes leave few
    that weigh anything: see ``effective``.

    Args:
        trace: Recorded under policies, with propensities.
        policy: What is to be judged.
        discount_seconds: τ of the discount exp(−t/τ).

    Raises:
        ConfigError: When propensities are missing.
    """
    require_propensities(trace)
    scenario = scenario_of(trace)
    returns, log_weights = [], []
    for about in trace.runs("policy"):
        run = int(about["run"])
        workload = workload_of(trace, run)
        policy.reset(workload)
        log_weight = 0.0
        forced = Forced(trace, run).chooser

        def choose(decision, forced=forced):  # type: ignore[no-untyped-def]
            nonlocal log_weight
            action, propensity = forced(decision)
            chance = float(policy.probabilities(decision)[action])
            if propensity is not None:
                log_weight += math.log(chance / propensity) if chance > 0 else -math.inf
            return action, propensity

        episode = rollout(
            Recorded(trace, run),
            workload,
            choose,
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        times = np.array([step.decision.time for step in episode.steps])
        rewards = np.array([step.reward for step in episode.steps])
        returns.append(float(rewards @ np.exp(-times / discount_seconds)))
        log_weights.append(log_weight)
    most = max(log_weights, default=-math.inf)
    if most == -math.inf:
        return Estimate(value=math.nan, episodes=len(returns), effective=0.0)
    weights = np.exp(np.array(log_weights) - most)
    return Estimate(
        value=float(weights @ np.array(returns) / weights.sum()),
        episodes=len(returns),
        effective=float(weights.sum() ** 2 / (weights**2).sum()),
    )
