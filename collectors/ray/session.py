"""Start Ray on loopback, or join a cluster; leave it as it was."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from collectors.ray.loopback import be_quiet, folder, on_loopback
from collectors.ray.reaper import guarded
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, EngineError, ResourceError, ToolkitError, require
from toolkit.progress import say
from toolkit.scenarios.pipelines import MIB, Pipelines

_WORKER_MEMORY = 350 * MIB
_BASE_MEMORY = 700 * MIB


class LostTaskError(EngineError):
    """Ray lost an attempt of a task: its worker or node died, or was out of memory."""


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """A node of the cluster and Ray's name for it."""

    id: str
    node: Node


@dataclass(frozen=True, kw_only=True)
class LogicalNode:
    """A node of a cluster on this machine, which shares its hardware with the others.

    Args:
        cpus: That work may use.
        memory: That work may use, MiB.
    """

    cpus: int
    memory: float

    def __post_init__(self) -> None:
        require(
            isinstance(self.cpus, int) and self.cpus >= 1,
            f"collector.nodes: a node needs a whole number of cpus, got {self.cpus!r}",
        )
        require(
            self.memory >= 1, f"collector.nodes: a node needs memory in MiB, got {self.memory!r}"
        )


@contextmanager
def session(
    address: str | None,
    store_memory: int,
    scenario: Pipelines,
    logical: Sequence[LogicalNode] = (),
) -> Iterator[list[RayNode]]:
    """Start Ray on loopback, or join a cluster, and leave it as it was afterwards.

    Args:
        address: ``host:port`` of a cluster; None starts one.
        store_memory: Memory of the object store of a cluster that is started, MiB.
        scenario: Says how many cpus and how much memory work may use.
        logical: Nodes of a cluster to start on this machine; without any it is one node.

    Yields:
        The nodes that work may use.

    Raises:
        ResourceError: When memory does not suffice for Ray's object store and workers.
        EngineError: When Ray does not start or the address does not answer.
    """
    be_quiet()
    if address is None:
        check_memory(store_memory, scenario, logical)
    else:
        _check_answers(address)
    order: list[str] = []
    with ExitStack() as started:
        try:
            with on_loopback():
                if address is None and logical:
                    say(f"starting a Ray cluster of {len(logical)} logical nodes on loopback")
                    order = _start_cluster(logical, store_memory, started)
                elif address is None:
                    say("starting Ray on loopback")
                    ray.init(
                        address="local",
                        num_cpus=int(scenario.cpus),
                        _memory=int(scenario.memory * MIB),
                        object_store_memory=store_memory * MIB,
                        include_dashboard=False,
                        log_to_driver=False,
                        logging_level="ERROR",
                        _node_ip_address="127.0.0.1",
                        # A worker that was killed for being idle starts again amid a run, which
                        # holds a task back for seconds and slows down those beside it.
                        _system_config={"idle_worker_killing_time_threshold_ms": 3_600_000},
                    )
                else:
                    say(f"joining the Ray cluster at {address}")
                    _show_token()
                    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise EngineError(
                f"Ray could not be started: {str(error).splitlines()[0][:200]}",
                hint="a cluster of your own that asks for a token: RAY_AUTH_MODE=token toolkit "
                "collect ray.address=<host:port>; to see the whole error: add --traceback",
            ) from error
        with guarded(folder()), started.pop_all() as running:
            running.callback(ray.shutdown)
            yield _nodes(address, scenario, order)


def _start_cluster(
    logical: Sequence[LogicalNode], store_memory: int, started: ExitStack
) -> list[str]:
    """Start logical nodes and connect to them; returns Ray's names for them, in their order."""
    from ray.cluster_utils import Cluster as RayCluster

    # A folder of its own: Ray notes in its common one which cluster others should join.
    place = started.enter_context(
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    )
    cluster = RayCluster()
    started.callback(cluster.shutdown)
    names = []
    for k, node in enumerate(logical):
        head = {"include_dashboard": False, "temp_dir": place} if k == 0 else {}
        added = cluster.add_node(
            num_cpus=node.cpus,
            memory=int(node.memory * MIB),
            object_store_memory=store_memory * MIB,
            node_ip_address="127.0.0.1",
            **head,
        )
        names.append(str(added.node_id))
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    return names


