"""Transitions: schema and hash, rows of an episode, padding, the buffer that samples them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.recordings import record, rows, transitions
from toolkit.data.buffer import FlatBuffer
from toolkit.data.padding import from_table
from toolkit.data.transitions import Description, describe
from toolkit.errors import CorruptError, SchemaError
from toolkit.replays.reconstruct import replays


@pytest.fixture(scope="module")
def recorded():
    return record()


@pytest.fixture(scope="module")
def found(recorded):
    return rows(recorded)


@pytest.fixture(scope="module")
def table(found):
    return found[0]


def test_a_row_per_decision_with_its_propensity(recorded, table):
    for run in replays(recorded):
        wanted = recorded.of("decisions", run.run).to_pandas()
        built = table.to_pandas().query(f"run == {run.run}")
        assert run.same == len(built) == len(wanted)
        np.testing.assert_array_equal(built["action"], wanted["action"])
        np.testing.assert_allclose(built["propensity"], wanted["propensity"])
        assert built["terminated"].tolist() == [False] * (len(built) - 1) + [True]


def test_only_the_last_choice_of_an_instant_is_paid(table):
    built = table.to_pandas().query("episode == 0")
    last = built["time"].diff(-1).fillna(-1) != 0
    assert (built.loc[~last, "elapsed"] == 0).all()
    assert (built.loc[~last, "reward"] == 0).all()
    assert (built.loc[last, "elapsed"] > 0).all()


def test_a_return_adds_up_to_jobs_latency_cost_and_queue(recorded, table):
    for run, built in table.to_pandas().groupby("run"):
        jobs = recorded.of("jobs", run).to_pandas()
        assert built["r_throughput"].sum() == len(jobs)
        latency = (jobs["finished_seen"] - jobs["arrived_seen"]).sum()
        assert built["r_latency"].sum() == pytest.approx(latency, rel=1e-4)
        weights = np.array([1.0, -1.0, -1.0, -0.25])
        terms = built[["r_throughput", "r_latency", "r_cost", "r_bottleneck"]].to_numpy()
        np.testing.assert_allclose(built["reward"], terms @ weights, atol=1e-4)


def test_columns_say_what_they_hold(table, found):
    described = found[1]
    globals_ = table.schema.field("globals").metadata
    assert json.loads(globals_[b"names"]) == [n for n, _ in described.globals]
    assert json.loads(globals_[b"units"]) == [u for _, u in described.globals]
    assert globals_[b"family"] == b"allocation"
    assert int(globals_[b"featuriser"]) == described.featuriser
    assert len(table.schema.metadata[b"schema_hash"]) == 64
    assert describe(table.schema, "x") == described
    assert all(table.schema.field(n).metadata[b"unit"] for n in table.column_names)


def test_the_schema_survives_parquet(table, found, tmp_path):
    pq.write_table(table, tmp_path / "x.parquet")
    assert describe(pq.read_schema(tmp_path / "x.parquet"), "x") == found[1]


def _changed(columns, **changes):
    told = json.loads(columns.metadata[b"toolkit"]) | changes
    return columns.with_metadata({**columns.metadata, b"toolkit": json.dumps(told, sort_keys=True)})


def test_foreign_columns_are_refused(table):
    with pytest.raises(SchemaError, match="not a transition dataset"):
        describe(pa.table({"x": [1]}).schema, "x")
    with pytest.raises(SchemaError, match="schema version 9"):
        describe(_changed(table.schema, schema=9), "x")
    with pytest.raises(SchemaError, match="not those that it was written with"):
        describe(_changed(table.schema, slots=7), "x")
    with pytest.raises(SchemaError, match="not those that it was written with"):
        describe(table.drop_columns(["reward"]).schema, "x")
    at = table.schema.get_field_index("reward")
    renamed = table.schema.set(at, table.schema.field(at).with_name("prize"))
    with pytest.raises(SchemaError, match="not those that it was written with"):
        describe(renamed, "x")


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b"{", b"[" * 99_999, b'{"schema": 2}'])
def test_a_damaged_description_is_refused(table, text):
    with pytest.raises(SchemaError):
        describe(table.schema.with_metadata({"toolkit": text}), "x")


def test_padding_keeps_every_feature_and_flag(table, found):
    data = from_table(table, found[1])
    frame = table.to_pandas()
    assert data.candidates.shape == (len(frame), 5, 12)
    for i in (0, 7, len(frame) - 1):
        np.testing.assert_array_equal(data.globals[i], frame["globals"][i])
        shown = frame["candidates"][i]
        np.testing.assert_array_equal(data.candidates[i].reshape(-1)[: len(shown)], shown)
        assert not data.candidates[i].reshape(-1)[len(shown) :].any()
        np.testing.assert_array_equal(data.mask[i][: len(frame["mask"][i])], frame["mask"][i])
    assert np.shares_memory(data.candidates, data.observations)
    ends = np.flatnonzero(data.terminal)
    assert (data.following[ends] == len(data)).all()
    others = np.setdiff1d(np.arange(len(data)), ends)
    np.testing.assert_array_equal(data.following[others], others + 1)
    assert not data.observations[-1].any()


def test_what_was_shown_is_what_is_read(recorded, table, found):
    data = from_table(table, found[1])
    shown = [s.decision for r in replays(recorded) for s in r.episode.steps]
    for i, decision in enumerate(shown):
        np.testing.assert_array_equal(data.globals[i], decision.globals)
        np.testing.assert_array_equal(data.candidates[i], decision.candidates)
        np.testing.assert_array_equal(data.mask[i], decision.mask)


def test_a_truncated_episode_keeps_its_last_observation():
    table, described = rows(record(horizon=1.0))
    built = table.to_pandas().query("episode == 0")
    assert not built["terminated"].any()
    assert built["truncated"].sum() == 1
    assert np.isnan(built["action"].iloc[-1])
    data = from_table(table.slice(0, len(built)), described)
    assert data.action[-1] == -1
    assert data.following[-2] == len(data) - 1
    assert (data.action[:-1] >= 0).all()


def test_an_invalid_choice_is_kept_out_of_training(table, found):
    at = table.schema.get_field_index("invalid")
    flags = pa.array([True] + [False] * (len(table) - 1))
    marked = table.set_column(at, table.schema.field(at), flags)
    assert from_table(marked, found[1]).action[0] == -1


def test_rows_that_contradict_their_columns_are_refused(table, found):
    at = table.schema.get_field_index("candidates")
    values = table["candidates"].to_pylist()
    values[1] = values[1][:-1]
    cut = table.set_column(
        at, table.schema.field(at), pa.array(values, table.schema.field(at).type)
    )
    with pytest.raises(CorruptError, match="do not match"):
        from_table(cut, found[1])
    at = table.schema.get_field_index("action")
    beyond = pa.array([99] * len(table), pa.int32())
    with pytest.raises(CorruptError, match="beyond the 5 slots"):
        from_table(table.set_column(at, table.schema.field(at), beyond), found[1])


def test_the_buffer_gathers_what_follows(recorded):
    data = transitions(recorded)
    buffer = FlatBuffer(data, discount_seconds=4.0, seed=0, reward_scale=2.0)
    batch = buffer.sample_transition_batch(512)
    g = data.sizes[0]
    where = [
        int(np.flatnonzero((data.globals == o[:g]).all(axis=1) & (data.action == a))[0])
        for o, a in zip(batch.observations, batch.actions[:, 0], strict=True)
    ]
    for i, row in enumerate(where):
        assert batch.intervals[i, 0] == pytest.approx(data.elapsed[row] / 4.0)
        assert batch.rewards[i, 0] == pytest.approx(data.reward[row] / 2.0, rel=1e-5)
        assert batch.terminals[i, 0] == float(data.terminal[row])
        if data.terminal[row]:
            assert (batch.next_observations[i] == 0).all()
        else:
            np.testing.assert_array_equal(batch.next_observations[i][:g], data.globals[row + 1])
    again = FlatBuffer(data, discount_seconds=4.0, seed=0).sample_transition_batch(512)
    np.testing.assert_array_equal(again.observations, batch.observations)


def test_descriptions_of_all_families_name_their_agents():
    from toolkit.envs.registration import scenario_of

    for name, agents in (
        ("workflows_tiny", ("task", "node")),
        ("batches_tiny", ("fleet",)),
        ("genomics_tiny", ("qc", "trim", "kmer", "align", "merge", "call")),
    ):
        scenario = scenario_of(name)
        described = Description.of(scenario.plan(0), scenario.weights)
        assert described.agents == agents
        assert describe(described.schema, name) == described
