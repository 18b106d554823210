"""A linear score over the candidate features: as plain as a policy that can be tuned gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import require, unknown
from toolkit.features.placement import CANDIDATE_FEATURES, GLOBAL_FEATURES, WAIT, featurise
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.simulator.compiled import lean
from toolkit.simulator.kernel import act, proceed
from toolkit.simulator.state import CLOSED, NUMBER, STAGE
from toolkit.workload import PLACEMENT, Floats, Indices, Ints, Mask, Vector, Workload

FEATURES = tuple(name for name, _ in CANDIDATE_FEATURES)
"""Names of the features that may be weighed, in the order of a vector of weights."""

FASTEST = FEATURES.index("fastest seconds")
RUNNING = [name for name, _ in GLOBAL_FEATURES].index("tasks running")
"""Column of the global features."""

PLAIN, SECONDS, COUNT = 0, 1, 2
"""How a feature is transformed, by its unit."""
_UNITS = {"s": SECONDS, "tasks": COUNT}

TRANSFORMS: Ints = np.array([_UNITS.get(unit, PLAIN) for _, unit in CANDIDATE_FEATURES])
"""How each feature is transformed, shape [F]; see :func:`transformed`."""

MOST = 5.0
"""Where a transformed time ends: at 147 times the unit. What is far beyond counts as never."""


@lean
def unit_of(candidates: Vector, mask: Mask) -> float:
    """Return the seconds that count as one: the mean of the least that the offered tasks take.

    So the seconds of a scenario of minutes and of one of hours compare.

    Args:
        candidates: Shape [K, F].
        mask: Shape [K].
    """
    total, count = 0.0, 0
    for i in range(len(mask)):
        if mask[i] and candidates[i, WAIT] == 0.0:
            total += candidates[i, FASTEST]
            count += 1
    return total / count if total > 0.0 else 1.0


@lean
def transformed(value: float, transform: int, unit: float) -> float:
    """Return a feature as it is weighed.

    Seconds x become sign(x) log(1 + abs(x) / unit), at most ``MOST`` in size; a number of tasks x
    becomes log(1 + x); everything else is a share or a ratio and stays.

    Args:
        value: The feature.
        transform: ``PLAIN``, ``SECONDS`` or ``COUNT``.
        unit: See :func:`unit_of`.
    """
    if transform == SECONDS:
        size = min(MOST, np.log1p(abs(value) / unit))
        return float(size if value >= 0.0 else -size)
    if transform == COUNT:
        return float(np.log1p(value))
    return value


@lean
def best_slot(
    globals_: Vector, candidates: Vector, mask: Mask, weights: Floats, transforms: Ints
) -> int:
    """Return the allowed slot of greatest score, ties to the first; waits only for what runs.

    Args:
        globals_: Shape [G].
        candidates: Shape [K, F].
        mask: Shape [K].
        weights: Shape [F].
        transforms: Shape [F].
    """
    unit = unit_of(candidates, mask)
    idle = globals_[RUNNING] == 0.0
    best, top = -1, 0.0
    for i in range(len(mask)):
        if not mask[i] or (idle and candidates[i, WAIT] != 0.0):
            continue
        score = 0.0
        for f in range(len(weights)):
            if weights[f] != 0.0:
                score += weights[f] * transformed(candidates[i, f], transforms[f], unit)
        if best < 0 or score > top:
            best, top = i, score
    return max(0, best)


@lean
def drive(
    s: Any,
    globals_out: Vector,
    candidates_out: Vector,
    mask_out: Mask,
    keys_out: Indices,
    weights: Floats,
    transforms: Ints,
    horizon: float,
) -> tuple[float, float, int]:
    """Play an episode to its end or to the horizon under a vector of weights, in place.

    Args:
        s: The scene with its truth, ``Scene.handle``, before its first choice.
        globals_out: Written on, shape [G].
        candidates_out: Written on, shape [K, F].
        mask_out: Written on, shape [K].
        keys_out: Written on, shape [K].
        weights: Shape [F].
        transforms: Shape [F].
        horizon: Seconds after which nothing is handed over any more.

    Returns:
        The makespan, s, from the first start to the last finish or to the horizon; the mean
        completion time of the jobs that arrived, s, those that are left counting to the horizon;
        the number of choices.
    """
    while True:
        if s.cursor[STAGE] == CLOSED:
            proceed(s, horizon)
        if s.cursor[STAGE] == CLOSED or s.time[0] >= horizon:
            break
        featurise(s, globals_out, candidates_out, mask_out, keys_out)
        slot = best_slot(globals_out, candidates_out, mask_out, weights, transforms)
        act(s, keys_out[slot])
    started, finished, completion, count = np.inf, -np.inf, 0.0, 0
    for job in range(len(s.arrival)):
        if np.isnan(s.arrived[job]):
            continue
        end = horizon if np.isnan(s.completed[job]) else s.completed[job]
        completion += end - s.arrived[job]
        count += 1
        finished = max(finished, end)
        for task in range(s.job_ptr[job], s.job_ptr[job + 1]):
            if s.started[task] < started:
                started = s.started[task]
    return finished - started, completion / max(1, count), int(s.cursor[NUMBER])


def vector(weights: Mapping[str, float]) -> Floats:
    """Return weights by name as a vector, 0 for features that are not named; shape [F].

    Raises:
        NotFoundError: When there is no feature of a name, with the nearest names.
        ConfigError: When a weight is no finite number.
    """
    found = np.zeros(len(FEATURES))
    for name, weight in weights.items():
        if name not in FEATURES:
            raise unknown("candidate feature", str(name), FEATURES)
        require(bool(np.isfinite(weight)), f"the weight of {name!r} must be finite, got {weight}")
        found[FEATURES.index(name)] = weight
    return found


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Takes the slot of greatest weighted sum of its transformed features, ties to the first.

    One vector of weights serves the choice of a task and that of a node; the weight of ``is
    wait`` is what waiting is worth by itself. While nothing runs it does not wait, as the next
    event may be as far away as the next job. :mod:`toolkit.policies.tuning` finds weights.

    Args:
        weights: Weight of each candidate feature of ``toolkit.features.placement`` by its name;
            0 where it is not named.
    """

    weights: Mapping[str, float]

    _vector: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights = {str(name): float(weight) for name, weight in self.weights.items()}
        values = vector(weights)
        require(bool(values.any()), "a linear policy needs at least one weight that is not 0")
        values.flags.writeable = False
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "_vector", values)

    @property
    def name(self) -> str:
        """``linear``."""
        return "linear"

    def reset(self, workload: Workload) -> None:
        """Nothing to prepare.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, PLACEMENT, workload)

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the slot of greatest score, shape [K]."""
        slot = best_slot(
            decision.globals, decision.candidates, decision.mask, self._vector, TRANSFORMS
        )
        return certain(int(slot), len(decision.mask))
