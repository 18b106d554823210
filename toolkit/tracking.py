"""The record of every training and evaluation, kept by MLflow.

One experiment holds the trainings, one per suite the evaluations: a run is one policy on one
suite, with the numbers as metrics, what they belong to as tags, the per-seed results as
``cells.json`` and as nested runs, and in MLflow's own words the policy (a logged model) and the
dataset that it learnt from. Everything on the board can be read back with ``mlflow.search_runs``
alone. Only the modules ``toolkit.tracking*`` import MLflow.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import tracking_files as files
from toolkit import tracking_lineage as lineage
from toolkit import tracking_nested as nested
from toolkit import tracking_reading as reading
from toolkit import tracking_runs as runs
from toolkit.errors import CorruptError, NotFoundError, require
from toolkit.report import to_json
from toolkit.tracking_client import connected
from toolkit.tracking_files import uri
from toolkit.tracking_runs import Recorded

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = [
    "board", "cells", "curve", "episode", "find_evaluation", "forget", "log_evaluation",
    "log_training", "recorded", "serve", "uri",
]  # fmt: skip

TRAINING = "training"
NUMBERS = (
    "score", "iqm", "ci_low", "ci_high",
    "latency_mean", "latency_mean_ci_low", "latency_mean_ci_high", "latency_p95", "latency_p99",
    "slowdown_mean", "response_time", "makespan", "slr", "speedup", "of_bound",
    "throughput", "utilisation", "fairness", "slo_violations",
    "cost", "money", "max_queue", "return_mean", "decision_ms", "chosen", "failed", "n_seeds",
)  # fmt: skip
"""Metrics of an evaluation run that the board shows; what was not logged is NaN."""
TEXTS = (
    "policy", "suite", "engine", "learned", "calibration", "calibration_error", "simulator",
    "schema", "dataset", "dataset_digest", "trained_policy", "parent", "failure",
    "commit", "command", "cell_key",
)  # fmt: skip
"""Tags of an evaluation run that the board shows; what was not logged is empty."""
COLUMNS = (*TEXTS[:3], *NUMBERS, *TEXTS[3:], "run_id", "created")

_REQUIRED = ("score", "iqm", "ci_low", "ci_high")
_CELLS, _EPISODE = "cells.json", "episode.json"
_SHORTEST = 6
"""Characters of a run's id that name it."""


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
        tags: What the run belongs to, e.g. dataset digest, commit, command; ``trained_policy``
            is the id of the policy that it made.
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
    within = {} if parent is None else {runs.PARENT: parent}
    with connected() as client:
        labels = {**tags, **within, "kind": "training"}
        run_id = str(runs.begin(client, TRAINING, name, labels).info.run_id)
        runs.fill(client, run_id, points=points, params=params)
        if artefacts is not None:
            log = client.log_artifacts if artefacts.is_dir() else client.log_artifact
            log(run_id, str(artefacts))
        client.set_terminated(run_id)
        return run_id


def forget(run: str) -> None:
    """Take back a run that nothing came of."""
    with connected() as client:
        client.delete_run(run)


