"""Factual replay: whatever was recorded is shown, chosen and paid again, bit by bit."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from collectors import importing
from collectors.simulated import SimulatedCollector
from collectors.spark.importer import SparkImporter
from collectors.streams import Limits
from tests.recordings import record
from tests.replaying import assert_same
from toolkit import trace as traces
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError, ToolkitError
from toolkit.inferred import allocation, configuration, placement
from toolkit.live import chooser, rollout
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.replays.logs import TOLD
from toolkit.replays.reconstruct import replays
from toolkit.reward import BatchWeights, Weights, WorkflowWeights
from toolkit.simulator.simulator import Simulator
from toolkit.trace import Trace

LATE = (
    "+scenario.disturbances._target_=toolkit.scenarios.disturbances.Disturbances",
    "+scenario.disturbances.start_delay=0.1",
    "+scenario.disturbances.seen_delay=0.2",
)


def simulated(of, folder, *, runs=2, seed=5, policy=None):
    """A trace that has been written and read again."""
    collector = SimulatedCollector(runs=runs, behaviours=["x"])
    trace = collector.collect(of, [policy or Random()], seed, folder / "runs")
    traces.write(trace, folder / "whole")
    return traces.read(folder / "whole")


def told(trace, **changes):
    """The same trace with another provenance."""
    return Trace(tables=trace.tables, provenance={**trace.provenance, **changes})


# Recorded in the simulator.


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("genomics_tiny", ()),
        ("genomics_tiny", ("scenario.horizon=2",)),
        ("genomics_closed", ("scenario.jobs=8",)),
        ("workflows_tiny", ()),
        ("workflows_tiny", ("scenario.sigma=0", "+scenario.pull=true")),
        ("workflows_tiny", ("scenario.horizon=20",)),
        ("workflows_tiny", LATE),
        ("torch_dags", ("scenario.jobs=2",)),
        ("paper_c_8_duplication", ()),
        ("batches_tiny", ()),
        ("batches_tiny", ("scenario.sigma=0", "scenario.period=null")),
        ("batches_tiny", ("scenario.startup=0",)),
        ("batches_tiny", ("scenario.startup=7",)),
        ("batches_tiny", ("scenario.period=0.1", "scenario.max_waiting=6")),
        ("batches_tiny", ("scenario.sigma=0", *LATE)),
    ],
)
def test_a_simulated_recording_is_replayed_bit_by_bit(name, overrides, tmp_path):
    of = scenario_of(name, overrides)
    trace = simulated(of, tmp_path)
    found = list(replays(trace))
    assert [r.run for r in found] == [0, 1]
    for r in found:
        workload, policy = of.plan(r.seed), Random()
        policy.reset(workload)
        played = rollout(
            Simulator(of, r.seed),
            workload,
            chooser(policy, r.seed),
            horizon=of.horizon,
            weights=of.weights,
        )
        assert_same(played, r.episode)
        assert r.same == len(r.episode.steps) == len(trace.of("decisions", r.run))
        assert r.weights == of.weights
        assert (r.policy, r.inferred, r.began) == ("random", False, None)
        assert not r.invalid.any()
        assert len(r.invalid) == r.same
        assert (r.closing is None) or not r.episode.terminated
        # Its own choices give its own makespan, read from its own tables.
        ends = trace.of("tasks", r.run)["finished_at"].drop_null().to_numpy()
        assert np.nanmax(r.episode.outcome.finished) == ends.max()


def test_where_an_episode_was_cut_it_says_what_would_be_asked_next(tmp_path):
    of = scenario_of("workflows_tiny", ["scenario.horizon=20"])
    for r in replays(simulated(of, tmp_path)):
        assert not r.episode.terminated
        assert r.closing.time == of.horizon
        last = r.episode.steps[-1]
        assert last.decision.time + last.elapsed == pytest.approx(of.horizon)
        assert np.isfinite(last.components).all()


def test_a_cut_allocation_is_paid_until_its_horizon(tmp_path):
    of = scenario_of("genomics_tiny", ["scenario.horizon=1.5"])
    for r in replays(simulated(of, tmp_path)):
        assert not r.episode.terminated
        assert r.closing.time == of.horizon
        assert np.isfinite([s.elapsed for s in r.episode.steps]).all()


def test_a_recording_of_pipelines_is_replayed_from_what_was_recorded():
    trace = record()
    found = list(replays(trace))
    assert len(found) == len(trace.runs("policy"))
    for r in found:
        rows = trace.of("decisions", r.run).to_pydict()
        assert r.same == len(rows["decision"])
        assert [s.action for s in r.episode.steps] == rows["action"]
        assert [s.propensity for s in r.episode.steps] == rows["propensity"]


def test_runs_that_lost_nodes_are_refused_in_one_sentence(tmp_path):
    of = scenario_of("paper_c_8_unreliable", ["scenario.jobs=2"])
    with pytest.raises(ConfigError, match="run 0 lost nodes or tasks"):
        next(replays(simulated(of, tmp_path, runs=1)))


def test_another_reward_of_the_family_may_be_asked_for(tmp_path):
    of = scenario_of("workflows_tiny")
    trace = simulated(of, tmp_path, runs=1)
    [r] = replays(trace, WorkflowWeights(elapsed=2.0))
    ends = trace.tables["tasks"]["finished_at"].to_numpy()
    assert r.weights == WorkflowWeights(elapsed=2.0)
    assert sum(s.reward for s in r.episode.steps) == pytest.approx(-2.0 * ends.max(), rel=0.5)
    with pytest.raises(ConfigError, match="a run of placement is paid by WorkflowWeights"):
        next(replays(trace, BatchWeights(inverse=1.0)))


def test_a_trace_without_decisions_says_so(tmp_path):
    trace = simulated(scenario_of("batches_tiny"), tmp_path, runs=1)
    tables = {**trace.tables, "decisions": trace.tables["decisions"].slice(0, 0)}
    with pytest.raises(ConfigError, match="no run with decisions"):
        next(replays(Trace(tables=tables, provenance=trace.provenance)))


# What a stranger says of a trace.


@pytest.mark.parametrize("name", ["genomics_tiny", "workflows_tiny", "batches_tiny"])
@pytest.mark.parametrize(
    "change",
    [
        {"scenario": None},
        {"scenario": 3},
        {"scenario": {}},
        {"scenario": {"_target_": "os.system"}},
        {"scenario": {"profiles": []}},
        {"scenario": {"profiles": [[1, "x"]], "name": 3}},
        {"scenario": {"_target_": "toolkit.scenarios.batches.Stage", "name": "x", "seconds": 1}},
        {"source": "unknown", "scenario": {"stages": []}},
        {"source": ["spark"]},
        {"source": "gpu", "scenario": None, "engine": {"scenario": {}}},
        {"source": "gpu", "scenario": None, "engine": {"scenario": {"weights": {"sojourn": "1"}}}},
        {
            "source": "gpu",
            "scenario": None,
            "engine": {"scenario": {"weights": {"_target_": "subprocess.Popen", "args": "id"}}},
        },
        {"runs": [{"run": 0, "seed": -1, "mode": "policy", "policy": "x", "terminated": True}]},
        {"runs": [{"run": 0, "seed": "0", "mode": "policy", "policy": "x", "terminated": True}]},
        {"runs": [{"run": 0, "mode": "policy", "terminated": True}]},
        {"runs": [{"run": "0"}]},
        {"runs": [{}]},
        {"runs": [3]},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_nothing_is_made_of_it(
    name, change, tmp_path, monkeypatch
):
    import os
    import subprocess

    trace = simulated(scenario_of(name), tmp_path, runs=1)
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it was called"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it was called"))
    if name == "genomics_tiny" and change in ({"source": ["spark"]},):
        return  # Pipelines are replayed from the record, whoever made it.
    with pytest.raises(ToolkitError):
        list(replays(told(trace, **change)))


def changed(trace, name, row, **values):
    rows = trace.tables[name].to_pylist()
    rows[row] |= values
    table = pa.Table.from_pylist(rows, schema=trace.tables[name].schema)
    return Trace(tables={**trace.tables, name: table}, provenance=trace.provenance)


@pytest.mark.parametrize("name", ["genomics_tiny", "workflows_tiny", "batches_tiny"])
@pytest.mark.parametrize("values", [{"action": 10**6}, {"action": -1}, {"agent": "nobody"}])
def test_a_choice_that_was_never_offered_is_refused(name, values, tmp_path):
    trace = simulated(scenario_of(name), tmp_path, runs=1)
    with pytest.raises(CorruptError):
        list(replays(changed(trace, "decisions", 2, **values)))


def test_a_choice_that_the_mask_forbids_is_refused_where_it_cannot_be_carried_out(tmp_path):
    trace = simulated(scenario_of("workflows_tiny"), tmp_path, runs=1)
    with pytest.raises(CorruptError, match="chose what the mask forbids"):
        list(replays(changed(trace, "decisions", 0, action=31)))


# Imported logs.


def imported(path, folder, infer, **settings):
    how = importing.Settings(
        min_complete=0.0, executor="processes", workers=1, limits=Limits(bytes=2**30),
        infer=infer, **settings,
    )  # fmt: skip
    importer = SparkImporter()
    (folder / "whole").mkdir()
    logs = importing.logs_of(importer, str(path))
    importing.load(importer, logs, how, folder / "runs", folder / "whole")
    return traces.read(folder / "whole")


def test_the_placements_of_real_logs_are_inferred_again_row_by_row(reference_data, tmp_path):
    trace = imported(reference_data / "data" / "spark", tmp_path, "placement", wait_after=0.05)
    found = list(replays(trace))
    assert len(found) == len({r for r in trace.tables["decisions"]["run"].to_pylist()}) == 5
    for r in found:
        rows = trace.of("decisions", r.run).to_pydict()
        steps = r.episode.steps
        assert r.same == len(steps) == len(rows["decision"])
        assert [s.action for s in steps] == rows["action"]
        assert [s.decision.agent for s in steps] == rows["agent"]
        assert r.invalid.tolist() == rows["invalid"]
        assert {s.propensity for s in steps} == {None}
        assert (r.policy, r.inferred, r.seed, r.weights) == ("log", True, None, TOLD["placement"])
        assert r.began == trace.runs()[r.run]["began_unix"]
        # Paid once per instant; in all, the seconds that its jobs spent in the system.
        later = np.diff([s.decision.time for s in steps]) > 0
        assert [s.elapsed > 0 for s in steps[:-1]] == later.tolist()
        assert all(s.reward == 0 for s, then in zip(steps, later, strict=False) if not then)
        if r.episode.terminated:
            o = r.episode.outcome
            spent = (o.completed - o.arrived).sum()
            begun = steps[0].decision.time
            before = np.maximum(0.0, begun - o.arrived).sum()
            assert sum(s.reward for s in steps) == pytest.approx(before - spent)
    assert all(r["inferred"]["wait_after"] == 0.05 for r in trace.runs())


def log_of(trace, family, found, **told):
    """The tables of runs as an importer leaves them, with what was inferred."""
    runs = []
    rows = []
    for run, one in enumerate(found):
        rows += [
            {"run": run, **dict(zip(one.columns, values, strict=True))}
            for values in zip(*one.columns.values(), strict=True)
        ]
        entry = {"family": family, **told, **one.options}
        runs.append({"run": run, "seed": None, "mode": "log", "policy": None, "inferred": entry})
    return Trace(
        tables={**trace.tables, "decisions": traces.table("decisions", rows)},
        provenance={**trace.provenance, "source": "log", "scenario": None, "runs": runs},
    )


def simulated_log(name, folder):
    of = scenario_of(name)
    trace = SimulatedCollector(runs=1, behaviours=["x"]).collect(of, [Random()], 3, folder)
    columns = trace.tables["tasks"].to_pydict()
    columns["submitted_at"] = columns["ready_at"]
    tasks = pa.Table.from_pydict(columns, schema=trace.tables["tasks"].schema)
    return of, {**trace.tables, "tasks": tasks}, trace


def test_the_allocations_of_a_log_are_inferred_again_and_paid(tmp_path):
    of, tables, trace = simulated_log("genomics_tiny", tmp_path)
    found = allocation.infer(tables, interval=of.interval)
    log = log_of(
        Trace(tables=tables, provenance=trace.provenance),
        "allocation", [found], edges_known=True,
    )  # fmt: skip
    [r] = replays(log)
    assert r.same == len(r.episode.steps) == found.decisions
    assert r.weights == Weights(throughput=1.0, latency=1.0, cost=1.0, bottleneck=0.25)
    components = np.sum([s.components for s in r.episode.steps], axis=0)
    jobs = tables["jobs"].to_pydict()
    assert r.episode.terminated
    assert components[0] == len(jobs["job"])
    spent = np.subtract(jobs["finished_at"], jobs["arrived_at"]).sum()
    assert components[1] == pytest.approx(spent)
    # All that was reserved: half its cpus and half its memory as cpus.
    assert components[2] > 0
    assert np.isfinite(components).all()
    # The last instant ends with the last task.
    last = r.episode.steps[-1]
    ends = np.nanmax(tables["tasks"]["finished_at"].to_numpy())
    assert last.decision.time + last.elapsed == pytest.approx(ends)


def test_the_configurations_of_applications_are_inferred_again_and_paid():
    from tests.inferred.test_configuration import GIB, app

    apps = [app(cores=c, memory=m, count=k) for c, m, k in [(2.0, GIB, 3), (1.0, GIB, 3)]]
    found = configuration.infer([configuration.application(a) for a in apps])
    tables = {}
    for name in traces.TABLES:
        rows = [
            {**row, "run": run} for run, one in enumerate(apps) for row in one[name].to_pylist()
        ]
        tables[name] = traces.table(name, rows)
    log = log_of(Trace(tables=tables, provenance=record().provenance), "configuration", found)
    runs = list(replays(log))
    assert [r.run for r in runs] == [0, 1]
    for r in runs:
        assert r.same == 1
        [step] = r.episode.steps
        assert r.episode.terminated
        # Two stages of six tasks, the second from 100 s on: done after 106 s.
        assert step.elapsed == 106.0
        assert step.reward == pytest.approx(1 / 106)
        assert r.weights == BatchWeights(inverse=1000.0)


def test_what_no_slot_shows_is_invalid_and_has_no_action(tmp_path):
    _, tables, trace = simulated_log("workflows_tiny", tmp_path)
    columns = tables["tasks"].to_pydict()
    # All at once on one node: no mask allows that.
    columns["node"] = [0] * len(columns["node"])
    nodes = tables["nodes"].to_pydict()
    tasks = pa.Table.from_pydict(columns, schema=tables["tasks"].schema)
    # A log that says less than what was in use is believed in what was in use; a lost node not.
    nodes["removed_at"] = [15.0, None, None]
    lost = pa.Table.from_pydict(nodes, schema=tables["nodes"].schema)
    tables = {**tables, "tasks": tasks, "nodes": lost}
    found = placement.infer(tables, wait_after=1e9)
    assert found.invalid > 0
    log = log_of(
        Trace(tables=tables, provenance=trace.provenance), "placement", [found], wait_after=1e9
    )
    [r] = replays(log)
    assert r.same == found.decisions == len(r.episode.steps)
    assert r.invalid.tolist() == found.columns["invalid"]
    shown = [s.action for s in r.episode.steps]
    assert shown == found.columns["action"]
    assert -1 in shown


@pytest.mark.parametrize(
    "entry",
    [
        {},
        3,
        {"family": "os.system"},
        {"family": ["placement"]},
        {"family": "placement", "wait_after": "1"},
        {"family": "placement", "wait_after": -1},
        {"family": "allocation", "interval": 0},
        {"family": "allocation", "interval": None},
        {"family": "configuration"},
    ],
)
def test_what_makes_no_sense_of_an_inference_is_refused(entry, tmp_path):
    _, tables, trace = simulated_log("workflows_tiny", tmp_path)
    found = placement.infer(tables, wait_after=1.0)
    log = log_of(Trace(tables=tables, provenance=trace.provenance), "placement", [found])
    runs = [{**log.runs()[0], "inferred": entry}]
    with pytest.raises(ToolkitError):
        list(replays(told(log, runs=runs)))


def test_weights_of_another_family_do_not_pay_a_log(tmp_path):
    _, tables, trace = simulated_log("workflows_tiny", tmp_path)
    found = placement.infer(tables, wait_after=1.0)
    log = log_of(Trace(tables=tables, provenance=trace.provenance), "placement", [found])
    with pytest.raises(ConfigError, match="a log of placement is paid by WorkflowWeights"):
        next(replays(log, BatchWeights(inverse=1.0)))
    [r] = replays(log, WorkflowWeights(elapsed=1.0))
    assert r.weights == WorkflowWeights(elapsed=1.0)


# Recorded on real engines.


def keeping(module, monkeypatch):
    """Keep the episodes that a recorder plays."""
    played = []

    def play(*args, **settings):
        played.append(rollout(*args, **settings))
        return played[-1]

    monkeypatch.setattr(module, "rollout", play)
    return played


def again(trace, folder):
    traces.write(trace, folder)
    return traces.read(folder)


def test_torch_tasks_on_real_workers_are_replayed_bit_by_bit(tmp_path, monkeypatch, capsys):
    from collectors.gpu import record as recorder
    from toolkit.policies.heft_online import HeftOnline

    of = scenario_of("torch_dags", ["scenario.jobs=2"])
    of = dataclasses.replace(of, graphs=dataclasses.replace(of.graphs, operations=SMALL))
    settings = recorder.GpuRecorder(runs=2, repeats=1, devices="cpu", unequal=False)
    played = keeping(recorder, monkeypatch)
    policies = [Random(), Mixture(of=HeftOnline(), epsilon=0.5)]
    trace = again(settings.collect(of, policies, 3, tmp_path / "runs"), tmp_path / "whole")
    found = list(replays(trace))
    assert [r.run for r in found] == [1, 2]
    for r, episode in zip(found, played, strict=True):
        assert_same(episode, r.episode)
        assert r.same == len(episode.steps)
        assert r.weights == of.weights
        assert r.began > 1.7e9
    # One of them is said to have been cut.
    runs = [dict(r) for r in trace.runs()]
    runs[1]["terminated"] = False
    capsys.readouterr()
    assert [r.run for r in replays(told(trace, runs=runs))] == [2]
    assert "left out: run 1 was cut short" in capsys.readouterr().err


SMALL = {"matmul": [128, 256], "reduction": [256], "sort": [4096]}


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("regime", ["cold", "warm_pool"])
def test_batches_on_a_real_spark_are_replayed_bit_by_bit(regime, tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    from collectors.spark import record as recorder

    of = scenario_of("spark_video", ["scenario.batches=3", "scenario.instances=[1,2]"])
    played = keeping(recorder, monkeypatch)
    collector = recorder.SparkRecorder(runs=1, regime=regime, archive=False)
    trace = again(collector.collect(of, [Random()], 7, tmp_path / "runs"), tmp_path / "whole")
    [r] = replays(trace)
    assert_same(played[0], r.episode)
    assert r.same == len(r.episode.steps) == 3
    assert r.weights == of.weights


@pytest.mark.engine
def test_pipelines_on_a_real_ray_are_replayed_bit_by_bit(tmp_path, monkeypatch):
    from collectors.ray.collector import RayCollector
    from toolkit import live

    of = scenario_of("genomics_tiny", ["scenario.jobs=4"])
    played = keeping(live, monkeypatch)
    collector = RayCollector(
        runs=1, behaviours=["static~0.5"], paired=False, sweep=[0.3, 0.7], fastq=None,
        address=None, store_memory=100,
    )  # fmt: skip
    policy = Mixture(of=Static(), epsilon=0.5)
    trace = again(collector.collect(of, [policy], 7, tmp_path / "runs"), tmp_path / "whole")
    [r] = replays(trace)
    assert_same(played[-1], r.episode)
    assert r.same == len(r.episode.steps)
    assert r.weights == of.weights
