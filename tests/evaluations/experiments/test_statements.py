"""Statements: what is measured of two arms, and which side of a bar it lies on."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evaluations.experiments.arms import Followed
from evaluations.experiments.statements import Ground, Question, Statement
from evaluations.verdicts.claims import CONFIRMED, NOT_CONFIRMED
from evaluations.verdicts.comparison import Compared
from toolkit.errors import ConfigError, NotFoundError


def frame(*trainings):
    return pd.concat(
        pd.DataFrame({"training": k, "seed": range(len(v)), "latency_mean": v})
        for k, v in enumerate(trainings)
    )


def training(curve, values):
    return Followed(
        policy="p", decisions=np.arange(len(curve), dtype=float), returns=np.array(curve, float),
        worth=np.array([values] * len(curve), float), probes=np.arange(4.0), seconds=1.0,
    )  # fmt: skip


@pytest.fixture
def grounds():
    rng = np.random.default_rng(0)
    base = rng.uniform(1, 2, 30)
    cells = {
        "a": frame(0.7 * base, 0.72 * base, 0.69 * base),
        "b": frame(base, 1.01 * base, 0.99 * base),
        "rule": frame(2 * base),
        "other": frame(3 * base),
    }
    played = Compared(
        ground=("x",), cells=cells, before={"rule": cells["rule"], "other": cells["other"]}
    )
    followed = {
        "a": [training([0, 2, 4 + d], [1 + d, 2, 3, 4]) for d in (0, 0.1, 0.2)],
        "b": [training([0, 2, 1 + d], [1 + 9 * d, 2, 3, 4]) for d in (0, 0.1, 0.2)],
    }
    return {"g": Ground(followed=followed, played=played)}


def test_a_gain_is_paired_over_workloads_and_trainings(grounds):
    s = Statement(measure="gain", of="a", over="b", ground="g", above=0.25)
    found = s.found(grounds)
    assert found.low < 1 - 0.7033 / 1 < found.high
    assert found.high - found.low < 0.1
    assert s.holds(found)
    assert not Statement(measure="gain", of="a", over="b", ground="g", above=0.29).holds(found)
    assert Statement(measure="gain", of="b", over="a", ground="g", below=0).holds(
        Statement(measure="gain", of="b", over="a", ground="g", below=0).found(grounds)
    )


def test_the_best_rule_is_that_of_training_workloads(grounds):
    s = Statement(measure="gain", of="b", over="best rule", ground="g", above=0.4)
    assert s.found(grounds).value == pytest.approx(0.5, abs=1e-3)
    assert "rule, the best rule" in s.told(s.found(grounds), "rule")


def test_curves_falls_and_values(grounds):
    curve = Statement(measure="curve", of="a", over="b", ground="g", above=0).found(grounds)
    assert curve.value == pytest.approx(1.0)
    assert curve.low > 0
    fall = Statement(measure="fall", of="a", over="b", ground="g", below=0).found(grounds)
    assert fall.value == pytest.approx(-(1 - 0.1) / 3)
    values = Statement(measure="values", of="a", over="b", ground="g", below=1).found(grounds)
    assert values.value == pytest.approx(1 / 81)


def test_a_question_is_answered_by_all_its_statements(grounds):
    yes = Statement(measure="gain", of="a", over="b", ground="g", above=0.2)
    no = Statement(measure="gain", of="a", over="b", ground="g", below=0.2)
    assert Question(claim="C11", all=[yes]).answer(grounds, "x").verdict == CONFIRMED
    told = Question(claim="C11", all=[yes, no]).answer(grounds, "x")
    assert told.verdict == NOT_CONFIRMED
    assert told.figure.endswith(": no")
    assert Question(claim="own", text="a is better", all=[yes]).stated.text == "a is better"
    assert Question(claim="C11", all=[yes]).stated.text.startswith("prioritised replay")


def test_one_training_has_no_interval_and_confirms_nothing(grounds):
    one = {
        "g": Ground(
            followed={k: v[:1] for k, v in grounds["g"].followed.items()},
            played=grounds["g"].played,
        )
    }
    s = Statement(measure="curve", of="a", over="b", ground="g", above=0)
    assert Question(claim="C11", all=[s]).answer(one, "x").verdict == NOT_CONFIRMED
    assert "no interval" in s.told(s.found(one), "rule")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"measure": "gains"}, "did you mean 'gain'"),
        ({"above": 1.0, "below": 2.0}, "one bar"),
        ({"above": None}, "one bar"),
        ({"ground": "h"}, "ground 'h'"),
        ({"of": "c"}, "arm 'c'"),
        ({"measure": "curve", "over": "rule"}, "arm that was trained 'rule'"),
    ],
)
def test_what_makes_no_sense_is_refused(grounds, words, match):
    usual = {"measure": "gain", "of": "a", "over": "b", "ground": "g", "above": 0.0}
    with pytest.raises((ConfigError, NotFoundError), match=match):
        Statement(**{**usual, **words}).found(grounds)


def test_an_unknown_claim_is_refused(grounds):
    s = Statement(measure="gain", of="a", over="b", ground="g", above=0.2)
    with pytest.raises(NotFoundError, match="C99"):
        _ = Question(claim="C99", all=[s]).stated


def test_what_was_watched_elsewhere_is_not_compared(grounds):
    there = [replace(f, probes=f.probes + 1) for f in grounds["g"].followed["a"]]
    grounds["g"].followed["there"] = there
    with pytest.raises(ConfigError, match="watched in different places"):
        Statement(measure="curve", of="there", over="b", ground="g", above=0).found(grounds)
    assert math.isnan(
        Statement(measure="gain", of="a", over="b", ground="g", metric="cost", above=0)
        .found({"g": without(grounds["g"])}).low
    )  # fmt: skip


def without(ground):
    """Return the same with costs, one of which is 0."""
    cells = {a: f.assign(cost=np.where(f["seed"] == 0, 0.0, 1.0)) for a, f in
             ground.played.cells.items()}  # fmt: skip
    return replace(ground, played=replace(ground.played, cells=cells))
