"""The torch tasks: what an operation does with its own numbers and those of its parents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from toolkit.workflows.operations import CHANNELS, HEADS, KERNEL, PASSES, WIDTH

if TYPE_CHECKING:
    import torch

NOISE = 2**18
"""Random numbers that are made once; an input repeats them from a place of its own."""


def noise(device: torch.device | str) -> torch.Tensor:
    """Return the random numbers that all inputs are made of, the same on every device."""
    import torch

    rng = torch.Generator().manual_seed(0)
    return torch.randn(NOISE, generator=rng).to(device)


def execute(
    operation: str,
    size: int,
    seed: int,
    parents: Sequence[torch.Tensor],
    pool: torch.Tensor,
    staging: Callable[[int], torch.Tensor],
) -> torch.Tensor:
    """Run a task where ``pool`` lies.

    The same arguments give the same numbers. Means and magnitudes stay near one along a graph of
    any depth, so that no task meets infinities that its siblings do not.

    Args:
        operation: One of ``toolkit.workflows.operations``.
        size: As the operation counts it.
        seed: Where in the noise its own numbers begin.
        parents: What its parents handed on; flat, on the same device.
        pool: What :func:`noise` gave.
        staging: Gives host memory for that many numbers.

    Returns:
        What it hands on, flat and contiguous.
    """
    return _RUN[operation](size, _Inputs(seed, parents, pool, staging)).reshape(-1)


class _Inputs:
    """Makes the operands of a task; the first of them takes in what the parents made."""

    def __init__(
        self,
        seed: int,
        parents: Sequence[torch.Tensor],
        pool: torch.Tensor,
        staging: Callable[[int], torch.Tensor],
    ) -> None:
        self._seed, self._parents, self._pool = seed, parents, pool
        self.staging = staging

    def first(self, *shape: int) -> torch.Tensor:
        """Return noise into which the numbers of the parents are mixed, half and half."""
        mixed = self.other(0, *shape)
        flat = mixed.view(-1)
        for parent in self._parents:
            common = min(len(flat), len(parent))
            flat[:common].lerp_(parent[:common], 0.5)
        return mixed

    def other(self, number: int, *shape: int) -> torch.Tensor:
        """Return noise of its own for a further operand."""
        import torch

        count = 1
        for side in shape:
            count *= side
        moved = self._pool.roll((self._seed * 7919 + number * 104_729) % NOISE)
        values = torch.empty(count, dtype=moved.dtype, device=moved.device)
        whole = count // NOISE * NOISE
        values[:whole].view(-1, NOISE).copy_(moved.expand(whole // NOISE, NOISE))
        values[whole:].copy_(moved[: count - whole])
        return values.view(*shape)


def _matmul(n: int, inputs: _Inputs) -> torch.Tensor:
    return (inputs.first(n, n) @ inputs.other(1, n, n)).mul_(n**-0.5)


def _convolution(n: int, inputs: _Inputs) -> torch.Tensor:
    from torch.nn.functional import conv2d

    weight = inputs.other(1, CHANNELS, CHANNELS, KERNEL, KERNEL)
    weight.mul_((CHANNELS * KERNEL**2) ** -0.5)
    return conv2d(inputs.first(1, CHANNELS, n, n), weight, padding=KERNEL // 2).contiguous()


def _attention(n: int, inputs: _Inputs) -> torch.Tensor:
    from torch.nn.functional import scaled_dot_product_attention

    q = inputs.first(1, HEADS, n, WIDTH)
    k, v = (inputs.other(i, 1, HEADS, n, WIDTH) for i in (1, 2))
    return scaled_dot_product_attention(q, k, v).contiguous()


def _reduction(n: int, inputs: _Inputs) -> torch.Tensor:
    x = inputs.first(n, n)
    means = [x.logsumexp(dim=i % 2) for i in range(PASSES)]
    return sum(means[1:], means[0]).div_(PASSES * 10.0)


def _sort(n: int, inputs: _Inputs) -> torch.Tensor:
    values, _ = inputs.first(n).sort()
    return values


def _transfer(n: int, inputs: _Inputs) -> torch.Tensor:
    """Move numbers to the host and back; where the device is the host, copy them twice."""
    x = inputs.first(n)
    aside = inputs.staging(n)
    aside.copy_(x)
    return x.copy_(aside)


_RUN: dict[str, Callable[[int, _Inputs], torch.Tensor]] = {
    "matmul": _matmul,
    "convolution": _convolution,
    "attention": _attention,
    "reduction": _reduction,
    "sort": _sort,
    "transfer": _transfer,
}
