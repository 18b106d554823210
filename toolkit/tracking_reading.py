"""What the record holds, read from its own database or, where that is not ours, by MLflow."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from toolkit import tracking_database as database
from toolkit import tracking_files as files
from toolkit import tracking_runs as runs
from toolkit.tracking_client import connected
from toolkit.tracking_runs import Recorded


def search(
    tags: Mapping[str, str], *, experiment: str | None = None, start: str = ""
) -> list[Recorded]:
    """Return runs, newest first; nothing is created.

    Args:
        tags: What they must have; values that :func:`toolkit.tracking_files.key_text` leaves.
        experiment: Its name; default all.
        start: First characters of their ids, hexadecimal.
    """
    if files.absent():
        return []
    label = None if experiment is None else runs.label(experiment)
    with database.opened() as base:
        if base is not None:
            return _newest_first(database.search(base, tags, label, start))
    text = [f"tags.{k} = '{v}'" for k, v in tags.items()]
    text += [f"attributes.run_id LIKE '{start}%'"] if start else []
    with connected() as client:
        return [Recorded.of(r) for r in runs.search(client, " and ".join(text), label)]


def history(run: Recorded) -> list[tuple[str, int, float]]:
    """Return metric, step and value of all that was logged of a run, in no order."""
    with database.opened() as base:
        if base is not None:
            return database.history(base, run.run_id)
    with connected() as client:
        points = [p for key in run.metrics for p in client.get_metric_history(run.run_id, key)]
    return [(p.key, int(p.step), float(p.value)) for p in points]


def document(run_id: str, name: str) -> str | None:
    """Return the text of a run's file, None where run or file are gone."""
    if files.absent():
        return None
    with database.opened() as base:
        path = None if base is None else database.artefact(base, run_id, name)
    if path is not None:
        try:
            return path.read_text("utf-8")
        except OSError:
            return None
    with tempfile.TemporaryDirectory() as folder, connected() as client:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            address = f"{client.get_run(run_id).info.artifact_uri}/{name}"
            file = download_artifacts(address, dst_path=folder, tracking_uri=files.uri())
        except (MlflowException, OSError):  # the run or its file is gone
            return None
        return Path(file).read_text("utf-8")


def _newest_first(found: list[Recorded]) -> list[Recorded]:
    return sorted(found, key=lambda r: (r.created, r.run_id), reverse=True)
