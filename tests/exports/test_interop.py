"""Datasets in the hands of the libraries that researchers use; each sees the same values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import d3rlpy
import duckdb
import minari
import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from tests.data.small import FAMILIES, small
from toolkit import cli
from toolkit.data.buffer import FlatBuffer
from toolkit.data.dataset import load_dataset
from toolkit.data.splits import SPLITS
from toolkit.data.torch_data import whole
from toolkit.errors import ConfigError, NotFoundError
from toolkit.exports import minari_export
from toolkit.exports.export import to_minari, to_npz, to_parquet

LATE = "scenario.horizon=12"
"""A workflow is not done by then: its episodes are truncated."""


@pytest.fixture(autouse=True)
def minari_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One dataset per family, and one of truncated episodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_DATASETS", str(tmp_path_factory.mktemp("store")))
        found = {family: small(family) for family in FAMILIES}
        found["truncated"] = small("placement", overrides=[LATE], name="late")
    return found


@pytest.fixture(params=[*FAMILIES, "truncated"])
def dataset(request, shared):
    return shared[request.param]


def episodes_of(dataset, split=None):
    """Yield number, rows and padded arrays of each episode."""
    data = dataset.transitions(split)
    for number in dataset.numbers(split):
        yield number, np.flatnonzero(data.episode == number), data


# Minari


def test_minari_reads_it(dataset):
    done = to_minari(dataset)
    found = minari.load_dataset(minari_export.minari_id(dataset))
    assert found.id in minari.list_local_datasets()
    assert found.total_steps == len(dataset) == done.transitions
    assert found.total_episodes == len(dataset.episodes) == done.episodes
    assert done.left_out == 0
    index = dataset.episodes.to_pylist()
    told = list(found.storage.get_episode_metadata(range(len(index))))
    for episode, (number, rows, data) in zip(found, episodes_of(dataset), strict=True):
        steps = index[number]["decisions"]
        own = rows[:steps]
        shown = np.minimum(np.arange(steps + 1), len(rows) - 1) + rows[0]
        assert len(episode) == steps and told[number]["seed"] == index[number]["seed"]
        for name in ("globals", "candidates", "mask"):
            assert len(episode.observations[name]) == steps + 1
            np.testing.assert_array_equal(episode.observations[name], getattr(data, name)[shown])
        for i in (0, steps):
            one = {k: v[i] for k, v in episode.observations.items()}
            assert found.observation_space.contains(one)
        np.testing.assert_array_equal(episode.actions, data.action[own])
        assert episode.actions.dtype == np.int64
        np.testing.assert_array_equal(episode.rewards, data.reward[own])
        np.testing.assert_array_equal(episode.terminations, data.terminal[own])
        assert episode.terminations[-1] == index[number]["terminated"]
        assert episode.truncations[-1] == index[number]["truncated"]
        assert not episode.truncations[:-1].any()
        infos = episode.infos
        np.testing.assert_array_equal(infos["propensity"][:-1], data.propensity[own])
        np.testing.assert_array_equal(infos["elapsed"][:-1], data.elapsed[own])
        np.testing.assert_array_equal(infos["agent"], data.agent[shown])
        np.testing.assert_allclose(np.diff(infos["time"]), data.elapsed[own], atol=1e-9)


def test_minari_gives_back_the_environment(dataset):
    """What was recorded happens again, step by step."""
    to_minari(dataset)
    found = minari.load_dataset(minari_export.minari_id(dataset))
    env = found.recover_environment()
    assert env.observation_space == found.observation_space
    assert env.action_space == found.action_space
    told = list(found.storage.get_episode_metadata(range(4)))
    for episode, seed in zip(
        found.iterate_episodes(range(4)), [t["seed"] for t in told], strict=True
    ):
        seen, _ = env.reset(seed=seed)
        for i, action in enumerate(episode.actions):
            for name, values in seen.items():
                np.testing.assert_array_equal(values, episode.observations[name][i])
            seen, paid, terminated, truncated, _ = env.step(action)
            assert paid == episode.rewards[i]
            assert (terminated, truncated) == (episode.terminations[i], episode.truncations[i])
        assert terminated or truncated
        for name, values in seen.items():
            np.testing.assert_array_equal(values, episode.observations[name][-1])


def test_minari_finds_the_environment_in_a_fresh_process(shared, minari_home):
    to_minari(shared["truncated"])
    code = (
        "import sys, minari\n"
        f"d = minari.load_dataset({minari_export.minari_id(shared['truncated'])!r})\n"
        "assert 'toolkit' not in sys.modules\n"
        "env = d.recover_environment()\n"
        "print(type(env.unwrapped).__name__, env.spec.kwargs)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        f"SchedulingEnv {{'scenario': 'workflows_tiny', 'overrides': ['{LATE}']}}"
    )


def test_minari_knows_the_scores_and_the_origin(shared):
    dataset = shared["allocation"]
    to_minari(dataset)
    found = minari.load_dataset(minari_export.minari_id(dataset))
    returns = dataset.returns()
    np.testing.assert_allclose(
        minari.get_normalized_score(found, returns),
        [dataset.card.score(r) / 100 for r in returns],
    )
    told = found.storage.metadata
    assert told["algorithm_name"] == "random, static~0.3"
    assert told["toolkit_digest"] == dataset.digest
    assert dataset.card.about in told["description"]
    assert {"author", "code_permalink", "requirements", "minari_version"} <= told.keys()


def test_minari_samples_splits_and_combines(shared):
    dataset = shared["placement"]
    for split in ("train", "workload"):
        to_minari(dataset, split=split)
    found = minari.load_dataset(minari_export.minari_id(dataset, "train"))
    assert found.total_episodes == len(dataset.numbers("train"))
    found.set_seed(0)
    sampled = list(found.sample_episodes(3))
    wanted = dict(enumerate(episodes_of(dataset, "train")))
    for episode in sampled:
        _, rows, data = wanted[episode.id]
        np.testing.assert_array_equal(episode.rewards, data.reward[rows])
    one, two = minari.split_dataset(found, [4, 2], seed=0)
    assert (one.total_episodes, two.total_episodes) == (4, 2)
    others = minari.load_dataset(minari_export.minari_id(dataset, "workload"))
    both = minari.combine_datasets([found, others], "toolkit/both-v0")
    assert both.total_steps == found.total_steps + others.total_steps


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_other_back_ends_of_minari(shared, data_format):
    dataset = shared["configuration"]
    to_minari(dataset, name="own/name-v3", data_format=data_format)
    found = minari.load_dataset("own/name-v3")
    for episode, (_, rows, data) in zip(found, episodes_of(dataset), strict=True):
        np.testing.assert_array_equal(episode.observations["mask"][:-1], data.mask[rows])
        np.testing.assert_array_equal(episode.actions, data.action[rows])
        np.testing.assert_array_equal(episode.infos["elapsed"][:-1], data.elapsed[rows])


def test_minari_gets_only_what_it_can_hold():
    """An episode with a decision that the mask forbids, or that no slot shows, is left out."""

    def changed(seed, rows, about):
        if seed in (2, 5):
            rows.columns["invalid"][3] = True
        if seed == 5:
            rows.columns["action"][3] = -1
        return rows, about

    dataset = small("allocation", episodes=7, changed=changed)
    done = to_minari(dataset)
    assert (done.episodes, done.left_out) == (5, 2)
    found = minari.load_dataset(minari_export.minari_id(dataset))
    left = [e for e in episodes_of(dataset) if e[0] not in (2, 5)]
    for episode, (_, rows, data) in zip(found, left, strict=True):
        np.testing.assert_array_equal(episode.actions, data.action[rows])
    assert done.transitions == found.total_steps == sum(len(rows) for _, rows, _ in left)


def test_minari_holds_what_nobody_can_play():
    dataset = small("configuration", episodes=2)
    dataset.card.scenario["name"] = None
    to_minari(dataset)
    found = minari.load_dataset(minari_export.minari_id(dataset))
    assert found.env_spec is None and found.total_steps == len(dataset)


def test_minari_ids(shared):
    dataset = shared["allocation"]
    assert minari_export.minari_id(dataset) == "toolkit/allocation/genomics-tiny-mixed-v1"
    sample = load_dataset(dataset.place.url)
    sample.manifest["id"] = "placement/paper.c-8-expert-v12-sample"
    assert minari_export.minari_id(sample) == "toolkit/placement/paper_c-8-expert-sample-v12"
    for wrong in ("no version", "../../up-v0", "/root-v1", "a/../b-v1", "name"):
        with pytest.raises(ConfigError, match="no id for Minari"):
            to_minari(dataset, name=wrong)
    with pytest.raises(NotFoundError, match="did you mean 'hdf5'"):
        to_minari(dataset, data_format="hdf")


def test_what_is_there_is_kept(shared, tmp_path):
    dataset = shared["configuration"]
    out = tmp_path / "elsewhere"
    done = to_minari(dataset, out=out)
    before = done.path.stat().st_ino
    with pytest.raises(ConfigError, match="force=true"):
        to_minari(dataset, out=out)
    assert done.path.stat().st_ino == before
    assert to_minari(dataset, out=out, force=True).path.stat().st_ino != before
    (done.path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="left as it is"):
        to_minari(dataset, out=out, force=True)
    assert (done.path / "notes.txt").read_text() == "mine"
    for write in (to_parquet, to_npz):
        place = tmp_path / write.__name__
        write(dataset, place)
        with pytest.raises(ConfigError, match="force=true"):
            write(dataset, place)
        write(dataset, place, force=True)
        assert not list(tmp_path.rglob(".*.tmp"))
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years")
    with pytest.raises(ConfigError, match="left as it is"):
        to_parquet(dataset, home, force=True)
    assert (home / "thesis.tex").read_text() == "years"


def test_an_export_that_fails_leaves_nothing(shared, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(minari_export, "_arrays", fail)
    with pytest.raises(RuntimeError):
        to_minari(shared["configuration"], out=tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_without_minari(shared, monkeypatch):
    for name in [m for m in sys.modules if m.partition(".")[0] == "minari"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ConfigError, match=r"pip install 'offline-scheduling-toolkit\[minari\]'"):
        to_minari(shared["allocation"])


# NumPy


@pytest.mark.parametrize("split", [None, "train"])
def test_npz(dataset, split, tmp_path, monkeypatch):
    from toolkit.exports import npz_export

    monkeypatch.setattr(npz_export, "_CHUNK", 50)
    done = to_npz(dataset, tmp_path / "x.npz", split)
    data = dataset.transitions(split)
    rows = data.rows
    K, tau = data.sizes[1], dataset.card.discount_seconds
    last = np.append(data.episode[1:] != data.episode[:-1], True)
    closing = data.action < 0
    with np.load(done.path, allow_pickle=False) as z:
        found = dict(z)
    assert done.transitions == len(rows) == len(found["actions"])
    following = data.observations[data.following[rows]]
    split_of = dataset.episodes["split"].to_pylist()
    wanted = {
        "observations": data.observations[rows],
        "next_observations": following,
        "actions": data.action[rows],
        "rewards": data.reward[rows],
        "terminals": data.terminal[rows],
        "timeouts": np.append(closing[1:] & last[1:], False)[rows],
        "masks": 1 - data.terminal[rows],
        "action_masks": data.mask[rows],
        "next_action_masks": following[:, -K:] != 0,
        "propensities": data.propensity[rows],
        "elapsed": data.elapsed[rows],
        "discounts": np.exp(-data.elapsed[rows] / tau),
        "episodes": data.episode[rows],
        "agents": data.agent[rows],
        "agent_names": np.array(data.described.agents),
        "sizes": np.array(data.sizes),
        "splits": np.array([SPLITS.index(split_of[e]) for e in data.episode[rows].tolist()]),
        "split_names": np.array(SPLITS),
    }
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    ends = found["terminals"] | found["timeouts"]
    assert ends.sum() == len(dataset.numbers(split))
    assert found["timeouts"].any() == (not found["terminals"].any())


def test_the_same_npz_every_time(shared, tmp_path):
    one, two = (to_npz(shared["placement"], tmp_path / n).path for n in ("a.npz", "b.npz"))
    assert one.read_bytes() == two.read_bytes()


# Parquet: pandas, Arrow, DuckDB, Hugging Face


def parts_of(dataset):
    return [str(dataset.place.local / name) for name in dataset.parts]


def same_rows(found, dataset, split=None):
    """Compare a frame of rows with the padded arrays."""
    data = dataset.transitions(split)
    assert len(found) == len(data)
    _, K, F = data.sizes
    np.testing.assert_array_equal(np.stack(list(found["globals"])), data.globals)
    wide, flags = np.zeros((len(found), K * F), np.float32), np.zeros((len(found), K), bool)
    for i, (values, mask) in enumerate(zip(found["candidates"], found["mask"], strict=True)):
        wide[i, : len(values)] = values
        flags[i, : len(mask)] = mask
    np.testing.assert_array_equal(wide.reshape(-1, K, F), data.candidates)
    np.testing.assert_array_equal(flags, data.mask)
    np.testing.assert_array_equal(found["reward"], data.reward)
    np.testing.assert_array_equal(found["elapsed"], data.elapsed)
    np.testing.assert_array_equal(found["episode"], data.episode)
    action = pd.to_numeric(found["action"]).fillna(-1).astype(np.int64)
    np.testing.assert_array_equal(action, data.action)
    agents = np.array(data.described.agents)[data.agent]
    np.testing.assert_array_equal(found["agent"].astype(str), agents)


def test_pandas(dataset):
    same_rows(pd.concat([pd.read_parquet(p) for p in parts_of(dataset)]), dataset)
    index = pd.read_parquet(dataset.place.local / "episodes.parquet")
    np.testing.assert_array_equal(index["return"], dataset.returns())


def test_arrow(dataset):
    found = pyarrow.dataset.dataset(parts_of(dataset), format="parquet")
    same_rows(found.to_table().to_pandas(), dataset)
    filtered = found.to_table(filter=pyarrow.dataset.field("episode") == 1)
    assert len(filtered) == dataset.episodes["rows"][1].as_py()


def test_duckdb(dataset):
    folder = dataset.place.local
    with duckdb.connect() as sql:
        rows = sql.execute(f"SELECT * FROM '{folder}/part-*.parquet' ORDER BY episode, step").df()
        same_rows(rows, dataset)
        told = sql.execute(
            f"""SELECT e.policy, sum(r.reward), count(r.action), avg(r.propensity)
                FROM '{folder}/part-*.parquet' r JOIN '{folder}/episodes.parquet' e
                USING (episode) WHERE e.split = 'train' GROUP BY e.policy ORDER BY e.policy"""
        ).fetchall()
        best = sql.execute(
            f"SELECT list_max(candidates) FROM '{folder}/part-*.parquet' ORDER BY episode, step"
        ).fetchall()
    data = dataset.transitions("train")
    policy = np.array(dataset.episodes["policy"].to_pylist())[data.episode]
    for name, paid, count, chance in told:
        own = (policy == name) & (data.action >= 0)
        np.testing.assert_allclose(paid, data.reward[policy == name].sum())
        assert count == own.sum()
        np.testing.assert_allclose(chance, data.propensity[own].mean())
    assert {t[0] for t in told} == set(policy)
    largest = dataset.transitions(None).candidates.max(axis=(1, 2))
    ragged = np.array([b[0] for b in best], np.float32)
    np.testing.assert_array_equal(np.maximum(ragged, 0), np.maximum(largest, 0))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The library of Hugging Face, which must not reach for any network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    assert Path(datasets.__file__).is_relative_to(Path(sys.prefix)), "ours is a folder of data"
    datasets.disable_progress_bars()
    return datasets


def test_hugging_face_reads_the_parts(dataset, hub, tmp_path):
    found = hub.load_dataset(
        "parquet", data_files=parts_of(dataset), split="train", cache_dir=str(tmp_path / "hf")
    )
    same_rows(found.with_format("pandas")[:], dataset)
    streamed = hub.load_dataset(
        "parquet", data_files=parts_of(dataset), split="train", streaming=True
    )
    first = next(iter(streamed))
    np.testing.assert_array_equal(
        np.array(first["globals"], np.float32), dataset.transitions(None).globals[0]
    )


def test_hugging_face_reads_the_export(dataset, hub, tmp_path):
    done = to_parquet(dataset, tmp_path / "upload")
    found = hub.load_dataset(str(done.path), cache_dir=str(tmp_path / "hf"))
    assert set(found) == {"train", "workload", "time"}
    for split, rows in found.items():
        same_rows(rows.with_format("pandas")[:], dataset, split)
    index = hub.load_dataset(
        str(done.path), "episodes", split="index", cache_dir=str(tmp_path / "hf")
    )
    assert index["return"][:] == dataset.returns().tolist()
    files = {f: str(done.path / f"{f}.parquet") for f in ("train", "time")}
    plain = hub.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "hf"))
    same_rows(plain["time"].with_format("pandas")[:], dataset, "time")


def test_what_lies_in_the_parquet_export(shared, tmp_path):
    dataset = shared["allocation"]
    done = to_parquet(dataset, tmp_path / "upload", "workload")
    assert {p.name for p in done.path.iterdir()} == {
        "workload.parquet", "episodes.parquet", "card.yaml", "README.md", "card.png",
    }  # fmt: skip
    rows = pq.read_table(done.path / "workload.parquet")
    assert rows.schema.equals(dataset.described.schema, check_metadata=True)
    assert rows.equals(dataset.table("workload"))
    assert len(pq.read_table(done.path / "episodes.parquet")) == done.episodes == 2
    text = (done.path / "README.md").read_text("utf-8")
    _, front, body = text.split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "cc0-1.0" and "scheduling" in told["tags"]
    assert told["configs"][0]["data_files"] == [{"split": "workload", "path": "workload.parquet"}]
    assert dataset.card.about in body
    dataset = small("allocation", episodes=2, name="few")
    with pytest.raises(ConfigError, match="no episode in the split 'time'"):
        to_parquet(dataset, tmp_path / "none", "time")
    with pytest.raises(NotFoundError, match="did you mean 'train'"):
        to_parquet(dataset, tmp_path / "none", "trian")


# d3rlpy and PyTorch


@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.filterwarnings("ignore")
def test_d3rlpy_trains(shared, memory):
    dataset = shared["allocation"]
    buffer = dataset.buffer("train", memory=memory)
    assert buffer._mapped == (memory == 0)
    data = dataset.transitions("train")
    keys = {row.tobytes(): i for i, row in enumerate(data.observations[data.rows])}
    batch = buffer.sample_transition_batch(64)
    found = data.rows[[keys[row.tobytes()] for row in batch.observations]]
    wide = np.column_stack([data.observations[:-1], data.action])
    if len(np.unique(wide[data.rows], axis=0)) == len(data.rows):
        np.testing.assert_array_equal(batch.actions[:, 0], data.action[found])
        np.testing.assert_array_equal(
            batch.next_observations, data.observations[data.following[found]]
        )
        np.testing.assert_array_equal(batch.rewards[:, 0], data.reward[found].astype(np.float32))
        np.testing.assert_array_equal(
            batch.intervals[:, 0],
            (data.elapsed[found] / dataset.card.discount_seconds).astype(np.float32),
        )
    algo = d3rlpy.algos.DiscreteBCConfig(batch_size=32).create(device="cpu:0")
    logs = algo.fit(
        buffer, n_steps=20, n_steps_per_epoch=10, show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )  # fmt: skip
    assert len(logs) == 2 and np.isfinite(logs[-1][1]["loss"])
    assert algo.predict(data.observations[:5]).shape == (5,)


@pytest.mark.filterwarnings("ignore")
def test_d3rlpy_draws_every_transition(shared):
    dataset = shared["placement"]
    data = dataset.transitions("train")
    buffer = FlatBuffer(data, discount_seconds=dataset.card.discount_seconds, seed=1)
    drawn = np.concatenate([buffer.sample_transition_batch(500).rewards[:, 0] for _ in range(20)])
    assert set(drawn) == set(data.reward[data.rows].astype(np.float32))


@pytest.mark.parametrize("family", ["placement", "truncated"])
def test_a_file_too_large_to_map_gives_the_same_batches(shared, family):
    data = shared[family].transitions(None, memory=0)
    mapped, read = (
        FlatBuffer(data, discount_seconds=10.0, seed=3, most_mapped=most) for most in (1 << 40, 0)
    )
    assert mapped._file is None and read._file is not None
    for _ in range(20):
        one, two = mapped.sample_transition_batch(64), read.sample_transition_batch(64)
        for name in ("observations", "next_observations", "actions", "rewards", "terminals"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.terminals.any() == (family == "placement")


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_trains(shared, workers):
    dataset = shared["placement"]
    data = dataset.transitions("train")
    seen = 0
    for batch in DataLoader(
        dataset.torch("train"), batch_size=64, shuffle=True, num_workers=workers, collate_fn=whole
    ):
        assert (batch["mask"].gather(1, batch["action"][:, None])).all()
        seen += len(batch["action"])
    assert seen == len(data.rows)
    stream = DataLoader(
        dataset.stream("train", batch_size=64, seed=1), batch_size=None, num_workers=workers
    )
    model = torch.nn.Linear(data.observations.shape[1], data.sizes[1])
    rewards = []
    for batch in stream:
        logits = model(batch["observation"]).masked_fill(~batch["mask"], -1e9)
        torch.nn.functional.cross_entropy(logits, batch["action"]).backward()
        rewards.append(batch["reward"])
    np.testing.assert_array_equal(
        np.sort(torch.cat(rewards).numpy()), np.sort(data.reward[data.rows].astype(np.float32))
    )


# The command


@pytest.mark.parametrize("to", ["minari", "parquet", "npz"])
def test_command(to, capsys, own_store):
    dataset = small("configuration", episodes=2)
    assert cli.main(["dataset", "export", f"id={dataset.id}", f"to={to}", "format=json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["transitions"] == len(dataset) and told["left_out"] == 0
    path = Path(told["path"])
    assert path.exists() and told["bytes"] > 0
    if to != "minari":
        assert path.is_relative_to(own_store / "exports")
    assert cli.main(["dataset", "export", f"id={dataset.id}", f"to={to}"]) == 2
    assert "force=true" in capsys.readouterr().err
    assert cli.main(["dataset", "export", f"id={dataset.id}", f"to={to}", "force=true"]) == 0


def test_command_with_a_wrong_format(capsys):
    dataset = small("configuration", episodes=2)
    assert cli.main(["dataset", "export", f"id={dataset.id}", "to=minary"]) == 2
    assert "did you mean 'minari'?" in capsys.readouterr().err
