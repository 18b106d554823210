"""Transitions → a d3rlpy replay buffer that gathers whole batches from flat arrays."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import DatasetInfo, ReplayBufferBase, Signature, Transition, TransitionMiniBatch
from numba import njit

from toolkit.data.padding import Transitions
from toolkit.errors import CorruptError, ToolkitError, require
from toolkit.seeding import generator
from toolkit.workload import Floats, Ints, Mask

MOST_MAPPED = 1 << 30
"""Bytes of a file that may be mapped whole; of a larger one only the drawn rows are read."""
_ACTION, _REWARD, _NEXT, _TERMINAL, _INTERVAL = range(5)
"""What each row of numbers holds."""


class FlatBuffer(ReplayBufferBase):
    """Samples transitions uniformly; an observation is ``[globals | candidates | mask]``.

    The discount of a step is exp(−elapsed/τ): d3rlpy raises gamma to the ``intervals`` of a
    batch, so that ``intervals`` hold elapsed/τ and gamma is e⁻¹. Observations may lie in a file
    larger than memory: its rows are read as they are drawn, and nothing of it stays in the process.

    Args:
        data: The transitions.
        discount_seconds: τ.
        seed: Of the sampling.
        reward_scale: Rewards are divided by this.
        multi_step: Steps whose discounted rewards count before the value of what follows does;
            fewer where an episode ends. Above 1 the returns are partly those of the behaviour.
            Sutton and Barto, Reinforcement Learning, 2nd edition, 2018, eq. 7.1.
        most_mapped: Bytes of a file that may be mapped whole, which is faster.

    Attributes:
        rng: What draws; its state is that of the sampling.
    """

    def __init__(
        self,
        data: Transitions,
        *,
        discount_seconds: float,
        seed: int,
        reward_scale: float = 1.0,
        multi_step: int = 1,
        most_mapped: int = MOST_MAPPED,
    ) -> None:
        require(discount_seconds > 0, "discount_seconds must be positive")
        require(multi_step >= 1, f"multi_step must be 1 or more, got {multi_step}")
        self._rows = data.rows
        require(len(self._rows) > 0, "the dataset has no valid transition to learn from")
        # Without what a mapped array does beside being an array, at every batch.
        self._observations = np.asarray(data.observations)
        self._mapped = isinstance(data.observations, np.memmap)
        self._file: _Pairs | None = None
        if self._mapped and data.observations.nbytes > most_mapped:
            self._file = _Pairs(data)
        paid, passed, self._following, over = _returns(
            data.reward / reward_scale,
            data.elapsed / discount_seconds,
            data.following,
            data.terminal,
            data.action >= 0,
            multi_step,
        )
        # Side by side, so that a row of a batch is found in one place.
        self._numbers = np.empty((len(data), 5), dtype=np.float32)
        self._numbers[:, _ACTION] = data.action
        self._numbers[:, _REWARD] = paid
        self._numbers[:, _NEXT] = data.action[np.minimum(self._following, len(data) - 1)]
        self._numbers[:, _TERMINAL] = over
        self._numbers[:, _INTERVAL] = passed
        self._slots = data.sizes[1]
        self._episodes = len(np.unique(data.episode))
        self.rng = generator(seed, "buffer")

    def sample_transition_batch(self, batch_size: int) -> TransitionMiniBatch:
        """Return ``batch_size`` transitions drawn with replacement."""
        rows = self._rows[self.rng.integers(0, len(self._rows), batch_size)]
        if self._mapped:
            # In the order of the file, which is read ahead; a batch has no order of its own.
            rows.sort()
        # All indices are in range; the check of each would cost as much as the copy.
        following = self._following.take(rows, mode="clip")
        if self._file is not None:
            observations, next_observations = self._file.read(rows, following)
        else:
            observations = self._observations.take(rows, axis=0, mode="clip")
            next_observations = self._observations.take(following, axis=0, mode="clip")
        numbers = np.ascontiguousarray(self._numbers.take(rows, axis=0, mode="clip").T)[:, :, None]
        return TransitionMiniBatch(
            observations=observations,
            actions=numbers[_ACTION],
            rewards=numbers[_REWARD],
            next_observations=next_observations,
            next_actions=numbers[_NEXT],
            terminals=numbers[_TERMINAL],
            intervals=numbers[_INTERVAL],
            transitions=[],
        )

    @property
    def _width(self) -> int:
        return int(self._observations.shape[1])

    def sample_transition(self) -> Transition:
        """Return one transition; d3rlpy asks for it to learn the shapes."""
        i = int(self._rows[0])
        return Transition(
            observation=self._observations[i],
            action=self._numbers[i, [_ACTION]].astype(np.int32),
            reward=self._numbers[i, [_REWARD]],
            next_observation=self._observations[self._following[i]],
            next_action=self._numbers[i, [_ACTION]].astype(np.int32),
            terminal=float(self._numbers[i, _TERMINAL]),
            interval=1,
            rewards_to_go=self._numbers[i : i + 1, [_REWARD]],
        )

    @property
    def dataset_info(self) -> DatasetInfo:
        """Shapes and action space, as d3rlpy asks for them."""
        return DatasetInfo(
            observation_signature=Signature(dtype=[np.dtype(np.float32)], shape=[(self._width,)]),
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


@njit(cache=True, error_model="numpy")
def _returns(
    reward: Floats, interval: Floats, following: Ints, terminal: Mask, usable: Mask, steps: int
) -> tuple[Floats, Floats, Ints, Mask]:
    """Return what each row and those after it pay, the intervals that pass, and what follows.

    Args:
        reward: Shape [N].
        interval: Elapsed time by τ, shape [N].
        following: Shape [N], N for none.
        terminal: Shape [N].
        usable: Rows that are for training, shape [N]; a return ends before any other.
        steps: Rows of a return, at most.

    Returns:
        Discounted sums, passed intervals, the row that follows, and whether none does; each [N].
    """
    n = len(reward)
    paid, passed = reward.copy(), interval.copy()
    after, over = following.copy(), terminal.copy()
    for i in range(n):
        for _ in range(steps - 1):
            j = after[i]
            if over[i] or j >= n or not usable[j] or (following[j] >= n and not terminal[j]):
                break
            paid[i] += np.exp(-passed[i]) * reward[j]
            passed[i] += interval[j]
            after[i], over[i] = following[j], terminal[j]
    return paid, passed, after, over


class _Pairs:
    """Reads rows of a file, each with what followed, which may be the row after it.

    A mapped file would come in pieces of up to 2 MiB for each row, and stay.
    """

    def __init__(self, data: Transitions) -> None:
        observations: Any = data.observations
        self._width, self._offset = observations.shape[1], observations.offset
        self._nothing = len(data)
        self._stream = open(observations.filename, "rb", buffering=0)  # noqa: SIM115
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def read(
        self, rows: npt.NDArray[np.int64], following: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the observations of some rows and those that followed."""
        pairs = np.empty((len(rows), 2, self._width), dtype=np.float32)
        flat: Any = pairs.reshape(-1)
        octets = memoryview(flat).cast("B")
        size = 4 * self._width
        begin = 0
        for row, after in zip(rows.tolist(), following.tolist(), strict=True):
            if after in (row + 1, self._nothing):
                self._fill(octets[begin : begin + 2 * size], row)
            else:
                self._fill(octets[begin : begin + size], row)
                self._fill(octets[begin + size : begin + 2 * size], after)
            begin += 2 * size
        pairs[following == self._nothing, 1] = 0.0
        return pairs[:, 0], pairs[:, 1]

    def _fill(self, octets: memoryview, row: int) -> None:
        place = row * 4 * self._width + self._offset
        if os.preadv(self._stream.fileno(), [octets], place) != len(octets):
            raise CorruptError(f"{self._stream.name} ends early", hint="remove it")
