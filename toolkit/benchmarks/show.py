"""The commands ``toolkit dataset list`` and ``toolkit dataset show``."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.benchmarks import page
from toolkit.benchmarks.benchmark import FIRST_SEED, benchmark_of, benchmarks
from toolkit.data.dataset import load_dataset, opened
from toolkit.data.place import Place
from toolkit.envs.registration import scenario_of
from toolkit.errors import NotFoundError, ToolkitError, require, unknown
from toolkit.listing import size
from toolkit.manual import table
from toolkit.paths import samples_dir
from toolkit.report import Report
from toolkit.store import Store, write_text
from toolkit.workload import FAMILIES

if TYPE_CHECKING:
    from omegaconf import DictConfig

WHERE = ("here", "shipped", "benchmarks")


def listing(cfg: DictConfig) -> Report:
    """Show the datasets that lie here, those that come with the toolkit, and those it can build."""
    if cfg.what is not None and cfg.what not in WHERE:
        raise unknown("place of datasets", str(cfg.what), WHERE)
    wanted = WHERE if cfg.what is None else (str(cfg.what),)
    document: dict[str, list[dict[str, Any]]] = {}
    sections = []
    store = Store()
    for where in wanted:
        if where == "benchmarks":
            rows = [{"id": name, "about": about} for name, about in to_build()]
        else:
            folder = store.root / "datasets" if where == "here" else samples_dir()
            manifests = sorted(folder.glob("*/*/manifest.json")) if folder else []
            rows = [_row(m.parent) for m in manifests]
        document[where] = rows
        title = {
            "here": f"in {store.root / 'datasets'}",
            "shipped": "come with the toolkit",
            "benchmarks": "toolkit dataset build id=<id>, or id=<id>-sample for a small one",
        }[where]
        lines = [(str(r["id"]), str(r["line"] if "line" in r else r["about"])) for r in rows]
        sections.append(f"{title}:\n{table(lines or [('none yet', '')])}")
    return Report(document=document, text="\n\n".join(sections))


def to_build() -> list[tuple[str, str]]:
    """Return id and one sentence of every dataset that can be built."""
    found = []
    for name in benchmarks():
        recipe = benchmark_of(name)
        scenario = scenario_of(recipe.scenario, list(recipe.overrides))
        family = FAMILIES[scenario.plan(FIRST_SEED).family]
        for one in recipe.ids(family, name):
            policies = ", ".join(recipe.policies(one.tier))
            found.append((str(one), f"{recipe.about} Behaviour: {policies}."))
    return sorted(found)


def _row(folder: Path) -> dict[str, Any]:
    try:
        data = opened(Place(folder))
    except ToolkitError as error:
        return {"id": "/".join(folder.parts[-2:]), "path": str(folder), "line": error.message}
    about = data.manifest["about"]
    line = (
        f"{int(about['transitions']):>10,} transitions in {int(about['episode_count']):>6,} "
        f"episodes  {size(int(data.manifest['bytes'])):>9}"
    )
    return {"id": data.id, "path": data.place.url, **about, "line": line}


def show(cfg: DictConfig) -> Report:
    """Show the card of a dataset; with ``out`` write card, page and picture into a folder."""
    data = load_dataset(str(cfg.id))
    text = page.markdown(data.card)
    if cfg.out is not None:
        folder = Path(str(cfg.out)).expanduser()
        ours = (folder / "card.yaml").is_file() or not (folder / page.PAGE).exists()
        require(ours, f"{folder / page.PAGE} is there, and not the page of a dataset")
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / page.PAGE, text)
        write_text(folder / "card.yaml", data.card.to_yaml())
        with suppress(NotFoundError), data.place.open(page.PICTURE) as stream:
            (folder / page.PICTURE).write_bytes(stream.read())
        text += f"\nwritten into {folder}"
    return Report(document=dataclasses.asdict(data.card), text=text.rstrip())
