"""Served: how the micro-batches of a workload were served, and by which executors."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluations.cells import BOUND
from evaluations.metrics import measure
from toolkit import reward
from toolkit.decision import Decision, decide
from toolkit.envs.registration import scenario_of, settings_of
from toolkit.errors import require
from toolkit.features.observe import FEATURISER
from toolkit.live import Episode, rollout
from toolkit.planning.return_bound import least_metrics
from toolkit.policies.best_static import BestStatic
from toolkit.policies.named import named
from toolkit.policies.policy import Policy, draw
from toolkit.scenarios.batches import MIB, Batches, BatchWorkload
from toolkit.seeding import generator
from toolkit.simulator.rules import granted
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import SIMULATOR, Simulator, simulated
from toolkit.simulator.state import initial
from toolkit.simulator.world import unknown
from toolkit.statistics import Floats
from toolkit.store import Store, fingerprint, write_text
from toolkit.workload import BYTES, CORES, CPUS, INSTANCES, MEMORY, SHAPE

PIECE = 20
"""Workloads that a worker plays at a time; what is played is kept."""
VERSION = 1
"""Of what is kept; others are played again."""
KEPT = ("latency_mean", "service_mean", "wait_mean", "core_seconds", "switches")
"""Metrics of an episode that tell of its batches, see ``evaluations.metrics.UNITS``."""

Fleet = tuple[float, float, float]
"""Cores and MiB of an executor, and how many are asked for."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some workloads and who serves them.

    Args:
        arm: A policy's name, or ``BOUND`` for what no policy falls below; a label of a fleet.
        words: Name of a scenario of batches, and overrides.
        seeds: Of the workloads.
        fleet: The configuration that never changes, where it is no named policy.
        again: Whether to play what was played.
    """

    arm: str
    words: tuple[str, ...]
    seeds: tuple[int, ...]
    fleet: Fleet | None = None
    again: bool = False


def pieces(
    arm: str, words: Sequence[str], seeds: Sequence[int], again: bool, fleet: Fleet | None = None
) -> list[Piece]:
    """Return what a worker plays at a time."""
    return [
        Piece(arm=arm, words=tuple(words), seeds=tuple(seeds[k : k + PIECE]), fleet=fleet,
              again=again)
        for k in range(0, len(seeds), PIECE)
    ]  # fmt: skip


def served(piece: Piece) -> tuple[Piece, list[dict[str, float]]]:
    """Play a piece, or read what it gave before; in a process of its own.

    Returns:
        The piece, and for each workload ``seed``, ``frames`` of its first batch, those of
        ``KEPT``, and what :func:`chosen` tells; of the bound ``latency_mean``, and
        ``service_mean`` where executors take nothing to start.
    """
    store = Store()
    scenario, settings = _ground(piece.words)
    policy: Policy | None = None
    who: Any = piece.arm
    if piece.fleet is not None:
        cores, memory, instances = piece.fleet
        told = {"cores": cores, "memory": memory, "instances": instances}
        policy, who = BestStatic(fleet=told), told
    elif piece.arm != BOUND:
        one = named(piece.arm, store)
        policy, who = one.policy, one.key
    key = [VERSION, SIMULATOR, FEATURISER, reward.VERSION, settings, who, list(piece.seeds)]
    file = store.root / "served" / f"{fingerprint(key)}.json"
    known = None if piece.again else _read(file, key)
    if known is not None:
        return piece, known
    rows = []
    for seed in piece.seeds:
        workload = scenario.plan(seed)
        row = {"seed": float(seed), "frames": float(workload.frames[0])}
        row |= _least(scenario, workload, seed) if policy is None else _of(scenario, policy, seed)
        rows.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"key": key, "rows": rows}, default=str))
    return piece, rows


def frame_of(rows: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Return rows as a frame by seed."""
    frame = pd.DataFrame(rows).astype({"seed": "int64", "frames": "int64"})
    return frame.sort_values("seed").reset_index(drop=True)


def batches_of(words: Sequence[str]) -> Batches:
    """Return a scenario of batches.

    Raises:
        ConfigError: When it is of another family.
    """
    return _ground(tuple(words))[0]


@cache
def _ground(words: tuple[str, ...]) -> tuple[Batches, dict[str, Any]]:
    """Return a scenario and its settings; composing them takes longer than some episodes."""
    scenario: Any = scenario_of(words[0], words[1:])
    require(isinstance(scenario, Batches), f"suite: {words[0]!r} is no scenario of batches")
    return scenario, settings_of(words[0], words[1:])


def seeds_by_frames(
    words: Sequence[str], frames: Sequence[int], count: int, first: int
) -> dict[int, list[int]]:
    """Return the first seeds whose workload begins with so many frames, by frames.

    Args:
        words: Name of a scenario of batches, and overrides.
        frames: Of which each is to be found.
        count: Seeds of each.
        first: Where the search begins.
    """
    scenario = batches_of(words)
    strange = sorted(set(frames) - set(scenario.frames))
    require(not strange, f"suite.sizes: {words[0]} has no batches of {strange} frames")
    found: dict[int, list[int]] = {f: [] for f in frames}
    seed = first
    while min(len(s) for s in found.values()) < count:
        met = found.get(int(scenario.plan(seed).frames[0]))
        if met is not None and len(met) < count:
            met.append(seed)
        seed += 1
    return found


def fleets_of(words: Sequence[str]) -> list[Fleet]:
    """Return the configurations that differ in what is granted; of equal ones the first."""
    scenario = batches_of(words)
    workload = scenario.plan(0)
    s = Scene(workload=workload, state=initial(workload), world=unknown()).known
    found: dict[tuple[int, int], Fleet] = {}
    for q, fleet in enumerate(workload.arrays.fleets):
        count = granted(s, q)
        if count > 0:
            told = (float(fleet[CORES]), float(fleet[BYTES]) / MIB, float(fleet[INSTANCES]))
            found.setdefault((int(fleet[SHAPE]), count), told)
    return list(found.values())


