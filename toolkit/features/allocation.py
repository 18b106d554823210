"""What the choice of a resource profile for a process type looks like (family *allocation*)."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.simulator.compiled import lean
from toolkit.simulator.state import (
    JOBS_DONE,
    JOBS_IN_SYSTEM,
    LATENCY,
    N_DONE,
    N_RUNNING,
    N_WAITING,
    POSITION,
    USED_CPUS,
    USED_MEMORY,
    WAITING_SCALE,
)
from toolkit.workload import ALL_CPUS, ALL_MEMORY, CPUS, MEMORY, SIZE_BINS, Indices, Mask, Vector

_SYSTEM = (
    ("jobs in system", "jobs"),
    ("cpu utilisation", "1"),
    ("memory utilisation", "1"),
    ("free cpus", "cpus"),
    ("waiting tasks", "tasks"),
    ("longest queue", "tasks"),
    ("jobs finished", "jobs"),
    ("mean latency so far", "s"),
)
_ASKED = (
    ("position in order", "1"),
    ("upward rank", "s"),
    ("waiting", "tasks"),
    ("running", "tasks"),
    ("waiting work", "s"),
    ("mean waiting scale", "1"),
    ("cpus chosen above", "cpus"),
    ("queued work above", "s"),
)
_PER_TYPE = (
    ("is asked", "1"),
    ("waiting", "tasks"),
    ("running", "tasks"),
    ("finished", "tasks"),
    ("waiting work", "s"),
    ("cpus in use", "cpus"),
    ("memory in use", "1"),
    ("cpus chosen", "cpus"),
    ("mean seconds small", "s"),
    ("mean seconds medium", "s"),
    ("mean seconds large", "s"),
)
CANDIDATE_FEATURES = (
    ("cpus", "1"),
    ("memory", "1"),
    ("dominant share", "1"),
    ("seconds", "s"),
    ("speed-up over cheapest", "1"),
    ("share-seconds", "s"),
    ("at once", "tasks"),
    ("fits now", "1"),
    ("seconds to drain queue", "s"),
    ("is current", "1"),
    ("advised by mheft", "1"),
    ("advised by static", "1"),
)
"""Name and unit of each of the F candidate features of the allocation family."""

_N_SYSTEM, _N_ASKED, _N_PER_TYPE = len(_SYSTEM), len(_ASKED), len(_PER_TYPE)
_N_CANDIDATE = len(CANDIDATE_FEATURES)
MHEFT_ADVICE = 10
"""Column of the moldable HEFT's verdict among the candidate features."""
STATIC_ADVICE = 11
"""Column of the historical average's verdict among the candidate features."""


