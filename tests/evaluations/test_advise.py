"""Advice on logs: a change is told where it is known, an error where it is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from collectors.simulated import SimulatedCollector
from evaluations import advice
from evaluations.advise import held_out
from toolkit.cli import main
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.policies.fifo import Fifo
from toolkit.policies.named import named
from toolkit.replays import logged as logs
from toolkit.replays.again import Fleet, as_recorded, measured, resampled
from toolkit.simulator.simulator import Simulator
from toolkit.statistics import Interval
from toolkit.store import Store

SAMPLES = Path(__file__).parents[1] / "collectors" / "samples"
GROUP = "{_target_: toolkit.scenarios.workflows.Group, kind: k, count: 3, memory: 64,"
GROUP += " bandwidth: 1.0e+9}"
NODES = f"scenario.cluster.groups=[{GROUP}]"
"""Nodes of one kind: which of them a rule takes is then all the same."""


def scenario(load, jobs=40):
    words = [NODES, "scenario.ccr=1.0e-12", f"scenario.jobs={jobs}", "scenario.horizon=1.0e+6"]
    return scenario_of("workflows_tiny", [*words, f"scenario.arrivals.load={load}"])


def recorded(load, folder, runs=3, jobs=40):
    collector = SimulatedCollector(runs=runs, behaviours=["fifo"], decisions=False)
    return collector.collect(scenario(load, jobs), [Fifo()], 5, Path(folder))


def words(load, jobs=40):
    return [
        "collect", "+collector=synthetic", "scenario=workflows_tiny", "collector.behaviours=[fifo]",
        "collector.runs=3", "trace=log", NODES, "scenario.ccr=1.0e-12", f"scenario.jobs={jobs}",
        f"scenario.arrivals.load={load}", "scenario.horizon=1.0e+6", "format=json",
    ]  # fmt: skip


def advise(capsys, *given):
    """Return exit code, what was printed and what was said on stderr."""
    code = main(["advise", "workloads=20", "draws=5", "tasks=300", *given])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out, told.err


def verdicts(out):
    return {x["name"]: x["verdict"] for x in json.loads(out)["lines"] if x["kind"] == "policy"}


def test_a_policy_that_is_truly_better_is_called_better(capsys):
    assert main(words(load=2)) == 0
    capsys.readouterr()
    code, out, err = advise(
        capsys, "trace=log", "policies=[shortest_work,srpt_heft]", "format=json"
    )
    assert code == 0, err
    told = json.loads(out)
    bar = told["metrics"]["latency"]["bar"]
    of = scenario(2)
    true = {name: _truth(of, name) for name in ("fifo", "shortest_work")}
    gain = np.mean(true["shortest_work"]) / np.mean(true["fifo"]) - 1
    assert gain < -bar, "the scenario is to have a gain that can be seen"
    assert verdicts(out)["shortest_work"] == advice.BETTER
    assert "instead of fifo" in told["advice"]


def _truth(of, name):
    """Return the mean latency of a policy on workloads that nobody has recorded."""
    policy, found = named(name, Store()).policy, []
    for seed in range(900, 906):
        workload = of.plan(seed)
        policy.reset(workload)
        o = rollout(
            Simulator(of, seed), workload, chooser(policy, seed),
            horizon=of.horizon, weights=of.weights, record=False,
        ).outcome  # fmt: skip
        found.append(float((o.completed - o.arrived).mean()))
    return found


def test_equal_policies_cannot_be_told_apart(capsys):
    assert main(words(load=0.05)) == 0
    capsys.readouterr()
    code, out, err = advise(
        capsys, "trace=log", "policies=[fair,shortest_work,min_min]", "format=json"
    )
    assert code == 0, err
    assert set(verdicts(out).values()) == {advice.CANNOT_TELL}
    assert json.loads(out)["advice"].startswith("Leave it as it is")


def test_the_page_is_a_page(capsys):
    assert main(words(load=0.9, jobs=20)) == 0
    capsys.readouterr()
    code, out, err = advise(capsys, "trace=log")
    assert code == 0, err
    lines = out.splitlines()
    assert len(lines) < 50
    assert max(map(len, lines)) <= 100
    assert sum(any(v in x for v in ("better", "worse", "cannot tell")) for x in lines) >= 5
    assert "held-out error" in out
    assert "assumed:" in out


def test_a_replay_of_the_own_rule_with_known_durations_is_what_was_recorded(tmp_path):
    logged = logs.read(recorded(0.9, tmp_path))
    early, late = logged.jobs()
    assert (early, late) == (84, 36)
    found = held_out(logged, Fifo(), draws=3, seed=0)
    for told in found["metrics"].values():
        assert told["knowing"] == pytest.approx(0, abs=1e-9)
        assert told["held_out"] < 0.5
    assert 0.75 < found["coverage"]["share"] <= 1


def test_what_is_held_out_teaches_nothing(tmp_path):
    trace = recorded(0.9, tmp_path)
    rows = trace.tables["tasks"].to_pydict()
    last = max(rows["run"])
    first = logs.read(trace).runs[-1].late
    for i, (run, job) in enumerate(zip(rows["run"], rows["job"], strict=True)):
        if run == last and job >= first:
            rows["finished_at"][i] -= 0.9 * (rows["finished_at"][i] - rows["started_at"][i])
    tables = {**trace.tables, "tasks": type(trace.tables["tasks"]).from_pydict(
        rows, schema=trace.tables["tasks"].schema)}  # fmt: skip
    changed = logs.read(type(trace)(tables=tables, provenance=trace.provenance))
    before = logs.read(trace)
    for a, b in zip(changed.runs, before.runs, strict=True):
        np.testing.assert_array_equal(changed.means(a), before.means(b))


def test_resamplings_are_the_same_each_time_and_of_later_jobs_alone(tmp_path):
    logged = logs.read(recorded(0.9, tmp_path))
    first, again = (list(resampled(logged, range(3), 200)) for _ in range(2))
    for streams, others in zip(first, again, strict=True):
        for a, b in zip(streams, others, strict=True):
            np.testing.assert_array_equal(a.jobs, b.jobs)
            np.testing.assert_array_equal(a.arrival, b.arrival)
            assert (a.jobs >= a.run.late).all()
            assert a.workload.tasks <= 200 or len(a.jobs) == 1
    assert any((a.jobs != b.jobs[: len(a.jobs)]).any() for a, b in zip(*first[:2], strict=False))


def test_more_nodes_help_and_cost(tmp_path):
    logged = logs.read(recorded(2, tmp_path))
    own = as_recorded(logged)
    usual = measured(own, Fifo(), 0)
    double, half = (
        measured([replace(s, fleet=Fleet(count=f)) for s in own], Fifo(), 0) for f in (2.0, 0.5)
    )
    assert double["latency"] < usual["latency"] < half["latency"]
    assert double["cost"] > usual["cost"]
    assert len(replace(own[0], fleet=Fleet(count=1.5)).workload.cluster.nodes) == 4


def test_a_small_log_says_how_much_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="holds 3 jobs; 10 are needed") as error:
        logs.read(recorded(0.9, tmp_path, runs=1, jobs=3))
    assert "path=<folder>" in error.value.hint


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "name either logs or a trace"),
        (["path=/no/such"], "there is no file or folder"),
        (["trace=nope"], "there is no trace 'nope'"),
        (["path=.", "workloads=3"], "workloads must be at least 20"),
        (["path=.", "reader=sprak"], "did you mean 'spark'"),
    ],
)
def test_mistakes_are_said(capsys, given, said):
    code, _, err = advise(capsys, *given)
    assert code == 2
    assert said in err


@pytest.mark.parametrize("kind", ["spark", "ray", "gpu", "nextflow", "wfformat"])
def test_who_reads_a_log_is_found_out(capsys, kind):
    if kind == "ray":
        pytest.importorskip("ray")
    path = SAMPLES / kind
    code, _, err = advise(capsys, f"path={path}", "min_complete=0", "policies=[fair]")
    assert f"importing {kind}" in err
    assert code == 0 or err.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Interval(-0.3, -0.4, -0.2), advice.BETTER),
        (Interval(0.3, 0.2, 0.4), advice.WORSE),
        (Interval(-0.09, -0.1, -0.08), advice.CANNOT_TELL),
        (Interval(-0.3, -0.7, 0.1), advice.CANNOT_TELL),
        (Interval(np.nan, np.nan, np.nan), advice.CANNOT_TELL),
    ],
)
def test_a_verdict_needs_more_than_the_error_and_more_than_chance(change, said):
    assert advice.verdict(change, 0.1) == said


def test_a_log_of_strangers_is_judged(capsys, reference_data):
    path = reference_data / "data" / "spark" / "eventlog_4nodes_8cores_dynamic_alloc.zstd"
    if not path.exists():
        pytest.skip("the event log of Spark with dynamic allocation is not here")
    code, out, err = advise(capsys, f"path={path}", "reader=spark", "format=json")
    assert code == 0, err
    told = json.loads(out)
    assert told["source"] == "spark"
    assert told["changing"]
    assert len(verdicts(out)) >= 5
    assert any(x["name"].startswith("executors") for x in told["lines"])
    assert any(x["name"].startswith("cores") for x in told["lines"])
    assert 0 <= told["metrics"]["latency"]["held_out"] < np.inf


@pytest.mark.parametrize(
    "name", ["spark/eventlog_3nodes_12cores_multiple_executors", "kineto/cupti_profiler.json.gz"]
)
def test_logs_of_strangers_that_are_too_small_say_so(capsys, reference_data, name):
    path = reference_data / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the reference data")
    code, _, err = advise(capsys, f"path={path}", "min_complete=0")
    assert code == 2
    assert "are needed" in err or "nor when they were submitted" in err
