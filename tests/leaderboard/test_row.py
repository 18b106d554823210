"""Lines, groups and verdicts without a record; numbers that are odd."""

import numpy as np
import pandas as pd
import pytest

from leaderboard.evidence import Evidence
from leaderboard.markdown import markdown
from leaderboard.page import page
from leaderboard.row import Group, brief, sentence, verdicts
from leaderboard.section import Section
from leaderboard.table import table
from leaderboard.text import text
from tests.leaderboard.boards import board, row


@pytest.mark.parametrize("score", [float("nan"), 0.0, -1e9, 1e-9, float("inf")])
def test_odd_numbers_are_drawn(score, tmp_path):
    group = Group((row(score=score, ci_low=score, ci_high=score),))
    section = Section(group=group, verdicts=[], limit=5)
    assert "p" in text([section])
    told = page([section], [Evidence()], target=tmp_path / "b.html", server="")
    assert told.rstrip().endswith("</html>")
    assert markdown([section])
    assert table([section])


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


def test_the_heuristic_to_beat_is_chosen_in_training():
    lucky = row(policy="lucky", score=9.0, chosen=4.0)
    solid = row(policy="solid", score=8.0, chosen=6.0)
    group = Group((lucky, row(policy="cql", score=8.5, learned=True, chosen=99.0), solid))
    assert group.best_heuristic == solid
    assert group.choice == "best heuristic: solid, chosen on the training workloads"
    blind = Group((row(policy="lucky", score=9.0), row(policy="solid", score=8.0)))
    assert blind.best_heuristic.policy == "lucky"
    assert blind.choice == "best heuristic: lucky, chosen on the test workloads"
    assert Group((row(learned=True, score=1.0),)).choice == ""


def test_a_policy_that_failed_is_shown_and_never_compared():
    section, _ = board()
    assert section.group.best_heuristic.policy == "srpt_heft"
    told = text([section])
    assert "failed on 3 workloads" in told
    assert "tdca failed: no slot is allowed" in told
    assert "failed on 3 workloads" in markdown([section])
    failed = row(policy="cql", learned=True, failed=1.0, run_id="a")
    group = Group((row(policy="heft", score=5.0, run_id="b"), failed))
    cells = pd.DataFrame({"seed": [1], "score": [1.0]})
    [verdict] = verdicts(group, lambda run: cells)
    assert sentence(verdict) == "cql cannot be compared with heft: it failed on 1 workload"


def test_every_row_is_printed_with_what_makes_it_again():
    section, _ = board()
    told = text([section]).partition("each row again:")[2]
    for number, one in enumerate(section.rows, 1):
        assert f"{number:>4}  {brief(one.command, 600)}" in told
