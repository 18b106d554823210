"""One seed gives named, independent generators."""

from __future__ import annotations

import zlib

import numpy as np

GATE = 5000
"""Seed of the first workload on which policies are compared while they learn; those below are
recorded, those from 10,000 on are for evaluations."""


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator that belongs to ``seed`` and a path of names.

    The same seed and names give the same stream on every machine and for every hash seed;
    different names give independent streams, so one consumer never shifts another's numbers.

    Args:
        seed: The user's seed, a non-negative integer.
        names: What the numbers are for, e.g. ``"workload"`` or ``("policy", 3)``.
    """
    keys = tuple(n if isinstance(n, int) else zlib.crc32(n.encode()) for n in names)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=keys)))
