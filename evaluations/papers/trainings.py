"""Training: a learner followed to its end, with its curve and what it thinks states are worth."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
from toolkit.learning.play import play
from toolkit.policies import learned
from toolkit.policies.named import roots
from toolkit.policies.static import Static
from toolkit.progress import say
from toolkit.revision import revision
from toolkit.seeding import GATE
from toolkit.simulator.simulator import SIMULATOR, simulated
from toolkit.statistics import Floats
from toolkit.store import Product, Store, fingerprint, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from toolkit.learning.checkpoint import State
    from toolkit.learning.learner import Algorithm, Given, Learner, Trained
    from toolkit.learning.networks import Ensemble

VERSION = 2
"""Of what is kept of a training; others are trained again."""
_TOLD = "followed.json"
_CURVE = "curve.json"
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
        probes: Training workloads that tell how good the policy is, and whose states are valued in
            the end.
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
        returns: Mean return of the policy on the same training workloads at each, shape [n].
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
    algorithm: Algorithm = _algorithm(training)
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
    say(f"training {name}: {training.algo}, seed {training.seed}")
    folder = store.partial("policies", name)
    watched = _Watched(of=algorithm, n_steps=algorithm.n_steps, report_every=algorithm.report_every)
    trained, curve = _to_its_end(watched, given, training.probes, folder)
    for left in (_CHECKPOINT, _CURVE):
        (folder / left).unlink(missing_ok=True)
    state = watched.learner.state()
    product = _kept(training, algorithm, described, trained, curve, state, store, name)
    tracking.log_training(
        name=name,
        params={**{f"algo.{k}": v for k, v in training.settings.items()}, "seed": training.seed},
        curve=trained.curve,
        tags={
            **{k: v for k, v in product.manifest["about"].items() if isinstance(v, str)},
            "trained_policy": product.id,
        },
        artefacts=product.path,
    )


@dataclass(kw_only=True)
class _Watched:
    """An algorithm whose learner can be looked at while it learns."""

    of: Algorithm
    n_steps: int
    report_every: int
    learner: Any = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def offline(self) -> bool:
        return self.of.offline

    @property
    def values(self) -> bool:
        return self.of.values

    @property
    def goes_on(self) -> bool:
        return self.of.goes_on

    def start(self, given: Given) -> Learner:
        self.learner = self.of.start(given)
        found: Learner = self.learner
        return found


def _to_its_end(
    watched: _Watched, given: Given, workloads: int, folder: Path
) -> tuple[Trained, dict[int, float]]:
    """Train, and play the same training workloads at every point of the curve.

    What is played while learning differs from point to point, which would pass for instability.
    """
    from toolkit.learning.learner import run

    scenario, file = given.played(watched.name), folder / _CURVE
    curve: dict[int, float] = {}
    if (folder / _CHECKPOINT).is_file() and file.is_file():
        told = json.loads(file.read_text(encoding="utf-8"))
        curve = {int(step): value for step, value in told.items()}
    written = time.monotonic()

    def on_metric(step: int, values: Mapping[str, float]) -> None:
        if step in curve:
            return
        seen = play(
            present(watched.learner), scenario, range(GATE, GATE + workloads), sampled=False
        )
        curve[step] = float(seen.returns.mean())
        write_text(file, json.dumps(curve))

    def due() -> bool:
        nonlocal written
        if time.monotonic() - written < _EVERY:
            return False
        written = time.monotonic()
        return True

    return run(watched, given, on_metric, folder / _CHECKPOINT, due), curve


def present(learner: Learner) -> Ensemble:
    """Return the policy as it is now; a learner with a gate would give the best so far."""
    network = learner.network()
    own = _part(learner.state(), "actor.")
    if own:
        network.load_state_dict(own)
    return network


def _part(state: State, start: str) -> dict[str, Tensor]:
    return {k.removeprefix(start): v for k, v in state.tensors.items() if k.startswith(start)}


def _kept(
    training: Training,
    algorithm: Algorithm,
    described: Mapping[str, Any],
    trained: Trained,
    curve: Mapping[int, float],
    state: State,
    store: Store,
    name: str,
) -> Product:
    """Turn what was learnt into a policy of the store, the curve and the values beside it."""
    folder = store.partial("policies", name)
    probes = probes_of(training.ground, training.probes, training.discount_seconds)
    told = {
        "decisions": [decisions_of(algorithm, step) for step in curve],
        "returns": list(curve.values()),
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

    own = _part(state, "critic.")
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


def _algorithm(training: Training) -> Any:
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
