"""What the choice of executors for a batch looks like (family *configuration*)."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.simulator.compiled import lean
from toolkit.simulator.rules import granted
from toolkit.simulator.state import BATCH, JOBS_DONE, LATENCY, PRESENT
from toolkit.workload import (
    ALL_MEMORY,
    BYTES,
    CORES,
    INSTANCES,
    SHAPE,
    STARTUP,
    Indices,
    Mask,
    Vector,
)

GLOBAL_FEATURES = (
    ("batches waiting", "batches"),
    ("tasks of the batch", "tasks"),
    ("tasks at once at most", "tasks"),
    ("mean size of its tasks", "1"),
    ("age of the batch", "s"),
    ("executors up", "executors"),
    ("cores per executor now", "cores"),
    ("batches finished", "batches"),
    ("mean latency so far", "s"),
)
CANDIDATE_FEATURES = (
    ("cores per executor", "cores"),
    ("memory per executor", "1"),
    ("executors asked for", "executors"),
    ("executors granted", "executors"),
    ("slots", "tasks"),
    ("waves", "1"),
    ("executors to start", "executors"),
    ("seconds to apply", "s"),
    ("seconds of the batch", "s"),
    ("seconds in all", "s"),
    ("core-seconds", "core s"),
    ("is current", "1"),
    ("advised by the model", "1"),
)
MODEL_ADVICE = 12
"""Column of the verdict of the estimates: least seconds in all, then fewest core-seconds."""


@lean
def to_start(s: Any, fleet: int) -> int:
    """Return how many executors a configuration must start."""
    count = granted(s, fleet)
    running = 0
    for m in range(count):
        if s.up[m] and s.shape[m] == int(s.fleets[fleet, SHAPE]):
            running += 1
    return count - running


@lean
def seconds_of_batch(s: Any, job: int, fleet: int) -> float:
    """Return the estimated seconds of a batch once its executors are up: waves stage by stage."""
    slots = max(1.0, granted(s, fleet) * s.fleets[fleet, CORES])
    shape = int(s.fleets[fleet, SHAPE])
    seconds = 0.0
    first = s.job_ptr[job]
    while first < s.job_ptr[job + 1]:
        # A stage is a run of tasks of one type; its slowest task ends a wave.
        t = s.type_of[first]
        last, work, most = first, 0.0, 0.0
        while last < s.job_ptr[job + 1] and s.type_of[last] == t:
            one = s.seconds[t, shape] * s.scale[last]
            work += one
            most = max(most, one)
            last += 1
        waves = np.ceil((last - first) / slots)
        seconds += max(most, waves * work / (last - first))
        first = last
    return seconds


@lean
def featurise(
    s: Any, globals_out: Vector, candidates_out: Vector, mask_out: Mask, keys_out: Indices
) -> None:
    """Describe the choice of a configuration, in place.

    Args:
        s: The scene.
        globals_out: Shape [G].
        candidates_out: Shape [K, F], a row per configuration.
        mask_out: Shape [K].
        keys_out: The configurations, shape [K].
    """
    job = s.cursor[BATCH]
    g = globals_out
    stage = largest = 0
    size = 0.0
    last = -1
    for task in range(s.job_ptr[job], s.job_ptr[job + 1]):
        stage = stage + 1 if s.type_of[task] == last else 1
        last = s.type_of[task]
        largest = max(largest, stage)
        size += s.scale[task]
    tasks = s.job_ptr[job + 1] - s.job_ptr[job]
    up = current = 0
    for m in range(len(s.up)):
        up += s.up[m]
        if s.up[m]:
            current = m
    done = s.totals[JOBS_DONE]
    g[0] = s.cursor[PRESENT]
    g[1] = tasks
    g[2] = largest
    g[3] = size / tasks
    g[4] = s.time[0] - s.arrived[job]
    g[5] = up
    g[6] = s.holds[current, 0] if up else 0.0
    g[7] = done
    g[8] = s.totals[LATENCY] / done if done > 0 else 0.0
    best, least, least_cost = -1, np.inf, np.inf
    for q in range(len(s.fleets)):
        c = candidates_out[q]
        count, starting = granted(s, q), to_start(s, q)
        slots = count * s.fleets[q, CORES]
        apply = s.numbers[STARTUP] if starting > 0 else 0.0
        batch = seconds_of_batch(s, job, q)
        cost = slots * (apply + batch)
        c[0] = s.fleets[q, CORES]
        c[1] = s.fleets[q, BYTES] / s.numbers[ALL_MEMORY]
        c[2] = s.fleets[q, INSTANCES]
        c[3] = count
        c[4] = slots
        c[5] = np.ceil(largest / slots) if slots > 0 else 0.0
        c[6] = starting
        c[7] = apply
        c[8] = batch
        c[9] = apply + batch
        c[10] = cost
        c[11] = 1.0 if starting == 0 and up == count else 0.0
        c[12] = 0.0
        mask_out[q] = count > 0
        keys_out[q] = q
        total = apply + batch
        better = total < least * (1 - 1e-12) or (total <= least * (1 + 1e-12) and cost < least_cost)
        if count > 0 and better:
            best, least, least_cost = q, total, cost
    candidates_out[best, MODEL_ADVICE] = 1.0
