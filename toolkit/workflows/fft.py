"""FFT: the task graph of the fast Fourier transform."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from toolkit.errors import require
from toolkit.workflows.graph import Graph, Span, Weights, check_span, drawn, pointers
from toolkit.workload import Indices


@dataclass(frozen=True, kw_only=True)
class FFT(Weights):
    """Fast Fourier transform of m points: 2 m − 1 recursive calls, then m log2 m butterflies.

    Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, section 5.3.2. The calls form a
    binary tree; butterfly i of stage s joins the results i and i xor 2^(s − 1) of the stage
    before. So there are 2 (m − 1) + 2 m log2 m edges and 1 + 2 log2 m levels. In the paper all
    tasks of a level cost the same and so do all edges between two levels, which makes every
    path from entry to exit a critical one.

    Args:
        m: Number of points, a power of two; or (low, high), the powers of two between them
            being equally likely.
        equal_levels: Whether all tasks of a level cost the same, as in the paper.
    """

    m: Span = (4, 16)
    equal_levels: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("m", self.m, 2)
        ends = [self.m] if isinstance(self.m, int) else list(self.m)
        require(all(m & (m - 1) == 0 for m in ends), f"m must be a power of two, got {self.m!r}")

    def graph(self, rng: np.random.Generator) -> Graph:
        """Return one graph, drawn from ``rng``."""
        if isinstance(self.m, int):
            m = self.m
        else:
            m = 1 << drawn((self.m[0].bit_length() - 1, self.m[-1].bit_length() - 1), rng)
        parent_ptr, parents, level = _structure(m)
        return self.weighed(
            f"fft-{m}",
            parent_ptr.copy(),
            parents.copy(),
            rng,
            level=level if self.equal_levels else None,
        )


@lru_cache(maxsize=32)
def _structure(m: int) -> tuple[Indices, Indices, Indices]:
    stages = m.bit_length() - 1
    calls = np.arange(2 * m - 1)
    parents = [(calls[1:] - 1) // 2]
    level = [np.frexp(calls + 1)[1] - 1]
    before = m - 1 + np.arange(m)
    for stage in range(stages):
        i = np.arange(m)
        pair = np.stack([before, before[i ^ (1 << stage)]], axis=1)
        parents.append(np.sort(pair, axis=1).ravel())
        level.append(np.full(m, stages + 1 + stage, dtype=np.int32))
        before = 2 * m - 1 + stage * m + i
    counts = np.concatenate([[0], np.ones(2 * m - 2), np.full(m * stages, 2)]).astype(np.int32)
    return pointers(counts), np.concatenate(parents).astype(np.int32), np.concatenate(level)
