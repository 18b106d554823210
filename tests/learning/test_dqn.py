"""Values of a chain that are known by hand, offline; learning by playing, as papers have it too."""

import dataclasses

import numpy as np
import pytest
import torch
from d3rlpy.dataset import TransitionMiniBatch

from tests.envs.standins import Placement
from tests.learning.lessons import (
    PLAYED,
    SMALL,
    CutError,
    F,
    G,
    algorithm,
    cut_after,
    equal,
    learn,
    transitions,
)
from toolkit.errors import ConfigError
from toolkit.learning.exploration import Play
from toolkit.learning.learner import Given, Stage, run
from toolkit.learning.play import looked_at, play
from toolkit.learning.priorities import Priorities
from toolkit.learning.replay import INTERVAL, WeightedBatch
from toolkit.networks.scorer import MASKED


def chain(n=3000, seed=0):
    """Episodes of three steps of half a τ each: the right slot of two pays 1, the other 0."""
    rng = np.random.default_rng(seed)
    candidates = rng.normal(size=(3 * n, 2, F)).astype(np.float32)
    right = rng.integers(0, 2, 3 * n)
    candidates[np.arange(3 * n), right, 0], candidates[np.arange(3 * n), 1 - right, 0] = 1.0, -1.0
    globals_ = np.zeros((3 * n, G))
    globals_[:, 0] = np.tile([0.0, 1.0, 2.0], n)
    action = rng.integers(0, 2, 3 * n)
    last = np.tile([False, False, True], n)
    return transitions(
        globals_, candidates, np.ones((3 * n, 2), bool), action, action == right,
        elapsed=np.full(3 * n, 0.5),
        terminal=last,
        following=np.where(last, 3 * n, np.arange(3 * n) + 1),
        episode=np.repeat(np.arange(n), 3),
    )  # fmt: skip


def test_values_of_a_chain_are_those_known_by_hand():
    data = chain()
    settings = {**SMALL, "n_steps": 1500, "target_interval": 25, "n_critics": 1}
    trained = learn(algorithm("dqn", **settings), data)
    x = torch.from_numpy(data.observations[:3])
    with torch.no_grad():
        q = trained.network.members[0].action_values(x).numpy()
    # The learner divides rewards by the spread of discounted returns.
    from toolkit.learning.offline import return_scale

    g = np.exp(-0.5)
    best = np.array([1 + g + g * g, 1 + g, 1.0]) / return_scale(data, 1.0)
    right = data.candidates[:3, :, 0].argmax(axis=1)
    np.testing.assert_allclose(q[np.arange(3), right], best, atol=0.12)
    wrong = best - 1 / return_scale(data, 1.0)
    np.testing.assert_allclose(q[np.arange(3), 1 - right], wrong, atol=0.12)


WAYS = {
    "alike": {},
    "prioritised": {"priorities": Priorities()},
    "paper": {"discount": 0.95, "network": "mlp", "n_critics": 1},
}


@pytest.fixture
def playing():
    return dataclasses.replace(
        algorithm("dqn_online"), n_steps=60, batch_size=64, hidden=16, report_every=20,
        play=Play(**PLAYED),
    )  # fmt: skip


@pytest.fixture(params=WAYS)
def each(request, playing):
    return dataclasses.replace(playing, **WAYS[request.param])


def given(seed=0, **words):
    return Given(discount_seconds=40.0, seed=seed, scenario=Placement(), **words)


