"""History: what has run in a scene so far, as a schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from toolkit import gantt, perfetto
from toolkit.errors import ConfigError
from toolkit.report import to_json
from toolkit.schedule import COPY, RUN, Schedule
from toolkit.simulator.kernel import true_seconds
from toolkit.simulator.rules import estimated_seconds
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import RUNNING
from toolkit.store import write_text
from toolkit.workload import IN_FLIGHT, Workload

TRACES = (".trace.json", ".json.gz")
"""Endings of traces for Perfetto."""


def schedule_of(scene: Scene, policy: str, seed: int) -> Schedule:
    """Return what has run in a scene so far.

    What still runs is drawn until now, copies once they have finished. A state keeps no attempts
    that were killed, and of a copy only its end: it began as many seconds earlier as the engine,
    or where that keeps its truth to itself the estimate, says it takes.

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
    ended = s.copies[copied, where]
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

    ``.trace.json`` and ``.json.gz`` are traces for Perfetto; ``.json`` is the schedule itself;
    ``.png``, ``.svg`` and ``.pdf`` are pictures.

    Raises:
        ConfigError: For another suffix, a folder that does not exist, or a picture of nothing.
    """
    check(path)
    if path.name.endswith(TRACES):
        perfetto.write(schedule, path)
    elif path.suffix == ".json":
        write_text(path, to_json(schedule.to_dict()))
    else:
        gantt.draw(schedule, path)


def check(path: Path) -> None:
    """Refuse a path that :func:`export` could not write to, before anything has run.

    Raises:
        ConfigError: For another suffix or a folder that does not exist.
    """
    if not path.name.endswith((*TRACES, ".json", *gantt.SUFFIXES)):
        raise ConfigError(
            f"{path.name!r} has no ending that says what to write",
            hint="a schedule: .json; for ui.perfetto.dev: .trace.json or .json.gz; "
            f"a picture: {', '.join(gantt.SUFFIXES)}",
        )
    if not path.resolve().parent.is_dir():
        folder = path.resolve().parent
        raise ConfigError(f"there is no folder {str(folder)!r}", hint=f"make it: mkdir -p {folder}")