def _read(file: Path, key: Sequence[Any]) -> list[dict[str, float]] | None:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        same = told["key"] == json.loads(json.dumps(key, default=str))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return list(told["rows"]) if same else None


def _least(scenario: Batches, workload: BatchWorkload, seed: int) -> dict[str, float]:
    truth = scenario.truth(workload, seed)
    free = replace(truth, startup=0.0)
    return {
        "latency_mean": least_metrics(workload, truth)["latency_mean"],
        "service_mean": least_metrics(workload, free)["latency_mean"],
    }


def _of(scenario: Batches, policy: Policy, seed: int) -> dict[str, float]:
    episode = played(scenario, policy, seed)
    measured = measure(episode)
    return {**{k: measured[k] for k in KEPT}, **chosen(episode, scenario)}


def played(scenario: Batches, policy: Policy, seed: int) -> Episode:
    """Return an episode of a policy; luck and policy draw by the seed of the workload."""
    return simulated(
        scenario, policy, scenario.plan(seed), seed,
        horizon=scenario.horizon, weights=scenario.weights,
    )  # fmt: skip


def chosen(episode: Episode, scenario: Batches) -> dict[str, float]:
    """Return which executors served the batches, and how much of the hosts was used.

    Args:
        episode: Of a scenario of batches, finished.
        scenario: What was played; tells what memory a task needs.

    Returns:
        ``cores``, ``memory`` (MiB) of an executor, ``instances`` asked for and ``granted``: means
        over batches. ``cpu_reserved`` and ``memory_reserved``: share of the hosts that executors
        held, ``cpu_busy`` and ``memory_busy``: that tasks made use of; both over time.
        ``reward``: mean of a step, 1/ms.
    """
    w, o = episode.scene.workload.arrays, episode.outcome
    state, known = episode.scene.state, episode.scene.known
    fleet = w.fleets[state.fleet]
    count = np.array([granted(known, q) for q in state.fleet.tolist()], dtype=np.float64)
    seconds = o.completed - state.begun
    hosts = w.hosts.sum(axis=0)
    cpus, memory = hosts[CPUS] * seconds.sum(), hosts[MEMORY] * seconds.sum()
    ran = o.finished - o.started
    job = np.repeat(np.arange(len(seconds)), np.diff(w.job_ptr))
    stage = np.array([s.memory for s in scenario.stages])[w.type_of % len(scenario.stages)]
    has = (fleet[:, BYTES] / fleet[:, CORES])[job]
    needs = stage * episode.scene.workload.frames[job] * MIB  # type: ignore[attr-defined]
    return {
        "cores": float(fleet[:, CORES].mean()),
        "memory": float(fleet[:, BYTES].mean()) / MIB,
        "instances": float(fleet[:, INSTANCES].mean()),
        "granted": float(count.mean()),
        "cpu_reserved": float((count * fleet[:, CORES]) @ seconds / cpus),
        "memory_reserved": float((count * fleet[:, BYTES]) @ seconds / memory),
        "cpu_busy": float(ran.sum() / cpus),
        "memory_busy": float(np.minimum(needs, has) @ ran / memory),
        "reward": float(np.mean([s.components[0] for s in episode.steps])),
    }


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a policy chose over time; each of shape [J], a batch each.

    Args:
        time: When it was asked, s.
        frames: Frames of the batch, all partitions together.
        waiting: Batches that waited.
        cores: Per executor.
        memory: MiB per executor.
        granted: Executors.
    """

    time: Floats
    frames: Floats
    waiting: Floats
    cores: Floats
    memory: Floats
    granted: Floats


def course(words: Sequence[str], policy: str, seed: int) -> Course:
    """Play one workload and tell what was chosen over time."""
    scenario = batches_of(words)
    episode = played(scenario, named(policy, Store()).policy, seed)
    workload, known = scenario.plan(seed), episode.scene.known
    asked = [s.decision for s in episode.steps]
    keys = [int(s.decision.keys[s.action]) for s in episode.steps]
    fleet = workload.arrays.fleets[keys]
    subject = [d.subject for d in asked]
    return Course(
        time=np.array([d.time for d in asked]),
        frames=(workload.frames * workload.partitions)[subject].astype(np.float64),
        waiting=np.array([float(d.globals[0]) for d in asked]) - 1.0,
        cores=fleet[:, CORES],
        memory=fleet[:, BYTES] / MIB,
        granted=np.array([float(granted(known, q)) for q in keys]),
    )


def decision_ms(words: Sequence[str], policy: str, seeds: Sequence[int]) -> Floats:
    """Return the mean processor time of a decision in each episode, ms: features and choice.

    Args:
        words: Name of a scenario of batches, and overrides.
        policy: Its name.
        seeds: Of the workloads.
    """
    scenario = batches_of(words)
    one = named(policy, Store()).policy
    found = []
    for seed in seeds:
        rng = generator(seed, "policy")
        spent: list[float] = []

        def choose(
            decision: Decision, rng: np.random.Generator = rng, spent: list[float] = spent
        ) -> tuple[int, float | None]:
            begun = time.process_time()
            answer = draw(one, decide(decision.scene), rng)
            spent.append(time.process_time() - begun)
            return answer

        workload = scenario.plan(seed)
        one.reset(workload)
        rollout(
            Simulator(scenario, seed), workload, choose,
            horizon=scenario.horizon, weights=scenario.weights, record=False,
        )  # fmt: skip
        found.append(1000 * float(np.mean(spent)))
    return np.array(found)
