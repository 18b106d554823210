"""Together: N episodes of one scenario whose agents choose at once, in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.envs.batch import Batch
from toolkit.envs.stepping import ELAPSED, GOING, INVALID, OVER, REWARD, TIME
from toolkit.scenarios.disturbances import luck
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.workload import ALLOCATION, CONFIGURATION, Floats, Indices, Ints, Mask, Vector


class TogetherBatch:
    """N episodes in which every process type of an allocation is an agent.

    All choose their profile for the next interval at once, each seeing what the others chose for
    the last one; they share one reward. In a placement and in a configuration one choice follows
    from another; there one agent, ``scheduler`` or ``fleet``, makes them all.

    An episode that is over stays as it is until it is started again; one that was cut shows what
    would be asked there.

    Args:
        scenario: Plans the workload of every episode and draws its truth.
        seeds: Seed of the first workload of each copy; those of its later ones follow from it.
        noise: As for a :class:`~toolkit.envs.batch.Batch`.

    Attributes:
        batch: The episodes.
        agents: Names of the n agents.
        sizes: G, K and F.
        globals: Shape [N, n, G].
        candidates: Shape [N, n, K, F].
        mask: Shape [N, n, K].
        rewards: What the last choices were paid, shape [N].
        elapsed: Seconds that they took, shape [N].
        invalid: Whose choices were masked, shape [N, n].
        instants: Choices of each agent since its episode began, shape [N].
        chosen: Slots that were chosen since then, of each copy, each shape [n].
        turns: Agents in the order in which the engine asks, shape [N, n].
    """

    def __init__(
        self, scenario: Scenario, seeds: Sequence[int], noise: float | None = None
    ) -> None:
        self.batch = batch = Batch(scenario, seeds, noise)
        self.several = batch.family == ALLOCATION
        single = "fleet" if batch.family == CONFIGURATION else "scheduler"
        self.agents: tuple[str, ...] = tuple(batch.types) if self.several else (single,)
        self.sizes = batch.sizes
        N, n, (G, K, F) = len(seeds), len(self.agents), self.sizes
        self.globals: Vector = np.zeros((N, n, G), dtype=np.float32)
        self.candidates: Vector = np.zeros((N, n, K, F), dtype=np.float32)
        self.mask: Mask = np.zeros((N, n, K), dtype=np.bool_)
        self.rewards: Floats = np.zeros(N)
        self.elapsed: Floats = np.zeros(N)
        self.invalid: Mask = np.zeros((N, n), dtype=np.bool_)
        self.instants: Ints = np.zeros(N, dtype=np.int64)
        self.chosen: list[list[list[int]]] = [[] for _ in range(N)]
        self._keys: Indices = np.zeros((N, n, K), dtype=np.int32)
        self.turns: Ints = np.zeros((N, n), dtype=np.int64)
        self._copies: Ints = np.arange(N)

    @property
    def over(self) -> npt.NDArray[np.int8]:
        """How each episode stands, see ``toolkit.envs.stepping``; shape [N]."""
        found: npt.NDArray[np.int8] = self.batch.flags[:, OVER]
        return found

    def start(self, i: int, seed: int | None = None) -> None:
        """Begin an episode of one copy, see :meth:`toolkit.envs.batch.Batch.start`."""
        self.batch.start(i, seed)
        self._begun(i, [])

    def step(self, actions: npt.ArrayLike) -> None:
        """Take the slots of all agents in each episode that is not over.

        Args:
            actions: Shape [N, n].
        """
        batch, copies = self.batch, self._copies
        chosen = np.asarray(actions, dtype=np.int64)
        going = self.over == GOING
        self.rewards[:] = self.elapsed[:] = 0
        for turn in self.turns.T:
            batch.step(chosen[copies, turn])
            self.rewards += batch.numbers[:, REWARD]
            self.elapsed += batch.numbers[:, ELAPSED]
            self.invalid[copies, turn] = batch.flags[:, INVALID] != 0
        self.instants += going
        for i in np.flatnonzero(going).tolist():
            self.chosen[i].append(chosen[i].tolist())
        self._see(0, len(copies))

    def resume(
        self, i: int, seed: int, stream: Mapping[str, Any], chosen: Sequence[Sequence[int]]
    ) -> None:
        """Bring a copy to where another stood, see :meth:`toolkit.envs.batch.Batch.resume`.

        Args:
            i: Which copy.
            seed: Of the workload of the episode.
            stream: What :meth:`toolkit.envs.batch.Batch.stream` returned.
            chosen: Slots of all agents since the episode began, each shape [n].
        """
        self.batch.resume(i, seed, stream, [])
        turns = self._order(i)
        slots = [slots[agent] for slots in chosen for agent in turns]
        self.batch.resume(i, seed, stream, slots)
        self._begun(i, chosen)

    def state(self) -> list[dict[str, Any]]:
        """Return where every copy stands, JSON-able."""
        return [
            {"seed": int(seed), "stream": self.batch.stream(i), "chosen": list(self.chosen[i])}
            for i, seed in enumerate(self.batch.seeds)
        ]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Bring every copy to where it stood."""
        for i, told in enumerate(state):
            self.resume(i, told["seed"], told["stream"], told["chosen"])

    def moment(self) -> tuple[Ints, Floats]:
        """Return the seed of each copy's workload and its simulated time, s; shapes [N]."""
        return np.array(self.batch.seeds), self.batch.numbers[:, TIME].copy()

    def flat(self) -> Vector:
        """Return what each agent sees as ``[globals G | candidates K x F | mask K]``.

        Shape [N, n, W]; the caller's to keep.
        """
        N, n = self.mask.shape[:2]
        parts = (self.globals, self.candidates.reshape(N, n, -1), self.mask)
        found: Vector = np.concatenate(parts, axis=2, dtype=np.float32, casting="unsafe")
        return found

    def _order(self, i: int) -> Ints:
        """Return the agents of a copy in the order in which the engine asks, shape [n]."""
        if not self.several:
            return np.zeros(1, dtype=np.int64)
        return np.asarray(self.batch.scene(i).workload.arrays.order, dtype=np.int64)

    def _begun(self, i: int, chosen: Sequence[Sequence[int]]) -> None:
        self.turns[i] = self._order(i)
        self.chosen[i] = [list(slots) for slots in chosen]
        self.instants[i] = len(chosen)
        self.rewards[i] = self.elapsed[i] = 0
        self.invalid[i] = False
        self._see(i, i + 1)

    def _see(self, first: int, last: int) -> None:
        batch, rows = self.batch, slice(first, last)
        if not self.several:
            self.globals[rows, 0] = batch.globals[rows]
            self.candidates[rows, 0] = batch.candidates[rows]
            self.mask[rows, 0] = batch.mask[rows]
            return
        batch.see(first, last, self.globals, self.candidates, self.mask, self._keys)
        if batch.noise > 0:
            for i in range(first, last):
                self._blur(i)

    def _blur(self, i: int) -> None:
        """Let what the agents of a copy see err, for all of an instant by one stream."""
        if self.over[i] != GOING:
            return
        seed, at = self.batch.seeds[i], int(self.instants[i])
        errors = generator(seed, "observation noise", "together", at)
        for shown in (self.globals[i], self.candidates[i]):
            shown *= luck(shown.size, self.batch.noise, errors).reshape(shown.shape)
