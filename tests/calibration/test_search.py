"""Search: it finds what slowed tasks and their starts down, and keeps its control."""

import dataclasses

import pytest

from tests import recordings
from tests.calibration.made import FAMILIES, crowded, scenario_of, simulated
from tests.workloads import Luck, scenario
from toolkit.calibration.calibration import FILE, Sought
from toolkit.calibration.runs import Runs
from toolkit.calibration.search import Effort, search
from toolkit.policies.random import Random
from toolkit.policies.static import Static

POLICIES = {"random": Random()}
EFFORT = Effort(random=8, refine=16, runs=3, draws=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_known_interference_is_found(family, tmp_path):
    recorded = Runs(simulated(crowded(scenario_of(family), 0.6), tmp_path, runs=5))
    found = search(recorded, recorded.runs, POLICIES, EFFORT)
    assert found.sought.interference == pytest.approx(0.6, abs=0.15)
    assert found.search["refined"] <= found.search["random"] <= found.search["plain"]
    assert found.search["runs"] == 3
    assert found.search["evaluations"] <= 8 + 16
    assert found.search["kept"] in ("refined", "random")


class Hurried(Runs):
    """Of whose delays only a half was recorded."""

    def delayed(self, run):
        found = super().delayed(run)
        return dataclasses.replace(found, start=found.start / 2)


def test_a_known_factor_of_delays_is_found(monkeypatch):
    monkeypatch.setattr(recordings, "Luck", lambda sigma: Luck(sigma=sigma, start=0.15))
    of = scenario(types=("qc", "align"), edges=(("qc", "align"),), jobs=6, rate=50.0)
    recorded = Hurried(recordings.record([Static()] * 4, of=of, sigma=0.05))
    found = search(recorded, recorded.runs, {"static": Static()}, EFFORT)
    assert found.sought.delay == pytest.approx(2.0, abs=0.3)
    assert found.search["refined"] < found.search["plain"]


def test_a_search_is_reproducible_to_the_byte(tmp_path):
    trace = simulated(scenario_of("allocation", jobs=4), tmp_path / "runs", runs=3)
    effort = Effort(random=2, refine=3, runs=2, draws=1)
    told = []
    for _ in range(2):
        recorded = Runs(trace)
        search(recorded, recorded.runs, POLICIES, effort, seed=3).save(tmp_path)
        told.append((tmp_path / FILE).read_bytes())
    assert told[0] == told[1]


def test_where_no_policy_is_known_nothing_is_searched(tmp_path):
    recorded = Runs(simulated(scenario_of("allocation", jobs=4), tmp_path, runs=2))
    found = search(recorded, recorded.runs, {}, EFFORT)
    assert found.sought == Sought()
    assert found.search == {}


def test_only_the_runs_that_are_named_are_learnt_from(tmp_path):
    recorded = Runs(simulated(scenario_of("allocation", jobs=4), tmp_path, runs=3))
    effort = Effort(random=1, refine=0, runs=9, draws=1)
    found = search(recorded, [0, 2], POLICIES, effort)
    assert found.durations.counts.sum() == 2 * 4 * 2
    assert found.search["runs"] == 2
