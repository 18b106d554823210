"""HEFT job by job, least remaining work first, planned again before every choice of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from toolkit.planning.board import Plan
from toolkit.policies.planned import INSTANT, Outlook, Planned


@dataclass(frozen=True, kw_only=True)
class SrptHeft(Planned):
    """HEFT job by job, shortest remaining processing time first, planned again at every epoch.

    HEFT (Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206) within a job; between jobs
    the rule that minimises the mean completion time on one machine (Schrage, Operations Research
    1968, doi:10.1287/opre.16.3.687): the job with the least estimated work that has not finished
    is planned first, the others around it.
    """

    WHEN: ClassVar[int] = Planned.WHEN | INSTANT

    @property
    def name(self) -> str:
        """``srpt_heft``."""
        return "srpt_heft"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan job by job by remaining work, within one by upward rank."""
        return outlook.heft(outlook.job_by_job(by_work=True))
