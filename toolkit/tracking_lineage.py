"""What a score came from, in MLflow's own words: the logged model, the dataset it learnt from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import tracking_files as files

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FOLDER = "policy"
"""Where the files of a policy lie among the artefacts of its run."""

_NAME, _DIGEST = 500, 36  # MLflow's limits in characters


def log_dataset(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> dict[str, str]:
    """Log the dataset that a policy learnt from as an input of the run.

    Args:
        client: Of the record.
        run: Who used it.
        tags: ``dataset`` and ``dataset_digest``; nothing is logged where one is empty.

    Returns:
        What a metric says of the dataset behind it.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = files.clean(tags.get("dataset", ""), _NAME)
    digest = files.clean(tags.get("dataset_digest", "")[:_DIGEST], _DIGEST)
    if not name or not digest:
        return {}
    data = Dataset(name, digest, "toolkit", json.dumps({"id": name}))
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run.info.run_id, [DatasetInput(data, [context])])
    return {"dataset_name": name, "dataset_digest": digest}


def log_model(
    client: MlflowClient, run: Run, folder: Path, tags: Mapping[str, str]
) -> dict[str, str]:
    """Log a policy as a model that the run put out, and its files as artefacts of both.

    Args:
        client: Of the record.
        run: Who played it.
        folder: Of the policy's artefact.
        tags: What the model belongs to; ``policy`` names it.

    Returns:
        What a metric says of the model behind it.
    """
    from mlflow.entities import LoggedModelOutput

    run_id, experiment = run.info.run_id, run.info.experiment_id
    labels = {k: files.clean(v, files.TAG) for k, v in tags.items() if v}
    name = re.sub(r"[/:.%\"']", "_", labels.get("policy", ""))[:_NAME] or FOLDER
    model = client.create_logged_model(
        experiment, name=name, source_run_id=run_id, tags=labels, model_type="policy"
    )
    client.log_artifacts(run_id, str(folder), FOLDER)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return {"model_id": model.model_id}
