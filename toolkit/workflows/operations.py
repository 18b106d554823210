"""Operations: what a torch task of a type and size computes, holds and hands on.

Formulas only: who plans needs no torch, and who runs needs no simulator. A type of task is
written ``operation@size``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.errors import require, unknown

CHANNELS, KERNEL = 64, 3
"""Of a convolution: channels in and out, side of the kernel."""
HEADS, WIDTH = 8, 64
"""Of an attention: heads, and width of each."""
PASSES = 4
"""Of a reduction: how many times it reads its matrix."""
FLOAT = 4
"""Bytes of a float32, in which everything is computed."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One kind of torch task; every formula takes the size.

    Args:
        name: Its name.
        unit: What the size counts.
        flops: Floating-point operations; an exponential counts as one, a comparison as none.
        elements: Numbers that it hands on.
        memory: Bytes that inputs, outputs and what lies between take together.
        seconds: Rough seconds on one core of a present CPU, for simulations.
    """

    name: str
    unit: str
    flops: Callable[[int], float]
    elements: Callable[[int], int]
    memory: Callable[[int], float]
    seconds: Callable[[int], float]

    def bytes(self, size: int) -> float:
        """Return the bytes that it hands on."""
        return float(FLOAT * self.elements(size))


_RATE, _BANDWIDTH = 9e10, 4e9


def _operation(
    name: str,
    unit: str,
    flops: Callable[[int], float],
    elements: Callable[[int], int],
    held: Callable[[int], float],
    extra: Callable[[int], float] = lambda n: 0.0,
) -> Operation:
    """Return an operation; ``held`` counts numbers, ``extra`` seconds beside flops and memory."""

    def seconds(n: int) -> float:
        return 1e-3 + flops(n) / _RATE + FLOAT * held(n) / _BANDWIDTH + extra(n)

    return Operation(
        name=name,
        unit=unit,
        flops=flops,
        elements=elements,
        memory=lambda n: FLOAT * held(n),
        seconds=seconds,
    )


OPERATIONS = {
    o.name: o
    for o in (
        _operation(
            "matmul",
            "rows and columns of both matrices",
            lambda n: 2.0 * n**3,
            lambda n: n * n,
            lambda n: 3.0 * n * n,
        ),
        _operation(
            "convolution",
            f"side of an image of {CHANNELS} channels",
            lambda n: 2.0 * CHANNELS**2 * KERNEL**2 * n * n,
            lambda n: CHANNELS * n * n,
            lambda n: 3.0 * CHANNELS * n * n + CHANNELS**2 * KERNEL**2,
        ),
        _operation(
            "attention",
            f"tokens, with {HEADS} heads of width {WIDTH}",
            lambda n: 4.0 * HEADS * WIDTH * n * n,
            lambda n: HEADS * WIDTH * n,
            lambda n: 5.0 * HEADS * WIDTH * n,
        ),
        _operation(
            "reduction",
            "rows and columns of the matrix",
            lambda n: 3.0 * PASSES * n * n,
            lambda n: n,
            lambda n: 2.0 * n * n,
            lambda n: 1.2e-8 * n * n,
        ),
        _operation(
            "sort",
            "numbers",
            lambda n: 0.0,
            lambda n: n,
            lambda n: 6.0 * n,
            lambda n: 4.7e-9 * n * math.log2(max(2, n)),
        ),
        _operation(
            "transfer",
            "numbers that go to the host and back",
            lambda n: 0.0,
            lambda n: n,
            lambda n: 3.0 * n,
        ),
    )
}
"""The operations by name."""


def type_name(operation: str, size: int) -> str:
    """Return the type of the tasks of an operation and a size."""
    return f"{operation}@{size}"


def parsed(name: str) -> tuple[Operation, int]:
    """Return operation and size of a type of task.

    Raises:
        ConfigError: When it is not written ``operation@size``.
        NotFoundError: When there is no such operation.
    """
    operation, at, size = name.partition("@")
    good = at == "@" and size.isascii() and size.isdigit() and 0 < len(size) <= 9 and int(size) > 0
    require(good, f"a torch task is written operation@size, e.g. matmul@1024; got {name[:80]!r}")
    if operation not in OPERATIONS:
        raise unknown("operation", operation, OPERATIONS)
    return OPERATIONS[operation], int(size)
