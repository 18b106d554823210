"""Curriculum: scenarios that a training plays one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import require
from toolkit.features.observe import sizes_of
from toolkit.learning.learner import Given, Stage
from toolkit.scenarios.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """What is played, and when.

    Args:
        stages: Scenarios that are played before the last, in order.
        last: The scenario that is played in the end.
    """

    stages: Sequence[Stage]
    last: Scenario

    def __post_init__(self) -> None:
        wanted = sizes_of(self.last.plan(0))
        for stage in self.stages:
            require(
                sizes_of(stage.scenario.plan(0)) == wanted,
                "a stage of the curriculum shows decisions of other sizes than the scenario",
                hint="change jobs and tasks, not nodes and slots",
            )

    @staticmethod
    def of(given: Given, name: str) -> Curriculum:
        """Return that of an algorithm.

        Raises:
            ConfigError: When it is given no scenario.
        """
        return Curriculum(stages=given.stages, last=given.played(name))

    def due(self, share: float) -> int:
        """Return the number of the stage that is due at a share of the training."""
        return sum(share >= stage.until for stage in self.stages)

    def scenario(self, stage: int) -> Scenario:
        """Return what a stage plays."""
        return self.stages[stage].scenario if stage < len(self.stages) else self.last
