"""Logged: a run that nobody decided for us, and the placements that its starts imply.

A log says what started where and when. Replayed factually, each start is an answer to the
decision that was due just before it: which ready task, on which node. What a scheduler knew and
with which probability it chose is not in a log, so these rows have no propensity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolkit.cluster import Cluster, Node
from toolkit.decision import Decision, decide
from toolkit.errors import ConfigError, require
from toolkit.simulator.rules import choose, close_epoch, go_on, open_epoch, placed, some_placeable
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    ASK_NODE,
    ASK_TASK,
    CLOSED,
    EPOCH,
    FINISHED,
    KILLED,
    LOST,
    NUMBER,
    PICKED,
    RETURNED,
    STAGE,
    WAITING,
    apply_event,
    initial,
    pass_time,
)
from toolkit.simulator.world import unknown
from toolkit.workload import PLACEMENT, Floats, Indices, Workload, assemble

MOST_STARTS = 200_000
"""Starts of the longest run that is replayed; each is two decisions."""

MOST_EDGES = 2_000_000
"""Edges between tasks of the widest run, once those between stages are spelled out."""

_START = 100
"""Beside the kinds of events: a start, which is an answer. At one instant arrivals come first,
then nodes, then what ended, then what starts, then what is lost."""
_ORDER = {ARRIVED: 0, RETURNED: 1, FINISHED: 2, KILLED: 3, _START: 4, LOST: 5}


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A run of a log as a workload of the family *placement*, with what happened in it.

    Nodes hold what they are said to hold or, where more was in use at once or nothing is said,
    what was in use. The estimates are the mean recorded seconds of a type on a kind of node.

    Args:
        workload: ``n`` tasks in the order of their first starts within a job.
        task: The task of the trace that each stands for, shape [n].
        node: Node of the trace that each node of the workload stands for, shape [M].
        starts: Task (of the workload), node, start and end of each attempt, s, and whether it
            ended well; in the order of their starts.
        arrivals: When each job came, s, shape [J].
        nodes: Changes of nodes: time, node, ``LOST`` or ``RETURNED``.
        left_out: What of the log is not in the workload, and why.
    """

    workload: Workload
    task: Indices
    node: Indices
    starts: list[tuple[int, int, float, float | None, bool]]
    arrivals: Floats
    nodes: list[tuple[float, int, int]]
    left_out: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """The decisions that a log implies.

    Args:
        columns: Those of the table ``decisions`` but for ``run``.
        invalid: How many of them the mask forbids, or no slot shows.
        waits: How many are waits.
    """

    columns: Mapping[str, list[Any]]
    invalid: int
    waits: int

    @property
    def decisions(self) -> int:
        """How many there are."""
        return len(self.columns["decision"])


