"""Cluster: the machines that tasks run on, and the links between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import require


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine, one accelerator, or one logical share of a machine.

    Args:
        name: Unique name.
        cpus: Schedulable CPUs.
        memory: Schedulable memory in bytes.
        gpus: Schedulable GPUs.
        kind: Nodes of one kind run a task equally fast.
        bandwidth: Of its link to every other node, bytes/s; a transfer goes at the lesser of
            its two ends.
        latency: Seconds that its link adds to every transfer.
        logical: Whether several nodes share one physical machine, so that their speeds are
            not independent.
    """

    name: str
    cpus: float
    memory: float
    gpus: float = 0.0
    kind: str = "cpu"
    bandwidth: float = math.inf
    latency: float = 0.0
    logical: bool = False

    def __post_init__(self) -> None:
        require(self.cpus >= 0, f"node {self.name!r} needs cpus >= 0, got {self.cpus}")
        require(self.gpus >= 0, f"node {self.name!r} needs gpus >= 0, got {self.gpus}")
        require(self.cpus + self.gpus > 0, f"node {self.name!r} needs cpus > 0 or gpus > 0")
        require(self.memory > 0, f"node {self.name!r} needs memory > 0 bytes, got {self.memory}")
        require(self.bandwidth > 0, f"node {self.name!r} needs bandwidth > 0, got {self.bandwidth}")
        require(self.latency >= 0, f"node {self.name!r} needs latency >= 0, got {self.latency}")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The nodes, in the order in which a task is fitted to the first that can hold it.

    Args:
        nodes: The machines.
        links: Bandwidth from each node to each other, bytes/s, shape [M, M]; where absent it
            follows from the nodes. The diagonal is not read.
    """

    nodes: tuple[Node, ...]
    links: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        require(len(self.nodes) > 0, "a cluster needs at least one node")
        names = [n.name for n in self.nodes]
        require(len(set(names)) == len(names), f"node names must be unique, got {names}")
        if self.links is not None:
            require(
                len(self.links) == len(names) and all(len(r) == len(names) for r in self.links),
                f"links must be a square table of {len(names)} nodes",
            )
            require(
                all(b > 0 for i, r in enumerate(self.links) for j, b in enumerate(r) if i != j),
                "every link needs bandwidth > 0",
            )

    @property
    def cpus(self) -> float:
        """Schedulable CPUs of all nodes."""
        return sum(n.cpus for n in self.nodes)

    @property
    def memory(self) -> float:
        """Schedulable memory of all nodes, bytes."""
        return sum(n.memory for n in self.nodes)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its nodes, in the order in which they first appear."""
        return tuple(dict.fromkeys(n.kind for n in self.nodes))

    def capacity(self) -> npt.NDArray[np.float64]:
        """Return cpus, memory in bytes and gpus of each node, shape [M, 3]."""
        return np.array([[n.cpus, n.memory, n.gpus] for n in self.nodes], dtype=np.float64)

    def bandwidth(self) -> npt.NDArray[np.float64]:
        """Return the bandwidth from node to node, bytes/s, shape [M, M]; inf on the diagonal."""
        if self.links is not None:
            table = np.array(self.links, dtype=np.float64)
        else:
            own = np.array([n.bandwidth for n in self.nodes], dtype=np.float64)
            table = np.minimum(own[:, None], own[None, :])
        np.fill_diagonal(table, np.inf)
        return table

    def latency(self) -> npt.NDArray[np.float64]:
        """Return what a transfer from node to node costs beside its bytes, s, shape [M, M]."""
        own = np.array([n.latency for n in self.nodes], dtype=np.float64)
        table = own[:, None] + own[None, :]
        np.fill_diagonal(table, 0.0)
        return np.asarray(table)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the nodes as plain mappings."""
        return [asdict(n) for n in self.nodes]

    @staticmethod
    def from_rows(rows: Sequence[Mapping[str, Any]]) -> Cluster:
        """Build a cluster from what :meth:`to_rows` gave."""
        known = Node.__dataclass_fields__
        return Cluster(nodes=tuple(Node(**{k: r[k] for k in known if k in r}) for r in rows))
