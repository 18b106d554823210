"""One episode after another as a Gymnasium environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from toolkit import gantt, history
from toolkit.envs.batch import Batch
from toolkit.envs.stepping import OVER, REWARD, TERMINATED, TRUNCATED
from toolkit.scenarios.scenario import Scenario
from toolkit.schedule import Schedule
from toolkit.simulator.scene import Scene
from toolkit.workload import Mask

Observation = dict[str, npt.NDArray[Any]]


def observations(sizes: tuple[int, int, int], mask: str = "mask") -> spaces.Dict:
    """Return the space of observations: features in documented units, without bounds.

    Args:
        sizes: G, K and F.
        mask: Name of the mask.
    """
    G, K, F = sizes
    return spaces.Dict(
        {
            "globals": spaces.Box(-np.inf, np.inf, (G,), np.float32),
            "candidates": spaces.Box(-np.inf, np.inf, (K, F), np.float32),
            mask: spaces.MultiBinary(K),
        }
    )


class SchedulingEnv(gymnasium.Env[Observation, np.int64]):
    """Every step is one choice among masked slots; time passes where none is due.

    An observation holds ``globals`` [G], ``candidates`` [K, F] and ``mask`` [K], 1 where a slot
    may be chosen; ``toolkit.features.observe.features_of`` names the features. The reward is paid
    with the last choice of an instant, for the time until the next. An episode terminates when
    every job has finished and is truncated at the scenario's horizon; both keep the last
    observation. Rewards of one episode sum to the weighted running sums of its last state.

    Agents that sample blindly, as the checkers of Gymnasium and Stable-Baselines3 do, choose
    masked slots: the first slot that is allowed is then taken instead, and counted.

    ``info`` holds ``action_mask`` [K], ``time`` and ``elapsed`` since the last choice in s,
    ``components``, the unweighted terms of the reward by name, ``invalid``, whether the action was
    masked, and at the end of an episode ``metrics``, see :meth:`toolkit.envs.batch.Batch.metrics`.
    ``copy.deepcopy`` gives an environment that goes on from the same moment.

    Args:
        scenario: What is planned afresh for every episode.
        seed: Seed of the first workload and of the stream of those after it; ``reset(seed=...)``
            starts both anew.
        observation_noise: Standard deviation of the logarithm of a factor with mean one by which
            every feature errs; masks are exact. That of the scenario's disturbances when absent.
        render_mode: ``rgb_array`` for a Gantt chart of what has run so far, or nothing.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        scenario: Scenario,
        seed: int = 0,
        observation_noise: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._batch = Batch(scenario, [seed], observation_noise)
        self.render_mode = render_mode
        self.observation_space = observations(self._batch.sizes)
        self.action_space = spaces.Discrete(self._batch.sizes[1])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Plan a workload and go to its first choice; ``options`` are not used."""
        super().reset(seed=seed)
        self._batch.start(0, seed)
        return self._observation(), self._batch.info(0)

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take a slot and go to the next choice; after the end of an episode nothing changes."""
        batch = self._batch
        batch.step(action)
        over = batch.flags[0, OVER]
        return (
            self._observation(),
            float(batch.numbers[0, REWARD]),
            bool(over == TERMINATED),
            bool(over == TRUNCATED),
            self._batch.info(0),
        )

    def action_masks(self) -> Mask:
        """Return which slots may be chosen, as ``MaskablePPO`` of sb3-contrib asks; shape [K]."""
        mask: Mask = self._batch.mask[0].copy()
        return mask

    @property
    def scene(self) -> Scene:
        """Where the episode stands; the truth is in its ``world``."""
        return self._batch.scene(0)

    def schedule(self, policy: str = "agent") -> Schedule:
        """Return what has run so far.

        Args:
            policy: Name of what decided.
        """
        return history.schedule_of(self.scene, policy, self._batch.seeds[0])

    def export(self, path: str | Path, policy: str = "agent") -> None:
        """Write what has run so far as a trace or a picture, see :func:`toolkit.history.export`."""
        history.export(self.schedule(policy), Path(path))

    def render(self) -> npt.NDArray[np.uint8] | None:  # type: ignore[override]
        """Return a Gantt chart of what has run so far, shape [height, width, 3]."""
        if self.render_mode is None:
            return None
        schedule = self.schedule()
        if schedule.executions == 0:
            return np.full((320, 1600, 3), 255, dtype=np.uint8)
        return gantt.pixels(schedule)

    def _observation(self) -> Observation:
        batch = self._batch
        return {
            "globals": batch.globals[0].copy(),
            "candidates": batch.candidates[0].copy(),
            "mask": batch.mask[0].astype(np.int8),
        }