def logged(tables: Mapping[str, pa.Table]) -> Logged:
    """Return the workload of one run of a log.

    Args:
        tables: The tables of a trace, of this run alone.

    Raises:
        ConfigError: When the log has no starts, or too many starts or edges.
    """
    rows = tables["tasks"].select(
        ["task", "job", "stage", "type", "node", "cpus", "memory", "gpus", "started_at",
         "finished_at", "status"]
    ).to_pydict()  # fmt: skip
    left_out = {"attempts without a start or a node": 0, "attempts beside another": 0}
    attempts: dict[int, list[int]] = {}
    for i, (task, node, at) in enumerate(
        zip(rows["task"], rows["node"], rows["started_at"], strict=True)
    ):
        if node is None or at is None:
            left_out["attempts without a start or a node"] += 1
        else:
            attempts.setdefault(task, []).append(i)
    require(len(attempts) > 0, "the log names no start of any task on any node")
    chosen = {t: _one_after_another(found, rows, left_out) for t, found in sorted(attempts.items())}
    count = sum(len(found) for found in chosen.values())
    require(
        count <= MOST_STARTS,
        f"{count:,} starts are more than the {MOST_STARTS:,} that are replayed",
    )
    arrived = dict(
        zip(
            tables["jobs"]["job"].to_pylist(), tables["jobs"]["arrived_at"].to_pylist(), strict=True
        )
    )
    first = {t: found[0] for t, found in chosen.items()}
    for i in first.values():
        job = rows["job"][i]
        arrived[job] = min(arrived[job], rows["started_at"][i])
    jobs = sorted({rows["job"][i] for i in first.values()}, key=lambda j: (arrived[j], j))
    position = {job: k for k, job in enumerate(jobs)}
    order = sorted(
        chosen, key=lambda t: (position[rows["job"][first[t]]], rows["started_at"][first[t]], t)
    )
    index = {t: k for k, t in enumerate(order)}
    of_job = [position[rows["job"][first[t]]] for t in order]
    job_ptr = np.searchsorted(of_job, np.arange(len(jobs) + 1))
    parents, staged = _parents(tables, rows, chosen, index, of_job, left_out)
    demand, kinds_of, type_of = _types(rows, [first[t] for t in order])
    nodes = tables["nodes"].to_pylist()
    node_index = {n["node"]: m for m, n in enumerate(nodes)}
    starts = sorted(
        (
            (
                index[t],
                node_index[rows["node"][i]],
                float(rows["started_at"][i]),
                rows["finished_at"][i],
                rows["status"][i] == "done",
            )
            for t, found in chosen.items()
            for i in found
        ),
        key=lambda x: (x[2], x[0]),
    )
    cluster = _cluster(nodes, starts, type_of, demand)
    arrays = assemble(
        family=PLACEMENT,
        type_of=type_of,
        job_ptr=job_ptr,
        parent_ptr=np.concatenate([[0], np.cumsum([len(p) for p in parents])]),
        parents=[p for above in parents for p in above],
        data=np.zeros(sum(len(p) for p in parents)),
        arrival=[arrived[j] for j in jobs],
        scale=np.ones(len(order)),
        seconds=_estimates(starts, type_of, cluster, len(kinds_of)),
        demand=demand,
        cluster=cluster,
        profile_of_type=np.arange(len(kinds_of)),
    )
    if not staged:
        # Only where whole stages follow one another are twins alike in what comes after them.
        arrays = arrays._replace(twin=np.full(len(order), -1, dtype=np.int32))
    return Logged(
        workload=Workload(types=kinds_of, cluster=cluster, arrays=arrays, seed=0),
        task=np.array(order, dtype=np.int32),
        node=np.array([n["node"] for n in nodes], dtype=np.int32),
        starts=starts,
        arrivals=arrays.arrival,
        nodes=_changes(nodes),
        left_out={k: v for k, v in left_out.items() if v},
    )


def _one_after_another(
    found: list[int], rows: Mapping[str, list[Any]], left_out: dict[str, int]
) -> list[int]:
    """Return the attempts of a task that ran one after another; one that ended well goes before."""
    kept: list[int] = []
    for i in sorted(found, key=lambda i: (rows["status"][i] != "done", rows["started_at"][i], i)):
        begun, ended = rows["started_at"][i], rows["finished_at"][i]
        done = [k for k in kept if rows["status"][k] == "done"]
        beside = any(
            (rows["finished_at"][k] is None or begun < rows["finished_at"][k])
            and (ended is None or rows["started_at"][k] < ended)
            for k in kept
        )
        after = any(rows["finished_at"][k] is None or begun >= rows["finished_at"][k] for k in done)
        if beside or after:
            left_out["attempts beside another"] += 1
        else:
            kept.append(i)
    return sorted(kept, key=lambda i: (rows["started_at"][i], i))


