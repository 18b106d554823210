"""The runs nested in an evaluation, one per seed, so that MLflow's own pages compare seed by seed.

In a database all of them are one transaction: through MLflow's client each run costs four, which
is a hundred times as long. The rows are the same (tested). A server takes them one by one.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit import tracking_files as files

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"


@dataclass(frozen=True, kw_only=True)
class Nested:
    """A run within another.

    Args:
        name: Name of the run.
        metrics: What was measured; finite.
        tags: What it belongs to.
    """

    name: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def of_cells(cells: pd.DataFrame, policy: str) -> list[Nested]:
    """Return a run for each row of an evaluation's cells.

    Args:
        cells: Columns ``seed``, where there are several scenarios ``task``, and numbers.
        policy: Who played them.
    """
    found = []
    for row in cells.to_dict("records"):
        about: dict[str, str] = {k: str(row[k]) for k in ("task", "seed") if k in row}
        name = f"{about.get('task', '')} seed {about.get('seed', '')}".strip()
        tags = {**about, "policy": policy, "kind": "cell"}
        numbers = {str(k): _number(v) for k, v in row.items() if k not in about}
        found.append(
            Nested(
                name=files.clean(name, files.NAME),
                metrics={k: v for k, v in files.named(numbers).items() if math.isfinite(v)},
                tags={k: files.clean(v, files.TAG) for k, v in tags.items()},
            )
        )
    return found


def log(client: MlflowClient, parent: Run, runs: Sequence[Nested]) -> None:
    """Log finished runs within another: in a database all or none."""
    now = int(time.time() * 1000)
    store = _database(client)
    if store is not None:
        _insert(store, parent, runs, now)
        return
    from mlflow.entities import Metric

    info = parent.info
    for run in runs:
        tags = {**run.tags, _PARENT: info.run_id}
        made = client.create_run(info.experiment_id, now, tags, run.name).info.run_id
        points = [Metric(k, v, now, 0) for k, v in run.metrics.items()]
        client.log_batch(made, metrics=points)
        client.set_terminated(made, end_time=now)


def forget(client: MlflowClient, parent: Run) -> None:
    """Take back all runs within another."""
    store, run_id = _database(client), parent.info.run_id
    if store is None:
        text = f"tags.`{_PARENT}` = '{run_id}'"
        found = client.search_runs([parent.info.experiment_id], text, max_results=50_000)
        for run in found:
            client.delete_run(run.info.run_id)
        return
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select, update

    within: Any = select(SqlTag.run_uuid).where(SqlTag.key == _PARENT, SqlTag.value == run_id)
    gone = {"lifecycle_stage": "deleted", "deleted_time": int(time.time() * 1000)}
    with store.ManagedSessionMaker(read_only=False) as session:
        session.execute(
            update(SqlRun).where(SqlRun.run_uuid.in_(within)).values(**gone),
            execution_options={"synchronize_session": False},
        )


def _insert(store: Any, parent: Run, runs: Sequence[Nested], now: int) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun, SqlTag
    from sqlalchemy import insert

    info = parent.info
    ids = [uuid.uuid4().hex for _ in runs]
    rows = [
        {
            "run_uuid": i,
            "name": run.name,
            "artifact_uri": info.artifact_uri.replace(info.run_id, i),
            "experiment_id": int(info.experiment_id),
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "source_version": "",
            "user_id": info.user_id,
            "status": "FINISHED",
            "start_time": now,
            "end_time": now,
            "lifecycle_stage": "active",
        }
        for i, run in zip(ids, runs, strict=True)
    ]
    tags = [
        {"run_uuid": i, "key": k, "value": v}
        for i, run in zip(ids, runs, strict=True)
        for k, v in {**run.tags, _PARENT: info.run_id, _NAME: run.name}.items()
    ]
    points = [
        {"run_uuid": i, "key": k, "value": v, "timestamp": now, "step": 0, "is_nan": False}
        for i, run in zip(ids, runs, strict=True)
        for k, v in run.metrics.items()
    ]
    with store.ManagedSessionMaker(read_only=False) as session:
        for table, lines in (
            (SqlRun, rows),
            (SqlTag, tags),
            (SqlMetric, points),
            (SqlLatestMetric, points),
        ):
            if lines:
                session.execute(insert(table), lines)


def _database(client: MlflowClient) -> Any:
    """Return MLflow's store where it is a database, None where a server keeps the record."""
    store: Any = client._tracking_client.store
    return store if hasattr(store, "ManagedSessionMaker") else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
