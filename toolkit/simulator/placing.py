"""Placing: choices of the family *placement* where somebody else knows how long things take.

Live engines and replays of recordings carry out a choice on the state alone; what truly happens
comes to them as events.
"""

from __future__ import annotations

import numpy as np

from toolkit.simulator.rules import arrival_at, choose, go_on, open_epoch, placed
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import pass_time


def answer(scene: Scene, key: int) -> int:
    """Carry out the choice that is due on the state alone; return the task to hand over, or -1."""
    s = scene.known
    task, node, _ = (int(i) for i in choose(s, key))
    if task >= 0:
        now = float(scene.state.time[0])
        placed(s, task, node, max(now, float(arrival_at(s, task, node, -1))))
        go_on(s)
    return task


def ask(scene: Scene) -> bool:
    """Open an epoch if some ready task has room somewhere; return whether it is open."""
    state = scene.state
    expected = bool(state.running.any()) or bool(np.isnan(state.arrived).any())
    return bool(open_epoch(scene.known, expected))


def begun(scene: Scene, task: int, at: float, seen: float) -> None:
    """Note when a task that was handed over truly began."""
    pass_time(scene.known, seen)
    scene.state.started[task] = at
