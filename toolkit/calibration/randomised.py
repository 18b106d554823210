"""Randomised: a calibrated replay whose errors are part of what a policy trains against."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from toolkit.calibration.calibration import Calibration
from toolkit.calibration.executions import covariates
from toolkit.errors import require
from toolkit.reward import Reward
from toolkit.seeding import generator
from toolkit.simulator.simulator import Truth
from toolkit.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Randomised:
    """Lets the machine, each process type and the delays of an episode be off by some factor.

    The factors are log-normal with median one, drawn from the seed of the episode: a policy that
    holds against all of them does not lean on what the calibration cannot know. What policies are
    told stays as it is. Tobin et al., Domain Randomization for Transferring Deep Neural Networks
    from Simulation to the Real World, IROS 2017, arXiv 1703.06907.

    Args:
        of: The calibrated replay.
        spread: Standard deviation of the logarithm of each factor; by its held-out error a replay
            is off on runs that it has not seen.
    """

    of: Calibration
    spread: float

    def __post_init__(self) -> None:
        require(0 <= self.spread < 2, f"the spread must be from 0 to 2, got {self.spread}")

    @property
    def name(self) -> str:
        """That of the replay."""
        return self.of.name

    @property
    def weights(self) -> Reward:
        """Weights of the reward."""
        return self.of.weights

    @property
    def horizon(self) -> float:
        """Seconds after which an episode is truncated."""
        return self.of.horizon

    def plan(self, seed: int) -> Workload:
        """Return an unseen episode, as policies are shown it."""
        return self.of.plan(seed)

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Draw luck for every task, and the factors of the episode."""
        drawn = self.of.truth(workload, seed)
        types, _ = covariates(self.of.planned, workload)
        count = len(self.of.planned.types)
        factors = np.exp(self.spread * generator(seed, "uncertainty").standard_normal(count + 2))
        machine, delay, each = factors[0], factors[1], factors[2:]
        return replace(
            drawn,
            seconds=drawn.seconds * machine * each[types][:, None],
            start_delay=drawn.start_delay * delay,
            seen_delay=drawn.seen_delay * delay,
        )
