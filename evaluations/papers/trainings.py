"""Training: a learner followed to its end, with its curve and what it thinks states are worth."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evaluations.offline_to_online import merged
from toolkit import reward, tracking
from toolkit.catalogue import Catalogue
from toolkit.data.transitions import Description
from toolkit.envs.registration import scenario_of, settings_of
from toolkit.errors import unknown
from toolkit.features.observe import FEATURISER
from toolkit.learning.play import GATE
from toolkit.policies import learned
from toolkit.policies.named import roots
from toolkit.policies.static import Static
from toolkit.progress import say
from toolkit.revision import revision
from toolkit.simulator.simulator import SIMULATOR, simulated
from toolkit.statistics import Floats
from toolkit.store import Product, Store, fingerprint, write_text

if TYPE_CHECKING:
    from toolkit.learning.checkpoint import State
    from toolkit.learning.learner import Algorithm, Trained
    from toolkit.learning.networks import Ensemble

VERSION = 1
"""Of what is kept of a training; others are trained again."""
_TOLD = "followed.json"
_CHECKPOINT = "checkpoint.safetensors"
_EVERY = 60.0  # seconds between two states that an interrupted training goes on from


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training to be followed.

    Args:
        algo: ``ppo`` or ``dqn_online``.
        settings: All settings of the algorithm, see :func:`settings_with`.
        ground: Name of the scenario that is played, and overrides.
        discount_seconds: τ of the discount exp(−elapsed/τ).
        seed: Fixes initialisation, draws and the workloads that are played.
        probes: Training workloads whose states are valued in the end.
        init: Trained policy that is gone on from; "" for none.
        again: Whether to train what was trained.
    """

    algo: str
    settings: Mapping[str, Any]
    ground: tuple[str, ...]
    discount_seconds: float
    seed: int
    probes: int = 1
    init: str = ""
    again: bool = False


@dataclass(frozen=True, kw_only=True)
class Followed:
    """What a training gave.

    Args:
        policy: Its id in the store.
        decisions: Taken until each point of the curve, shape [n].
        returns: Mean return of the episodes that ended between two points, shape [n].
        values: What the states of the probes are worth, in the unit of returns, shape [S].
        seconds: That it took.
    """

    policy: str
    decisions: Floats
    returns: Floats
    values: Floats
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Probes:
    """States that every training values, and what they were worth.

    Args:
        shown: Flat observations, shape [S, W].
        returns: Discounted return from there on, shape [S].
    """

    shown: Floats
    returns: Floats


