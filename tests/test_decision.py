"""Decisions: every number has a name and a unit, and says what it says it does."""

import numpy as np
import pytest

from tests.workloads import ask, before, estimates, scenario
from toolkit.features.allocation import CANDIDATE_FEATURES, global_features
from toolkit.simulator.state import ARRIVED, FINISHED, STARTED, apply_event


@pytest.fixture
def busy():
    """Two jobs have arrived; the first one's qc runs on one cpu and 64 MiB."""
    of = scenario(jobs=3)
    workload = of.plan(0, estimates=estimates(of))
    scene = before(workload)
    scene.state.choice[:] = 1
    apply_event(scene.known, ARRIVED, 0, 1.0, 1.0)
    apply_event(scene.known, ARRIVED, 1, 2.0, 2.0)
    apply_event(scene.known, STARTED, 0, 2.5, 2.5)
    return workload, scene


def named(workload, decision):
    names = [n for n, _ in global_features(workload.types)]
    return dict(zip(names, decision.globals.tolist(), strict=True))


def test_names_are_unique_and_as_many_as_the_numbers(busy):
    workload, scene = busy
    decision = ask(scene, 0)
    names = [n for n, _ in global_features(workload.types)]
    assert len(set(names)) == len(names) == len(decision.globals)
    assert decision.candidates.shape == (5, len(CANDIDATE_FEATURES))
    assert np.isfinite(decision.globals).all()
    assert np.isfinite(decision.candidates).all()


def test_features_say_what_their_names_say(busy):
    workload, scene = busy
    qc = list(workload.arrays.order).index(0)
    decision = ask(scene, qc)
    g = named(workload, decision)
    assert decision.agent == "qc"
    assert g["jobs in system"] == 2
    assert g["cpu utilisation"] == pytest.approx(0.5)
    assert g["memory utilisation"] == pytest.approx(64 / 96)
    assert g["free cpus"] == 1
    assert g["waiting tasks"] == g["longest queue"] == g["asked: waiting"] == 1
    assert g["asked: running"] == 1
    assert g[f"rank {qc}: is asked"] == 1
    assert g[f"rank {qc}: cpus chosen"] == 1
    c = {n: decision.candidates[:, i] for i, (n, _) in enumerate(CANDIDATE_FEATURES)}
    np.testing.assert_allclose(c["cpus"], [0.5, 0.5, 1, 1, 2])
    np.testing.assert_array_equal(c["is current"], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(c["fits now"], [1, 0, 0, 0, 0])
    w = workload.arrays
    waiting = w.scale[w.job_ptr[1]]
    np.testing.assert_allclose(c["seconds"], w.seconds[0] * waiting, rtol=1e-6)
    np.testing.assert_array_equal(decision.mask, [1, 1, 1, 1, 0])


def test_history_is_binned_by_size_of_input(busy):
    workload, scene = busy
    w = workload.arrays
    apply_event(scene.known, FINISHED, 0, 2.75, 2.75)
    qc = list(w.order).index(0)
    g = named(workload, ask(scene, 0))
    size = ("small", "medium", "large")[w.size_bin[w.job_of[0]]]
    assert g[f"rank {qc}: mean seconds {size}"] == pytest.approx(0.25)
    assert g[f"rank {qc}: finished"] == 1


def test_a_digest_changes_with_what_is_shown(busy):
    _, scene = busy
    first = ask(scene, 0)
    assert first.digest() == ask(scene.copy(), 0).digest()
    assert first.digest() != ask(scene, 1).digest()
    scene.state.by_type[0, 0] += 1
    assert first.digest() != ask(scene, 0).digest()
