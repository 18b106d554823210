"""The recorded clock of placements believes only what can have happened."""

import pyarrow as pa
import pytest

from collectors.simulated import SimulatedCollector
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError
from toolkit.live import rollout
from toolkit.policies.random import Random
from toolkit.simulator.recorded import Forced
from toolkit.simulator.recorded_placement import RecordedPlacement
from toolkit.trace import Trace


def recorded(folder, name="workflows_tiny"):
    collector = SimulatedCollector(runs=1, behaviours=["x"])
    return collector.collect(scenario_of(name), [Random()], 5, folder)


def replay(trace, name="workflows_tiny"):
    of = scenario_of(name)
    return rollout(
        RecordedPlacement(trace, 0),
        of.plan(5),
        Forced(trace, 0).chooser,
        horizon=of.horizon,
        weights=of.weights,
    )


def changed(trace, name, column, row, value):
    columns = trace.tables[name].to_pydict()
    columns[column][row] = value
    table = pa.Table.from_pydict(columns, schema=trace.tables[name].schema)
    return Trace(tables={**trace.tables, name: table}, provenance=trace.provenance)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("tasks", "task", 2**30),
        ("tasks", "task", -5),
        ("tasks", "finished_seen", 1e-9),
        ("jobs", "job", 2**30),
        ("jobs", "job", -1),
    ],
)
def test_an_event_that_cannot_have_happened_is_refused(name, column, value, tmp_path):
    trace = recorded(tmp_path)
    with pytest.raises(CorruptError, match="does not fit its scenario"):
        replay(changed(trace, name, column, 3 if name == "tasks" else 1, value))


def test_a_task_with_several_attempts_is_refused(tmp_path):
    trace = recorded(tmp_path)
    twice = trace.tables["tasks"].to_pydict()["task"][0]
    with pytest.raises(CorruptError, match="several attempts"):
        RecordedPlacement(changed(trace, "tasks", "task", 1, twice), 0)


def test_a_run_without_decisions_is_refused(tmp_path):
    trace = recorded(tmp_path)
    tables = {**trace.tables, "decisions": trace.tables["decisions"].slice(0, 0)}
    with pytest.raises(ConfigError, match="no decisions to replay"):
        RecordedPlacement(Trace(tables=tables, provenance=trace.provenance), 0)


def test_a_copy_that_says_nothing_or_nobody_chose_is_refused(tmp_path):
    name = "paper_c_8_duplication"
    trace = recorded(tmp_path, name)
    kinds = trace.tables["spans"]["kind"].to_pylist()
    assert "copy" in kinds
    first = kinds.index("copy")
    with pytest.raises(CorruptError, match="does not say when it was seen"):
        replay(changed(trace, "spans", "detail", first, "{}"), name)
    alone = next(
        t
        for t in trace.tables["tasks"]["task"].to_pylist()
        if t not in trace.tables["spans"]["task"].to_pylist()
    )
    with pytest.raises(CorruptError, match=r"was chosen to be executed again|does not fit"):
        replay(changed(trace, "spans", "task", first, alone), name)
