"""Nested runs, models, datasets, curves and episodes in MLflow's real database."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from toolkit import tracking
from toolkit import tracking_database as database
from toolkit import tracking_nested as nested
from toolkit import tracking_runs as runs
from toolkit.errors import ConfigError, CorruptError
from toolkit.tracking_client import connected

METRICS = {"score": 50.0, "iqm": 50.0, "ci_low": 48.0, "ci_high": 52.0}


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def cells(n=4, level=50.0):
    seeds = range(10_000, 10_000 + n)
    frame = pd.DataFrame({"seed": seeds, "score": level + np.arange(n, dtype=float)})
    return frame.assign(latency_mean=1000 / frame["score"])


def log(policy="cql", *, metrics=METRICS, frame=None, episode=None, model=None, **tags):
    return tracking.log_evaluation(
        suite="quick",
        policy=policy,
        metrics=metrics,
        params={},
        tags={"cell_key": policy, **tags},
        cells=cells() if frame is None else frame,
        episode=episode,
        model=model,
    )


def found(text):
    """Return what MLflow's own search finds, as a frame."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking.uri())
        return mlflow.search_runs(search_all_experiments=True, filter_string=text)


def children(run_id):
    return found(f"tags.`{runs.PARENT}` = '{run_id}'")


@pytest.fixture
def artefact(tmp_path):
    folder = tmp_path / "cql-1"
    folder.mkdir()
    (folder / "policy.json").write_text("{}")
    (folder / "policy.safetensors").write_bytes(b"weights")
    return folder


def test_every_cell_is_a_run_that_mlflow_can_compare():
    run_id = log()
    inside = children(run_id).sort_values("tags.seed")
    assert inside["tags.mlflow.runName"].tolist() == [f"seed {s}" for s in range(10_000, 10_004)]
    assert set(inside["tags.kind"]) == {"cell"}
    assert set(inside["status"]) == {"FINISHED"}
    assert inside["metrics.score"].tolist() == cells()["score"].tolist()
    assert inside["metrics.latency_mean"].tolist() == cells()["latency_mean"].tolist()
    assert inside["tags.policy"].tolist() == ["cql"] * 4
    assert tracking.board()["run_id"].tolist() == [run_id]


def test_cells_of_several_scenarios_are_named_by_them():
    frame = pd.concat([cells(2).assign(task=t) for t in ("dags", "a|b <i>\x00" + "x" * 9000)])
    frame.iloc[0, frame.columns.get_loc("score")] = math.nan
    run_id = log(frame=frame)
    inside = children(run_id)
    names = inside["tags.mlflow.runName"].tolist()
    assert sorted(n[:4] for n in names) == ["a|b ", "a|b ", "dags", "dags"]
    assert max(map(len, names)) <= 250
    assert inside["metrics.score"].notna().sum() == 3
    assert sorted(tracking.cells(run_id)["task"].unique())[1] == "dags"


def test_the_rows_of_one_transaction_are_those_of_the_client(monkeypatch):
    told = nested.of_cells(cells(), "cql")
    with connected() as client:
        quick = runs.begin(client, "quick", "quick", {})
        nested.log(client, quick, told)
        slow = runs.begin(client, "quick", "slow", {})
        monkeypatch.setattr(nested, "_database", lambda client: None)
        nested.log(client, slow, told)
    both = []
    for parent in (quick, slow):
        frame = children(parent.info.run_id).sort_values("tags.seed").reset_index(drop=True)
        for i, address in zip(frame["run_id"], frame["artifact_uri"], strict=True):
            assert address == parent.info.artifact_uri.replace(parent.info.run_id, i)
        own = ["run_id", "artifact_uri", "start_time", "end_time", f"tags.{runs.PARENT}"]
        both.append(frame.drop(columns=own))
    pd.testing.assert_frame_equal(*both, check_like=True)
    assert [len(f) for f in both] == [4, 4]


def test_an_evaluation_that_is_replaced_takes_all_with_it(artefact):
    first = log(model=artefact)
    second = log(frame=cells(level=60.0), model=artefact)
    assert children(first).empty
    assert len(children(second)) == 4
    assert len(found("tags.kind = 'cell'")) == 4
    with connected() as client:
        number = client.get_run(second).info.experiment_id
        [model] = client.search_logged_models([number])
    assert model.source_run_id == second


