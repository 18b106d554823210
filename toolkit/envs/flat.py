"""Many copies of an environment as Stable-Baselines3 knows them, with flat observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from toolkit.envs.batch import Batch
from toolkit.envs.stepping import ELAPSED, GOING, OVER, REWARD, TIME, TRUNCATED
from toolkit.errors import require
from toolkit.scenarios.scenario import Scenario
from toolkit.workload import Floats, Ints, Mask, Vector


class FlatVecEnv(VecEnv):
    """N copies whose observations are ``[globals G | candidates K x F | mask K]``.

    A copy whose episode is over starts the next at once; ``infos`` then hold the last observation,
    of one that was cut what would be asked there, and the metrics of the episode.
    ``action_masks`` and ``env_method("action_masks")`` give what MaskablePPO asks for.

    Args:
        scenario: What is planned afresh for every episode.
        copies: N.
        seed: Of the first copy.
        alike: So many neighbours each play the same workloads with the same luck.

    Attributes:
        elapsed: Seconds that the last step of each copy took, shape [N].
        truncated: Copies whose episode was cut by the horizon in the last step, shape [N].
        sizes: G, K and F.
    """

    render_mode = None

    def __init__(self, scenario: Scenario, copies: int, seed: int = 0, alike: int = 1) -> None:
        require(
            alike >= 1 and copies % alike == 0,
            f"copies must be a multiple of those that are alike, got {copies} and {alike}",
        )
        self._batch = Batch(scenario, [seed + i // alike for i in range(copies)])
        self.sizes = self._batch.sizes
        G, K, F = self.sizes
        width = G + K * F + K
        super().__init__(
            copies,
            spaces.Box(-np.inf, np.inf, (width,), np.float32),
            spaces.Discrete(K),
        )
        self.elapsed: Floats = np.zeros(copies)
        self.truncated: Mask = np.zeros(copies, dtype=np.bool_)
        self._chosen: list[list[int]] = [[] for _ in range(copies)]
        self._pending: npt.NDArray[np.int64] = np.zeros(copies, dtype=np.int64)

    def reset(self) -> Vector:
        """Begin an episode of every copy, of the seeds given to :meth:`seed` where any were."""
        for i, seed in enumerate(self._seeds):
            self._batch.start(i, seed)
            self._chosen[i] = []
        self._reset_seeds()
        return self._observations()

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep what is chosen, shape [N]."""
        self._pending = np.asarray(actions, dtype=np.int64)

    def step_wait(self) -> Any:
        """Carry it out."""
        batch = self._batch
        batch.step(self._pending)
        for chosen, action in zip(self._chosen, self._pending.tolist(), strict=True):
            chosen.append(action)
        self.elapsed[:] = batch.numbers[:, ELAPSED]
        rewards = batch.numbers[:, REWARD].astype(np.float32)
        over = batch.flags[:, OVER]
        dones = over != GOING
        self.truncated = over == TRUNCATED
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            last = self._observations()
            for i in np.flatnonzero(dones).tolist():
                infos[i] = {
                    "terminal_observation": last[i],
                    "TimeLimit.truncated": bool(self.truncated[i]),
                    "metrics": batch.metrics(i),
                }
                batch.start(i)
                self._chosen[i] = []
        return self._observations(), rewards, dones, infos

    def moment(self) -> tuple[Ints, Floats]:
        """Return the seed of each copy's workload and its simulated time, s; shapes [N]."""
        return np.array(self._batch.seeds), self._batch.numbers[:, TIME].copy()

    def action_masks(self) -> Mask:
        """Return which slots may be chosen, shape [N, K]."""
        mask: Mask = self._batch.mask.copy()
        return mask

    def state(self) -> list[dict[str, Any]]:
        """Return where every copy stands, JSON-able."""
        return [
            {"seed": int(seed), "stream": self._batch.stream(i), "chosen": list(self._chosen[i])}
            for i, seed in enumerate(self._batch.seeds)
        ]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> Vector:
        """Bring every copy to where it stood; return what is observed there, shape [N, W]."""
        for i, told in enumerate(state):
            self._batch.resume(i, told["seed"], told["stream"], told["chosen"])
            self._chosen[i] = list(told["chosen"])
        return self._observations()

    def _observations(self) -> Vector:
        batch = self._batch
        n = self.num_envs
        parts = (batch.globals, batch.candidates.reshape(n, -1), batch.mask)
        found: Vector = np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")
        return found

    def close(self) -> None:
        """Nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same for all copies."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: copies have no attributes of their own."""
        raise AttributeError(f"{attr_name!r} cannot be set: the copies share one batch")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Call ``action_masks``, the only method of a copy."""
        if method_name != "action_masks":
            raise AttributeError(f"copies have the method 'action_masks', not {method_name!r}")
        return [self._batch.mask[i].copy() for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False for every copy."""
        return [False for _ in self._get_indices(indices)]
