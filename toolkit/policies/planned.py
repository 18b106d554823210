"""Planned: how a planner plays where a task is handed over only when its node has room.

A planner settles the node and the start of every task ahead. Here only ready tasks can be
placed, on nodes with room, and nothing queues at a node. So a planner keeps its plan to itself,
hands over the next planned pair whenever it can go, and waits when none can.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from toolkit.decision import Decision
from toolkit.errors import ToolkitError, require
from toolkit.features.placement import FINISH_IN, RANK
from toolkit.planning.board import Board, Plan, lanes
from toolkit.planning.heft import obstacle, schedule
from toolkit.policies.family import require_family
from toolkit.policies.policy import certain
from toolkit.simulator.compiled import lean, njit
from toolkit.simulator.rules import estimated_seconds
from toolkit.simulator.state import (
    DONE,
    EPOCH,
    JOBS_DONE,
    JOBS_IN_SYSTEM,
    N_KILLED,
    PRESENT,
    RUNNING,
    WAITING,
    room,
)
from toolkit.workload import (
    PLACEMENT,
    Floats,
    Indices,
    Ints,
    Mask,
    Workload,
    WorkloadArrays,
    fits,
)

ARRIVAL, LOSS, RETURN, KILL, INSTANT, OVERFLOW, STUCK = 1, 2, 4, 8, 16, 32, 64
"""What may call for a new plan, as bits: a job arrived; a node was lost; a node is there again; a
task was killed; an epoch opened; a task that should go has no slot; the plan cannot be kept."""

_BARRED = -2  # in place of a node, of tasks that no node that is there can hold


@lean
def _news(s: Any, noted: Ints) -> int:
    """Return what has happened since the last call; ``noted`` is written, shape [3 + M]."""
    found = 0
    arrived = int(s.totals[JOBS_IN_SYSTEM] + s.totals[JOBS_DONE])
    killed = int(s.totals[N_KILLED])
    if noted[0] != arrived:
        found |= ARRIVAL
    if noted[1] != killed:
        found |= KILL
    if noted[2] != s.cursor[EPOCH]:
        found |= INSTANT
    noted[0], noted[1], noted[2] = arrived, killed, s.cursor[EPOCH]
    for m in range(len(s.up)):
        if s.up[m] < noted[3 + m]:
            found |= LOSS
        elif s.up[m] > noted[3 + m]:
            found |= RETURN
        noted[3 + m] = s.up[m]
    return found


@njit
def _lanes_now(s: Any, lane_of: Indices) -> tuple[Indices, Floats, float]:
    """Return the lanes of nodes that are there, when each is expected to be free, and now; s."""
    now = s.time[0]
    lane, free = np.empty(len(lane_of), dtype=np.int32), np.empty(len(lane_of))
    count = i = 0
    while i < len(lane_of):
        m = lane_of[i]
        first = count
        while i < len(lane_of) and lane_of[i] == m:
            if s.up[m]:
                lane[count], free[count] = i, now
                count += 1
            i += 1
        task, at = s.head[m], first
        while task >= 0 and first < count:
            expected = s.started[task] + estimated_seconds(s, task, m)
            free[at] = max(free[at], expected)
            at = min(at + 1, count - 1)
            task = s.link[task]
    return lane[:count], free[:count], now


@lean
def _left(s: Any) -> int:
    """Return how many tasks of the jobs present have not finished."""
    count = 0
    for j in range(s.cursor[PRESENT]):
        count += s.left[s.by_arrival[j]]
    return count


@njit
def _job_by_job(s: Any, node: Indices, by_work: bool) -> Indices:
    """Return the tasks that a survey found, job after job, within one by upward rank."""
    tasks = np.empty(_left(s), dtype=np.int32)
    count = 0
    for j in range(s.cursor[PRESENT]):
        job = s.by_work[j] if by_work else s.by_arrival[j]
        for i in range(s.front[job], s.job_ptr[job + 1]):
            task = s.by_rank[i]
            if s.status[task] < RUNNING and node[task] != _BARRED:
                tasks[count] = task
                count += 1
    return tasks[:count]


@njit
def _sequence(s: Any, task: Indices, place: Ints) -> Indices:
    """Return an order in which parents come first and all else is as it was, shape [k].

    Args:
        s: The scene.
        task: The tasks of a plan, shape [k].
        place: All -1, and so again on return; shape [n].
    """
    k = len(task)
    order = np.arange(k).astype(np.int32)
    for i in range(k):
        place[task[i]] = i
    waits = np.zeros(k, dtype=np.int64)
    broken = False
    for i in range(k):
        for e in range(s.parent_ptr[task[i]], s.parent_ptr[task[i] + 1]):
            p = place[s.parents[e]]
            waits[i] += p >= 0
            broken = broken or p > i
    if broken:
        heap = [i for i in range(k) if waits[i] == 0]
        for turn in range(k):
            i = heapq.heappop(heap)
            order[turn] = i
            for e in range(s.child_ptr[task[i]], s.child_ptr[task[i] + 1]):
                c = place[s.children[e]]
                if c >= 0:
                    waits[c] -= 1
                    if waits[c] == 0:
                        heapq.heappush(heap, c)
    for i in range(k):
        place[task[i]] = -1
    return order


@njit
def _unfinished(s: Any, task: Indices) -> Mask:
    """Return which tasks have not finished, shape [k]."""
    open_ = np.empty(len(task), dtype=np.bool_)
    for i in range(len(task)):
        open_[i] = s.status[task[i]] < DONE
    return open_


@lean
def _stands_for(s: Any, task: int) -> int:
    """Return the task whose slot is that of a waiting one: the lowest of its group of twins."""
    if s.twins[task] > 0:
        return task
    lead = s.first[s.job_of[task]]
    while lead >= 0:
        if s.rank[lead] == s.rank[task]:
            member = lead
            for _ in range(s.twins[lead] - 1):
                member = s.twin[member]
                if member == task:
                    return int(lead)
        lead = s.link[lead]
    return task


@lean
def _slot(s: Any, keys: Indices, task: int) -> int:
    """Return the slot of a ready task, which may be that of a twin; -1 where it has none."""
    lead = _stands_for(s, task)
    for slot in range(1, len(keys)):
        if keys[slot] == lead:
            return slot
    return -1


@njit
def _survey(s: Any, node: Indices, finish: Floats, keys: Indices) -> tuple[Indices, int]:
    """Note where the tasks of the jobs present stand; return those to plan, ascending.

    A plan costs as much as the jobs present do, however many have come and gone.

    Args:
        s: The scene.
        node: Of the board, written for the jobs present; shape [n].
        finish: Of the board, likewise; s, shape [n].
        keys: The ready tasks that may be planned, with their twins; all where it is empty.

    Returns:
        The tasks, shape [k]; and the number of those that cannot be planned at present.
    """
    now = s.time[0]
    tasks = np.empty(_left(s), dtype=np.int32)
    count = barred = 0
    for j in range(s.cursor[PRESENT]):
        job = s.by_arrival[j]
        for task in range(s.job_ptr[job], s.job_ptr[job + 1]):
            if s.status[task] >= RUNNING:
                node[task] = s.node[task]
                finish[task] = s.finished[task]
                if s.status[task] == RUNNING:
                    expected = s.started[task] + estimated_seconds(s, task, s.node[task])
                    finish[task] = max(now, expected)
                continue
            node[task] = _BARRED
            for m in range(len(s.up)):
                if s.up[m] and fits(s, task, m):
                    node[task] = -1
                    break
            if len(keys) > 0 and s.status[task] == WAITING and _slot(s, keys, task) < 0:
                node[task] = _BARRED
            for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
                if node[s.parents[i]] == _BARRED:
                    node[task] = _BARRED
            if node[task] == _BARRED:
                barred += 1
            else:
                tasks[count] = task
                count += 1
    return np.sort(tasks[:count]), barred


@lean
def _exchange(task: Indices, i: int, twin: int) -> None:
    """Let a twin take place ``i`` in the plan, and the task there its place."""
    for j in range(len(task)):
        if task[j] == twin:
            task[j] = task[i]
    task[i] = twin


@lean
def _lacks(task: Indices, keys: Indices) -> bool:
    """Return whether a task with a slot is not in the plan."""
    for slot in range(1, len(keys)):
        found = keys[slot] < 0
        for i in range(len(task)):
            found = found or task[i] == keys[slot]
        if not found:
            return True
    return False


@lean
def _late(s: Any, task: int, start: float) -> bool:
    """Return whether a blocked task is behind its plan, or a parent has outlived its estimate."""
    now = s.time[0]
    if start < now:
        return True
    for i in range(s.parent_ptr[task], s.parent_ptr[task + 1]):
        p = s.parents[i]
        if s.status[p] == RUNNING and s.started[p] + estimated_seconds(s, p, s.node[p]) < now:
            return True
    return False


@lean
def _next(
    s: Any,
    task: Indices,
    lane: Indices,
    start: Floats,
    lane_of: Indices,
    turns: Ints,
    held: Mask,
    skipped: Mask,
    keys: Indices,
    mask: Mask,
    strict: bool,
) -> tuple[int, bool, int]:
    """Find the next planned pair that can go.

    Only the first of a lane may go, wherever its node has room. Lanes are a way to plan and no
    place of their own: on a node of several the first of one may start while the task before
    it still runs, as long as the other idle lanes suffice for those that are planned earlier and
    are not ready. One that is late keeps no lane idle. So with exact estimates nothing starts
    later than planned.

    Args:
        s: The scene.
        task: Of the plan, in the order of starts; shape [k]. Twins may change places in it.
        lane: Of the plan, shape [k].
        start: Of the plan, s; shape [k].
        lane_of: Node of each lane, shape [L].
        turns: Written on, shape [M].
        held: Written on, shape [L].
        skipped: Written on, shape [L].
        keys: Of the decision, shape [K].
        mask: Of the decision, shape [K].
        strict: Whether a task must wait for those planned before it on its node.

    Returns:
        A slot; 0 where none can go, -1 where nothing runs besides. Whether twins changed places.
        And 2 where the one goes before its turn, as another has no slot, 1 where such ones were
        passed over, else 0.
    """
    idle = True
    passed = 0
    for m in range(len(s.up)):
        turns[m] = -s.running[m]
        idle = idle and s.running[m] == 0
    for i in range(len(lane_of)):
        turns[lane_of[i]] += 1
        held[i] = not s.up[lane_of[i]]
        skipped[i] = False
    for m in range(len(s.up)):
        turns[m] = max(1, turns[m])
    for i in range(len(task)):
        t, m = task[i], lane_of[lane[i]]
        if turns[m] == 0 or held[lane[i]] or s.status[t] >= RUNNING:
            continue
        if s.status[t] == WAITING and room(s, s.profile[t], m):
            slot = _slot(s, keys, t)
            if slot > 0 and mask[slot]:
                lead = keys[slot]
                if lead != t:
                    _exchange(task, i, lead)
                return slot, lead != t, 2 if skipped[lane[i]] else passed
            # It has no slot: the next one takes its turn.
            skipped[lane[i]] = True
            passed = 1
        elif strict:
            held[lane[i]] = True
            if s.status[t] == WAITING or not _late(s, t, start[i]):
                turns[m] -= 1
    return -1 if idle else 0, False, passed


@lean
def _home(task: Indices, node: Indices, copied: Mask, subject: int, nodes: int, mask: Mask) -> int:
    """Return the slot of the planned node of a task, with its copy where one is offered; or -1."""
    for i in range(len(task)):
        if task[i] == subject:
            m = node[i]
            if copied[i] and nodes + m < len(mask) and mask[nodes + m]:
                return int(nodes + m)
            return int(m) if mask[m] else -1
    return -1


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a planner starts from: the jobs present, as they stand.

    Args:
        time: Now, s.
        known: State and workload as compiled code reads them.
        arrays: The workload.
        board: Where the work stands, on lanes of nodes that are there.
        lane: Which lanes of the cluster those of the board are, shape [l].
        tasks: What can be planned: tasks of the jobs present that run or ran nowhere yet,
            ascending; shape [k].
        number: Plans made before in this episode.
        news: What calls for a plan, see ``ARRIVAL``.
    """

    time: float
    known: Any
    arrays: WorkloadArrays
    board: Board
    lane: Indices
    tasks: Indices
    number: int
    news: int

    def merged(self) -> Indices:
        """Return the tasks by descending upward rank, ties by id: all jobs as one; shape [k]."""
        return self.tasks[np.argsort(-self.arrays.rank[self.tasks], kind="stable")]

    def job_by_job(self, *, by_work: bool = False) -> Indices:
        """Return the tasks job after job, within one by descending upward rank; shape [k].

        Args:
            by_work: Whether the jobs with least remaining estimated work come first, and not
                those that arrived first.
        """
        return _job_by_job(self.known, self.board.node, by_work)

    def heft(self, order: Indices, lane_free: Floats | None = None) -> Plan:
        """Plan tasks in an order, each on the lane where it finishes first, with insertion.

        Args:
            order: Tasks, parents first; shape [k].
            lane_free: When the lanes can be used, s; as the board says when absent. Shape [l].
        """
        board = self.board
        free = board.lane_free if lane_free is None else lane_free
        lane, start, finish, stuck = schedule(
            self.arrays, board.node, board.finish, board.lane_node, free, order, True
        )
        self.check(order, stuck)
        return Plan(task=order, lane=lane, start=start, finish=finish)

    def check(self, tasks: Indices, stuck: int) -> None:
        """Raise where a planner says that it could not plan a task; -1 is none."""
        if stuck >= 0:
            raise obstacle(self.arrays, self.board, tasks, stuck)


