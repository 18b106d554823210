"""A client of a checked record: made whole on first use, quiet, its errors one sentence each."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import tracking_files as files
from toolkit.errors import ToolkitError
from toolkit.progress import say

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def connected() -> Iterator[MlflowClient]:
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
        yield MlflowClient(tracking_uri=files.uri())
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