def test_what_stops_on_the_way_is_never_shown(monkeypatch):
    log()
    with monkeypatch.context() as patch:
        patch.setattr(nested, "log", lambda *_: 1 / 0)
        with pytest.raises(ConfigError, match="division"):
            log(frame=cells(level=60.0))
    assert tracking.board()["score"].tolist() == [50.0]
    assert len(found("tags.kind = 'cell'")) == 4
    # Who stops while the older is taken back leaves two, of which the newer is shown.
    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.delete_run", lambda *_: 1 / 0)
        with pytest.raises(ConfigError, match="division"):
            log(metrics={**METRICS, "score": 70.0})
    assert tracking.board()["score"].tolist() == [70.0]
    last = log(metrics={**METRICS, "score": 80.0})
    assert tracking.board()["score"].tolist() == [80.0]
    assert found("tags.kind = 'evaluation'")["run_id"].tolist() == [last]
    assert len(found("tags.kind = 'cell'")) == 4


def test_nested_runs_are_all_there_or_none(monkeypatch):
    told = nested.of_cells(cells(), "cql")
    broken = nested.Nested(name="seed 1", metrics={"score": None}, tags={})
    with connected() as client:
        parent = runs.begin(client, "quick", "cql", {})
    with pytest.raises(ConfigError), connected() as client:
        nested.log(client, parent, [*told, broken])
    assert children(parent.info.run_id).empty


def test_a_score_carries_its_model_and_the_digest_of_its_dataset(artefact):
    digest = "d" * 64
    run_id = log(
        model=artefact, dataset="genomics", dataset_digest=digest, trained_policy="cql-1",
        calibration="c1", commit="abc", schema="3",
    )  # fmt: skip
    with connected() as client:
        run = client.get_run(run_id)
        [data] = run.inputs.dataset_inputs
        [model] = client.search_logged_models([run.info.experiment_id])
        names = [f.path for f in client.list_artifacts(run_id, "policy")]
        kept = [f.path for f in client.list_logged_model_artifacts(model.model_id)]
    assert (data.dataset.name, data.dataset.digest) == ("genomics", digest[:36])
    assert [m.model_id for m in run.outputs.model_outputs] == [model.model_id]
    assert model.tags["trained_policy"] == "cql-1"
    scores = {m.key: m for m in model.metrics}
    assert scores["score"].value == 50.0
    assert scores["score"].dataset_digest == digest[:36]
    assert kept == ["policy.json", "policy.safetensors"]
    assert names == [f"policy/{name}" for name in kept]
    for name, value in {"calibration": "c1", "commit": "abc", "schema": "3"}.items():
        assert run.data.tags[name] == value


def test_a_model_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is none"):
        log(model=tmp_path / "nowhere")


def test_a_policy_that_failed_comes_last_without_a_score():
    log("fine", metrics={**METRICS, "score": -5.0, "chosen": 41.0})
    frame = pd.DataFrame({"seed": [10_000, 10_001], "latency_mean": [1.0, None]})
    message = "no slot is allowed <b>|"
    run_id = log("broken", metrics={"failed": 1}, frame=frame, failure=message)
    board = tracking.board()
    assert board["policy"].tolist() == ["fine", "broken"]
    assert board["failed"].tolist() == [0.0, 1.0]
    assert board["failure"].tolist() == ["", message]
    assert board["chosen"][0] == 41.0
    assert np.isnan(board["score"][1])
    assert np.isnan(board["ci_low"][1])
    assert tracking.cells(run_id)["seed"].tolist() == [10_000, 10_001]
    with pytest.raises(ConfigError, match="'score'"):
        log("whole", frame=frame)