class Play:
    """What a planned policy remembers during an episode: its plan, and what it was made of.

    Args:
        workload: The episode's workload.
    """

    def __init__(self, workload: Workload) -> None:
        w = workload.arrays
        n, M = workload.tasks, len(w.capacity)
        self._arrays = w
        self._lane_of = lanes(w)
        self._turns = np.zeros(M, dtype=np.int64)
        self._held = np.zeros(len(self._lane_of), dtype=np.bool_)
        self._skipped = np.zeros(len(self._lane_of), dtype=np.bool_)
        self.passed = 0
        """Of the last pick: 1 if it passed over tasks without a slot, 2 if it broke their order."""
        self._partial = False
        self._node = np.full(n, -1, dtype=np.int32)
        self._finish = np.full(n, np.nan)
        self._place = np.full(n, -1, dtype=np.int64)
        self._noted = np.concatenate([[-1, -1, -1], np.ones(M, dtype=np.int64)])
        self._plans = 0
        self.barred = 0
        """Tasks that were left out of the last outlook."""
        none = np.zeros(0, dtype=np.int32)
        self.plan = Plan(task=none, lane=none, start=np.zeros(0), finish=np.zeros(0))
        """The plan that is acted out, by planned start; its lanes are those of the cluster."""
        self._on = self.plan.lane
        self._copied = np.zeros(0, dtype=np.bool_)

    @property
    def lanes(self) -> int:
        """Number of lanes of the cluster."""
        return len(self._lane_of)

    def fits(self, decision: Decision) -> bool:
        """Return whether a decision is about a workload of the size that this was made for."""
        w = decision.scene.workload
        return w.tasks == len(self._node) and len(w.arrays.capacity) == len(self._turns)

    def news(self, decision: Decision) -> int:
        """Return what has happened since the last call, see ``ARRIVAL``."""
        found = int(_news(decision.known, self._noted))
        if self._partial:
            found |= OVERFLOW
        return found | STUCK if self.passed == 2 else found

    def outlook(self, decision: Decision, news: int, *, whole: bool = False) -> Outlook:
        """Return what a planner starts from now.

        In an overflow the ready tasks without a slot are left out with everything that waits
        for them: a plan that counts on them could not be acted out.

        Args:
            decision: The choice of a task.
            news: What calls for a plan.
            whole: Whether to leave nothing out.
        """
        known = decision.known
        lane, free, now = _lanes_now(known, self._lane_of)
        window = bool(news & OVERFLOW) and not whole
        keys = decision.keys if window else decision.keys[:0]
        tasks, barred = _survey(known, self._node, self._finish, keys)
        self.barred = int(barred)
        self._partial = window and self.barred > 0
        self._plans += 1
        return Outlook(
            time=float(now),
            known=known,
            arrays=self._arrays,
            board=Board(self._node, self._finish, self._lane_of[lane], free),
            lane=lane,
            tasks=tasks,
            number=self._plans - 1,
            news=news,
        )

    def unfinished(self, known: Any) -> Plan:
        """Return what the plan says of the tasks that have not finished."""
        left = _unfinished(known, self.plan.task)
        return Plan._make(column[left] for column in self.plan)

    def adopt(self, known: Any, plan: Plan, copied: Mask | None = None) -> None:
        """Act out another plan from now on.

        Args:
            known: State and workload as compiled code reads them.
            plan: With lanes of the cluster, shape [k].
            copied: For which tasks it copies a parent, shape [k].
        """
        self.passed = 0
        # Of equal starts the earlier finish: a task without duration delays nobody.
        self._arrange(
            plan,
            np.zeros(len(plan.task), dtype=np.bool_) if copied is None else copied,
            np.lexsort((plan.finish, plan.start)),
        )
        self._in_sequence(known)

    def pick(self, decision: Decision, *, strict: bool) -> int:
        """Return the slot of the next planned pair that can go.

        Args:
            decision: The choice of a task.
            strict: Whether a task must wait for those planned before it on its node.

        Returns:
            A slot; 0 where none can go; -1 where none can, and nothing runs or waiting is not
            allowed.
        """
        slot, exchanged, passed = _next(
            decision.known,
            self.plan.task,
            self.plan.lane,
            self.plan.start,
            self._lane_of,
            self._turns,
            self._held,
            self._skipped,
            decision.keys,
            decision.mask,
            strict,
        )
        self.passed = int(passed)
        if exchanged:
            self._in_sequence(decision.known)
        return int(slot) if slot != 0 or decision.mask[0] else -1

    def lacks(self, decision: Decision) -> bool:
        """Return whether the plan was made in an overflow and lacks a task that has a slot now."""
        return self._partial and bool(_lacks(self.plan.task, decision.keys))

    def home(self, decision: Decision) -> int:
        """Return the slot of the planned node of the picked task, or -1 where it has no room."""
        return int(
            _home(
                self.plan.task,
                self._on,
                self._copied,
                decision.subject,
                len(self._turns),
                decision.mask,
            )
        )

    def _arrange(self, plan: Plan, copied: Mask, order: Indices | Ints) -> None:
        self.plan = Plan._make(column[order] for column in plan)
        self._on = self._lane_of[self.plan.lane]
        self._copied = copied[order]

    def _in_sequence(self, known: Any) -> None:
        """Let parents come before their children, whatever the planned starts are.

        A task is ready only when its parents have finished themselves: a plan that counts on a
        copy of a parent, or whose twins changed places but not their children, might wait for
        itself otherwise.
        """
        order = _sequence(known, self.plan.task, self._place)
        if (order[1:] < order[:-1]).any():
            self._arrange(self.plan, self._copied, order)


