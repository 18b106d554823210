"""Ground: what a training stands on, found from the words of ``toolkit train``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from toolkit import reward
from toolkit.benchmarks import build
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.ensure import ensure as calibrated
from toolkit.calibration.randomised import Randomised
from toolkit.data.audit import check_files
from toolkit.data.dataset import Dataset, load_dataset, opened
from toolkit.data.padding import Transitions
from toolkit.data.place import Place
from toolkit.data.transitions import Description
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError, NotFoundError, require
from toolkit.features.observe import FEATURISER
from toolkit.learning.learner import Given, Stage
from toolkit.learning.play import lasting
from toolkit.networks.networks import Ensemble
from toolkit.policies import learned
from toolkit.policies.named import named
from toolkit.scenarios.scenario import Scenario
from toolkit.simulator.recorded import replayable
from toolkit.simulator.simulator import SIMULATOR
from toolkit.store import Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SHARE = 5.0
"""τ is this part of an episode where nothing else is said, as it is for datasets."""


@dataclass(frozen=True, kw_only=True)
class Init:
    """The policy that a training goes on from, or none.

    Args:
        policy: Its id, "" for none.
        key: Changes with it.
        network: What it decides by.
        values: Whether its scores are action values.
        words: Of the command line.
    """

    policy: str = ""
    key: str = ""
    network: Ensemble | None = None
    values: bool = False
    words: Sequence[str] = ()

    @property
    def inputs(self) -> dict[str, str]:
        """Products that it is made from."""
        return {"init": self.policy} if self.policy else {}


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a training stands on.

    Args:
        key: Changes with it.
        about: In a few words.
        described: Features, as the artefact keeps them.
        discount_seconds: τ.
        words: Of the command line.
        inputs: Products that it is made from.
        lineage: What the artefact says of it.
        data: Reads and checks the transitions.
        scenario: What is played.
        stages: What is played before.
    """

    key: str
    about: str
    described: Mapping[str, Any]
    discount_seconds: float
    words: Sequence[str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)
    data: Callable[[], Transitions] | None = None
    scenario: Scenario | None = None
    stages: Sequence[Stage] = ()

    def given(self, seed: int, init: Init, device: str) -> Given:
        """Return what an algorithm is given."""
        return Given(
            discount_seconds=self.discount_seconds,
            seed=seed,
            data=None if self.data is None else self.data(),
            scenario=self.scenario,
            stages=self.stages,
            init=init.network,
            values=init.values,
            device=device,
        )


def ground_of(cfg: DictConfig, store: Store, *, offline: bool) -> Ground:
    """Return what a command line says is learnt from.

    Args:
        cfg: Of ``toolkit train``.
        store: Where datasets and traces lie.
        offline: Whether from a dataset; else a scenario, a calibrated replay, or the environment
            of a dataset is played.
    """
    if offline:
        if cfg.scenario is not None:
            raise ConfigError(
                "this algorithm learns from a dataset and plays no scenario",
                hint="leave out scenario=, or take one that plays: toolkit train +algo=ppo",
            )
        return _of_dataset(_dataset(store, cfg), float(cfg.memory))
    if cfg.scenario is not None:
        return _of_scenario(cfg)
    if cfg.dataset != "latest":
        return _of_environment(load_dataset(str(cfg.dataset)), cfg)
    return _of_replay(store, cfg)


def init_of(cfg: DictConfig, store: Store, described: Mapping[str, Any]) -> Init:
    """Return the policy that is gone on from.

    Args:
        cfg: Of ``toolkit train``.
        store: Where policies lie.
        described: Features of what is played.

    Raises:
        ConfigError: When it is none that was learnt.
        SchemaError: When it knows other features.
    """
    if cfg.init is None:
        return Init()
    found = named(str(cfg.init), store)
    policy = found.policy
    if not isinstance(policy, learned.Learned):
        raise ConfigError(
            f"{cfg.init!r} is no policy whose network scores slots, which could be gone on from",
            hint="see those that were: toolkit list what=policies",
        )
    policy.check(described)
    name = found.product.id if found.product else str(cfg.init)
    return Init(
        policy=name,
        key=str(found.key),
        network=policy.network,
        values=bool(policy.about["lineage"].get("values", False)),
        words=[f"init={name}"],
    )


def _of_dataset(dataset: Dataset, memory: float) -> Ground:
    def data() -> Transitions:
        # A policy that is there already needs no data, and checking a million rows takes long.
        check_files(dataset)
        return dataset.transitions("train", memory=memory)

    about = f"{len(dataset)} decisions of {dataset.id}"
    try:
        described = dataset.described.to_dict()
    except CorruptError:
        check_files(dataset)  # which says what to do
        raise
    return Ground(
        key=dataset.digest,
        about=about,
        described=described,
        discount_seconds=dataset.card.discount_seconds,
        words=[f"dataset={dataset.id}"],
        inputs={"dataset": dataset.id},
        lineage={
            "ground": about,
            "dataset": dataset.id,
            "dataset_digest": dataset.digest,
            "calibration": dataset.manifest["inputs"].get("calibration", ""),
        },
        data=data,
    )


