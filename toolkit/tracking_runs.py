"""One run of the record: begun, filled, found again, taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit import tracking_files as files
from toolkit import tracking_nested as nested

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Metric, Run

PARENT = "mlflow.parentRunId"
"""Tag by which MLflow knows the run that another is nested in."""

_METRICS, _FEW = 800, 100  # MLflow takes 1000 values at once, of them 100 params and 100 tags
_PAGE = 50_000


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run as it was logged.

    Args:
        run_id: Its id.
        name: Its name.
        created: When it began, ms since 1970, UTC.
        metrics: The last value of each.
        params: The resolved configuration, flat.
        tags: What it belongs to.
    """

    run_id: str
    name: str
    created: int
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]

    @classmethod
    def of(cls, run: Run) -> Recorded:
        """Return what MLflow tells of a run."""
        return cls(
            run_id=run.info.run_id,
            name=run.info.run_name or "",
            created=int(run.info.start_time),
            metrics=run.data.metrics,
            params=run.data.params,
            tags=run.data.tags,
        )

    @property
    def kind(self) -> str:
        """Return what was recorded: ``evaluation``, ``training``, or a ``cell`` of the first."""
        return self.tags.get("kind", "")


def begin(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, Any]) -> Run:
    """Return a new run of an experiment, which is made where it is not there yet."""
    named = label(experiment)
    found = client.get_experiment_by_name(named)
    if found is None:
        folder = files.artifacts() / hashlib.sha256(named.encode()).hexdigest()[:12]
        location = folder.as_uri() if files.database() is not None else None
        try:
            number = client.create_experiment(named, artifact_location=location)
        except Exception:  # somebody else may have made it in this moment
            found = client.get_experiment_by_name(named)
            if found is None:
                raise
            number = found.experiment_id
    else:
        number = found.experiment_id
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(number)
    labels = {k: files.clean(v, files.TAG) for k, v in files.named(tags).items()}
    shown = files.clean(name, files.NAME) or "unnamed"
    return client.create_run(number, tags=labels, run_name=shown)


def fill(
    client: MlflowClient,
    run_id: str,
    *,
    points: Sequence[Metric] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
) -> None:
    """Log values into a run, as many at once as MLflow takes."""
    from mlflow.entities import Param, RunTag

    told = [Param(k, files.clean(v, files.PARAM)) for k, v in files.named(params or {}).items()]
    labels = [RunTag(k, files.clean(v, files.TAG)) for k, v in files.named(tags or {}).items()]
    batches = max(-(-len(points) // _METRICS), -(-max(len(told), len(labels)) // _FEW))
    for k in range(batches):
        few = slice(k * _FEW, (k + 1) * _FEW)
        many = points[k * _METRICS : (k + 1) * _METRICS]
        client.log_batch(run_id, metrics=many, params=told[few], tags=labels[few])


def search(client: MlflowClient, text: str, experiment: str | None = None) -> list[Run]:
    """Return the runs that MLflow finds by a filter, newest first.

    Args:
        client: Of the record.
        text: The filter.
        experiment: Its name; default all.
    """
    experiments: Iterable[Experiment] = (
        client.search_experiments(max_results=10_000)
        if experiment is None
        else filter(None, [client.get_experiment_by_name(label(experiment))])
    )
    ids = [e.experiment_id for e in experiments]
    runs: list[Run] = []
    token: str | None = None
    while ids:
        page = client.search_runs(ids, text, max_results=_PAGE, page_token=token)
        runs.extend(page)
        token = page.token
        if not token:
            break
    return sorted(runs, key=lambda r: (r.info.start_time, r.info.run_id), reverse=True)


def forget(client: MlflowClient, run: Run) -> None:
    """Take back a run with what is nested in it and the models that it logged."""
    nested.forget(client, run)
    for output in run.outputs.model_outputs if run.outputs else ():
        client.delete_logged_model(output.model_id)
    client.delete_run(run.info.run_id)  # last: as long as it is there, this can be done again


def label(experiment: str) -> str:
    """Return the name of an experiment as MLflow stores it."""
    return files.clean(experiment, files.EXPERIMENT) or "unnamed"