def global_features(types: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return name and unit of each of the G global features.

    Args:
        types: Process types in descending upward rank.
    """
    named = list(_SYSTEM) + [(f"asked: {n}", u) for n, u in _ASKED]
    for i in range(len(types)):
        named += [(f"rank {i}: {n}", u) for n, u in _PER_TYPE]
    return named


def size_of_globals(types: int) -> int:
    """Return G for a number of process types."""
    return _N_SYSTEM + _N_ASKED + types * _N_PER_TYPE


@lean
def feasible(s: Any, profile: int) -> bool:
    """Return whether some node could ever hold a task of this profile."""
    for m in range(len(s.capacity)):
        if (
            s.demand[profile, CPUS] <= s.capacity[m, CPUS]
            and s.demand[profile, MEMORY] <= s.capacity[m, MEMORY]
        ):
            return True
    return False


@lean
def at_once(s: Any, profile: int) -> float:
    """Return how many tasks of this profile an empty cluster runs at once."""
    count = 0.0
    for m in range(len(s.capacity)):
        by_cpu = np.floor(s.capacity[m, CPUS] / s.demand[profile, CPUS] + 1e-9)
        by_memory = np.floor(s.capacity[m, MEMORY] / s.demand[profile, MEMORY] + 1e-9)
        count += min(by_cpu, by_memory)
    return count


@lean
def dominant_share(s: Any, profile: int) -> float:
    """Return the larger of the shares of all cpus and of all memory that a profile takes."""
    return float(
        max(
            s.demand[profile, CPUS] / s.numbers[ALL_CPUS],
            s.demand[profile, MEMORY] / s.numbers[ALL_MEMORY],
        )
    )


@lean
def static_choice(s: Any, t: int) -> int:
    """Return the profile with which typical tasks of type ``t`` use least of the cluster.

    The estimated duration of a typical task times its dominant share, i.e. the profile that
    lets most of them through; ties go to the first.
    """
    best, least = -1, np.inf
    for p in range(len(s.demand)):
        if feasible(s, p):
            cost = s.seconds[t, p] * s.typical[t] * dominant_share(s, p)
            if cost < least:
                best, least = p, cost
    return best


@lean
def mheft_choice(s: Any, position: int) -> int:
    """Return the profile that moldable HEFT gives the type at ``position`` of the order.

    The profile with the least estimated finish of the type's present queue on what the types
    of higher rank left of the cluster; no type takes more than half the cluster while another
    one waits; ties go to the cheaper profile, then to the first.
    """
    t = s.order[position]
    all_cpus, all_memory = s.numbers[ALL_CPUS], s.numbers[ALL_MEMORY]
    cpus, memory = all_cpus, all_memory
    for i in range(position):
        above = s.order[i]
        p = s.choice[above]
        if p >= 0 and s.by_type[above, N_WAITING] + s.by_type[above, N_RUNNING] > 0:
            cpus -= s.demand[p, CPUS]
            memory -= s.demand[p, MEMORY]
    others_wait = False
    for other in range(s.by_type.shape[0]):
        if other != t and s.by_type[other, N_WAITING] > 0:
            others_wait = True
    if others_wait:
        cpus, memory = min(cpus, 0.5 * all_cpus), min(memory, 0.5 * all_memory)
    count = max(1.0, s.by_type[t, N_WAITING])
    scale = s.by_type[t, WAITING_SCALE] / count
    if s.by_type[t, N_WAITING] == 0.0:
        scale = s.typical[t]
    best, least, least_cost = -1, np.inf, np.inf
    for fitting in (True, False):
        for p in range(len(s.demand)):
            if not feasible(s, p):
                continue
            fits = s.demand[p, CPUS] <= cpus + 1e-9 and s.demand[p, MEMORY] <= memory + 0.5
            if fits != fitting:
                continue
            lanes = 1.0
            if fits:
                lanes = max(
                    1.0,
                    min(np.floor(cpus / s.demand[p, CPUS]), np.floor(memory / s.demand[p, MEMORY])),
                )
            seconds = s.seconds[t, p] * scale
            finish = seconds * np.ceil(count / lanes)
            cost = seconds * dominant_share(s, p)
            if not fits:
                # Nothing is left for this type: the least greedy profile waits least.
                finish = cost
            close = abs(finish - least) <= 1e-12 * max(1.0, abs(least))
            if (finish < least and not close) or (close and cost < least_cost):
                best, least, least_cost = p, finish, cost
        if best >= 0:
            return best
    return best


@lean
def featurise(
    s: Any, globals_out: Vector, candidates_out: Vector, mask_out: Mask, keys_out: Indices
) -> None:
    """Describe the choice of the type whose turn it is, in place.

    Args:
        s: The scene.
        globals_out: Shape [G].
        candidates_out: Shape [K, F], a row per resource profile.
        mask_out: Shape [K].
        keys_out: The profiles, shape [K].
    """
    position = s.cursor[POSITION]
    types, profiles = s.by_type.shape[0], len(s.demand)
    all_cpus, all_memory = s.numbers[ALL_CPUS], s.numbers[ALL_MEMORY]
    t = s.order[position]
    cheapest = static_choice(s, t)
    used_cpus = used_memory = waiting = longest = 0.0
    for u in range(types):
        used_cpus += s.by_type[u, USED_CPUS]
        used_memory += s.by_type[u, USED_MEMORY]
        waiting += s.by_type[u, N_WAITING]
        longest = max(longest, s.by_type[u, N_WAITING])
    done = s.totals[JOBS_DONE]
    g = globals_out
    g[0] = s.totals[JOBS_IN_SYSTEM]
    g[1] = used_cpus / all_cpus
    g[2] = used_memory / all_memory
    g[3] = all_cpus - used_cpus
    g[4] = waiting
    g[5] = longest
    g[6] = done
    g[7] = s.totals[LATENCY] / done if done > 0 else 0.0
    n_waiting = s.by_type[t, N_WAITING]
    base = s.seconds[t, cheapest]
    i = _N_SYSTEM
    g[i] = position / max(1, types - 1)
    g[i + 1] = s.type_rank[t]
    g[i + 2] = n_waiting
    g[i + 3] = s.by_type[t, N_RUNNING]
    g[i + 4] = s.by_type[t, WAITING_SCALE] * base
    mean_scale = s.by_type[t, WAITING_SCALE] / n_waiting if n_waiting > 0 else s.typical[t]
    g[i + 5] = mean_scale
    cpus_above = work_above = 0.0
    for j in range(position):
        above = s.order[j]
        chosen = s.choice[above]
        if chosen >= 0:
            cpus_above += s.demand[chosen, CPUS]
            work_above += s.by_type[above, WAITING_SCALE] * s.seconds[above, chosen]
    g[i + 6] = cpus_above
    g[i + 7] = work_above
    for j in range(types):
        u = s.order[j]
        i = _N_SYSTEM + _N_ASKED + j * _N_PER_TYPE
        g[i] = 1.0 if j == position else 0.0
        g[i + 1] = s.by_type[u, N_WAITING]
        g[i + 2] = s.by_type[u, N_RUNNING]
        g[i + 3] = s.by_type[u, N_DONE]
        g[i + 4] = s.by_type[u, WAITING_SCALE] * s.seconds[u, static_choice(s, u)]
        g[i + 5] = s.by_type[u, USED_CPUS]
        g[i + 6] = s.by_type[u, USED_MEMORY] / all_memory
        g[i + 7] = s.demand[s.choice[u], CPUS] if s.choice[u] >= 0 else 0.0
        for b in range(SIZE_BINS):
            count = s.history_count[u, b]
            g[i + 8 + b] = s.history_seconds[u, b] / count if count > 0 else 0.0
    advice = mheft_choice(s, position)
    for p in range(profiles):
        c = candidates_out[p]
        seconds = s.seconds[t, p] * mean_scale
        share = dominant_share(s, p)
        lanes = max(1.0, at_once(s, p))
        c[0] = s.demand[p, CPUS] / all_cpus
        c[1] = s.demand[p, MEMORY] / all_memory
        c[2] = share
        c[3] = seconds
        c[4] = base / s.seconds[t, p]
        c[5] = seconds * share
        c[6] = lanes
        fits = (
            used_cpus + s.demand[p, CPUS] <= all_cpus
            and used_memory + s.demand[p, MEMORY] <= all_memory
        )
        c[7] = 1.0 if fits else 0.0
        c[8] = s.by_type[t, WAITING_SCALE] * s.seconds[t, p] / lanes
        c[9] = 1.0 if s.choice[t] == p else 0.0
        c[10] = 1.0 if advice == p else 0.0
        c[11] = 1.0 if cheapest == p else 0.0
        mask_out[p] = feasible(s, p)
        keys_out[p] = p
