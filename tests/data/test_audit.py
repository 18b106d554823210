"""Audit: whatever is changed in a dataset is found, and nothing is found in a sound one."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.small import dataset
from toolkit.data import splits
from toolkit.data.audit import audit
from toolkit.data.dataset import load_dataset, opened
from toolkit.data.place import Place
from toolkit.errors import CorruptError
from toolkit.store import sha256

FAMILIES = ("placement", "allocation", "configuration")


@pytest.fixture
def data():
    return dataset("placement")


def problems(data):
    return " | ".join(audit(opened(Place(data.place.local))).problems)


def vouch(data):
    """Let the manifest vouch for whatever lies there now, as a forger would."""
    file = data.place.local / "manifest.json"
    manifest = json.loads(file.read_text())
    for name in manifest["files"]:
        manifest["files"][name]["sha256"] = sha256(data.place.local / name)
    file.write_text(json.dumps(manifest))


def changed(data, name, change):
    """Rewrite a column of the rows or of the index, and vouch for it."""
    index = name in data.episodes.column_names and name not in data.described.schema.names
    file = data.place.local / ("episodes.parquet" if index else "part-00000.parquet")
    table = pq.read_table(file)
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    values = pa.array(change(table[name].to_pylist()), field.type)
    pq.write_table(table.set_column(at, field, values), file)
    vouch(data)
    return problems(data)


def first(value):
    return lambda values: [value, *values[1:]]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_dataset_has_no_problem(family):
    data = dataset(family)
    found = audit(data)
    assert found.problems == []
    assert found.rows == len(data.table())
    assert found.actions == data.card.actions


@pytest.mark.parametrize("name", ["part-00000.parquet", "episodes.parquet", "card.yaml"])
def test_any_flipped_byte_is_found(data, name):
    file = data.place.local / name
    whole = file.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 7)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert f"file {name} is not what was written" in problems(data)


def test_a_missing_file_is_found(data):
    (data.place.local / "part-00000.parquet").unlink()
    assert "has no file part-00000.parquet" in problems(data)


def test_a_foreign_schema_is_found(data):
    pq.write_table(pa.table({"x": [1]}), data.place.local / "part-00000.parquet")
    vouch(data)
    assert "not a transition dataset" in problems(data)


def test_columns_of_another_dataset_are_found(data):
    other = dataset("allocation").place.local / "part-00000.parquet"
    shutil.copy(other, data.place.local / "part-00001.parquet")
    file = data.place.local / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"]["part-00001.parquet"] = {"bytes": 1, "sha256": ""}
    file.write_text(json.dumps(manifest))
    vouch(data)
    assert "other columns than the first" in problems(data)


def test_an_episode_that_is_there_twice_is_found(data):
    rows = pq.read_table(data.place.local / "part-00000.parquet")
    index = pq.read_table(data.place.local / "episodes.parquet").to_pylist()
    again = rows.slice(0, index[0]["rows"])
    number = rows.schema.get_field_index("episode")
    again = again.set_column(
        number, rows.schema.field(number), pa.array([len(index)] * len(again), pa.int32())
    )
    pq.write_table(pa.concat_tables([rows, again]), data.place.local / "part-00000.parquet")
    index.append({**index[0], "episode": len(index), "first": len(rows), "workload": "another"})
    pq.write_table(
        pa.Table.from_pylist(index, schema=data.episodes.schema),
        data.place.local / "episodes.parquet",
    )
    vouch(data)
    assert f"episode {len(index) - 1} is episode 0 once more" in problems(data)


def test_a_workload_in_two_splits_is_found(data):
    held = data.episodes["split"].to_pylist().index("workload")
    train = data.episodes["split"].to_pylist().index("train")
    workloads = data.episodes["workload"].to_pylist()
    workloads[held] = workloads[train]
    assert "have the same workload" in changed(data, "workload", lambda _: workloads)


def test_training_on_what_is_later_than_the_held_out_is_found(data):
    def swapped(values):
        return [*values[:-2], "time", "train"]

    assert "is later than episode" in changed(data, "split", swapped)


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("propensity", first(1.5), "propensity that is not in (0, 1]"),
        ("propensity", first(0.0), "propensity that is not in (0, 1]"),
        ("elapsed", first(-1.0), "negative elapsed"),
        ("time", first(1e9), "is not followed by the next one"),
        ("reward", first(1e6), "not paid the weighted sum"),
        ("step", first(7), "not numbered 0, 1, 2"),
        ("episode", first(3), "begins episode 3 after 0"),
        ("agent", first("nobody"), "names an agent"),
        ("invalid", first(True), "marked invalid though"),
        ("terminated", first(True), "but other decisions follow"),
        ("action", first(10_000), "slot that it does not show"),
        ("action", first(None), "has no action though"),
        ("inferred", first(True), "propensity for a decision that nobody recorded"),
        ("globals", lambda v: [[np.nan, *v[0][1:]], *v[1:]], "no finite number"),
        ("candidates", lambda v: [[np.inf, *v[0][1:]], *v[1:]], "no finite number"),
        ("candidates", lambda v: [v[0][:-1], *v[1:]], "values in candidates"),
        ("globals", lambda v: [v[0][:-1], *v[1:]], "values in globals"),
        ("mask", lambda v: [[], *v[1:]], "slots, not 1 to"),
        ("digest", first("0" * 32), "its fingerprint differs"),
        ("rows", first(1), "rows is"),
        ("decisions", first(1), "decisions is"),
        ("return", first(1.0), "the return is"),
        ("first", first(5), "does not say where the rows"),
        ("split", first("holdout"), "names a split 'holdout'"),
    ],
)
def test_rows_that_contradict_themselves_or_the_index_are_found(data, column, change, said):
    assert said in changed(data, column, change)


def test_a_forbidden_choice_is_found(data):
    rows = data.table()
    masks, actions = rows["mask"].to_pylist(), rows["action"].to_pylist()
    i = next(i for i, m in enumerate(masks) if not all(m) and actions[i] is not None)
    actions[i] = masks[i].index(False)
    assert "its mask forbids" in changed(data, "action", lambda _: actions)


def test_features_that_were_changed_are_found_though_the_manifest_vouches_for_them(data):
    assert "its fingerprint differs" in changed(
        data, "globals", lambda v: [[v[0][0] + 1, *v[0][1:]], *v[1:]]
    )


def test_other_actions_than_those_of_the_card_are_found(data):
    file = data.place.local / "card.yaml"
    file.write_text(file.read_text().replace(data.card.actions, "f" * 64))
    vouch(data)
    assert "not those that the card tells of" in problems(data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=80), st.data())
def test_splits_never_leak_and_growing_moves_nothing(numbers, more):
    workloads = [f"w{n}" for n in numbers]
    digests = [str(i) for i in range(len(workloads))]
    found = splits.assign(workloads)
    splits.check(workloads, found, digests)
    added = more.draw(st.lists(st.integers(0, 60).map("w{}".format), max_size=30))
    # What grows brings workloads of its own: those that are known stay where they are.
    fresh = [w for w in added if w not in workloads]
    grown = splits.assign([*workloads, *fresh], found)
    assert grown[: len(found)] == found
    splits.check([*workloads, *fresh], grown, [str(i) for i in range(len(grown))])


def test_a_tenth_of_the_workloads_is_held_out_in_either_way():
    found = splits.assign([str(i) for i in range(1000)])
    assert found.count("time") == 100 and found[-100:] == ["time"] * 100
    assert found.count("workload") == 90
    assert splits.assign(["a", "b"]) == ["train", "train"]


def test_an_equal_episode_in_two_splits_leaks():
    with pytest.raises(CorruptError, match="the same episode"):
        splits.check(["a", "b"], ["train", "workload"], ["x", "x"])


def test_a_file_cut_at_any_place_never_crashes_the_audit(data):
    file = data.place.local / "part-00000.parquet"
    whole = file.read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 25)):
        file.write_bytes(whole[:end])
        vouch(data)
        assert problems(data)
    assert load_dataset(data.id)
