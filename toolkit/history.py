"""History: what has run in a scene so far, as a schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from toolkit import gantt, perfetto
from toolkit.errors import ConfigError
from toolkit.schedule import COPY, RUN, Schedule
from toolkit.simulator.kernel import estimated_seconds, true_seconds
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import RUNNING
from toolkit.workload import IN_FLIGHT, Workload

SUFFIXES = (".json", ".json.gz", *gantt.SUFFIXES)


def schedule_of(scene: Scene, policy: str, seed: int) -> Schedule:
    """Return what has run in a scene so far.

    What still runs is drawn until now. A state keeps no attempts that were killed, and of a copy
    only its end: it began as many seconds earlier as the engine, or where that keeps its truth to
    itself the estimate, says it takes.

    Args:
        scene: Any moment of an episode.
        policy: Name of what decided.
        seed: The seed of the episode.
    """
    s, now = scene.state, float(scene.state.time[0])
    finish = np.where((s.status == RUNNING) & (s.started < now), now, s.finished)
    ran = np.flatnonzero(~np.isnan(finish))
    copied, where = np.nonzero(np.isfinite(s.copies))
    knows = len(scene.world.true_seconds) > 0
    seconds = true_seconds if knows else estimated_seconds
    pairs = zip(copied.tolist(), where.tolist(), strict=True)
    took = [seconds(scene.handle, task, node) for task, node in pairs]
    begun = s.copies[copied, where] - np.array(took, dtype=np.float64)
    kept = begun < now
    copied, where, begun = copied[kept], where[kept], begun[kept]
    ended = np.minimum(s.copies[copied, where], now)
    task = np.concatenate([ran, copied])
    return Schedule(
        workload=_arrived(scene),
        policy=policy,
        seed=seed,
        task=task,
        node=np.concatenate([s.node[ran], where]),
        start=np.concatenate([s.started[ran], begun]),
        finish=np.concatenate([finish[ran], ended]),
        kind=np.repeat([RUN, COPY], [len(ran), len(copied)]),
        profile=s.profile[task],
    )


def _arrived(scene: Scene) -> Workload:
    """Return the workload with the arrivals of a closed system, which only its run tells."""
    w, arrived = scene.workload.arrays, scene.state.arrived
    if w.rules[IN_FLIGHT] == 0:
        return scene.workload
    arrival = np.where(np.isnan(arrived), scene.state.time[0], arrived)
    return replace(scene.workload, arrays=w._replace(arrival=arrival))


def export(schedule: Schedule, path: Path) -> None:
    """Write a schedule in the format that the name of the file asks for.

    ``.json`` and ``.json.gz`` are traces for Perfetto; ``.png``, ``.svg`` and ``.pdf`` pictures.

    Raises:
        ConfigError: For another suffix, a folder that does not exist, or a picture of nothing.
    """
    if path.name.endswith((".json", ".json.gz")):
        perfetto.write(schedule, path)
    elif path.suffix in gantt.SUFFIXES:
        gantt.draw(schedule, path)
    else:
        raise ConfigError(
            f"a schedule cannot be written as {path.name!r}",
            hint=f"end the name in one of {', '.join(SUFFIXES)}",
        )
