"""Products: nothing half-made is listed, nothing changed goes unseen, ids cannot climb."""

import json

import pytest

from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError
from toolkit.store import Store


def make(store, name="a", kind="traces", text="x"):
    (store.partial(kind, name) / "file.txt").write_text(text)
    return store.commit(kind, name, inputs={}, about={})


def test_partial_work_is_not_listed_and_is_found_again():
    store = Store()
    (store.partial("traces", "a") / "one.txt").write_text("1")
    assert store.list("traces") == []
    assert not store.exists("traces", "a")
    assert (store.partial("traces", "a") / "one.txt").read_text() == "1"
    store.commit("traces", "a", inputs={}, about={})
    assert [p.id for p in store.list("traces")] == ["a"]


def test_a_folder_without_its_manifest_is_not_listed():
    store = Store()
    path = make(store).path
    (path / "manifest.json").unlink()
    assert store.list("traces") == []


def test_latest_is_the_newest():
    store = Store()
    make(store, "b")
    make(store, "a")
    assert store.get("traces").id == "a"


def test_a_missing_product_names_its_neighbours_and_the_next_command():
    store = Store()
    with pytest.raises(NotFoundError, match="there is no trace yet") as caught:
        store.get("traces")
    assert "toolkit collect" in caught.value.hint
    make(store, "genomics-1")
    with pytest.raises(NotFoundError, match="did you mean 'genomics-1'"):
        store.get("traces", "genomics-2")


def test_a_flipped_byte_and_a_missing_file_are_found():
    store = Store()
    product = make(store)
    store.verify(product)
    (product.path / "file.txt").write_text("y")
    with pytest.raises(CorruptError, match=r"file\.txt is not what was written"):
        store.verify(product)
    (product.path / "file.txt").unlink()
    with pytest.raises(CorruptError, match=r"file\.txt is missing"):
        store.verify(product)


def test_another_layout_version_is_refused():
    store = Store()
    path = make(store).path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(SchemaError, match="layout version 99"):
        store.get("traces", "a")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"files": 3, "id": "a"}', "[" * 99_999])
def test_a_damaged_manifest_is_refused(text):
    store = Store()
    (make(store).path / "manifest.json").write_text(text)
    with pytest.raises(CorruptError, match=r"manifest\.json cannot be read"):
        store.get("traces", "a")


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "", "A", ".hidden", "a" * 200, "x\0"])
def test_an_id_cannot_climb_out(name):
    with pytest.raises(ConfigError, match="cannot be an id"):
        Store().partial("traces", name)


def test_commit_replaces_and_the_digest_speaks_of_content():
    store = Store()
    first = make(store, text="one")
    again = make(store, text="one")
    other = make(store, text="two")
    assert first.digest == again.digest != other.digest
    assert (other.path / "file.txt").read_text() == "two"


def test_discard_removes_product_and_partial_work():
    store = Store()
    make(store)
    store.partial("traces", "a")
    store.discard("traces", "a")
    assert store.list("traces") == []
    assert list((store.root / "traces").iterdir()) == []
