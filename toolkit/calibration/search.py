"""Search: what cannot be regressed, found by simulating the recorded runs.

Random search first; then Nelder and Mead's simplex (The Computer Journal 7, 1965, 308–313) from
the best that it found. Both losses are kept: random search is the control of what refined it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.calibration.calibration import Calibration, Sought, fit
from toolkit.calibration.durations import BOOSTED, PARAMETRIC
from toolkit.calibration.predict import predict, real
from toolkit.calibration.runs import Runs
from toolkit.policies.policy import Policy
from toolkit.seeding import generator
from toolkit.workload import Floats

_MOST = np.array([1.5, 3.0])
"""Greatest interference and factor of delays."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to search.

    Args:
        random: Points of random search, the first of them all but nothing: (0, 1).
        refine: Points of the simplex.
        runs: Recorded runs that are simulated at each point, at most.
        draws: Simulations of each.
    """

    random: int = 10
    refine: int = 10
    runs: int = 6
    draws: int = 1


def search(
    recorded: Runs,
    runs: Sequence[int],
    policies: Mapping[str, Policy],
    effort: Effort,
    *,
    seed: int = 0,
) -> Calibration:
    """Fit a calibration whose replay of the recorded runs errs least.

    The loss of a point is the mean of |log(simulated / real makespan)| over runs, plus the mean
    cross-validated spread of log work over types.

    Args:
        recorded: A trace.
        runs: To learn from.
        policies: Who decided, by the names of the recording.
        effort: How long to search.
        seed: Of the search.
    """
    plain = fit(recorded, runs, Sought(), seed=seed)
    kinds = plain.durations.kinds
    quick = tuple(PARAMETRIC if k == BOOSTED else k for k in kinds)
    known = [r for r in runs if recorded.about(r)["policy"] in policies]
    step = max(1, len(known) // effort.runs)
    shown = known[::step][: effort.runs]
    tried: list[tuple[float, tuple[float, float]]] = []

    def loss(point: Floats) -> float:
        a, d = (float(v) for v in np.clip(point, 0.0, _MOST))
        made = fit(recorded, runs, Sought(interference=a, delay=d), kinds=quick, seed=seed)
        errors = []
        for run in shown:
            about = recorded.about(run)
            seeds = [int(about["seed"]) + 1_000_003 * k for k in range(effort.draws)]
            told = predict(
                made, made, recorded.workload(run), policies[about["policy"]], seeds
            ).metrics["makespan"]
            errors.append(abs(np.log(np.median(told) / real(recorded, run)["makespan"])))
        spread = [min(e.values()) for e in made.durations.errors if e]
        value = float(np.mean(errors) + np.sqrt(np.mean(spread)) if spread else np.mean(errors))
        tried.append((value, (a, d)))
        return value

    if not shown:
        return plain
    rng = generator(seed, "search")
    points = np.concatenate([[[0.0, 1.0]], rng.random((effort.random - 1, 2)) * _MOST])
    for point in points:
        loss(point)
    best, at = min(tried)
    if effort.refine > 0:
        from scipy.optimize import minimize

        spread = np.array([at, (at[0] + 0.15, at[1]), (at[0], at[1] + 0.3)])
        minimize(
            loss,
            np.array(at),
            method="Nelder-Mead",
            options={"maxfev": effort.refine, "initial_simplex": spread},
        )
    refined, point = min(tried)
    found = fit(
        recorded, runs, Sought(interference=point[0], delay=point[1]), kinds=kinds, seed=seed
    )
    told: dict[str, Any] = {
        "plain": tried[0][0],
        "random": best,
        "refined": refined,
        "evaluations": len(tried),
        "kept": "refined" if refined < best else "random",
        "runs": len(shown),
    }
    return Calibration(**vars(found) | {"search": told})
