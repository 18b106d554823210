"""Cluster: the machines that tasks run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import require


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine, or one logical share of a machine.

    Args:
        name: Unique name.
        cpus: Schedulable CPUs.
        memory: Schedulable memory in bytes.
        logical: Whether several nodes share one physical machine, so that their speeds are
            not independent.
    """

    name: str
    cpus: float
    memory: float
    logical: bool = False

    def __post_init__(self) -> None:
        require(self.cpus > 0, f"node {self.name!r} needs cpus > 0, got {self.cpus}")
        require(self.memory > 0, f"node {self.name!r} needs memory > 0 bytes, got {self.memory}")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The nodes, in the order in which a task is fitted to the first that can hold it."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        require(len(self.nodes) > 0, "a cluster needs at least one node")
        names = [n.name for n in self.nodes]
        require(len(set(names)) == len(names), f"node names must be unique, got {names}")

    @property
    def cpus(self) -> float:
        """Schedulable CPUs of all nodes."""
        return sum(n.cpus for n in self.nodes)

    @property
    def memory(self) -> float:
        """Schedulable memory of all nodes, bytes."""
        return sum(n.memory for n in self.nodes)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the nodes as plain mappings."""
        return [
            {"name": n.name, "cpus": n.cpus, "memory": n.memory, "logical": n.logical}
            for n in self.nodes
        ]

    @staticmethod
    def from_rows(rows: Sequence[Mapping[str, Any]]) -> Cluster:
        """Build a cluster from what :meth:`to_rows` gave."""
        return Cluster(
            nodes=tuple(
                Node(
                    name=str(r["name"]),
                    cpus=float(r["cpus"]),
                    memory=float(r["memory"]),
                    logical=bool(r.get("logical", False)),
                )
                for r in rows
            )
        )
