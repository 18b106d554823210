"""Decision: one choice among masked candidates, and the one featuriser that describes it.

Features are functions of the State alone (events and declared resources), so a recorded, a
simulated and a live cluster yield the same numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from toolkit.simulator.compiled import njit
from toolkit.simulator.state import (
    JOBS_DONE,
    JOBS_IN_SYSTEM,
    LATENCY,
    N_DONE,
    N_RUNNING,
    N_WAITING,
    USED_CPUS,
    USED_MEMORY,
    WAITING_SCALE,
    State,
)
from toolkit.workload import SIZE_BINS, Ints, Workload, WorkloadArrays

FEATURISER = 1
"""Version of the features; a policy only reads decisions of the version it was trained on."""

Vector = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

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


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a policy is asked.

    Args:
        agent: Who is asked, e.g. the process type.
        time: Seconds since the start of the episode.
        globals: Shape [G].
        candidates: Shape [K, F].
        mask: True where a slot may be chosen, shape [K].
        keys: What each slot stands for, e.g. the index of a resource profile; shape [K].
        view: The state, read-only, for policies that plan. Holds estimates only.
        subject: Index of the agent's process type.
    """

    agent: str
    time: float
    globals: Vector
    candidates: Vector
    mask: Mask
    keys: Ints
    view: State
    subject: int

    def digest(self) -> str:
        """Return a short fingerprint of what the policy was shown."""
        h = hashlib.blake2b(digest_size=8)
        for array in (self.globals, self.candidates, self.mask):
            h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()