def log_evaluation(
    *,
    suite: str,
    policy: str,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    tags: Mapping[str, Any],
    cells: pd.DataFrame,
    episode: Mapping[str, Any] | None = None,
    model: Path | None = None,
) -> str:
    """Record what one policy reached on one suite; the same ``cell_key`` again replaces it.

    Args:
        suite: The suite's name; the experiment has the same name.
        policy: The policy's name as people shall read it.
        metrics: At least score, IQM, ci_low and ci_high (95 % interval of the score), or, where
            cells failed, their number as ``failed``; the rest of :data:`NUMBERS` where measured.
            Times in seconds.
        params: The resolved configuration, flat.
        tags: The rest of :data:`TEXTS`: ``learned`` is true or false, ``calibration_error`` the
            calibration's held-out relative makespan error (0.041 means 4.1 %), ``failure`` the
            first message of what failed, and ``cell_key`` a hash of everything that decides the
            result.
        cells: One row per seed (and ``task``, where a suite has several): ``seed`` and metrics,
            among them ``score``. Each row is a nested run too.
        episode: What one workload looked like as it was played, for a Gantt chart.
        model: Folder of the policy's artefact, kept as a logged model.

    Returns:
        The run's id.

    Raises:
        ConfigError: When a required metric, the cell key or a column is missing, a seed is there
            twice, or the model is no folder.
    """
    values = {k: float(v) for k, v in files.named(metrics).items()}
    values.setdefault("n_seeds", float(cells["seed"].nunique() if "seed" in cells else len(cells)))
    values.setdefault("failed", 0.0)
    _check(values, tags, cells, model)
    key = files.key_text(tags["cell_key"])
    within = {runs.PARENT: tags["parent"]} if tags.get("parent") else {}
    labels = {**tags, **within, "policy": policy, "suite": suite, "kind": "unfinished"}
    with connected() as client:
        run = runs.begin(client, suite, policy, labels)
        run_id = run.info.run_id
        client.log_text(run_id, to_json(cells.to_dict("records")), _CELLS)
        if episode is not None:
            client.log_text(run_id, to_json(episode), _EPISODE)
        points = _points(client, run, values, {k: str(v) for k, v in labels.items()}, model)
        runs.fill(client, run_id, points=points, params=params)
        nested.log(client, run, nested.of_cells(cells, policy))
        client.set_terminated(run_id)
        # The tag 'kind' puts the run on the board, so it comes last: half a run is never shown.
        runs.fill(client, run_id, tags={"cell_key": key, "kind": "evaluation"})
        text = f"tags.kind = 'evaluation' and tags.cell_key = '{key}'"
        same = runs.search(client, text, suite)
        for older in same[1:]:  # newest first: whoever else logs this key keeps the same one
            runs.forget(client, older)
        return str(same[0].info.run_id)


def _check(
    values: Mapping[str, float], tags: Mapping[str, Any], cells: pd.DataFrame, model: Path | None
) -> None:
    failed = values["failed"] > 0
    lacking = [k for k in _REQUIRED if k not in values and not failed]
    require(not lacking, f"an evaluation needs the metrics {', '.join(lacking)}")
    require(bool(tags.get("cell_key")), "an evaluation needs the tag 'cell_key'")
    columns = {"seed"} if failed else {"seed", "score"}
    require(columns <= set(cells), "the cells need the columns 'seed' and 'score'")
    keys = [c for c in ("task", "seed") if c in cells]
    require(not cells.duplicated(keys).any(), f"each {' and '.join(keys)} may occur once in cells")
    require(model is None or model.is_dir(), f"model must be a policy's folder, {model} is none")


def _points(
    client: MlflowClient,
    run: Run,
    values: Mapping[str, float],
    tags: Mapping[str, str],
    model: Path | None,
) -> list[Metric]:
    """Return the metrics of an evaluation, each with the model and the dataset behind it."""
    from mlflow.entities import Metric

    data = lineage.log_dataset(client, run, tags)
    about = {k: tags.get(k, "") for k in ("policy", "trained_policy", "dataset", "commit")}
    behind = data if model is None else data | lineage.log_model(client, run, model, about)
    now = int(time.time() * 1000)
    return [Metric(k, v, now, 0, **behind) for k, v in values.items()]


def find_evaluation(suite: str, cell_key: str) -> str | None:
    """Return the id of the run that holds exactly this evaluation, or None."""
    key = files.key_text(cell_key)
    found = reading.search({"kind": "evaluation", "cell_key": key}, experiment=suite)
    return found[0].run_id if found else None


