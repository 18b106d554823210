"""The board as CSV: every number in full, and nothing that a spreadsheet would run."""

import csv
import io
import math

import pytest

from leaderboard.row import Group
from leaderboard.section import Section
from leaderboard.table import table
from tests.leaderboard.boards import EVIL, board, row


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def one(**values):
    return read(table([Section(group=Group((row(**values),)), verdicts=[], limit=9)]))[0]


def test_every_number_is_there_in_full():
    section, _ = board()
    lines = read(table([section, section]))
    assert [line["board"] for line in lines] == ["1"] * 8 + ["2"] * 8
    assert [line["rank"] for line in lines[:8]] == [str(i) for i in range(1, 9)]
    for line, known in zip(lines, section.rows, strict=False):
        assert line["policy"] == known.policy
        assert line["learned"] == str(known.learned).lower()
        for key in ("score", "ci_low", "latency_p99", "decision_ms"):
            number = getattr(known, key)
            assert line[key] == "" if math.isnan(number) else float(line[key]) == number


def test_lines_end_as_the_standard_says():
    section, _ = board()
    text = table([section])
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n") == 9


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\r"])
def test_a_name_is_never_a_formula(start):
    name = f'{start}cmd|"/c calc"!A1'
    assert one(policy=name)["policy"] == f"'{name}"


@pytest.mark.parametrize("name", ['a,"b"', "two\nlines", EVIL, "w" * 10_000, "調度"])
def test_a_name_comes_back_as_it_was(name):
    assert one(policy=name)["policy"] == name


def test_a_negative_number_stays_a_number():
    assert one(score=-1.5)["score"] == "-1.5"
