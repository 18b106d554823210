"""What the record tells beside the board, and what is drawn of it."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from leaderboard import evidence
from leaderboard.curves import curves
from leaderboard.evidence import MOST, Evidence, gather, pictured
from leaderboard.profile import profile
from leaderboard.row import Group
from leaderboard.schedules import inline, schedules
from tests.leaderboard.boards import EVIL, board, curve, episode, row
from toolkit import tracking
from toolkit.errors import CorruptError, NotFoundError


def told(**changes):
    """Return an episode as the record keeps it, through JSON."""
    return json.loads(json.dumps(asdict(episode(0)) | changes))


def test_what_the_record_tells_becomes_values(monkeypatch):
    section, known = board()
    kept = {run: json.loads(json.dumps(asdict(e))) for run, e in known.episodes.items()}
    monkeypatch.setattr(tracking, "curve", known.curves.__getitem__, raising=False)
    monkeypatch.setattr(tracking, "episode", kept.__getitem__, raising=False)
    found = gather(section.group, known.cells.__getitem__)
    assert found.curves.keys() == known.curves.keys()
    assert found.episodes.keys() == known.episodes.keys()
    assert found.episodes == {run: evidence.episode(kept[run]) for run in known.episodes}
    one = found.episodes[section.rows[0].run_id]
    assert one.bars == episode(0).bars
    assert one.choices == episode(0).choices


def test_what_is_gone_or_damaged_is_left_out(monkeypatch):
    def gone(name):
        raise NotFoundError("gone")

    def damaged(run):
        return told(bars=[[0, 0, 99, 1.0, 2.0]])

    monkeypatch.setattr(tracking, "curve", gone, raising=False)
    monkeypatch.setattr(tracking, "episode", damaged, raising=False)
    section, _ = board()
    assert gather(section.group, gone) == Evidence()


@pytest.mark.parametrize(
    "changes",
    [
        {"bars": [[0, 0, 0, 2.0, 1.0]]},
        {"bars": [[0, 0, 0, -1.0, 1.0]]},
        {"bars": [[0, 0, 0, 1.0, None]]},
        {"bars": [[0, 0, 0, 1.0, 1e999]]},
        {"bars": [[-1, 0, 0, 1.0, 2.0]]},
        {"bars": [[0, 6, 0, 1.0, 2.0]]},
        {"bars": [[0, 0]]},
        {"bars": 7},
        {"places": None},
        {"jobs": "many"},
        {"choices": {"name": "cores", "time": [1], "value": [], "queue": [], "size": []}},
        {"choices": {"name": "cores", "time": [1e999], "value": [1], "queue": [1], "size": [1]}},
        {"choices": {"name": "cores"}},
    ],
)
def test_an_episode_that_cannot_be_is_refused(changes):
    with pytest.raises(CorruptError):
        evidence.episode(told(**changes))


def test_pictures_show_the_best_and_the_heuristic_to_beat():
    many = [row(policy=f"l{i}", learned=True, score=99.0 - i, run_id=str(i)) for i in range(20)]
    rule = row(policy="rule", score=1.0, run_id="rule")
    failed = row(policy="failed", failed=2.0, run_id="f")
    shown = pictured(Group((*many, rule, failed)))
    assert len(shown) == MOST
    assert shown[0].policy == "l0"
    assert shown[-1] == rule


def test_a_profile_tells_the_share_of_workloads_above_a_level():
    scores = {"a": [10.0, 20.0, 30.0, 40.0], "b": [0.0, 0.0, 0.0, 100.0]}
    group, found = _group(scores)
    drawn = profile(group, found)
    assert [line["policy"] for line in drawn["lines"]] == ["a", "b"]
    assert drawn["n"] == 4
    # Just above 0 all of a and a quarter of b are left: b falls to 75 % of the height at once.
    heights = [float(p.split(",")[1]) for p in drawn["lines"][1]["line"].split()]
    assert set(heights) == {0.0, 75.0, 100.0}
    assert [line["gap"] for line in drawn["lines"]] == ["75.0", "75.0"]
    assert [line["rank"] for line in drawn["lines"]] == ["1.5", "1.5"]


def test_profiles_take_tasks_apart_and_leave_out_who_met_less():
    frames = {
        name: pd.DataFrame(
            {"task": ["x"] * 3 + ["y"] * 3, "seed": [0, 1, 2] * 2, "score": np.arange(6.0) + shift}
        )
        for name, shift in (("a", 3.0), ("b", 0.0))
    }
    frames["c"] = frames["b"].iloc[:4]
    rows = tuple(row(policy=n, run_id=n, score=9.0 - i) for i, n in enumerate(frames))
    drawn = profile(Group(rows), Evidence(cells=frames))
    assert [line["policy"] for line in drawn["lines"]] == ["a", "b"]
    assert drawn["n"] == 6
    assert [line["ends"] for line in drawn["lines"]] == ["1", "2"]


@pytest.mark.parametrize(
    "cells",
    [
        pd.DataFrame({"seed": [1, 1], "score": [1.0, 2.0]}),
        pd.DataFrame({"seed": [1], "score": ["x"]}),
        pd.DataFrame({"seed": [1]}),
        pd.DataFrame(),
    ],
)
def test_cells_that_tell_nothing_draw_no_profile(cells):
    rows = (row(policy="a", run_id="a", score=2.0), row(policy="b", run_id="b", score=1.0))
    assert profile(Group(rows), Evidence(cells={"a": cells, "b": cells})) is None


def test_curves_keep_their_ends_and_leave_out_what_is_no_number():
    frame = curve(1)
    frame.loc[3, "value"] = np.nan
    steps = np.arange(10_001)
    long = pd.DataFrame({"metric": "long", "step": steps, "value": steps / 2000})
    group = Group((row(learned=True, score=1.0, trained_policy="t"),))
    drawn = curves(group, Evidence(curves={"t": pd.concat([frame, long])}))
    by_name = {d["metric"]: d["lines"][0] for d in drawn}
    assert sorted(by_name) == ["long", "loss", "score"]
    assert len(by_name["loss"]["line"].split()) == 79
    points = by_name["long"]["line"].split()
    assert len(points) <= 302
    assert points[0].startswith("0,")
    assert points[-1].startswith("100,")
    assert by_name["long"]["value"] == "5"
    assert by_name["long"]["step"] == "10,000"


def test_schedules_stand_in_a_page_without_leaving_it():
    section, found = board()
    text = inline([*schedules(section.group, found), {"x": "\u2028</script>&"}])
    assert not set("<>&\u2028\u2029") & set(text)
    back = json.loads(text)
    assert back[-1] == {"x": "\u2028</script>&"}
    assert back[0]["policy"] == "cql"
    assert any(e["policy"].startswith(EVIL[:30]) for e in back[:-1])
    assert back[0]["bars"] == [list(b) for b in episode(0).bars]


def _group(scores):
    frames = {
        name: pd.DataFrame({"seed": range(len(line)), "score": line})
        for name, line in scores.items()
    }
    rows = tuple(row(policy=n, run_id=n, score=float(np.mean(s))) for n, s in scores.items())
    return Group(rows), Evidence(cells=frames)
