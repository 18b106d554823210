"""Datasets in the store: atomic, growing while they are read, from folders and URLs alike."""

import json
import multiprocessing
import shutil
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

import toolkit
from tests.data.small import dataset
from toolkit.benchmarks.generate import simulate
from toolkit.benchmarks.grow import grow
from toolkit.data.audit import audit
from toolkit.data.card import DatasetCard, DatasetId
from toolkit.data.dataset import load_dataset, opened
from toolkit.data.place import Place
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError
from toolkit.policies.random import Random
from toolkit.store import Store


@pytest.fixture
def data():
    return dataset("allocation")


def test_a_dataset_is_found_by_id_folder_and_url(data):
    folder = data.place.local
    for where in (data.id, folder, str(folder), f"file://{folder}"):
        again = load_dataset(where)
        assert again.card == data.card
        assert again.table().equals(data.table())


def test_a_dataset_is_read_from_any_filesystem_that_fsspec_knows(data):
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in data.place.local.iterdir():
        memory.pipe(f"/bucket/{data.id}/{file.name}", file.read_bytes())
    there = load_dataset(f"memory://bucket/{data.id}")
    assert there.table().equals(data.table())
    assert audit(there).problems == []
    np.testing.assert_array_equal(there.transitions().action, data.transitions().action)


def test_what_is_not_there_is_named_with_its_neighbours(data):
    with pytest.raises(NotFoundError, match="did you mean") as caught:
        load_dataset(data.id.replace("mixed", "mxied"))
    assert "toolkit dataset list" in caught.value.hint
    with pytest.raises(NotFoundError):
        load_dataset("memory://nowhere/at/all")
    with pytest.raises(ConfigError, match="nothing here reads"):
        load_dataset("gopher://x/y")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../b", "A/b", ""])
def test_an_id_cannot_climb_out(name):
    with pytest.raises(ConfigError, match=r"is no id of a dataset"):
        DatasetId.parse(name)
    if name:
        with pytest.raises(NotFoundError):
            load_dataset(f"placement/{name}-mixed-v1/../../x")


def test_a_manifest_cannot_name_files_elsewhere(data, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(data.place.local, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../secret"] = manifest["files"].pop("card.yaml")
    manifest["about"]["card"] = "../../secret"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptError, match="cannot be the name of a file"):
        _ = load_dataset(folder).card


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"files": 3}', "[" * 99_999])
def test_a_damaged_manifest_is_refused(data, text):
    (data.place.local / "manifest.json").write_text(text)
    with pytest.raises(CorruptError, match=r"manifest\.json"):
        opened(data.place)


def test_another_layout_version_is_refused(data):
    file = data.place.local / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    with pytest.raises(SchemaError, match="layout version 99"):
        opened(data.place)


def test_ids_say_family_workload_tier_and_version():
    name = DatasetId.parse("placement/a-b.c-real-v12-sample")
    assert (name.family, name.workload, name.tier, name.version) == (
        "placement",
        "a-b.c",
        "real",
        12,
    )
    assert name.sample and str(name) == "placement/a-b.c-real-v12-sample"
    for wrong in ("placement/x-medium-v1", "dance/x-real-v1", "placement/x-real-v0", "x-real-v1"):
        with pytest.raises(ConfigError, match="no id of a dataset"):
            DatasetId.parse(wrong)


def test_splits_of_rows_are_whole_episodes(data):
    numbers = {s: data.numbers(s) for s in ("train", "workload", "time")}
    assert sorted(n for own in numbers.values() for n in own) == data.numbers()
    for split, own in numbers.items():
        found = data.table(split, ["episode"])["episode"].unique().to_pylist()
        assert found == own
    with pytest.raises(NotFoundError, match="did you mean 'train'"):
        data.numbers("trian")


def test_a_score_is_a_hundred_for_the_best_and_nothing_for_random(data):
    card = data.card
    assert card.score(card.reference["random"]["value"]) == 0
    assert card.score(card.reference["best"]["value"]) == 100
    assert card.reference["bound"]["value"] >= card.reference["best"]["value"]


def test_a_card_survives_yaml_and_damage_is_refused(data):
    text = data.card.to_yaml()
    assert DatasetCard.from_yaml(text, "x") == data.card
    for wrong in ("", "3", "[]", text.replace("episodes:", "pisodes:"), "{" * 5000, text + "\n: ["):
        with pytest.raises(CorruptError, match="is damaged"):
            DatasetCard.from_yaml(wrong, "x")
    with pytest.raises(CorruptError, match="episodes is str"):
        DatasetCard.from_yaml(
            text.replace(f"\nepisodes: {data.card.episodes}", "\nepisodes: x"), "x"
        )
    with pytest.raises(CorruptError, match="damaged"):
        DatasetCard.from_yaml("!!python/object/apply:os.system ['true']", "x")


def test_ten_lines_from_data_to_a_rollout(data):
    env = toolkit.make(toolkit.load_dataset(data.id))
    observation, info = env.reset(seed=20_000)
    total, over = 0.0, False
    while not over:
        action = int(np.argmax(observation["mask"]))
        observation, reward, terminated, truncated, info = env.step(action)
        total, over = total + reward, terminated or truncated
    assert info["metrics"]["return"] == pytest.approx(total)
    assert data.card.score(total) == pytest.approx(data.card.score(info["metrics"]["return"]))


