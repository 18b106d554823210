"""Paper C: verdicts on both sides of every bar, and the quick suite from end to end."""

import json

import numpy as np
import pandas as pd
import pytest

from evaluations.cells import BOUND
from evaluations.papers import findings_c
from evaluations.verdicts.claims import (
    CONFIRMED,
    IMPOSSIBLE,
    NOT_COMPARABLE,
    NOT_CONFIRMED,
    claims,
)
from toolkit import cli

FIGURES = {c.id: c.figures for c in claims("c")}


def batches(spread=0.02, jobs=(5, 10), n=12, **makespans):
    """Return cells with these geometric means of the makespan."""
    rng = np.random.default_rng(0)
    rows = []
    for policy, level in makespans.items():
        for j in jobs:
            luck = np.exp(rng.normal(0, spread, n))
            for seed in range(n):
                seconds = level * j * luck[seed]
                rows.append(
                    {
                        "policy": policy, "jobs": j, "devices": 8, "seed": seed,
                        "makespan": seconds, "speedup": 100 * j / seconds, "slr": seconds / 40,
                        "decision_ms": 0.2, "task_seconds": 10.0,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def ways(mine, bound):
    cells = batches(mine=mine, heft=10.0, **{BOUND: bound})
    return (findings_c.gains(cells, n, "heft") for n in ("mine", BOUND))


@pytest.mark.parametrize(
    ("mine", "bound", "verdict"),
    [(7.0, 5.0, CONFIRMED), (9.0, 5.0, NOT_CONFIRMED), (9.0, 8.9, IMPOSSIBLE)],
)
def test_reductions(mine, bound, verdict):
    own, most = ways(mine, bound)
    found = findings_c.reduction("C1", {8: own}, {8: most}, FIGURES["C1"]["low"])
    assert found.verdict == verdict
    assert found.possible == pytest.approx(1 - bound / 10, abs=0.02)


def test_a_gain_is_one_minus_the_geometric_mean_of_ratios():
    cells = batches(spread=0.3, mine=5.0, heft=10.0)
    mine, heft = (
        cells[cells["policy"] == n].set_index(["jobs", "seed"])["makespan"]
        for n in ("mine", "heft")
    )
    g = findings_c.gain_of(findings_c.gains(cells, "mine", "heft"))
    assert g.value == pytest.approx(1 - np.exp(np.log(mine / heft).mean()))
    assert g.low < g.value < g.high


def test_far_below_fifo():
    assert findings_c.against_fifo(
        batches(mine=1.0, fifo_deft=10.0, **{BOUND: 0.5}, jobs=(10,)), "mine", 0.85
    ).verdict == CONFIRMED  # fmt: skip
    assert findings_c.against_fifo(
        batches(mine=9.0, fifo_deft=10.0, **{BOUND: 5.0}, jobs=(10,)), "mine", 0.85
    ).verdict == IMPOSSIBLE  # fmt: skip


def test_ratios_to_heft():
    good = batches(mine=6.0, heft=10.0, fifo_deft=60.0, jobs=(10,))
    assert findings_c.of_heft(good, "mine", "heft", FIGURES["C3"]).verdict == CONFIRMED
    near = batches(mine=6.0, heft=10.0, fifo_deft=11.0, jobs=(10,))
    assert findings_c.of_heft(near, "mine", "heft", FIGURES["C3"]).verdict == NOT_CONFIRMED


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ({"mine": 3.0, "heft": 7.0, "fifo_deft": 50.0, BOUND: 2.0}, CONFIRMED),
        ({"mine": 3.0, "heft": 3.1, "fifo_deft": 50.0, BOUND: 2.0}, NOT_CONFIRMED),
        ({"mine": 9.0, "heft": 9.5, "fifo_deft": 10.0, BOUND: 8.0}, IMPOSSIBLE),
    ],
)
def test_speedups(levels, verdict):
    high = batches(jobs=(10,), tdca=7.0, **levels)
    assert findings_c.speedups(high, "mine", "heft", FIGURES["C4"]).verdict == verdict


def test_length_ratios():
    figures = FIGURES["C5"]
    many = batches(jobs=(10,), mine=20.0, fifo_deft=30.0)
    good = batches(jobs=(1,), mine=60.0, fifo_deft=250.0)
    assert findings_c.length_ratios(good, many, "mine", figures).verdict == CONFIRMED
    usual = batches(jobs=(1,), mine=60.0, fifo_deft=65.0)
    assert findings_c.length_ratios(usual, many, "mine", figures).verdict == NOT_CONFIRMED


def test_paired_t_wants_shorter_makespans():
    for mine, verdict in ((7.0, CONFIRMED), (10.0, NOT_CONFIRMED), (14.0, NOT_CONFIRMED)):
        own, _ = ways(mine, 5.0)
        assert findings_c.paired_t({8: own}, FIGURES["C6"]).verdict == verdict


def test_the_time_of_a_decision():
    quick = batches(mine=5.0)
    assert findings_c.latency(quick, "mine", FIGURES["C7"]).verdict == CONFIRMED
    slow = quick.assign(decision_ms=20.0)
    assert findings_c.latency(slow, "mine", FIGURES["C7"]).verdict == NOT_CONFIRMED
    short = quick.assign(task_seconds=0.05)
    assert findings_c.latency(short, "mine", FIGURES["C7"]).verdict == NOT_CONFIRMED


@pytest.mark.parametrize(
    ("here", "there", "verdict"),
    [(0.2, 0.19, CONFIRMED), (0.2, 0.1, NOT_CONFIRMED), (0.0, 0.1, NOT_COMPARABLE)],
)
def test_what_is_kept_elsewhere(here, there, verdict):
    rng = np.random.default_rng(1)
    grounds = {"as trained": here, **dict.fromkeys(findings_c.SHAPES, there), "48 devices": -1.0}
    frames = [
        pd.DataFrame({"ground": n, "heft": "h", "gain": level + rng.normal(0, 0.01, 40)})
        for n, level in grounds.items()
    ]
    if not here:
        frames[0]["gain"] = rng.normal(0, 0.05, 40)
    found = findings_c.kept(pd.concat(frames, ignore_index=True), 0.85)
    assert found.verdict == verdict


@pytest.mark.check
def test_the_quick_suite_publishes_a_verdict_for_every_claim(capsys, own_store):
    words = ["+suite=paper_c", "suite.size=quick", "workers=1", "format=json"]
    assert cli.main(["evaluate", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [v["id"] for v in told["verdicts"]] == [c.id for c in claims("c")]
    folder = own_store / "reports" / "paper_c-quick"
    assert {f.name for f in folder.iterdir()} == {
        "report.md",
        "report.json",
        "jobs.png",
        "gantt.png",
    }
    assert len(told["tables"]) == 6
