"""The board as people and scripts see it, from evaluations in a real record."""

import csv
import html.parser
import io
import json
import re
import sys
import types
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from leaderboard.leaderboard import leaderboard
from leaderboard.row import groups, rows, sentence, verdicts
from tests.leaderboard.boards import episode as played
from toolkit import tracking
from toolkit.errors import ConfigError, NotFoundError, ResourceError
from toolkit.paths import conf_dir
from toolkit.report import to_json
from toolkit.seeding import generator
from toolkit.statistics import bootstrap, mean

EVIL = "<img src=x onerror=alert(1)>|`x`_*\x1b[31m\u202e{{7*7}}" + "w" * 10_000
LEVELS = {"static": 50, "mheft": 56, "random": 31, "cql": 64, "bc": 56.3, "iql": 48, EVIL: 40}
LEARNED = {"cql", "bc", "iql", EVIL}


def log(suite, policy, scores, *, key="", episode=None, **tags):
    cells = pd.DataFrame({"seed": range(len(scores)), "score": scores})
    interval = bootstrap(scores, generator(0), statistic=mean)
    return tracking.log_evaluation(
        suite=suite,
        policy=policy,
        metrics={
            "score": interval.value,
            "IQM": float(np.median(scores)),
            "ci_low": interval.low,
            "ci_high": interval.high,
            "latency_mean": 512.34,
            "latency_mean_ci_low": 480.0,
            "latency_mean_ci_high": 540.0,
            "max_queue": 12,
        },
        params={},
        tags={
            "learned": str(policy in LEARNED).lower(),
            "engine": "simulated",
            "calibration": "cal-1",
            "calibration_error": 0.041,
            "schema": "3",
            "command": f"toolkit evaluate policy={policy[:20]}",
            "cell_key": f"{suite}-{policy}-{key}",
            **tags,
        },
        cells=cells,
        **({} if episode is None else {"episode": episode}),
    )


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("record")
    rng = np.random.default_rng(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLKIT_DATASETS", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for suite, n in (("pipes", 5), ("flows", 24)):
            luck = rng.normal(0, 8, n)
            found = {p: level + luck + rng.normal(0, 2.5, n) for p, level in LEVELS.items()}
            found["bc"] = found["mheft"] + np.resize([2.0, -1.8], n)
            for policy, scores in found.items():
                log(suite, policy, scores)
        log("flows", "static", np.full(6, 44.0), engine="ray", calibration="", key="real")
        log("flows", "cql", np.full(6, 99.0), calibration="cal-2", key="other calibration")
        log("flows", "mheft", found["mheft"], key="again")
    return root


@pytest.fixture
def filled(record, own_store, monkeypatch):
    monkeypatch.setenv("TOOLKIT_DATASETS", str(record))
    return record


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def asked(monkeypatch):
    """Stand in for the evaluations, and note what was asked of them."""
    calls = []
    module = types.ModuleType("evaluations.evaluate")
    module.ensure = lambda suite, cfg: calls.append((suite.name, cfg.trace))
    monkeypatch.setitem(sys.modules, "evaluations.evaluate", module)
    return calls


def config(suite=None, **values):
    """Return the command's settings; the board shows every suite unless one is named."""
    chosen = OmegaConf.load(conf_dir() / "suite" / "quick.yaml")
    chosen.name = suite or "pipes"
    settings = OmegaConf.load(conf_dir() / "leaderboard.yaml")
    return OmegaConf.merge(settings, {"suite": chosen, "all": suite is None}, values)


class Page(html.parser.HTMLParser):
    """Collect elements, attributes and texts; complain about tags that do not match."""

    VOID = frozenset({"meta", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_text_says_who_wins_and_how_far_to_trust_it(filled, asked):
    report = leaderboard(config())
    assert asked == [("pipes", "latest")]
    flows = next(
        b for b in report.text.split("\n\n") if b.startswith("flows, engine sim") and "iql" in b
    )
    lines = flows.splitlines()
    assert re.match(
        r"#\s+policy\s+kind\s+score \[95 % CI\]  latency mean \(s\) \[95 % CI\]", lines[1]
    )
    assert re.search(
        r"1  cql +learned +\d\d\.\d \[\d\d\.\d, \d\d\.\d\] +512\.3 \[480\.0, 540\.0\]", flows
    )
    assert "simulated scores; calibration cal-1: held-out makespan error 4.1 %" in lines
    number = r"-?\d+\.\d\d?"
    ci = rf"95 % CI {number} to {number}; 24 paired seeds"
    assert re.search(rf"^cql beats mheft by {number} points \({ci}\)$", flows, re.M)
    assert re.search(rf"^iql LOSES to mheft by \d+\.\d points \({ci}\)$", flows, re.M)
    assert re.search(
        rf"^bc and mheft cannot be told apart \(difference [+-]\d\.\d\d?, {ci}\)$", flows, re.M
    )
    assert "1 older evaluation of the same policies left out" in lines
    assert "each comparison stands alone" in flows
    pipes = next(b for b in report.text.split("\n\n") if b.startswith("pipes"))
    assert "5 paired seeds, at least 6 are needed" in pipes
    assert " beats " not in pipes
    assert "LOSES" not in pipes
    assert "\x1b" not in report.text
    assert "\u202e" not in report.text
    assert max(map(len, report.text.splitlines())) < 220


def test_other_calibrations_and_engines_are_never_mixed(filled):
    found = groups(rows(tracking.board()))
    keys = [(g.suite, g.rows[0].engine, g.rows[0].calibration) for g in found]
    assert len(set(keys)) == len(keys) == 4
    for group in found:
        assert len({(r.suite, r.engine, r.calibration, r.schema) for r in group.rows}) == 1
    alone = next(g for g in found if g.rows[0].calibration == "cal-2")
    [verdict] = verdicts(alone, tracking.cells)
    assert verdict.outcome == "unknown"
    assert sentence(verdict).startswith("cql cannot be compared with any heuristic")
    real = next(g for g in found if g.rows[0].engine == "ray")
    assert real.note == "measured scores of ray"


def test_the_document_is_json_and_complete(filled, asked):
    document = json.loads(to_json(leaderboard(config(suite="flows")).document))
    assert asked == [("flows", "latest")]
    assert {r["suite"] for r in document["rows"]} == {"flows"}
    assert len(document["rows"]) == len(LEVELS) + 3
    assert [r["policy"] for r in document["rows"] if r["superseded"]] == ["mheft"]
    assert list(document["rows"][0])[:3] == ["policy", "suite", "engine"]
    by_policy = {v["policy"]: v for v in document["verdicts"] if v["difference"]}
    assert by_policy["cql"]["outcome"] == "better"
    assert by_policy["cql"]["pairs"] == 24
    assert by_policy["cql"]["difference"]["low"] > 0
    assert by_policy["cql"]["improvement"]["value"] > 0.5
    assert document["html"] == str(filled / "boards" / "leaderboard.html")


def test_a_board_is_the_same_each_time(filled, asked):
    first = to_json(leaderboard(config()).document)
    page = (filled / "boards" / "leaderboard.html").read_bytes()
    assert to_json(leaderboard(config()).document) == first
    assert (filled / "boards" / "leaderboard.html").read_bytes() == page


def test_the_page_needs_nothing_and_runs_nothing_foreign(filled, asked):
    leaderboard(config())
    text = (filled / "boards" / "leaderboard.html").read_text("utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2
    assert not {"img", "iframe", "object", "form"} & set(page.tags)
    links = [v for _, name, v in page.attributes if name in ("src", "href")]
    assert links == ["data:,", *(f"#board-{i}" for i in range(1, 5))]
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")  # a name, no address
    assert "https://" not in text
    assert "@import" not in text
    assert any("<img src=x onerror=alert(1)>" in t for t in page.text)
    assert "49" not in "".join(t for t in page.text if "onerror" in t)
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_page_tells_people_and_screen_readers(filled, asked):
    leaderboard(config(suite="flows"))
    text = (filled / "boards" / "leaderboard.html").read_text("utf-8")
    page = Page(text)
    assert ("html", "lang", "en") in page.attributes
    assert any(a[:2] == ("meta", "name") and a[2] == "viewport" for a in page.attributes)
    assert "prefers-color-scheme: dark" in text
    assert page.attributes.count(("th", "role", "rowheader")) == len(LEVELS) + 2
    assert sum(1 for _, name, v in page.attributes if (name, v) == ("aria-sort", "descending")) == 3
    said = " ".join("".join(page.text).split())
    for phrase in (
        "cql beats mheft by",
        "iql LOSES to mheft by",
        "calibration cal-1: held-out makespan error 4.1 %",
        "toolkit evaluate policy=cql",
        "measured scores of ray",
    ):
        assert phrase in said
    places = [float(x) for x in re.findall(r"(?:left|width):([\d.]+)%", text)]
    assert places
    assert all(0 <= x <= 100 for x in places)


def test_markdown_keeps_its_tables(filled, asked):
    text = leaderboard(config(format="markdown")).text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    for line in tables:
        assert len(re.findall(r"(?<!\\)\|", line)) == 8 - 1
    assert "<img" not in text
    assert "- cql beats mheft by" in text


def test_the_table_of_every_board_is_csv(filled, asked):
    report = leaderboard(config(format="csv"))
    lines = list(csv.DictReader(io.StringIO(report.text, newline=""), strict=True))
    assert len(lines) == 2 * len(LEVELS) + 2
    assert any(line["policy"].startswith(EVIL[:30]) for line in lines)
    known = {r["run_id"]: r["score"] for r in report.document["rows"]}
    assert all(float(line["score"]) == known[line["run_id"]] for line in lines)
    assert "page:" not in report.text


def test_the_limit_cuts_and_says_so(filled, asked):
    report = leaderboard(config(limit=1, suite="pipes"))
    assert "… and 6 more (limit=7 shows them)" in report.text
    assert " mheft  " not in report.text
    assert report.document["verdicts"][0]["baseline"] == "mheft"
    assert len(report.document["rows"]) == len(LEVELS)


def test_the_page_goes_where_it_is_sent(filled, asked, tmp_path):
    target = tmp_path / "new folder" / "b.html"
    assert leaderboard(config(html=str(target))).document["html"] == str(target)
    assert [p.name for p in target.parent.iterdir()] == ["b.html"]
    with pytest.raises(ConfigError, match="is a folder"):
        leaderboard(config(html=str(tmp_path)))
    with pytest.raises(ResourceError, match="cannot be written"):
        leaderboard(config(html=str(target / "below a file.html")))


def test_nothing_evaluated_names_the_next_command(asked):
    with pytest.raises(NotFoundError) as caught:
        leaderboard(config())
    assert caught.value.hint == "toolkit collect && toolkit train +algo=cql && toolkit leaderboard"


def test_an_unknown_suite_is_named_with_its_neighbours(filled):
    with pytest.raises(NotFoundError, match="did you mean 'flows'"):
        leaderboard(config(suite="flow", evaluate=False))


@pytest.mark.parametrize(
    "values", [{"limit": 0}, {"limit": "many"}, {"limit": True}, {"format": "pdf"}]
)
def test_wrong_values_are_refused_before_any_work(asked, values):
    with pytest.raises(ConfigError):
        leaderboard(config(**values))
    assert asked == []


def test_serving_checks_the_port_first_and_shows_the_board(filled, asked, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="port"):
        leaderboard(config(serve=True, port=0))
    assert asked == []
    served = []
    monkeypatch.setattr(tracking, "serve", served.append)
    leaderboard(config(serve=True, port=50_321))
    assert served == [50_321]
    assert "cql beats mheft" in capsys.readouterr().err


def test_the_page_shows_what_the_record_tells_of_curves_episodes_and_failures(
    own_store, asked, tmp_path
):
    tracking.log_training(
        name="cql", params={}, artefacts=None, tags={"trained_policy": "cql-1"},
        curve=[(step, {"loss": 1.0 / (1 + step)}) for step in range(20)],
    )  # fmt: skip
    both = {"cql": np.arange(8.0) + 3, "mheft": np.arange(8.0)}
    for number, (policy, scores) in enumerate(both.items()):
        told = json.loads(json.dumps(asdict(played(number))))
        trained = "cql-1" if policy == "cql" else ""
        log("real", policy, scores, episode=told, trained_policy=trained)
    tracking.log_evaluation(
        suite="real", policy="tdca", metrics={"failed": 2.0}, params={},
        tags={"learned": "false", "cell_key": "failed", "engine": "simulated",
              "calibration": "cal-1", "schema": "3", "failure": "no slot was left"},
        cells=pd.DataFrame({"seed": [0, 1], "score": [None, None]}),
    )  # fmt: skip
    target = tmp_path / "b.html"
    report = leaderboard(config(suite="real", html=str(target)))
    assert re.search(r"3  tdca +heuristic +failed on 2 workloads", report.text)
    assert "tdca failed: no slot was left" in report.text
    text = target.read_text("utf-8")
    for heading in ("Performance profile", "Learning curves", "What ran where, and when"):
        assert f"<h3>{heading}</h3>" in text
    data = re.search(r'id="schedules">(.*?)</script>', text, re.DOTALL)[1]
    shown = json.loads(data)["board-1"]
    assert [s["policy"] for s in shown] == ["cql", "mheft"]
    assert shown[0]["bars"] == [list(b) for b in played(0).bars]
