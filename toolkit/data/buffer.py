"""Transitions → a d3rlpy replay buffer that gathers whole batches from flat arrays."""

from __future__ import annotations

from typing import Any, BinaryIO, NoReturn

import numpy as np
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import DatasetInfo, ReplayBufferBase, Signature, Transition, TransitionMiniBatch

from toolkit.data.transitions import Transitions
from toolkit.errors import ToolkitError, require
from toolkit.seeding import generator


class FlatBuffer(ReplayBufferBase):
    """Samples transitions uniformly; an observation is ``[globals | candidates | mask]``.

    The discount of a step is exp(−elapsed/τ): d3rlpy raises gamma to the ``intervals`` of a
    batch, so that ``intervals`` hold elapsed/τ and gamma is e⁻¹.

    Args:
        data: The transitions.
        discount_seconds: τ.
        seed: Of the sampling.
        reward_scale: Rewards are divided by this.
    """

    def __init__(
        self, data: Transitions, *, discount_seconds: float, seed: int, reward_scale: float = 1.0
    ) -> None:
        require(discount_seconds > 0, "discount_seconds must be positive")
        n = len(data)
        observations = np.concatenate(
            [data.globals, data.candidates.reshape(n, -1), data.mask.astype(np.float32)], axis=1
        )
        # The row past the end stands for "nothing follows": an empty mask, ended by terminal.
        self._observations = np.concatenate(
            [observations, np.zeros((1, observations.shape[1]), dtype=np.float32)]
        )
        self._rows = np.flatnonzero(data.action >= 0)
        require(len(self._rows) > 0, "the dataset has no valid transition to learn from")
        self._action = data.action.astype(np.float32)[:, None]
        self._reward = (data.reward / reward_scale).astype(np.float32)[:, None]
        self._terminal = data.terminal.astype(np.float32)[:, None]
        self._interval = (data.elapsed / discount_seconds).astype(np.float32)[:, None]
        self._following = data.following
        self._slots = data.mask.shape[1]
        self._episodes = len(np.unique(data.episode))
        self._rng = generator(seed, "buffer")

    def sample_transition_batch(self, batch_size: int) -> TransitionMiniBatch:
        """Return ``batch_size`` transitions drawn with replacement."""
        rows = self._rows[self._rng.integers(0, len(self._rows), batch_size)]
        following = self._following[rows]
        return TransitionMiniBatch(
            observations=self._observations[rows],
            actions=self._action[rows],
            rewards=self._reward[rows],
            next_observations=self._observations[following],
            next_actions=self._action[np.minimum(following, len(self._action) - 1)],
            terminals=self._terminal[rows],
            intervals=self._interval[rows],
            transitions=[],
        )

    def sample_transition(self) -> Transition:
        """Return one transition; d3rlpy asks for it to learn the shapes."""
        i = int(self._rows[0])
        return Transition(
            observation=self._observations[i],
            action=self._action[i].astype(np.int32),
            reward=self._reward[i],
            next_observation=self._observations[self._following[i]],
            next_action=self._action[i].astype(np.int32),
            terminal=float(self._terminal[i, 0]),
            interval=1,
            rewards_to_go=self._reward[i : i + 1],
        )

    @property
    def dataset_info(self) -> DatasetInfo:
        """Shapes and action space, as d3rlpy asks for them."""
        width = self._observations.shape[1]
        return DatasetInfo(
            observation_signature=Signature(dtype=[np.dtype(np.float32)], shape=[(width,)]),
            action_signature=Signature(dtype=[np.dtype(np.int32)], shape=[(1,)]),
            reward_signature=Signature(dtype=[np.dtype(np.float32)], shape=[(1,)]),
            action_space=ActionSpace.DISCRETE,
            action_size=self._slots,
        )

    def size(self) -> int:
        """Return the number of episodes."""
        return self._episodes

    @property
    def transition_count(self) -> int:
        """Number of transitions that can be drawn."""
        return len(self._rows)

    def _fixed(self, *_: Any, **__: Any) -> NoReturn:
        raise ToolkitError(
            "a FlatBuffer holds a finished dataset: it samples transitions and nothing else"
        )

    def append(self, observation: Any, action: Any, reward: Any) -> None:
        """Refuse: the dataset is finished."""
        self._fixed()

    def append_episode(self, episode: Any) -> None:
        """Refuse: the dataset is finished."""
        self._fixed()

    def clip_episode(self, terminated: bool) -> None:
        """Refuse: the dataset is finished."""
        self._fixed()

    def sample_trajectory(self, length: int) -> Any:
        """Refuse: only transitions are sampled."""
        self._fixed()

    def sample_trajectory_batch(self, batch_size: int, length: int) -> Any:
        """Refuse: only transitions are sampled."""
        self._fixed()

    def dump(self, f: BinaryIO) -> None:
        """Refuse: the dataset already lies in Parquet."""
        self._fixed()

    @classmethod
    def from_episode_generator(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse: built from transitions only."""
        raise ToolkitError("build a FlatBuffer from transitions")

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse: built from transitions only."""
        raise ToolkitError("build a FlatBuffer from transitions")

    @property
    def episodes(self) -> Any:
        """Refuse: episodes lie in the dataset's own files."""
        self._fixed()

    @property
    def buffer(self) -> Any:
        """Refuse: there is no inner buffer."""
        self._fixed()

    @property
    def transition_picker(self) -> Any:
        """Refuse: transitions are stored ready-made."""
        self._fixed()

    @property
    def trajectory_slicer(self) -> Any:
        """Refuse: only transitions are sampled."""
        self._fixed()
