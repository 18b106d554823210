"""Links: from a row to its run in MLflow and to the card of its dataset, where there is a way."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from toolkit.paths import cards_dir, data_root, samples_dir

_DATASET = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}(/[a-z0-9][a-z0-9._-]{0,99})?\Z")


def run_link(server: str, run_id: str) -> str:
    """Return the address of a run on a server of MLflow, empty where there is no server.

    Args:
        server: Where the record is kept; a name and password in it are left out.
        run_id: The run.
    """
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not run_id:
        return ""
    place = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/") + "/"
    return urlunsplit((parts.scheme, place, path, "", f"/runs/{quote(run_id, safe='')}"))


def card_link(dataset: str, target: Path) -> str:
    """Return the way from a page to the card of a dataset, empty where none lies near.

    A page elsewhere gets no link: it would tell where folders lie on this machine.

    Args:
        dataset: Id of the dataset.
        target: File of the page.
    """
    if not _DATASET.match(dataset):
        return ""
    for folder, card in _cards(dataset):
        if card.is_file() and target.is_relative_to(folder):
            return quote(Path(os.path.relpath(card, target.parent)).as_posix())
    return ""


def _cards(dataset: str) -> list[tuple[Path, Path]]:
    """Return where a card may lie, each with the folder in which a page may point to it."""
    root = data_root()
    found = [(root, root / "datasets" / dataset / "README.md")]
    samples, cards = samples_dir(), cards_dir()
    if samples is not None:
        found.append((samples.parent, samples / dataset / "README.md"))
    if cards is not None:
        found.append((cards.parent, cards / f"{dataset}.yaml"))
    return found