def test_one_seed_gives_the_same_weights_where_it_plays(each):
    torch.set_num_threads(1)
    first, again, other = (run(each, given(s)).network for s in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_a_cut_goes_on_where_it_plays(each, tmp_path):
    torch.set_num_threads(1)
    drifting = given(stages=[Stage(until=0.5, scenario=Placement(jobs=2))])
    whole = run(each, drifting)
    for cut in (20, 40):  # before and after the scenario changes
        file = tmp_path / f"{cut}.safetensors"
        with pytest.raises(CutError):
            run(each, drifting, checkpoint=file, due=cut_after(cut))
        resumed = run(each, drifting, checkpoint=file)
        assert equal(whole.network, resumed.network)
        assert whole.story == resumed.story
        assert whole.curve[-1][1] == pytest.approx(resumed.curve[-1][1])


def test_playing_it_learns_to_beat_what_it_began_with(each):
    torch.set_num_threads(1)
    settings = dataclasses.replace(each, n_steps=600, learning_rate=1e-3, target_interval=50)
    trained = run(settings, given())
    seeds = range(100, 116)
    learnt = play(trained.network, Placement(), seeds, sampled=False).returns.mean()
    untrained = run(dataclasses.replace(each, n_steps=1), given()).network
    drawn = play(untrained, Placement(), seeds, sampled=True).returns.mean()
    assert learnt > drawn


def test_every_step_plays_and_learns_once_where_the_paper_does(playing):
    one = Play(**{**PLAYED, "copies": 1, "rounds": 1, "before": 50})
    learner = dataclasses.replace(playing, play=one, batch_size=8).start(given())
    for count in range(1, 20):
        taken, _ = learner.step(100)
        assert (taken, learner.done) == (1, count)
        assert learner.story()["decisions"] == 50 + count


def test_a_discount_per_decision_is_not_that_of_the_clock(playing):
    steady = dataclasses.replace(playing, discount=0.95)
    for settings, alike in ((steady, True), (playing, False)):
        learner = settings.start(given())
        learner.step(1)
        passed = learner._replay.numbers[: learner._replay.count, INTERVAL]
        discounts = np.exp(-passed)
        assert np.allclose(discounts, 0.95) == alike
        assert discounts.std() == pytest.approx(0, abs=1e-6) or not alike


def test_a_curriculum_changes_what_is_played_and_keeps_what_is_remembered(playing):
    small, large = Placement(jobs=1), Placement(jobs=3)
    words = Given(
        discount_seconds=40.0, seed=0, scenario=large, stages=[Stage(until=0.5, scenario=small)]
    )
    learner = dataclasses.replace(playing, n_steps=40).start(words)
    sizes = []
    for _ in range(40):
        learner.step(1)
        seeds, _ = learner._env.moment()
        sizes.append(len(learner._env._batch._scenario.plan(int(seeds[0])).arrays.job_ptr) - 1)
    assert sizes == [1] * 20 + [3] * 20
    assert learner.story()["decisions"] == 512 + 40 * 4
    other = Given(
        discount_seconds=40.0, seed=0, scenario=large,
        stages=[Stage(until=0.5, scenario=Placement(slots=8))],
    )  # fmt: skip
    with pytest.raises(ConfigError, match="other sizes"):
        playing.start(other)


def test_states_are_worth_the_value_of_their_best_slot_in_the_unit_of_returns(playing):
    learner = dataclasses.replace(playing, n_critics=2).start(given())
    for _ in range(30):
        learner.step(1)
    x = looked_at(Placement(), copies=2, steps=10, seed=7)
    with torch.no_grad():
        told = [member.action_values(x) for member in learner.present().members]
    allowed = torch.where(told[0] > MASKED / 2, sum(told) / 2, -torch.inf)
    assert learner._scale != 1.0
    torch.testing.assert_close(learner.worth(x), learner._scale * allowed.amax(1))
    assert equal(learner.present(), learner.network())


def batch_of(n, seed=0):
    rng = np.random.default_rng(seed)
    data = chain(20, seed)
    rows = rng.integers(0, len(data), n)
    column = {k: rng.random((n, 1)).astype(np.float32) for k in ("rewards", "intervals")}
    return {
        "observations": data.observations[rows],
        "actions": data.action[rows, None].astype(np.float32),
        "next_observations": data.observations[data.following[rows]],
        "next_actions": np.zeros((n, 1), dtype=np.float32),
        "terminals": data.terminal[rows, None].astype(np.float32),
        "transitions": [],
        **column,
    }


def updated(batch, **settings):
    """Return an algorithm after one update, and what it measured."""
    torch.manual_seed(0)
    algo = algorithm("dqn", **{**SMALL, **settings}).algo(chain(2).sizes)
    algo.create_impl((batch.observations.shape[1],), 2)
    return algo, algo.update(batch)


def test_transitions_count_by_their_weights():
    told = batch_of(12)
    half = {k: v[:6] if k != "transitions" else v for k, v in told.items()}
    ones = np.ones((6, 1), dtype=np.float32)
    plain, measured = updated(TransitionMiniBatch(**half))
    weighted, same = updated(WeightedBatch(**half, weights=ones))
    assert equal(plain.network(), weighted.network())
    assert measured == same
    # Those that count nothing might as well not be there.
    zeros = np.concatenate([2 * ones, 0 * ones])
    masked, _ = updated(WeightedBatch(**told, weights=zeros))
    for a, b in zip(
        plain.network().state_dict().values(), masked.network().state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_errors_are_how_far_the_critics_are_from_their_target():
    told = batch_of(9)
    algo, _ = updated(TransitionMiniBatch(**told), n_critics=3)
    torch.manual_seed(0)
    fresh = algorithm("dqn", **{**SMALL, "n_critics": 3}).algo(chain(2).sizes)
    fresh.create_impl((told["observations"].shape[1],), 2)
    with torch.no_grad():
        now = [q.action_values(torch.from_numpy(told["observations"])) for q in
               fresh.network().members]  # fmt: skip
        then = torch.stack([q.action_values(torch.from_numpy(told["next_observations"]))
                            for q in fresh.network().members])  # fmt: skip
    rows = np.arange(9)
    best = then.mean(0).argmax(1)
    following = then[:, rows, best].amin(0).numpy()
    goes_on = np.exp(-told["intervals"][:, 0]) * (1 - told["terminals"][:, 0])
    target = told["rewards"][:, 0] + goes_on * following
    taken = np.array([q.numpy()[rows, told["actions"][:, 0].astype(int)] for q in now])
    np.testing.assert_allclose(algo.errors, np.abs(taken - target).mean(0), rtol=1e-4, atol=1e-5)


def test_what_makes_no_sense_is_refused(playing):
    with pytest.raises(ConfigError, match="multi_step must be 1"):
        dataclasses.replace(playing, multi_step=3)
    with pytest.raises(ConfigError, match=r"algo.discount must be in \(0, 1\]"):
        dataclasses.replace(playing, discount=1.5)
    for word in ({"priorities": Priorities()}, {"discount": 0.9}):
        with pytest.raises(ConfigError, match="heeded only where DQN plays"):
            dataclasses.replace(algorithm("dqn"), **word)
    with pytest.raises(ConfigError, match="plays a scenario"):
        playing.start(Given(discount_seconds=1.0, seed=0))


def test_it_says_what_it_is(playing):
    assert (playing.name, playing.staged, playing.goes_on) == ("dqn_online", True, False)
    assert dataclasses.replace(playing, priorities=Priorities()).name == "dqn_prioritised"
    offline = algorithm("dqn")
    assert (offline.name, offline.staged) == ("dqn", False)


def test_the_prioritised_differs_from_the_other_in_nothing_else():
    one, other = algorithm("dqn_online"), algorithm("dqn_prioritised")
    assert dataclasses.replace(other, priorities=None) == one


def test_the_parameters_of_paper_b():
    of = algorithm("dqn_paper_b")
    assert (of.discount, of.learning_rate, of.n_critics) == (0.95, 1e-3, 1)
    assert of.priorities is None
    assert of.n_steps + of.play.before == 250_000
    assert of.play.share(0.0, decisions=918, episodes=0) > 0.01
    assert of.play.share(0.0, decisions=919, episodes=0) == 0.01