def board(suite: str | None = None) -> pd.DataFrame:
    """Return one row per recorded evaluation, best score first, ties by policy name.

    Args:
        suite: Only this suite; default all.

    Returns:
        A frame with :data:`COLUMNS`; ``created`` is a UTC time, ``learned`` a bool,
        ``calibration_error`` a float (NaN where unknown), ``failed`` the number of cells that
        failed. What has no score, because cells failed, comes last.
    """
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for run in reading.search({"kind": "evaluation"}, experiment=suite):
        row = _row(run)
        rows.setdefault((row["suite"], row["cell_key"]), row)  # newest first
    frame = pd.DataFrame(list(rows.values()), columns=list(COLUMNS))
    frame["created"] = pd.to_datetime(frame["created"], unit="ms", utc=True)
    frame = frame.astype({**dict.fromkeys(NUMBERS, "float64"), "learned": "bool"})
    frame["failed"] = frame["failed"].fillna(0.0)
    frame["calibration_error"] = pd.to_numeric(frame["calibration_error"], errors="coerce")
    frame["calibration_error"] = frame["calibration_error"].astype("float64")
    order = ["score", "policy", "suite", "run_id"]
    return frame.sort_values(order, ascending=[False, True, True, True]).reset_index(drop=True)


def cells(run_id: str) -> pd.DataFrame:
    """Return the per-seed results of one evaluation, as they were logged.

    Returns:
        A row per ``seed`` (and ``task``, the scenario's name, where a suite has several).

    Raises:
        NotFoundError: When the run or its file is gone.
        CorruptError: When the file is damaged.
    """
    import pandas as pd

    records = _document(run_id, _CELLS)
    if records is None:
        raise NotFoundError(f"the record holds no per-seed results of run {run_id[:40]!r}")
    return pd.DataFrame(records)


def episode(run_id: str) -> dict[str, Any] | None:
    """Return what one workload of an evaluation looked like as it was played, or None.

    Raises:
        CorruptError: When the file is damaged.
    """
    found = _document(run_id, _EPISODE)
    return None if found is None else dict(found)


def curve(policy_id: str) -> pd.DataFrame:
    """Return how the training went that made a policy.

    Returns:
        Columns ``metric``, ``step`` and ``value`` by metric and step; no row where the record has
        no such training.
    """
    import pandas as pd

    rows: list[tuple[str, int, float]] = []
    if files.key_text(policy_id) == policy_id:  # an id that a search cannot quote is none of ours
        made = {"kind": "training", "trained_policy": policy_id}
        for run in reading.search(made, experiment=TRAINING)[:1]:
            rows = reading.history(run)
    frame = pd.DataFrame(rows, columns=["metric", "step", "value"])
    frame = frame.astype({"metric": "object", "step": "int64", "value": "float64"})
    return frame.sort_values(["metric", "step"], kind="stable").reset_index(drop=True)


def recorded(start: str) -> list[Recorded]:
    """Return the evaluations and trainings whose run id begins with some characters, newest first.

    Args:
        start: 6 characters at least; fewer name nothing.
    """
    if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},32}}", start):
        return []
    found = reading.search({}, start=start)
    return [r for r in found if r.kind in ("evaluation", "training")]


def _document(run_id: str, name: str) -> Any:
    """Return what a run's JSON file holds, None where run or file are gone."""
    text = reading.document(run_id, name)
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        what = "per-seed results" if name == _CELLS else name
        raise CorruptError(f"the {what} of run {run_id[:40]!r} are damaged") from error


def serve(port: int) -> None:
    """Run MLflow's own pages on 127.0.0.1 until interrupted.

    Raises:
        ResourceError: When the port is taken.
        EngineError: When the server does not start.
    """
    with connected():  # creates or checks the database, so that the server finds it whole
        pass
    files.run_server(port)


def _row(run: Recorded) -> dict[str, Any]:
    row: dict[str, Any] = {k: run.metrics.get(k, math.nan) for k in NUMBERS}
    row |= {k: run.tags.get(k, "") for k in TEXTS}
    row["learned"] = row["learned"].lower() == "true"
    return row | {"run_id": run.run_id, "created": run.created}