@pytest.mark.parametrize(
    "word",
    [
        "scenario._target_=os.system",
        "+scenario=x",
        "scenario.graphs={_target_: os.system}",
        "scenario.name=${oc.env:HOME}",
        "hydra.run.dir=/",
        "~scenario",
        3,
    ],
)
def test_a_strangers_card_cannot_change_what_is_instantiated(data, word):
    card = DatasetCard(
        **{**vars(data.card), "scenario": {"name": "genomics_tiny", "overrides": [word]}}
    )
    with pytest.raises(ConfigError, match="changes its scenario by"):
        card.played()


def test_loading_needs_neither_ray_nor_spark_nor_d3rlpy(data):
    code = (
        "import sys, toolkit; d = toolkit.load_dataset(sys.argv[1]); d.transitions(); "
        "toolkit.make(d).reset(seed=1); "
        "print([m for m in ('ray', 'pyspark', 'd3rlpy', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, data.id], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def _more(seed, count=2):
    scenario = scenario_of("genomics_tiny")

    def write(writer):
        for k in range(count):
            writer.add(*simulate(scenario, Random(), seed + k, writer.described))

    return write


def test_growing_adds_parts_and_changes_no_file(data):
    before = {f.name: f.read_bytes() for f in data.place.local.iterdir() if f.is_file()}
    rows, episodes = len(data.table()), len(data.episodes)
    grow(Store(), data.id, data.described, _more(500))
    for name in data.manifest["files"]:
        assert (data.place.local / name).read_bytes() == before[name]
    # Who opened it before still reads what it opened.
    assert len(data.table()) == rows and audit(data).problems == []
    grown = load_dataset(data.id)
    assert len(grown.episodes) == episodes + 2 == grown.card.episodes
    assert grown.parts == ["part-00000.parquet", "part-00001.parquet"]
    assert audit(grown).problems == []
    assert grown.table().slice(0, rows).equals(data.table())
    assert grown.episodes["split"].to_pylist()[:episodes] == data.episodes["split"].to_pylist()
    grow(Store(), data.id, data.described, _more(600))
    assert audit(load_dataset(data.id)).problems == []


def test_growing_refuses_what_does_not_belong(data):
    with pytest.raises(ConfigError, match="other columns"):
        grow(Store(), data.id, dataset("configuration").described, _more(500))
    grow(Store(), data.id, data.described, _more(500))
    with pytest.raises(ConfigError, match=r"are in .* already"):
        grow(Store(), data.id, data.described, _more(500))
    assert audit(load_dataset(data.id)).problems == []
    with pytest.raises(NotFoundError):
        grow(Store(), "allocation/x-mixed-v1", data.described, _more(500))


def _grow_in_a_process(name, seed):
    grow(Store(), name, load_dataset(name).described, _more(seed))


def test_writers_wait_for_each_other_and_readers_always_find_a_whole_dataset(data):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_grow_in_a_process, args=(data.id, s)) for s in (700, 800)]
    for w in writers:
        w.start()
    seen = set()
    while any(w.is_alive() for w in writers):
        now = load_dataset(data.id)
        assert len(now.table()) == sum(now.episodes["rows"].to_pylist())
        assert now.card.episodes == len(now.episodes)
        seen.add(len(now.episodes))
        time.sleep(0.01)
    assert [w.exitcode for w in writers] == [0, 0]
    last = load_dataset(data.id)
    assert len(last.episodes) == len(data.episodes) + 4
    assert audit(last).problems == []
    assert seen <= {len(data.episodes) + k for k in (0, 2, 4)}


def test_a_dataset_that_is_made_again_is_never_absent(data):
    store, done = Store(), []
    context = multiprocessing.get_context("spawn")
    reader = context.Process(target=_read_for, args=(data.id, 3.0))
    reader.start()
    while reader.is_alive():
        folder = store.partial("datasets", data.id)
        for file in data.place.local.iterdir():
            if file.name != "manifest.json":
                shutil.copy(file, folder / file.name)
        store.commit(
            "datasets",
            data.id,
            inputs={},
            about=data.manifest["about"],
            views=("README.md", "card.png"),
        )
        done.append(1)
    assert reader.exitcode == 0
    assert len(done) > 3


def _read_for(name, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        load_dataset(name)


def test_what_was_cut_short_while_growing_is_not_seen(data):
    folder = data.place.local
    (folder / "part-00001.parquet").write_bytes(b"half")
    (folder / ".append").mkdir()
    (folder / ".append" / "part-00001.parquet").write_bytes(b"half")
    assert audit(load_dataset(data.id)).problems == []
    grow(Store(), data.id, data.described, _more(500))
    assert audit(load_dataset(data.id)).problems == []


def test_plain_parquet_readers_need_nothing_of_ours(data):
    frame = pq.read_table(data.place.local / "part-00000.parquet").to_pandas()
    index = pq.read_table(data.place.local / "episodes.parquet").to_pandas()
    returns = frame.groupby("episode")["reward"].sum()
    np.testing.assert_allclose(returns, index.set_index("episode")["return"])


def test_the_page_shows_card_and_picture(data):
    text = (data.place.local / "README.md").read_text()
    assert data.id in text and "card.png" in text
    assert (data.place.local / "card.png").read_bytes()[:4] == b"\x89PNG"
    assert all(policy in text for policy in data.card.behaviour)


def test_place_refuses_what_is_too_large(data):
    with pytest.raises(CorruptError, match="more than 10"):
        Place(data.place.local).text("card.yaml", 10)
