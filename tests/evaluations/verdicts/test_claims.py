"""Claims: each paper's are read, and each gets one verdict that says why."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from evaluations.verdicts.claims import (
    CONFIRMED,
    IMPOSSIBLE,
    NOT_COMPARABLE,
    NOT_CONFIRMED,
    Finding,
    claims,
    gain_verdict,
)
from evaluations.verdicts.report import Picture, Produced, Table, interval, publish
from toolkit.errors import ConfigError


@pytest.mark.parametrize("paper", ["a", "b", "c"])
def test_every_statement_of_a_paper_is_here(paper, reference_data):
    stated = yaml.safe_load((reference_data / "claims" / f"{paper}.yaml").read_text())["claims"]
    ours = claims(paper)
    assert [c.id for c in ours] == [c["id"] for c in stated]
    for mine, theirs in zip(ours, stated, strict=True):
        assert mine.expected == (paper == "a"), "that paper has measured none"
        numbers = {k: v for k, v in theirs.items() if isinstance(v, float | int) and k != "id"}
        numbers.pop("measured_there", None)
        assert numbers.items() <= dict(mine.figures).items()


@pytest.mark.parametrize(
    ("low", "claimed", "possible", "verdict"),
    [
        (0.26, 0.25, 0.4, CONFIRMED),
        (0.24, 0.25, 0.4, NOT_CONFIRMED),
        (0.24, 0.25, 0.2, IMPOSSIBLE),
        (-0.1, 0.25, None, NOT_CONFIRMED),
    ],
)
def test_verdicts_on_gains(low, claimed, possible, verdict):
    assert gain_verdict(low, claimed, possible) == verdict


def test_a_verdict_says_why():
    with pytest.raises(ConfigError, match="needs a figure"):
        Finding(claim="C1", verdict=CONFIRMED, why="because")
    with pytest.raises(ConfigError, match="say what led"):
        Finding(claim="C1", verdict=NOT_COMPARABLE)
    with pytest.raises(ConfigError, match="a verdict is one of"):
        Finding(claim="C1", verdict="maybe", figure="1")


def produced(findings):
    def draw():
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([0, 1])
        return figure

    return Produced(
        suite="paper_c", title="Paper C", size="quick", command="toolkit evaluate +suite=paper_c",
        about=["Of six."],
        tables=[Table(caption="t", frame=pd.DataFrame({"a|b": ["<i>|", "x"], "n": [1.0, np.nan]}))],
        pictures=[Picture(name="line", caption="a line", draw=draw)],
        findings=findings,
    )  # fmt: skip


def test_a_report_has_every_claim_once_and_its_files(own_store):
    findings = [Finding(claim=c.id, verdict=NOT_COMPARABLE, why="no") for c in claims("c")]
    with pytest.raises(ConfigError, match="but the claims are"):
        publish(produced(findings[1:]), claims("c"))
    report = publish(produced(findings), claims("c"))
    folder = own_store / "reports" / "paper_c-quick"
    assert report.document["folder"] == str(folder)
    assert (folder / "line.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((folder / "report.json").read_text())
    assert [v["id"] for v in told["verdicts"]] == [c.id for c in claims("c")]
    text = (folder / "report.md").read_text()
    assert "<i>\\|" in text and "| – |" in text and "![a line](line.png)" in text
    before = (folder / "line.png").read_bytes()
    publish(produced(findings), claims("c"))
    assert (folder / "line.png").read_bytes() == before


def test_intervals_as_text():
    assert interval(0.1234, 0.1, 0.2) == "0.123 [0.100, 0.200]"
    assert interval(np.nan, 0, 0) == "–"
