"""Stepping: one compiled call that carries out a choice in each of N episodes.

Compiled code finds the N scenes by the addresses of their handles: a list of references that
compiled code could own takes a second to compile in every process, an array of numbers nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from toolkit.features.observe import observe
from toolkit.features.together import observe_together
from toolkit.simulator.compiled import lean
from toolkit.simulator.kernel import act, proceed
from toolkit.simulator.state import ASK_PROFILE, ASK_TASK, CLOSED, JOBS_DONE, POSITION, STAGE
from toolkit.workload import (
    ALLOCATION,
    CONFIGURATION,
    FAMILY,
    PLACEMENT,
    Floats,
    Indices,
    Ints,
    Mask,
    Vector,
)

REWARD, ELAPSED, TIME, RETURN, DECISIONS, INVALIDS = 0, 1, 2, 3, 4, 5
"""Columns of ``numbers``: reward of the last step and the seconds that it took; the clock, s;
summed reward, decisions and masked actions of the episode."""
OVER, INVALID = 0, 1
"""Columns of ``flags``: how the episode stands; whether the last action was masked."""
GOING, TERMINATED, TRUNCATED, FRESH = 0, 1, 2, 3
"""Values of the flag ``OVER``; a fresh episode has not come to its first choice."""

Flags = npt.NDArray[np.int8]


def _address_of(context: Any, s: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        reference: Any = cgutils.create_struct_proxy(s)(context, builder, value=args[0])  # type: ignore[no-untyped-call]
        return builder.ptrtoint(reference.meminfo, ir.IntType(64))

    return types.int64(s), generate


def _handle_at(context: Any, address: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        reference: Any = cgutils.create_struct_proxy(like)(context, builder)  # type: ignore[no-untyped-call]
        reference.meminfo = builder.inttoptr(args[0], reference.meminfo.type)
        return reference._getvalue()

    return like(types.int64, like), generate


_address: Any = intrinsic(_address_of)
"""Where a handle lies in memory."""
_at: Any = intrinsic(_handle_at)
"""The handle at an address, of the type of another; whoever owns it keeps it alive."""


@lean
def locate(s: Any) -> int:
    """Return the address of a handle, good for as long as Python keeps the handle."""
    return int(_address(s))


@lean
def _cut(s: Any, g: Vector, c: Vector, mask: Mask, keys: Indices) -> int:
    """Describe what would be asked where an episode is cut, as ``toolkit.decision.last_seen``."""
    if s.cursor[STAGE] != CLOSED:
        observe(s, g, c, mask, keys)
    elif s.rules[FAMILY] != CONFIGURATION:
        position = s.cursor[POSITION]
        s.cursor[STAGE] = ASK_TASK if s.rules[FAMILY] == PLACEMENT else ASK_PROFILE
        s.cursor[POSITION] = 0
        observe(s, g, c, mask, keys)
        s.cursor[STAGE] = CLOSED
        s.cursor[POSITION] = position
    return TRUNCATED


@lean
def _carry_on(s: Any, horizon: float, g: Vector, c: Vector, mask: Mask, keys: Indices) -> int:
    """Let time pass until a choice is due and describe it; return how the episode stands."""
    jobs = len(s.arrival)
    while s.totals[JOBS_DONE] < jobs:
        now = s.time[0]
        if now >= horizon:
            return _cut(s, g, c, mask, keys)
        if s.cursor[STAGE] != CLOSED:
            observe(s, g, c, mask, keys)
            return GOING
        proceed(s, horizon)
        asked = s.cursor[STAGE] != CLOSED and s.rules[FAMILY] != ALLOCATION
        if s.time[0] == now and not asked and s.totals[JOBS_DONE] < jobs:
            # There is no horizon, and nothing will ever happen again.
            return _cut(s, g, c, mask, keys)
    return TERMINATED


@lean
def step_all(
    addresses: Ints,
    like: Any,
    actions: Ints,
    horizon: float,
    columns: Ints,
    signed: Floats,
    globals_out: Vector,
    candidates_out: Vector,
    mask_out: Mask,
    keys_out: Indices,
    paid: Floats,
    numbers: Floats,
    flags: Flags,
) -> None:
    """Carry out a choice in each episode that is not over, and go on to the next choice.

    One that is fresh goes on to its first.

    Args:
        addresses: Where the handles lie, shape [N].
        like: Any of them.
        actions: Slots, shape [N]; for one that is masked the first that is not.
        horizon: Seconds after which an episode is truncated.
        columns: The running sum that each term of the reward is the difference of, shape [C].
        signed: Weights with signs, shape [C].
        globals_out: Shape [N, G]; where an episode is cut this and the next three are what would
            be asked there, and where it is done they stay as they are.
        candidates_out: Shape [N, K, F].
        mask_out: Shape [N, K].
        keys_out: Shape [N, K].
        paid: The terms since the last choice, unweighted, shape [N, C].
        numbers: See ``REWARD`` and those beside it, shape [N, 6].
        flags: See ``OVER`` and ``INVALID``, shape [N, 2].
    """
    slots = mask_out.shape[1]
    for i in range(len(addresses)):
        numbers[i, REWARD] = 0.0
        numbers[i, ELAPSED] = 0.0
        paid[i] = 0.0
        flags[i, INVALID] = 0
        if flags[i, OVER] != GOING and flags[i, OVER] != FRESH:
            continue
        s = _at(addresses[i], like)
        begun = s.time[0]
        chosen = flags[i, OVER] == GOING
        if chosen:
            slot = actions[i]
            if slot < 0 or slot >= slots or not mask_out[i, slot]:
                flags[i, INVALID] = 1
                slot = 0
                while slot < slots - 1 and not mask_out[i, slot]:
                    slot += 1
            for k in range(len(columns)):
                paid[i, k] = -s.totals[columns[k]]
            act(s, keys_out[i, slot])
        flags[i, OVER] = _carry_on(
            s, horizon, globals_out[i], candidates_out[i], mask_out[i], keys_out[i]
        )
        numbers[i, TIME] = s.time[0]
        if chosen:
            for k in range(len(columns)):
                paid[i, k] += s.totals[columns[k]]
                numbers[i, REWARD] += signed[k] * paid[i, k]
            numbers[i, ELAPSED] = s.time[0] - begun
            numbers[i, RETURN] += numbers[i, REWARD]
            numbers[i, DECISIONS] += 1.0
            numbers[i, INVALIDS] += flags[i, INVALID]


@lean
def see_all(
    addresses: Ints,
    like: Any,
    flags: Flags,
    globals_out: Vector,
    candidates_out: Vector,
    mask_out: Mask,
    keys_out: Indices,
) -> None:
    """Describe what every process type sees in each allocation that goes on or was cut.

    Args:
        addresses: Where the handles lie, shape [N].
        like: Any of them.
        flags: See ``OVER``, shape [N, 2].
        globals_out: Shape [N, T, G], see :func:`toolkit.features.together.observe_together`.
        candidates_out: Shape [N, T, K, F].
        mask_out: Shape [N, T, K].
        keys_out: Shape [N, T, K].
    """
    for i in range(len(addresses)):
        if flags[i, OVER] == GOING or flags[i, OVER] == TRUNCATED:
            s = _at(addresses[i], like)
            observe_together(s, globals_out[i], candidates_out[i], mask_out[i], keys_out[i])
