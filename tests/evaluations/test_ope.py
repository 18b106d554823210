"""Estimates from recorded decisions: exact where they can be, refused where they cannot."""

import math

import numpy as np
import pytest

from collectors.simulated import SimulatedCollector
from evaluations.ope import require_propensities, weighted_importance
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.replays.reconstruct import replays
from toolkit.trace import Trace, table


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    of = scenario_of("genomics_tiny", ["scenario.jobs=3"])
    collector = SimulatedCollector(runs=12, behaviours=["random"])
    return collector.collect(of, [Random()], 0, tmp_path_factory.mktemp("runs"))


def returns(trace):
    return [sum(s.reward for s in r.episode.steps) for r in replays(trace)]


def test_the_policy_that_recorded_is_worth_the_mean_of_its_returns(trace):
    found = weighted_importance(trace, Random())
    assert found.value == pytest.approx(np.mean(returns(trace)))
    assert found.effective == pytest.approx(found.episodes) == 12


def test_another_policy_is_worth_a_mean_weighted_by_what_it_would_have_done(trace):
    other = Mixture(of=Static(), epsilon=0.9)
    found = weighted_importance(trace, other)
    totals = returns(trace)
    assert min(totals) <= found.value <= max(totals)
    assert 1.0 <= found.effective < 12


def test_a_policy_that_never_does_what_was_recorded_has_no_estimate(trace):
    found = weighted_importance(trace, Static())
    assert math.isnan(found.value)
    assert found.effective == 0.0


def test_inferred_decisions_are_refused_with_a_sentence(trace):
    decisions = [
        {**row, "propensity": None, "inferred": True}
        for row in trace.tables["decisions"].to_pylist()
    ]
    logged = Trace(
        tables={**trace.tables, "decisions": table("decisions", decisions)},
        provenance=trace.provenance,
    )
    with pytest.raises(
        ConfigError, match=r"have no propensity, [\d,]+ of them inferred from a log"
    ):
        weighted_importance(logged, Random())
    empty = Trace(tables={**trace.tables, "decisions": table("decisions", [])}, provenance={})
    with pytest.raises(ConfigError, match="0 of 0 decisions"):
        require_propensities(empty)
