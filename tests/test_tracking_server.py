"""The record on a real MLflow server on loopback: what holds for a file holds for it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pandas as pd
import pytest

from toolkit import tracking
from toolkit.errors import EngineError, NotFoundError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start ``mlflow server`` with a database and artefacts of its own; return its address."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 120
        while time.monotonic() < end:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def named(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return server


def log(policy, level, **more):
    scores = level + np.arange(3.0)
    return tracking.log_evaluation(
        suite="served",
        policy=policy,
        metrics={"score": level, "iqm": level, "ci_low": level - 1, "ci_high": level + 1},
        params={"suite.seeds": 3},
        tags={"cell_key": policy, "dataset": "d", "dataset_digest": "0123"},
        cells=pd.DataFrame({"seed": [1, 2, 3], "score": scores}),
        **more,
    )


def test_the_record_is_kept_by_a_server(named, own_store, tmp_path):
    import mlflow

    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "policy.json").write_text("{}")
    first = log("cql", 50.0, model=folder)
    second = log("cql", 60.0, model=folder, episode={"seed": 1, "bars": []})
    log("a|<b>'\x00" + "x" * 9000, 55.0)
    board = tracking.board()
    assert board["score"].tolist() == [60.0, 55.0]
    assert tracking.find_evaluation("served", "cql") == second != first
    assert tracking.cells(second)["score"].tolist() == [60.0, 61.0, 62.0]
    assert tracking.episode(second) == {"seed": 1, "bars": []}
    assert tracking.episode(board["run_id"][1]) is None
    searched = mlflow.search_runs(
        experiment_names=["served"],
        filter_string="tags.kind = 'evaluation'",
        order_by=["metrics.score DESC"],
    )
    assert board["run_id"].tolist() == searched["run_id"].tolist()
    inside = mlflow.search_runs(
        experiment_names=["served"], filter_string=f"tags.`mlflow.parentRunId` = '{second}'"
    )
    assert sorted(inside["metrics.score"]) == [60.0, 61.0, 62.0]
    cells = mlflow.search_runs(
        experiment_names=["served"], filter_string="tags.kind = 'cell' and tags.policy = 'cql'"
    )
    assert len(cells) == 3  # those of what was replaced are gone
    [model] = mlflow.search_logged_models(
        experiment_ids=[searched["experiment_id"][0]], output_format="list"
    )
    assert model.source_run_id == second
    assert {m.dataset_digest for m in model.metrics} == {"0123"}
    client = mlflow.MlflowClient(named)
    assert [f.path for f in client.list_artifacts(second, "policy")] == ["policy/policy.json"]
    assert [r.run_id for r in tracking.recorded(second[:8])] == [second]
    assert not own_store.exists()


def test_curves_are_kept_by_a_server(named):
    curve = [(step, {"loss": 1.0 / step}) for step in (1, 2, 4)]
    tags = {"trained_policy": "cql-1"}
    tracking.log_training(name="cql-1", params={}, curve=curve, tags=tags, artefacts=None)
    assert tracking.curve("cql-1")["value"].tolist() == [1.0, 0.5, 0.25]
    with pytest.raises(NotFoundError):
        tracking.cells("0" * 32)


def test_a_server_that_is_not_there_is_named(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(EngineError, match=f"127.0.0.1:{port} did not do what was asked"):
        tracking.board()
