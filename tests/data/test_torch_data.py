"""Datasets as PyTorch's loaders read them; nothing is lost, doubled or changed on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.small import small
from toolkit.data import writer
from toolkit.data.torch_data import Batch, whole
from toolkit.errors import ConfigError

NAMES = [
    "observation",
    "action",
    "reward",
    "discount",
    "next_observation",
    "mask",
    "next_mask",
    "terminal",
    "propensity",
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Some parts of some row groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_DATASETS", str(tmp_path_factory.mktemp("store")))
        patch.setattr(writer, "GROUP_BYTES", 40_000)
        found = small("allocation", episodes=14, part_bytes=25_000)
    assert len(found.parts) > 1
    return found


def expected(dataset, split):
    data = dataset.transitions(split)
    rows = data.rows
    K = data.sizes[1]
    following = data.observations[data.following[rows]]
    return {
        "observation": data.observations[rows],
        "action": data.action[rows],
        "reward": data.reward[rows].astype(np.float32),
        "discount": np.exp(-data.elapsed[rows] / dataset.card.discount_seconds).astype(np.float32),
        "next_observation": following,
        "mask": data.mask[rows],
        "next_mask": following[:, -K:] != 0,
        "terminal": data.terminal[rows],
        "propensity": data.propensity[rows].astype(np.float32),
    }


def joined(batches):
    batches = list(batches)
    return {n: np.concatenate([b[n].numpy() for b in batches]) for n in batches[0]}


def in_order(found):
    """Sort by everything that tells one transition from another."""
    n = len(found["action"])
    keys = np.column_stack([np.asarray(v, np.float64).reshape(n, -1) for v in found.values()])
    return {n: v[np.lexsort(keys.T)] for n, v in found.items()}


def same(found, wanted):
    assert list(found) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
        assert found[name].dtype == wanted[name].dtype, name


@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("collate", [whole, None])
def test_by_number(dataset, memory, workers, collate):
    data = dataset.torch("train", memory=memory)
    wanted = expected(dataset, "train")
    assert len(data) == len(wanted["action"])
    loader = DataLoader(data, batch_size=100, num_workers=workers, collate_fn=collate)
    same(joined(loader), wanted)
    one = data[3]
    assert {n: v.shape for n, v in one.items()} == {n: v.shape[1:] for n, v in wanted.items()}
    assert torch.equal(one["observation"], torch.from_numpy(wanted["observation"][3]))


def test_a_batch_is_a_sequence(dataset):
    batch = dataset.torch("train").__getitems__([4, 2, 0])
    assert len(batch) == 3 and len(list(batch)) == 3
    assert isinstance(batch[1:], Batch) and len(batch[1:]) == 2
    assert torch.equal(batch[1]["observation"], batch.tensors["observation"][1])


@pytest.mark.parametrize("split", ["train", "workload", None])
def test_stream_in_the_order_of_the_files(dataset, split):
    loader = DataLoader(dataset.stream(split, batch_size=64, shuffle=0), batch_size=None)
    batches = list(loader)
    assert all(len(b["action"]) == 64 for b in batches[:-1])
    same(joined(batches), expected(dataset, split))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [0, 100, 10_000])
def test_stream_loses_and_doubles_nothing(dataset, workers, shuffle):
    stream = dataset.stream("train", batch_size=32, shuffle=shuffle, seed=5)
    found = joined(DataLoader(stream, batch_size=None, num_workers=workers))
    wanted = expected(dataset, "train")
    if shuffle:
        assert not np.array_equal(found["observation"], wanted["observation"])
    same(in_order(found), in_order(wanted))


@pytest.mark.parametrize("processes", [2, 3, 40])
def test_processes_share_the_stream(dataset, processes):
    """Forty are more than there are row groups: those are divided."""
    parts = []
    for rank in range(processes):
        stream = dataset.stream("train", batch_size=32, rank=rank, world_size=processes)
        parts += list(DataLoader(stream, batch_size=None, num_workers=0))
    same(in_order(joined(parts)), in_order(expected(dataset, "train")))


def test_processes_with_workers_share_the_stream(dataset):
    parts = []
    for rank in range(2):
        stream = dataset.stream("train", batch_size=32, rank=rank, world_size=2)
        parts += list(DataLoader(stream, batch_size=None, num_workers=2))
    same(in_order(joined(parts)), in_order(expected(dataset, "train")))


def test_same_seed_same_order(dataset):
    def order(seed, epoch, workers):
        stream = dataset.stream("train", batch_size=32, shuffle=200, seed=seed)
        stream.set_epoch(epoch)
        return joined(DataLoader(stream, batch_size=None, num_workers=workers))["observation"]

    for workers in (0, 2):
        np.testing.assert_array_equal(order(0, 0, workers), order(0, 0, workers))
        assert not np.array_equal(order(0, 0, workers), order(1, 0, workers))
        assert not np.array_equal(order(0, 0, workers), order(0, 1, workers))


def test_workers_that_stay_see_the_epoch(dataset):
    stream = dataset.stream("train", batch_size=32, shuffle=200)
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    first = joined(loader)["observation"]
    np.testing.assert_array_equal(joined(loader)["observation"], first)
    stream.set_epoch(1)
    assert not np.array_equal(joined(loader)["observation"], first)


def test_single_transitions(dataset):
    stream = dataset.stream("train", shuffle=0)
    found = joined(DataLoader(stream, batch_size=50))
    same(found, expected(dataset, "train"))


def test_truncated_episodes_keep_their_next_observation(monkeypatch):
    monkeypatch.setattr(writer, "GROUP_BYTES", 20_000)
    dataset = small("placement", episodes=6, overrides=["scenario.horizon=12"])
    assert not any(dataset.episodes["terminated"].to_pylist())
    wanted = expected(dataset, "train")
    assert not wanted["terminal"].any() and wanted["next_mask"].any(axis=1).all()
    found = joined(DataLoader(dataset.stream(batch_size=16, shuffle=0), batch_size=None))
    same(found, wanted)


def test_an_episode_over_two_row_groups(monkeypatch):
    """Where a file was written by others, a row group may end anywhere."""
    monkeypatch.setattr(writer, "GROUP_BYTES", 10**9)
    real = writer.parquet_writer

    class Small:
        def __init__(self, file, schema):
            self._file = real(file, schema)

        def write_table(self, table):
            self._file.write_table(table, row_group_size=37)

        def close(self):
            self._file.close()

    monkeypatch.setattr(writer, "parquet_writer", Small)
    dataset = small("allocation", episodes=4)
    with dataset.place.parquet(dataset.parts[0]) as file:
        assert file.num_row_groups > 3
    found = joined(DataLoader(dataset.stream(batch_size=16, shuffle=0), batch_size=None))
    same(found, expected(dataset, "train"))


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 0}, {"shuffle": -1}, {"rank": 2, "world_size": 2}, {"rank": -1}],
)
def test_wrong_settings(dataset, settings):
    with pytest.raises(ConfigError):
        dataset.stream("train", **settings)
