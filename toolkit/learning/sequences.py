"""Sequences: what was seen, done and still to be paid in the last decisions of an episode.

d3rlpy's own buffer copies every episode into objects and slices them one by one. Here a batch is
one gather over the flat arrays of a dataset, which may lie in a file.
"""

from __future__ import annotations

import numpy as np
from d3rlpy.dataset import TrajectoryMiniBatch

from toolkit.data.padding import Transitions
from toolkit.errors import require
from toolkit.seeding import generator
from toolkit.workload import Floats

_LEAST = 1e-6


class Sequences:
    """Draws decisions uniformly, each with those before it in its episode.

    What is still to be paid is the undiscounted sum of the rewards from a decision to the end of
    its episode, where that was cut to the cut, divided by ``scale``. Decisions are counted from 1
    as d3rlpy does, those after ``decisions`` as that one.

    Args:
        data: The transitions.
        context: T, decisions of a sequence; one that begins earlier than its episode is filled
            with zeros in front, as d3rlpy does.
        decisions: Greatest number of a decision.
        seed: Of what is drawn.

    Attributes:
        rng: What draws; its state is that of the sampling.
        scale: Spread of what is still to be paid, 1 where that is always the same.
        returns: Of each episode, shape [E].
    """

    def __init__(self, data: Transitions, *, context: int, decisions: int, seed: int) -> None:
        n = len(data)
        self._rows = data.rows
        require(len(self._rows) > 0, "the dataset has no valid transition to learn from")
        self._observations = np.asarray(data.observations)
        begins = np.append(True, data.episode[1:] != data.episode[:-1])
        episode = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        last = np.append(first[1:], n) - 1
        paid = np.cumsum(data.reward)
        rest = paid[last[episode]] - paid + data.reward
        self.returns: Floats = rest[first]
        spread = float(rest[self._rows].std())
        self.scale = spread if spread > _LEAST else 1.0
        self._first = first[episode]
        self._back = np.arange(1 - context, 1)
        # The row after the last stands for what was before an episode.
        usable = data.action >= 0
        self._action = np.append(np.where(usable, data.action, 0), 0).astype(np.float32)
        self._reward = np.append(data.reward / self.scale, 0.0).astype(np.float32)
        self._rest = np.append(rest / self.scale, 0.0).astype(np.float32)
        self._terminal = np.append(data.terminal, False).astype(np.float32)
        count = np.minimum(np.arange(n) - self._first + 1, decisions)
        self._count = np.append(count, 0).astype(np.float32)
        # What is not for training is hidden like what was before an episode.
        self._shown = np.append(usable, False).astype(np.float32)
        self.rng = generator(seed, "sequences")

    def draw(self, batch_size: int) -> TrajectoryMiniBatch:
        """Return ``batch_size`` sequences, drawn with replacement."""
        ends = self._rows[self.rng.integers(0, len(self._rows), batch_size)]
        # In the order of the file, which is read ahead; a batch has no order of its own.
        ends.sort()
        rows = ends[:, None] + self._back
        rows[rows < self._first[ends][:, None]] = len(self._first)
        return TrajectoryMiniBatch(
            observations=self._observations.take(rows, axis=0),
            actions=self._action[rows][..., None],
            rewards=self._reward[rows][..., None],
            returns_to_go=self._rest[rows][..., None],
            terminals=self._terminal[rows][..., None],
            timesteps=self._count[rows],
            masks=self._shown[rows],
            length=rows.shape[1],
        )
