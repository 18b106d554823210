"""Worked examples of the literature and random graphs that the planners' tests share.

Every task is a type of its own and every node a kind of its own, so a table of costs is
``seconds`` as it stands. Imported by path, never installed.
"""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from toolkit.cluster import Cluster, Node
from toolkit.seeding import generator
from toolkit.workload import PLACEMENT, WorkloadArrays, assemble

REFERENCE = Path(__file__).resolve().parents[3] / "shared"

# Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, figure 2.
TOPCUOGLU_COSTS = (
    (14, 16, 9),
    (13, 19, 18),
    (11, 13, 19),
    (13, 8, 17),
    (12, 13, 10),
    (13, 16, 9),
    (7, 15, 11),
    (5, 11, 14),
    (18, 12, 20),
    (21, 7, 16),
)
TOPCUOGLU_EDGES = (
    (0, 1, 18),
    (0, 2, 12),
    (0, 3, 9),
    (0, 4, 11),
    (0, 5, 14),
    (1, 7, 19),
    (1, 8, 16),
    (2, 6, 23),
    (3, 7, 27),
    (3, 8, 23),
    (4, 8, 13),
    (5, 7, 15),
    (6, 9, 17),
    (7, 9, 11),
    (8, 9, 13),
)
FIGURE2_EDGES = (
    (0, 1, 18),
    (0, 2, 12),
    (0, 3, 19),
    (0, 4, 11),
    (0, 5, 14),
    (1, 6, 19),
    (2, 6, 16),
    (2, 7, 23),
    (3, 7, 27),
    (3, 8, 23),
    (4, 7, 13),
    (4, 8, 15),
    (5, 8, 15),
    (6, 9, 17),
    (7, 9, 11),
    (8, 9, 13),
)

# Arabnejad and Barbosa, TPDS 2014, doi:10.1109/TPDS.2013.57, figure 1.
ARABNEJAD_COSTS = (
    (22, 21, 36),
    (22, 18, 18),
    (32, 27, 43),
    (7, 10, 4),
    (29, 27, 35),
    (26, 17, 24),
    (14, 25, 30),
    (29, 23, 36),
    (15, 21, 8),
    (13, 16, 33),
)
ARABNEJAD_EDGES = (
    (0, 1, 17),
    (0, 2, 31),
    (0, 3, 29),
    (0, 4, 13),
    (0, 5, 7),
    (1, 7, 3),
    (1, 8, 30),
    (2, 6, 16),
    (3, 7, 11),
    (3, 8, 7),
    (4, 8, 57),
    (5, 7, 5),
    (6, 9, 9),
    (7, 9, 42),
    (8, 9, 7),
)


def by_child(tasks, edges):
    """Return ``(parent_ptr, parents, data)`` of edges ``(parent, child, data)``."""
    ordered = sorted((v, u, d) for u, v, d in edges)
    counts = np.bincount([v for v, _, _ in ordered], minlength=tasks)
    return (
        np.concatenate([[0], np.cumsum(counts)]),
        np.array([u for _, u, _ in ordered], dtype=np.int32),
        np.array([d for _, _, d in ordered], dtype=np.float64),
    )


def graph(costs, edges, *, links=None, **settings) -> WorkloadArrays:
    """Return one job, its costs per task and node, its edges ``(parent, child, data)``.

    Links have bandwidth 1 where no table is given: weights of edges are seconds then.
    """
    seconds = np.array(costs, dtype=np.float64)
    n, nodes = seconds.shape
    cluster = Cluster(
        nodes=tuple(
            Node(name=f"p{m}", cpus=1, memory=1, kind=f"k{m}", bandwidth=1.0) for m in range(nodes)
        ),
        links=None if links is None else tuple(tuple(map(float, row)) for row in links),
    )
    parent_ptr, parents, data = by_child(n, edges)
    return assemble(
        **{
            "family": PLACEMENT,
            "type_of": np.arange(n),
            "job_ptr": [0, n],
            "parent_ptr": parent_ptr,
            "parents": parents,
            "data": data,
            "arrival": [0.0],
            "scale": np.ones(n),
            "seconds": seconds,
            "demand": [[1, 1, 0]],
            "profile_of_type": np.zeros(n, dtype=np.int32),
            "cluster": cluster,
            **settings,
        }
    )


