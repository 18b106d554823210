"""Disturbances: what no estimate tells, be it luck, stragglers, lost nodes or late news."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from toolkit.errors import require
from toolkit.simulator.state import KILLED, LOST, RETURNED
from toolkit.workload import Floats, Indices

ESTIMATES = ("exact", "mean", "blind")
"""What policies are told about durations. ``exact``: the truth, luck and stragglers included.
``mean``: work, sizes and speeds, and so the expected duration. ``blind``: one second for
everything; the structure is known all the same."""


def check_estimates(estimates: str) -> None:
    """Refuse what is none of ``ESTIMATES``."""
    require(
        estimates in ESTIMATES,
        f"estimates must be one of {', '.join(ESTIMATES)}, got {estimates!r}",
    )


def luck(n: int, sigma: float, rng: np.random.Generator) -> Floats:
    """Return log-normal factors with mean one, shape [n].

    Args:
        n: How many.
        sigma: Standard deviation of the logarithm.
        rng: What the numbers are drawn from; they are the same but for their spread for every
            ``sigma``.
    """
    return np.asarray(np.exp(sigma * rng.standard_normal(n) - 0.5 * sigma * sigma))


@dataclass(frozen=True, kw_only=True)
class Disturbances:
    """What goes wrong in an episode; nothing by default.

    Args:
        straggler_share: Probability that a task is a straggler.
        straggler_factor: How many times as long a straggler takes.
        losses: Mean seconds that a node is there before it is lost; inf where none is lost. The
            last node that is there is never lost.
        repair: Mean seconds until a lost node is there again.
        preemptions: Mean seconds between the moments at which everything that runs on a node is
            killed; inf where nothing is.
        start_delay: Seconds from handing a task over to its start.
        seen_delay: Seconds from an event to the controller's learning of it.
        observation_noise: Standard deviation of the logarithm of the factor by which environments
            distort what a policy is shown. Stored here; engines show the truth of the state.
    """

    straggler_share: float = 0.0
    straggler_factor: float = 1.0
    losses: float = math.inf
    repair: float = 60.0
    preemptions: float = math.inf
    start_delay: float = 0.0
    seen_delay: float = 0.0
    observation_noise: float = 0.0

    def __post_init__(self) -> None:
        require(
            0 <= self.straggler_share <= 1,
            f"straggler_share must be from 0 to 1, got {self.straggler_share}",
        )
        require(
            1 <= self.straggler_factor < math.inf,
            f"straggler_factor must be 1 or more, got {self.straggler_factor}",
        )
        for name in ("losses", "repair", "preemptions"):
            value = getattr(self, name)
            require(value > 0, f"{name} must be positive (mean seconds), got {value}")
        require(self.repair < math.inf, "repair must be finite: a lost node comes back")
        for name in ("start_delay", "seen_delay", "observation_noise"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} must be 0 or more, got {value}")

    def slow(self, scale: Floats, rng: np.random.Generator) -> Floats:
        """Return the sizes of tasks, those of stragglers multiplied, shape [n].

        Args:
            scale: Shape [n].
            rng: One number is drawn per task, whatever the share, so that a greater share only
                adds stragglers.
        """
        chosen = rng.random(len(scale)) < self.straggler_share
        return np.where(chosen, scale * self.straggler_factor, scale)

    def outages(
        self, nodes: int, horizon: float, rng: np.random.Generator
    ) -> tuple[Floats, Indices, Indices]:
        """Draw when nodes are lost, return, and have what runs on them killed.

        Each node is there for an exponential time and away for an exponential time, by itself,
        but for a loss that would leave no node: that one does not happen. What is lost before
        the horizon returns, if need be after it.

        Args:
            nodes: Number of nodes.
            horizon: Seconds before which losses and preemptions fall.
            rng: What the numbers are drawn from.

        Returns:
            Times in ascending order, nodes, and ``LOST``, ``RETURNED`` or ``KILLED``.
        """
        disturbed = min(self.losses, self.preemptions) < math.inf
        require(
            horizon < math.inf or not disturbed,
            "losses and preemptions need a finite horizon to be drawn for",
        )
        events: list[tuple[float, bool, int, int]] = []
        away = np.zeros(nodes)
        for lost, back, node in self._losses(nodes, horizon, rng):
            if np.count_nonzero(away > lost) < nodes - 1:
                away[node] = back
                # At one instant a node returns before another is lost.
                events += [(lost, True, node, LOST), (back, False, node, RETURNED)]
        if self.preemptions < math.inf:
            for node, count in enumerate(rng.poisson(horizon / self.preemptions, nodes)):
                events += [(at, True, node, KILLED) for at in rng.uniform(0, horizon, count)]
        events.sort()
        return (
            np.array([at for at, _, _, _ in events], dtype=np.float64),
            np.array([node for _, _, node, _ in events], dtype=np.int32),
            np.array([kind for _, _, _, kind in events], dtype=np.int32),
        )

    def _losses(
        self, nodes: int, horizon: float, rng: np.random.Generator
    ) -> list[tuple[float, float, int]]:
        """Draw when each node is lost and when it is back, in ascending order."""
        found = []
        for node in range(nodes) if self.losses < math.inf else ():
            lost = rng.exponential(self.losses)
            while lost < horizon:
                back = lost + rng.exponential(self.repair)
                found.append((lost, back, node))
                lost = back + rng.exponential(self.losses)
        return sorted(found)