def settings_with(algo: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an algorithm of ``conf/algo`` with some that differ."""
    return merged(Catalogue(roots()).read(f"algo/{algo}"), changes)


def probes_of(ground: Sequence[str], workloads: int, discount_seconds: float) -> Probes:
    """Return the first state of every instant of decision of ``static`` on training workloads.

    Args:
        ground: Name of a scenario, and overrides.
        workloads: How many.
        discount_seconds: τ.
    """
    scenario = scenario_of(ground[0], ground[1:])
    shown, returns = [], []
    for seed in range(GATE, GATE + workloads):
        steps = simulated(
            scenario, Static(), scenario.plan(seed), seed,
            horizon=scenario.horizon, weights=scenario.weights,
        ).steps  # fmt: skip
        following = 0.0
        worth = np.zeros(len(steps))
        for i in reversed(range(len(steps))):
            step = steps[i]
            following = step.reward + np.exp(-step.elapsed / discount_seconds) * following
            worth[i] = following
        before = -1
        for step, value in zip(steps, worth.tolist(), strict=True):
            if step.epoch != before:
                d = step.decision
                shown.append(np.concatenate([d.globals, d.candidates.reshape(-1), d.mask]))
                returns.append(value)
            before = step.epoch
    return Probes(shown=np.array(shown, dtype=np.float32), returns=np.array(returns))


def followed(item: tuple[int, Training]) -> tuple[int, Followed]:
    """Follow a training, or read what it gave before; in a process of its own.

    Args:
        item: Which of several it is, and the training.
    """
    number, training = item
    store = Store()
    algorithm = _algorithm(training)
    name = f"{algorithm.name}-{fingerprint(*_key(training, store))}"
    with store.alone("policies", name):
        if store.exists("policies", name) and not training.again:
            say(f"policy {name} is there already; force=true trains it again")
        else:
            if training.again:
                store.discard("policies", name)
            _train(training, algorithm, store, name)
        product = store.get("policies", name)
    told = json.loads((product.path / _TOLD).read_text(encoding="utf-8"))
    return number, Followed(
        policy=name,
        decisions=np.array(told["decisions"], dtype=np.float64),
        returns=np.array(told["returns"], dtype=np.float64),
        values=np.array(told["values"], dtype=np.float64),
        seconds=float(told["seconds"]),
    )


def _key(training: Training, store: Store) -> list[Any]:
    from toolkit.policies.named import named

    init = named(training.init, store).key if training.init else ""
    told = {k: v for k, v in asdict(training).items() if k != "again"}
    settings = settings_of(training.ground[0], training.ground[1:])
    return [VERSION, SIMULATOR, FEATURISER, reward.VERSION, told, settings, init]


def _train(training: Training, algorithm: Algorithm, store: Store, name: str) -> None:
    from toolkit.learning.learner import Given, silence_gym

    silence_gym()
    torch.set_num_threads(1)
    scenario = scenario_of(training.ground[0], training.ground[1:])
    start = learned.found(training.init) if training.init else None
    described = Description.of(scenario.plan(0), scenario.weights).to_dict()
    if start is not None:
        start.check(described)
    given = Given(
        discount_seconds=training.discount_seconds,
        seed=training.seed,
        scenario=scenario,
        init=None if start is None else start.scorer,
        values=start is not None and bool(start.about["lineage"].get("values", False)),
    )
    folder = store.partial("policies", name)
    say(f"training {name}: {training.algo}, seed {training.seed}")
    trained, state = _to_its_end(algorithm, given, folder / _CHECKPOINT)
    (folder / _CHECKPOINT).unlink()
    product = _kept(training, algorithm, described, trained, state, store, name)
    tracking.log_training(
        name=name,
        params={**{f"algo.{k}": v for k, v in training.settings.items()}, "seed": training.seed},
        curve=trained.curve,
        tags={k: v for k, v in product.manifest["about"].items() if isinstance(v, str)},
        artefacts=product.path,
    )


def _to_its_end(algorithm: Algorithm, given: Any, checkpoint: Path) -> tuple[Trained, State]:
    """Train, and return also the last state, which holds the critic that no artefact keeps."""
    from toolkit.learning.checkpoint import load
    from toolkit.learning.learner import run

    done, written = 0, time.monotonic()

    def on_metric(step: int, values: Mapping[str, float]) -> None:
        nonlocal done
        done = step

    def due() -> bool:
        nonlocal written
        if done < algorithm.n_steps and time.monotonic() - written < _EVERY:
            return False
        written = time.monotonic()
        return True

    return run(algorithm, given, on_metric, checkpoint, due), load(checkpoint)


def _kept(
    training: Training,
    algorithm: Algorithm,
    described: Mapping[str, Any],
    trained: Trained,
    state: State,
    store: Store,
    name: str,
) -> Product:
    """Turn what was learnt into a policy of the store, the curve and the values beside it."""
    folder = store.partial("policies", name)
    probes = probes_of(training.ground, training.probes, training.discount_seconds)
    points = [(step, v["return"]) for step, v in trained.curve if "return" in v]
    told = {
        "decisions": [decisions_of(algorithm, step) for step, _ in points],
        "returns": [value for _, value in points],
        "values": values_of(trained.network, state, probes.shown).tolist(),
        "seconds": trained.seconds,
    }
    write_text(folder / _TOLD, json.dumps(told))
    lineage = {
        "algo": algorithm.name,
        "settings": dict(training.settings),
        "seed": training.seed,
        "ground": f"scenario {' '.join(training.ground)}",
        "init": training.init,
        "values": algorithm.values,
        "commit": revision(),
        "dataset": "",
        "dataset_digest": "",
        "calibration": "",
        "command": "toolkit evaluate suite=paper_a",
    }
    learned.save(trained.network, {**described, "lineage": lineage}, folder)
    final = dict(trained.curve[-1][1]) if trained.curve else {}
    about = {
        "steps": algorithm.n_steps, "seconds": trained.seconds, "final": final,
        "story": dict(trained.story), **lineage,
    }  # fmt: skip
    inputs = {"init": training.init} if training.init else {}
    return store.commit("policies", name, inputs=inputs, about=about)


def decisions_of(algorithm: Any, step: int) -> int:
    """Return the decisions that were taken until a step; where Q-learning plays, steps are fewer.

    Args:
        algorithm: PPO or DQN.
        step: In the unit of ``n_steps``.
    """
    play = getattr(algorithm, "play", None)
    if play is None:
        return step
    before = -(-play.before // play.copies) * play.copies
    return int(before + step * play.rounds * play.copies)


def values_of(network: Ensemble, state: State, shown: Floats) -> Floats:
    """Return what an algorithm thinks states are worth, in the unit of returns; shape [S].

    Args:
        network: What was learnt.
        state: The last of the training: of PPO it holds the critic; of DQN, which has none, the
            value is that of the best slot.
        shown: Flat observations, shape [S, W].
    """
    from toolkit.learning.networks import CandidateScorer

    start = "critic."
    own = {k.removeprefix(start): v for k, v in state.tensors.items() if k.startswith(start)}
    x = torch.from_numpy(np.asarray(shown, dtype=np.float32))
    with torch.inference_mode():
        if own:
            critic = CandidateScorer(network.shape)
            critic.load_state_dict(own)
            found = critic.eval().values(x)[:, 0]
        else:
            told = torch.stack([member.action_values(x) for member in network.members])
            found = told.mean(0).amax(1)
    return np.asarray(found.numpy(), dtype=np.float64) * float(state.numbers["scale"])


def _algorithm(training: Training) -> Algorithm:
    values = {k: v for k, v in training.settings.items() if k != "_target_"}

    def inner(key: str) -> dict[str, Any]:
        return {k: v for k, v in values[key].items() if k != "_target_"}

    if training.algo == "ppo":
        from toolkit.learning.ppo import PPO
        from toolkit.learning.warm_start import WarmStart

        return PPO(**{**values, "warm_start": WarmStart(**inner("warm_start"))})
    if training.algo == "dqn_online":
        from toolkit.learning.dqn import DQN
        from toolkit.learning.exploration import Play

        return DQN(**{**values, "play": Play(**inner("play"))})
    raise unknown("algorithm that is followed", training.algo, ["ppo", "dqn_online"])
