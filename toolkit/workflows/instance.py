"""Instance: one workflow of a file as a workload, on its own nodes or on a cluster of one's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, CorruptError, NotFoundError, require, unknown
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.workflows import plain, wfformat
from toolkit.workflows.graph import Graph
from toolkit.workload import PLACEMENT, Floats, Workload, assemble

MOST_NODES = 10_000
MOST_SLOTS = 1024
"""Ready tasks that a policy can choose among; one workflow is not to be decided blindfold."""
_LARGEST_CLUSTER_FILE = 2**20


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A workflow, where it runs, and what its file tells beside that.

    Args:
        workload: One job of the placement family; its estimates are the file's durations.
        sigma: Standard deviation of the logarithm of the luck of each task.
        recorded: Makespan that the file reports of a real run, s; None where it reports none.
        notes: What was odd in the file and how it was read.
    """

    workload: Workload
    sigma: float
    recorded: float | None
    notes: tuple[str, ...]

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return the estimates times log-normal luck of mean one."""
        w = workload.arrays
        draws = generator(seed, "luck").standard_normal(workload.tasks)
        luck = np.exp(self.sigma * draws - 0.5 * self.sigma**2)
        return Truth(seconds=w.seconds, scale=w.scale * luck)

    def durations(self, seed: int) -> Floats:
        """Return the true seconds of each task on each node, inf where it does not fit; [n, M]."""
        w = self.workload.arrays
        truth = self.truth(self.workload, seed)
        seconds = truth.seconds[w.type_of][:, w.column] * truth.scale[:, None]
        demand = w.demand[w.profile_of_type[w.type_of]]
        fits = (demand[:, None, :] <= w.capacity[None, :, :] + 1e-9).all(axis=2)
        return np.where(fits, seconds, np.inf)


def read(path: Path, *, cluster: Path | None, bandwidth: float, sigma: float) -> Instance:
    """Return the instance of a workflow file.

    Args:
        path: WfFormat, or the plain JSON of a graph with its nodes and links.
        cluster: A YAML file of nodes to run it on instead of those of the file.
        bandwidth: Of every link that neither file knows, bytes/s.
        sigma: Standard deviation of the logarithm of the luck of each task.

    Raises:
        ConfigError: When neither file says where it runs.
        CorruptError: When a file cannot be read.
    """
    require(0 <= sigma <= 3, f"sigma must be between 0 and 3, got {sigma}")
    require(bandwidth > 0, f"bandwidth must be positive (bytes/s), got {bandwidth}")
    given = _cluster(cluster, bandwidth) if cluster is not None else None
    if plain.sniff(path) == "plain":
        found = plain.read(path)
        if given is None:
            return _plain(found, sigma)
        demand = np.ones((len(found.graph.types), 3)) * [1.0, 1.0, 0.0]
        return _on(found.graph, *given, demand, found.mean_link, sigma, None, ())
    graph, own, facts = wfformat.read(path)
    if given is None:
        if own is None:
            raise ConfigError(
                f"{path} does not say on which machines it ran",
                hint="tell it: toolkit schedule workload=<file> cluster=<yaml>",
            )
        nodes = tuple(
            dataclasses.replace(n, bandwidth=bandwidth) if math.isinf(n.bandwidth) else n
            for n in own.nodes
        )
        given = Cluster(nodes=nodes), {kind: 1.0 for kind in own.kinds}
    # A task takes a core, and no memory where the file does not tell how much.
    cores = np.nan_to_num(np.array(facts.cores, dtype=np.float64), nan=1.0)
    memory = np.nan_to_num(np.array(facts.memory, dtype=np.float64), nan=0.0)
    demand = np.stack([cores, memory, np.zeros(len(cores))], axis=1)
    return _on(graph, *given, demand, "ordered_pairs", sigma, facts.makespan, facts.notes)


def _plain(found: plain.Plain, sigma: float) -> Instance:
    """Every task is a type of its own, because its file tells its seconds on every node."""
    n = found.graph.tasks
    return _instance(
        found.graph,
        found.cluster,
        type_of=np.arange(n),
        scale=np.ones(n),
        seconds=found.seconds,
        demand=np.array([[1.0, 1.0, 0.0]]),
        profile_of_type=np.zeros(n),
        types=tuple(found.graph.label(i) for i in range(n)),
        mean_link=found.mean_link,
        sigma=sigma,
    )


def _on(
    graph: Graph,
    cluster: Cluster,
    speeds: Mapping[str, float],
    demand: Floats,
    mean_link: str,
    sigma: float,
    recorded: float | None,
    notes: tuple[str, ...],
) -> Instance:
    T = len(graph.types)
    work = np.bincount(graph.type_of, weights=graph.work, minlength=T)
    mean = work / np.maximum(np.bincount(graph.type_of, minlength=T), 1)
    mean[mean == 0] = 1.0
    return _instance(
        graph,
        cluster,
        type_of=graph.type_of,
        scale=graph.work / mean[graph.type_of],
        seconds=mean[:, None] / np.array([speeds[k] for k in cluster.kinds])[None, :],
        demand=demand,
        profile_of_type=np.arange(T),
        types=graph.types,
        mean_link=mean_link,
        sigma=sigma,
        recorded=recorded,
        notes=notes,
    )


def _instance(
    graph: Graph,
    cluster: Cluster,
    *,
    type_of: Any,
    scale: Floats,
    seconds: Floats,
    demand: Floats,
    profile_of_type: Any,
    types: tuple[str, ...],
    mean_link: str,
    sigma: float,
    recorded: float | None = None,
    notes: tuple[str, ...] = (),
) -> Instance:
    arrays = assemble(
        family=PLACEMENT,
        type_of=type_of,
        job_ptr=[0, graph.tasks],
        parent_ptr=graph.parent_ptr,
        parents=graph.parents,
        data=graph.data,
        arrival=[0.0],
        scale=scale,
        seconds=seconds,
        demand=demand,
        cluster=cluster,
        profile_of_type=profile_of_type,
        mean_link=mean_link,
        slots=min(graph.tasks, MOST_SLOTS),
    )
    workload = Workload(
        types=types,
        cluster=cluster,
        arrays=arrays,
        seed=0,
        labels=tuple(graph.label(i) for i in range(graph.tasks)),
    )
    return Instance(workload=workload, sigma=sigma, recorded=recorded, notes=notes)


_KEYS = {
    "kind": "node",
    "count": 1,
    "speed": 1.0,
    "cpus": 1.0,
    "memory": 1024.0,
    "gpus": 0.0,
    "bandwidth": None,
    "latency": 0.0,
}


def _cluster(path: Path, bandwidth: float) -> tuple[Cluster, dict[str, float]]:
    """Read ``nodes: [{kind, count, speed, cpus, memory in GiB, gpus, bandwidth, latency}]``."""
    try:
        if path.stat().st_size > _LARGEST_CLUSTER_FILE:
            raise CorruptError(f"{path} is too large for a list of nodes")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"there is no cluster file {str(path)!r}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    groups = document.get("nodes") if isinstance(document, dict) else None
    if not isinstance(groups, list) or not groups or not all(isinstance(g, dict) for g in groups):
        raise CorruptError(
            f"{path} must hold a list of nodes",
            hint="e.g. nodes: [{kind: a100, count: 4, speed: 2.5, memory: 40, gpus: 1}]",
        )
    nodes: list[Node] = []
    speeds: dict[str, float] = {}
    for group in groups:
        for key in group:
            if key not in _KEYS:
                raise unknown("key of a node", str(key), list(_KEYS))
        values = {**_KEYS, "bandwidth": bandwidth, **group}
        kind = str(values.pop("kind"))
        try:
            numbers = {k: float(v) for k, v in values.items()}
        except (TypeError, ValueError) as error:
            raise CorruptError(f"{path}: a value of node {kind!r} is no number") from error
        count, speed = int(numbers.pop("count")), numbers.pop("speed")
        require(
            1 <= count <= MOST_NODES - len(nodes),
            f"{path}: {kind!r} needs a count of 1 or more, and {MOST_NODES} nodes at most in all",
        )
        require(speed > 0, f"{path}: {kind!r} needs speed > 0, got {speed}")
        require(speeds.get(kind, speed) == speed, f"{path}: nodes of kind {kind!r} differ in speed")
        speeds[kind] = speed
        nodes += [
            Node(
                name=f"{kind}-{len(nodes) + i}",
                kind=kind,
                cpus=numbers["cpus"],
                memory=numbers["memory"] * 2**30,
                gpus=numbers["gpus"],
                bandwidth=numbers["bandwidth"],
                latency=numbers["latency"],
            )
            for i in range(count)
        ]
    return Cluster(nodes=tuple(nodes)), speeds
