"""TDCA-like clustering and duplication, planned again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.decision import Decision
from toolkit.planning.board import Plan
from toolkit.planning.tdca import copied_parent, plan, primary
from toolkit.policies.planned import Outlook, Planned, Play
from toolkit.workload import DUPLICATE


@dataclass(frozen=True, kw_only=True)
class Tdca(Planned):
    """TDCA-like clusters of all jobs present, with copies of parents where they are allowed.

    After He, Meng, Pan, Yuan and Zhou, "A Novel Task-Duplication Based Clustering Algorithm for
    Heterogeneous Computing Environments", IEEE TPDS 2019; what of it is ours is told by
    ``toolkit.planning.tdca``. Planned again at each arrival. Here a task is ready only when its
    parents themselves have finished, and a placement takes along a copy of one parent at most,
    the one that lets it start first. So of the planned copies the last before a task is asked
    for, where such a placement is offered; the others, and all of them where the scenario does
    not allow copies, only shape the order.
    """

    @property
    def name(self) -> str:
        """``tdca``."""
        return "tdca"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan in clusters; without the copies."""
        return primary(plan(outlook.arrays, outlook.board, outlook.tasks))

    def renew(self, play: Play, decision: Decision, news: int) -> None:
        """Make a new plan with its copies."""
        outlook = play.outlook(decision, news)
        if len(outlook.tasks) == 0:
            return
        planned = plan(outlook.arrays, outlook.board, outlook.tasks)
        own = primary(planned)
        copied = copied_parent(outlook.arrays, planned) >= 0
        if not outlook.arrays.rules[DUPLICATE]:
            copied[:] = False
        play.adopt(decision.known, own._replace(lane=outlook.lane[own.lane]), copied)
