"""Scenario: what every scenario of every family is."""

from __future__ import annotations

from typing import Protocol

from toolkit.reward import Reward
from toolkit.simulator.simulator import Truth
from toolkit.workload import Workload


class Scenario(Protocol):
    """What arrives, on what cluster, how long things truly take, and what is paid.

    A scenario is a :class:`~toolkit.simulator.simulator.TruthModel`: ``Simulator(scenario, seed)``
    runs it.
    """

    @property
    def name(self) -> str:
        """Name of the scenario."""

    @property
    def weights(self) -> Reward:
        """Weights of its reward."""

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""

    def plan(self, seed: int) -> Workload:
        """Return the tasks, edges and estimates of one episode; same seed, same workload."""

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return how long everything truly takes; no policy sees it."""
