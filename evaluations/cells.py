"""Cells: what policies are worth on workloads of one scenario, each piece played once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from evaluations.metrics import measure, of_jobs
from toolkit import reward
from toolkit.envs.registration import scenario_of, settings_of
from toolkit.fanout import crew
from toolkit.features.observe import FEATURISER
from toolkit.learning.play import play
from toolkit.live import outcome_of
from toolkit.planning.return_bound import least_metrics
from toolkit.policies.learned import Learned
from toolkit.policies.named import named
from toolkit.policies.policy import Policy
from toolkit.progress import progress, say
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.simulator import SIMULATOR, simulated
from toolkit.store import Store, fingerprint, write_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

PIECE = 20
"""Workloads that a worker plays at a time; what is played is kept."""
VERSION = 1
"""Of what cells hold; others are played again."""
BOUND = "bound"
"""Name of the arm that no policy falls below."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some workloads and who plays them.

    Args:
        arm: What the policy is one training of.
        training: Which.
        policy: Its name; ``BOUND`` for what no policy falls below.
        scenario: Name and overrides.
        seeds: Of the workloads.
        again: Whether to play what was played.
    """

    arm: str
    training: int
    policy: str
    scenario: tuple[str, ...]
    seeds: tuple[int, ...]
    again: bool


def cells(
    arms: Mapping[str, Sequence[str]],
    scenario: Sequence[str],
    seeds: Sequence[int],
    cfg: DictConfig,
) -> dict[str, pd.DataFrame]:
    """Return a row per workload and training of each arm.

    Args:
        arms: Names of policies by arm, one for each training.
        scenario: Name and overrides.
        seeds: Of the workloads; luck and policies draw by the same.
        cfg: Tells executor and workers, and with ``force`` to play again what was played.
    """
    pieces = [
        Piece(
            arm=arm, training=i, policy=policy, scenario=tuple(scenario),
            seeds=tuple(seeds[k : k + PIECE]), again=bool(cfg.force),
        )
        for arm, policies in arms.items()
        for i, policy in enumerate(policies)
        for k in range(0, len(seeds), PIECE)
    ]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    say(f"{len(pieces)} times {min(PIECE, len(seeds))} episodes; what was played is not again")
    with (
        progress("playing unseen workloads", len(pieces), "pieces") as bar,
        crew(str(cfg.executor), cfg.workers, cfg.ray.address) as hand_out,
    ):
        for piece, found in hand_out(_found, pieces):
            rows[piece.arm] += [{"training": piece.training, **r} for r in found]
            bar.update(note=piece.arm)
    return {
        arm: pd.DataFrame(found).sort_values(["training", "seed"]).reset_index(drop=True)
        for arm, found in rows.items()
    }


def _found(piece: Piece) -> tuple[Piece, list[dict[str, float]]]:
    """Return what a piece gave when it was played, or play it, in a process of its own."""
    store = Store()
    words = piece.scenario[0], piece.scenario[1:]
    scenario = scenario_of(*words)
    one = None if piece.policy == BOUND else named(piece.policy, store)
    key: list[Any] = [
        VERSION, SIMULATOR, FEATURISER, reward.VERSION, settings_of(*words),
        BOUND if one is None else one.key, list(piece.seeds),
    ]  # fmt: skip
    file = store.root / "cells" / f"{fingerprint(key)}.json"
    known = None if piece.again else _read(file, key)
    if known is not None:
        return piece, known
    if one is None:
        rows = _least(scenario, piece.seeds)
    elif isinstance(one.policy, Learned):
        rows = side_by_side(one.policy, scenario, piece.seeds)
    else:
        rows = one_by_one(one.policy, scenario, piece.seeds)
    told = [{"seed": s, **r} for s, r in zip(piece.seeds, rows, strict=True)]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"key": key, "rows": told}, default=str))
    return piece, told


def _read(file: Path, key: Sequence[Any]) -> list[dict[str, float]] | None:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        same = told["key"] == json.loads(json.dumps(key, default=str))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return list(told["rows"]) if same else None


def side_by_side(
    policy: Learned, scenario: Scenario, seeds: Sequence[int]
) -> list[dict[str, float]]:
    """Play a network, which decides for many workloads at once.

    Args:
        policy: Takes the slot that it scores highest.
        scenario: What is played.
        seeds: Of the workloads.

    Returns:
        For each workload what :func:`evaluations.metrics.of_jobs` measures, and the return.
    """
    torch.set_num_threads(1)
    policy.reset(scenario.plan(seeds[0]))
    batch = play(policy.scorer, scenario, seeds, sampled=False)
    scenes = [batch.scene(i) for i in range(len(seeds))]
    return [
        {"return_mean": value, **of_jobs(outcome_of(scene), scene)}
        for value, scene in zip(batch.returns.tolist(), scenes, strict=True)
    ]


def one_by_one(policy: Policy, scenario: Scenario, seeds: Sequence[int]) -> list[dict[str, float]]:
    """Play a rule; arguments and result are those of :func:`side_by_side`."""
    rows = []
    for seed in seeds:
        workload = scenario.plan(seed)
        episode = simulated(
            scenario, policy, workload, seed, horizon=scenario.horizon, weights=scenario.weights
        )
        rows.append(measure(episode))
    return rows


def _least(scenario: Scenario, seeds: Sequence[int]) -> list[dict[str, float]]:
    rows = []
    for seed in seeds:
        workload = scenario.plan(seed)
        told = least_metrics(workload, scenario.truth(workload, seed))
        rows.append({**told, "throughput": workload.jobs / told["makespan"]})
    return rows