def _parents(
    tables: Mapping[str, pa.Table],
    rows: Mapping[str, list[Any]],
    chosen: Mapping[int, list[int]],
    index: Mapping[int, int],
    of_job: list[int],
    left_out: dict[str, int],
) -> tuple[list[list[int]], bool]:
    """Return the parents of each task, and whether all edges are between whole stages."""
    edges = tables["edges"].select(["kind", "parent", "child"]).to_pydict()
    members: dict[int, list[int]] = {}
    for t, found in chosen.items():
        stage = rows["stage"][found[0]]
        if stage is not None:
            members.setdefault(stage, []).append(t)
    pairs = []
    wide = 0
    for kind, parent, child in zip(edges["kind"], edges["parent"], edges["child"], strict=True):
        above = members.get(parent, []) if kind == "stage" else [parent]
        below = members.get(child, []) if kind == "stage" else [child]
        wide += len(above) * len(below)
        if wide > MOST_EDGES:
            raise ConfigError(f"the log has more than {MOST_EDGES:,} edges between tasks")
        pairs += [(a, b) for a in above for b in below]
    ended = {t: rows["finished_at"][found[-1]] for t, found in chosen.items()}
    begun = {t: rows["started_at"][found[0]] for t, found in chosen.items()}
    parents: list[list[int]] = [[] for _ in index]
    for a, b in sorted(set(pairs)):
        if a not in index or b not in index:
            continue
        i, k = index[a], index[b]
        early = ended[a] is None or begun[b] < ended[a] or i >= k
        if early or of_job[i] != of_job[k]:
            left_out["edges"] = left_out.get("edges", 0) + 1
        else:
            parents[k].append(i)
    return [sorted(p) for p in parents], "task" not in edges["kind"]


def _types(
    rows: Mapping[str, list[Any]], first: list[int]
) -> tuple[Floats, tuple[str, ...], Indices]:
    """Return what each type asks for, [T, 3], the names of the types, and the type of each task.

    Tasks of one name that ask for different amounts are of different types. Where a task does not
    say what it asks for, it asks for one cpu.
    """
    wanted = [
        (
            rows["type"][i],
            1.0 if rows["cpus"][i] is None and not rows["gpus"][i] else float(rows["cpus"][i] or 0),
            float(rows["memory"][i] or 0.0),
            float(rows["gpus"][i] or 0.0),
        )
        for i in first
    ]
    kinds = {w: t for t, w in enumerate(dict.fromkeys(wanted))}
    demand = np.array([w[1:] for w in kinds], dtype=np.float64)
    return demand, tuple(w[0] for w in kinds), np.array([kinds[w] for w in wanted], dtype=np.int32)


def _cluster(
    nodes: list[dict[str, Any]],
    starts: list[tuple[int, int, float, float | None, bool]],
    type_of: Indices,
    demand: Floats,
) -> Cluster:
    """Return nodes that hold what they are said to hold, or what was in use at once."""
    most = np.zeros((len(nodes), 3))
    changes: list[tuple[float, int, int, npt.NDArray[np.float64]]] = []
    for task, node, begun, ended, _ in starts:
        changes.append((begun, 1, node, demand[type_of[task]]))
        if ended is not None:
            changes.append((ended, 0, node, -demand[type_of[task]]))
    now = np.zeros((len(nodes), 3))
    for _, _, node, change in sorted(changes, key=lambda c: (c[0], c[1], c[2])):
        now[node] += change
        most[node] = np.maximum(most[node], now[node])
    found, names = [], set()
    for m, n in enumerate(nodes):
        cpus = max(float(n["cpus"] or 0.0), most[m, 0])
        gpus = max(float(n["gpus"] or 0.0), most[m, 2])
        name = n["name"] if n["name"] not in names else f"{n['name']} ({m})"
        names.add(name)
        found.append(
            Node(
                name=name,
                cpus=cpus if cpus + gpus > 0 else 1.0,
                memory=max(float(n["memory"] or 0.0), most[m, 1], 1.0),
                gpus=gpus,
                kind=n["kind"],
                logical=bool(n["logical"]),
            )
        )
    return Cluster(nodes=tuple(found))


