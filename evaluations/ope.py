"""Off-policy evaluation: what a policy would have earned, from another's recorded decisions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.errors import ConfigError
from toolkit.live import rollout
from toolkit.policies.policy import Policy
from toolkit.seeding import generator
from toolkit.simulator.recorded import Forced, Recorded, scenario_of, workload_of
from toolkit.statistics import Interval
from toolkit.trace import Trace
from toolkit.workload import Floats, Ints, Mask

REPETITIONS = 400
"""Resamples of the episodes for an interval."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate from recorded episodes.

    Args:
        value: Of the mean return, with its 95 % bootstrap interval over episodes; NaN where the
            policy would never have done what was recorded.
        episodes: How many there were.
        effective: How many equally weighted ones they are worth in the end (Kish's effective
            sample size). Near one it is the return of a single episode and says next to nothing.
    """

    value: Interval
    episodes: int
    effective: float


@dataclass(frozen=True, kw_only=True)
class Logged:
    """Recorded decisions, and what a policy would have done in each: E episodes of T at most.

    Args:
        observations: ``[globals | candidates | mask]``, shape [N, W], episode after episode.
        chances: Probability of each slot under the policy, shape [N, K].
        action: Slot that was taken, shape [N].
        row: Row of the t-th decision of each episode, -1 past its end; shape [E, T].
        ratio: Probability under the policy by recorded propensity, 1 past the end; shape [E, T].
        reward: 0 past the end, shape [E, T].
        time: Of the decisions since the start, s; 0 past the end; shape [E, T].
        discount_seconds: τ of the discount exp(−t/τ).
        sizes: G, K and F.
    """

    observations: npt.NDArray[np.float32]
    chances: Floats
    action: Ints
    row: Ints
    ratio: Floats
    reward: Floats
    time: Floats
    discount_seconds: float
    sizes: tuple[int, int, int]

    @property
    def there(self) -> Mask:
        """Whether there is a t-th decision, shape [E, T]."""
        return np.asarray(self.row >= 0)

    @property
    def paid(self) -> Floats:
        """Discounted rewards, shape [E, T]."""
        return self.reward * np.exp(-self.time / self.discount_seconds)


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


def logged(trace: Trace, policy: Policy, *, discount_seconds: float = math.inf) -> Logged:
    """Ask a policy what it would have done in every recorded decision.

    Args:
        trace: Recorded under policies, with propensities.
        policy: What is to be judged.
        discount_seconds: τ of the discount exp(−t/τ).

    Raises:
        ConfigError: When propensities are missing.
    """
    require_propensities(trace)
    scenario = scenario_of(trace)
    seen: list[npt.NDArray[np.float32]] = []
    chances: list[Floats] = []
    actions: list[int] = []
    sizes = (0, 0, 0)
    told: list[list[tuple[int, float, float, float]]] = []
    for about in trace.runs("policy"):
        run = int(about["run"])
        workload = workload_of(trace, run)
        policy.reset(workload)
        forced = Forced(trace, run).chooser
        first = len(actions)

        def choose(decision, forced=forced):  # type: ignore[no-untyped-def]
            chances.append(policy.probabilities(decision))
            return forced(decision)

        episode = rollout(
            Recorded(trace, run),
            workload,
            choose,
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        del chances[first + len(episode.steps) :]
        rows = []
        for step in episode.steps:
            d = step.decision
            sizes = (len(d.globals), *d.candidates.shape)
            flat = (d.globals, d.candidates.ravel(), d.mask)
            seen.append(np.concatenate(flat, dtype=np.float32, casting="unsafe"))
            p, q = float(chances[len(actions)][step.action]), step.propensity
            rows.append((len(actions), 1.0 if q is None else p / q, step.reward, d.time))
            actions.append(step.action)
        told.append(rows)
    E, T = len(told), max(map(len, told))
    row, ratio = np.full((E, T), -1), np.ones((E, T))
    reward, time = np.zeros((2, E, T))
    for i, rows in enumerate(told):
        n = len(rows)
        row[i, :n], ratio[i, :n], reward[i, :n], time[i, :n] = np.array(rows).T
    return Logged(
        observations=np.stack(seen), chances=np.stack(chances), action=np.array(actions), row=row,
        ratio=ratio, reward=reward, time=time, discount_seconds=discount_seconds, sizes=sizes,
    )  # fmt: skip


def importance(given: Logged) -> Estimate:
    """Return the weighted importance sampling estimate of the mean return.

    Each recorded return weighs as much as the product over its decisions of the policy's
    probability by the recorded propensity; the weights are normalised, which biases the estimate
    and keeps its variance finite (Precup, Sutton and Singh, ICML 2000). Long episodes leave few
    that weigh anything: see ``effective``.
    """
    weights, returns = _weights(given.ratio)[:, -1], given.paid.sum(axis=1)

    def value(of: Ints) -> float:
        total = weights[of].sum()
        return float(weights[of] @ returns[of] / total) if total > 0 else math.nan

    return _estimate(value, given)


def per_decision(given: Logged) -> Estimate:
    """Return the weighted per-decision estimate of the mean return.

    A reward weighs by the decisions before it alone, normalised at each of them (Precup, Sutton
    and Singh, ICML 2000; Thomas, "Safe Reinforcement Learning", 2015, section 3.8).
    """
    weights, paid = _weights(given.ratio), given.paid

    def value(of: Ints) -> float:
        share = _share(weights[of])
        return float((share * paid[of]).sum())

    return _estimate(value, given)


def doubly_robust(given: Logged, q: Floats, v: Floats) -> Estimate:
    """Return the weighted doubly robust estimate of the mean return.

    What a model says of each state, corrected by what was paid beyond it (Thomas and Brunskill,
    ICML 2016, eq. 10): right where the model is, and where the weights are.

    Args:
        given: What was recorded.
        q: The model's value of what was done in each decision, shape [N].
        v: Its value of what the policy would do, shape [N].
    """
    weights = _weights(given.ratio)
    before = np.concatenate([np.ones((len(weights), 1)), weights[:, :-1]], axis=1)
    discount = np.where(given.there, np.exp(-given.time / given.discount_seconds), 0.0)
    at = np.maximum(given.row, 0)
    of_action, of_state = discount * q[at], discount * v[at]
    paid = given.paid

    def value(of: Ints) -> float:
        now, earlier = _share(weights[of]), _share(before[of])
        return float((now * (paid[of] - of_action[of]) + earlier * of_state[of]).sum())

    return _estimate(value, given)


def _weights(ratio: Floats) -> Floats:
    """Return the products of ratios so far, scaled within each column to 1 at most; [E, T]."""
    with np.errstate(divide="ignore"):
        logs = np.cumsum(np.log(ratio), axis=1)
    most = logs.max(axis=0)
    return np.asarray(np.exp(logs - np.where(np.isfinite(most), most, 0.0)))


def _share(weights: Floats) -> Floats:
    """Return weights that sum to 1 within each column; NaN where all are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights / weights.sum(axis=0))


def _estimate(value: Callable[[Ints], float], given: Logged) -> Estimate:
    count = len(given.row)
    rng = generator(0, "ope")
    drawn = [value(rng.integers(0, count, count)) for _ in range(REPETITIONS)]
    known = np.array([d for d in drawn if np.isfinite(d)])
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (math.nan, math.nan)
    last = _weights(given.ratio)[:, -1]
    total = float((last**2).sum())
    return Estimate(
        value=Interval(value(np.arange(count)), float(low), float(high)),
        episodes=count,
        effective=float(last.sum() ** 2 / total) if total > 0 else 0.0,
    )
