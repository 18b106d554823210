"""Reference: what known policies and a valid bound reach on a scenario, for a dataset's card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from toolkit import reward
from toolkit.errors import require
from toolkit.live import Episode
from toolkit.planning.return_bound import best_return
from toolkit.policies.policy import Policy
from toolkit.seeding import generator
from toolkit.simulator.simulator import TruthModel, simulated
from toolkit.statistics import bootstrap, mean
from toolkit.workload import Workload

BOUND = "bound"
"""Name of the reference that no policy exceeds."""


class Played(TruthModel, Protocol):
    """What episodes are planned from: a scenario, or a calibration."""

    @property
    def weights(self) -> reward.Reward:
        """Weights of the reward."""

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""

    def plan(self, seed: int) -> Workload:
        """Return one episode; same seed, same workload."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a policy reaches on a scenario; times of the bound are NaN.

    Args:
        policy: Name as in ``conf/policy``, or ``bound``.
        value: Mean return over episodes, undiscounted.
        low: Lower end of the 95 % bootstrap interval of that mean.
        high: Its upper end.
        seeds: Number of episodes.
        latency_mean: Seconds from arrival to completion of the finished jobs, mean over the
            episodes that finished any.
        makespan: Seconds from the first arrival to the last completion, mean over the same.
        truncated: Share of the episodes that were truncated.
    """

    policy: str
    value: float
    low: float
    high: float
    seeds: int
    latency_mean: float
    makespan: float
    truncated: float


class _Played(NamedTuple):
    """Return, mean latency and makespan in s, and whether an episode was truncated."""

    value: float
    latency: float
    makespan: float
    truncated: bool


def references(
    scenario: Played,
    policies: Mapping[str, Policy],
    seeds: Sequence[int],
    *,
    on_episode: Callable[[str], object] | None = None,
) -> dict[str, Reference]:
    """Play every policy on the same workloads with the same luck.

    Args:
        scenario: A scenario or a calibration.
        policies: By name; all of the scenario's family.
        seeds: One episode each: of its workload, its luck and what the policy draws.
        on_episode: Told the policy's name after each episode.

    Returns:
        The references by name, in the order of the policies.

    Raises:
        ConfigError: When there is no seed, or a policy is made for another family.
    """
    _check(seeds)
    found: dict[str, list[_Played]] = {name: [] for name in policies}
    for seed in seeds:
        # Planned once for all, which costs as much as a short episode.
        workload = scenario.plan(seed)
        for name, policy in policies.items():
            episode = simulated(
                scenario, policy, workload, seed,
                horizon=scenario.horizon, weights=scenario.weights, record=False,
            )  # fmt: skip
            found[name].append(_measured(episode, scenario.weights))
            if on_episode is not None:
                on_episode(name)
    return {name: _reference(name, rows) for name, rows in found.items()}


def bound(scenario: Played, seeds: Sequence[int]) -> Reference | None:
    """Return what no policy exceeds on the same episodes, see ``best_return``.

    Args:
        scenario: A scenario or a calibration.
        seeds: As for :func:`references`.

    Returns:
        The mean bound as a reference; None where no bound is known for some episode.

    Raises:
        ConfigError: When there is no seed.
    """
    _check(seeds)
    rows = []
    for seed in seeds:
        workload = scenario.plan(seed)
        value = best_return(
            workload, scenario.truth(workload, seed), scenario.weights, scenario.horizon
        )
        if value is None:
            return None
        rows.append(_Played(value, float("nan"), float("nan"), False))
    return _reference(BOUND, rows)


def choose(found: Mapping[str, Reference], roles: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the best policy for each role, ties to the first name in the alphabet.

    Args:
        found: References by name.
        roles: Names that may fill each role, e.g. ``{"heft": ["heft_static", "srpt_heft"]}``;
            those that were not found are passed over.

    Raises:
        ConfigError: When none of the names of a role was found.
    """
    chosen = {}
    for role, names in roles.items():
        known = [name for name in names if name in found]
        require(
            len(known) > 0,
            f"no reference for the role {role!r}: of {list(names)} none was found",
            hint=f"found were {', '.join(sorted(found)) or 'none'}",
        )
        chosen[role] = min(known, key=lambda name: (-found[name].value, name))
    return chosen


def _check(seeds: Sequence[int]) -> None:
    require(len(seeds) > 0, "references need at least one seed")
    require(len(set(seeds)) == len(seeds), f"seeds must be unique, got {list(seeds)}")


def _measured(episode: Episode, weights: reward.Reward) -> _Played:
    """Return what an episode was worth, without its steps: its sums begin at 0."""
    o = episode.outcome
    done = ~np.isnan(o.completed)
    nothing = float("nan")
    return _Played(
        value=float(reward.signed(weights) @ episode.scene.state.totals[reward.columns(weights)]),
        latency=float((o.completed - o.arrived)[done].mean()) if done.any() else nothing,
        makespan=float(o.completed[done].max() - np.nanmin(o.arrived)) if done.any() else nothing,
        truncated=not episode.terminated,
    )


def _reference(name: str, rows: Sequence[_Played]) -> Reference:
    # The same resampling for all, so that intervals differ by the returns alone.
    interval = bootstrap(
        np.array([r.value for r in rows]), generator(0, "reference"), statistic=mean
    )
    return Reference(
        policy=name,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        seeds=len(rows),
        latency_mean=_mean([r.latency for r in rows]),
        makespan=_mean([r.makespan for r in rows]),
        truncated=float(np.mean([r.truncated for r in rows])),
    )


def _mean(values: Sequence[float]) -> float:
    """Return the mean of what is known, NaN where nothing is."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")