@dataclass(frozen=True, kw_only=True)
class Planned(ABC):
    """A policy that acts out a plan of its own.

    Asked for a task it answers with the next planned pair whose node has room now, in the order
    of planned starts, as long as the order on each lane is kept; with ``wait`` where none can go.
    Where the plan names one of several interchangeable tasks, the one that has the slot takes
    its place. Where a task that should go has no slot the plan cannot be acted out: as long as
    ready tasks lack slots, those that have one are planned afresh at need, with all that
    waits for none but them. If nothing runs and nothing can go, the plan is made afresh and its
    order on the lanes binds nobody; if that does not help, the offered task of highest rank goes
    where it finishes first. So no answer is illegal and no episode hangs.

    What was really done is read from the state, never from its own answers: it may be one part
    of a mixture, or be asked about decisions that another took.
    """

    WHEN: ClassVar[int] = ARRIVAL | LOSS | RETURN | KILL | STUCK
    """What calls for a new plan."""
    WINDOW: ClassVar[bool] = True
    """Whether to plan only what has a slot where some ready task has none."""

    _play: Play | None = field(init=False, repr=False, compare=False, default=None)

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name."""

    @abstractmethod
    def plan(self, outlook: Outlook) -> Plan:
        """Return a plan for the tasks of an outlook, on the lanes of its board."""

    def reset(self, workload: Workload) -> None:
        """Prepare for an episode.

        Raises:
            ConfigError: When the workload is of another family.
        """
        require_family(self.name, PLACEMENT, workload)
        require(
            bool((workload.arrays.profile_of_type >= 0).all()),
            f"policy {self.name!r} cannot plan tasks whose type has no resource profile",
        )
        object.__setattr__(self, "_play", Play(workload))

    def probabilities(self, decision: Decision) -> Floats:
        """Return the one-hot distribution of what the plan says, shape [K]."""
        play = self._play
        if play is None or not play.fits(decision):
            raise ToolkitError(
                f"policy {self.name!r} was not prepared for this workload; call reset(workload)"
            )
        if decision.agent == "node":
            slot = play.home(decision)
            if slot < 0:
                finish = decision.candidates[:, FINISH_IN]
                slot = int(np.argmin(np.where(decision.mask, finish, np.inf)))
        else:
            slot = self._task(play, decision)
        return certain(slot, len(decision.mask))

    def renew(self, play: Play, decision: Decision, news: int) -> None:
        """Make a new plan.

        Args:
            play: Of this episode.
            decision: The choice of a task.
            news: What called for it, see ``ARRIVAL``.
        """
        outlook = play.outlook(decision, news)
        if len(outlook.tasks) > 0:
            plan = self.plan(outlook)
            play.adopt(decision.known, plan._replace(lane=outlook.lane[plan.lane]))

    def _task(self, play: Play, decision: Decision) -> int:
        news = play.news(decision)
        if news & self.WHEN:
            self.renew(play, decision, news)
        slot = play.pick(decision, strict=True)
        if self.WINDOW and (play.passed or (slot <= 0 and play.lacks(decision))):
            self.renew(play, decision, news | OVERFLOW)
            slot = play.pick(decision, strict=True)
        if slot < 0:
            self.renew(play, decision, news | STUCK)
            slot = play.pick(decision, strict=False)
        if slot >= 0:
            return slot
        offered = decision.mask.copy()
        offered[0] = False
        if not offered.any():
            return 0
        return int(np.argmax(np.where(offered, decision.candidates[:, RANK], -np.inf)))
