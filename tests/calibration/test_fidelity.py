"""Fidelity: nothing is predicted by what has seen it, and a good model is told from a naive one."""

import dataclasses
import json
import math

import numpy as np
import pytest

from tests.calibration.made import scenario_of, simulated
from toolkit.calibration import fidelity
from toolkit.calibration.calibration import Sought, fit
from toolkit.calibration.fidelity import POLICY, TIME, WORKLOAD, folds, measure, summary
from toolkit.calibration.runs import Runs
from toolkit.calibration.search import Effort
from toolkit.policies.mixture import Mixture
from toolkit.policies.static import Static

EXPLORING = Mixture(of=Static(), epsilon=0.3)
POLICIES = {p.name: p for p in (Mixture(of=Static(), epsilon=0.1), EXPLORING)}


class Told:
    """Runs of which no more is known than who decided, and on which workload."""

    def __init__(self, entries):
        self.runs = list(range(len(entries)))
        self.entries = entries

    def about(self, run):
        policy, seed = self.entries[run]
        return {"run": run, "policy": policy, "seed": seed}


PAIRED = Told([(p, s) for s in range(5) for p in ("a", "b", "c", "d")])


@pytest.mark.parametrize("recorded", [PAIRED, Told([("a", 0), ("b", 0), ("a", 1), ("a", 2)])])
def test_no_run_is_predicted_by_what_has_seen_it(recorded):
    held = {WORKLOAD: [], POLICY: [], TIME: []}
    for split, train, test in folds(recorded):
        held[split] += test
        assert train and test
        assert not set(train) & set(test)
        assert sorted(train + test) == recorded.runs
        seeds, names = (
            [{recorded.about(r)[key] for r in part} for part in (train, test)]
            for key in ("seed", "policy")
        )
        if split == WORKLOAD:
            assert not seeds[0] & seeds[1]
        elif split == POLICY:
            assert not names[0] & names[1]
        else:
            assert max(train) < min(test)
    # By workload and by policy every run is held out once.
    assert sorted(held[WORKLOAD]) == sorted(held[POLICY]) == recorded.runs
    assert held[TIME] == recorded.runs[int(0.7 * len(recorded.runs)) :]


def test_what_cannot_be_held_out_is_not():
    assert [s for s, _, _ in folds(Told([("a", 0), ("a", 1)]))] == [WORKLOAD, WORKLOAD, TIME]
    assert [s for s, _, _ in folds(Told([("a", 0), ("b", 0)]))] == [POLICY, POLICY, TIME]
    assert list(folds(Told([("a", 0)]))) == []
    assert list(folds(Told([]))) == []


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fidelity")
    of = scenario_of("allocation", sigma=0.15, jobs=16)
    return Runs(simulated(of, folder, runs=8, policies=tuple(POLICIES.values()), paired=True))


@pytest.fixture(scope="module")
def document(recorded):
    kept = fidelity.QUICK
    fidelity.QUICK = Effort(random=1, refine=0, runs=1, draws=1)
    try:
        return measure(recorded, fit(recorded, recorded.runs, Sought()), POLICIES)
    finally:
        fidelity.QUICK = kept


def test_a_good_model_is_told_from_a_naive_one(document):
    split = document["splits"][WORKLOAD]
    for told in split["metrics"].values():
        assert told["held_out"] < 0.8 * told["naive"]
    assert split["coverage"]["90"]["share"] == pytest.approx(0.9, abs=0.08)
    for split in document["splits"].values():
        assert split["log_error"]["held_out"] < 0.5 * split["log_error"]["naive"]
        assert split["extrapolated"] < 0.2
        assert 0 <= split["curve"] < 0.6


def test_every_run_is_predicted_once_by_each_way_of_holding_out(recorded, document):
    for split, wanted in ((WORKLOAD, range(8)), (POLICY, range(8)), (TIME, range(5, 8))):
        assert sorted(r["run"] for r in document["rows"] if r["split"] == split) == list(wanted)
    w = recorded.workload(0)
    assert document["splits"][WORKLOAD]["tasks"] == 8 * w.tasks
    for row in document["rows"]:
        assert row["real"].keys() == {"makespan", "latency"}
        assert row["predicted"].keys() == {"held_out", "in_sample", "naive"}


def test_a_run_that_is_known_is_given_back_where_its_choices_are(tmp_path):
    """A policy that does not explore chooses again what it chose; the luck is the recorded one."""
    recorded = Runs(simulated(scenario_of("allocation"), tmp_path, runs=3, policies=(Static(),)))
    calibration = fit(recorded, recorded.runs, Sought())
    naive = fidelity.Naive.of(recorded, [1, 2], calibration)
    found = fidelity.check(recorded, 0, "time", Static(), calibration, calibration, naive)
    for metric, real in found.real.items():
        assert found.predicted["in_sample"][metric][0] == pytest.approx(real, rel=1e-6)
    assert ((found.luck > 0) & (found.luck < 1)).all()


def test_policies_are_compared_on_the_same_workloads(document):
    told = document["agreement"]
    assert (told["policies"], told["seeds"], told["pairs"]) == (2, 4, 1)


def test_the_document_is_json_and_says_what_stands_beside_a_score(document):
    again = json.loads(json.dumps(document, allow_nan=False))
    short = summary(again)
    told = again["splits"][WORKLOAD]
    assert short["held_out_makespan_error"] == told["metrics"]["makespan"]["held_out"]
    assert short["naive_latency_error"] == told["metrics"]["latency"]["naive"]
    assert short["coverage_90"] == told["coverage"]["90"]["share"]
    assert short["tasks"] == told["tasks"]
    assert all(math.isfinite(v) for v in short.values())


def test_nothing_held_out_is_no_summary():
    assert summary({"splits": {}}) == {}
    by_time = {"metrics": {}, "coverage": {"90": {"share": 0.5}}, "tasks": 3}
    assert summary({"splits": {TIME: by_time}}) == {"coverage_90": 0.5, "tasks": 3}


def test_runs_of_policies_that_are_not_here_are_not_predicted(recorded):
    told = {EXPLORING.name: EXPLORING}
    kept = fidelity._spread(recorded, list(folds(recorded)), WORKLOAD, told)
    assert {recorded.about(r)["policy"] for r in kept} == {EXPLORING.name}


def test_of_many_runs_whole_workloads_are_predicted_spread_over_all():
    many = Told([(p, s) for s in range(30) for p in ("a", "b")])
    found = fidelity._spread(many, list(folds(many)), WORKLOAD, {"a": None, "b": None})
    seeds = sorted(many.about(r)["seed"] for r in found)
    assert seeds == sorted(np.repeat([0, 5, 11, 17, 23, 29], 2))


def test_repeats_of_a_run_are_its_noise_floor(recorded):
    told = [{**r, "seed": 5, "policy": "random"} for r in recorded.trace.runs()]
    again = dataclasses.replace(
        recorded.trace, provenance={**recorded.trace.provenance, "runs": told}
    )
    found = fidelity._repeats(Runs(again))
    assert list(found) == [("random", 5)]
    assert len(found["random", 5]) == 8
