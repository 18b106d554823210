"""HEFT once for each job, behind everything that is planned already."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from toolkit.decision import Decision
from toolkit.planning.board import Plan
from toolkit.policies.planned import ARRIVAL, LOSS, RETURN, STUCK, Outlook, Planned, Play
from toolkit.workload import Floats, Workload


@dataclass(frozen=True, kw_only=True)
class HeftStatic(Planned):
    """HEFT once for each job as it arrives, never revised, shifted as tasks really end.

    Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, as it stands for a single job.
    A later job is planned behind what the plan holds already: a lane is free from the last
    planned finish on it, whatever has happened since. At run time nodes and orders are kept and
    only the times shift. What cannot be kept forces a new plan, when a node is lost or a task
    goes before its turn because the one planned there has no slot: then all that runs nowhere is
    planned afresh, again job by job, on what the running tasks are expected to leave. A killed
    task keeps its place.
    """

    WHEN: ClassVar[int] = ARRIVAL | LOSS | RETURN | STUCK
    WINDOW: ClassVar[bool] = False

    _until: Floats = field(
        init=False, repr=False, compare=False, default_factory=lambda: np.zeros(0)
    )

    @property
    def name(self) -> str:
        """``heft_static``."""
        return "heft_static"

    def reset(self, workload: Workload) -> None:
        """Prepare for an episode."""
        super().reset(workload)
        object.__setattr__(self, "_until", np.zeros(self._play.lanes if self._play else 0))

    def plan(self, outlook: Outlook) -> Plan:
        """Plan job by job in the order of arrival, each behind the last."""
        order = outlook.job_by_job()
        order = order[np.isin(order, outlook.tasks)]
        jobs = outlook.arrays.job_of[order]
        free = outlook.board.lane_free.copy()
        parts = []
        for tasks in np.split(order, np.flatnonzero(np.diff(jobs)) + 1):
            part = outlook.heft(tasks, free)
            np.maximum.at(free, part.lane, part.finish)
            parts.append(part)
        return joined(parts)

    def renew(self, play: Play, decision: Decision, news: int) -> None:
        """Plan the jobs that are new; all that runs nowhere where the nodes have changed."""
        afresh = news & (LOSS | STUCK) or (news & RETURN and play.barred)
        outlook = play.outlook(decision, news, whole=True)
        free, kept = outlook.board.lane_free, play.unfinished(decision.known)
        if not afresh:
            free = np.maximum(self._until[outlook.lane], outlook.time)
            new = outlook.tasks[~np.isin(outlook.tasks, kept.task)]
            outlook = replace(outlook, tasks=new, board=outlook.board._replace(lane_free=free))
        if len(outlook.tasks) == 0:
            return
        plan = self.plan(outlook)
        self._until[outlook.lane] = free
        plan = plan._replace(lane=outlook.lane[plan.lane])
        np.maximum.at(self._until, plan.lane, plan.finish)
        play.adopt(decision.known, plan if afresh else joined([kept, plan]))


def joined(plans: list[Plan]) -> Plan:
    """Return several plans as one."""
    return Plan._make(np.concatenate(columns) for columns in zip(*plans, strict=True))
