"""The record: what goes in comes out, whatever it is called, and damage is named."""

import contextlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from toolkit import tracking, tracking_files
from toolkit.errors import ConfigError, CorruptError, NotFoundError, ResourceError, SchemaError

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b`c*_[x](http://y)",
    "x" * 10_000,
    "line\nbreak\ttab\x00nul\x1b[31m",
    "\ud800 lone",
    "schön 調度 \u202e '; DROP TABLE runs; --",
    "%s{{7*7}}",
    "",
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Make an empty database once; the tests copy it."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_DATASETS", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking.log_training(name="first", params={}, curve=[], tags={}, artefacts=None)
    return root / "tracking" / "mlflow.db"


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def store(own_store, template):
    (own_store / "tracking").mkdir(parents=True)
    shutil.copy(template, own_store / "tracking" / "mlflow.db")
    return own_store


def scores(n=8, level=50.0):
    rng = np.random.default_rng(n)
    frame = pd.DataFrame({"seed": range(n), "score": level + rng.normal(0, 5, n)})
    return frame.assign(latency_mean=1000 / frame["score"])


def log(policy="static", *, suite="quick", key=None, level=50.0, cells=None, **tags):
    cells = scores(level=level) if cells is None else cells
    return tracking.log_evaluation(
        suite=suite,
        policy=policy,
        metrics={"score": level, "IQM": level + 0.1, "ci_low": level - 2, "ci_high": level + 2},
        params={"policy": policy, "horizon": 60},
        tags={"cell_key": key or f"{suite}-{policy}", "learned": "false", **tags},
        cells=cells,
    )


def test_importing_is_quick():
    code = (
        "import sys, toolkit.tracking; print([m for m in ('mlflow', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_reading_an_empty_record_creates_nothing(own_store):
    assert tracking.board().empty
    assert list(tracking.board().columns) == list(tracking.COLUMNS)
    assert tracking.find_evaluation("quick", "k") is None
    with pytest.raises(NotFoundError):
        tracking.cells("0" * 32)
    assert not own_store.exists()


def test_creation_is_said_once_and_quietly(tmp_path):
    log_it = "t.log_training(name='n', params={}, curve=[], tags={}, artefacts=None)"
    code = f"from toolkit import tracking as t\nfor _ in 'ab': {log_it}"
    root = tmp_path / "with space #é"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "TOOLKIT_DATASETS": str(root),
            "PYTHONPATH": ":".join(sys.path),
        },
    )
    assert out.stdout == ""
    assert out.stderr.strip().splitlines() == [
        f"preparing the MLflow database {root}/tracking/mlflow.db (once, some seconds)"
    ]
    assert [p.name for p in tmp_path.iterdir()] == [root.name]  # no stray mlruns folder
    assert {p.name for p in (root / "tracking").iterdir()} <= {"mlflow.db", "artifacts"}


def test_training_is_recorded_whole(store, tmp_path):
    import mlflow

    (folder := tmp_path / "policy").mkdir()
    (folder / "weights.bin").write_bytes(b"12")
    curve = [(step, {"loss": 1 / (step + 1), "q (mean)": float("nan")}) for step in range(1500)]
    params = {f"p{i}": "v" * 9000 for i in range(230)} | {"a|b": 1, "a_b": 2}
    run_id = tracking.log_training(
        name="cql", params=params, curve=curve, tags={"dataset": "d"}, artefacts=folder
    )
    client = mlflow.MlflowClient(tracking.uri())
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "training"
    assert len(run.data.params) == 232
    assert {len(run.data.params[f"p{i}"]) for i in range(230)} == {6000}
    assert (run.data.params["a_b"], run.data.params["a_b_2"]) == ("1", "2")
    history = client.get_metric_history(run_id, "loss")
    assert sorted((m.step, m.value) for m in history) == [(s, c["loss"]) for s, c in curve]
    assert [f.path for f in client.list_artifacts(run_id)] == ["weights.bin"]
    assert run.data.tags["dataset"] == "d"
    assert tracking.board().empty  # a training is no evaluation


def test_the_board_is_what_search_runs_finds(store):
    import mlflow

    log("b", level=60.0, engine="simulated", calibration="c1", calibration_error=0.041)
    log("a", level=60.0, learned="true", commit="abc", command="toolkit evaluate policy=a")
    log("c", level=70.0, suite="other")
    board = tracking.board()
    assert board["policy"].tolist() == ["c", "a", "b"]
    assert board["learned"].tolist() == [False, True, False]
    assert board["n_seeds"].tolist() == [8, 8, 8]
    assert board["iqm"].tolist() == [70.1, 60.1, 60.1]
    assert tracking.board("quick")["policy"].tolist() == ["a", "b"]
    assert tracking.board("never").empty

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking.uri())
        found = mlflow.search_runs(search_all_experiments=True)
    found = found[found["tags.kind"] == "evaluation"]
    found = found.sort_values(
        ["metrics.score", "tags.policy"], ascending=[False, True]
    ).reset_index(drop=True)
    for name in tracking.NUMBERS:
        expected = found.get(f"metrics.{name}", pd.Series(np.nan, index=found.index))
        np.testing.assert_array_equal(board[name], expected.astype(float))
    for name in set(tracking.TEXTS) - {"learned", "calibration_error"}:
        expected = found.get(f"tags.{name}", pd.Series("", index=found.index)).fillna("")
        assert board[name].tolist() == [v or "" for v in expected]
    assert board["learned"].tolist() == (found["tags.learned"] == "true").tolist()
    np.testing.assert_array_equal(
        board["calibration_error"], pd.to_numeric(found["tags.calibration_error"])
    )
    assert board["run_id"].tolist() == found["run_id"].tolist()
    assert board["created"].tolist() == found["start_time"].tolist()


def test_cells_come_back_exactly(store):
    cells = scores(5)
    cells.loc[2, "latency_mean"] = np.nan
    run_id = log(cells=cells)
    pd.testing.assert_frame_equal(tracking.cells(run_id), cells)


def test_the_same_evaluation_again_replaces_the_older(store):
    first = log(level=50.0, key="k")
    second = log(level=51.0, key="k")
    assert first != second
    assert tracking.find_evaluation("quick", "k") == second
    assert tracking.board()[["score", "run_id"]].to_numpy().tolist() == [[51.0, second]]
    log(level=52.0, key="k", suite="other")
    assert tracking.find_evaluation("quick", "k") == second
    assert len(tracking.board()) == 2


def test_many_writers_leave_one_run_each(store):
    threads = [
        threading.Thread(target=log, args=(f"p{i % 3}",), kwargs={"suite": "new"}) for i in range(9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(tracking.board("new")["policy"]) == ["p0", "p1", "p2"]


def test_an_unfinished_evaluation_is_never_shown(store, monkeypatch):
    log(level=50.0, key="k")
    monkeypatch.setattr("mlflow.MlflowClient.set_terminated", lambda *_: 1 / 0)
    with pytest.raises(ConfigError, match="division"):
        log(level=60.0, key="k")
    assert tracking.board()["score"].tolist() == [50.0]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_survive(store, name):
    run_id = log(name, key=f"key of '{name}'", command=name)
    board = tracking.board()
    assert len(board) == 1
    shown = board["policy"][0]
    assert shown == tracking_files.clean(name, 8000)
    assert len(shown) <= 8000
    assert shown[:7999] == name[:7999] or not name.isprintable()
    assert tracking.find_evaluation("quick", f"key of '{name}'") == run_id
    suite = log("p", suite=name, key="s")
    assert suite in tracking.board(name)["run_id"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"score": 1.0}}, "iqm, ci_low, ci_high"),
        ({"tags": {}}, "cell_key"),
        ({"cells": pd.DataFrame({"score": [1.0]})}, "'seed'"),
        ({"cells": pd.DataFrame({"seed": [1, 1], "score": [1.0, 2.0]})}, "once"),
    ],
)
def test_incomplete_evaluations_are_refused(own_store, change, message):
    whole = {
        "suite": "s",
        "policy": "p",
        "metrics": {"score": 1, "IQM": 1, "ci_low": 0, "ci_high": 2},
        "params": {},
        "tags": {"cell_key": "k"},
        "cells": scores(),
    }
    with pytest.raises(ConfigError, match=message):
        tracking.log_evaluation(**{**whole, **change})
    assert not own_store.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:50],
        lambda data: b"not a database at all " * 500,
        lambda data: data[:100] + b"\xff" * 40_000 + data[40_100:],
    ],
    ids=["half", "stump", "foreign", "scribbled"],
)
def test_damaged_databases_are_named(store, damage):
    file = store / "tracking" / "mlflow.db"
    file.write_bytes(damage(file.read_bytes()))
    before = file.read_bytes()
    for use in (tracking.board, log, lambda: tracking.find_evaluation("quick", "k")):
        with pytest.raises(CorruptError, match=r"mlflow\.db.*is damaged or truncated"):
            use()
    assert file.read_bytes() == before


def test_another_programs_database_is_left_alone(own_store):
    file = own_store / "tracking" / "mlflow.db"
    file.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(file)) as base:
        base.execute("CREATE TABLE recipes (name TEXT)")
        base.commit()
    with pytest.raises(CorruptError, match="not one of MLflow's"):
        log()


def test_a_database_of_another_mlflow_is_named(store):
    with contextlib.closing(sqlite3.connect(store / "tracking" / "mlflow.db")) as base:
        base.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        base.commit()
    with pytest.raises(SchemaError, match="another version of MLflow"):
        tracking.board()


def test_lost_or_damaged_cells_are_named(store):
    run_id = log()
    [file] = (store / "tracking" / "artifacts").rglob("cells.json")
    file.write_text("[{")
    with pytest.raises(CorruptError, match="damaged"):
        tracking.cells(run_id)
    file.unlink()
    with pytest.raises(NotFoundError, match="no per-seed results"):
        tracking.cells(run_id)
    assert len(tracking.board()) == 1


def test_a_folder_as_tracking_uri_is_refused(own_store, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    with pytest.raises(ConfigError, match="unset MLFLOW_TRACKING_URI"):
        log()


def test_ports_are_checked_before_anything_starts(store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port}") as caught:
            tracking.serve(port)
    prefix = "toolkit leaderboard serve=true port="
    assert caught.value.hint.startswith(prefix)
    tracking_files.require_port(int(caught.value.hint.removeprefix(prefix)))
    for wrong in (0, 70_000, "x", True, None):
        with pytest.raises(ConfigError, match="port must be"):
            tracking_files.require_port(wrong)


@pytest.mark.slow
def test_the_server_answers_and_is_stopped(store, tmp_path):
    log("static")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = tmp_path / "said"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", f"from toolkit import tracking; tracking.serve({port})"],
            stderr=stream,
            cwd=Path(tracking.__file__).parents[1],
        )
    try:
        end = time.monotonic() + 90
        while "http://" not in output.read_text() and time.monotonic() < end:
            assert process.poll() is None, output.read_text()
            time.sleep(0.2)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
            data=json.dumps({"max_results": 10}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            names = {e["name"] for e in json.load(answer)["experiments"]}
        assert "quick" in names
    finally:
        process.terminate()
        assert process.wait(30) == 0
    tracking_files.require_port(port)  # nobody listens any more
