"""What all process types see at the first turn of an instant, for those that choose at once."""

from __future__ import annotations

from typing import Any

from toolkit.features.allocation import featurise
from toolkit.simulator.compiled import lean
from toolkit.simulator.state import POSITION
from toolkit.workload import Indices, Mask, Vector


@lean
def observe_together(
    s: Any, globals_out: Vector, candidates_out: Vector, mask_out: Mask, keys_out: Indices
) -> None:
    """Describe the choice of every process type as if it were its turn, in place.

    Where no type has chosen in this instant yet, each sees what the others chose for the last
    interval. The scene is left as it was.

    Args:
        s: The scene, of the family allocation.
        globals_out: Shape [T, G], a row per process type.
        candidates_out: Shape [T, K, F].
        mask_out: Shape [T, K].
        keys_out: Shape [T, K].
    """
    asked = s.cursor[POSITION]
    for position in range(len(s.order)):
        s.cursor[POSITION] = position
        t = s.order[position]
        featurise(s, globals_out[t], candidates_out[t], mask_out[t], keys_out[t])
    s.cursor[POSITION] = asked
