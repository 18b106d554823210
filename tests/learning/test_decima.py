"""Decima and Lachesis: they learn, go on after a cut, and compare what was alike."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.learning.lessons import CutError, algorithm, cut_after, equal
from tests.learning.selections import jobs
from toolkit.errors import ConfigError
from toolkit.learning.decima import selected
from toolkit.learning.input_baseline import advantages
from toolkit.learning.learner import Given, run

SMALL = {
    "n_steps": 64, "copies": 16, "alike": 4, "sample": 512, "batch_size": 128, "epochs": 1,
    "hidden": 4, "rounds": 4, "gate_every": 2, "gate_workloads": 4, "report_every": 16,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def of(name="decima", **settings):
    return dataclasses.replace(algorithm(name, **SMALL), **settings)


def given(seed=0, scenario=None):
    return Given(discount_seconds=30.0, seed=seed, scenario=scenario or jobs())


@pytest.mark.parametrize("name", ["decima", "lachesis"])
def test_it_learns(name):
    algo = of(name, n_steps=256, sample=2048, epochs=2, hidden=8)
    trained = run(algo, given())
    seeds = range(100, 130)
    untrained = algo.start(given()).present()
    learnt = selected(trained.network, jobs(), seeds).returns
    before = selected(untrained, jobs(), seeds).returns
    assert learnt.mean() > before.mean() + 0.1 * abs(before.mean())
    story = trained.story
    assert story["worst"] <= story["start"] <= story["best"]
    assert story["decisions"] > 512


@pytest.mark.parametrize("name", ["decima", "lachesis"])
def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(name, tmp_path):
    algo, file = of(name), tmp_path / "checkpoint.safetensors"
    whole = run(algo, given())
    with pytest.raises(CutError):
        run(algo, given(), checkpoint=file, due=cut_after(2))
    torch.rand(10)
    resumed = run(algo, given(), checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert whole.story == resumed.story
    assert whole.curve == [(s, pytest.approx(v)) for s, v in resumed.curve]


def test_one_seed_gives_the_same_weights():
    first, again, other = (run(of(), given(s)).network for s in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_the_gate_keeps_the_best():
    """A policy that is turned upside down after it has learnt is not what comes out."""
    learner = of(n_steps=160, sample=2048, hidden=8, gate_every=1).start(given())
    while learner.done < 144:
        learner.step(160)
    with torch.no_grad():
        for parameter in learner._network.score[1].parameters():
            parameter.neg_()
    learner.step(160)
    story = learner.story()
    gate = selected(learner.network(), jobs(), learner._gate.seeds).returns.mean()
    assert gate == pytest.approx(story["best"])
    assert story["best"] > story["end"] + 0.2 * abs(story["end"])
    assert learner.worth(torch.zeros(1, 1)) is None


def told(rewards, times, alive, tau, alike):
    """The plain definition, one selection at a time."""
    T, N = rewards.shape
    returns = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            returns[t, n] = sum(
                rewards[k, n] * np.exp(-(times[k, n] - times[t, n]) / tau)
                for k in range(t, T)
                if alive[k, n]
            )
    found = np.full((T, N), np.nan)
    for n in range(N):
        peers = [m for m in range(n // alike * alike, n // alike * alike + alike) if m != n]
        for t in np.flatnonzero(alive[:, n]):
            base = []
            for m in peers:
                last = int(alive[:, m].sum())
                earlier = [k for k in range(last) if times[k, m] <= times[t, n]]
                over = times[last, m] <= times[t, n]
                base.append(0.0 if over else returns[earlier[-1], m])
            found[t, n] = returns[t, n] - np.mean(base)
    return found


def test_advantages_are_returns_less_what_the_others_had_at_that_time():
    rng = np.random.default_rng(0)
    T, N, alike = 6, 6, 3
    lengths = rng.integers(1, T + 1, N)
    alive = np.arange(T)[:, None] < lengths
    times = np.cumsum(rng.integers(0, 3, (T + 1, N)).astype(float), axis=0)
    times[0] = 0.0
    for n, length in enumerate(lengths):
        times[length:, n] = times[length, n]
    rewards = np.where(alive, -rng.random((T, N)), 0.0)
    found = advantages(rewards, times, alive, tau=4.0, alike=alike)
    np.testing.assert_allclose(found, told(rewards, times, alive, 4.0, alike))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"alike": 1}, "alike"), ({"alike": 3}, "multiple"), ({"n_steps": 65}, "multiple"),
        ({"clip": 0.0}, "clip"), ({"entropy": -1.0}, "entropy"), ({"hidden": 0}, "hidden"),
        ({"network": "candidates"}, "graph and mlp"), ({"cut": 0.0}, "cut"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, match):
    with pytest.raises(ConfigError, match=match):
        of(**settings)
