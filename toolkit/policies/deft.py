"""DEFT: every executable task goes to the queue of the node where it finishes first.

The allocator of Lachesis (Zhou, Li, Luo, Yuan, Zeng and Yao, "Learning to Optimize DAG Scheduling
in Heterogeneous Environment", IEEE MDM 2022, doi:10.1109/MDM55031.2022.00040, arXiv 2103.06980):
over all nodes, busy ones included, and over {no copy, a copy of one parent}, the least finish
time. It has nothing to do with the method of the same name for cloud workflows (ICLR 2026).

Nodes have no queues here: the policy keeps them itself, hands over a task when it heads its
queue and its node has room, and waits else. From the paper's abstract it is open whether several
parents may be copied for one task; one is what the engine knows.

Who selects the next task is open: a rule does here, a network in
:mod:`toolkit.policies.graph_deft`. Both ``prepare`` the queues at every decision, ``commit`` the
tasks that they select one after another, and ``settle`` what is handed over now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError
from toolkit.policies import fifo, shortest_work
from toolkit.policies.family import require_family
from toolkit.policies.listed import Score, earliest_slot
from toolkit.policies.policy import certain
from toolkit.simulator.compiled import lean
from toolkit.simulator.rules import arrival_at, estimated_seconds, has_copy
from toolkit.simulator.state import PRESENT, WAITING, room
from toolkit.workload import PLACEMENT, PULL, Floats, Indices, Ints, Mask, Workload, fits

FIFO, SHORTEST_JOB, UPWARD_RANK = 0, 1, 2
"""Rules that select the next executable task: of the earliest-arrived job; of the job with least
remaining work; of highest upward rank."""

_fifo, _shortest_work = fifo.score, shortest_work.score


class Queues(NamedTuple):
    """What the allocator remembers; ``n`` tasks, ``M`` nodes."""

    node: Indices  # [n] node that a waiting task is committed to, else -1
    copied: Indices  # [n] parent that is to be executed again there first, else -1
    ready: Floats  # [n] s, when the task had become ready that was committed
    leader: Indices  # [n] ready task whose slot stands for this one
    slot: Indices  # [n] slot of a task in the decision at hand, else -1
    queue: Indices  # [n] committed tasks, in the order in which they were
    length: Ints  # [1] of the queue
    blocked: Mask  # [M] whether somebody waits for the node already


def empty(workload: Workload) -> Queues:
    """Return queues without a task."""
    n = workload.tasks

    def whole() -> Indices:
        return np.full(n, -1, dtype=np.int32)

    return Queues(
        node=whole(),
        copied=whole(),
        ready=np.full(n, np.nan),
        leader=whole(),
        slot=whole(),
        queue=whole(),
        length=np.zeros(1, dtype=np.int64),
        blocked=np.zeros(len(workload.arrays.capacity), dtype=np.bool_),
    )


@lean
def _score(s: Any, task: int, rule: int) -> Score:
    if rule == FIFO:
        return _fifo(s, task)
    if rule == SHORTEST_JOB:
        return _shortest_work(s, task)
    return s.rank[task], 0.0, 0.0


@lean
def _before(s: Any, task: int, other: int, rule: int) -> bool:
    """Return whether a ready task is selected before another one, or before none at all."""
    if other < 0:
        return True
    a, b = _score(s, task, rule), _score(s, other, rule)
    return bool(a > b or (a == b and task < other))


@lean
def _forget(s: Any, q: Any) -> None:
    """Drop those that run, that were ready anew since, or whose node is gone."""
    kept = 0
    for i in range(q.length[0]):
        task = q.queue[i]
        m = q.node[task]
        if s.status[task] == WAITING and s.ready[task] == q.ready[task] and s.up[m]:
            q.queue[kept] = task
            kept += 1
        else:
            q.node[task] = -1
    q.length[0] = kept


@lean
def _note_leaders(s: Any, q: Any) -> None:
    """Note whose slot stands for each ready task: interchangeable ones share one."""
    for j in range(s.cursor[PRESENT]):
        lead = s.first[s.by_arrival[j]]
        while lead >= 0:
            task = lead
            for _ in range(max(1, s.twins[lead])):
                q.leader[task] = lead
                task = s.twin[task]
            lead = s.link[lead]


@lean
def holdable(s: Any, task: int) -> bool:
    """Return whether some node that is there could ever hold a task."""
    m = 0
    while m < len(s.up) and not (s.up[m] and fits(s, task, m)):
        m += 1
    return m < len(s.up)


@lean
def _select(s: Any, q: Any, rule: int, shown: bool) -> int:
    """Return the executable task, not yet committed, that comes first by a rule, or -1.

    Args:
        s: The scene.
        q: The queues.
        rule: See ``FIFO`` and those beside it.
        shown: Whether only those count that have a slot.
    """
    best = -1
    for j in range(s.cursor[PRESENT]):
        lead = s.first[s.by_arrival[j]]
        while lead >= 0:
            if not shown or q.slot[lead] >= 0:
                task = lead
                for _ in range(max(1, s.twins[lead])):
                    if q.node[task] < 0 and _before(s, task, best, rule) and holdable(s, task):
                        best = task
                    task = s.twin[task]
            lead = s.link[lead]
    return best


@lean
def _lane(s: Any, node: int) -> int:
    """Return the lane of a node that is free first, ties to the lowest."""
    best = -1
    for lane in range(len(s.lane_of)):
        if s.lane_of[lane] == node and (best < 0 or s.lane_free[lane] < s.lane_free[best]):
            best = lane
    return best


@lean
def _start(s: Any, task: int, node: int, besides: int, free: float) -> float:
    """Return when a task could start on a node that is free at a time; s.

    Args:
        s: The scene.
        task: One whose parents have finished.
        node: Where.
        besides: A parent that is not counted, or -1.
        free: Seconds; not before now.
    """
    there = arrival_at(s, task, node, besides)
    if s.rules[PULL]:
        # Data that move only once the task is placed leave as much later as it is placed.
        there += free - s.time[0]
    return float(max(free, there))


@lean
def finish_on(s: Any, task: int, node: int, free: float) -> tuple[float, int]:
    """Return when a task finishes on a node, s, and the parent to copy for it, or -1.

    EFT and CPEFT of DEFT. The copy starts when its own inputs are there, and the task after it.

    Args:
        s: The scene.
        task: One whose parents have finished.
        node: Where.
        free: When the node has room, s.
    """
    seconds = estimated_seconds(s, task, node)
    least, copied = _start(s, task, node, -1, free) + seconds, -1
    if len(s.copies) == 0:
        return least, copied
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        p = s.parents[i]
        if s.data[i] == 0.0 or has_copy(s, p, node):
            continue
        done = _start(s, p, node, -1, free) + estimated_seconds(s, p, node)
        finish = max(done, _start(s, task, node, p, free)) + seconds
        if finish < least:
            least, copied = finish, p
    return least, copied


@lean
def best_node(s: Any, task: int) -> tuple[int, int, float]:
    """Return the node where a task finishes first, the parent to copy for it or -1, and when; s.

    Ties go to a node that has room now, which one whose task is overdue has not, then to the
    lowest. Lanes are taken to be free when :func:`expect` and later commitments said.
    """
    best, parent, least, roomy = -1, -1, np.inf, False
    for m in range(len(s.up)):
        if not s.up[m] or not fits(s, task, m):
            continue
        finish, copied = finish_on(s, task, m, s.lane_free[_lane(s, m)])
        if finish < least or (finish == least and not roomy and room(s, s.profile[task], m)):
            best, parent, least = m, copied, finish
            roomy = room(s, s.profile[task], m)
    return best, parent, float(least)


@lean
def commit(s: Any, q: Any, task: int) -> None:
    """Commit a task that some node can hold to the node where it finishes first."""
    best, parent, least = best_node(s, task)
    s.lane_free[_lane(s, best)] = least
    q.node[task] = best
    q.copied[task] = parent
    q.ready[task] = s.ready[task]
    q.queue[q.length[0]] = task
    q.length[0] += 1


@lean
def expect(s: Any, q: Any) -> None:
    """Note when each lane is thought to be free, after what runs and what is committed."""
    now = s.time[0]
    lane = 0
    while lane < len(s.lane_of):
        m = s.lane_of[lane]
        task = s.head[m]
        while lane < len(s.lane_of) and s.lane_of[lane] == m:
            s.lane_free[lane] = now if s.up[m] else np.inf
            if task >= 0:
                s.lane_free[lane] = max(now, s.started[task] + estimated_seconds(s, task, m))
                task = s.link[task]
            lane += 1
    for i in range(q.length[0]):
        task = q.queue[i]
        m = q.node[task]
        lane = _lane(s, m)
        finish, _ = finish_on(s, task, m, s.lane_free[lane])
        s.lane_free[lane] = finish


@lean
def _exchange(s: Any, q: Any, i: int, lead: int) -> None:
    """Let the interchangeable task that has the slot take place ``i`` of the queue."""
    task = q.queue[i]
    m, parent = q.node[task], q.copied[task]
    q.node[task], q.copied[task] = q.node[lead], q.copied[lead]
    q.node[lead], q.copied[lead] = m, parent
    q.ready[task], q.ready[lead] = s.ready[task], s.ready[lead]
    q.queue[i] = lead
    for j in range(q.length[0]):
        if j != i and q.queue[j] == lead:
            q.queue[j] = task


@lean
def head(s: Any, q: Any, mask: Mask) -> int:
    """Return the slot of the first task that heads its queue and whose node has room, or -1."""
    q.blocked[:] = False
    for i in range(q.length[0]):
        task = q.queue[i]
        m = q.node[task]
        lead = q.leader[task]
        slot = q.slot[lead]
        if q.blocked[m] or slot < 0:
            # Without a slot it cannot go: the next of the queue takes its turn.
            continue
        if mask[slot] and room(s, s.profile[task], m):
            if lead != task:
                _exchange(s, q, i, lead)
            return int(slot)
        q.blocked[m] = True
    return -1


@lean
def prepare(s: Any, q: Any, keys: Indices) -> None:
    """Bring the queues to the decision at hand; nothing is committed yet.

    Args:
        s: The scene.
        q: The queues, changed in place.
        keys: Tasks, shape [K].
    """
    for i in range(1, len(keys)):
        if keys[i] >= 0:
            q.slot[keys[i]] = i
    _forget(s, q)
    _note_leaders(s, q)


@lean
def settle(s: Any, q: Any, keys: Indices, mask: Mask, rule: int) -> int:
    """Return the slot of the task to hand over now, or 0 to wait for the node of one.

    Args:
        s: The scene.
        q: The queues, changed in place.
        keys: Tasks, shape [K].
        mask: Shape [K].
        rule: Which goes where nothing would ever come of waiting.
    """
    slot = head(s, q, mask)
    idle = True
    for m in range(len(s.up)):
        idle = idle and s.running[m] == 0
    if slot < 0 and (idle or not mask[0]):
        # Nothing would ever come of waiting: the first that is offered goes wherever it can.
        best = -1
        for i in range(1, len(keys)):
            if mask[i] and _before(s, keys[i], best, rule):
                best, slot = keys[i], i
    for i in range(1, len(keys)):
        if keys[i] >= 0:
            q.slot[keys[i]] = -1
    return max(0, slot)


@lean
def next_task(s: Any, q: Any, keys: Indices, mask: Mask, rule: int, strict: bool) -> int:
    """Return the slot of the task to hand over now, or 0 to wait for the node of one.

    Args:
        s: The scene.
        q: The queues, changed in place.
        keys: Tasks, shape [K].
        mask: Shape [K].
        rule: See ``FIFO`` and those beside it.
        strict: Whether no other task is considered until the selected one has been handed over.
    """
    prepare(s, q, keys)
    if not strict or q.length[0] == 0:
        task = _select(s, q, rule, strict)
        if task >= 0:
            expect(s, q)
        while task >= 0:
            commit(s, q, task)
            task = -1 if strict else _select(s, q, rule, strict)
    return settle(s, q, keys, mask, rule)


@lean
def next_node(s: Any, q: Any, task: int, mask: Mask) -> int:
    """Return the slot of the node that a task is committed to, with its copy; -1 if not offered."""
    m, M = q.node[task], len(s.up)
    if m < 0:
        return -1
    if q.copied[task] >= 0 and M + m < len(mask) and mask[M + m]:
        return int(M + m)
    return int(m) if mask[m] else -1


@dataclass(frozen=True, kw_only=True)
class Deft:
    """A rule that selects, and DEFT that allocates.

    A task stays with the node that it was committed to until it runs, unless the node is lost.
    Copies are made only where the scenario allows them. A node that holds several tasks at once
    counts as so many lanes, each with a part of its queue.

    Args:
        strict: Head of line: the selected task waits for its node, and nobody overtakes it. Else
            every executable task is committed at once and the heads of all queues may go.
    """

    strict: bool = False

    RULE: ClassVar[int]
    """How the next executable task is selected."""
    NAME: ClassVar[str]

    _queues: Queues | None = field(init=False, repr=False, compare=False, default=None)

    @property
    def name(self) -> str:
        """Name of the rule, with ``_strict`` where nobody overtakes."""
        return f"{self.NAME}_strict" if self.strict else self.NAME

    def reset(self, workload: Workload) -> None:
        """Begin with empty queues.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, PLACEMENT, workload)
        object.__setattr__(self, "_queues", empty(workload))

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of the queue's head, or of its node; shape [K]."""
        q, s, mask = self._queues, decision.known, decision.mask
        if q is None or len(q.node) != decision.scene.workload.tasks:
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        if decision.agent == "node":
            slot = int(next_node(s, q, decision.subject, mask))
            if slot < 0:
                slot = max(0, int(earliest_slot(s, decision.subject, decision.keys, mask)))
        else:
            slot = int(next_task(s, q, decision.keys, mask, self.RULE, self.strict))
        return certain(slot, len(mask))