def _estimates(
    starts: list[tuple[int, int, float, float | None, bool]],
    type_of: Indices,
    cluster: Cluster,
    types: int,
) -> Floats:
    """Return the mean seconds of each type on each kind of node, where unseen on all; [T, C]."""
    kinds = {k: c for c, k in enumerate(cluster.kinds)}
    total, count = np.zeros((types, len(kinds))), np.zeros((types, len(kinds)))
    for task, node, begun, ended, done in starts:
        if done and ended is not None:
            total[type_of[task], kinds[cluster.nodes[node].kind]] += ended - begun
            count[type_of[task], kinds[cluster.nodes[node].kind]] += 1
    overall = total.sum() / max(count.sum(), 1.0)
    anywhere = total.sum(axis=1) / np.maximum(count.sum(axis=1), 1.0)
    anywhere = np.where(count.sum(axis=1) > 0, anywhere, overall)
    mean = np.where(count > 0, total / np.maximum(count, 1.0), anywhere[:, None])
    return np.maximum(mean, 1e-9)


def _changes(nodes: list[dict[str, Any]]) -> list[tuple[float, int, int]]:
    changes: list[tuple[float, int, int]] = []
    for m, n in enumerate(nodes):
        if n["added_at"] is not None and n["added_at"] > 0:
            changes += [(0.0, m, LOST), (float(n["added_at"]), m, RETURNED)]
        if n["removed_at"] is not None:
            changes.append((float(n["removed_at"]), m, LOST))
    return changes


def infer(log: Logged, *, wait_after: float) -> Inferred:
    """Return the decisions that the starts of a log imply.

    At each start the decision just before it is asked and the recorded choice forced into the
    slots; one that the mask forbids, or that no slot shows, is ``invalid``. A wait is inferred
    only where something could start and nothing does for longer than ``wait_after``.

    Args:
        log: The run.
        wait_after: Seconds.
    """
    return _Replay(log, wait_after).run()


