"""Placements: which ready task went to which node, read from what started where and when.

Replayed factually, each start is an answer to the decision that was due just before it. What a
scheduler knew and with which probability it chose is not in a log.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from toolkit.cluster import Cluster, Node
from toolkit.decision import Decision, decide
from toolkit.inferred import log as logs
from toolkit.inferred.durations import mean_seconds
from toolkit.inferred.log import Log
from toolkit.inferred.rows import Inferred, Rows
from toolkit.inferred.steps import Steps
from toolkit.simulator.rules import choose, close_epoch, go_on, open_epoch, placed, some_placeable
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    ASK_NODE,
    ASK_TASK,
    CLOSED,
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

_START = 100
"""Beside the kinds of events: a start, which is an answer. At one instant arrivals come first,
then nodes, then what ended, then what starts, then what took no time, then what is lost."""
_ORDER = {ARRIVED: 0, RETURNED: 1, FINISHED: 2, KILLED: 3, _START: 4, LOST: 6}
_NO_TIME = 5


def infer(
    tables: Mapping[str, pa.Table],
    *,
    wait_after: float,
    edges_known: bool = True,
    steps: Steps | None = None,
) -> Inferred:
    """Return the placements that the starts of a run imply.

    At each start the decision just before it is asked and the recorded choice forced into the
    slots; one that the mask forbids, or that no slot shows, is ``invalid``. A wait is inferred
    only where something could start and nothing does for longer than ``wait_after``.

    Args:
        tables: The tables of a trace, of this run alone.
        wait_after: Seconds.
        edges_known: As for :func:`toolkit.inferred.log.read`.
        steps: Takes the decisions with all that they show.

    Raises:
        ConfigError: When the log does not tell enough, or has too many starts or edges.
    """
    log = logs.read(tables, placed=True, edges_known=edges_known)
    return _Replay(log, workload_of(log), wait_after, steps).run()


def workload_of(log: Log) -> Workload:
    """Return a run of a log as a workload of the family *placement*.

    Nodes hold what they are said to hold or, where more was in use at once or nothing is said,
    what was in use. The estimates are the mean recorded seconds of a type on a kind of node.
    """
    demand, types, type_of = _types(log)
    cluster = _cluster(log, type_of, demand)
    n = len(log.task)
    arrays = assemble(
        family=PLACEMENT,
        type_of=type_of,
        job_ptr=log.job_ptr,
        parent_ptr=log.parent_ptr,
        parents=log.flat_parents,
        data=np.zeros(len(log.flat_parents)),
        arrival=log.arrival,
        scale=np.ones(n),
        seconds=_estimates(log, type_of, cluster, len(types)),
        demand=demand,
        cluster=cluster,
        profile_of_type=np.arange(len(types)),
    )
    if not log.staged:
        # Only where whole stages follow one another are twins alike in what comes after them.
        arrays = arrays._replace(twin=np.full(n, -1, dtype=np.int32))
    return Workload(types=types, cluster=cluster, arrays=arrays, seed=0)


def _types(log: Log) -> tuple[Floats, tuple[str, ...], Indices]:
    """Return what each type asks for, [T, 3], the names of the types, and the type of each task.

    Tasks of one name that ask for different amounts are of different types. Where a task does not
    say what it asks for, it asks for one cpu.
    """
    asks = {a.task: a.asks for a in reversed(log.attempts)}
    wanted = []
    for task, name in enumerate(log.type):
        cpus, memory, gpus = asks[task]
        silent = cpus is None and not gpus
        wanted.append((name, 1.0 if silent else cpus or 0.0, memory or 0.0, gpus or 0.0))
    kinds = {w: t for t, w in enumerate(dict.fromkeys(wanted))}
    demand = np.array([w[1:] for w in kinds], dtype=np.float64)
    return demand, tuple(w[0] for w in kinds), np.array([kinds[w] for w in wanted], dtype=np.int32)


def _cluster(log: Log, type_of: Indices, demand: Floats) -> Cluster:
    """Return nodes that hold what they are said to hold, or what was in use at once."""
    most, now = np.zeros((len(log.nodes), 3)), np.zeros((len(log.nodes), 3))
    changes = [(a.start, 1, a.node, type_of[a.task]) for a in log.attempts]
    changes += [(a.end, 0, a.node, type_of[a.task]) for a in log.attempts if a.end is not None]
    for _, takes, node, kind in sorted(changes):
        now[node] += demand[kind] if takes else -demand[kind]
        most[node] = np.maximum(most[node], now[node])
    found, names = [], set()
    for m, n in enumerate(log.nodes):
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


def _estimates(log: Log, type_of: Indices, cluster: Cluster, types: int) -> Floats:
    """Return the mean seconds of each type on each kind of node, where unseen on all; [T, C]."""
    kinds = {k: c for c, k in enumerate(cluster.kinds)}
    columns = [kinds[n.kind] for n in cluster.nodes]
    return mean_seconds(
        [(type_of[a.task], columns[a.node], a) for a in log.attempts], types, len(kinds)
    )


class _Replay:
    def __init__(
        self, log: Log, workload: Workload, wait_after: float, steps: Steps | None
    ) -> None:
        self._log, self._patience = log, wait_after
        self._workload = workload
        self._scene = Scene(workload=workload, state=initial(workload), world=unknown())
        self._s, self._state = self._scene.known, self._scene.state
        # Twins are interchangeable: the one that runs in the state may stand for another.
        self._state_of = np.arange(workload.tasks)
        self._real = np.arange(workload.tasks)
        self._group = _groups(workload.arrays.twin)
        self._running: dict[int, int] = {}
        self._rows = Rows(steps)
        self._early = 0

    def run(self) -> Inferred:
        log, s = self._log, self._s
        events = [(t, _ORDER[ARRIVED], ARRIVED, j) for j, t in enumerate(log.arrival)]
        for m, n in enumerate(log.nodes):
            if n["added_at"] is not None and n["added_at"] > 0:
                events.append((0.0, _ORDER[ARRIVED], LOST, m))
                events.append((n["added_at"], _ORDER[RETURNED], RETURNED, m))
            if n["removed_at"] is not None:
                events.append((n["removed_at"], _ORDER[LOST], LOST, m))
        for k, a in enumerate(log.attempts):
            events.append((a.start, _ORDER[_START], _START, k))
            if a.end is not None:
                kind = FINISHED if a.done else KILLED
                events.append((a.end, _ORDER[kind] if a.end > a.start else _NO_TIME, kind, k))
        events.sort()
        starts = [a.start for a in log.attempts]
        begun = 0
        for i, (at, _, kind, subject) in enumerate(events):
            if self._state.done:
                break
            if kind == _START:
                begun += 1
                pass_time(s, at)
                self._start(subject)
            elif kind in (FINISHED, KILLED):
                task = self._running.pop(subject, None)
                if task is not None:
                    apply_event(s, kind, task, at, at)
            else:
                apply_event(s, kind, subject, at, at)
            if i + 1 == len(events) or events[i + 1][0] > at:
                if self._state.cursor[STAGE] == ASK_TASK:
                    close_epoch(s)
                if begun < len(starts) and starts[begun] > at + self._patience:
                    self._wait()
        left_out = dict(log.left_out)
        if self._early:
            left_out["attempts that started before they were ready"] = self._early
        return self._rows.inferred(left_out, self._scene)

    def _start(self, k: int) -> None:
        s, state, rows, attempt = self._s, self._state, self._rows, self._log.attempts[k]
        task = self._stand_in(attempt.task)
        if task < 0:
            self._early += 1
            return
        self._running[k] = task
        if state.cursor[STAGE] == CLOSED:
            open_epoch(s, True)
        asked = state.cursor[STAGE] == ASK_TASK
        decision = decide(self._scene) if asked else None
        shown = decision if asked or rows.steps is None else self._unasked()
        number = self._log.task[attempt.task]
        if rows.answer(state, decision, "task", task, number, shown=shown):
            choose(s, task)
        else:
            state.cursor[STAGE] = ASK_NODE
            state.cursor[PICKED] = task
            state.cursor[NUMBER] += 1
        node = attempt.node
        if rows.answer(state, decide(self._scene), "node", node, self._log.nodes[node]["node"]):
            choose(s, node)
        else:
            state.cursor[PICKED] = -1
            state.cursor[NUMBER] += 1
        placed(s, task, node, float(state.time[0]))
        go_on(s)

    def _unasked(self) -> Decision:
        """Return what would be asked if some node had room for any task."""
        cursor = self._state.cursor
        stage = int(cursor[STAGE])
        cursor[STAGE] = ASK_TASK
        shown = decide(self._scene)
        cursor[STAGE] = stage
        return shown

    def _stand_in(self, real: int) -> int:
        """Return the ready task of the state that stands for one of the log, or -1."""
        state = self._state
        task = int(self._state_of[real])
        if state.status[task] != WAITING:
            return -1
        other, i = -1, int(state.first[self._workload.arrays.job_of[task]])
        while i >= 0:
            if i == task:
                return task
            if other < 0 and self._group[i] == self._group[task]:
                other = i
            i = int(state.link[i])
        if other >= 0:
            mate = int(self._real[other])
            self._state_of[real], self._state_of[mate] = other, task
            self._real[other], self._real[task] = real, mate
        return other

    def _wait(self) -> None:
        if not some_placeable(self._s) or not open_epoch(self._s, True):
            return
        decision = decide(self._scene)
        if decision.mask[0]:
            self._rows.answer(self._state, decision, "task", -1, -1)
            choose(self._s, -1)
        else:
            close_epoch(self._s)


def _groups(twin: Indices) -> Indices:
    """Return the first of the interchangeable tasks that each belongs to, shape [n]."""
    group = np.arange(len(twin), dtype=np.int32)
    for i, other in enumerate(twin.tolist()):
        if other >= 0:
            group[other] = group[i]
    return group
