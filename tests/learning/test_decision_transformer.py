"""Decision Transformer: masks, what a return asks for, d3rlpy's own update, and a cut."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from d3rlpy.algos import DiscreteDecisionTransformer, DiscreteDecisionTransformerConfig

from tests.envs.standins import SCENARIOS
from tests.learning.lessons import (
    CutError,
    F,
    G,
    K,
    algorithm,
    bandit,
    cut_after,
    equal,
    learn,
)
from tests.learning.lessons import transitions as one_step
from toolkit.data.padding import from_table
from toolkit.data.rows import rows_of
from toolkit.data.transitions import Description, table
from toolkit.errors import ConfigError
from toolkit.learning.decision_transformer import SlotEncoderFactory, algo_of
from toolkit.learning.learner import Given
from toolkit.learning.sequences import Sequences
from toolkit.learning.transformer import Sizes
from toolkit.learning.watch import mean_return
from toolkit.networks.scorer import MASKED
from toolkit.policies import learned
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.shortest_work import ShortestWork
from toolkit.simulator.simulator import simulated

SMALL = {
    "n_steps": 200, "batch_size": 64, "learning_rate": 3e-3, "context": 4, "hidden": 32,
    "layers": 1, "heads": 2, "dropout": 0.0, "report_every": 50,
}  # fmt: skip
STEPS = 5


def transformer(**settings):
    return algorithm("decision_transformer", **{**SMALL, **settings})


def episodes(n=600, seed=0):
    """Episodes of five steps, of which one half takes the best slots and one the worst."""
    rng = np.random.default_rng(seed)
    rows = n * STEPS
    candidates = rng.normal(size=(rows, K, F)).astype(np.float32)
    mask = rng.random((rows, K)) < 0.7
    mask[:, 0] = True
    mask[:, K - 1] = False
    good = np.repeat(rng.random(n) < 0.5, STEPS)
    first = candidates[:, :, 0]
    best = np.where(mask, first, -np.inf).argmax(axis=1)
    worst = np.where(mask, first, np.inf).argmin(axis=1)
    action = np.where(good, best, worst)
    last = np.arange(rows) % STEPS == STEPS - 1
    return one_step(
        rng.normal(size=(rows, G)), candidates, mask, action, first[np.arange(rows), action],
        terminal=last, following=np.where(last, rows, np.arange(rows) + 1),
        episode=np.repeat(np.arange(n), STEPS),
    )  # fmt: skip


def asked(network, data, rest):
    """Return what is chosen, without anything before it, where ``rest`` is still to be paid."""
    n, T = len(data), network.shape.context
    observations = torch.zeros(n, T, network.shape.width)
    observations[:, -1] = torch.from_numpy(np.asarray(data.observations[:-1]))
    rests, shown = torch.zeros(n, T), torch.zeros(n, T)
    rests[:, -1], shown[:, -1] = rest / network.scale, 1.0
    with torch.no_grad():
        scores = network(
            observations, torch.zeros(n, T, dtype=torch.long), rests, shown.long(), shown
        )
    assert (scores[:, -1].numpy()[~data.mask] == MASKED).all()
    return scores[:, -1].argmax(1).numpy()


def paid(data, chosen):
    return data.candidates[np.arange(len(data)), chosen, 0].mean()


def test_it_learns_what_was_done_and_never_a_masked_slot():
    network = learn(transformer(), bandit(good=0.8)).network
    fresh = bandit(500, seed=1)
    chosen = asked(network, fresh, network.target)
    assert fresh.mask[np.arange(len(fresh)), chosen].all()
    best = np.where(fresh.mask, fresh.candidates[:, :, 0], -np.inf).max(axis=1).mean()
    drawn = fresh.candidates[:, :, 0][fresh.mask].mean()
    assert paid(fresh, chosen) > drawn + 0.8 * (best - drawn)


def test_who_asks_for_more_is_paid_more():
    network = learn(transformer(), episodes()).network
    fresh = episodes(200, seed=1)
    high, low = (paid(fresh, asked(network, fresh, rest)) for rest in (6.0, -6.0))
    assert high > 0.6
    assert low < -0.6
    story = learn(transformer(n_steps=1, target=0.5), episodes()).story
    assert story["least_return"] < story["target"] < story["greatest_return"]


def test_sequences_show_an_episode_up_to_a_decision():
    data = episodes(7)
    data = dataclasses.replace(data, action=np.where(np.arange(35) == 12, -1, data.action))
    sequences = Sequences(data, context=4, decisions=3, seed=0)
    batch = sequences.draw(200)
    for i in range(200):
        seen = batch.observations[i]
        end = int(np.flatnonzero((np.asarray(data.observations) == seen[-1]).all(axis=1))[0])
        number = end % STEPS
        held = min(4, number + 1)
        rows = np.arange(end - held + 1, end + 1)
        np.testing.assert_array_equal(seen[4 - held :], data.observations[rows])
        assert (seen[: 4 - held] == 0).all()
        shown = np.concatenate([np.zeros(4 - held), rows != 12])
        np.testing.assert_array_equal(batch.masks[i], shown)
        np.testing.assert_array_equal(
            batch.timesteps[i, 4 - held :], np.minimum(rows % STEPS + 1, 3)
        )
        rest = [data.reward[r : r - r % STEPS + STEPS].sum() for r in rows]
        np.testing.assert_allclose(
            batch.returns_to_go[i, 4 - held :, 0], np.array(rest) / sequences.scale, rtol=1e-5
        )
    assert sequences.returns == pytest.approx(data.reward.reshape(7, STEPS).sum(axis=1))


def test_where_nothing_is_masked_an_update_is_d3rlpys_own():
    sizes = Sizes(
        globals=G, slots=K, candidates=F, hidden=16, layers=2, heads=2, context=3, decisions=9
    )
    data = episodes(50)
    data.observations[:-1, -K:] = 1.0
    batch = Sequences(data, context=3, decisions=9, seed=0).draw(400)
    whole = np.flatnonzero(batch.masks.all(axis=1))
    kept = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    batch = type(batch)(**{k: v if k == "length" else v[whole] for k, v in kept.items()})
    off = {"attn_dropout": 0.0, "resid_dropout": 0.0, "embed_dropout": 0.0}
    ours = algo_of(sizes, **off)
    theirs = DiscreteDecisionTransformerConfig(
        encoder_factory=SlotEncoderFactory(globals=G, candidates=F, hidden=16),
        context_size=3, max_timestep=9, num_layers=2, num_heads=2, **off,
    ).create(device="cpu")  # fmt: skip
    theirs.create_impl((sizes.width,), K)
    assert type(theirs) is DiscreteDecisionTransformer
    body = theirs.impl.modules.transformer
    body.load_state_dict(ours.body.state_dict())
    for _ in range(3):
        mine, own = ours.update(batch), theirs.update(batch)
        assert mine["loss"] == pytest.approx(own["loss"], rel=1e-5)
        assert mine["learning_rate"] == own["learning_rate"]
    for a, b in zip(ours.body.parameters(), body.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_one_seed_gives_the_same_weights():
    data, algo = episodes(60), transformer(n_steps=10, dropout=0.1)
    first, again, other = (learn(algo, data, seed=s).network for s in (3, 3, 4))
    assert equal(first, again)
    assert not equal(first, other)


def test_a_training_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path):
    data, algo = episodes(60), transformer(n_steps=20, report_every=7, dropout=0.1)
    whole = learn(algo, data)
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(CutError):
        learn(algo, data, checkpoint=file, due=cut_after(12))
    torch.rand(100)
    resumed = learn(algo, data, checkpoint=file)
    assert equal(whole.network, resumed.network)
    assert whole.curve == [(s, pytest.approx(v)) for s, v in resumed.curve]


def recorded(scenario, policies, seeds=range(8)):
    """Return what policies did in a scenario as transitions, and its description."""
    described = Description.of(scenario.plan(0), scenario.weights)
    tables = []
    for episode, seed in enumerate(seeds):
        workload = scenario.plan(seed)
        played = simulated(
            scenario, policies[episode % len(policies)], workload, seed,
            horizon=scenario.horizon, weights=scenario.weights,
        )  # fmt: skip
        assert played.terminated
        rows = rows_of(played, workload, described, closing=None)
        number = np.full(len(rows.slots), episode, dtype=np.int32)
        tables.append(table(described, {"episode": number, **rows.columns}, rows.slots))
    return from_table(pa.concat_tables(tables), described), described


@pytest.mark.parametrize("name", ["allocation", "placement", "configuration"])
def test_a_policy_survives_its_files_and_knows_what_was_paid(name, tmp_path):
    scenario = SCENARIOS[name]
    data, described = recorded(scenario, [Random()])
    network = learn(transformer(n_steps=30), data).network
    about = {**described.to_dict(), "lineage": {"algo": "decision_transformer"}}
    learned.save(network, about, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]
    policy = learned.load(tmp_path, "mine")
    assert equal(policy.network, network)
    assert isinstance(policy, learned.Taught)
    seen = []

    class Watched:
        name = "watched"
        reset = staticmethod(policy.reset)

        @staticmethod
        def probabilities(decision):
            p = policy.probabilities(decision)
            seen.append((policy._episode._rests[-1], policy._episode._counts[-1]))
            return p

    shown, _ = recorded(scenario, [Watched()], [100])
    rest = np.append(0.0, np.cumsum(shown.reward)[:-1])
    np.testing.assert_allclose(
        [r for r, _ in seen], (network.target - rest) / network.scale, rtol=1e-4, atol=1e-4
    )
    assert [int(c) for _, c in seen] == list(range(1, len(shown) + 1))
    # In the data of its own episode every context is what the policy saw.
    fresh = learned.policy_of(network, "fresh", about)
    again, _ = recorded(scenario, [fresh], [100])
    np.testing.assert_array_equal(again.action, shown.action)


def test_in_a_replay_it_does_better_than_most_of_what_it_saw():
    scenario = SCENARIOS["placement"]
    data, described = recorded(
        scenario, [ShortestWork(), Mixture(of=ShortestWork(), epsilon=0.9)], range(60)
    )
    network = learn(transformer(n_steps=300), data).network
    about = {**described.to_dict(), "lineage": {}}
    reached = mean_return(network, about, scenario, range(200, 216))
    drawn = recorded(scenario, [Random()], range(200, 216))[0].reward.sum() / 16
    assert reached > drawn + 0.1 * abs(drawn)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("n_steps", 0), ("context", 0), ("dropout", 1.0), ("target", 1.5), ("learning_rate", 0.0)],
)
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(ConfigError, match=f"algo.{setting}"):
        dataclasses.replace(transformer(), **{setting: value})


def test_another_network_is_refused_with_a_reason():
    with pytest.raises(ConfigError, match="fully connected encoder"):
        dataclasses.replace(transformer(), network="candidates")
    with pytest.raises(ConfigError, match="multiple of the heads"):
        learn(transformer(heads=5), bandit(20))
    with pytest.raises(ConfigError, match="learns from a dataset"):
        transformer().start(Given(discount_seconds=1.0, seed=0))