def _of_environment(dataset: Dataset, cfg: DictConfig) -> Ground:
    name, overrides = dataset.card.played()
    scenario = scenario_of(name, overrides)
    return _playing(
        scenario,
        cfg,
        key=[name, *overrides],
        words=[f"dataset={dataset.id}"],
        seconds=dataset.card.discount_seconds,
        stages=[
            Stage(until=until, scenario=scenario_of(name, [*overrides, *words]))
            for until, words in _curriculum(cfg)
        ],
        lineage={"dataset": dataset.id, "dataset_digest": dataset.digest},
    )


def _of_scenario(cfg: DictConfig) -> Ground:
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(cfg.scenario, resolve=True)
    stages = []
    for until, words in _curriculum(cfg):
        merged = OmegaConf.merge(cfg.scenario, OmegaConf.from_dotlist(_settings(words)))
        stages.append(Stage(until=until, scenario=instantiate(merged, _convert_="all")))
    return _playing(
        instantiate(cfg.scenario, _convert_="all"),
        cfg,
        key=values,
        words=scenario_words() if cfg.get("words") is None else list(cfg.words),
        seconds=None,
        stages=stages,
        lineage={},
    )


def scenario_words() -> list[str]:
    """Return the words by which the scenario was named and changed."""
    if not HydraConfig.initialized():
        return []
    told = [str(w).lstrip("+") for w in HydraConfig.get().overrides.task]
    return [w for w in told if w.partition("=")[0].partition(".")[0] == "scenario"]


def command() -> str:
    """Return the command line that is being carried out."""
    words = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return shlex.join(["toolkit", "train", *map(str, words)])


def _of_replay(store: Store, cfg: DictConfig) -> Ground:
    trace = replayable(store, str(cfg.trace))
    product = calibrated(store, trace)
    calibration = Calibration.load(product.path)
    require(not _curriculum(cfg), "a recorded scenario has one size: curriculum=[] for a replay")
    spread = calibration.error if cfg.randomise is None else float(cfg.randomise)
    scenario = Randomised(of=calibration, spread=spread) if spread > 0 else calibration
    return _playing(
        scenario,
        cfg,
        key=[product.digest, spread],
        words=[f"trace={trace.id}", f"randomise={spread!r}"],
        seconds=None,
        stages=[],
        lineage={"calibration": product.id},
        inputs={"calibration": product.id},
    )


def _playing(
    scenario: Scenario,
    cfg: DictConfig,
    *,
    key: Any,
    words: Sequence[str],
    seconds: float | None,
    stages: Sequence[Stage],
    lineage: Mapping[str, str],
    inputs: Mapping[str, str] | None = None,
) -> Ground:
    tau = cfg.discount_seconds or seconds or max(1e-3, round(lasting(scenario) / _SHARE, 3))
    require(float(tau) > 0, f"discount_seconds must be positive, got {tau}")
    told = [[s.until, list(w)] for s, (_, w) in zip(stages, _curriculum(cfg), strict=True)]
    about = f"scenario {scenario.name}"
    return Ground(
        key=fingerprint(key, float(tau), told, SIMULATOR, FEATURISER, reward.VERSION),
        about=about,
        described=Description.of(scenario.plan(0), scenario.weights).to_dict(),
        discount_seconds=float(tau),
        words=[*words, *_staged(cfg), f"discount_seconds={float(tau)!r}"],
        inputs=inputs or {},
        lineage={
            "ground": about,
            "dataset": "",
            "dataset_digest": "",
            "calibration": "",
            **lineage,
        },
        scenario=scenario,
        stages=stages,
    )


def _curriculum(cfg: DictConfig) -> list[tuple[float, list[str]]]:
    return [(float(s.until), [str(w) for w in s.overrides]) for s in cfg.curriculum]


def _staged(cfg: DictConfig) -> list[str]:
    """Return the word of the command line that names the curriculum."""
    stages = [
        f"{{until: {until}, overrides: [{', '.join(repr(w) for w in words)}]}}"
        for until, words in _curriculum(cfg)
    ]
    return [f'"curriculum=[{", ".join(stages)}]"'] if stages else []


def _settings(words: Sequence[str]) -> list[str]:
    """Return words that change a scenario without the name of its group."""
    for word in words:
        require(
            word.startswith("scenario."),
            f"curriculum: {word!r} changes no scenario; write e.g. scenario.jobs=5",
        )
    return [word.removeprefix("scenario.") for word in words]


def _dataset(store: Store, cfg: DictConfig) -> Dataset:
    """Return the dataset asked for; by default that of the newest trace, built on demand."""
    if cfg.dataset != "latest":
        return load_dataset(str(cfg.dataset))
    try:
        trace = replayable(store, cfg.trace)
    except NotFoundError:
        if cfg.trace == "latest" and store.list("datasets"):
            return opened(Place(store.get("datasets").path))
        raise
    seconds = None if cfg.discount_seconds is None else float(cfg.discount_seconds)
    built = build.ensure(store, trace, discount_seconds=seconds)
    return opened(Place(built.path))
