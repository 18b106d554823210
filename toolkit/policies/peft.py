"""PEFT over the jobs present, planned again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.planning.board import Plan
from toolkit.planning.peft import schedule
from toolkit.policies.planned import Outlook, Planned


@dataclass(frozen=True, kw_only=True)
class Peft(Planned):
    """PEFT of all jobs present as one graph, planned again at each arrival.

    Arabnejad and Barbosa, "List scheduling algorithm for heterogeneous systems by an optimistic
    cost table", TPDS 2014, doi:10.1109/TPDS.2013.57. Its table covers the tasks that run nowhere
    yet and the nodes that are there.
    """

    @property
    def name(self) -> str:
        """``peft``."""
        return "peft"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan by mean optimistic cost."""
        return planned(outlook)


def planned(outlook: Outlook) -> Plan:
    """Return the plan of PEFT."""
    board = outlook.board
    order, lane, start, finish, stuck = schedule(
        outlook.arrays, board.node, board.finish, board.lane_node, board.lane_free, outlook.tasks
    )
    outlook.check(outlook.tasks, stuck)
    return Plan(task=order, lane=lane, start=start, finish=finish)
