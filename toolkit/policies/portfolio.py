"""The best of several planners' plans, chosen whenever a job arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit.errors import require, unknown
from toolkit.planning.board import Plan
from toolkit.policies import cpop, lookahead, peft
from toolkit.policies.planned import Outlook, Planned

MEMBERS: dict[str, Callable[[Outlook], Plan]] = {
    "heft": lambda outlook: outlook.heft(outlook.merged()),
    "cpop": cpop.planned,
    "peft": peft.planned,
    "lookahead": lookahead.planned,
}
"""Planners to choose among; each plans all jobs present as one graph."""


@dataclass(frozen=True, kw_only=True)
class Portfolio(Planned):
    """The plan of least makespan among those of several planners, chosen at each arrival.

    Which list scheduler does best differs from graph to graph; planning with all of them costs
    little. Ties go to the earlier member.

    Args:
        members: Of ``heft``, ``cpop``, ``peft`` and ``lookahead``, in the order of preference.
    """

    members: Sequence[str]

    def __post_init__(self) -> None:
        require(
            not isinstance(self.members, str) and len(self.members) > 0,
            f"members must be a list of planners, got {self.members!r}",
        )
        for member in self.members:
            if member not in MEMBERS:
                raise unknown("planner", str(member), MEMBERS)
        object.__setattr__(self, "members", tuple(self.members))

    @property
    def name(self) -> str:
        """``portfolio``."""
        return "portfolio"

    def plan(self, outlook: Outlook) -> Plan:
        """Plan with each member and keep the plan that ends first."""
        plans = [MEMBERS[member](outlook) for member in self.members]
        return min(plans, key=lambda plan: float(plan.finish.max()))