def test_the_board_is_searched_in_the_order_of_the_score():
    import mlflow

    for policy, score in (("a", 3.0), ("b", 9.0), ("c", 3.0), ("d", 7.0)):
        log(policy, metrics={**METRICS, "score": score})
    log("e", metrics={"failed": 2.0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking.uri())
        searched = mlflow.search_runs(
            experiment_names=["quick"],
            filter_string="tags.kind = 'evaluation'",
            order_by=["metrics.score DESC", "tags.policy ASC"],
        )
    assert tracking.board()["run_id"].tolist() == searched["run_id"].tolist()
    np.testing.assert_array_equal(tracking.board()["score"], searched["metrics.score"])


def test_episodes_come_back_and_damage_is_named(own_store):
    told = {"task": "dags", "seed": 10_000, "bars": [[0, 1, 0, 0.5, 1.25]], "choices": None}
    run_id = log(episode=told)
    assert tracking.episode(run_id) == told
    assert tracking.episode(log("other")) is None
    assert tracking.episode("0" * 32) is None
    [file] = (own_store / "tracking" / "artifacts").rglob("episode.json")
    file.write_text("{")
    with pytest.raises(CorruptError, match=r"episode\.json of run"):
        tracking.episode(run_id)


def test_the_curve_of_a_policy_is_that_of_its_newest_training():
    def train(offset):
        curve = [(s, {"loss": offset + s, "gate": 0.5 * s}) for s in (20, 10)]
        tags = {"trained_policy": "cql-1"}
        tracking.log_training(name="n", params={}, curve=curve, tags=tags, artefacts=None)

    assert tracking.curve("cql-1").empty
    train(5.0)
    train(7.0)
    curve = tracking.curve("cql-1")
    assert list(curve.columns) == ["metric", "step", "value"]
    assert curve.to_numpy().tolist() == [
        ["gate", 10, 5.0], ["gate", 20, 10.0], ["loss", 10, 17.0], ["loss", 20, 27.0],
    ]  # fmt: skip
    for other in ("cql-2", "", "x' or tags.kind = 'training", "x" * 10_000):
        assert tracking.curve(other).empty


def test_runs_are_found_by_the_start_of_their_ids():
    run_id = log(calibration="c1")
    made = tracking.log_training(
        name="n", params={"a": 1}, curve=[(1, {"loss": 2.0})], tags={}, artefacts=None
    )
    [evaluation] = tracking.recorded(run_id[:12])
    assert (evaluation.run_id, evaluation.kind, evaluation.name) == (run_id, "evaluation", "cql")
    assert evaluation.metrics["score"] == 50.0
    assert evaluation.tags["calibration"] == "c1"
    [training] = tracking.recorded(made)
    assert (training.kind, training.name, training.params) == ("training", "n", {"a": "1"})
    [child, *_] = children(run_id)["run_id"]
    for start in (run_id[:5], "", "%", "zzzzzz", run_id + "0", child):
        assert tracking.recorded(start) == []


def test_the_database_read_as_it_lies_says_what_mlflow_says(monkeypatch):
    log("replaced")
    log("replaced", metrics={**METRICS, "score": 51.0, "latency_mean": math.nan})
    run_id = log("'quoted' % _ *", calibration_error=0.04, episode={"seed": 1})
    log("broken", metrics={"failed": 3}, failure="no")
    curve = [(2, {"loss": math.nan}), (1, {"loss": 2.0, "gate": 1.0}), (1, {"loss": 3.0})]
    made = {"trained_policy": "cql-1"}
    tracking.log_training(name="cql-1", params={"a": 1}, curve=curve, tags=made, artefacts=None)

    def all_of_it():
        return (
            tracking.board(), tracking.board("quick"), tracking.curve("cql-1"),
            pd.DataFrame(vars(r) for r in tracking.recorded(run_id[:6])), tracking.cells(run_id),
            pd.DataFrame([tracking.episode(run_id)]),
            pd.DataFrame([tracking.find_evaluation("quick", "broken")]),
        )  # fmt: skip

    direct = all_of_it()
    monkeypatch.setattr(database, "REVISION", "of another day")
    asked = all_of_it()
    assert [len(f) for f in direct] == [3, 3, 4, 1, 4, 1, 1]
    for mine, theirs in zip(direct, asked, strict=True):
        pd.testing.assert_frame_equal(mine, theirs)


def test_reading_waits_for_no_mlflow():
    run_id = log()
    code = (
        f"import sys; from toolkit import tracking; tracking.cells({run_id!r}); tracking.board();"
        "tracking.curve('cql-1'); print([m for m in ('mlflow', 'sqlalchemy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_documented_search_is_the_board():
    for policy, score in (("a", 3.0), ("b", 9.0), ("c", 7.0)):
        log(policy, metrics={**METRICS, "score": score})
    text = (Path(__file__).parents[1] / "docs" / "record.md").read_text("utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking.uri()}
    words = [sys.executable, "-c", code]
    out = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    shown = [line.split() for line in out.splitlines()]
    assert shown == tracking.board()[["policy", "score"]].astype(str).to_numpy().tolist()
