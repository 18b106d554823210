"""A dataset → a folder for the Hugging Face hub: one Parquet file per split, and its card.

``datasets.load_dataset(<folder>)`` gives the splits; ``load_dataset(<folder>, "episodes")`` the
index. The rows are those of the dataset itself, with all that their columns say of themselves.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from toolkit.benchmarks import page
from toolkit.data.card import DatasetCard
from toolkit.data.dataset import Dataset
from toolkit.data.episodes import FILE, decisions_in
from toolkit.data.splits import SPLITS
from toolkit.data.writer import parquet_writer
from toolkit.errors import NotFoundError, require
from toolkit.exports.aside import aside
from toolkit.exports.export import Exported

CARD, ABOUT = "card.yaml", "README.md"
_KNOWN = {*(f"{split}.parquet" for split in SPLITS), FILE, CARD, ABOUT, page.PICTURE}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write(dataset: Dataset, out: Path, split: str | None, force: bool) -> Exported:
    """Write a dataset; see :func:`toolkit.exports.export.to_parquet`."""
    wanted = [s for s in SPLITS if dataset.numbers(s) and split in (None, s)]
    dataset.numbers(split)
    require(bool(wanted), f"{dataset.id} has no episode in the split {split!r}")
    with aside(out, force=force, ours=_is_export) as beside:
        beside.mkdir()
        for name in wanted:
            with parquet_writer(beside / f"{name}.parquet", dataset.described.schema) as file:
                for rows in dataset.batches(name):
                    file.write_table(rows)
        index = dataset.episodes
        index = index.filter([s in wanted for s in index["split"].to_pylist()])
        # Where the rows lay in the parts is of no use in these files.
        index = index.drop_columns(["part", "first"])
        pq.write_table(index, beside / FILE, compression="zstd")
        (beside / CARD).write_text(dataset.card.to_yaml(), encoding="utf-8")
        (beside / ABOUT).write_text(_about(dataset.card, wanted), encoding="utf-8")
        with suppress(NotFoundError), dataset.place.open(page.PICTURE) as stream:
            (beside / page.PICTURE).write_bytes(stream.read())
    return Exported(
        path=out,
        episodes=len(index),
        transitions=decisions_in(index),
        left_out=0,
        load=f"python -c \"import datasets; print(datasets.load_dataset('{out}'))\"",
    )


def _is_export(path: Path) -> bool:
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    return {FILE, CARD, ABOUT} <= names <= _KNOWN


def _about(card: DatasetCard, splits: list[str]) -> str:
    """Return the page with the front matter that the hub reads."""
    licence = card.licence.lower()
    free = licence.replace(".", "").replace("-", "").isalnum() and licence[-1:].isdigit()
    told: dict[str, Any] = {"license": licence if free else "other"}
    if not free:
        told["license_name"] = card.licence
    told |= {
        "pretty_name": card.id,
        "task_categories": ["reinforcement-learning"],
        "tags": ["offline-rl", "offline-reinforcement-learning", "scheduling", card.family],
        "size_categories": [next((s for n, s in _SIZES if card.transitions < n), "1M<n<10M")],
        "configs": [
            {
                "config_name": "default",
                "default": True,
                "data_files": [{"split": s, "path": f"{s}.parquet"} for s in splits],
            },
            {
                "config_name": "episodes",
                "data_files": [{"split": "index", "path": FILE}],
            },
        ],
    }
    front = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{page.markdown(card)}"
