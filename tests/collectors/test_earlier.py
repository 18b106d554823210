"""Estimates of an earlier recording: found or refused, and told again on the real Ray."""

import dataclasses

import pytest

from collectors.ray.collector import RayCollector
from tests.recordings import keep, record
from tests.workloads import scenario
from toolkit import cli
from toolkit import trace as traces
from toolkit.errors import ConfigError, NotFoundError
from toolkit.policies.random import Random
from toolkit.replays.reconstruct import replays
from toolkit.store import Store

SETTINGS = RayCollector(
    runs=1, behaviours=["random"], paired=False, sweep=[0.3, 0.7], fastq=None, address=None,
    store_memory=100, estimates="first",
)  # fmt: skip


def kept(**told):
    trace = record([Random()])
    return keep(dataclasses.replace(trace, provenance={**trace.provenance, **told}), "first")


@pytest.mark.parametrize(
    ("told", "changes", "says"),
    [
        ({"source": "simulated"}, {}, "from ray with estimates; trace 'first' comes from sim"),
        ({"source": "ray", "estimates": None}, {}, "comes from ray, without estimates"),
        ({"source": "ray"}, {"jobs": 9}, "of 'test' and differs in jobs"),
        ({"source": "ray"}, {"jobs": 9, "name": "mine"}, "'mine'; .* differs in jobs, name"),
    ],
)
def test_what_was_measured_elsewhere_is_refused(told, changes, says, tmp_path):
    kept(**told)
    with pytest.raises(ConfigError, match=says) as refused:
        SETTINGS.collect(scenario(**{"jobs": 6, **changes}), [Random()], 0, tmp_path / "runs")
    assert "collector.estimates=null" in refused.value.hint


def test_a_trace_that_is_not_there_is_named_with_those_that_are(tmp_path):
    kept(source="ray")
    settings = dataclasses.replace(SETTINGS, estimates="frist")
    with pytest.raises(NotFoundError, match="did you mean 'first'"):
        settings.collect(scenario(jobs=6), [Random()], 0, tmp_path / "runs")


@pytest.mark.engine
def test_policies_on_ray_are_told_again_what_was_measured_before(capsys):
    """Without a sweep, each policy twice on the same workload; what it was shown is replayed."""
    command = ["collect", "scenario=genomics_tiny", "scenario.jobs=3", "ray.store_memory=100"]
    assert cli.main([*command, "collector.runs=1", "trace=first"]) == 0
    again = [*command, "collector.estimates=first", "collector.paired=true", "collector.times=2"]
    again += ["collector.runs=4", "collector.behaviours=[random,'static~0.5']", "seed=90"]
    assert cli.main([*again, "trace=second"]) == 0
    first, second = (traces.read(Store().get("traces", n).path) for n in ("first", "second"))
    assert [r["mode"] for r in first.runs()] == ["sweep", "policy"]
    assert [(r["run"], r["mode"], r["seed"], r["repeat"]) for r in second.runs()] == [
        (1, "policy", 91, 0), (2, "policy", 91, 0), (3, "policy", 91, 1), (4, "policy", 91, 1)
    ]  # fmt: skip
    assert second.provenance["estimates"] == first.provenance["estimates"]
    assert second.provenance["engine"]["estimates_of"] == "first"
    found = list(replays(second))
    assert [r.same for r in found] == [len(r.episode.steps) for r in found]
    one, other = (second.of("jobs", run) for run in (1, 3))
    assert one["arrived_at"].to_numpy() == pytest.approx(other["arrived_at"].to_numpy(), abs=0.2)
    one, other = (second.of("decisions", run)["action"].to_pylist() for run in (1, 3))
    assert one[: len(other)] != other[: len(one)]
    # What is there already is not recorded again, unless what it was told has changed.
    capsys.readouterr()
    assert cli.main([*again, "trace=second"]) == 0
    assert "trace second is there already" in capsys.readouterr().err
    first.provenance["host"]["platform"] = "another"
    keep(first, "first")
    assert cli.main([*again, "trace=second"]) != 0
    assert "recorded with other settings" in capsys.readouterr().err
