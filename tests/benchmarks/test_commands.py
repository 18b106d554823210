"""The commands ``toolkit dataset …`` as people and scripts use them."""

import json
import shutil

import pytest

from tests.data.small import dataset
from toolkit import cli
from toolkit.data.audit import audit
from toolkit.data.dataset import load_dataset
from toolkit.store import Store


@pytest.fixture
def run(capsys):
    def call(*words, code=0):
        found = cli.main(["dataset", *words, "format=json"])
        out = capsys.readouterr().out
        assert found == code, out
        return json.loads(out)

    return call


@pytest.fixture
def simulated(capsys):
    """Traces of a few simulated runs, in the store of this test."""

    def call(name, scenario, seed=0):
        words = [
            "collect", "+collector=simulated", f"scenario={scenario}", f"trace={name}",
            "collector.runs=3", "collector.behaviours=[random]", f"seed={seed}",
        ]  # fmt: skip
        assert cli.main(words) == 0
        capsys.readouterr()
        return Store().get("traces", name)

    return call


def test_list_says_what_is_here_shipped_and_to_build(run):
    dataset("allocation")
    found = run("list")
    assert [d["id"] for d in found["here"]] == ["allocation/tiny-mixed-v1"]
    ids = {b["id"] for b in found["benchmarks"]}
    assert {"placement/workflows-8-stream-expert-v1", "configuration/paper-b-replay-v1"} <= ids
    assert set(run("list", "what=here")) == {"here"}


def test_show_prints_the_card_and_writes_the_page(run, tmp_path):
    data = dataset("placement")
    card = run("show", f"id={data.id}", f"out={tmp_path / 'page'}")
    assert card["id"] == data.id and card["reference"]["bound"]["value"]
    assert {f.name for f in (tmp_path / "page").iterdir()} == {"README.md", "card.yaml", "card.png"}


def test_verify_answers_for_one_and_for_all(run):
    for family in ("placement", "configuration"):
        dataset(family)
    [one] = run("verify", "id=placement/tiny-mixed-v1")["datasets"]
    assert one["problems"] == [] and one["rows"] > 100
    here = [d["dataset"] for d in run("verify", "id=all")["datasets"]]
    assert {"placement/tiny-mixed-v1", "configuration/tiny-mixed-v1"} <= set(here)
    file = Store().root / "datasets/placement/tiny-mixed-v1/part-00000.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    told = run("verify", "id=all", code=2)["error"]
    assert "part-00000.parquet is not what was written" in told["message"]
    assert "placement/tiny-mixed-v1: make it again" in told["hint"]
    assert "configuration/tiny-mixed-v1: sound" in told["hint"]


def test_reference_scores_are_measured_again(run, monkeypatch):
    name = "allocation/genomics-open-random-v1-sample"
    run("build", f"id={name}")
    assert run("verify", f"id={name}", "scores=true")["datasets"][0]["scores"] == []
    file = Store().root / "datasets" / name / "card.yaml"
    value = load_dataset(name).card.reference["random"]["value"]
    file.write_text(file.read_text().replace(f"value: {value}", "value: 7.0"))
    manifest = file.with_name("manifest.json")
    from toolkit.store import sha256

    told = json.loads(manifest.read_text())
    told["files"]["card.yaml"]["sha256"] = sha256(file)
    manifest.write_text(json.dumps(told))
    error = run("verify", f"id={name}", "scores=true", code=2)["error"]
    assert f"the reference score random is {value}, the card says 7.0" in error["message"]


@pytest.mark.parametrize("scenario", ["workflows_tiny", "genomics_tiny", "batches_tiny"])
def test_a_trace_becomes_a_dataset_and_grows_by_another(run, simulated, scenario):
    simulated("first", scenario)
    simulated("second", scenario, seed=50)
    built = run("build", "trace=first")
    data = load_dataset(built["dataset"])
    assert audit(data).problems == []
    assert data.card.traces[0]["same_as_recorded"] == 1.0
    assert run("build", "trace=first")["dataset"] == built["dataset"]
    grown = run("build", "trace=second", f"id={built['dataset']}", "append=true")
    assert grown["card"]["episodes"] == 6
    assert [t["id"] for t in grown["card"]["traces"]] == ["first", "second"]
    assert audit(load_dataset(built["dataset"])).problems == []
    again = run("build", "trace=second", f"id={built['dataset']}", "append=true", code=2)
    assert "holds trace second already" in again["error"]["message"]


def test_another_discount_is_another_version(run, simulated):
    simulated("first", "genomics_tiny")
    one = run("build", "trace=first", "discount_seconds=2")["dataset"]
    two = run("build", "trace=first", "discount_seconds=9")["dataset"]
    assert (one, two) == ("allocation/first-mixed-v1", "allocation/first-mixed-v2")
    assert run("build", "trace=first", "discount_seconds=2")["dataset"] == one
    told = run("build", "trace=first", "discount_seconds=3", f"id={one}", code=2)["error"]
    assert "with other settings" in told["message"]


def test_diff_tells_cards_columns_and_episodes_apart(run, tmp_path):
    data = dataset("allocation")
    copy = tmp_path / "copy"
    shutil.copytree(data.place.local, copy)
    same = run("diff", f"a={data.id}", f"b={copy}")
    assert same["same"] and same["both"] == 12 and same["only_a"] == same["only_b"] == 0
    other = run("diff", f"a={data.id}", f"b={dataset('placement').place.local}")
    assert not other["same"] and other["both"] == 0
    assert other["columns"]["family"] == ["allocation", "placement"]


def test_real_logs_of_strangers_become_datasets(run, reference_data, capsys):
    log = reference_data / "data" / "spark" / "eventlog_4nodes_8cores_dynamic_alloc.zstd"
    words = ["collect", "+collector=spark", f"collector.path={log}", "trace=spark"]
    assert cli.main(words) == 0
    capsys.readouterr()
    data = load_dataset(run("build", "trace=spark")["dataset"])
    assert audit(data).problems == []
    assert data.card.inferred == 1.0 and data.card.traces[0]["same_as_recorded"] == 1.0
    rows = data.table()
    assert rows["propensity"].null_count == len(rows)
    assert len(data) == data.card.transitions == 475
    transitions = data.transitions()
    assert (transitions.action >= 0).sum() > 0
