"""Graph: the unfinished part of every job present, as networks see it that select tasks.

Interchangeable tasks are one node, a *stage*, with numbers. What is shown rests on estimates and
on what was seen to happen, never on the truth. Nodes have the features of Decima, then those that
Lachesis adds for unequal devices and for data:

- Decima (Mao et al., SIGCOMM 2019, doi:10.1145/3341302.3342080, section 6.1): tasks left, average
  duration, executors on the job, free executors, whether they are local. ``work left``, the
  product of the first two, is a sixth that its published code has. An executor is a lane of a
  node; tasks that are committed already are not left, and count as on the job. Local means here
  that a node with a free lane has run a parent, so that its data are there.
- Lachesis (Zhou et al., IEEE MDM 2022, doi:10.1109/MDM55031.2022.00040) names its features as
  those of Decima with speeds and data sizes; no list of them is public. Decided here: seconds on
  the fastest and the slowest node, seconds that data in and data out take on a mean link, upward
  rank, and for what can be selected when it would finish where DEFT puts it now.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from toolkit.policies.deft import best_node, holdable
from toolkit.simulator.compiled import lean, njit
from toolkit.simulator.state import DONE, PRESENT, RUNNING, WAITING
from toolkit.workload import (
    MEAN_COST,
    MEAN_LATENCY,
    Floats,
    Indices,
    Mask,
    Vector,
    Workload,
    fits,
    seconds_on,
)

FEATURES = (
    ("tasks left", "tasks"),
    ("work left", "s"),
    ("seconds", "s"),
    ("executors on its job", "executors"),
    ("free executors", "executors"),
    ("is local", "1"),
    ("fastest seconds", "s"),
    ("slowest seconds", "s"),
    ("data in take", "s"),
    ("data out take", "s"),
    ("upward rank", "s"),
    ("would finish in", "s"),
)
DECIMA, LACHESIS = 6, len(FEATURES)
"""How many of the features each network sees, the first ones."""
GRAPH = 1
"""Version of the features; a network only reads graphs of the version it was trained on."""

_FIXED = 6  # Columns of ``Stages.fixed``


class Stages(NamedTuple):
    """The graphs of a workload with interchangeable tasks as one.

    ``n`` tasks in ``S`` stages with ``e`` edges, ``J`` jobs; the stages of a job are contiguous
    and in topological order.
    """

    stage_of: Indices  # [n]
    task_ptr: Indices  # [S + 1] into tasks
    tasks: Indices  # [n] of each stage, ascending
    job_ptr: Indices  # [J + 1] into stages
    child_ptr: Indices  # [S + 1] into children
    children: Indices  # [e] stages, each once; one reads what some task of the other hands over
    fixed: Floats  # [S, 6] seconds, fastest, slowest, data in, data out, upward rank; s


class Graph(NamedTuple):
    """Room for the graphs of many scenes end to end: ``V`` nodes, ``E`` edges, ``J`` jobs."""

    x: Vector  # [V, 12] see FEATURES
    job: Indices  # [V] of each node, into the jobs of all scenes
    generation: Indices  # [V] edges on the longest way from a node whose parents have all finished
    key: Indices  # [V] the lowest task that could be selected, else -1
    parent: Indices  # [E] a node
    child: Indices  # [E] one that needs it
    scene: Indices  # [J] of each job
    node_of: Indices  # [S] of a stage of the scene at hand; written in passing
    on_job: Indices  # [J] executors, likewise
    idle: Mask  # [M] whether a node has a free lane, likewise


def stages_of(workload: Workload) -> Stages:
    """Return the stages of a workload."""
    w = workload.arrays
    stage_of, task_ptr, tasks, job_ptr = _grouped(w.twin, w.job_ptr)
    child_ptr, children = _edges(w.parent_ptr, w.parents, stage_of, task_ptr, tasks)
    fixed = np.zeros((len(task_ptr) - 1, _FIXED))
    _measure(w, task_ptr, tasks, fixed)
    return Stages(
        stage_of=stage_of,
        task_ptr=task_ptr,
        tasks=tasks,
        job_ptr=job_ptr,
        child_ptr=child_ptr,
        children=children,
        fixed=fixed,
    )


@njit
def _grouped(twin: Indices, job_ptr: Indices) -> tuple[Indices, Indices, Indices, Indices]:
    n, J = len(twin), len(job_ptr) - 1
    stage_of = np.full(n, -1, dtype=np.int32)
    task_ptr, tasks = np.zeros(n + 1, dtype=np.int32), np.empty(n, dtype=np.int32)
    stage_ptr = np.zeros(J + 1, dtype=np.int32)
    stages = count = 0
    for job in range(J):
        for first in range(job_ptr[job], job_ptr[job + 1]):
            if stage_of[first] >= 0:
                continue
            task = first
            while task >= 0:
                stage_of[task] = stages
                tasks[count] = task
                count += 1
                task = twin[task]
            stages += 1
            task_ptr[stages] = count
        stage_ptr[job + 1] = stages
    return stage_of, task_ptr[: stages + 1].copy(), tasks, stage_ptr


@njit
def _edges(
    parent_ptr: Indices, parents: Indices, stage_of: Indices, task_ptr: Indices, tasks: Indices
) -> tuple[Indices, Indices]:
    """Return the edges between stages by parent, each once."""
    S = len(task_ptr) - 1
    child_ptr = np.zeros(S + 1, dtype=np.int32)
    met = np.full(S, -1, dtype=np.int32)
    for v in range(S):
        # The parents of one task of a stage are those of all.
        task = tasks[task_ptr[v]]
        for i in range(parent_ptr[task], parent_ptr[task + 1]):
            u = stage_of[parents[i]]
            if met[u] != v:
                met[u] = v
                child_ptr[u + 1] += 1
    child_ptr = np.cumsum(child_ptr).astype(np.int32)
    children = np.empty(child_ptr[-1], dtype=np.int32)
    filled = child_ptr[:-1].copy()
    met[:] = -1
    for v in range(S):
        task = tasks[task_ptr[v]]
        for i in range(parent_ptr[task], parent_ptr[task + 1]):
            u = stage_of[parents[i]]
            if met[u] != v:
                met[u] = v
                children[filled[u]] = v
                filled[u] += 1
    return child_ptr, children


@njit
def _measure(w: Any, task_ptr: Indices, tasks: Indices, fixed: Floats) -> None:
    """Fill what never changes of each stage; data out are those of its first task."""
    latency, cost = w.numbers[MEAN_LATENCY], w.numbers[MEAN_COST]
    sent = np.zeros(len(w.type_of))
    for task in range(len(w.type_of)):
        for i in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            if w.data[i] > 0.0:
                sent[w.parents[i]] += latency + w.data[i] * cost
    for v in range(len(task_ptr) - 1):
        task = tasks[task_ptr[v]]
        fastest, slowest = np.inf, 0.0
        for m in range(len(w.capacity)):
            if fits(w, task, m):
                seconds = seconds_on(w, task, m)
                fastest, slowest = min(fastest, seconds), max(slowest, seconds)
        received = 0.0
        for i in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            if w.data[i] > 0.0:
                received += latency + w.data[i] * cost
        fixed[v, 0] = w.mean_seconds[w.type_of[task]] * w.scale[task]
        fixed[v, 1] = fastest
        fixed[v, 2] = slowest
        fixed[v, 3] = received
        fixed[v, 4] = sent[task]
        fixed[v, 5] = w.rank[task]


def room_for(sizes: Any, nodes: int, jobs: int) -> Graph:
    """Return room for graphs.

    Args:
        sizes: For each scene its stages.
        nodes: M.
        jobs: Most jobs of a scene.
    """
    V = sum(len(st.fixed) for st in sizes)
    E = sum(len(st.children) for st in sizes)
    J = sum(len(st.job_ptr) - 1 for st in sizes)

    def whole(size: int) -> Indices:
        return np.zeros(size, dtype=np.int32)

    return Graph(
        x=np.zeros((V, len(FEATURES)), dtype=np.float32),
        job=whole(V),
        generation=whole(V),
        key=whole(V),
        parent=whole(E),
        child=whole(E),
        scene=whole(J),
        node_of=whole(max(len(st.fixed) for st in sizes)),
        on_job=whole(jobs),
        idle=np.zeros(nodes, dtype=np.bool_),
    )


@lean
def _executors(s: Any, q: Any, g: Any) -> int:
    """Count the executors of each job, note which nodes have one free; return how many are."""
    g.on_job[:] = 0
    g.idle[:] = False
    for m in range(len(s.up)):
        task = s.head[m]
        while task >= 0:
            g.on_job[s.job_of[task]] += 1
            task = s.link[task]
    for i in range(q.length[0]):
        g.on_job[s.job_of[q.queue[i]]] += 1
    free = 0
    for lane in range(len(s.lane_of)):
        m = s.lane_of[lane]
        if s.up[m] and s.lane_free[lane] <= s.time[0]:
            g.idle[m] = True
            free += 1
    return free


@lean
def _local(s: Any, g: Any, task: int) -> bool:
    """Return whether a node with a free lane has run a parent of a task."""
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        m = s.node[s.parents[i]]
        if m >= 0 and g.idle[m]:
            return True
    return False


@lean
def _show(s: Any, q: Any, st: Any, g: Any, v: int, stage: int, free: int, wide: bool) -> bool:
    """Describe a stage as node ``v``; return whether it is unfinished."""
    left, unfinished, key = 0, False, -1
    for i in range(st.task_ptr[stage], st.task_ptr[stage + 1]):
        task = st.tasks[i]
        if s.status[task] == DONE:
            continue
        unfinished = True
        if s.status[task] < RUNNING and q.node[task] < 0:
            left += 1
            if key < 0 and s.status[task] == WAITING:
                key = task
    if not unfinished:
        return False
    if key >= 0 and not holdable(s, key):
        key = -1
    x = g.x[v]
    seconds = st.fixed[stage, 0]
    x[0] = left
    x[1] = left * seconds
    x[2] = seconds
    x[3] = g.on_job[s.job_of[st.tasks[st.task_ptr[stage]]]]
    x[4] = free
    x[5] = 1.0 if key >= 0 and _local(s, g, key) else 0.0
    for k in range(1, len(st.fixed[stage])):
        x[5 + k] = st.fixed[stage, k]
    x[11] = 0.0
    if wide and key >= 0:
        _, _, finish = best_node(s, key)
        x[11] = finish - s.time[0]
    g.key[v] = key
    g.generation[v] = 0
    return True


@lean
def describe(
    s: Any, q: Any, st: Any, g: Any, scene: int, at: tuple[int, int, int], wide: bool
) -> tuple[int, int, int]:
    """Append the graph of a scene, whose queues are prepared and lanes expected.

    Args:
        s: The scene.
        q: The queues of DEFT.
        st: Its stages.
        g: Where the graph is written.
        scene: Number of the scene.
        at: Nodes, edges and jobs that are there already.
        wide: Whether to fill the features that only Lachesis sees and that change.

    Returns:
        Nodes, edges and jobs that are there now.
    """
    nodes, edges, jobs = at
    free = _executors(s, q, g)
    for j in range(s.cursor[PRESENT]):
        job = s.by_arrival[j]
        for stage in range(st.job_ptr[job], st.job_ptr[job + 1]):
            g.node_of[stage] = -1
            if _show(s, q, st, g, nodes, stage, free, wide):
                g.node_of[stage] = nodes
                g.job[nodes] = jobs
                nodes += 1
        for stage in range(st.job_ptr[job], st.job_ptr[job + 1]):
            v = g.node_of[stage]
            if v < 0:
                continue
            for i in range(st.child_ptr[stage], st.child_ptr[stage + 1]):
                child = g.node_of[st.children[i]]
                if child < 0:
                    # It needed other tasks of the stage only, and has finished.
                    continue
                g.parent[edges] = v
                g.child[edges] = child
                edges += 1
                g.generation[child] = max(g.generation[child], g.generation[v] + 1)
        g.scene[jobs] = scene
        jobs += 1
    return nodes, edges, jobs
