"""Dataset: a finished transition dataset, wherever it lies; what researchers hold in their hands.

::

    import toolkit

    data = toolkit.load_dataset("placement/workflows-8-stream-mixed-v1-sample")
    train = data.transitions("train")          # padded arrays
    frame = data.table().to_pandas()           # or the plain rows
    env = toolkit.make(data)                   # where a policy can be tried
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.data.card import DatasetCard, DatasetId
from toolkit.data.episodes import EPISODES, decisions_in
from toolkit.data.place import Place
from toolkit.data.splits import SPLITS
from toolkit.data.transitions import AGAIN, Description, describe
from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError, unknown
from toolkit.paths import samples_dir
from toolkit.store import SCHEMA, Store, digest_of

if TYPE_CHECKING:
    from toolkit.data.buffer import FlatBuffer
    from toolkit.data.padding import Transitions
    from toolkit.data.torch_data import TransitionData, TransitionStream

_PART = re.compile(r"part-\d{5}\.parquet\Z")
_MOST = 64 << 20
"""Bytes of the largest manifest or card that is read."""


@dataclass(frozen=True)
class Dataset:
    """A dataset at one moment; what is appended later is seen by loading it again.

    Args:
        place: Where its files lie.
        manifest: Names, sizes and SHA-256 of them.
    """

    place: Place
    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        """``family/workload-tier-vN``."""
        return str(self.manifest["id"])

    @cached_property
    def card(self) -> DatasetCard:
        """What it is, how it was made, and its reference scores."""
        name = str(self.manifest["about"]["card"])
        return DatasetCard.from_yaml(self.place.text(name, _MOST), f"{self.place.url}/{name}")

    @cached_property
    def parts(self) -> list[str]:
        """Names of the files of rows, in order."""
        found = sorted(n for n in self.manifest["files"] if _PART.match(n))
        if not found:
            raise CorruptError(f"{self.place.url} has no part", hint=AGAIN)
        return found

    @cached_property
    def described(self) -> Description:
        """What the columns mean."""
        with self.place.parquet(self.parts[0]) as file:
            return describe(file.schema_arrow, f"{self.place.url}/{self.parts[0]}")

    @cached_property
    def episodes(self) -> pa.Table:
        """The index: a row per episode, see :data:`toolkit.data.episodes.EPISODES`."""
        name = str(self.manifest["about"]["episodes"])
        with self.place.parquet(name) as file:
            if file.schema_arrow != EPISODES:
                raise SchemaError(f"{self.place.url}/{name} is no index of episodes", hint=AGAIN)
            return file.read()

    @property
    def scenario(self) -> str | None:
        """Name of the scenario of its environment; None where it came from a stranger's log."""
        name = self.card.scenario.get("name")
        return None if name is None else str(name)

    def __len__(self) -> int:
        """Return the number of decisions."""
        return decisions_in(self.episodes)

    def rows(self) -> int:
        """Return the number of rows that the parts hold, closing rows included."""
        found = 0
        for name in self.parts:
            with self.place.parquet(name) as file:
                found += int(file.metadata.num_rows)
        return found

    def numbers(self, split: str | None = None) -> list[int]:
        """Return the episodes of a split, of all where none is named.

        Raises:
            NotFoundError: When there is no such split.
        """
        if split is None:
            return [int(e) for e in self.episodes["episode"].to_pylist()]
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        chosen = self.episodes.filter(pc.equal(self.episodes["split"], split))
        return [int(e) for e in chosen["episode"].to_pylist()]

    def batches(
        self, split: str | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """Yield the rows in order, a row group at a time.

        Args:
            split: Only the episodes of this one.
            columns: Only these.

        Raises:
            CorruptError: When a part is damaged.
        """
        kept = None if split is None else pa.array(self.numbers(split), pa.int32())
        wanted = None if columns is None else list(dict.fromkeys([*columns, "episode"]))
        for name in self.parts:
            with self.place.parquet(name) as file:
                if describe(file.schema_arrow, f"{self.place.url}/{name}") != self.described:
                    raise SchemaError(f"{self.place.url}/{name} has other columns than the first")
                for group in range(file.num_row_groups):
                    try:
                        rows = file.read_row_group(group, columns=wanted)
                    except (OSError, pa.ArrowException) as error:
                        raise CorruptError(
                            f"{self.place.url}/{name} is damaged", hint=AGAIN
                        ) from error
                    if kept is not None:
                        rows = rows.filter(pc.is_in(rows["episode"], value_set=kept))
                    if len(rows):
                        yield rows if columns is None else rows.select(list(columns))
        self._still_there()

    def _still_there(self) -> None:
        """Check that the parts that were read are those of the manifest that is there now.

        Raises:
            CorruptError: When the dataset was made again meanwhile.
        """
        now = opened(self.place).manifest["files"]
        if any(now.get(p) != self.manifest["files"][p] for p in self.parts):
            raise CorruptError(
                f"{self.id} was made again while it was read", hint="load it and read it once more"
            )

    def table(self, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows as one table; see :meth:`batches`."""
        found = list(self.batches(split, columns))
        if found:
            return pa.concat_tables(found)
        empty = self.described.schema.empty_table()
        return empty if columns is None else empty.select(list(columns))

    def transitions(
        self, split: str | None = "train", *, memory: float | None = None
    ) -> Transitions:
        """Return the decisions as padded arrays, ready to sample.

        Args:
            split: Only the episodes of this one; None for all.
            memory: Bytes of observations that may lie in memory; where they are more they are
                memory-mapped from a file in the store's cache. All in memory when absent.
        """
        from toolkit.data.padding import padded

        return padded(self, split, memory)

    def buffer(
        self,
        split: str | None = "train",
        *,
        seed: int = 0,
        memory: float | None = None,
        reward_scale: float = 1.0,
    ) -> FlatBuffer:
        """Return a replay buffer for d3rlpy.

        Args:
            split: As for :meth:`transitions`.
            seed: Of the sampling.
            memory: As for :meth:`transitions`.
            reward_scale: Rewards are divided by this.
        """
        from toolkit.data.buffer import FlatBuffer

        return FlatBuffer(
            self.transitions(split, memory=memory),
            discount_seconds=self.card.discount_seconds,
            seed=seed,
            reward_scale=reward_scale,
        )

    def torch(self, split: str | None = "train", *, memory: float | None = None) -> TransitionData:
        """Return the decisions for a ``DataLoader`` of PyTorch, by number.

        Args:
            split: As for :meth:`transitions`.
            memory: As for :meth:`transitions`.
        """
        from toolkit.data.torch_data import TransitionData

        return TransitionData(
            self.transitions(split, memory=memory), discount_seconds=self.card.discount_seconds
        )

    def stream(self, split: str | None = "train", **settings: Any) -> TransitionStream:
        """Return the decisions for a ``DataLoader`` of PyTorch, read in bounded memory.

        Args:
            split: As for :meth:`transitions`.
            settings: Those of :class:`~toolkit.data.torch_data.TransitionStream`.
        """
        from toolkit.data.torch_data import TransitionStream

        return TransitionStream(self, split, **settings)

    @property
    def digest(self) -> str:
        """SHA-256 over names and digests of all files."""
        return digest_of(self.manifest)

    def returns(self, split: str | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the return of each episode."""
        index = self.episodes
        if split is not None:
            index = index.filter(pc.is_in(index["episode"], pa.array(self.numbers(split))))
        return np.asarray(index["return"].to_numpy(), dtype=np.float64)


def load_dataset(where: str | Path) -> Dataset:
    """Return a dataset, ready to read; no row is read yet.

    Args:
        where: Its id, in the store or among the samples that come with the toolkit; or a folder
            or URL that holds one.

    Raises:
        NotFoundError: When there is none; names near ones.
        SchemaError: When it was written by another layout version.
        CorruptError: When its manifest is damaged.
    """
    text = str(where)
    if "://" in text:
        return opened(Place(text))
    store, samples = Store(), samples_dir()
    for folder in (store.root / "datasets", samples):
        if folder is not None and not text.startswith((".", "/")):
            found = folder / text
            if (found / "manifest.json").is_file():
                return opened(Place(found))
    if Path(text).expanduser().is_dir():
        return opened(Place(text))
    known = [p.id for p in store.list("datasets")] + [d.id for d in shipped()]
    raise unknown("dataset", text, known, hint="see what there is: toolkit dataset list")


def shipped() -> list[Dataset]:
    """Return the samples and recordings that come with the toolkit, by id."""
    folder = samples_dir()
    if folder is None:
        return []
    return [opened(Place(m.parent)) for m in sorted(folder.glob("*/*/manifest.json"))]


def opened(place: Place) -> Dataset:
    """Return the dataset in a folder."""
    try:
        text = place.text("manifest.json", _MOST)
    except NotFoundError as error:
        raise NotFoundError(f"there is no dataset in {place.url}") from error
    try:
        manifest = json.loads(text)
        if manifest["schema"] != SCHEMA:
            raise SchemaError(
                f"the dataset in {place.url} has layout version {manifest['schema']!r}; this "
                f"release reads {SCHEMA}",
                hint=AGAIN,
            )
        about, files = manifest["about"], manifest["files"]
        good = manifest["kind"] == "datasets" and isinstance(manifest["id"], str)
        good &= {str(about["card"]), str(about["episodes"])} <= set(files)
        good &= all(isinstance(f["sha256"], str) and f["bytes"] >= 0 for f in files.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"{place.url}/manifest.json is damaged", hint=AGAIN) from error
    try:
        DatasetId.parse(str(manifest["id"]))
    except ConfigError:
        good = False
    if not good:
        raise CorruptError(f"{place.url}/manifest.json is not that of a dataset", hint=AGAIN)
    return Dataset(place, manifest)
