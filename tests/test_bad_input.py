"""What goes wrong at the command line is one clear sentence, exit code not 0, nothing lost."""

from __future__ import annotations

import json
import socket

import pytest

from tests.recordings import record
from toolkit import trace as traces
from toolkit.cli import main
from toolkit.store import Store


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Return exit code and what was said on stderr."""
    code = main(list(words))
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, said


@pytest.fixture
def made():
    store = Store()
    traces.write(record(), store.partial("traces", "made"))
    return store.commit("traces", "made", inputs={}, about={})


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["train", "+algo=cql"], "there is no trace yet", "toolkit collect"),
        (["train", "+algo=cql", "dataset=nope"], "there is no dataset 'nope'", "toolkit dataset"),
        (["dataset", "build", "trace=nope"], "there is no trace 'nope'", "toolkit collect"),
        (["dataset", "build"], "there is no trace yet", "toolkit collect"),
        (["dataset", "build", "id=x"], "is no id of a dataset", "toolkit dataset list"),
        (["dataset", "build", "id=placement/x-real-v1"], "nothing makes it again", "shipped"),
        (["dataset", "build", "append=true", "id=placement/x-mixed-v1"], "needs the trace", ""),
        (["dataset", "show"], "id needs a value", ""),
        (["dataset", "show", "id=nope"], "there is no dataset 'nope'", "toolkit dataset list"),
        (["dataset", "verify", "id=s3a://x/y"], "nothing here reads s3a://", "fsspec"),
        (["dataset", "diff", "a=x"], "b needs a value", ""),
        (["dataset", "list", "what=their"], "there is no place of datasets", ""),
        (["dataset", "shw"], "did you mean 'show'", "toolkit dataset --help"),
        (["build"], "did you mean 'dataset build'", ""),
        (["evaluate"], "there is no trace yet", "toolkit collect"),
        (["leaderboard"], "there is no trace yet", "toolkit collect"),
        (["train", "dataset=x"], "choose an algo", "+algo="),
        (["train", "+algo=cqll"], "did you mean", "cql"),
        (["train", "+algo=cql", "algo.alhpa=1"], "alhpa", "alpha"),
        (["train", "+algo=cql", "algo.alpha=-1"], "alpha must not be negative", ""),
        (["collect", "ray.address=127.0.0.1:1"], "no Ray cluster answers", "ray start --head"),
        (["collect", "ray.address=nonsense"], "host:port", "127.0.0.1:6379"),
        (["collect", "collector.fastq=/no/such"], "names no file", "FASTQ"),
        (["collect", "collector.behaviours=[statik]"], "did you mean 'static'", ""),
        (["collect", "ray.store_memory=99999999"], "shared memory", "ray.store_memory"),
    ],
)
def test_a_mistake_is_one_sentence_with_what_to_type_next(capsys, words, said, hint):
    code, text = run(capsys, *words)
    assert code != 0
    assert said in text
    assert hint in text


def test_a_trace_of_another_version_is_refused(capsys, made):
    file = made.path / "provenance.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 7}))
    manifest = json.loads((made.path / "manifest.json").read_text())
    from toolkit.store import sha256

    manifest["files"]["provenance.json"]["sha256"] = sha256(file)
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    code, text = run(capsys, "calibrate")
    assert code == 2
    assert "schema version 7; this release reads 2" in text


def test_a_truncated_table_is_found_by_its_checksum(capsys, made):
    file = made.path / "tasks.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    code, text = run(capsys, "calibrate")
    assert code == 2
    assert "tasks.parquet is not what was written" in text
    assert "toolkit collect force=true" in text


def test_a_truncated_dataset_is_found_and_built_again(capsys, made):
    assert run(capsys, "dataset", "build")[0] == 0
    [dataset] = Store().list("datasets")
    part = dataset.path / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:200])
    code, text = run(capsys, "train", "+algo=cql", "algo.n_steps=5")
    assert code == 2
    assert "part-00000.parquet is not what was written" in text
    assert "toolkit dataset build force=true" in text
    code, text = run(capsys, "dataset", "verify", f"id={dataset.id}")
    assert code == 2
    assert "part-00000.parquet is not what was written" in text
    assert run(capsys, "dataset", "build", "force=true", f"id={dataset.id}", "trace=made")[0] == 0
    assert run(capsys, "dataset", "verify", f"id={dataset.id}")[0] == 0
    Store().verify(Store().get("datasets"))


def test_a_taken_port_is_refused_before_any_work(capsys, made):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, text = run(capsys, "leaderboard", "serve=true", f"port={port}")
    assert code == 3
    assert str(port) in text
    assert "serve=true port=" in text
