"""PPO: learning from scratch, going on from an offline policy, and going on after a cut."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.envs.standins import Allocation, Placement
from tests.learning.lessons import CutError, algorithm, cut_after, equal
from toolkit.errors import ConfigError
from toolkit.learning.learner import Given, Stage, run
from toolkit.learning.play import looked_at, play
from toolkit.learning.warm_start import WarmStart, temperature_of
from toolkit.networks.candidates import CandidateScorer
from toolkit.networks.networks import Ensemble
from toolkit.networks.scorer import Shape
from toolkit.seeding import GATE

SMALL = {
    "n_steps": 2048, "copies": 8, "alike": 4, "rollout": 64, "batch_size": 128,
    "epochs": 2, "hidden": 16, "gate_every": 2, "gate_workloads": 4, "report_every": 512,
    "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def ppo(**settings):
    return dataclasses.replace(algorithm("ppo", **SMALL), **settings)


def given(seed=0, scenario=None, **more):
    return Given(discount_seconds=40.0, seed=seed, scenario=scenario or Placement(), **more)


def test_from_scratch_it_learns():
    trained = run(ppo(n_steps=24_576, rollout=128, epochs=4), given())
    seeds = range(100, 124)
    learnt = play(trained.network, Placement(), seeds, sampled=False).returns
    untrained = run(ppo(n_steps=8), given()).network
    drawn = play(untrained, Placement(), seeds, sampled=True).returns
    assert learnt.mean() > drawn.mean() + 0.2 * abs(drawn.mean())
    story = trained.story
    assert story["worst"] <= story["start"] <= story["best"]
    assert story["worst"] <= story["end"] <= story["best"]
    assert story["regret"] >= 0


@pytest.mark.parametrize("scenario", [Allocation(), Placement()])
def test_one_seed_gives_the_same_weights(scenario):
    first, again, other = (run(ppo(), given(s, scenario)).network for s in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_exactly_n_steps_are_taken():
    trained = run(ppo(n_steps=1000), given())
    assert trained.curve[-1][0] == 1000
    with pytest.raises(ConfigError, match="must be a multiple of"):
        run(ppo(n_steps=1001), given())


@pytest.mark.parametrize("warm", [False, True])
def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(warm, tmp_path):
    init = {"init": actor(), "values": True} if warm else {}
    settings = {"warm_start": WarmStart(critic_steps=1024, ramp=512)} if warm else {}
    algo, file = ppo(n_steps=4096, **settings), tmp_path / "checkpoint.safetensors"
    whole = run(algo, given(**init))
    with pytest.raises(CutError):
        run(algo, given(**init), checkpoint=file, due=cut_after(5))
    torch.rand(10)
    resumed = run(algo, given(**init), checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert whole.story == resumed.story
    assert whole.curve == [(s, pytest.approx(v)) for s, v in resumed.curve]


def actor(seed=0):
    """Return a fresh network that standardises what the stand-in shows."""
    torch.manual_seed(seed)
    x = looked_at(Placement(), copies=4, steps=64, seed=0)
    from toolkit.envs.batch import Batch

    G, _, F = Batch(Placement(), [0]).sizes
    scorer = CandidateScorer(Shape(globals=G, candidates=F, hidden=16))
    scorer.normalise(x)
    return Ensemble([scorer])


def test_the_critic_is_warmed_before_the_actor_changes():
    """With nothing but warming, the offline policy comes out as it went in."""
    init = actor()
    warm = WarmStart(critic_steps=10**6, explained=0.99)
    trained = run(ppo(warm_start=warm), given(init=init))
    assert equal(trained.network, init)
    assert trained.story["critic_warmed"] == 2048
    assert trained.curve[-1][1]["explained"] > trained.curve[0][1]["explained"]


def test_the_anchor_holds_the_policy_near_what_it_began_with():
    init, seen = actor(), looked_at(Placement(), copies=4, steps=32, seed=7)
    away = []
    for anchor in (0.0, 30.0):
        warm = WarmStart(critic_steps=0, ramp=0, anchor=anchor, anchored=1.0, tolerated=1e9)
        algo = ppo(n_steps=4096, learning_rate=3e-3, warm_start=warm, target_kl=1.0, gate_every=8)
        learner = algo.start(given(init=init))
        while learner.done < algo.n_steps:
            learner.step(algo.n_steps - learner.done)
        with torch.no_grad():
            now = torch.log_softmax(learner._model.policy.actor(seen)[0], 1)
            then = torch.log_softmax(init(seen)[0], 1)
            away.append(float((now.exp() * (now - then)).sum(1).mean()))
    assert away[1] < 0.3 * away[0]


def test_the_gate_goes_back_after_a_fall():
    """Steps so large that they ruin the policy: what comes out is no worse than what went in."""
    good = run(ppo(n_steps=16_384, rollout=128, epochs=4), given()).network
    warm = WarmStart(critic_steps=0, ramp=0, anchor=0.0, tolerated=0.05)
    ruin = ppo(
        n_steps=4096, learning_rate=0.3, target_kl=1e9, clip=0.9, warm_start=warm, gate_every=1
    )
    trained = run(ruin, given(init=good))
    gate = range(GATE, GATE + SMALL["gate_workloads"])
    before = play(good, Placement(), gate, sampled=False).returns.mean()
    after = play(trained.network, Placement(), gate, sampled=False).returns.mean()
    assert trained.story["worst"] < before - 0.05 * abs(before)
    assert after >= before
    assert trained.story["start"] == pytest.approx(before)


def test_a_naive_warm_start_collapses_and_ours_does_not():
    """Advantages that lean on a critic which knows nothing lead a good policy astray.

    λ = 0 takes all that follows a step from the critic. Measured for three seeds: the naive start
    falls by 15 to 20 % and stays there, ours by 6 to 8 %, and it hands out what it began with.
    """
    good = run(ppo(n_steps=24_576, rollout=128, epochs=4), given()).network
    story = {}
    for name, warm in {
        "naive": WarmStart(critic_steps=0, ramp=0, anchor=0.0, tolerated=1e9),
        "ours": WarmStart(critic_steps=2048, ramp=2048, anchor=0.3, anchored=0.8),
    }.items():
        algo = ppo(
            n_steps=8192, alike=1, gae_lambda=0.0, learning_rate=3e-3, target_kl=0.5, epochs=4,
            gate_every=1, gate_workloads=12, warm_start=warm,
        )  # fmt: skip
        story[name] = run(algo, given(seed=1, init=good)).story
    start = story["ours"]["start"]
    assert story["naive"]["start"] == start
    assert story["naive"]["worst"] < start - 0.12 * abs(start)
    assert story["naive"]["end"] < start - 0.1 * abs(start)
    assert story["ours"]["worst"] > start - 0.1 * abs(start)
    assert story["ours"]["regret"] < 0.5 * story["naive"]["regret"]


def test_a_curriculum_plays_its_stages_in_turn(tmp_path):
    stages = (
        Stage(until=0.25, scenario=Placement(jobs=1)),
        Stage(until=0.5, scenario=Placement(jobs=2)),
    )
    algo = ppo(n_steps=4096)
    learner = algo.start(given(stages=stages))
    met = []
    while learner.done < algo.n_steps:
        met.append(len(learner._env._batch.scene(0).state.left))
        learner.step(algo.n_steps - learner.done)
    # The stage changes before the rollout that is due.
    assert [met[0], met[2], met[4], met[-1]] == [1, 1, 2, 3]
    whole = run(algo, given(stages=stages))
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(CutError):
        run(algo, given(stages=stages), checkpoint=file, due=cut_after(3))
    assert equal(whole.network, run(algo, given(stages=stages), checkpoint=file).network)


def test_the_warmest_temperature_that_plays_well_is_taken():
    good = run(ppo(n_steps=16_384, rollout=128, epochs=4), given()).network
    seeds, choices = range(200, 208), (1e-3, 0.3, 1e4)
    found = temperature_of(good, Placement(), seeds, choices, tolerated=0.02)
    reached = {
        t: play(Ensemble(list(good.members), t), Placement(), seeds, sampled=True).returns.mean()
        for t in choices
    }
    best = max(reached.values())
    assert found == max(t for t, r in reached.items() if r >= best - 0.02 * abs(best))
    assert found < 1e4


def test_a_greedy_network_plays_as_its_policy_does():
    """The gate and the driver of evaluations see the same returns."""
    from toolkit.benchmarks.reference import references
    from toolkit.data.transitions import Description
    from toolkit.policies.learned import Learned

    network = actor()
    about = Description.of(Placement().plan(0), Placement().weights).to_dict()
    policy = Learned(name="mine", network=network, about=about)
    seeds = range(300, 306)
    told = references(Placement(), {"mine": policy}, seeds)["mine"]
    assert play(network, Placement(), seeds, sampled=False).returns.mean() == pytest.approx(
        told.value
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("n_steps", 0), ("clip", 0.0), ("gae_lambda", 1.5), ("entropy", -1.0)]
)
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ConfigError, match=setting):
        dataclasses.replace(ppo(), **{setting: value})


def test_users_of_stable_baselines_may_call_learn():
    """The model is a MaskablePPO: its own loop, callbacks and ``predict`` work."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Count(BaseCallback):
        steps = 0

        def _on_step(self):
            self.steps += 1
            return True

    learner = ppo().start(given())
    model, count = learner._model, Count()
    model.learn(1024, callback=count)
    assert model.num_timesteps >= 1024
    assert count.steps == model.num_timesteps // 8
    masks = learner._env.action_masks()
    chosen, _ = model.predict(learner._env._observations(), action_masks=masks)
    assert masks[np.arange(8), chosen].all()
