"""Estimates from recorded decisions: exact where they can be, refused where they cannot."""

import dataclasses
import json
import math

import numpy as np
import pytest

from collectors.simulated import SimulatedCollector
from evaluations.fqe import FQE
from evaluations.ope import doubly_robust, importance, logged, per_decision, require_propensities
from toolkit import cli
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.replays.reconstruct import replays
from toolkit.simulator.simulator import simulated
from toolkit.trace import Trace, table

OF = ("genomics_tiny", ["scenario.jobs=2"])
RUNS = 30
MODEL = FQE(n_steps=400, batch_size=128, learning_rate=2e-3, tau=0.02, hidden=16)


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    collector = SimulatedCollector(runs=RUNS, behaviours=["random"])
    return collector.collect(scenario_of(*OF), [Random()], 0, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def returns(trace):
    return np.array([sum(s.reward for s in r.episode.steps) for r in replays(trace)])


@pytest.fixture(scope="module")
def near(trace):
    """What a policy near the one that recorded would have done, and what it truly earns."""
    of, policy = scenario_of(*OF), Mixture(of=Static(), epsilon=0.9)
    earned = []
    for seed in range(50_000, 50_150):
        episode = simulated(
            of, policy, of.plan(seed), seed, horizon=of.horizon, weights=of.weights
        )  # fmt: skip
        earned.append(sum(s.reward for s in episode.steps))
    return logged(trace, policy), np.array(earned)


@pytest.fixture(scope="module")
def model(near):
    return MODEL.fit(near[0])


def test_the_policy_that_recorded_is_worth_the_mean_of_its_returns(trace, returns):
    given = logged(trace, Random())
    np.testing.assert_allclose(given.ratio, 1.0)
    assert given.there.sum() == len(given.action) == len(given.observations)
    for estimate in (importance(given), per_decision(given)):
        assert estimate.value.value == pytest.approx(returns.mean())
        assert estimate.value.low < returns.mean() < estimate.value.high
        assert estimate.effective == pytest.approx(estimate.episodes) == RUNS


def test_a_weighted_return_by_hand(trace):
    """Weights are products of ratios; a reward weighs by what was done before it."""
    given = logged(trace, Random())
    ratio = np.ones_like(given.ratio)
    ratio[0, 0], ratio[1, 1] = 3.0, 0.0
    changed = dataclasses.replace(given, ratio=ratio)
    totals = given.paid.sum(axis=1)
    weights = np.array([3.0, 0.0, *[1.0] * (RUNS - 2)])
    assert importance(changed).value.value == pytest.approx(weights @ totals / weights.sum())
    assert importance(changed).effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    at_first = np.array([3.0, *[1.0] * (RUNS - 1)])
    expected = at_first @ given.paid[:, 0] / at_first.sum()
    expected += (weights @ given.paid[:, 1:]).sum() / weights.sum()
    assert per_decision(changed).value.value == pytest.approx(expected)


def test_discounted_returns_are_those_of_the_times_of_decisions(trace):
    given = logged(trace, Random(), discount_seconds=0.5)
    steps = [r.episode.steps for r in replays(trace)]
    mine = [sum(s.reward * math.exp(-s.decision.time / 0.5) for s in one) for one in steps]
    assert importance(given).value.value == pytest.approx(np.mean(mine))


@pytest.mark.parametrize("estimator", ["per_decision", "doubly_robust", "fqe"])
def test_another_policy_is_worth_what_it_truly_earns(near, model, estimator):
    given, earned = near
    error = earned.std() / math.sqrt(len(earned))
    if estimator == "fqe":
        # What a network learns is biased: within half of the recorded spread.
        assert abs(model.value - earned.mean()) < 0.5 * given.paid.sum(axis=1).std()
        return
    made = (
        per_decision(given)
        if estimator == "per_decision"
        else doubly_robust(given, model.q, model.v)
    )
    half = (made.value.high - made.value.low) / 2
    assert abs(made.value.value - earned.mean()) < 2 * half + 3 * error


def test_without_a_model_doubly_robust_is_per_decision(near):
    given, _ = near
    nothing = np.zeros(len(given.action))
    found = doubly_robust(given, nothing, nothing)
    assert found.value == per_decision(given).value


def test_a_model_takes_away_what_it_explains(trace):
    """With the true value of each decision of a record the correction is nothing."""
    given = logged(trace, Random())
    ahead = np.flip(np.cumsum(np.flip(given.paid, axis=1), axis=1), axis=1)
    q = np.zeros(len(given.action))
    q[given.row[given.there]] = ahead[given.there]
    found = doubly_robust(given, q, q)
    assert found.value.value == pytest.approx(ahead[:, 0].mean())


def test_fitted_values_tell_whether_they_settled(near, model):
    given, _ = near
    hasty = dataclasses.replace(MODEL, n_steps=8).fit(given)
    assert hasty.moved < 1.0
    again = dataclasses.replace(MODEL, n_steps=8).fit(given)
    assert hasty.value == again.value
    assert model.residual < hasty.residual


def test_a_policy_that_never_does_what_was_recorded_has_no_estimate(trace):
    given = logged(trace, Static())
    found = importance(given)
    assert math.isnan(found.value.value)
    assert found.effective == 0.0
    assert math.isnan(per_decision(given).value.value)


def test_the_suite_shows_estimates_beside_the_simulator(capsys):
    words = ["collector=simulated", "scenario=genomics_tiny", "scenario.jobs=2"]
    assert cli.main(["collect", *words, "collector.runs=20", "collector.behaviours=[random]"]) == 0
    capsys.readouterr()
    told = [
        "evaluate", "+suite=ope", "format=json", "suite.policies=['static~0.9','mheft~0.9',random]",
        "suite.seeds=4", "suite.fqe.n_steps=50",
    ]  # fmt: skip
    assert cli.main(told) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {r["policy"]: r for r in found["policies"]}
    assert rows["random"]["importance"]["value"]["value"] == pytest.approx(found["recorded"])
    assert rows["random"]["importance"]["effective"] == pytest.approx(20)
    for estimator in ("importance", "per_decision", "doubly_robust", "fqe"):
        assert found["agreement"][estimator]["n"] == 3
        assert -1.0 <= found["agreement"][estimator]["rank_correlation"] <= 1.0
    assert cli.main([*told[:2], *told[3:]]) == 0
    text = capsys.readouterr().out
    assert "rank correlation with the simulator" in text
    assert "held-out error" in text


def test_too_few_policies_have_no_order(capsys):
    assert cli.main(["evaluate", "+suite=ope", "suite.policies=['static~0.5',random]"]) == 2
    assert "3 or more" in capsys.readouterr().err


def test_inferred_decisions_are_refused_with_a_sentence(trace):
    decisions = [
        {**row, "propensity": None, "inferred": True}
        for row in trace.tables["decisions"].to_pylist()
    ]
    without = Trace(
        tables={**trace.tables, "decisions": table("decisions", decisions)},
        provenance=trace.provenance,
    )
    with pytest.raises(
        ConfigError, match=r"have no propensity, [\d,]+ of them inferred from a log"
    ):
        logged(without, Random())
    empty = Trace(tables={**trace.tables, "decisions": table("decisions", [])}, provenance={})
    with pytest.raises(ConfigError, match="0 of 0 decisions"):
        require_propensities(empty)
