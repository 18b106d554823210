"""The suite of paper A: its verdicts on both sides of every bar, and the whole of it, quick."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluations.experiments.keeping import in_part
from evaluations.experiments.powers import about_linear
from evaluations.experiments.scaling import Grid
from evaluations.experiments.stability import (
    apart,
    disagreement,
    disagreements,
    drawdown,
)
from evaluations.papers import judging_a as judging
from evaluations.papers.paper_a import PaperA, Size
from evaluations.papers.pictures_a import choices
from evaluations.verdicts.claims import CONFIRMED, IMPOSSIBLE, NOT_CONFIRMED, claims
from evaluations.verdicts.comparison import Compared, slope
from toolkit import cli
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, NotFoundError
from toolkit.statistics import Interval


def about(value, half=0.01):
    return Interval(value, value - half, value + half)


@pytest.mark.parametrize(
    ("gain", "cost", "least_cost", "possible", "verdict"),
    [
        (about(0.30), about(0.85), 0.80, 0.9, CONFIRMED),
        (about(0.255), about(0.85), 0.80, 0.9, NOT_CONFIRMED),  # its interval reaches below
        (about(0.30), about(0.895), 0.80, 0.9, NOT_CONFIRMED),  # its cost may be more
        (about(0.30), about(1.07), 0.98, 0.9, IMPOSSIBLE),  # nobody costs so little
        (about(0.30), about(1.07), 0.80, 0.9, NOT_CONFIRMED),
        (about(0.10), about(0.85), 0.80, 0.2, IMPOSSIBLE),  # nobody gains so much
        (about(0.10), about(1.07), 0.80, 0.2, IMPOSSIBLE),
    ],
)
def test_a_gain_must_not_be_bought(gain, cost, least_cost, possible, verdict):
    assert judging.at_a_price(gain, 0.25, possible, cost, least_cost, 0.9) == verdict


def test_an_order_holds_where_every_neighbour_is_worse():
    assert judging.in_order([about(1.2), about(1.05)]) == CONFIRMED
    assert judging.in_order([about(1.2), about(1.005)]) == NOT_CONFIRMED
    assert judging.in_order([about(0.8), about(1.05)]) == NOT_CONFIRMED


def test_dqn_is_unstable_and_no_better_or_not():
    assert judging.unstable(about(3, 1), about(1.0, 0.1)) == CONFIRMED
    assert judging.unstable(about(3, 4), about(1.0, 0.1)) == NOT_CONFIRMED
    assert judging.unstable(about(3, 1), about(0.8, 0.1)) == NOT_CONFIRMED
    nothing = Interval(3, math.nan, math.nan)
    assert judging.unstable(nothing, about(1.0, 0.1)) == NOT_CONFIRMED


def test_more_must_be_more_as_a_whole():
    assert judging.exceeds(about(1.5, 0.4)) == CONFIRMED
    assert judging.exceeds(about(1.5, 0.6)) == NOT_CONFIRMED
    assert judging.exceeds(Interval(1.5, math.nan, math.nan)) == NOT_CONFIRMED


def test_an_advantage_rises_where_the_slope_does_and_the_last_is_largest():
    assert judging.rising(about(0.1, 0.05), [0.2, 0.3, 0.4]) == CONFIRMED
    assert judging.rising(about(0.1, 0.05), [0.2, 0.5, 0.4]) == NOT_CONFIRMED
    assert judging.rising(about(0.1, 0.2), [0.2, 0.3, 0.4]) == NOT_CONFIRMED


def test_linear_is_neither_less_nor_more():
    assert about_linear({"a": about(1.0, 0.2), "b": about(0.9, 0.1)}) == CONFIRMED
    assert about_linear({"a": about(1.0, 0.3)}) == NOT_CONFIRMED
    assert about_linear({"a": about(1.0), "b": about(0.2)}) == NOT_CONFIRMED
    assert about_linear({"a": about(1.0), "b": about(2.0)}) == NOT_CONFIRMED


def test_transfer_in_part_is_neither_nothing_nor_everything():
    assert in_part([about(0.3), about(-0.1)], [about(1.0), about(1.0)]) == CONFIRMED
    assert in_part([about(0.3), about(0.2)], [about(1.0), about(1.2)]) == CONFIRMED
    assert in_part([about(0.3), about(0.2)], [about(1.0), about(1.05)]) == NOT_CONFIRMED
    assert in_part([about(-0.3), about(0.0)], [about(1.5), about(1.5)]) == NOT_CONFIRMED


def test_weights_are_followed_where_less_cost_is_bought_with_latency():
    assert judging.followed([about(1.1)], [about(1.2)]) == CONFIRMED
    assert judging.followed([about(1.0)], [about(1.2)]) == NOT_CONFIRMED
    assert judging.followed([about(1.1)], [about(0.9)]) == NOT_CONFIRMED


def test_a_curve_that_only_rises_has_no_drawdown():
    assert drawdown(np.array([-9.0, -5.0, -5.0, -1.0])) == 0
    assert drawdown(np.array([-5.0, -1.0, -5.0, -3.0])) == pytest.approx((0 + 0 + 4 + 2) / 4)
    with pytest.raises(ConfigError, match="point"):
        drawdown(np.array([]))


def test_means_are_apart_as_scipy_says():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 7), rng.normal(0, 3, 5)
    expected = ttest_ind(a, b, equal_var=False).confidence_interval()
    found_ = apart(a, b)
    assert (found_.low, found_.high) == pytest.approx((expected.low, expected.high))
    assert math.isnan(apart([1.0], [2.0, 3.0]).low)
    assert apart([1.0, 1.0], [3.0, 3.0]) == Interval(-2.0, -2.0, -2.0)


def test_trainings_disagree_by_the_variance_of_their_values():
    rng = np.random.default_rng(0)
    calm, wild = rng.normal(0, 1, (6, 400)), rng.normal(0, 3, (6, 400))
    assert disagreement(calm) == pytest.approx(1, abs=0.2)
    ratio = disagreements(wild, calm)
    assert ratio.low < 9 < ratio.high
    assert ratio.low > 4
    same = disagreements(rng.normal(0, 1, (4, 5)), rng.normal(0, 1, (4, 5)))
    assert same.low < 1 < same.high
    two = disagreements(wild[:2], calm[:2])
    assert two.value > 1
    assert math.isnan(two.low)
    assert math.isnan(disagreements(wild[:1], calm).value)


def test_a_slope_is_that_of_each_workload():
    levels = [0.0, 0.5, 1.0, 2.0]
    exact = np.outer([1.0, -2.0], levels) + np.array([[5.0], [7.0]])
    assert slope(exact, levels) == pytest.approx([1.0, -2.0])


def frame(values):
    n = len(values)
    return pd.DataFrame(
        {"training": [0] * n, "seed": list(range(n)), "latency_mean": values,
         "throughput": [1 / v for v in values]}
    )  # fmt: skip


def test_the_best_rule_is_chosen_on_training_workloads():
    unseen = {"a": frame([1.0, 2.0]), "b": frame([2.0, 4.0]), "bound": frame([0.5, 1.0])}
    played = Compared(
        ground=("x",), cells=unseen, before={"a": frame([3.0, 3.0]), "b": frame([1.0, 1.0])}
    )
    assert played.best("latency_mean") == played.best("throughput") == "b"
    assert played.gain("a", "b", "latency_mean").value == pytest.approx(0.5)
    assert played.gain("a", "b", "throughput").value == pytest.approx(1.0)
    assert played.gain("b", "a", "throughput").value == pytest.approx(-0.5)
    assert played.possible("b", "latency_mean").value == pytest.approx(0.75)
    assert played.logs("a", "b", "latency_mean") == pytest.approx(np.log([[0.5, 0.5]]))


def test_choices_are_told_over_time():
    told = choices("reactive", scenario_of("genomics_tiny"), 10_000)
    assert set(told["type"]) == {"qc", "trim", "kmer", "align", "merge", "call"}
    assert (told.groupby("time").size() == 6).all()
    assert told["profile"].nunique() > 1
    still = choices("static", scenario_of("genomics_tiny"), 10_000)
    assert (still.groupby("type")["profile"].nunique() == 1).all()


def usual():
    size = Size(
        workloads=2, varied=2, chosen_on=1, trainings=2, weighted=False,
        settings={"ppo": {}, "dqn_online": {}, "tuned": {}},
        scaling=Grid(nodes=[2, 3, 4], in_flight=[1, 2, 3], repeats=1),
    )  # fmt: skip
    return {
        "name": "x", "size": "full", "sizes": {"full": size}, "policy": "p", "others": [],
        "beside": [], "open": ["genomics_open"], "closed": ["genomics_closed"],
        "variations": [0, 1, 2], "structures": {"a": ["scenario.jobs=3"]}, "weightings": [],
        "discount_seconds": 3.0, "most_cost": 0.9, "first_seed": 10_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [("size", "huge"), ("first_seed", 5000), ("variations", [0, 2, 1]), ("variations", [0, 1]),
     ("structures", {}), ("weightings", [1]), ("most_cost", 0)],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(setting, value):
    PaperA(**usual())
    with pytest.raises((ConfigError, NotFoundError), match=setting):
        PaperA(**{**usual(), setting: value})


@pytest.mark.check
def test_the_quick_suite_judges_every_claim(capsys):
    words = ["evaluate", "suite=paper_a", "suite.size=quick", "format=json", "workers=1"]
    assert cli.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert [v["id"] for v in told["verdicts"]] == [c.id for c in claims("a")]
    by_id = {v["id"]: v for v in told["verdicts"]}
    assert {i for i, v in by_id.items() if v["verdict"] == "not comparable"} == {"A7", "A9", "A12"}
    assert 0.2 < by_id["A1"]["possible"] < 1
    assert 0 < by_id["A3"]["possible"] < 0.1
    assert by_id["A3"]["verdict"] == IMPOSSIBLE
    folder = Path(told["folder"])
    text = (folder / "report.md").read_text()
    for name in ("learning_curves", "variation", "step_time", "profiles"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in text
    table = told["tables"][0]["rows"]
    rows = {r["policy"]: r for r in table}
    assert rows["reactive"]["latency reduction (%)"].startswith("0.0 ")
    assert {"ppo", "dqn_online", "genomics-open-ppo", "static", "bound"} <= set(rows)
