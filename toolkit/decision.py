"""Decision: one choice among masked candidates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import ToolkitError
from toolkit.features.observe import observe, sizes_of
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ASK_FLEET,
    ASK_NODE,
    ASK_PROFILE,
    ASK_TASK,
    BATCH,
    CLOSED,
    PICKED,
    POSITION,
    STAGE,
    State,
)
from toolkit.workload import CONFIGURATION, PLACEMENT, Indices, Mask, Vector


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a policy is asked.

    Args:
        agent: Who is asked: the process type (allocation), ``task`` or ``node`` (placement),
            ``fleet`` (configuration).
        time: Seconds since the start of the episode.
        globals: Shape [G].
        candidates: Shape [K, F].
        mask: True where a slot may be chosen, shape [K].
        keys: What each slot stands for, shape [K]: the index of a resource profile; a ready task,
            or -1 to wait; a node, from M on with a copy of a parent; a configuration.
        subject: What is decided about: index of the agent's process type, of the picked task, of
            the batch; -1 where a task is to be picked.
        scene: Where it is taken, as it is now: once the choice has been carried out it has moved
            on. Policies look at ``view`` and ``known``, and only while they are asked.
    """

    agent: str
    time: float
    globals: Vector
    candidates: Vector
    mask: Mask
    keys: Indices
    subject: int
    scene: Scene

    @property
    def view(self) -> State:
        """The state, read-only, for policies that plan. Holds estimates only."""
        return self.scene.view

    @property
    def known(self) -> Any:
        """State and workload as compiled code reads them, without the truth."""
        return self.scene.known

    def digest(self) -> str:
        """Return a short fingerprint of what the policy was shown."""
        h = hashlib.blake2b(digest_size=8)
        for array in (self.globals, self.candidates, self.mask):
            h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()


def decide(scene: Scene) -> Decision:
    """Return the decision that is due."""
    state, workload = scene.state, scene.workload
    G, K, F = sizes_of(workload)
    globals_out = np.empty(G, dtype=np.float32)
    candidates = np.empty((K, F), dtype=np.float32)
    mask = np.empty(K, dtype=np.bool_)
    keys = np.empty(K, dtype=np.int32)
    observe(scene.known, globals_out, candidates, mask, keys)
    agent, subject = asked(scene)
    return Decision(
        agent=agent if agent else workload.types[subject],
        time=float(state.time[0]),
        globals=globals_out,
        candidates=candidates,
        mask=mask,
        keys=keys,
        subject=subject,
        scene=scene,
    )


def last_seen(scene: Scene) -> Decision | None:
    """Return what would be asked where an episode was cut, though no choice is due.

    None for a configuration that is cut while a batch is served: nobody knows the next one yet.
    """
    cursor = scene.state.cursor
    if int(cursor[STAGE]) != CLOSED:
        return decide(scene)
    if scene.workload.family == CONFIGURATION:
        return None
    position = int(cursor[POSITION])
    cursor[STAGE] = ASK_TASK if scene.workload.family == PLACEMENT else ASK_PROFILE
    cursor[POSITION] = 0
    try:
        return decide(scene)
    finally:
        cursor[STAGE], cursor[POSITION] = CLOSED, position


def asked(scene: Scene) -> tuple[str, int]:
    """Return who is asked, "" for the process type, and about what."""
    cursor = scene.state.cursor
    stage = int(cursor[STAGE])
    if stage == ASK_PROFILE:
        return "", int(scene.workload.arrays.order[cursor[POSITION]])
    if stage == ASK_TASK:
        return "task", -1
    if stage == ASK_NODE:
        return "node", int(cursor[PICKED])
    if stage == ASK_FLEET:
        return "fleet", int(cursor[BATCH])
    raise ToolkitError("no choice is due; let time pass first")
