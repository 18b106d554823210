"""The one featuriser: every family, every engine, every copy of an environment."""

from __future__ import annotations

from typing import Any

from toolkit.features import allocation, configuration, placement
from toolkit.simulator.compiled import lean
from toolkit.workload import (
    ALLOCATION,
    DUPLICATE,
    FAMILY,
    PLACEMENT,
    SLOTS,
    Indices,
    Mask,
    Vector,
    Workload,
)

FEATURISER = 2
"""Version of the features; a policy only reads decisions of the version it was trained on."""

_allocation, _configuration, _placement = (
    allocation.featurise,
    configuration.featurise,
    placement.featurise,
)


@lean
def observe(
    s: Any, globals_out: Vector, candidates_out: Vector, mask_out: Mask, keys_out: Indices
) -> None:
    """Describe the choice that is due, in place.

    Args:
        s: The scene.
        globals_out: Shape [G].
        candidates_out: Shape [K, F].
        mask_out: True where a slot may be chosen, shape [K].
        keys_out: What each slot stands for, shape [K].
    """
    family = s.rules[FAMILY]
    if family == PLACEMENT:
        _placement(s, globals_out, candidates_out, mask_out, keys_out)
    elif family == ALLOCATION:
        _allocation(s, globals_out, candidates_out, mask_out, keys_out)
    else:
        _configuration(s, globals_out, candidates_out, mask_out, keys_out)


def slots_of(workload: Workload) -> int:
    """Return K, the number of slots of every decision about a workload."""
    w = workload.arrays
    if workload.family == PLACEMENT:
        nodes = len(w.capacity) * (2 if w.rules[DUPLICATE] else 1)
        return max(1 + int(w.rules[SLOTS]), nodes)
    return len(w.demand) if workload.family == ALLOCATION else len(w.fleets)


def features_of(workload: Workload) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return name and unit of each of the G global and the F candidate features."""
    if workload.family == PLACEMENT:
        return list(placement.GLOBAL_FEATURES), list(placement.CANDIDATE_FEATURES)
    if workload.family == ALLOCATION:
        named = allocation.global_features(workload.types)
        return named, list(allocation.CANDIDATE_FEATURES)
    return list(configuration.GLOBAL_FEATURES), list(configuration.CANDIDATE_FEATURES)


def sizes_of(workload: Workload) -> tuple[int, int, int]:
    """Return G, K and F of every decision about a workload."""
    if workload.family == ALLOCATION:
        G = allocation.size_of_globals(len(workload.types))
        return G, slots_of(workload), len(allocation.CANDIDATE_FEATURES)
    room = placement if workload.family == PLACEMENT else configuration
    return len(room.GLOBAL_FEATURES), slots_of(workload), len(room.CANDIDATE_FEATURES)
