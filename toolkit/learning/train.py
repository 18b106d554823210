"""The command ``toolkit train``: dataset or scenario → policy artefact, tracked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate

from toolkit import tracking
from toolkit.catalogue import Catalogue
from toolkit.envs.registration import scenario_of
from toolkit.errors import require
from toolkit.fanout import crew
from toolkit.learning.ground import Ground, ground_of, init_of, scenario_words
from toolkit.learning.learner import Algorithm, Given, Trained, run, silence_gym
from toolkit.learning.watch import Watch, mean_return
from toolkit.policies import learned
from toolkit.policies.named import roots
from toolkit.progress import progress, say
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import GATE
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig

_CHECKPOINT = "checkpoint.safetensors"


def train(cfg: DictConfig) -> Report:
    """Train a policy offline on a dataset, or online in a scenario.

    The newest trace is calibrated and built into a dataset first where that has not been done.
    With init=<policy> an online algorithm goes on from a policy that was learnt offline. A
    training that was interrupted goes on where it was when it is asked for again. With seeds=[...]
    one policy is trained per seed, side by side.
    """
    if cfg.experiment is not None:
        found: Report = instantiate(cfg.experiment, _convert_="all").run(cfg)
        return found
    if cfg.seeds is None:
        report = _report(made(cfg))
        return _scored(report, cfg) if int(cfg.score_on) > 0 else report
    require(
        not isinstance(cfg.seeds, int | float | str), f"seeds is a list, e.g. seeds=[{cfg.seeds}]"
    )
    told = {"seeds": None, "words": scenario_words()}
    products = several([with_words(cfg, seed=int(s), **told) for s in cfg.seeds], cfg)
    reports = [_report(p) for p in products]
    return Report(
        document={"policies": [r.document for r in reports]},
        text="\n".join(r.text for r in reports),
    )


def with_words(cfg: DictConfig, **words: Any) -> DictConfig:
    """Return the words of a command with some that differ."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(cfg, resolve=True)
    return OmegaConf.create({**values, **words})


def several(each: Sequence[DictConfig], cfg: DictConfig) -> list[Product]:
    """Train some policies side by side, as nested runs of one.

    Args:
        each: Words of ``toolkit train``.
        cfg: Tells executor and workers.

    Returns:
        The policies, in the order of the words.
    """
    from omegaconf import OmegaConf

    require(len(each) > 0, "seeds must name one or more, e.g. seeds=[0,1,2]")
    algos = sorted({str(c.algo["_target_"]).rpartition(".")[2].lower() for c in each})
    parent = tracking.log_training(
        name=f"{' and '.join(algos)}, {len(each)} trainings",
        params={"algorithms": ", ".join(algos), "trainings": len(each)},
        curve=[],
        tags={"commit": revision()},
        artefacts=None,
    )
    items = [(i, OmegaConf.to_yaml(c, resolve=True), parent) for i, c in enumerate(each)]
    store, found = Store(), dict[int, str]()
    known = store.list("policies")
    before = {p.id for p in known}
    say(f"{len(each)} trainings, {_will_take(each, known)}; those that are there already take none")
    with (
        progress("training side by side", len(items), "policies") as bar,
        crew(str(cfg.executor), cfg.workers, cfg.ray.address) as hand_out,
    ):
        for i, name in hand_out(_one, items):
            found[i] = name
            bar.update(note=name)
    if not cfg.force and set(found.values()) <= before:
        tracking.forget(parent)
    return [store.get("policies", found[i]) for i in range(len(items))]


def _will_take(each: Sequence[DictConfig], known: Sequence[Product]) -> str:
    """Return how long trainings will take on one core, by what others took a step before."""
    pace: dict[str, float] = {}
    for product in known:
        about = product.manifest["about"]
        if float(about.get("steps", 0)) > 0 and "seconds" in about:
            pace[str(about["settings"]["_target_"])] = about["seconds"] / about["steps"]
    targets = [str(c.algo["_target_"]) for c in each]
    if not set(targets) <= set(pace):
        return "whose time nobody knows before one of each kind is done"
    total = sum(pace[t] * float(c.algo.n_steps) for t, c in zip(targets, each, strict=True))
    return f"about {total / 60:.0f} minutes of one core by the pace of earlier ones"


