"""Cells: what policies are worth on workloads of one ground, each piece played once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from evaluations.metrics import measure
from evaluations.timed import Timed
from toolkit import reward
from toolkit.benchmarks.reference import Played
from toolkit.calibration.calibration import Calibration
from toolkit.envs import registration
from toolkit.errors import ConfigError, NotFoundError, SchemaError
from toolkit.fanout import crew
from toolkit.features.observe import FEATURISER
from toolkit.planning.return_bound import least_metrics
from toolkit.policies.callable_policy import policy_of
from toolkit.policies.policy import Policy
from toolkit.progress import progress
from toolkit.simulator.simulator import SIMULATOR, simulated
from toolkit.store import Store, fingerprint, write_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

PIECE = 20
"""Workloads that a worker plays at a time; what is played is kept."""
VERSION = 2
"""Of what cells hold; others are played again."""
BOUND = "bound"
"""Name of the arm that no policy falls below."""
REPLAY = "replay"
"""First word of a ground that is a calibrated replay; the second is the calibration's id."""
FAILED = "failed"
"""Column that says why a cell failed; it has no metrics then."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some workloads and who plays them.

    Args:
        arm: What the policy is one training of.
        training: Which.
        policy: Its name; ``BOUND`` for what no policy falls below.
        ground: Name of a scenario and overrides, or ``REPLAY`` and the id of a calibration.
        seeds: Of the workloads.
        again: Whether to play what was played.
        settings: Of the ground, see :func:`settings_of`; composing them takes long.
    """

    arm: str
    training: int
    policy: str
    ground: tuple[str, ...]
    seeds: tuple[int, ...]
    again: bool
    settings: Any = field(compare=False)


def cells(
    arms: Mapping[str, Sequence[str]],
    ground: Sequence[str],
    seeds: Sequence[int],
    cfg: DictConfig,
) -> dict[str, pd.DataFrame]:
    """Return a row per workload and training of each arm.

    Args:
        arms: Names of policies by arm, one for each training.
        ground: Name of a scenario and overrides, or ``REPLAY`` and the id of a calibration.
        seeds: Of the workloads; luck and policies draw by the same.
        cfg: Tells executor and workers, and with ``force`` to play again what was played.

    Returns:
        ``training``, ``seed`` and metrics by arm; where a policy broke down, ``FAILED``.
    """
    store, rows = Store(), dict[Piece, list[dict[str, Any]]]()
    settings = settings_of(ground, store)
    pieces = [
        Piece(
            arm=arm, training=i, policy=policy, ground=tuple(ground),
            seeds=tuple(seeds[k : k + PIECE]), again=bool(cfg.force), settings=settings,
        )
        for arm, policies in arms.items()
        for i, policy in enumerate(policies)
        for k in range(0, len(seeds), PIECE)
    ]  # fmt: skip
    keys = {n: _key(n, settings, store) for names in arms.values() for n in names}
    for piece in pieces:
        known = None if piece.again else _read(piece, keys[piece.policy], store)
        if known is not None:
            rows[piece] = known
    missing = [p for p in pieces if p not in rows]
    if missing:
        with (
            progress(f"playing {' '.join(ground)}", len(missing), "pieces") as bar,
            crew(str(cfg.executor), cfg.workers, cfg.ray.address) as hand_out,
        ):
            for piece, found in hand_out(_play_piece, missing):
                rows[piece] = found
                bar.update(note=piece.arm)
                # What broke down may not the next time.
                if not any(FAILED in row for row in found):
                    _keep(piece, keys[piece.policy], found, store)
    return {
        arm: pd.DataFrame(
            [{"training": p.training, **r} for p in pieces if p.arm == arm for r in rows[p]]
        )
        for arm in arms
    }


def settings_of(words: Sequence[str], store: Store) -> Any:
    """Return what decides about a ground: settings of a scenario, or the digest of a calibration.

    Args:
        words: See :func:`cells`.
        store: Where calibrations lie.
    """
    if words[0] == REPLAY:
        return store.get("calibrations", words[1]).digest
    return registration.settings_of(words[0], words[1:])


def ground_of(words: Sequence[str], settings: Any, store: Store) -> Played:
    """Return what is played.

    Args:
        words: See :func:`cells`.
        settings: Those that :func:`settings_of` gave for them.
        store: Where calibrations lie.
    """
    if words[0] == REPLAY:
        return Calibration.load(store.get("calibrations", words[1]).path)
    return registration.made_of(settings)


def _key(policy: str, settings: Any, store: Store) -> list[Any]:
    """Return what changes with a policy's cells on a ground, but for the workloads."""
    by = BOUND if policy == BOUND else policy_of(policy, store).key
    return [VERSION, SIMULATOR, FEATURISER, reward.VERSION, settings, by]


def _file(piece: Piece, key: Sequence[Any], store: Store) -> Path:
    return store.root / "cells" / f"{fingerprint([*key, list(piece.seeds)])}.json"


def _read(piece: Piece, key: Sequence[Any], store: Store) -> list[dict[str, Any]] | None:
    """Return what a piece gave when it was played, None where it was not or is damaged."""
    try:
        told = json.loads(_file(piece, key, store).read_text(encoding="utf-8"))
        rows = list(told["rows"])
        same = told["key"] == _plain(key) and [r["seed"] for r in rows] == list(piece.seeds)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return rows if same else None


def _keep(
    piece: Piece, key: Sequence[Any], rows: Sequence[Mapping[str, Any]], store: Store
) -> None:
    file = _file(piece, key, store)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps({"key": _plain(key), "rows": rows}))


def _plain(key: Sequence[Any]) -> Any:
    return json.loads(json.dumps(key, default=str))


def _play_piece(piece: Piece) -> tuple[Piece, list[dict[str, Any]]]:
    """Play a piece, in a process of its own."""
    store = Store()
    played = ground_of(piece.ground, piece.settings, store)
    one = None if piece.policy == BOUND else policy_of(piece.policy, store).policy
    rows = []
    for seed in piece.seeds:
        row = _least(played, seed) if one is None else _outcome(one, played, seed)
        rows.append({"seed": seed, **row})
    return piece, rows


def _outcome(policy: Policy, played: Played, seed: int) -> dict[str, Any]:
    try:
        return play(policy, played, seed)
    except (ConfigError, SchemaError, NotFoundError):
        raise  # what was asked for makes no sense, with any workload
    except Exception as error:  # a policy may be anybody's code
        return {FAILED: f"{type(error).__name__}: {error}"[:500]}


def play(policy: Policy, played: Played, seed: int) -> dict[str, float]:
    """Return the metrics of one episode of a policy.

    Args:
        policy: Who decides.
        played: A scenario or a calibration.
        seed: Of the workload, its luck, and what the policy draws.
    """
    timed = Timed(of=policy)
    episode = simulated(
        played, timed, played.plan(seed), seed, horizon=played.horizon, weights=played.weights
    )
    return {**measure(episode), "decision_ms": timed.milliseconds}


def _least(played: Played, seed: int) -> dict[str, float]:
    workload = played.plan(seed)
    told = least_metrics(workload, played.truth(workload, seed))
    return {**told, "throughput": workload.jobs / told["response_time"]}
