"""The command ``toolkit dataset export``: a dataset as other libraries read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.data.dataset import Dataset, load_dataset
from toolkit.errors import unknown
from toolkit.listing import size
from toolkit.paths import data_root
from toolkit.report import Report
from toolkit.settings import flag

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        path: File or folder.
        episodes: How many.
        transitions: How many decisions.
        left_out: Episodes that the format cannot hold: some decision of theirs has no action that
            the mask allows.
        load: What to type to read it.
    """

    path: Path
    episodes: int
    transitions: int
    left_out: int
    load: str


def to_minari(
    dataset: Dataset,
    *,
    name: str | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
    data_format: str = "hdf5",
) -> Exported:
    """Write a dataset that ``minari.load_dataset`` reads; see :mod:`toolkit.exports.minari_export`.

    Args:
        dataset: What is written.
        name: Its id in Minari; ``toolkit/<family>/<workload>-<tier>-v<N>`` when absent.
        split: Only the episodes of this one.
        out: Where Minari's datasets lie; ``$MINARI_DATASETS_PATH`` or its default when absent.
        force: Write over what is there.
        data_format: One of Minari's: ``hdf5``, ``arrow``, ``parquet``.
    """
    from toolkit.exports import minari_export

    return minari_export.write(dataset, name, split, out, force, data_format)


def to_npz(
    dataset: Dataset, out: str | Path, split: str | None = None, *, force: bool = False
) -> Exported:
    """Write padded arrays as D4RL and OGBench do; see :mod:`toolkit.exports.npz_export`.

    Args:
        dataset: What is written.
        out: The file, or a folder for a file with the name of the dataset.
        split: Only the episodes of this one.
        force: Write over what is there.
    """
    from toolkit.exports import npz_export

    return npz_export.write(dataset, Path(out).expanduser(), split, force)


def to_parquet(
    dataset: Dataset, out: str | Path, split: str | None = None, *, force: bool = False
) -> Exported:
    """Write a folder that the Hugging Face hub and pandas read; see ``parquet_export``.

    Args:
        dataset: What is written.
        out: The folder.
        split: Only the episodes of this one.
        force: Write over what is there.
    """
    from toolkit.exports import parquet_export

    return parquet_export.write(dataset, Path(out).expanduser(), split, force)


def export(cfg: DictConfig) -> Report:
    """Write a dataset for another library: Minari, the Hugging Face hub or plain NumPy."""
    formats: dict[str, Callable[[Dataset], Exported]] = {
        "minari": lambda d: to_minari(d, split=split, out=out, force=force),
        "parquet": lambda d: to_parquet(d, out or beside / d.id, split, force=force),
        "npz": lambda d: to_npz(d, out or beside / Path(d.id).parent, split, force=force),
    }
    if str(cfg.to) not in formats:
        raise unknown("format to export to", str(cfg.to), formats)
    out = None if cfg.out is None else str(cfg.out)
    split = None if cfg.split in (None, "all") else str(cfg.split)
    if cfg.split is None and str(cfg.to) == "minari":
        split = "train"  # Minari has no place for splits
    beside, force = data_root() / "exports", flag(cfg, "force")
    dataset = load_dataset(str(cfg.id))
    found = formats[str(cfg.to)](dataset)
    files = [found.path] if found.path.is_file() else found.path.rglob("*")
    octets = sum(f.stat().st_size for f in files if f.is_file())
    lines = [
        f"{dataset.id} as {cfg.to}: {found.transitions:,} transitions in {found.episodes:,} "
        f"episodes, {size(octets)}",
        f"  {found.path}",
        f"next: {found.load}",
    ]
    if found.left_out:
        lines.insert(
            1,
            f"  left out {found.left_out:,} episodes with decisions whose action is unknown or "
            "forbidden by the mask",
        )
    return Report(
        document={
            "dataset": dataset.id,
            "to": str(cfg.to),
            "split": split,
            "path": str(found.path),
            "bytes": octets,
            "episodes": found.episodes,
            "transitions": found.transitions,
            "left_out": found.left_out,
            "load": found.load,
        },
        text="\n".join(lines),
    )
