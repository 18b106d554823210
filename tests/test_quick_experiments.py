"""Every experiment runs at its quick size: it trains, judges, draws, answers and is recorded."""

import json
from pathlib import Path

import pytest

from toolkit import cli, tracking
from toolkit.catalogue import Catalogue

pytestmark = pytest.mark.check
CATALOGUE = Catalogue()


def sized():
    """Return the experiments that have a quick size."""
    names = CATALOGUE.groups["experiment"]
    told = {n: CATALOGUE.read(f"experiment/{n}").get("experiment", {}) for n in names}
    return [n for n in names if "quick" in told[n].get("sizes", {})]


def test_the_experiments_of_the_papers_have_one():
    assert set(sized()) == {
        "actor_critics", "decima", "graph_networks", "paper_b_dqn", "prioritised_replay", "scaling",
        "several_agents", "stability", "transfer", "weights",
    }  # fmt: skip


@pytest.mark.parametrize("name", sized())
def test_an_experiment_answers(capsys, name):
    words = ["train", f"+experiment={name}", "experiment.size=quick", "format=json", "workers=1"]
    code = cli.main(words)
    out, err = capsys.readouterr()
    assert code == 0, err
    told = json.loads(out)
    folder = Path(told["folder"])
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert told["command"] == f"toolkit train +experiment={name} experiment.size=quick"
    assert told["command"] in text
    assert told["verdicts"]
    assert all(v["figure"] or v["why"] for v in told["verdicts"])
    for picture in told["pictures"]:
        assert (folder / f"{picture['name']}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({picture['name']}.png)" in text
    assert told["tables"]
    assert all(t["rows"] for t in told["tables"])
    if name != "scaling":  # which times steps and judges nobody
        board = tracking.board()
        assert {s.partition(", ")[0] for s in board["suite"]} == {name}
        assert set(board["learned"]) == {True, False}
        replays = board[board["calibration"] != ""]
        assert (len(replays) > 0) == (name == "transfer")
        assert replays["calibration_error"].notna().all()