def global_features(types: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return name and unit of each of the G global features.

    Args:
        types: Process types in descending upward rank.
    """
    named = list(_SYSTEM) + [(f"asked: {n}", u) for n, u in _ASKED]
    for i in range(len(types)):
        named += [(f"rank {i}: {n}", u) for n, u in _PER_TYPE]
    return named


@njit
def feasible(w: WorkloadArrays, profile: int) -> bool:
    """Return whether some node could ever hold a task of this profile."""
    for m in range(len(w.node_cpus)):
        if w.cpus[profile] <= w.node_cpus[m] and w.memory[profile] <= w.node_memory[m]:
            return True
    return False


@njit
def at_once(w: WorkloadArrays, profile: int) -> float:
    """Return how many tasks of this profile an empty cluster runs at once."""
    count = 0.0
    for m in range(len(w.node_cpus)):
        by_cpu = np.floor(w.node_cpus[m] / w.cpus[profile] + 1e-9)
        by_memory = np.floor(w.node_memory[m] / w.memory[profile] + 1e-9)
        count += min(by_cpu, by_memory)
    return count


@njit
def dominant_share(w: WorkloadArrays, profile: int) -> float:
    """Return the larger of the shares of all cpus and of all memory that a profile takes."""
    return float(max(w.cpus[profile] / w.node_cpus.sum(), w.memory[profile] / w.node_memory.sum()))


@njit
def static_choice(w: WorkloadArrays, t: int) -> int:
    """Return the profile with which typical tasks of type ``t`` use least of the cluster.

    The estimated duration of a typical task times its dominant share, i.e. the profile that
    lets most of them through; ties go to the first.
    """
    best, least = -1, np.inf
    for p in range(len(w.cpus)):
        if feasible(w, p):
            cost = w.seconds[t, p] * w.typical[t] * dominant_share(w, p)
            if cost < least:
                best, least = p, cost
    return best


@njit
def mheft_choice(state: State, w: WorkloadArrays, position: int) -> int:
    """Return the profile that moldable HEFT gives the type at ``position`` of the order.

    The profile with the least estimated finish of the type's present queue on what the types
    of higher rank left of the cluster; no type takes more than half the cluster while another
    one waits; ties go to the cheaper profile, then to the first.
    """
    t = w.order[position]
    all_cpus, all_memory = w.node_cpus.sum(), w.node_memory.sum()
    cpus, memory = all_cpus, all_memory
    for i in range(position):
        above = w.order[i]
        p = state.choice[above]
        if p >= 0 and state.by_type[above, N_WAITING] + state.by_type[above, N_RUNNING] > 0:
            cpus -= w.cpus[p]
            memory -= w.memory[p]
    others_wait = False
    for other in range(state.by_type.shape[0]):
        if other != t and state.by_type[other, N_WAITING] > 0:
            others_wait = True
    if others_wait:
        cpus, memory = min(cpus, 0.5 * all_cpus), min(memory, 0.5 * all_memory)
    count = max(1.0, state.by_type[t, N_WAITING])
    scale = state.by_type[t, WAITING_SCALE] / count
    if state.by_type[t, N_WAITING] == 0.0:
        scale = w.typical[t]
    best, least, least_cost = -1, np.inf, np.inf
    for fitting in (True, False):
        for p in range(len(w.cpus)):
            if not feasible(w, p):
                continue
            fits = w.cpus[p] <= cpus + 1e-9 and w.memory[p] <= memory + 0.5
            if fits != fitting:
                continue
            lanes = 1.0
            if fits:
                lanes = max(1.0, min(np.floor(cpus / w.cpus[p]), np.floor(memory / w.memory[p])))
            seconds = w.seconds[t, p] * scale
            finish = seconds * np.ceil(count / lanes)
            cost = seconds * dominant_share(w, p)
            if not fits:
                # Nothing is left for this type: the least greedy profile waits least.
                finish = cost
            close = abs(finish - least) <= 1e-12 * max(1.0, abs(least))
            if (finish < least and not close) or (close and cost < least_cost):
                best, least, least_cost = p, finish, cost
        if best >= 0:
            return best
    return best


@njit
def featurise(
    state: State,
    w: WorkloadArrays,
    position: int,
    globals_out: Vector,
    candidates_out: Vector,
    mask_out: Mask,
) -> None:
    """Describe the choice of the type at ``position`` of the order, in place.

    Args:
        state: What is known.
        w: The workload.
        position: Place of the asked type in descending upward rank.
        globals_out: Shape [G].
        candidates_out: Shape [K, F], a row per resource profile.
        mask_out: Shape [K].
    """
    types, profiles = state.by_type.shape[0], len(w.cpus)
    all_cpus, all_memory = w.node_cpus.sum(), w.node_memory.sum()
    t = w.order[position]
    cheapest = static_choice(w, t)
    used_cpus = used_memory = waiting = longest = 0.0
    for u in range(types):
        used_cpus += state.by_type[u, USED_CPUS]
        used_memory += state.by_type[u, USED_MEMORY]
        waiting += state.by_type[u, N_WAITING]
        longest = max(longest, state.by_type[u, N_WAITING])
    done = state.totals[JOBS_DONE]
    g = globals_out
    g[0] = state.totals[JOBS_IN_SYSTEM]
    g[1] = used_cpus / all_cpus
    g[2] = used_memory / all_memory
    g[3] = all_cpus - used_cpus
    g[4] = waiting
    g[5] = longest
    g[6] = done
    g[7] = state.totals[LATENCY] / done if done > 0 else 0.0
    n_waiting = state.by_type[t, N_WAITING]
    base = w.seconds[t, cheapest]
    i = _N_SYSTEM
    g[i] = position / max(1, types - 1)
    g[i + 1] = w.rank[t]
    g[i + 2] = n_waiting
    g[i + 3] = state.by_type[t, N_RUNNING]
    g[i + 4] = state.by_type[t, WAITING_SCALE] * base
    mean_scale = state.by_type[t, WAITING_SCALE] / n_waiting if n_waiting > 0 else w.typical[t]
    g[i + 5] = mean_scale
    cpus_above = work_above = 0.0
    for j in range(position):
        above = w.order[j]
        chosen = state.choice[above]
        if chosen >= 0:
            cpus_above += w.cpus[chosen]
            work_above += state.by_type[above, WAITING_SCALE] * w.seconds[above, chosen]
    g[i + 6] = cpus_above
    g[i + 7] = work_above
    for j in range(types):
        u = w.order[j]
        i = _N_SYSTEM + _N_ASKED + j * _N_PER_TYPE
        g[i] = 1.0 if j == position else 0.0
        g[i + 1] = state.by_type[u, N_WAITING]
        g[i + 2] = state.by_type[u, N_RUNNING]
        g[i + 3] = state.by_type[u, N_DONE]
        g[i + 4] = state.by_type[u, WAITING_SCALE] * w.seconds[u, static_choice(w, u)]
        g[i + 5] = state.by_type[u, USED_CPUS]
        g[i + 6] = state.by_type[u, USED_MEMORY] / all_memory
        g[i + 7] = w.cpus[state.choice[u]] if state.choice[u] >= 0 else 0.0
        for b in range(SIZE_BINS):
            count = state.history_count[u, b]
            g[i + 8 + b] = state.history_seconds[u, b] / count if count > 0 else 0.0
    advice = mheft_choice(state, w, position)
    for p in range(profiles):
        c = candidates_out[p]
        seconds = w.seconds[t, p] * mean_scale
        share = dominant_share(w, p)
        lanes = max(1.0, at_once(w, p))
        c[0] = w.cpus[p] / all_cpus
        c[1] = w.memory[p] / all_memory
        c[2] = share
        c[3] = seconds
        c[4] = base / w.seconds[t, p]
        c[5] = seconds * share
        c[6] = lanes
        fits = used_cpus + w.cpus[p] <= all_cpus and used_memory + w.memory[p] <= all_memory
        c[7] = 1.0 if fits else 0.0
        c[8] = state.by_type[t, WAITING_SCALE] * w.seconds[t, p] / lanes
        c[9] = 1.0 if state.choice[t] == p else 0.0
        c[10] = 1.0 if advice == p else 0.0
        c[11] = 1.0 if cheapest == p else 0.0
        mask_out[p] = feasible(w, p)


def decide(state: State, workload: Workload, position: int) -> Decision:
    """Return the decision of the process type at ``position`` of the order.

    Args:
        state: What is known.
        workload: The episode's workload.
        position: Place of the asked type in descending upward rank.
    """
    w = workload.arrays
    profiles = len(w.cpus)
    globals_out = np.empty(len(global_features(workload.types)), dtype=np.float32)
    candidates = np.empty((profiles, _N_CANDIDATE), dtype=np.float32)
    mask = np.empty(profiles, dtype=np.bool_)
    featurise(state, w, position, globals_out, candidates, mask)
    subject = int(w.order[position])
    return Decision(
        agent=workload.types[subject],
        time=float(state.time[0]),
        globals=globals_out,
        candidates=candidates,
        mask=mask,
        keys=np.arange(profiles, dtype=np.int64),
        view=state.read_only(),
        subject=subject,
    )