def topcuoglu() -> WorkloadArrays:
    """Return the example of the paper that introduced HEFT (80) and CPOP (86)."""
    return graph(TOPCUOGLU_COSTS, TOPCUOGLU_EDGES)


def figure2() -> WorkloadArrays:
    """Return figure 2 of the paper on GPU workflows, with Topcuoglu's table of costs."""
    return graph(TOPCUOGLU_COSTS, FIGURE2_EDGES)


def arabnejad() -> WorkloadArrays:
    """Return the example of the paper that introduced PEFT (122; HEFT 133, lookahead 127)."""
    return graph(ARABNEJAD_COSTS, ARABNEJAD_EDGES)


def instance(name) -> WorkloadArrays:
    """Return a published instance by name, e.g. ``dag_n20_m8_s0``; skip where it is absent."""
    folder = Path(os.environ.get("TOOLKIT_REFERENCE_DATA") or REFERENCE)
    file = folder / "benchmarks" / "instances" / f"{name}.json"
    if not file.is_file():
        pytest.skip(f"{file.name} is not here; name the reference data in TOOLKIT_REFERENCE_DATA")
    read = json.loads(file.read_text("utf-8"))
    return graph(
        np.array(read["cost"])[:, None] / np.array(read["speed"])[None, :],
        read["edges"],
        links=read["link"],
        mean_link=read.get("mean_link", "ordered_pairs"),
    )


def random_dag(
    seed,
    tasks,
    nodes,
    ccr=1.0,
    *,
    jobs=1,
    lanes=1,
    latency=0.0,
    tight=False,
    idle=0.0,
    whole=False,
) -> WorkloadArrays:
    """Return random graphs of ``tasks`` tasks in all, each with up to four parents.

    Args:
        seed: Names the graph.
        tasks: Tasks of all jobs together.
        nodes: Nodes, each of its own speed for each task.
        ccr: Mean seconds of a transfer by mean seconds of a task; 0 for edges without data.
        jobs: Graphs of about equal size, all there from the start; no more than tasks.
        lanes: Tasks that a node runs at once.
        latency: Seconds that each end of a link adds.
        tight: Whether some tasks need more memory than some nodes have.
        idle: Share of the tasks that take no time.
        whole: Whether all times are small whole numbers, so that much is equal.
    """
    rng = generator(seed, "random dag", tasks, nodes)
    jobs = min(jobs, tasks)
    job_ptr = np.linspace(0, tasks, jobs + 1).astype(np.int32)
    edges = []
    for first, last in itertools.pairwise(job_ptr):
        for v in range(first + 1, last):
            near = max(first, v - 12)
            chosen = rng.choice(
                np.arange(near, v), size=min(v - near, rng.integers(0, 5)), replace=False
            )
            edges += [(int(u), v, float(10.0 * ccr * rng.uniform(0.1, 1.9))) for u in chosen]
    parent_ptr, parents, data = by_child(tasks, edges)
    seconds = 10.0 * rng.uniform(0.1, 1.9, (tasks, 1)) * rng.uniform(0.5, 1.5, (tasks, nodes))
    nothing = rng.random(tasks) < idle
    links = rng.uniform(0.5, 1.5, (nodes, nodes))
    if whole:
        seconds, data, links = np.ceil(seconds / 4.0), np.ceil(data / 4.0), np.ones_like(links)
    seconds[nothing] = 0.0
    room = [float(2 + m % 3 if tight else 4) * lanes for m in range(nodes)]
    room[-1] = 4.0 * lanes
    cluster = Cluster(
        nodes=tuple(
            Node(name=f"p{m}", cpus=lanes, memory=room[m], kind=f"k{m}", latency=latency)
            for m in range(nodes)
        ),
        links=tuple(tuple(map(float, row)) for row in links),
    )
    return assemble(
        family=PLACEMENT,
        type_of=np.arange(tasks),
        job_ptr=job_ptr,
        parent_ptr=parent_ptr,
        parents=parents,
        data=data,
        arrival=np.zeros(jobs),
        scale=np.ones(tasks),
        seconds=seconds,
        demand=[[1, 1 * lanes, 0], [1, 4 * lanes, 0]],
        profile_of_type=rng.integers(0, 2, tasks),
        cluster=cluster,
    )
