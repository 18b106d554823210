"""HEFT job by job in the order of arrival, planned again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.planning.board import Plan
from toolkit.policies.planned import Outlook, Planned


@dataclass(frozen=True, kw_only=True)
class HeftFcfs(Planned):
    """HEFT job by job, first come first served, planned again at each arrival.

    Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, applied to one job after another
    in the order in which they arrived. A later job is planned around the earlier ones and may
    use the gaps that they leave, so it delays none of them in the plan.
    """

    @property
    def name(self) -> str:
        """``heft_fcfs``."""
        return "heft_fcfs"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan job by job, within one by upward rank."""
        return outlook.heft(outlook.job_by_job())
