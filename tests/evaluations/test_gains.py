"""What a learned policy saves on the engine, by hand."""

import pytest

from evaluations.gains import bars, gains, text

REAL = {
    ("net", 1): [4.0, 5.0, 4.0, 5.0],
    ("static", 1): [6.0, 7.0, 6.0, 7.0],
    ("reactive", 1): [9.0, 9.0, 9.0, 9.0],
    ("net", 2): [8.0, 8.0, 8.0],
    ("static", 2): [9.0, 9.0, 9.0],
    ("reactive", 2): [9.5, 9.5, 9.5],
}
SAID = {c: [v[0] - 1, v[0] + 1] for c, v in REAL.items()}


def test_against_the_rival_that_was_best_on_the_engine():
    (found,) = gains(["net"], ["static", "reactive", "absent"], REAL, SAID)
    assert found["rival"] == "static"
    assert found["n"] == 7
    assert found["saved"]["value"] == pytest.approx((4 * 2 + 3 * 1) / 7)
    assert found["promised"] == pytest.approx((2 + 1) / 2)
    assert found["share"] == pytest.approx(11 / 7 / 1.5)
    assert found["saved"]["low"] > 0
    assert [b["met"] for b in bars([found])] == [True, True]
    assert "105% of the promise" in text([found])[0]


def test_a_policy_that_loses_is_said_to_lose():
    (found,) = gains(["reactive"], ["static"], REAL, SAID)
    assert found["saved"]["high"] < 0
    assert found["share"] is None
    assert [b["met"] for b in bars([found])] == [False, False]
    assert "nothing was promised" in text([found])[0]


def test_without_rivals_or_learned_policies_there_is_nothing_to_say():
    assert gains(["net"], ["absent"], REAL, SAID) == []
    assert gains([], ["static"], REAL, SAID) == []
    assert gains(["never ran"], ["static"], REAL, SAID) == []