def _one(item: tuple[int, str, str]) -> tuple[int, str]:
    """Train one of several, in a process of its own; return which it was and its id."""
    from omegaconf import OmegaConf

    i, words, parent = item
    cfg: Any = OmegaConf.create(words)
    return i, made(cfg, parent).id


def made(cfg: DictConfig, parent: str | None = None) -> Product:
    """Return the policy of the words of a command, trained where it is not there yet.

    Args:
        cfg: Words of ``toolkit train``.
        parent: MLflow's run that this one belongs to.
    """
    from omegaconf import OmegaConf

    store = Store()
    silence_gym()
    settings: dict[str, Any] = OmegaConf.to_container(cfg.algo, resolve=True)  # type: ignore[assignment]
    if cfg.network is not None:
        settings["network"] = str(cfg.network)
    algorithm: Algorithm = instantiate(settings, _convert_="all")
    _check(cfg, algorithm)
    ground = ground_of(cfg, store, offline=algorithm.offline)
    init = init_of(cfg, store, ground.described)
    watch = _watching(cfg, store, ground)
    known = fingerprint(
        ground.key, settings, int(cfg.seed), init.key,
        *([watch.workloads] if watch else []), *(cfg.watch_on or []),
    )  # fmt: skip
    name = f"{algorithm.name}-{known}"
    with store.alone("policies", name):
        if store.exists("policies", name) and not cfg.force:
            say(f"policy {name} is there already; force=true trains it again")
            return store.get("policies", name)
        if cfg.force:
            store.discard("policies", name)
        folder = store.partial("policies", name)
        given = ground.given(int(cfg.seed), init, _device())
        trained = _trained(cfg, algorithm, given, folder, name, watch)
        words = [f"toolkit train +algo={algorithm.name}", *ground.words, *init.words]
        lineage = {
            "algo": algorithm.name,
            "settings": settings,
            "seed": int(cfg.seed),
            **ground.lineage,
            "init": init.policy,
            "values": algorithm.values,
            "repeatable": algorithm.repeatable,
            "commit": revision(),
            "command": " ".join([*words, *_changed(algorithm.name, settings), f"seed={cfg.seed}"]),
        }
        learned.save(trained.network, {**ground.described, "lineage": lineage}, folder)
        if watch is not None:
            watch.write(trained.seen, folder)
        for left in (folder / _CHECKPOINT, *folder.glob(".*.tmp")):
            left.unlink(missing_ok=True)
        product = store.commit(
            "policies",
            name,
            inputs={**ground.inputs, **init.inputs},
            about={
                "steps": algorithm.n_steps,
                "seconds": trained.seconds,
                "final": dict(trained.curve[-1][1]) if trained.curve else {},
                "story": dict(trained.story),
                **lineage,
            },
        )
    tracking.log_training(
        name=name,
        params={
            **{f"algo.{k}": v for k, v in settings.items()},
            **{"seed": int(cfg.seed), "torch": torch.__version__, "threads": int(cfg.threads)},
        },
        curve=trained.curve,
        tags={k: v for k, v in lineage.items() if isinstance(v, str)} | {"trained_policy": name},
        artefacts=product.path,
        parent=parent,
    )
    return product


def _check(cfg: DictConfig, algorithm: Algorithm) -> None:
    """Refuse words that an algorithm would not heed."""
    for word, given, heeded in (
        ("init", cfg.init is not None, algorithm.goes_on),
        ("curriculum", len(cfg.curriculum) > 0, algorithm.staged),
    ):
        require(
            not given or heeded,
            f"{algorithm.name} heeds no {word}",
            hint=f"leave it out, or take an algorithm that does: toolkit train +algo=ppo {word}=…",
        )


