"""Executors: when each came and went and what it had, a row of ``nodes`` each."""

from __future__ import annotations

from typing import Any

import msgspec

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.clock import Clock
from collectors.spark.resources import Resources

MOST_MANAGERS = 100_000
"""Block managers of one application that are remembered."""


class Node:
    """An executor."""

    __slots__ = (
        "added",
        "cpus",
        "detail",
        "gpus",
        "index",
        "memory",
        "name",
        "removed",
        "requested",
    )

    def __init__(self, index: int, name: str) -> None:
        self.index, self.name = index, name
        self.cpus: float | None = None
        self.memory: float | None = None
        self.gpus: float | None = None
        self.requested: int | None = None
        self.added: int | None = None
        self.removed: int | None = None
        self.detail: dict[str, Any] = {}


class Executors:
    """Takes the events of executors.

    Args:
        run: Where the rows go.
        clock: Tells the seconds.
        resources: What each executor was asked to have.
    """

    def __init__(self, run: RunWriter, clock: Clock, resources: Resources) -> None:
        self._run = run
        self._report = run.completeness
        self._clock = clock
        self._resources = resources
        self._nodes: list[Node] = []
        self._block_managers: dict[str, int] = {}
        self.named: dict[str, Node] = {}
        """The latest executor of each name."""

    def added(self, e: events.ExecutorAdded) -> None:
        """Take the registration of an executor."""
        known = self.named.get(e.executor)
        if known is not None and known.added is not None and known.removed is None:
            self._clock.repair("nodes", f"executor {e.executor[:80]} was added twice")
            return
        if known is not None and known.added is None and known.removed is None:
            node = known  # a task named it before
        else:
            node = self.meet(e.executor, e.info.host)
        info = e.info
        node.added = info.registered or e.at
        node.requested = info.requested
        node.cpus = float(info.cores) if info.cores is not None and info.cores >= 0 else None
        for kind, given in (info.resources or {}).items():
            if kind == "gpu":
                node.gpus = float(len(given.addresses))
        if info.host:
            node.detail["host"] = info.host[:200]
        if info.profile is not None:
            node.detail["resource_profile"] = info.profile
        if e.executor != "driver":  # a local driver does not obey the profile
            needs = self._resources.of_executor(info.profile)
            node.memory = needs.pop("memory", node.memory)
            node.detail.update(needs)

    def meet(self, name: str, host: str | None) -> Node:
        """Return a fresh executor of a name."""
        node = Node(len(self._nodes), name[:200])
        if host:
            node.detail["host"] = host[:200]
        self._nodes.append(node)
        self.named[name] = node
        return node

    def block_manager_added(self, e: events.BlockManagerAdded) -> None:
        """Take the registration of a block manager."""
        # A local driver of some versions is told of by nothing else.
        if e.at is not None and len(self._block_managers) < MOST_MANAGERS:
            self._block_managers.setdefault(e.manager.executor, e.at)

    def removed(self, e: events.ExecutorRemoved) -> None:
        """Take the end of an executor."""
        node = self.named.get(e.executor)
        if node is None:
            node = self.meet(e.executor, None)
        if node.removed is None:
            node.removed = e.at
            if e.reason:
                node.detail["removed"] = redaction.short(e.reason)

    def finish(self) -> None:
        """Write all executors."""
        for node in self._nodes:
            self._write(node)

    def _write(self, node: Node) -> None:
        clock = self._clock
        nodes = self._report.of("nodes")
        nodes.seen += 1
        what = f"of executor {node.name[:80]}"
        if node.added is None and node.name in self._block_managers:
            node.added = self._block_managers[node.name]
            node.detail["added_by"] = "block manager"
        requested = clock.at(node.requested, "nodes", f"the request {what}")
        added = clock.at(node.added, "nodes", f"the registration {what}")
        removed = clock.at(node.removed, "nodes", f"the end {what}")
        if requested is not None and added is not None and added < requested:
            clock.repair("nodes", f"the request {what} came after its registration: left out")
            requested = None
        if removed is not None and added is not None and removed < added:
            clock.repair("nodes", f"the end {what} came before its registration: left out")
            removed = None
        nodes.complete += added is not None
        self._run.add(
            "nodes",
            node=node.index,
            name=node.name,
            kind="cpu",
            cpus=node.cpus,
            memory=node.memory,
            gpus=node.gpus,
            logical=False,
            requested_at=requested,
            added_at=added,
            removed_at=removed,
            detail=msgspec.json.encode(node.detail).decode(),
        )
