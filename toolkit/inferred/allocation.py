"""Allocations: which resources each type asked for over time, read from the tasks' requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from toolkit.cluster import Cluster, Node
from toolkit.decision import decide
from toolkit.errors import require
from toolkit.inferred import log as logs
from toolkit.inferred.durations import mean_seconds
from toolkit.inferred.log import Log
from toolkit.inferred.rows import Inferred, Rows
from toolkit.inferred.steps import Steps
from toolkit.simulator.scene import Scene
from toolkit.simulator.state import (
    ARRIVED,
    ASK_PROFILE,
    FINISHED,
    KILLED,
    POSITION,
    STAGE,
    STARTED,
    WAITING,
    apply_event,
    choose_profile,
    initial,
    pass_time,
    settle,
)
from toolkit.simulator.world import unknown
from toolkit.workload import ALLOCATION, Workload, assemble

MOST_DECISIONS = 500_000
"""Decisions of the longest run."""

_ORDER = {ARRIVED: 0, FINISHED: 1, KILLED: 1, STARTED: 2}
_NO_TIME = 3


def infer(
    tables: Mapping[str, pa.Table],
    *,
    interval: float,
    edges_known: bool = True,
    steps: Steps | None = None,
) -> Inferred:
    """Return the allocations that the requests of a run imply.

    Every ``interval`` seconds each type is asked; the answer is what most of its tasks asked for
    that were submitted until the next time, ties to the least. Where none was submitted the
    answer before stands, as nothing shows that it was changed; before the first, the first.

    Args:
        tables: The tables of a trace, of this run alone.
        interval: Seconds.
        edges_known: As for :func:`toolkit.inferred.log.read`.
        steps: Takes the decisions with all that they show.

    Raises:
        ConfigError: When requests are not told, no type ever asked for different amounts, or
            there would be too many decisions.
    """
    log = logs.read(tables, placed=False, edges_known=edges_known)
    require(interval > 0, f"the interval between decisions is in seconds, got {interval}")
    told = all(a.asks[0] is not None for a in log.attempts)
    require(told, "the log does not tell what each task asked for")
    wanted = [(a.asks[0] or 0.0, a.asks[1] or 0.0, a.asks[2] or 0.0) for a in log.attempts]
    profiles = sorted(set(wanted))
    profile_of = [profiles.index(w) for w in wanted]
    per_type: dict[str, set[int]] = {}
    for a, p in zip(log.attempts, profile_of, strict=True):
        per_type.setdefault(log.type[a.task], set()).add(p)
    require(
        any(len(found) > 1 for found in per_type.values()),
        "all tasks of a type asked for the same, so nobody chose",
    )
    types = sorted(per_type)
    end = max(a.end or a.start for a in log.attempts)
    count = (int(end / interval) + 1) * len(types)
    require(
        count <= MOST_DECISIONS,
        f"an interval of {interval:g} s gives {count:,} decisions, more than {MOST_DECISIONS:,}",
    )
    return _replay(log, types, profiles, profile_of, interval, steps)


def _replay(
    log: Log,
    types: list[str],
    profiles: list[tuple[float, float, float]],
    profile_of: list[int],
    interval: float,
    steps: Steps | None,
) -> Inferred:
    index = {t: i for i, t in enumerate(types)}
    type_of = [index[t] for t in log.type]
    workload = _workload(log, types, type_of, profiles, profile_of, interval)
    chosen, strays = _choices(log, type_of, profile_of, interval, len(types))
    scene = Scene(workload=workload, state=initial(workload), world=unknown())
    s, state = scene.known, scene.state
    rows = Rows(steps)
    events = [(t, _ORDER[ARRIVED], ARRIVED, j) for j, t in enumerate(log.arrival)]
    for k, a in enumerate(log.attempts):
        events.append((a.start, _ORDER[STARTED], STARTED, k))
        if a.end is not None:
            kind = FINISHED if a.done else KILLED
            events.append((a.end, _ORDER[kind] if a.end > a.start else _NO_TIME, kind, k))
    events.sort()
    running: dict[int, int] = {}
    early = i = 0

    def happens(until: float) -> None:
        nonlocal early, i
        while i < len(events) and events[i][0] <= until:
            at, _, kind, subject = events[i]
            i += 1
            if kind == ARRIVED:
                apply_event(s, ARRIVED, subject, at, at)
                continue
            task = log.attempts[subject].task
            if kind == STARTED:
                if state.status[task] != WAITING:
                    early += 1
                    continue
                running[subject] = task
                state.profile[task] = profile_of[subject]
                apply_event(s, STARTED, task, at, at)
            elif running.pop(subject, -1) >= 0:
                apply_event(s, kind, task, at, at)

    for epoch in range(int(events[-1][0] / interval) + 1):
        before = float(state.time[0])
        happens(epoch * interval)
        pass_time(s, epoch * interval)
        if epoch > 0:
            settle(s, epoch * interval - before)
        while state.cursor[STAGE] == ASK_PROFILE:
            t = int(workload.arrays.order[state.cursor[POSITION]])
            p = chosen[t][min(epoch, len(chosen[t]) - 1)]
            rows.answer(state, decide(scene), types[t], p, p)
            choose_profile(s, p)
    before = float(state.time[0])
    happens(events[-1][0])
    settle(s, float(state.time[0]) - before)
    left_out = dict(log.left_out)
    if strays:
        left_out["tasks that asked for other than most of their interval"] = strays
    if early:
        left_out["attempts that started before they were ready"] = early
    told = [{"cpus": c, "memory": m, "gpus": g} for c, m, g in profiles]
    return rows.inferred(left_out, scene, {"profiles": told, "interval": interval})


def _choices(
    log: Log, type_of: list[int], profile_of: list[int], interval: float, types: int
) -> tuple[list[list[int]], int]:
    """Return the profile of each type in each interval, and how many tasks asked for another."""
    asked: list[dict[int, Counter[int]]] = [{} for _ in range(types)]
    last = 0
    for a, p in zip(log.attempts, profile_of, strict=True):
        epoch = int(a.submitted / interval)
        last = max(last, epoch)
        asked[type_of[a.task]].setdefault(epoch, Counter())[p] += 1
    chosen: list[list[int]] = []
    strays = 0
    for of_type in asked:
        most = {e: min(c, key=lambda p: (-c[p], p)) for e, c in of_type.items()}
        strays += sum(sum(c.values()) - c[most[e]] for e, c in of_type.items())
        now = most[min(most)]
        row = []
        for epoch in range(last + 1):
            now = most.get(epoch, now)
            row.append(now)
        chosen.append(row)
    return chosen, strays


def _workload(
    log: Log,
    types: list[str],
    type_of: list[int],
    profiles: list[tuple[float, float, float]],
    profile_of: list[int],
    interval: float,
) -> Workload:
    """Return the run as a workload of the family *allocation*, on one node that holds it all."""
    demand = np.array(profiles)
    nodes = [n for n in log.nodes if n["cpus"] or n["gpus"]]
    largest = demand.max(axis=0)
    cluster = Cluster(
        nodes=tuple(
            Node(
                name=f"{n['name']} ({m})",
                cpus=max(float(n["cpus"] or 0.0), largest[0]),
                memory=max(float(n["memory"] or 0.0), largest[1], 1.0),
                gpus=max(float(n["gpus"] or 0.0), largest[2]),
            )
            for m, n in enumerate(nodes)
        )
        or (
            Node(
                name="everything",
                cpus=max(float(largest[0]), 1.0),
                memory=max(float(largest[1]), 1.0),
                gpus=float(largest[2]),
            ),
        )
    )
    found = [(type_of[a.task], p, a) for a, p in zip(log.attempts, profile_of, strict=True)]
    arrays = assemble(
        family=ALLOCATION,
        type_of=type_of,
        job_ptr=log.job_ptr,
        parent_ptr=log.parent_ptr,
        parents=log.flat_parents,
        data=np.zeros(len(log.flat_parents)),
        arrival=log.arrival,
        scale=np.ones(len(log.task)),
        seconds=mean_seconds(found, len(types), len(profiles)),
        demand=demand,
        cluster=cluster,
        by_profile=True,
        interval=interval,
    )
    return Workload(types=tuple(types), cluster=cluster, arrays=arrays, seed=0)
