"""The command ``toolkit train``: dataset → policy artefact, tracked."""

from __future__ import annotations

import contextlib
import importlib
import io
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import instantiate

from toolkit import tracking
from toolkit.benchmarks import build
from toolkit.data.audit import check_files
from toolkit.data.dataset import Dataset, load_dataset, opened
from toolkit.data.place import Place
from toolkit.errors import NotFoundError
from toolkit.policies import learned
from toolkit.progress import progress, say
from toolkit.report import Report
from toolkit.revision import revision
from toolkit.simulator.recorded import replayable
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig


def train(cfg: DictConfig) -> Report:
    """Train a policy offline on a dataset.

    The newest trace is calibrated and built into a dataset first where that has not been done.
    """
    from omegaconf import OmegaConf

    store = Store()
    _silence_gym()
    algo = instantiate(cfg.algo)
    dataset = _dataset(store, cfg)
    settings: dict[str, Any] = OmegaConf.to_container(cfg.algo, resolve=True)  # type: ignore[assignment]
    name = f"{algo.name}-{fingerprint(dataset.digest, settings, int(cfg.seed))}"
    if store.exists("policies", name) and not cfg.force:
        say(f"policy {name} is there already; force=true trains it again")
        return _report(store.get("policies", name))
    check_files(dataset)
    data = dataset.transitions("train", memory=float(cfg.memory))
    torch.set_num_threads(1)
    curve: list[tuple[int, Mapping[str, float]]] = []
    start = time.monotonic()
    with progress(f"training {algo.name} on {dataset.id}", algo.n_steps, "steps") as bar:
        done = 0

        def on_metric(step: int, values: Mapping[str, float]) -> None:
            nonlocal done
            curve.append((step, values))
            bar.update(step - done, f"loss {values.get('loss', float('nan')):.3f}")
            done = step

        scorer = algo.fit(
            data,
            discount_seconds=dataset.card.discount_seconds,
            seed=int(cfg.seed),
            on_metric=on_metric,
        )
    seconds = time.monotonic() - start
    lineage = {
        "algo": algo.name,
        "settings": settings,
        "seed": int(cfg.seed),
        "dataset": dataset.id,
        "dataset_digest": dataset.digest,
        "calibration": dataset.manifest["inputs"].get("calibration", ""),
        "commit": revision(),
        "command": f"toolkit train +algo={algo.name} dataset={dataset.id} seed={cfg.seed}",
    }
    store.discard("policies", name)
    folder = store.partial("policies", name)
    learned.save(scorer, {**data.described.to_dict(), "lineage": lineage}, folder)
    product = store.commit(
        "policies",
        name,
        inputs={"dataset": dataset.id},
        about={
            "algo": algo.name,
            "steps": algo.n_steps,
            "seconds": seconds,
            "transitions": len(data),
            "final": dict(curve[-1][1]) if curve else {},
            **lineage,
        },
    )
    tracking.log_training(
        name=name,
        params={**{f"algo.{k}": v for k, v in settings.items()}, "seed": int(cfg.seed)},
        curve=curve,
        tags={
            k: lineage[k]
            for k in ("algo", "dataset", "dataset_digest", "calibration", "commit", "command")
        },
        artefacts=product.path,
    )
    return _report(product)


def _silence_gym() -> None:
    """Import gym, which d3rlpy needs beside gymnasium, without its appeal on every start."""
    with contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module("gym")


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
    built = build.ensure(store, trace, discount_seconds=_seconds(cfg.discount_seconds))
    return opened(Place(built.path))


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _report(product: Product) -> Report:
    about = product.manifest["about"]
    final = ", ".join(f"{k} {v:.3f}" for k, v in about["final"].items())
    return Report(
        document={"policy": product.id, "path": str(product.path), **about},
        text="\n".join(
            [
                f"policy {product.id}",
                f"  {about['steps']} steps in {about['seconds']:.0f} s on "
                f"{about['transitions']} transitions of {about['dataset']}",
                f"  {final}",
                f"  {product.path}",
                "next: toolkit leaderboard",
            ]
        ),
    )
