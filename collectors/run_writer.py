"""Run writer: rows go to Parquet as they come, so that a log need not fit in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.completeness import Completeness
from toolkit import trace as traces

ROWS = 32_768
"""Rows of a table that are held before they are written as a row group."""


class RunWriter:
    """Takes the rows of one run of a trace.

    Args:
        folder: Where the tables are written, one Parquet file each.
        run: Index of the run.
        extra: Columns that this source adds, by table: ``m_…`` of tasks, ``x_…`` of jobs.
    """

    def __init__(
        self, folder: Path, run: int, extra: Mapping[str, Sequence[pa.Field]] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.completeness = Completeness()
        self._folder = folder
        self._schemas = {n: traces.schema(n, (extra or {}).get(n, ())) for n in traces.TABLES}
        self._held: dict[str, dict[str, list[Any]]] = {n: self._fresh(n) for n in traces.TABLES}
        self._count = dict.fromkeys(traces.TABLES, 0)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self.rows = dict.fromkeys(traces.TABLES, 0)

    def _fresh(self, table: str) -> dict[str, list[Any]]:
        return {c: [] for c in self._schemas[table].names if c != "run"}

    def add(self, table: str, **values: Any) -> None:
        """Take one row; columns that are not named are null.

        Raises:
            KeyError: For a column that the table does not have: a mistake of the importer.
        """
        held = self._held[table]
        if not values.keys() <= held.keys():
            raise KeyError(f"{table} has no column {sorted(values.keys() - held.keys())}")
        for name, column in held.items():
            column.append(values.get(name))
        self._count[table] += 1
        if self._count[table] >= ROWS:
            self._flush(table)

    def extend(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Take many rows, a list or array per column; columns that are not named are null."""
        count = len(next(iter(columns.values())))
        for name, column in self._held[table].items():
            column.extend(columns[name] if name in columns else [None] * count)
        self._count[table] += count
        if self._count[table] >= ROWS:
            self._flush(table)

    def _flush(self, table: str) -> None:
        held, count = self._held[table], self._count[table]
        schema = self._schemas[table]
        if table not in self._writers:
            file = self._folder / f"{table}.parquet"
            self._writers[table] = pq.ParquetWriter(file, schema, compression="zstd")
        arrays = [
            pa.repeat(pa.scalar(self.run, pa.int32()), count)
            if f.name == "run"
            else pa.array(held[f.name], type=f.type, from_pandas=True)
            for f in schema
        ]
        self._writers[table].write_table(pa.Table.from_arrays(arrays, schema=schema))
        self._held[table] = self._fresh(table)
        self._count[table] = 0
        self.rows[table] += count

    def close(self) -> None:
        """Write what is still held; every table gets a file, empty or not."""
        for table in traces.TABLES:
            if self._count[table] or table not in self._writers:
                self._flush(table)
            self._writers[table].close()