class _Replay:
    def __init__(self, log: Logged, wait_after: float) -> None:
        self._log, self._patience = log, wait_after
        self._scene = Scene(workload=log.workload, state=initial(log.workload), world=unknown())
        self._s, self._state = self._scene.known, self._scene.state
        n = log.workload.tasks
        # Twins are interchangeable: the one that runs in the state may stand for another.
        self._state_of = np.arange(n)
        self._real = np.arange(n)
        self._group = _groups(log.workload.arrays.twin)
        self._running: dict[int, int] = {}
        self._rows: dict[str, list[Any]] = {
            name: []
            for name in (
                "decision", "epoch", "agent", "at", "action", "key", "slots", "propensity",
                "policy", "digest", "inferred", "invalid",
            )
        }  # fmt: skip
        self._waits = 0

    def run(self) -> Inferred:
        log, s = self._log, self._s
        events: list[tuple[float, int, int, int]] = []
        events += [(float(t), _ORDER[ARRIVED], ARRIVED, j) for j, t in enumerate(log.arrivals)]
        events += [(t, _ORDER[kind], kind, m) for t, m, kind in log.nodes]
        for k, (_, _, begun, ended, done) in enumerate(log.starts):
            events.append((begun, _ORDER[_START], _START, k))
            if ended is not None:
                kind = FINISHED if done else KILLED
                # What takes no time ends after it has started.
                rank = _ORDER[kind] if ended > begun else _ORDER[_START] + 0.5
                events.append((ended, rank, kind, k))  # type: ignore[arg-type]
        events.sort()
        starts = [e[0] for e in events if e[2] == _START]
        upcoming = 0
        for i, (at, _, kind, subject) in enumerate(events):
            if kind == _START:
                upcoming += 1
                pass_time(s, at)
                self._start(subject)
            elif kind in (FINISHED, KILLED):
                task = self._running.pop(subject, None)
                if task is not None:
                    apply_event(s, kind, task, at, at)
            else:
                apply_event(s, kind, subject, at, at)
            last = i + 1 == len(events)
            if last or events[i + 1][0] > at:
                if self._state.cursor[STAGE] == ASK_TASK:
                    close_epoch(s)
                if not last:
                    self._wait(at, starts[upcoming] if upcoming < len(starts) else np.inf)
        return Inferred(columns=self._rows, invalid=sum(self._rows["invalid"]), waits=self._waits)

    def _start(self, k: int) -> None:
        s, state = self._s, self._state
        real, node, *_ = self._log.starts[k]
        task = self._stand_in(real)
        if task < 0:
            return
        self._running[k] = task
        if state.cursor[STAGE] == CLOSED:
            open_epoch(s, True)
        asked = state.cursor[STAGE] == ASK_TASK
        decision = decide(self._scene) if asked else None
        if self._answer(decision, "task", task, int(self._log.task[real])):
            choose(s, task)
        else:
            state.cursor[STAGE] = ASK_NODE
            state.cursor[PICKED] = task
            state.cursor[NUMBER] += 1
        if self._answer(decide(self._scene), "node", node, int(self._log.node[node])):
            choose(s, node)
        else:
            state.cursor[PICKED] = -1
            state.cursor[NUMBER] += 1
        placed(s, task, node, float(state.time[0]))
        go_on(s)

    def _stand_in(self, real: int) -> int:
        """Return the ready task of the state that stands for one of the log, or -1."""
        state = self._state
        task = int(self._state_of[real])
        if state.status[task] != WAITING:
            return -1
        job = int(self._log.workload.arrays.job_of[task])
        other, i = -1, int(state.first[job])
        while i >= 0:
            if i == task:
                return task
            if other < 0 and self._group[i] == self._group[task]:
                other = i
            i = int(state.link[i])
        if other < 0:
            return -1
        mate = int(self._real[other])
        self._state_of[real], self._state_of[mate] = other, task
        self._real[other], self._real[task] = real, mate
        return other

    def _answer(self, decision: Decision | None, agent: str, wanted: int, key: int) -> bool:
        """Keep a row; return whether the recorded choice was a legal one."""
        slot = -1
        if decision is not None:
            found = np.flatnonzero(decision.keys == wanted)
            slot = int(found[0]) if len(found) else -1
        legal = decision is not None and slot >= 0 and bool(decision.mask[slot])
        self._keep(decision, agent, slot, key, invalid=not legal)
        return legal

    def _wait(self, at: float, next_start: float) -> None:
        late = at + self._patience < next_start < np.inf
        if not late or not some_placeable(self._s):
            return
        if not open_epoch(self._s, True):
            return
        decision = decide(self._scene)
        if not decision.mask[0]:
            close_epoch(self._s)
            return
        self._keep(decision, "task", 0, -1, invalid=False)
        self._waits += 1
        choose(self._s, -1)

    def _keep(
        self, decision: Decision | None, agent: str, slot: int, key: int, *, invalid: bool
    ) -> None:
        rows = self._rows
        rows["decision"].append(len(rows["decision"]))
        rows["epoch"].append(int(self._state.cursor[EPOCH]))
        rows["agent"].append(agent)
        rows["at"].append(float(self._state.time[0]))
        rows["action"].append(slot)
        rows["key"].append(key)
        rows["slots"].append(0 if decision is None else len(decision.keys))
        rows["propensity"].append(None)
        rows["policy"].append("log")
        rows["digest"].append("" if decision is None else decision.digest())
        rows["inferred"].append(True)
        rows["invalid"].append(invalid)


def _groups(twin: Indices) -> Indices:
    """Return the first of the interchangeable tasks that each belongs to, shape [n]."""
    group = np.arange(len(twin), dtype=np.int32)
    for i, other in enumerate(twin.tolist()):
        if other >= 0:
            group[other] = group[i]
    return group
