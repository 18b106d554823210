"""Graphs: what is seen of many scenes at once, as a graph network takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from toolkit.features.graph import Graph
from toolkit.workload import Floats, Indices, Ints, Vector


class Seen(NamedTuple):
    """The graphs of ``B`` scenes end to end: ``V`` nodes, ``E`` edges, ``J`` jobs."""

    x: Vector  # [V, 12] see toolkit.features.graph.FEATURES
    job: Indices  # [V]
    generation: Indices  # [V] edges on the longest way from a node whose parents have finished
    key: Indices  # [V] the task that selecting the node means, -1 where it cannot be selected
    parent: Indices  # [E]
    child: Indices  # [E]
    scene: Indices  # [J] ascending
    scenes: int  # B

    @property
    def option(self) -> Ints:
        """Nodes that can be selected, ascending; shape [A]."""
        return np.flatnonzero(self.key >= 0)

    @property
    def asked(self) -> Ints:
        """Scene of each option, ascending; shape [A]."""
        return self.scene[self.job[self.option]].astype(np.int64)

    @staticmethod
    def of(g: Graph, at: tuple[int, int, int], scenes: int) -> Seen:
        """Return a copy of what was written, see :func:`toolkit.features.graph.describe`."""
        V, E, J = at
        return Seen(
            x=g.x[:V].copy(),
            job=g.job[:V].copy(),
            generation=g.generation[:V].copy(),
            key=g.key[:V].copy(),
            parent=g.parent[:E].copy(),
            child=g.child[:E].copy(),
            scene=g.scene[:J].copy(),
            scenes=scenes,
        )


def joined(several: Sequence[Seen]) -> Seen:
    """Return graphs end to end, scene after scene."""
    if len(several) == 1:
        return several[0]
    nodes = _before([len(s.x) for s in several])
    jobs = _before([len(s.scene) for s in several])
    scenes = _before([s.scenes for s in several])

    def end_to_end(name: str, shift: Indices | None = None) -> Any:
        parts = [getattr(s, name) for s in several]
        whole = np.concatenate(parts)
        return whole if shift is None else whole + np.repeat(shift, [len(p) for p in parts])

    return Seen(
        x=end_to_end("x"),
        job=end_to_end("job", jobs),
        generation=end_to_end("generation"),
        key=end_to_end("key"),
        parent=end_to_end("parent", nodes),
        child=end_to_end("child", nodes),
        scene=end_to_end("scene", scenes),
        scenes=sum(s.scenes for s in several),
    )


def _before(counts: Sequence[int]) -> Indices:
    """Return how many come before each of consecutive groups."""
    return (np.cumsum(counts) - counts).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """Graphs as tensors, nodes in blocks of one generation, the youngest first.

    The children of a node lie in blocks before its own. ``A`` options in all.

    Args:
        x: Shape [V, F].
        job: Of each node, shape [V].
        scene: Of each job, shape [J].
        scenes: B.
        blocks: Nodes of each block; the first holds all that hear of no child.
        child: Nodes that tell, ordered by the block of who hears; shape [E].
        parent: Who hears, counted from the start of its block; shape [E].
        edges: Edges into each block.
        option: Nodes that can be selected, in the order in which they were seen; shape [A].
        of: Scene of each, ascending; shape [A].
    """

    x: Tensor
    job: Tensor
    scene: Tensor
    scenes: int
    blocks: Sequence[int]
    child: Tensor
    parent: Tensor
    edges: Sequence[int]
    option: Tensor
    of: Tensor

    @staticmethod
    def of_seen(seen: Seen, rounds: int) -> Graphs:
        """Return the tensors of what was seen.

        Args:
            seen: Graphs of B scenes.
            rounds: Generations that hear of their children, counted from those whose parents
                have finished; the younger ones are heard of, and hear nothing.
        """
        generation = np.minimum(seen.generation, rounds)
        last = int(generation.max()) if len(generation) else 0
        block = last - generation
        order = np.argsort(block, kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        blocks = np.bincount(block, minlength=last + 1)
        starts = np.cumsum(blocks) - blocks
        kept = np.flatnonzero(generation[seen.parent] < rounds)
        into = block[seen.parent[kept]]
        sort = np.argsort(into, kind="stable")
        kept, into = kept[sort], into[sort]
        return Graphs(
            x=torch.from_numpy(seen.x[order]),
            job=torch.from_numpy(seen.job[order].astype(np.int64)),
            scene=torch.from_numpy(seen.scene.astype(np.int64)),
            scenes=seen.scenes,
            blocks=blocks.tolist(),
            child=torch.from_numpy(place[seen.child[kept]]),
            parent=torch.from_numpy(place[seen.parent[kept]] - starts[into]),
            edges=np.bincount(into, minlength=last + 1).tolist(),
            option=torch.from_numpy(place[seen.option]),
            of=torch.from_numpy(seen.asked),
        )


def log_softmax(scores: Tensor, of: Tensor, scenes: int) -> Tensor:
    """Return the logarithm of the probability of each option within its scene, shape [A].

    Args:
        scores: Shape [A].
        of: Scene of each option, shape [A].
        scenes: B.
    """
    top = scores.new_full((scenes,), -torch.inf)
    top = top.scatter_reduce(0, of, scores.detach(), "amax")
    shifted = scores - top[of]
    total = scores.new_zeros(scenes).index_add(0, of, shifted.exp())
    found: Tensor = shifted - total.log()[of]
    return found


def summed(values: Tensor, of: Tensor, scenes: int) -> Tensor:
    """Return the sums over the options of each scene, shape [B]."""
    return values.new_zeros(scenes).index_add(0, of, values)


def best(scores: Vector | Floats, of: Ints) -> Ints:
    """Return the option of greatest score of each scene, ties to the first; shape [B].

    Args:
        scores: Shape [A].
        of: Scene of each option, ascending; every scene has one at least; shape [A].
    """
    order = np.lexsort((-scores, of))
    first = np.ones(len(of), dtype=np.bool_)
    first[1:] = of[1:] != of[:-1]
    found: Ints = order[first]
    return found
