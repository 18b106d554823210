"""The record's own database read as it lies, because MLflow alone takes seconds to import.

Only tables of the revision that is known here are read so; of any other, and of a server, MLflow
is asked. Both find the same (tested).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from toolkit import tracking_files as files
from toolkit.tracking_runs import Recorded

REVISION = "dc11669786a5"
"""Of MLflow's tables, as its migrations name it."""


@contextmanager
def opened() -> Iterator[sqlite3.Connection | None]:
    """Yield the database for reading, None where MLflow has to be asked."""
    file = files.database()
    if file is None:
        yield None
        return
    files.check(file)
    try:
        with closing(sqlite3.connect(file.as_uri() + "?mode=ro", timeout=20, uri=True)) as base:
            found = base.execute("SELECT version_num FROM alembic_version").fetchall()
            yield base if found == [(REVISION,)] else None
    except sqlite3.Error as error:
        raise files.translated(error) from error


def search(
    base: sqlite3.Connection, tags: Mapping[str, str], experiment: str | None, start: str
) -> list[Recorded]:
    """Return the runs that have these tags and whose id begins so, in no order."""
    wanted = [f"r.run_uuid IN (SELECT run_uuid FROM tags WHERE {_EQUAL})" for _ in tags]
    values: list[str] = [word for pair in tags.items() for word in pair]
    if experiment is not None:
        wanted.append("e.name = ?")
        values.append(experiment)
    if start:
        wanted.append("r.run_uuid GLOB ?")
        values.append(f"{start}*")
    chosen = " AND ".join([_FOUND, *wanted])
    ids = f"SELECT r.run_uuid {chosen}"
    metrics, params, labels = (
        _by_run(base.execute(f"SELECT {columns} WHERE run_uuid IN ({ids})", values))
        for columns in (
            f"run_uuid, key, {_VALUE} FROM latest_metrics",
            "run_uuid, key, value FROM params",
            "run_uuid, key, value FROM tags",
        )
    )
    rows = base.execute(f"SELECT r.run_uuid, r.name, r.start_time {chosen}", values)
    return [
        Recorded(
            run_id=i,
            name=name or "",
            created=int(created),
            metrics={k: math.nan if v is None else v for k, v in metrics.get(i, {}).items()},
            params=params.get(i, {}),
            tags=labels.get(i, {}),
        )
        for i, name, created in rows
    ]


def history(base: sqlite3.Connection, run_id: str) -> list[tuple[str, int, float]]:
    """Return metric, step and value of all that was logged of a run."""
    rows = base.execute(f"SELECT key, step, {_VALUE} FROM metrics WHERE run_uuid = ?", [run_id])
    return [(key, step, math.nan if value is None else value) for key, step, value in rows]


def artefact(base: sqlite3.Connection, run_id: str, name: str) -> Path | None:
    """Return where a file of a run lies, None where the run is gone or its files lie elsewhere."""
    row = base.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", [run_id]).fetchone()
    parts = urlsplit(row[0]) if row else None
    if parts is None or parts.scheme not in ("", "file"):
        return None
    return Path(url2pathname(parts.path)) / name


_EQUAL = "key = ? AND value = ?"
_VALUE = "CASE WHEN is_nan THEN NULL ELSE value END"
_FOUND = (
    "FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
    "WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active'"
)


def _by_run(rows: sqlite3.Cursor) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run_id, key, value in rows:
        found.setdefault(run_id, {})[key] = value
    return found