def _show_token() -> None:
    """Let Ray show its own token, where this user has one, as ``ray start`` does.

    A cluster that asks for none ignores it. Ray reads, sends and keeps the token itself.
    """
    from ray._private.authentication import authentication_token_setup as authentication

    authentication.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens at once; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise ConfigError(
            f"ray.address must be host:port or auto, got {address[:80]!r}",
            hint="toolkit collect ray.address=127.0.0.1:6379",
        )
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"no Ray cluster answers at {address[:80]}: {error}",
            hint="start one with 'ray start --head', or leave ray.address out",
        ) from error


def check_memory(
    store_memory: int, scenario: Pipelines, logical: Sequence[LogicalNode] = ()
) -> None:
    """Refuse, before Ray starts, what this machine's memory cannot hold.

    Raises:
        ResourceError: Saying what is needed and what is free.
    """
    store = store_memory * MIB * max(1, len(logical))
    cpus = sum(n.cpus for n in logical) or int(scenario.cpus)
    work = sum(n.memory for n in logical) or scenario.memory
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free < store:
        raise ResourceError(
            f"Ray's object store needs {store // MIB} MiB of shared memory but "
            f"{shared} has {shutil.disk_usage(shared).free // MIB} MiB free",
            hint="give it less: toolkit collect ray.store_memory=<MiB, at least 80>",
        )
    base = _BASE_MEMORY * max(1, len(logical))
    need = store + base + cpus * _WORKER_MEMORY + int(work * MIB)
    free = psutil.virtual_memory().available
    if free < need:
        raise ResourceError(
            f"a recording needs about {need // MIB} MiB of memory for Ray's store, "
            f"{cpus} workers and their data, but {free // MIB} MiB are available",
            hint="close something, or ask for less: toolkit collect ray.store_memory=80",
        )


def _nodes(address: str | None, scenario: Pipelines, order: Sequence[str]) -> list[RayNode]:
    alive = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) > 0]
    hosts = [n["NodeManagerHostname"] for n in alive]
    nodes = []
    rank = {name: k for k, name in enumerate(order)}
    for n in sorted(alive, key=lambda n: (rank.get(n["NodeID"], 0), str(n["NodeID"]))):
        resources = n["Resources"]
        own = address is None and not order
        nodes.append(
            RayNode(
                id=n["NodeID"],
                node=Node(
                    name="local" if own else _name(n["NodeID"], rank),
                    cpus=float(resources["CPU"]),
                    memory=scenario.memory * MIB if own else float(resources.get("memory", 0.0)),
                    logical=hosts.count(n["NodeManagerHostname"]) > 1,
                ),
            )
        )
    if not nodes:
        raise EngineError("the Ray cluster has no node with CPUs that work may use")
    return nodes


def _name(node: str, rank: Mapping[str, int]) -> str:
    return f"logical-{rank[node]}" if node in rank else node[:12]


def cluster_of(nodes: Sequence[RayNode]) -> Cluster:
    """Return the nodes as the cluster that a workload runs on."""
    return Cluster(nodes=tuple(n.node for n in nodes))


def on(node: RayNode) -> NodeAffinitySchedulingStrategy:
    """Return what pins a task to a node."""
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def get(refs: Any) -> Any:
    """Return the values of references; a task's own error comes back as itself."""
    try:
        return ray.get(refs)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, ToolkitError):
            raise cause from error
        raise EngineError(f"a task failed on Ray: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        raise _lost(error) from error


def following(stream: Any) -> Any:
    """Return the next result of a task that has several.

    Raises:
        LostTaskError: When the attempt was lost.
        EngineError: When there are no more.
    """
    try:
        return next(stream)
    except ray.exceptions.RayError as error:
        raise _lost(error) from error
    except StopIteration as error:
        # The results of a worker that died just end; the task itself says why.
        get(stream.completed())
        raise EngineError("a task ended on Ray without saying so") from error


def _lost(error: Exception) -> LostTaskError:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return LostTaskError(f"Ray lost a task: {said[0][:200]}")
