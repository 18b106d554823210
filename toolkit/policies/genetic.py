"""A genetic search over plans, begun from that of HEFT, again whenever a job arrives."""

from __future__ import annotations

from dataclasses import dataclass, fields

from toolkit.errors import require
from toolkit.planning.board import Plan
from toolkit.planning.genetic import Settings, plan
from toolkit.policies.planned import OVERFLOW, STUCK, Outlook, Planned
from toolkit.seeding import generator


@dataclass(frozen=True, kw_only=True)
class Genetic(Planned):
    """A genetic search for the plan of least makespan over all jobs present, at each arrival.

    Random keys (Bean, ORSA Journal on Computing 1994, doi:10.1287/ijoc.6.2.154) decoded by list
    scheduling, see ``toolkit.planning.genetic``; the first generation holds the plan of
    ``heft_merged``, so that no plan is worse. Every search of an episode has numbers of its own,
    and an episode repeats itself. A plan that has to be made between arrivals only because ready
    tasks have no slot is that of HEFT.

    Args:
        seed: Of the searches.
        population: Schedules of a generation.
        generations: How many follow one another.
        elite: The best, which live on unchanged.
        contestants: Schedules of which the best becomes a parent.
        crossover: Probability that a child has two parents.
        mutation: Expected number of tasks of a child whose priority and lane change.
        spread: Standard deviation of a change of priority, as a share of all tasks.
        fixed: Probability that a changed lane is a certain one, and not the best at its turn.
    """

    seed: int
    population: int
    generations: int
    elite: int
    contestants: int
    crossover: float
    mutation: float
    spread: float
    fixed: float

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed must be 0 or more, got {self.seed}")
        self._settings()

    @property
    def name(self) -> str:
        """``genetic``."""
        return "genetic"

    def plan(self, outlook: Outlook) -> Plan:
        """Search from the plan of HEFT, or keep to that where ready tasks lack a slot."""
        known = outlook.heft(outlook.merged())
        if not outlook.news & Planned.WHEN & ~(OVERFLOW | STUCK):
            return known
        seed = int(generator(self.seed, "search", outlook.number).integers(2**31))
        return plan(outlook.arrays, outlook.board, outlook.tasks, self._settings(), seed, known)

    def _settings(self) -> Settings:
        return Settings(**{f.name: getattr(self, f.name) for f in fields(Settings)})
