"""Selecting: episodes of a scenario in which a step is the selection of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit import reward
from toolkit.envs.stepping import GOING, TERMINATED, TRUNCATED
from toolkit.errors import ConfigError
from toolkit.features.graph import Graph, Stages, describe, room_for, stages_of
from toolkit.features.observe import slots_of
from toolkit.features.placement import shown
from toolkit.networks.graphs import Seen
from toolkit.policies.deft import FIFO, Queues, commit, empty, next_node, settle
from toolkit.policies.graph_deft import begin, choosing
from toolkit.policies.listed import earliest_slot
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.compiled import lean
from toolkit.simulator.kernel import act, proceed
from toolkit.simulator.rules import copy_of, placeable
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import scene_of
from toolkit.simulator.state import ASK_NODE, CLOSED, EXPECTED, JOBS_DONE, PICKED, STAGE, room
from toolkit.workload import DUPLICATE, PLACEMENT, Floats, Indices, Ints, Mask


@lean
def _offer_tasks(s: Any, keys: Indices, mask: Mask) -> None:
    """Fill keys and mask as :mod:`toolkit.features.placement` does where a task is asked for."""
    keys[:] = -1
    mask[:] = False
    found = shown(s, keys)
    mask[0] = s.cursor[EXPECTED] != 0
    for i in range(1, found + 1):
        mask[i] = placeable(s, keys[i])
    if not mask.any():
        mask[0] = True


@lean
def _offer_nodes(s: Any, task: int, keys: Indices, mask: Mask) -> None:
    """Fill keys and mask as :mod:`toolkit.features.placement` does where a node is asked for."""
    M = len(s.up)
    keys[:] = -1
    mask[:] = False
    for m in range(M):
        if not room(s, s.profile[task], m):
            continue
        keys[m] = m
        mask[m] = True
        if s.rules[DUPLICATE] != 0:
            copied, _ = copy_of(s, task, m)
            if copied >= 0:
                keys[M + m] = M + m
                mask[M + m] = True


@lean
def carry_on(
    s: Any, q: Any, keys: Indices, mask: Mask, chosen: int, horizon: float, late: bool
) -> int:
    """Commit what was selected and go on to the next selection, in place.

    Args:
        s: The scene with its truth.
        q: The queues.
        keys: What is offered meanwhile, shape [K].
        mask: Shape [K].
        chosen: The task that was selected, -1 at the beginning.
        horizon: Seconds after which the episode is truncated.
        late: See :func:`toolkit.policies.graph_deft.choosing`.

    Returns:
        ``GOING``, ``TERMINATED`` or ``TRUNCATED``.
    """
    asked = chosen >= 0
    if asked:
        commit(s, q, chosen)
    while s.totals[JOBS_DONE] < len(s.arrival):
        now = s.time[0]
        if now >= horizon:
            return TRUNCATED
        if s.cursor[STAGE] == CLOSED:
            proceed(s, horizon)
            stuck = s.time[0] == now and s.cursor[STAGE] == CLOSED
            if stuck and s.totals[JOBS_DONE] < len(s.arrival):
                return TRUNCATED
            continue
        if not asked:
            _offer_tasks(s, keys, mask)
            begin(s, q, keys)
        if choosing(s, q, mask, late):
            return GOING
        act(s, keys[settle(s, q, keys, mask, FIFO)])
        asked = False
        if s.cursor[STAGE] == ASK_NODE:
            task = s.cursor[PICKED]
            _offer_nodes(s, task, keys, mask)
            slot = next_node(s, q, task, mask)
            if slot < 0:
                slot = max(0, earliest_slot(s, task, keys, mask))
            act(s, keys[slot])
    return TERMINATED


class _Copy(NamedTuple):
    """One episode."""

    scene: Scene
    queues: Queues
    stages: Stages
    keys: Indices
    mask: Mask


class Selecting:
    """Episodes of one scenario side by side, each from its beginning to its end.

    Args:
        scenario: Plans the workloads and draws their truth; of the family *placement*.
        seeds: Of the workloads, and of their luck; those that are the same are planned once.
        late: See :func:`toolkit.policies.graph_deft.choosing`.
        wide: Whether graphs hold the features that only Lachesis sees.
        horizons: Seconds at which each episode is cut, if not before at that of the scenario;
            shape [N].

    Attributes:
        over: ``GOING``, ``TERMINATED`` or ``TRUNCATED``, shape [N].
        time: Of each episode, s, shape [N].
        paid: Reward of the last step of each, shape [N].
        returns: Summed rewards so far, shape [N].
    """

    def __init__(
        self,
        scenario: Scenario,
        seeds: Sequence[int],
        *,
        late: bool,
        wide: bool,
        horizons: Floats | None = None,
    ) -> None:
        self._late, self._wide = late, wide
        ends = np.full(len(seeds), np.inf) if horizons is None else horizons
        self._horizons: Floats = np.minimum(ends, scenario.horizon)
        self._columns = reward.columns(scenario.weights)
        self._signed = reward.signed(scenario.weights)
        planned = {seed: scenario.plan(seed) for seed in dict.fromkeys(seeds)}
        family = next(iter(planned.values())).family
        if family != PLACEMENT:
            raise ConfigError(
                f"scenario {scenario.name!r} has no tasks to select",
                hint="take one of the family placement: scenario=spark_jobs",
            )
        stages = {seed: stages_of(workload) for seed, workload in planned.items()}
        self._copies: list[_Copy] = []
        for seed in seeds:
            workload = planned[seed]
            slots = slots_of(workload)
            self._copies.append(
                _Copy(
                    scene_of(workload, scenario.truth(workload, seed)),
                    empty(workload),
                    stages[seed],
                    np.full(slots, -1, dtype=np.int32),
                    np.zeros(slots, dtype=np.bool_),
                )
            )
        nodes = max(len(w.arrays.capacity) for w in planned.values())
        jobs = max(w.jobs for w in planned.values())
        self._room: Graph = room_for([c.stages for c in self._copies], nodes, jobs)
        N = len(seeds)
        self.over: npt.NDArray[np.int8] = np.full(N, GOING, dtype=np.int8)
        self.time, self.paid, self.returns = np.zeros(N), np.zeros(N), np.zeros(N)
        self._advance(range(N), np.full(N, -1, dtype=np.int32))

    @property
    def going(self) -> Ints:
        """Which episodes are not over, shape [B]."""
        found: Ints = np.flatnonzero(self.over == GOING)
        return found

    def look(self) -> Seen:
        """Return the graphs of the episodes that are not over."""
        at = (0, 0, 0)
        rows = self.going.tolist()
        for scene, i in enumerate(rows):
            c = self._copies[i]
            at = describe(c.scene.handle, c.queues, c.stages, self._room, scene, at, self._wide)
        return Seen.of(self._room, at, len(rows))

    def step(self, chosen: Indices) -> None:
        """Select a task in each episode that is not over.

        Args:
            chosen: Tasks, shape [B].
        """
        self._advance(self.going.tolist(), chosen)

    def _advance(self, rows: Sequence[int], chosen: Indices) -> None:
        self.paid[:] = 0.0
        for i, task in zip(rows, chosen.tolist(), strict=True):
            c = self._copies[i]
            state = c.scene.state
            before = state.totals[self._columns]
            self.over[i] = carry_on(
                c.scene.handle, c.queues, c.keys, c.mask, task, self._horizons[i], self._late
            )
            self.time[i] = state.time[0]
            self.paid[i] = float(self._signed @ (state.totals[self._columns] - before))
        self.returns += self.paid

    def scene(self, i: int) -> Scene:
        """Return where an episode stands."""
        return self._copies[i].scene
