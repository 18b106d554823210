"""Input-dependent baseline: what the same jobs with the same luck gave to others at that time.

Mao et al., Variance Reduction for Reinforcement Learning in Input-Driven Environments, ICLR 2019,
arXiv 1807.02264, as Decima uses it on whole episodes (section 5.3 of
doi:10.1145/3341302.3342080).
"""

from __future__ import annotations

import numpy as np

from toolkit.learning.peers import others
from toolkit.workload import Floats, Mask

_LEAST = 1e-8


def advantages(rewards: Floats, times: Floats, alive: Mask, *, tau: float, alike: int) -> Floats:
    """Return discounted returns less the mean of those that the others had at that time, [T, N].

    The others of an episode play the same workload; one that has ended has a return of 0. What
    another had at a time is what followed its latest selection until then.

    Args:
        rewards: Paid between a selection and the next, shape [T, N].
        times: Of each selection, s, and where an episode is over of its end; shape [T + 1, N].
        alive: Whether an episode was going, a prefix of each column; shape [T, N].
        tau: τ of the discount exp(−elapsed/τ), s.
        alike: Neighbours that play the same workload; 1: nothing is compared.
    """
    T, N = rewards.shape
    returns = np.zeros((T + 1, N))
    fade = np.exp(-np.diff(times, axis=0) / tau)
    for t in reversed(range(T)):
        returns[t] = np.where(alive[t], rewards[t] + fade[t] * returns[t + 1], 0.0)
    if alike > 1:
        # An episode that is over goes on for ever with nothing to come.
        endless = np.vstack([times, np.full((1, N), np.inf)])
        padded = np.vstack([returns, np.zeros((1, N))])
        same = np.broadcast_to(np.arange(N) // alike, (T + 2, N))
        baseline, _ = others(padded, same, endless, alike)
        returns = returns - baseline[:-1]
    return np.where(alive, returns[:-1], np.nan)


def standardised(advantage: Floats, alike: int) -> Floats:
    """Return advantages less their mean, by their spread, of each workload; shape [T, N].

    Else those of a few workloads in which queues grow would drown all others.

    Args:
        advantage: NaN where an episode was over, shape [T, N].
        alike: Neighbours that play the same workload.
    """
    found = advantage.copy()
    for first in range(0, found.shape[1], alike):
        told = found[:, first : first + alike]
        some = told[~np.isnan(told)]
        if len(some):
            told -= some.mean()
            told /= some.std() + _LEAST
    return found
