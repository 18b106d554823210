"""What a sweep says of the devices: seconds of each type, bandwidth and latency of the links."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.cluster import Cluster
from toolkit.errors import EngineError
from toolkit.scenarios.torch_dags import Measured
from toolkit.workload import Floats


def estimate(
    types: Sequence[str],
    cluster: Cluster,
    runs: Sequence[tuple[int, int, bool, float]],
    moves: Sequence[tuple[int, int, float, float]],
) -> Measured:
    """Return what a sweep has measured.

    Args:
        types: Types of task.
        cluster: The nodes.
        runs: Type, node, whether warm, and seconds of each execution that nothing ran beside.
        moves: Source, target, bytes and seconds of each transfer.

    Raises:
        EngineError: When a type never ran to its end on some kind of node.
    """
    kinds = cluster.kinds
    kind_of = [kinds.index(n.kind) for n in cluster.nodes]
    found: dict[tuple[int, int], dict[bool, list[float]]] = {}
    for type_of, node, warm, took in runs:
        found.setdefault((type_of, kind_of[node]), {True: [], False: []})[warm].append(took)
    seconds = np.empty((len(types), len(kinds)))
    for t, name in enumerate(types):
        for c, kind in enumerate(kinds):
            measured = found.get((t, c))
            if measured is None:
                raise EngineError(
                    f"{name} never ran to its end on {kind}",
                    hint="leave this size out of the scenario's operations",
                )
            # The first run of a kind loads code; it counts where there is no other.
            seconds[t, c] = np.median(measured[True] or measured[False])
    M = len(cluster.nodes)
    bandwidth, latency = np.full((M, M), math.inf), np.zeros((M, M))
    for a in range(M):
        for b in range(M):
            sent = np.array([(size, took) for i, j, size, took in moves if (i, j) == (a, b)])
            if a != b and len(sent):
                bandwidth[a, b], latency[a, b] = _line(sent[:, 0], sent[:, 1])
    pairs = (latency + latency.T) / 2
    own = pairs.sum(axis=1) / max(1, M - 1) / 2
    return Measured(
        types=tuple(types), kinds=kinds, seconds=seconds, bandwidth=bandwidth, latency=own
    )


def _line(size: Floats, took: Floats) -> tuple[float, float]:
    """Return bandwidth and latency of the line through the medians of the sizes."""
    sizes = np.unique(size)
    medians = np.array([np.median(took[size == s]) for s in sizes])
    if len(sizes) > 1:
        # By relative error, so that the small ones say what the latency is.
        weight = 1.0 / medians
        columns = np.stack([sizes, np.ones(len(sizes))], axis=1) * weight[:, None]
        slope, start = np.linalg.lstsq(columns, medians * weight, rcond=None)[0]
        if slope > 0 and start >= 0:
            return float(1.0 / slope), float(start)
    return float((sizes / medians).max()), 0.0
