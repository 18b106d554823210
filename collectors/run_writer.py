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
        self._batches: dict[str, list[pa.RecordBatch]] = {n: [] for n in traces.TABLES}
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

    def extend(self, table: str, columns: Mapping[str, Any]) -> None:
        """Take many rows, a list or array per column; columns that are not named are null.

        In arrays of floats NaN is null. Arrays are much faster than lists.
        """
        self._seal(table)
        count = len(next(iter(columns.values())))
        self._batches[table].append(self._batch(table, columns, count))
        self._count[table] += count
        if self._count[table] >= ROWS:
            self._flush(table)

    def _batch(self, table: str, columns: Mapping[str, Any], count: int) -> pa.RecordBatch:
        schema = self._schemas[table]
        arrays = [
            pa.repeat(pa.scalar(self.run, pa.int32()), count)
            if f.name == "run"
            else pa.array(columns[f.name], type=f.type, from_pandas=True)
            if f.name in columns
            else pa.nulls(count, f.type)
            for f in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _seal(self, table: str) -> None:
        """Make a batch of the rows that came one by one."""
        held = self._held[table]
        count = len(next(iter(held.values())))
        if count:
            self._batches[table].append(self._batch(table, held, count))
            self._held[table] = self._fresh(table)

    def _flush(self, table: str) -> None:
        self._seal(table)
        schema = self._schemas[table]
        if table not in self._writers:
            file = self._folder / f"{table}.parquet"
            self._writers[table] = pq.ParquetWriter(file, schema, compression="zstd")
        whole = pa.Table.from_batches(self._batches[table], schema=schema)
        self._writers[table].write_table(whole)
        self._batches[table] = []
        self.rows[table] += self._count[table]
        self._count[table] = 0

    def close(self) -> None:
        """Write what is still held; every table gets a file, empty or not."""
        for table in traces.TABLES:
            if self._count[table] or table not in self._writers:
                self._flush(table)
            self._writers[table].close()
