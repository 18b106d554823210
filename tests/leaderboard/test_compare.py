"""Two runs of a real record held against each other, as text, JSON and Markdown."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from leaderboard.compare import compare
from leaderboard.comparison import CANNOT_TELL, MATTERS
from toolkit import cli, tracking
from toolkit.completion import suggest
from toolkit.errors import ConfigError, NotFoundError
from toolkit.paths import conf_dir
from toolkit.report import to_json
from toolkit.seeding import generator

EVIL = "<img src=x>|`x`_*\x1b[31m\u202e" + "w" * 10_000
LUCK = np.random.default_rng(1).normal(0, 8, 24)


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def frame(level, *, noise=1.0, seeds=24, latency=30.0):
    rng = generator(0, "cells", level)
    scores = level + LUCK[:seeds] + rng.normal(0, noise, seeds)
    return pd.DataFrame(
        {
            "seed": range(10_000, 10_000 + seeds),
            "score": scores,
            "latency_mean": latency + rng.normal(0, 1e-3, seeds),
        }
    )


def log(policy, cells, *, suite="flows", params=None, key="", metrics=None, **tags):
    mean = float(cells["score"].mean())
    own = {"score": mean, "iqm": mean, "ci_low": mean - 1, "ci_high": mean + 1}
    return tracking.log_evaluation(
        suite=suite,
        policy=policy,
        metrics={**own, **(metrics or {})},
        params={"suite.seeds": len(cells), "suite.floor": "random", **(params or {})},
        tags={
            "engine": "simulator", "calibration": "cal-1", "simulator": "7", "schema": "3",
            "commit": "abc", "cell_key": f"{suite}-{policy}-{key}", **tags,
        },
        cells=cells,
    )  # fmt: skip


def asked(a, b, form="text"):
    settings = OmegaConf.load(conf_dir() / "leaderboard_compare.yaml")
    return compare(OmegaConf.merge(settings, {"a": a, "b": b, "format": form}))


def of(report, name):
    return next(m for m in report.document["metrics"] if m["name"] == name)


def test_a_difference_that_matters_is_said_first_with_its_interval():
    log("mheft", frame(56, latency=30.0))
    log("cql", frame(64, latency=27.0), dataset="d1", dataset_digest="0123", commit="def")
    report = asked("mheft", "cql")
    first = report.text.splitlines()[0]
    assert re.match(
        r"it matters: cql scores [78]\.\d+ points more than mheft "
        r"\(95 % CI [678]\.\d+ to [789]\.\d+; 24 pairs, p = 0\.000\d+\); "
        r"other dataset, other dataset digest, other commit; "
        r"beyond chance differ also: latency_mean$",
        first,
    )
    latency = of(report, "latency_mean")
    assert latency["word"] == MATTERS
    assert latency["relative"] == pytest.approx(-0.1, abs=1e-3)
    assert latency["difference"]["low"] < latency["difference"]["value"] < 0
    assert latency["unit"].startswith("s from arrival")
    assert report.document["lineage"]["commit"] == ("abc", "def")
    assert report.document["lineage_same"]["calibration"] == "cal-1"
    assert "latency_mean: s from arrival to completion" in report.text
    assert "score: points of the suite" in report.text
    backwards = of(asked("cql", "mheft"), "score")["difference"]
    assert backwards["value"] == pytest.approx(-of(report, "score")["difference"]["value"])
    assert "scores" in (said := asked("cql", "mheft").text.splitlines()[0]) and "FEWER" in said


def test_what_chance_explains_is_no_difference():
    a = frame(50)
    log("a", a)
    log("b", a.assign(score=a["score"] + np.resize([1.0, -0.9], 24)), params={"suite.seeds": 99})
    report = asked("a", "b")
    assert of(report, "score")["word"] == CANNOT_TELL
    assert report.text.startswith("b and a cannot be told apart by score (+0.05, 95 % CI -0.")
    assert "1 setting differs" in report.text.splitlines()[0]
    assert report.document["configuration"] == {"suite.seeds": ("24", "99")}
    same = of(report, "latency_mean")
    assert same["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert same["word"] == CANNOT_TELL


def test_few_pairs_never_matter_however_far_apart():
    log("a", frame(10, seeds=5))
    log("b", frame(90, seeds=5))
    report = asked("a", "b")
    assert of(report, "score")["word"] == "cannot be told apart: 5 pairs, 6 are needed"
    assert "it matters" not in report.text


def test_pairs_are_those_seeds_and_scenarios_that_both_ran():
    tasks = [frame(50).assign(task="x"), frame(30).assign(task="y")]
    both = pd.concat(tasks, ignore_index=True)
    log("a", both)
    log("b", both.assign(score=both["score"] + 1.0).iloc[40:9:-1])
    score = of(asked("a", "b"), "score")
    assert score["pairs"] == 31
    assert score["difference"]["value"] == pytest.approx(1.0)
    log("c", frame(50).assign(seed=range(24), task="x"))
    log("d", frame(50))
    nothing = asked("a", "c")
    assert of(asked("a", "d"), "score")["pairs"] == 0
    assert of(nothing, "score")["word"] == "not comparable: 0 cells in common"
    assert nothing.text.startswith("a and c: 0 cells in common")


@pytest.mark.parametrize("name", ["calibration", "simulator", "schema", "engine", "suite"])
def test_what_was_measured_otherwise_is_not_compared(name):
    a = log("a", frame(50))
    b = log("b", frame(90), **{name: "other"})
    report = asked(a[:8], b)
    assert report.text.startswith(f"a and b are not comparable: other {name};")
    score = of(report, "score")
    assert score["word"] == f"not comparable: other {name}"
    assert score["difference"] is None
    assert score["a"] < 55 < 85 < score["b"]
    assert not report.document["comparable"]


def test_of_a_name_the_newest_evaluation_that_may_be_compared_counts():
    log("a", frame(40), key="old")
    newest = log("a", frame(50), key="new")
    b = log("b", frame(60), trained_policy="cql-1")
    log("b", frame(99), suite="elsewhere")
    report = asked("a", "b")
    assert report.document["a"]["run"] == newest
    assert report.document["b"]["run"] == b
    assert asked("a", "cql-1").document["b"]["run"] == b


def test_a_run_beside_itself_is_said_to_be_itself():
    run_id = log("a", frame(50))
    report = asked("a", run_id[:6])
    assert report.text.startswith(f"a and b are the same run, {run_id[:12]} (a)")
    assert report.document["same_run"]
    assert {m["word"] for m in report.document["metrics"]} == {CANNOT_TELL}


def test_trainings_stand_side_by_side_without_an_interval():
    made = [
        tracking.log_training(
            name=f"cql-{alpha}",
            params={"algo.alpha": alpha, "seed": 0},
            curve=[(1, {"loss": 9.0}), (2, {"loss": alpha})],
            tags={"dataset": "d1", "trained_policy": f"cql-{alpha}"},
            artefacts=None,
        )
        for alpha in (0.5, 2.0)
    ]
    report = asked(*made)
    assert report.text.startswith("two trainings, cql-0.5 and cql-2.0: 1 setting differs")
    loss = of(report, "loss")
    assert (loss["a"], loss["b"], loss["difference"]) == (0.5, 2.0, None)
    assert loss["word"] == "one training each says nothing of chance"
    assert report.document["configuration"] == {"algo.alpha": ("0.5", "2.0")}
    mixed = asked(made[0], log("a", frame(50)))
    assert "not comparable: one is a training, the other an evaluation" in mixed.text


def test_lost_results_are_said_and_what_is_left_is_shown(own_store):
    log("a", frame(50))
    log("b", frame(60))
    for file in (own_store / "tracking" / "artifacts").rglob("cells.json"):
        file.unlink()
    report = asked("a", "b")
    assert report.text.startswith("a and b: no per-seed results in the record")
    assert of(report, "score")["word"] == "not comparable: no per-seed results in the record"


def test_what_is_not_there_is_named_with_its_neighbours():
    run_id = log("mheft", frame(50))
    with pytest.raises(NotFoundError, match="did you mean 'mheft'"):
        asked("mhetf", "mheft")
    wrong = run_id[:-2] + ("00" if run_id[-2:] != "00" else "11")
    with pytest.raises(NotFoundError, match=f"did you mean '{run_id}'"):
        asked(wrong, "mheft")
    for short in (run_id[:5], "", "%", EVIL):
        with pytest.raises(NotFoundError):
            asked(short, "mheft")
    with pytest.raises(ConfigError, match="format must be"):
        asked("mheft", "mheft", "html")


def test_ids_that_begin_alike_are_told_apart(monkeypatch):
    import uuid

    ids = iter(["abcdef" + c * 26 for c in "01"])
    made = uuid.uuid4
    with monkeypatch.context() as patch:
        patch.setattr(
            "mlflow.store.tracking.sqlalchemy_store.uuid.uuid4",
            lambda: uuid.UUID(next(ids, made().hex)),
        )
        for name in ("one", "two"):
            tracking.log_training(name=name, params={}, curve=[], tags={}, artefacts=None)
    with pytest.raises(ConfigError, match=r"'abcdef' begins the ids of 2 runs: abcdef"):
        asked("abcdef", "abcdef")
    assert asked("abcdef0", "abcdef1").document["a"]["name"] == "one"


def test_hostile_names_are_shown_and_never_run():
    run_id = log(EVIL, frame(50), params={EVIL: EVIL, "a|b": "<b>"}, commit=EVIL)
    log("b", frame(60), params={"a|b": "|"})
    for form in ("text", "markdown"):
        shown = asked(run_id, "b", form).text
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert max(map(len, shown.splitlines())) < 400
    assert "<img" not in shown
    assert "<b>" not in shown
    tables = [line for line in shown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {4, 9}
    json.loads(to_json(asked(run_id, "b", "json").document))


@pytest.mark.parametrize(
    ("typed", "offers"),
    [
        ("leaderboard com", ["compare"]),
        ("leaderboard se", ["serve="]),
        ("leaderboard -m --tr", ["--traceback"]),
        ("leaderboard compare f", ["format="]),
        ("leaderboard compare format=m", ["format=markdown"]),
        ("leaderboard nonsense x", []),
        ("dataset s", ["show"]),
    ],
)
def test_the_command_is_completed_beside_the_settings_of_the_board(typed, offers):
    assert suggest(typed.split(" "), cli.COMMANDS) == offers


def test_the_command_is_found_beside_the_board(capfd):
    log("a", frame(50))
    log("b", frame(60))
    assert cli.main(["leaderboard", "compare", "a=a", "b=b", "format=json"]) == 0
    first = capfd.readouterr().out
    assert json.loads(first)["verdict"].startswith("it matters: b scores")
    assert cli.main(["leaderboard", "compare", "a=a", "b=b", "format=json"]) == 0
    assert capfd.readouterr().out == first
    assert cli.main(["leaderboard", "compare", "--help"]) == 0
    assert "its first 6 characters or more" in capfd.readouterr().out
    assert cli.main(["leaderboard", "--help"]) == 0
    assert "serve=false" in capfd.readouterr().out
    assert cli.main(["leaderboard", "comapre", "a=a"]) == 2
    assert "did you mean 'compare'?" in capfd.readouterr().err
    assert cli.main(["leaderboard", "compare", "a=a"]) == 2
    assert "b needs a value" in capfd.readouterr().err
