"""Lines, groups and verdicts without a record; numbers that are odd."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from leaderboard import render
from leaderboard.row import Group, Row, brief, sentence, verdicts
from toolkit import tracking


def row(**values):
    texts = dict.fromkeys(tracking.TEXTS, "") | {"run_id": "r", "created": "2026-01-01T00:00:00"}
    numbers = dict.fromkeys(tracking.NUMBERS, float("nan")) | {"calibration_error": float("nan")}
    own = {"suite": "s", "policy": "p", "learned": False, **values}
    names = {f.name for f in fields(Row)}
    return Row(**{k: v for k, v in {**texts, **numbers, **own}.items() if k in names})


@pytest.mark.parametrize("score", [float("nan"), 0.0, -1e9, 1e-9, float("inf")])
def test_odd_numbers_are_drawn(score):
    section = render.Section(Group((row(score=score, ci_low=score, ci_high=score),)), [])
    assert "p" in render.text([section], limit=5)
    assert render.page([section], limit=5).rstrip().endswith("</html>")
    assert render.markdown([section], limit=5)


@pytest.mark.parametrize(
    ("mine", "theirs", "reason"),
    [
        ({"seed": [1, 2], "score": [1, 2]}, {"seed": [3], "score": [1]}, "no seed in common"),
        ({"seed": [1], "score": [None]}, {"seed": [1], "score": [1]}, "no seed in common"),
        ({"seed": [1]}, {"seed": [1], "score": [1]}, "not in the record"),
        ({"seed": [1], "score": ["x"]}, {"seed": [1], "score": [1]}, "not in the record"),
        ({}, {"seed": [1], "score": [1]}, "not in the record"),
    ],
)
def test_what_cannot_be_paired_is_said(mine, theirs, reason):
    frames = {"a": pd.DataFrame(mine), "b": pd.DataFrame(theirs)}
    learned = row(policy="cql", learned=True, score=9.0, run_id="a")
    group = Group((learned, row(policy="heft", score=5.0, run_id="b")))
    [verdict] = verdicts(group, frames.__getitem__)
    assert verdict.outcome == "unknown"
    assert reason in sentence(verdict)


def test_pairs_are_matched_by_seed_not_by_place():
    seeds = np.arange(12)
    mine = pd.DataFrame({"seed": seeds[::-1], "score": 10.0 * seeds[::-1] + 1})
    theirs = pd.DataFrame({"seed": seeds, "score": 10.0 * seeds})
    group = Group(
        (row(policy="cql", learned=True, score=2.0, run_id="a"), row(score=1.0, run_id="b"))
    )
    [verdict] = verdicts(group, {"a": mine, "b": theirs}.__getitem__)
    assert sentence(verdict) == "cql beats p by 1.0 points (95 % CI 1.0 to 1.0; 12 paired seeds)"


def test_notes_tell_simulated_from_measured():
    unknown = Group((row(engine="simulated"),)).note
    assert unknown.endswith("how far they are from a real cluster is unknown")
    half = Group((row(engine="simulator", calibration="c"),)).note
    assert half == "simulated scores; calibration c: held-out makespan error unknown"
    assert Group((row(engine="ray"),)).note == "measured scores of ray"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\u202eabc", "x" * 9999, "調" * 99])
def test_brief_names_are_one_printable_line(name):
    shown = brief(name)
    assert len(shown) <= 48
    assert shown.isprintable()
    assert bool(shown) == bool(name)
