"""Graph alone: the graph network in compiled code, for playing.

Torch takes longer to start its operations than the graph of a cluster takes to compute. The
weights are those of the module, and so are the scores, but for the order of sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from toolkit.networks.graphs import Seen
from toolkit.simulator.compiled import njit
from toolkit.workload import Indices, Vector

if TYPE_CHECKING:
    from toolkit.networks.graph_network import GraphScorer

_FAR = np.float32(10.0)
_SLOPE = np.float32(0.01)  # of torch's leaky ReLU


class Layers(NamedTuple):
    """A function of two layers."""

    first: Vector  # [inputs, 2 h]
    first_bias: Vector  # [2 h]
    second: Vector  # [2 h, h]
    second_bias: Vector  # [h]


class Weights(NamedTuple):
    """Those of a graph network."""

    mean: Vector  # [F]
    std: Vector  # [F]
    size: Vector  # [F]
    prepare: Layers
    tell: Layers
    hear: Layers
    job_in: Layers
    job_out: Layers
    all_in: Layers
    all_out: Layers
    score: Layers
    last: Vector  # [h]
    last_bias: Vector  # [1]


class GraphAlone:
    """The scores of a graph network with the weights that it has now.

    Args:
        network: On the CPU.
    """

    def __init__(self, network: GraphScorer) -> None:
        silent = network.tell is None
        self._rounds = 0 if silent else network.rounds
        last: Any = network.score[1]
        prepare = _layers(network.prepare)
        self._weights = Weights(
            mean=_of(network.mean),
            std=_of(network.std),
            size=_of(network.size),
            prepare=prepare,
            # Without messages they are never asked.
            tell=prepare if silent else _layers(network.tell),
            hear=prepare if silent else _layers(network.hear),
            job_in=_layers(network.of_job[0]),
            job_out=_layers(network.of_job[1]),
            all_in=_layers(network.of_all[0]),
            all_out=_layers(network.of_all[1]),
            score=_layers(network.score[0]),
            last=_of(last.weight[0]),
            last_bias=_of(last.bias),
        )

    def scores(self, seen: Seen) -> Vector:
        """Return the score of each option, in the order of nodes; shape [A].

        Args:
            seen: Graphs whose nodes stand before their children and whose edges are ordered by
                parent, as :func:`toolkit.features.graph.describe` writes them.
        """
        found: Vector = _scores(
            self._weights,
            seen.x,
            seen.job,
            seen.generation,
            seen.key,
            seen.parent,
            seen.child,
            seen.scene,
            seen.scenes,
            self._rounds,
        )
        return found


def _layers(layers: Any) -> Layers:
    first, second = layers[0], layers[2]
    return Layers(_of(first.weight.T), _of(first.bias), _of(second.weight.T), _of(second.bias))


def _of(tensor: Any) -> Vector:
    found: Vector = np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)
    return found


@njit
def _leaky(x: Vector) -> None:
    for j in range(len(x)):
        x[j] = max(x[j], _SLOPE * x[j])


@njit
def _add(layers: Any, x: Vector, between: Vector, out: Vector) -> None:
    """Add a function of a vector to another."""
    first, second = layers.first, layers.second
    between[:] = layers.first_bias
    for i in range(len(x)):
        for j in range(len(between)):
            between[j] += x[i] * first[i, j]
    _leaky(between)
    last = layers.second_bias.copy()
    for i in range(len(between)):
        for j in range(len(last)):
            last[j] += between[i] * second[i, j]
    _leaky(last)
    for j in range(len(last)):
        out[j] += last[j]


@njit
def _scores(
    w: Any,
    x: Vector,
    job: Indices,
    generation: Indices,
    key: Indices,
    parent: Indices,
    child: Indices,
    scene: Indices,
    scenes: int,
    rounds: int,
) -> Vector:
    V, J, F, h = len(x), len(scene), len(w.mean), len(w.last)
    between = np.empty(2 * h, dtype=np.float32)
    # What enters the score of a node: its features twice, e, y, z.
    node = np.zeros((V, 2 * F + 3 * h), dtype=np.float32)
    told = np.zeros((V, h), dtype=np.float32)
    heard = np.empty(h, dtype=np.float32)
    jobs, y = np.zeros((J, h), dtype=np.float32), np.zeros((J, h), dtype=np.float32)
    every, z = np.zeros((scenes, h), dtype=np.float32), np.zeros((scenes, h), dtype=np.float32)
    edge = len(parent) - 1
    for v in range(V - 1, -1, -1):
        row = node[v]
        for k in range(F):
            value = x[v, k]
            moved = np.log1p(abs(value))
            moved = (moved if value >= 0 else -moved) - w.mean[k]
            row[k] = min(max(moved / w.std[k], -_FAR), _FAR)
            row[F + k] = min(max(value / w.size[k], -_FAR), _FAR)
        e = row[2 * F : 2 * F + h]
        _add(w.prepare, row[: 2 * F], between, e)
        heard[:] = 0.0
        some = False
        while edge >= 0 and parent[edge] == v:
            some = True
            for j in range(h):
                heard[j] += told[child[edge], j]
            edge -= 1
        if some and generation[v] < rounds:
            _add(w.hear, heard, between, e)
        if rounds > 0 and generation[v] > 0:
            # The others have no parent to tell.
            _add(w.tell, e, between, told[v])
        _add(w.job_in, row[: 2 * F + h], between, jobs[job[v]])
    for j in range(J):
        _add(w.job_out, jobs[j], between, y[j])
        _add(w.all_in, y[j], between, every[scene[j]])
    for b in range(scenes):
        _add(w.all_out, every[b], between, z[b])
    found = np.empty(V, dtype=np.float32)
    options = 0
    for v in range(V):
        if key[v] < 0:
            continue
        row = node[v]
        row[2 * F + h : 2 * F + 2 * h] = y[job[v]]
        row[2 * F + 2 * h :] = z[scene[job[v]]]
        heard[:] = 0.0
        _add(w.score, row, between, heard)
        total = w.last_bias[0]
        for j in range(h):
            total += heard[j] * w.last[j]
        found[options] = total
        options += 1
    return found[:options].copy()
