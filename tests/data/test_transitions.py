"""Transitions: schema, padding, truncation, damage; the buffer that samples them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.recordings import record
from toolkit.data import transitions
from toolkit.data.reconstruct import reconstruct
from toolkit.errors import CorruptError, SchemaError


@pytest.fixture(scope="module")
def parts():
    return list(reconstruct(record()))


@pytest.fixture(scope="module")
def table(parts):
    return pa.concat_tables([p.table for p in parts])


def test_a_row_per_decision_with_its_propensity(parts):
    trace = record()
    for part in parts:
        rows = trace.of("decisions", part.run).to_pandas()
        built = part.table.to_pandas()
        assert part.same == len(built) == len(rows)
        np.testing.assert_array_equal(built["action"], rows["action"])
        np.testing.assert_allclose(built["propensity"], rows["propensity"])
        assert built["terminated"].tolist() == [False] * (len(built) - 1) + [True]


def test_only_the_last_choice_of_an_instant_is_paid(parts):
    built = parts[0].table.to_pandas()
    last = built["time"].diff(-1).fillna(-1) != 0
    assert (built.loc[~last, "elapsed"] == 0).all()
    assert (built.loc[~last, "reward"] == 0).all()
    assert (built.loc[last, "elapsed"] > 0).all()


def test_a_return_adds_up_to_jobs_latency_cost_and_queue(parts):
    trace = record()
    for part in parts:
        jobs = trace.of("jobs", part.run).to_pandas()
        built = part.table.to_pandas()
        assert built["r_throughput"].sum() == len(jobs)
        latency = (jobs["finished_seen"] - jobs["arrived_seen"]).sum()
        assert built["r_latency"].sum() == pytest.approx(latency, rel=1e-4)
        weights = np.array([1.0, -1.0, -1.0, -0.25])
        terms = built[["r_throughput", "r_latency", "r_cost", "r_bottleneck"]].to_numpy()
        np.testing.assert_allclose(built["reward"], terms @ weights, atol=1e-4)


def test_padding_keeps_every_feature_and_flag(table):
    data = transitions.pad(table)
    rows = table.to_pandas()
    assert data.candidates.shape == (len(rows), 5, 12)
    for i in (0, 7, len(rows) - 1):
        np.testing.assert_array_equal(data.globals[i], rows["globals"][i])
        np.testing.assert_array_equal(data.candidates[i].reshape(-1), rows["candidates"][i])
        np.testing.assert_array_equal(data.mask[i], rows["mask"][i])
    assert len(data.described["globals"]) == data.globals.shape[1]
    ends = np.flatnonzero(data.terminal)
    assert (data.following[ends] == len(data)).all()
    others = np.setdiff1d(np.arange(len(data)), ends)
    np.testing.assert_array_equal(data.following[others], others + 1)


def test_a_truncated_episode_keeps_its_last_observation():
    [part] = list(reconstruct(record(horizon=1.0)))[:1]
    built = part.table.to_pandas()
    assert not built["terminated"].any()
    assert built["truncated"].sum() == 1
    assert np.isnan(built["action"].iloc[-1])
    data = transitions.pad(part.table)
    assert data.action[-1] == -1
    assert data.following[-2] == len(data) - 1
    assert (data.action[:-1] >= 0).all()


def test_an_invalid_choice_is_kept_out_of_training(table):
    rows = table.to_pydict()
    rows["invalid"] = [True, *rows["invalid"][1:]]
    marked = pa.Table.from_pydict(rows, schema=table.schema)
    assert transitions.pad(marked).action[0] == -1


def test_ragged_candidates_are_padded_and_masked(table):
    rows = table.slice(0, 3).to_pydict()
    wide = 12
    rows["candidates"][1] = rows["candidates"][1][: 2 * wide]
    rows["mask"][1] = rows["mask"][1][:2]
    data = transitions.pad(pa.Table.from_pydict(rows, schema=table.schema))
    assert data.candidates.shape == (3, 5, wide)
    assert not data.mask[1, 2:].any()
    assert (data.candidates[1, 2:] == 0).all()


def test_a_file_of_something_else_is_refused(tmp_path, table):
    file = tmp_path / "part-0.parquet"
    pq.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(SchemaError, match="not a transition dataset"):
        transitions.read([file])
    pq.write_table(table.drop_columns(["reward"]), file)
    with pytest.raises(CorruptError, match="no column reward"):
        transitions.read([file])
    pq.write_table(table, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptError, match="truncated"):
        transitions.read([file])
    other = table.replace_schema_metadata(
        {"toolkit": table.schema.metadata[b"toolkit"].replace(b'"schema": 1', b'"schema": 9')}
    )
    pq.write_table(other, file)
    with pytest.raises(SchemaError, match="schema version 9"):
        transitions.read([file])


def test_the_buffer_gathers_what_follows(table):
    from toolkit.data.buffer import FlatBuffer

    data = transitions.pad(table)
    buffer = FlatBuffer(data, discount_seconds=4.0, seed=0, reward_scale=2.0)
    batch = buffer.sample_transition_batch(512)
    g = data.globals.shape[1]
    rows = [
        int(np.flatnonzero((data.globals == o[:g]).all(axis=1) & (data.action == a))[0])
        for o, a in zip(batch.observations, batch.actions[:, 0], strict=True)
    ]
    for i, row in enumerate(rows):
        assert batch.intervals[i, 0] == pytest.approx(data.elapsed[row] / 4.0)
        assert batch.rewards[i, 0] == pytest.approx(data.reward[row] / 2.0, rel=1e-5)
        assert batch.terminals[i, 0] == float(data.terminal[row])
        if data.terminal[row]:
            assert (batch.next_observations[i] == 0).all()
        else:
            np.testing.assert_array_equal(batch.next_observations[i][:g], data.globals[row + 1])
    again = FlatBuffer(data, discount_seconds=4.0, seed=0).sample_transition_batch(512)
    np.testing.assert_array_equal(again.observations, batch.observations)


def test_d3rlpy_can_fit_from_the_buffer(table, tmp_path, monkeypatch):
    import d3rlpy

    from toolkit.data.buffer import FlatBuffer

    monkeypatch.chdir(tmp_path)
    buffer = FlatBuffer(transitions.pad(table), discount_seconds=4.0, seed=0)
    algo = d3rlpy.algos.DiscreteBCConfig(batch_size=32).create()
    algo.fit(
        buffer,
        n_steps=20,
        n_steps_per_epoch=10,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
        show_progress=False,
    )
    assert algo.grad_step == 20
