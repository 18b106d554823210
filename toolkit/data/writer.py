"""Writer: episodes in, Parquet parts of some 100 MB and their index out, in bounded memory.

Chosen by measurement on decisions of placements and on noise (docs/decisions/0009): zstd at level
−1, and no dictionaries for floats, which made files half as large again and writing half as fast;
lists whose elements are never null, which are read in two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.data import splits
from toolkit.data.episodes import EPISODES, About
from toolkit.data.rows import Rows
from toolkit.data.transitions import Description, table
from toolkit.errors import ConfigError, CorruptError

PART_BYTES = 100_000_000
"""Bytes after which a part is closed and the next begun."""

GROUP_BYTES = 48 << 20
"""Bytes of features in a row group, before compression."""

_REPEATED = ["agent", "run", "inferred", "invalid", "terminated", "truncated"]
"""Columns that a dictionary makes smaller."""


def part_name(number: int) -> str:
    """Return the name of a part file."""
    return f"part-{number:05d}.parquet"


def parquet_writer(file: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return what writes rows of transitions."""
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=-1,
        use_dictionary=_REPEATED,
        write_statistics=["episode", "step", "run"],
    )


class Writer:
    """Writes whole episodes in order; a part never ends within one.

    Args:
        folder: Where; must exist.
        described: Of the dataset.
        discount_seconds: τ, for the discounted returns in the index.
        first_episode: Number of the first episode.
        first_part: Number of the first part.
        part_bytes: Bytes after which a part is closed.
    """

    def __init__(
        self,
        folder: Path,
        described: Description,
        *,
        discount_seconds: float,
        first_episode: int = 0,
        first_part: int = 0,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._folder, self.described, self._tau = folder, described, discount_seconds
        self._episode, self._part, self._part_bytes = first_episode, first_part, part_bytes
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._bytes = self._row = 0
        self._index: list[dict[str, Any]] = []
        self.parts: list[str] = []
        """Names of the parts so far."""

    def add(self, rows: Rows, about: About) -> None:
        """Write an episode."""
        c, n = rows.columns, len(rows.slots)
        number = {"episode": np.full(n, self._episode, dtype=np.int32)}
        told = {
            "split": splits.TRAIN,
            **vars(about),
            "rows": n,
            "decisions": rows.decisions,
            "seconds": float(c["elapsed"].sum()),
            "return": float(c["reward"].sum()),
            "discounted": float(c["reward"] @ np.exp(-c["time"] / self._tau)),
            "terminated": bool(c["terminated"].any()),
            "truncated": bool(c["truncated"].any()),
            "inferred": bool(c["inferred"].any()),
            "invalid": int(c["invalid"].sum()),
            "overflow": int((c["overflow"] > 0).sum()),
            "digest": rows.digest(),
        }
        self._take(table(self.described, {**c, **number}, rows.slots), told)

    def take(self, rows: pa.Table, told: Mapping[str, Any]) -> None:
        """Write an episode of another dataset with the same columns.

        Args:
            rows: All of it.
            told: Its entry in the index there.
        """
        number = pa.array(np.full(len(rows), self._episode, dtype=np.int32))
        at = rows.schema.get_field_index("episode")
        self._take(rows.set_column(at, rows.schema.field(at), number), told)

    def _take(self, rows: pa.Table, told: Mapping[str, Any]) -> None:
        where = {"episode": self._episode, "part": self._part, "first": self._row}
        self._index.append({**told, **where})
        self._waiting.append(rows)
        self._episode += 1
        self._row += len(rows)
        self._bytes += rows.nbytes
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._file is None:
            name = part_name(self._part)
            self._file = parquet_writer(self._folder / name, self.described.schema)
            self.parts.append(name)
        # Whole: pages would else end where the pieces happened to.
        self._file.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._bytes = [], 0
        if (self._folder / self.parts[-1]).stat().st_size >= self._part_bytes:
            self._close_part()

    def _close_part(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._part += 1
            self._row = 0

    def close(self) -> pa.Table:
        """Write what is left; returns the index of what was added, all in the split *train*."""
        self._flush()
        self._close_part()
        return pa.Table.from_pylist(self._index, schema=EPISODES)


def write_index(folder: Path, name: str, index: pa.Table, before: Sequence[str] = ()) -> pa.Table:
    """Divide episodes into splits and write the index.

    Args:
        folder: Of the dataset.
        name: Of the file, ``episodes.parquet`` for a fresh dataset.
        index: All episodes of the dataset.
        before: The splits that the first of them have already.

    Raises:
        ConfigError: When something would leak from one split into another.
    """
    found = splits.assign(index["workload"].to_pylist(), before)
    try:
        splits.check(index["workload"].to_pylist(), found, index["digest"].to_pylist())
    except CorruptError as error:
        raise ConfigError(
            f"these episodes cannot be divided among the splits: {error.message}",
            hint="record other workloads (seed=…), or build a dataset of their own",
        ) from error
    column = EPISODES.get_field_index("split")
    index = index.set_column(column, EPISODES.field("split"), pa.array(found, pa.string()))
    pq.write_table(index, folder / name, compression="zstd")
    return index
