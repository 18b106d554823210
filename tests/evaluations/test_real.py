"""Sealed predictions: made before the runs, by calibrations that never met the policy."""

import json

import pytest

from evaluations import real
from evaluations.real import RealSuite
from toolkit.calibration.calibration import Calibration
from toolkit.errors import ConfigError, CorruptError
from toolkit.store import Store

SUITE = {
    "name": "sealed",
    "collector": "simulated",
    "scenario": "genomics_tiny",
    "settings": {"sigma": 0.2},
    "policies": ["static", "random", "reactive"],
    "within": 0.1,
    "repeats": 3,
    "draws": 5,
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    place = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_DATASETS", str(place))
        yield real.evaluate(RealSuite(**SUITE)), Store()


def test_predictions_are_older_than_the_runs_they_speak_of(judged):
    report, store = judged
    document = report.document
    assert document["sealed_at"] < document["recorded_at"]
    sealed = store.list("predictions")[0]
    assert sealed.digest == document["sealed"]
    store.verify(sealed)


def test_a_policy_is_predicted_by_a_calibration_that_never_met_it(judged):
    _, store = judged
    sealed = store.list("predictions")[0]
    held = Calibration.load(sealed.path / "static")
    every = json.loads((sealed.path / real.SEALED).read_text())
    assert {r["policy"] for r in every} == {"static", "random", "reactive"}
    tasks = sum(
        int(Calibration.load(sealed.path / n).durations.counts.sum()) for n in SUITE["policies"]
    )
    # Each run is learnt from for two of the three policies.
    assert 2 * held.durations.counts.sum() < tasks


def test_every_bar_says_what_was_found_and_whether_it_was_met(judged):
    report, _ = judged
    bars = report.document["bars"]
    assert len(bars) == 5 and all(set(b) == {"bar", "found", "asked", "met"} for b in bars)
    for bar in bars:
        assert ("MISSED" in report.text) or bar["met"]
    assert report.document["splits"]["policy"]["runs"] == 9


def test_what_was_sealed_cannot_be_changed(judged, monkeypatch):
    _, store = judged
    monkeypatch.setenv("TOOLKIT_DATASETS", str(store.root))
    sealed = store.list("predictions")[0]
    file = sealed.path / real.SEALED
    kept = file.read_text()
    file.write_text(kept.replace("1", "2"))
    with pytest.raises(CorruptError):
        real.evaluate(RealSuite(**SUITE))
    file.write_text(kept)


def test_a_suite_that_could_not_tell_is_refused():
    with pytest.raises(ConfigError, match="repeats"):
        RealSuite(**{**SUITE, "repeats": 2})
    with pytest.raises(ConfigError, match="beyond the workloads"):
        RealSuite(**{**SUITE, "seed": 3})
