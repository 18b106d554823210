"""Many copies of an environment, stepped in one compiled call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from toolkit.envs.batch import Batch
from toolkit.envs.environment import Observation, observations
from toolkit.envs.stepping import (
    ELAPSED,
    GOING,
    INVALID,
    OVER,
    REWARD,
    TERMINATED,
    TIME,
    TRUNCATED,
)
from toolkit.errors import require
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.scene import Scene
from toolkit.workload import Mask


class BatchedEnv(gymnasium.vector.VectorEnv[Observation, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """N copies of a :class:`~toolkit.envs.environment.SchedulingEnv`, each as if it were alone.

    Spaces and infos are those of a ``SyncVectorEnv`` of N such environments with the seeds
    ``seed``, ``seed + 1``, …, and so is what they hold. A copy whose episode is over starts the
    next in the step that follows, whatever its action, without a reward (Gymnasium's autoreset
    mode *next step*).

    Args:
        scenario: What is planned afresh for every episode.
        num_envs: N.
        seed: Seed of the first copy.
        observation_noise: As for a single environment.
        copy: Whether observations and the masks in ``info`` are the caller's to keep. Without, they
            are views of the arrays [N, …] that the next step overwrites.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int = 1,
        seed: int = 0,
        observation_noise: float | None = None,
        copy: bool = True,
    ) -> None:
        self.num_envs = num_envs
        self.copy = copy
        self._batch = Batch(scenario, range(seed, seed + num_envs), observation_noise)
        self.single_observation_space = observations(self._batch.sizes)
        self.single_action_space = spaces.Discrete(self._batch.sizes[1])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._everywhere = np.ones(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode of every copy.

        Args:
            seed: Of the first copy, or one for each; the next of each copy's own when absent.
            options: Not used.
        """
        if seed is None:
            seeds: Sequence[int | None] = [None] * self.num_envs
        else:
            seeds = range(seed, seed + self.num_envs) if isinstance(seed, int) else seed
        require(len(seeds) == self.num_envs, f"{self.num_envs} copies, but {len(seeds)} seeds")
        for i, one in enumerate(seeds):
            self._batch.start(i, one)
        return self._observations(), self._infos()

    def step(
        self, actions: npt.ArrayLike
    ) -> tuple[
        Observation,
        npt.NDArray[np.float64],
        npt.NDArray[np.bool_],
        npt.NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Take a slot in every copy.

        Args:
            actions: Shape [N].
        """
        batch = self._batch
        ended = np.flatnonzero(batch.flags[:, OVER])
        batch.step(actions)
        for i in ended:
            batch.start(int(i))
        over = batch.flags[:, OVER]
        return (
            self._observations(),
            batch.numbers[:, REWARD].copy(),
            over == TERMINATED,
            over == TRUNCATED,
            self._infos(),
        )

    def action_masks(self) -> Mask:
        """Return which slots may be chosen, shape [N, K]."""
        return self._batch.mask.copy() if self.copy else self._batch.mask

    def scene(self, copy: int) -> Scene:
        """Return where a copy stands."""
        return self._batch.scene(copy)

    def _observations(self) -> Observation:
        batch = self._batch
        shown: Observation = {
            "globals": batch.globals,
            "candidates": batch.candidates,
            "mask": batch.mask.view(np.int8),
        }
        return {name: array.copy() for name, array in shown.items()} if self.copy else shown

    def _infos(self) -> dict[str, Any]:
        batch = self._batch
        infos = self._told(
            {
                "action_mask": self.action_masks(),
                "time": batch.numbers[:, TIME].copy(),
                "elapsed": batch.numbers[:, ELAPSED].copy(),
                "components": self._told(dict(zip(batch.terms, batch.paid.T.copy(), strict=True))),
                "invalid": batch.flags[:, INVALID] != 0,
            }
        )
        for i in np.flatnonzero(batch.flags[:, OVER] != GOING):
            infos = self._add_info(infos, {"metrics": batch.metrics(int(i))}, int(i))
        return infos

    def _told(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add the arrays by which Gymnasium says which copies tell a value: here all."""
        return {**values, **{f"_{name}": self._everywhere for name in values}}
