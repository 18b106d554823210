"""Peers: what befalls all copies that play the same workload says nothing about a choice.

Arrivals and luck decide most of what follows a decision. Copies that play the same workload with
the same luck meet the same of it at the same simulated time, so that the mean advantage of the
others is a baseline that a critic, which cannot see the future, is unable to give. It depends on
the workload, its luck and the others' draws, never on the choice that it judges. Mao et al.,
Variance Reduction for Reinforcement Learning in Input-Driven Environments, ICLR 2019, arXiv
1807.02264.
"""

from __future__ import annotations

import numpy as np

from toolkit.workload import Floats, Ints, Mask


def others(advantages: Floats, workloads: Ints, times: Floats, alike: int) -> tuple[Floats, Mask]:
    """Return the mean advantage of a decision's peers, and where it has any.

    The peer of a decision in another copy of its group is the latest decision there, in the same
    workload, that was not taken later; there is none where that copy's part of the workload begins
    later or ends earlier.

    Args:
        advantages: Shape [T, N].
        workloads: Seed of the workload that each decision belongs to, shape [T, N].
        times: Simulated time of each decision, s, not falling within a workload; shape [T, N].
        alike: Copies in a group; groups are N / alike neighbours each.
    """
    total, count = np.zeros(advantages.shape), np.zeros(advantages.shape)
    for i in range(advantages.shape[1]):
        first = i // alike * alike
        for j in range(first, first + alike):
            if j == i:
                continue
            for seed in np.intersect1d(workloads[:, i], workloads[:, j]).tolist():
                mine = np.flatnonzero(workloads[:, i] == seed)
                theirs = np.flatnonzero(workloads[:, j] == seed)
                at = np.searchsorted(times[theirs, j], times[mine, i], side="right") - 1
                has = (at >= 0) & (times[mine, i] <= times[theirs[-1], j])
                total[mine[has], i] += advantages[theirs[at[has]], j]
                count[mine[has], i] += 1
    return total / np.maximum(count, 1), count > 0


def less(advantages: Floats, baseline: Floats, has: Mask) -> Floats:
    """Return advantages less the share of the baseline that leaves least variance.

    Args:
        advantages: Any shape.
        baseline: The same shape.
        has: Where there is a baseline; elsewhere advantages stay as they are.
    """
    found = advantages.copy()
    if has.sum() < 2:
        return found
    centred = baseline[has] - baseline[has].mean()
    spread = float((centred**2).mean())
    if spread > 0:
        share = float((centred * advantages[has]).mean()) / spread
        found[has] -= np.clip(share, 0.0, 1.0) * centred
    return found
