"""Lookahead HEFT over the jobs present, planned again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.planning.board import Plan
from toolkit.planning.lookahead import schedule
from toolkit.policies.planned import Outlook, Planned


@dataclass(frozen=True, kw_only=True)
class Lookahead(Planned):
    """Lookahead HEFT of all jobs present as one graph, planned again at each arrival.

    Bittencourt, Sakellariou and Madeira, "DAG scheduling using a lookahead variant of the
    heterogeneous earliest finish time algorithm", PDP 2010, doi:10.1109/PDP.2010.56.
    """

    @property
    def name(self) -> str:
        """``lookahead``."""
        return "lookahead"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan by upward rank, each task where its last child could finish first."""
        return planned(outlook)


def planned(outlook: Outlook) -> Plan:
    """Return the plan of lookahead HEFT."""
    board, order = outlook.board, outlook.merged()
    lane, start, finish, stuck = schedule(
        outlook.arrays, board.node, board.finish, board.lane_node, board.lane_free, order
    )
    outlook.check(order, stuck)
    return Plan(task=order, lane=lane, start=start, finish=finish)
