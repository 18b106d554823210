"""``toolkit list``: the choices there are, and what was made so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.catalogue import Catalogue
from toolkit.errors import unknown
from toolkit.manual import table
from toolkit.report import Report
from toolkit.store import KINDS, Product, Store

if TYPE_CHECKING:
    from omegaconf import DictConfig


def listing(cfg: DictConfig) -> Report:
    """Show the choices of every group and the products in the store.

    A group is what ``group=choice`` picks on the command line: a collector, an algorithm, a
    policy, a scenario. A product is a trace, a calibration, a dataset or a trained policy.

    Args:
        cfg: ``what`` is a group, a kind of product, or nothing for all of them.
    """
    catalogue, store = Catalogue(_roots()), Store()
    groups: dict[str, list[dict[str, Any]]] = {}
    products: dict[str, list[dict[str, Any]]] = {}
    known = [*catalogue.groups, *KINDS]
    if cfg.what is not None and cfg.what not in known:
        raise unknown("group or kind of product", str(cfg.what), known, hint="toolkit list")
    for name in known if cfg.what is None else [cfg.what]:
        if name in catalogue.groups:
            groups[name] = [_choice(catalogue, name, c) for c in catalogue.groups[name]]
        else:
            products[name] = [_product(product) for product in store.list(name)]
    text = [_section(name, [(c["name"], c["summary"]) for c in groups[name]]) for name in groups]
    for kind, found in products.items():
        rows = [
            (p["id"], f"{p['created'][:19]}  {size(p['bytes']):>9}  {_origin(p)}".rstrip())
            for p in found
        ]
        text.append(_section(kind, rows or [("none yet", "")]))
    if products:
        text.append(f"products lie in {store.root}")
    return Report({"groups": groups, "products": products}, "\n\n".join(text))


def size(count: int) -> str:
    """Write a number of bytes with a unit a person can compare."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _roots() -> list[Path]:
    """Return the folders of this run, those of ``--config-dir`` included."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    paths = [Path(source.path) for source in sources if source.schema == "file"]
    return sorted(paths, key=lambda path: path == Catalogue().roots[0])


def _choice(catalogue: Catalogue, group: str, name: str) -> dict[str, Any]:
    choice = f"{group}/{name}"
    target = catalogue.read(choice).get("_target_")
    return {"name": name, "summary": catalogue.summary(choice), "target": target}


def _product(product: Product) -> dict[str, Any]:
    manifest = product.manifest
    return {
        "id": product.id,
        "created": str(manifest.get("created", "")),
        "bytes": int(manifest.get("bytes", 0)),
        "path": str(product.path),
        "about": {
            key: value
            for key, value in dict(manifest.get("about", {})).items()
            if key in ("source", "scenario", "runs", "replayable")
        },
    }


def _origin(product: dict[str, Any]) -> str:
    """Return what a trace comes from, and whether it can only be looked at."""
    about = product["about"]
    words = [str(about[key]) for key in ("source", "scenario") if about.get(key)]
    if about.get("replayable") is False:
        words.append("(no pipelines to replay)")
    return " ".join(words)


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    return f"{title}:\n{table(rows)}"
