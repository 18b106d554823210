"""The record of every training and evaluation; the only module that imports MLflow.

One experiment holds the trainings, one per suite the evaluations: a run is one policy on one
suite, with the numbers as metrics, what they belong to as tags, and the per-seed results as
``cells.json``. Everything on the board can be read back with ``mlflow.search_runs`` alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import tracking_files as files
from toolkit.errors import CorruptError, NotFoundError, ToolkitError, require
from toolkit.progress import say
from toolkit.report import to_json
from toolkit.tracking_files import uri

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = ["board", "cells", "find_evaluation", "log_evaluation", "log_training", "serve", "uri"]

TRAINING = "training"
NUMBERS = (
    "score", "iqm", "ci_low", "ci_high",
    "latency_mean", "latency_mean_ci_low", "latency_mean_ci_high", "latency_p95",
    "latency_p99", "slowdown_mean", "response_time", "makespan", "slr", "speedup", "of_bound",
    "utilisation", "fairness", "slo_violations", "throughput", "cost", "money", "max_queue",
    "decision_ms", "return_mean", "n_seeds", "failed", "chosen",
)  # fmt: skip
"""Metrics of an evaluation run that the board shows; what was not logged is NaN."""
TEXTS = (
    "policy", "suite", "engine", "learned", "calibration", "calibration_error", "simulator",
    "schema", "dataset", "dataset_digest", "trained_policy", "parent", "failure", "commit",
    "command", "cell_key",
)  # fmt: skip
"""Tags of an evaluation run that the board shows; what was not logged is empty."""
COLUMNS = (*TEXTS[:3], *NUMBERS, *TEXTS[3:], "run_id", "created")

_REQUIRED = ("score", "iqm", "ci_low", "ci_high")
_CELLS = "cells.json"
_PARENT = "mlflow.parentRunId"
_FEW, _MANY = 100, 1000  # MLflow's limits per batch: params or tags, metrics


def log_training(
    *,
    name: str,
    params: Mapping[str, Any],
    curve: Sequence[tuple[int, Mapping[str, float]]],
    tags: Mapping[str, Any],
    artefacts: Path | None,
    parent: str | None = None,
) -> str:
    """Record one training run.

    Args:
        name: Name of the run.
        params: The resolved configuration, flat; long values are cut.
        curve: Pairs of (step, metric -> value) in the order they were measured.
        tags: What the run belongs to, e.g. dataset digest, commit, command.
        artefacts: File or folder to keep with the run.
        parent: Id of the run that this one is nested in.

    Returns:
        The run's id.
    """
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points: list[Metric] = []
    for step, values in curve:
        for key, value in files.named(values).items():
            points.append(Metric(key, float(value), now, int(step)))
    with _client() as client:
        run_id = _start(client, TRAINING, name)
        nested = {} if parent is None else {_PARENT: parent}
        _log(client, run_id, points, params, {**tags, **nested, "kind": "training"})
        if artefacts is not None:
            log = client.log_artifacts if artefacts.is_dir() else client.log_artifact
            log(run_id, str(artefacts))
        client.set_terminated(run_id)
        return run_id


def forget(run: str) -> None:
    """Take back a run that nothing came of."""
    with _client() as client:
        client.delete_run(run)


def log_evaluation(
    *,
    suite: str,
    policy: str,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    cells: pd.DataFrame,
) -> str:
    """Record what one policy reached on one suite; the same ``cell_key`` again replaces it.

    Args:
        suite: The suite's name; the experiment has the same name.
        policy: The policy's name as people shall read it.
        metrics: At least score, IQM, ci_low and ci_high (95 % interval of the score); the rest
            of :data:`NUMBERS` where measured. Times in seconds.
        params: The resolved configuration, flat.
        tags: The rest of :data:`TEXTS`: ``learned`` is true or false, ``calibration_error`` the
            calibration's held-out relative makespan error (0.041 means 4.1 %), and ``cell_key``
            a hash of everything that decides the result.
        cells: One row per seed (and ``task``, where a suite has several): ``seed`` and metrics,
            among them ``score``.

    Returns:
        The run's id.

    Raises:
        ConfigError: When a required metric, the cell key or a column is missing, or a seed twice.
    """
    from mlflow.entities import Metric

    values = {k: float(v) for k, v in files.named(metrics).items()}
    values.setdefault("n_seeds", float(cells["seed"].nunique() if "seed" in cells else len(cells)))
    lacking = [k for k in _REQUIRED if k not in values]
    require(not lacking, f"an evaluation needs the metrics {', '.join(lacking)}")
    require(bool(tags.get("cell_key")), "an evaluation needs the tag 'cell_key'")
    require({"seed", "score"} <= set(cells), "the cells need the columns 'seed' and 'score'")
    keys = [c for c in ("task", "seed") if c in cells]
    require(not cells.duplicated(keys).any(), f"each {' and '.join(keys)} may occur once in cells")
    key = files.key_text(tags["cell_key"])
    now = int(time.time() * 1000)
    points = [Metric(k, v, now, 0) for k, v in values.items()]
    with _client() as client:
        run_id = _start(client, suite, policy)
        client.log_text(run_id, to_json(cells.to_dict("records")), _CELLS)
        # The tag 'kind' puts the run on the board, so it comes last: half a run is never shown.
        labels = {**tags, "policy": policy, "suite": suite, "kind": "unfinished"}
        _log(client, run_id, points, params, labels)
        client.set_terminated(run_id)
        _log(client, run_id, [], {}, {"cell_key": key, "kind": "evaluation"})
        same = _evaluations(client, suite, key)
        for older in same[1:]:  # newest first: whoever else logs this key keeps the same one
            client.delete_run(older.info.run_id)
        return str(same[0].info.run_id)


def find_evaluation(suite: str, cell_key: str) -> str | None:
    """Return the id of the run that holds exactly this evaluation, or None."""
    if files.absent():
        return None
    with _client() as client:
        found = _evaluations(client, suite, files.key_text(cell_key))
        return found[0].info.run_id if found else None


def board(suite: str | None = None) -> pd.DataFrame:
    """Return one row per recorded evaluation, best score first, ties by policy name.

    Args:
        suite: Only this suite; default all.

    Returns:
        A frame with :data:`COLUMNS`; ``created`` is a UTC time, ``learned`` a bool,
        ``calibration_error`` a float (NaN where unknown).
    """
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if not files.absent():
        with _client() as client:
            for run in _evaluations(client, suite):
                row = _row(run)
                rows.setdefault((row["suite"], row["cell_key"]), row)  # newest first
    frame = pd.DataFrame(list(rows.values()), columns=list(COLUMNS))
    frame["created"] = pd.to_datetime(frame["created"], unit="ms", utc=True)
    frame = frame.astype({**dict.fromkeys(NUMBERS, "float64"), "learned": "bool"})
    frame["calibration_error"] = pd.to_numeric(frame["calibration_error"], errors="coerce")
    frame["calibration_error"] = frame["calibration_error"].astype("float64")
    order = ["score", "policy", "suite", "run_id"]
    return frame.sort_values(order, ascending=[False, True, True, True]).reset_index(drop=True)


def cells(run_id: str) -> pd.DataFrame:
    """Return the per-seed results of one evaluation, as they were logged.

    Raises:
        NotFoundError: When the run or its file is gone.
        CorruptError: When the file is damaged.
    """
    import pandas as pd

    gone = NotFoundError(f"the record holds no per-seed results of run {run_id[:40]!r}")
    if files.absent():
        raise gone
    with tempfile.TemporaryDirectory() as folder, _client() as client:
        try:
            text = Path(client.download_artifacts(run_id, _CELLS, folder)).read_text("utf-8")
            records = json.loads(text)
        except ValueError as error:
            raise CorruptError(
                f"the per-seed results of run {run_id[:40]!r} are damaged"
            ) from error
        except Exception as error:
            raise gone from error
    return pd.DataFrame(records)


def serve(port: int) -> None:
    """Run MLflow's own pages on 127.0.0.1 until interrupted.

    Raises:
        ResourceError: When the port is taken.
        EngineError: When the server does not start.
    """
    with _client():  # creates or checks the database, so that the server finds it whole
        pass
    files.run_server(port)


@contextmanager
def _client() -> Iterator[MlflowClient]:
    """Yield a client of a checked record; whatever MLflow raises becomes one sentence."""
    _quiet()
    file = files.database()
    try:
        if file is not None and files.absent():
            _create(file)
        elif file is not None:
            files.check(file)
        from mlflow import MlflowClient

        _quiet()  # importing MLflow sets its own levels
        yield MlflowClient(tracking_uri=uri())
    except ToolkitError:
        raise
    except Exception as error:
        raise files.translated(error) from error


def _quiet() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for key, value in {
        "GIT_PYTHON_REFRESH": "quiet",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(key, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Its tracebacks of database errors say no more than the sentence made of them here.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _create(file: Path) -> None:
    """Make the database aside, then move it into place: a stop half-way leaves nothing."""
    say(f"preparing the MLflow database {file} (once, some seconds)")
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    _quiet()
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        aside.unlink(missing_ok=True)
        make: Any = SqlAlchemyStore  # it carries no types
        store = make(f"sqlite:///{aside}", files.artifacts().as_uri())
        store.engine.dispose()
        files.place(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _start(client: MlflowClient, experiment: str, name: str) -> str:
    label = files.clean(experiment, files.EXPERIMENT) or "unnamed"
    found = client.get_experiment_by_name(label)
    if found is None:
        folder = files.artifacts() / hashlib.sha256(label.encode()).hexdigest()[:12]
        location = folder.as_uri() if files.database() is not None else None
        try:
            number = client.create_experiment(label, artifact_location=location)
        except Exception:  # somebody else may have made it in this moment
            found = client.get_experiment_by_name(label)
            if found is None:
                raise
            number = found.experiment_id
    else:
        number = found.experiment_id
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(number)
    run = client.create_run(number, run_name=files.clean(name, files.NAME) or "unnamed")
    return str(run.info.run_id)


def _log(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Metric],
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
) -> None:
    from mlflow.entities import Param, RunTag

    for i in range(0, len(points), _MANY):
        client.log_batch(run_id, metrics=points[i : i + _MANY])
    named = [Param(k, files.clean(v, files.PARAM)) for k, v in files.named(params).items()]
    labels = [RunTag(k, files.clean(v, files.TAG)) for k, v in files.named(tags).items()]
    for i in range(0, len(named), _FEW):
        client.log_batch(run_id, params=named[i : i + _FEW])
    for i in range(0, len(labels), _FEW):
        client.log_batch(run_id, tags=labels[i : i + _FEW])


def _evaluations(client: MlflowClient, suite: str | None, key: str = "") -> list[Run]:
    """Return the runs that are on the board, newest first."""
    if suite is None:
        experiments = list(client.search_experiments(max_results=10_000))
    else:
        found = client.get_experiment_by_name(files.clean(suite, files.EXPERIMENT) or "unnamed")
        experiments = [] if found is None else [found]
    if not experiments:
        return []
    text = "tags.kind = 'evaluation'" + (f" and tags.cell_key = '{key}'" if key else "")
    ids = [e.experiment_id for e in experiments]
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(ids, text, max_results=50_000, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            return sorted(runs, key=lambda r: (r.info.start_time, r.info.run_id), reverse=True)


def _row(run: Run) -> dict[str, Any]:
    metrics, tags = run.data.metrics, run.data.tags
    row: dict[str, Any] = {k: metrics.get(k, math.nan) for k in NUMBERS}
    row |= {k: tags.get(k, "") for k in TEXTS}
    row["learned"] = row["learned"].lower() == "true"
    return row | {"run_id": run.info.run_id, "created": run.info.start_time}
