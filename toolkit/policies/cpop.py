"""CPOP over the jobs present, planned again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.planning.board import Plan
from toolkit.planning.cpop import schedule
from toolkit.policies.planned import Outlook, Planned


@dataclass(frozen=True, kw_only=True)
class Cpop(Planned):
    """CPOP of all jobs present as one graph, planned again at each arrival.

    Critical path on a processor: Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206.
    The one critical path is that of all jobs together, among the tasks that run nowhere yet:
    with several jobs that of the heaviest.
    """

    @property
    def name(self) -> str:
        """``cpop``."""
        return "cpop"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan by the sum of both ranks, the critical path on one node."""
        return planned(outlook)


def planned(outlook: Outlook) -> Plan:
    """Return the plan of CPOP."""
    board = outlook.board
    order, lane, start, finish, stuck = schedule(
        outlook.arrays, board.node, board.finish, board.lane_node, board.lane_free, outlook.tasks
    )
    outlook.check(outlook.tasks, stuck)
    return Plan(task=order, lane=lane, start=start, finish=finish)
