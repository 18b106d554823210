"""What every algorithm that learns from a dataset must hold, one after another."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.learning.lessons import (
    SMALL,
    CutError,
    algorithm,
    bandit,
    cut_after,
    equal,
    flat,
    learn,
    observation,
    offline,
    regret,
)
from toolkit.errors import ConfigError
from toolkit.learning.learner import Given
from toolkit.networks.networks import MASKED

ALGORITHMS = offline()


def small(name, **settings):
    return algorithm(name, **{**SMALL, **settings})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_what_pays_and_never_a_masked_slot(name):
    # Cloning can only be as good as what it clones.
    good = 0.8 if name == "bc" else 0.2
    trained = learn(small(name), bandit(good=good))
    assert regret(trained.network, bandit(500, seed=1)) < 0.15


@pytest.mark.parametrize("name", ALGORITHMS)
def test_exactly_n_steps_are_taken_and_reported(name):
    seen = []
    trained = learn(
        small(name, n_steps=25, report_every=10), bandit(300), on_metric=lambda *p: seen.append(p)
    )
    assert [s for s, _ in seen] == [10, 20, 25]
    assert seen == trained.curve
    assert all(math.isfinite(x) for _, v in seen for x in v.values())
    assert "loss" in seen[0][1]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_one_seed_gives_the_same_weights(name):
    data = bandit(300)
    first, again, other = (learn(small(name, n_steps=20), data, seed=s).network for s in (3, 3, 4))
    assert equal(first, again)
    assert not equal(first, other)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(name, tmp_path):
    data, algo = bandit(300), small(name, n_steps=30, report_every=7)
    whole = learn(algo, data)
    file = tmp_path / "checkpoint.safetensors"

    with pytest.raises(CutError):
        learn(algo, data, checkpoint=file, due=cut_after(19))
    torch.rand(100)  # what else draws in between does not matter
    resumed = learn(algo, data, checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert [s for s, _ in whole.curve] == [s for s, _ in resumed.curve]
    for (_, a), (_, b) in zip(whole.curve, resumed.curve, strict=True):
        assert a == pytest.approx(b)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_its_network_does_not_know_how_many_slots_there_are(name):
    network = learn(small(name, n_steps=5), bandit(300)).network
    x, mask = observation(np.random.default_rng(0), k=64)
    with torch.no_grad():
        scores = network(x)[0].numpy()
    assert scores.shape == (5, 64)
    assert (scores[~mask] == MASKED).all()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_d3rlpys_own_loop_runs_it(name):
    """``predict`` and ``update`` of d3rlpy, on d3rlpy's own kind of buffer."""
    from toolkit.data.buffer import FlatBuffer

    data = bandit(300)
    algo = small(name).algo(data.sizes)
    buffer = FlatBuffer(data, discount_seconds=1.0, seed=0)
    algo.build_with_dataset(buffer)
    algo.fit(
        buffer, n_steps=20, n_steps_per_epoch=10, show_progress=False,
        logger_adapter=_silent(), save_interval=100,
    )  # fmt: skip
    assert algo.grad_step == 20
    chosen = algo.predict(np.asarray(data.observations[:-1]))
    assert data.mask[np.arange(len(data)), chosen].all()
    values = algo.predict_value(np.asarray(data.observations[:-1]), chosen)
    assert values.shape == (len(data),)
    assert np.isfinite(values).all()


def trained(name, data, steps):
    learner = small(name, n_steps=steps).start(Given(discount_seconds=1.0, seed=0, data=data))
    for _ in range(steps):
        learner.step(1)
    return learner


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_present_policy_is_what_is_kept(name):
    learner = trained(name, bandit(300), 5)
    assert equal(learner.present(), learner.network())


@pytest.mark.parametrize("name", ["cql", "dqn", "iql"])
def test_states_are_worth_returns_whatever_their_unit(name):
    data = bandit(4000, good=0.2)
    dear = dataclasses.replace(data, reward=50 * data.reward)
    x = flat(bandit(500, seed=1))
    worth = trained(name, data, 300).worth(x)
    assert worth.shape == (500,)
    torch.testing.assert_close(trained(name, dear, 300).worth(x), 50 * worth, rtol=0.02, atol=0.5)
    # Values that are maximised tell the best slot; an expectile of 0.5 the mean of the data.
    fresh = bandit(500, seed=1)
    paid = np.where(fresh.mask, fresh.candidates[:, :, 0], np.nan)
    best, mean = np.nanmax(paid, axis=1), np.nanmean(paid, axis=1)
    known = best if name != "iql" else 0.8 * mean + 0.2 * best
    assert np.corrcoef(worth.numpy(), known)[0, 1] > 0.8
    assert worth.mean().item() == pytest.approx(known.mean(), abs=0.25)


def test_cloning_knows_no_worth():
    assert trained("bc", bandit(300), 5).worth(flat(bandit(10))) is None


def _silent():
    from d3rlpy.logging import NoopAdapterFactory

    return NoopAdapterFactory()


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("setting", ["n_steps", "batch_size", "hidden", "learning_rate"])
def test_settings_that_make_no_sense_are_refused(name, setting):
    with pytest.raises(ConfigError, match=f"algo.{setting} must be"):
        dataclasses.replace(small(name), **{setting: 0})


@pytest.mark.parametrize("name", ALGORITHMS)
def test_without_a_dataset_it_says_so(name):
    with pytest.raises(ConfigError, match="learns from a dataset"):
        small(name).start(Given(discount_seconds=1.0, seed=0))
