"""Learning of paper B: a DQN that chooses executors while it learns, its reward step by step."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluations.experiments.offline_to_online import merged
from evaluations.papers.served_b import batches_of
from toolkit import reward, tracking
from toolkit.catalogue import Catalogue
from toolkit.envs.registration import settings_of
from toolkit.features.observe import FEATURISER
from toolkit.policies.named import roots
from toolkit.progress import say
from toolkit.revision import revision
from toolkit.simulator.simulator import SIMULATOR
from toolkit.statistics import Floats
from toolkit.store import Store, fingerprint, write_text

VERSION = 1
"""Of what is kept of a training; others are trained again."""
ALGORITHM = "dqn_online"
_TIMED = 10  # gradient steps that are timed together


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose rewards are followed.

    Args:
        name: What tells it from others.
        settings: All settings of the algorithm, see :func:`settings_with`.
        words: Name of a scenario of batches, and overrides.
        discount_seconds: τ of the discount exp(−elapsed/τ).
        seed: Fixes initialisation, draws and the workloads that are played.
        again: Whether to train what was trained.
    """

    name: str
    settings: Mapping[str, Any]
    words: tuple[str, ...]
    discount_seconds: float
    seed: int = 0
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The rewards of a training.

    Args:
        name: Of the training.
        one: Reward of every decision in one of the copies, 1/ms, shape [n].
        mean: Mean over all copies, shape [n].
        copies: That are played side by side.
        batches: Decisions of an episode.
        step_ms: Processor time of a gradient step and the decisions before it, their simulation
            included, ms; means of some, in order, shape [m].
    """

    name: str
    one: Floats
    mean: Floats
    copies: int
    batches: int
    step_ms: Floats

    @property
    def decisions(self) -> Floats:
        """Decisions of all copies until each entry, shape [n]."""
        return np.arange(1.0, len(self.mean) + 1) * self.copies

    @property
    def running(self) -> Floats:
        """Mean reward of all decisions so far, shape [n]."""
        return np.asarray(np.cumsum(self.mean) / np.arange(1, len(self.mean) + 1))

    @property
    def episodes(self) -> Floats:
        """Mean reward of the episodes that end together, shape [e]."""
        whole = len(self.mean) // self.batches * self.batches
        return np.asarray(self.mean[:whole].reshape(-1, self.batches).mean(axis=1))


def settings_with(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the algorithm with some that differ."""
    return merged(Catalogue(roots()).read(f"algo/{ALGORITHM}"), changes)


def steps_for(settings: Mapping[str, Any], decisions: int) -> int:
    """Return the gradient steps after which so many decisions were taken, those before included."""
    play: Mapping[str, int] = settings["play"]
    before = -(-play["before"] // play["copies"]) * play["copies"]
    return max(1, -(-(decisions - before) // (play["copies"] * play["rounds"])))


def followed(training: Training) -> tuple[str, Followed]:
    """Follow a training, or read what it gave before; in a process of its own."""
    store = Store()
    played = settings_of(training.words[0], training.words[1:])
    key: list[Any] = [
        VERSION, SIMULATOR, FEATURISER, reward.VERSION, played, dict(training.settings),
        training.discount_seconds, training.seed,
    ]  # fmt: skip
    file = store.root / "followed" / f"{fingerprint(key)}.json"
    told = None if training.again else _read(file)
    if told is None:
        told = _train(training)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(told))
    return training.name, Followed(
        name=training.name,
        one=np.array(told["one"]),
        mean=np.array(told["mean"]),
        copies=int(training.settings["play"]["copies"]),
        batches=int(played["batches"]),
        step_ms=np.array(told["step_ms"]),
    )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return told if {"one", "mean", "step_ms"} <= set(told) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _train(training: Training) -> dict[str, Any]:
    from toolkit.learning.dqn import DQN
    from toolkit.learning.exploration import Play
    from toolkit.learning.learner import Given, silence_gym

    say(f"training {ALGORITHM}: {training.name}")
    silence_gym()
    torch.set_num_threads(1)
    values = {k: v for k, v in training.settings.items() if k not in ("_target_", "play")}
    play = Play(**{k: v for k, v in training.settings["play"].items() if k != "_target_"})
    algorithm = DQN(**values, play=play)
    scenario = batches_of(training.words)
    given = Given(discount_seconds=training.discount_seconds, seed=training.seed, scenario=scenario)
    learner = algorithm.start(given)
    parts: list[Floats] = []
    spent: list[float] = []
    seen = 0
    # Rewards are told by the memory of the learner; what it forgot cannot be told any more.
    often = max(1, (play.capacity - play.before) // (play.copies * play.rounds))
    learner.step(1)  # which also plays what is remembered before
    begun, since = time.process_time(), learner.done
    while learner.done < algorithm.n_steps:
        learner.step(algorithm.n_steps - learner.done)
        if learner.done % _TIMED == 0:
            spent.append(1000 * (time.process_time() - begun) / (learner.done - since))
            begun, since = time.process_time(), learner.done
        if learner.done % often == 0 or learner.done == algorithm.n_steps:
            state = learner.state()
            count = int(state.numbers["replay"]["count"])
            ring = state.tensors["ring.numbers"].numpy()[:, 0]
            parts.append(ring[np.arange(seen, count) % play.capacity] / scenario.weights.inverse)
            seen = count
    rewards = np.concatenate(parts).reshape(-1, play.copies)
    _record(training, rewards, scenario.batches)
    return {
        "one": [float(f"{x:.6g}") for x in rewards[:, 0]],
        "mean": [float(f"{x:.6g}") for x in rewards.mean(axis=1)],
        "step_ms": spent,
    }


def _record(training: Training, rewards: Floats, batches: int) -> None:
    """Record the means of episodes; those of all copies end together."""
    copies = rewards.shape[1]
    curve = [
        (end * copies, {"reward": float(rewards[end - batches : end].mean())})
        for end in range(batches, len(rewards) + 1, batches)
    ]
    tracking.log_training(
        name=f"{ALGORITHM}, {training.name}",
        params={f"algo.{k}": v for k, v in training.settings.items()} | {"seed": training.seed},
        curve=curve,
        tags={"commit": revision(), "command": "toolkit evaluate +suite=paper_b"},
        artefacts=None,
    )
