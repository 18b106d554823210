"""Start Ray on loopback, or join a cluster; leave it as it was."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, EngineError, ResourceError, ToolkitError
from toolkit.progress import say
from toolkit.scenarios.pipelines import MIB, Pipelines

_WORKER_MEMORY = 350 * MIB
_BASE_MEMORY = 700 * MIB


@dataclass(frozen=True, kw_only=True)
class RayNode:
    """A node of the cluster and Ray's name for it."""

    id: str
    node: Node


@contextmanager
def session(address: str | None, store_memory: int, scenario: Pipelines) -> Iterator[list[RayNode]]:
    """Start Ray on loopback, or join a cluster, and leave it as it was afterwards.

    Args:
        address: ``host:port`` of a cluster; None starts one.
        store_memory: Memory of the object store of a cluster that is started, MiB.
        scenario: Says how many cpus and how much memory work may use.

    Yields:
        The nodes that work may use.

    Raises:
        ResourceError: When memory does not suffice for Ray's object store and workers.
        EngineError: When Ray does not start or the address does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    if address is None:
        check_memory(store_memory, scenario)
    else:
        _check_answers(address)
    try:
        with _on_loopback():
            if address is None:
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
                )
            else:
                say(f"joining the Ray cluster at {address}")
                _show_token()
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(
            f"Ray could not be started: {str(error).splitlines()[0][:200]}",
            hint="a cluster of your own that asks for a token: RAY_AUTH_MODE=token toolkit collect "
            "ray.address=<host:port>; to see the whole error: add --traceback",
        ) from error
    try:
        yield _nodes(address, scenario)
    finally:
        ray.shutdown()


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Keep Ray from taking 127.0.0.1 for an address of the network, and from our signals."""
    services = ray._private.services
    original = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    on_stop = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = original
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_stop)


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


def check_memory(store_memory: int, scenario: Pipelines) -> None:
    """Refuse, before Ray starts, what this machine's memory cannot hold.

    Raises:
        ResourceError: Saying what is needed and what is free.
    """
    store = store_memory * MIB
    shared = Path("/dev/shm")
    if shared.is_dir() and shutil.disk_usage(shared).free < store:
        raise ResourceError(
            f"Ray's object store needs {store_memory} MiB of shared memory but "
            f"{shared} has {shutil.disk_usage(shared).free // MIB} MiB free",
            hint="give it less: toolkit collect ray.store_memory=<MiB, at least 80>",
        )
    need = store + _BASE_MEMORY + int(scenario.cpus) * _WORKER_MEMORY + int(scenario.memory * MIB)
    free = psutil.virtual_memory().available
    if free < need:
        raise ResourceError(
            f"a recording needs about {need // MIB} MiB of memory for Ray's store, "
            f"{scenario.cpus:g} workers and their data, but {free // MIB} MiB are available",
            hint="close something, or ask for less: toolkit collect ray.store_memory=80",
        )


def _nodes(address: str | None, scenario: Pipelines) -> list[RayNode]:
    alive = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) > 0]
    hosts = [n["NodeManagerHostname"] for n in alive]
    nodes = []
    for n in sorted(alive, key=lambda n: str(n["NodeID"])):
        resources = n["Resources"]
        own = address is None
        nodes.append(
            RayNode(
                id=n["NodeID"],
                node=Node(
                    name="local" if own else str(n["NodeID"])[:12],
                    cpus=float(resources["CPU"]),
                    memory=scenario.memory * MIB if own else float(resources.get("memory", 0.0)),
                    logical=hosts.count(n["NodeManagerHostname"]) > 1,
                ),
            )
        )
    if not nodes:
        raise EngineError("the Ray cluster has no node with CPUs that work may use")
    return nodes


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
        raise EngineError(f"Ray lost a task: {str(error).splitlines()[0][:200]}") from error
