"""Batch: N episodes of one scenario and what they show, in arrays that are written in place.

Every environment is a skin over this class, so that a copy among many behaves as one alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit import reward
from toolkit.envs.stepping import (
    DECISIONS,
    ELAPSED,
    FRESH,
    GOING,
    INVALID,
    INVALIDS,
    OVER,
    RETURN,
    TERMINATED,
    TIME,
    locate,
    see_all,
    step_all,
)
from toolkit.errors import ToolkitError, require
from toolkit.features.observe import sizes_of
from toolkit.scenarios.disturbances import luck
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import scene_of
from toolkit.simulator.state import JOBS_DONE, LATENCY
from toolkit.workload import Floats, Indices, Ints, Mask, Vector

_SEEDS = 2**31


class Batch:
    """N episodes of one scenario, each followed by others of fresh workloads.

    Args:
        scenario: Plans the workload of every episode and draws its truth.
        seeds: Seed of the first workload of each copy; those of its later ones follow from it.
        noise: Standard deviation of the logarithm of a factor with mean one by which every
            feature errs; that of the scenario's disturbances when absent.

    Attributes:
        globals: Shape [N, G].
        candidates: Shape [N, K, F].
        mask: Shape [N, K].
        keys: What each slot stands for, shape [N, K].
        paid: Terms of the reward of the last step, unweighted, shape [N, C].
        numbers: Shape [N, 6], see ``toolkit.envs.stepping``.
        flags: Shape [N, 2], see there.
        sizes: G, K and F.
        types: Names of the process types.
        family: Family of decisions.
        terms: Names of the C terms.
        seeds: Seed of each copy's present workload.
        noise: As told.
    """

    def __init__(
        self, scenario: Scenario, seeds: Sequence[int], noise: float | None = None
    ) -> None:
        require(len(seeds) > 0, "a batch needs at least one copy")
        if noise is None:
            disturbances = getattr(scenario, "disturbances", None)
            noise = float(getattr(disturbances, "observation_noise", 0.0))
        require(0 <= noise < np.inf, f"observation_noise must be 0 or more, got {noise}")
        # Planned only to be measured: the first reset plans its own.
        workload = scenario.plan(seeds[0])
        self.family, self.types = workload.family, workload.types
        self.sizes = sizes_of(workload)
        N, (G, K, F) = len(seeds), self.sizes
        weights = scenario.weights
        self.terms = reward.names(weights)
        self._columns, self._signed = reward.columns(weights), reward.signed(weights)
        self.globals: Vector = np.zeros((N, G), dtype=np.float32)
        self.candidates: Vector = np.zeros((N, K, F), dtype=np.float32)
        self.mask: Mask = np.zeros((N, K), dtype=np.bool_)
        self.keys: Indices = np.zeros((N, K), dtype=np.int32)
        self.paid: Floats = np.zeros((N, len(self.terms)))
        self.numbers: Floats = np.zeros((N, 6))
        self.flags: npt.NDArray[np.int8] = np.full((N, 2), TERMINATED, dtype=np.int8)
        self.seeds = list(seeds)
        self._scenario, self.noise = scenario, noise
        self._scenes: list[Scene | None] = [None] * N
        self._streams = [generator(seed, "episodes") for seed in seeds]
        self._errors = list(self._streams)
        self._actions: Ints = np.zeros(N, dtype=np.int64)
        self._addresses: Ints = np.zeros(N, dtype=np.int64)

    def start(self, i: int, seed: int | None = None) -> None:
        """Begin an episode of one copy.

        Args:
            i: Which copy.
            seed: Seed of its workload and luck, from which those of the episodes after it follow;
                when absent, the next of the copy's own.

        Raises:
            ToolkitError: When decisions about the workload look otherwise than those before.
        """
        if seed is not None:
            self._streams[i] = generator(seed, "episodes")
        elif self._scenes[i] is None:
            seed = self.seeds[i]
        else:
            seed = int(self._streams[i].integers(_SEEDS))
        self._begin(i, seed)

    def stream(self, i: int) -> dict[str, Any]:
        """Return the state of the stream of seeds of a copy, JSON-able."""
        return dict(self._streams[i].bit_generator.state)

    def resume(self, i: int, seed: int, stream: Mapping[str, Any], actions: Sequence[int]) -> None:
        """Bring a copy to where another stood: an episode is its seed and what was chosen in it.

        Args:
            i: Which copy.
            seed: Of the workload of the episode.
            stream: What :meth:`stream` returned.
            actions: Slots that were chosen since the episode began.
        """
        self._begin(i, seed)
        self._streams[i].bit_generator.state = dict(stream)
        for action in actions:
            self._actions[i] = action
            self._advance(i, i + 1)

    def _begin(self, i: int, seed: int) -> None:
        workload = self._scenario.plan(seed)
        scene = scene_of(workload, self._scenario.truth(workload, seed))
        other = next((s for s in self._scenes if s is not None), scene)
        # Compiled code finds all scenes by the type of the first.
        alike = scene.handle._numba_type_ == other.handle._numba_type_
        if sizes_of(workload) != self.sizes or not alike:
            raise ToolkitError(
                f"decisions about the workload of seed {seed} have other sizes or types than those "
                f"about the first: G, K, F are {sizes_of(workload)} where they were {self.sizes}"
            )
        self.seeds[i] = seed
        self._scenes[i] = scene
        self._addresses[i] = locate(scene.handle)
        self._errors[i] = generator(seed, "observation noise")
        for array in (self.globals, self.candidates, self.mask, self.keys, self.numbers):
            array[i] = 0
        self.flags[i, OVER] = FRESH
        self._advance(i, i + 1)

    def step(self, actions: npt.ArrayLike) -> None:
        """Take a slot in each episode that is not over; the others stay as they are.

        Args:
            actions: Shape [N].
        """
        self._actions[:] = actions
        self._advance(0, len(self.seeds))

    def _advance(self, first: int, last: int) -> None:
        rows = slice(first, last)
        step_all(
            self._addresses[rows],
            self.scene(first).handle,
            self._actions[rows],
            self._scenario.horizon,
            self._columns,
            self._signed,
            self.globals[rows],
            self.candidates[rows],
            self.mask[rows],
            self.keys[rows],
            self.paid[rows],
            self.numbers[rows],
            self.flags[rows],
        )
        if self.noise > 0:
            for i in range(first, last):
                self.blur(i)

    def see(
        self, first: int, last: int, globals_: Vector, candidates: Vector, mask: Mask, keys: Indices
    ) -> None:
        """Describe what every process type of an allocation sees in some copies, without error.

        Args:
            first: Of the copies.
            last: The first that is none of them.
            globals_: Shape [N, T, G], written in place; terminated copies keep what they have.
            candidates: Shape [N, T, K, F].
            mask: Shape [N, T, K].
            keys: Shape [N, T, K].
        """
        rows = slice(first, last)
        see_all(
            self._addresses[rows],
            self.scene(first).handle,
            self.flags[rows],
            globals_[rows],
            candidates[rows],
            mask[rows],
            keys[rows],
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Batch:
        """Return an independent copy, for searches that look ahead; the workloads are shared."""
        twin = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(twin, name, value.copy())
        twin.seeds = list(self.seeds)
        twin._streams = copy.deepcopy(self._streams)
        twin._errors = copy.deepcopy(self._errors)
        twin._scenes = [scene and scene.copy() for scene in self._scenes]
        for i, scene in enumerate(twin._scenes):
            twin._addresses[i] = locate(scene.handle) if scene else 0
        return twin

    def blur(self, i: int) -> None:
        """Let the features of a choice that has just been described err; the mask never does."""
        if self.noise > 0 and self.flags[i, OVER] == GOING:
            for shown in (self.globals[i], self.candidates[i]):
                shown *= luck(shown.size, self.noise, self._errors[i]).reshape(shown.shape)

    @property
    def returns(self) -> Floats:
        """Summed reward of each episode so far, shape [N]; the caller's to keep."""
        return self.numbers[:, RETURN].copy()

    def scene(self, i: int) -> Scene:
        """Return where a copy stands."""
        scene = self._scenes[i]
        if scene is None:
            raise ToolkitError("the environment has no episode yet; call reset() first")
        return scene

    def info(self, i: int) -> dict[str, Any]:
        """Return what is told of a copy beside its observation; the caller's to keep."""
        info: dict[str, Any] = {
            "action_mask": self.mask[i].copy(),
            "time": float(self.numbers[i, TIME]),
            "elapsed": float(self.numbers[i, ELAPSED]),
            "components": dict(zip(self.terms, self.paid[i].tolist(), strict=True)),
            "invalid": bool(self.flags[i, INVALID]),
        }
        if self.flags[i, OVER] != GOING:
            info["metrics"] = self.metrics(i)
        return info

    def metrics(self, i: int) -> dict[str, float]:
        """Return what came of the episode of a copy so far.

        ``return`` is the summed reward, ``invalid`` the number of actions that were masked,
        ``latency_mean`` the seconds from arrival to completion of the jobs that finished and
        ``makespan`` those from the first arrival to the last completion; 0 where none did.
        """
        state = self.scene(i).state
        done = int(state.totals[JOBS_DONE])
        finished = state.completed[~np.isnan(state.completed)]
        return {
            "return": float(self.numbers[i, RETURN]),
            "decisions": float(self.numbers[i, DECISIONS]),
            "invalid": float(self.numbers[i, INVALIDS]),
            "time": float(self.numbers[i, TIME]),
            "jobs": float(done),
            "unfinished": float(len(state.left) - done),
            "latency_mean": float(state.totals[LATENCY] / max(1, done)),
            "makespan": float(finished.max() - np.nanmin(state.arrived)) if done else 0.0,
        }
