"""Nesting: which interval of a thread lies in which, by time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from collectors.gpu.columns import Floats, Ints

ROUNDING = 1.0
"""Microseconds by which intervals of one clock may overlap because times were rounded."""

DEEP = 128
"""Levels of nesting that are found for all intervals at once."""


def parents(thread: Ints, kind: Ints, start: Floats, end: Floats) -> Ints:
    """Return for each interval the innermost of its thread around it, or -1.

    Of equal intervals an annotation is around an op and an op around a call. One that is not
    around an interval need not be looked at, nor what lies between it and the one around it: so
    all intervals climb at once, each to what its candidate has found so far.
    """
    until = np.where(np.isnan(end), start, end)
    order = _by_start(thread, start, until, kind)
    of, low, high = thread[order], start[order], until[order]
    above = np.arange(len(order), dtype=np.int64) - 1
    if len(above):
        above[of != np.concatenate([of[:1], of[:-1]])] = -1
    left = np.flatnonzero(above >= 0)
    for _ in range(DEEP):
        at = above[left]
        apart = (high[at] + ROUNDING < high[left]) | (high[at] <= low[left])
        left = left[apart]
        if not len(left):
            break
        above[left] = above[at[apart]]
        left = left[above[left] >= 0]
    for i in left.tolist():
        # Nested deeper than programs are: one by one, those before it are settled.
        j = int(above[i])
        while j >= 0 and (high[j] + ROUNDING < high[i] or high[j] <= low[i]):
            j = int(above[j])
        above[i] = j
    parent = np.full(len(order), -1, dtype=np.int32)
    inner = above >= 0
    parent[order[inner]] = order[above[inner]]
    return parent


def _by_start(thread: Ints, start: Floats, until: Floats, kind: Ints) -> Ints:
    """Return the order by thread and start; of equal starts the longest, then the kind, first."""
    order = np.lexsort((start, thread))
    of, low = thread[order], start[order]
    tied = (of[1:] == of[:-1]) & (low[1:] == low[:-1])
    some = np.zeros(len(order), dtype=bool)
    some[1:] |= tied
    some[:-1] |= tied
    rows = order[some]
    order[some] = rows[np.lexsort((kind[rows], -until[rows], start[rows], thread[rows]))]
    return np.asarray(order)


def inside_of(parent: Ints, of: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which intervals have one of ``of`` among those around them.

    Each round looks twice as many levels up as the one before.
    """
    above = parent.copy()
    found = np.zeros(len(parent), dtype=bool)
    some = np.flatnonzero(above >= 0)
    found[some] = of[above[some]]
    while len(some):
        at = above[some]
        found[some] |= found[at]
        above[some] = above[at]
        some = some[above[some] >= 0]
    return found


def containing(steps: Ints, process: Ints, start: Floats, end: Floats) -> Ints:
    """Return the step of its process in which each interval starts, or -1."""
    found = np.full(len(start), -1, dtype=np.int32)
    for one in np.unique(process[steps]) if len(steps) else ():
        mine = np.flatnonzero(process[steps] == one)
        mine = mine[np.argsort(start[steps[mine]], kind="stable")]
        rows = np.flatnonzero(process == one)
        at = np.searchsorted(start[steps[mine]], start[rows], side="right") - 1
        candidate = steps[mine][np.maximum(at, 0)]
        inside = (at >= 0) & (start[rows] < end[candidate])
        inside |= (at >= 0) & (rows == candidate)
        found[rows[inside]] = mine[at[inside]]
    return found