def _changed(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the words that make settings of those of the YAML."""
    usual = Catalogue(roots()).read(f"algo/{name}")
    found = []
    for key, value in settings.items():
        was = usual.get(key)
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            inner = [f"algo.{key}.{k}={_word(v)}" for k, v in value.items() if was.get(k) != v]
            found.extend(inner)
        elif was != value:
            found.append(f"algo.{key}={_word(value)}")
    return found


def _word(value: Any) -> str:
    """Return a value as the command line reads it."""
    plain = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return plain[value]
    return str(value).replace(" ", "")


def _trained(
    cfg: DictConfig,
    algorithm: Algorithm,
    given: Given,
    folder: Path,
    name: str,
    watch: Watch | None,
) -> Trained:
    """Train, with a bar and a checkpoint every so often."""
    require(int(cfg.threads) >= 1, f"threads must be 1 or more, got {cfg.threads}")
    torch.set_num_threads(int(cfg.threads))
    checkpoint = folder / _CHECKPOINT
    if checkpoint.is_file():
        say(f"{name} goes on from its checkpoint")
    with progress(f"training {name}", algorithm.n_steps, "steps") as bar:
        done = 0

        def on_metric(step: int, values: Mapping[str, float]) -> None:
            nonlocal done
            shown = next((k for k in ("gate", "loss") if k in values), None)
            bar.update(step - done, f"{shown} {values[shown]:.4g}" if shown else "")
            done = step

        due = _every(float(cfg.checkpoint_seconds))
        return run(algorithm, given, on_metric, checkpoint, due, watch)


def _watching(cfg: DictConfig, store: Store, ground: Ground) -> Watch | None:
    """Return who watches the training play, where that is asked for."""
    require(int(cfg.watch) >= 0, f"watch counts training workloads, got {cfg.watch}")
    require(
        cfg.watch_on is None or (int(cfg.watch) > 0 and ground.scenario is None),
        "watch_on names where what learns from a dataset is watched, with watch=<workloads>",
        hint="leave it out: what plays is watched where it plays",
    )
    require(
        cfg.watch_on is None or (not isinstance(cfg.watch_on, str) and len(cfg.watch_on) > 0),
        f"watch_on is a list, got {cfg.watch_on!r}; write e.g. watch_on=[genomics_open]",
    )
    if int(cfg.watch) == 0:
        return None
    if cfg.watch_on is not None:
        elsewhere = scenario_of(str(cfg.watch_on[0]), list(cfg.watch_on[1:]))
        learned.check_workload("what is learnt", ground.described, elsewhere.plan(0))
        scenario: Scenario | None = elsewhere
    else:
        scenario = ground.scenario or ground_of(cfg, store, offline=False).scenario
    assert scenario is not None
    return Watch(
        scenario=scenario,
        described=ground.described,
        discount_seconds=ground.discount_seconds,
        workloads=int(cfg.watch),
    )


def _every(seconds: float) -> Callable[[], bool]:
    """Return what is True once every so many seconds."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return due


def _device() -> str:
    return "cuda:0" if torch.cuda.is_available() else "cpu:0"


def _scored(report: Report, cfg: DictConfig) -> Report:
    """Add the mean return on training workloads, which a search over settings maximises."""
    store = Store()
    ground = ground_of(cfg, store, offline=False)
    seeds = range(GATE, GATE + int(cfg.score_on))
    network, scenario = learned.found(report.document["path"]).network, ground.scenario
    assert scenario is not None
    score = mean_return(network, ground.described, scenario, seeds)
    return replace(
        report,
        document={**report.document, "score": score},
        text=f"{report.text}\nmean return on {len(seeds)} training workloads: {score:.4g}",
        value=score,
    )


def _report(product: Product) -> Report:
    about = product.manifest["about"]
    final = ", ".join(f"{k} {v:.3f}" for k, v in about["final"].items())
    story = ", ".join(f"{k} {v:.4g}" for k, v in about["story"].items())
    return Report(
        document={"policy": product.id, "path": str(product.path), **about},
        text="\n".join(
            [
                f"policy {product.id}",
                f"  {about['steps']} steps in {about['seconds']:.0f} s on {about['ground']}",
                f"  {final}",
                *([f"  gate: {story}"] if story else []),
                f"  {product.path}",
                "next: toolkit leaderboard",
            ]
        ),
    )
