"""HEFT over the jobs present as one graph, planned again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.planning.board import Plan
from toolkit.policies.planned import Outlook, Planned


@dataclass(frozen=True, kw_only=True)
class HeftMerged(Planned):
    """HEFT of all jobs present as one graph, planned again at each arrival.

    Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task scheduling for
    heterogeneous computing", TPDS 2002, doi:10.1109/71.993206, plan one job. Here all tasks of
    the jobs present that run nowhere yet stand under one pseudo entry and exit: they are planned
    by descending upward rank, whatever their job, each with insertion on the lane where it
    finishes first, behind what runs. A lost or returned node and a killed task call for a new
    plan too; between plans the order on each node is kept, however long tasks take.
    """

    @property
    def name(self) -> str:
        """``heft_merged``."""
        return "heft_merged"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan by upward rank over all jobs."""
        return outlook.heft(outlook.merged())
