"""Cells: pieces that are played once, and what becomes of a policy that breaks down."""

import sys

import pandas as pd
import pytest
from omegaconf import OmegaConf

from evaluations import cells as module
from evaluations.cells import BOUND, FAILED, cells
from toolkit.errors import ConfigError, NotFoundError
from toolkit.store import Store

GROUND = ("paper_c_8_stream", "scenario.jobs=3", "scenario.graphs.tasks=[8,12]")


def told(**changes):
    values = {"executor": "processes", "workers": 1, "ray": {"address": None}, "force": False}
    return OmegaConf.create({**values, **changes})


def test_what_was_played_is_not_played_again():
    seeds = range(20_000, 20_000 + module.PIECE + 1)
    arms = {"a": ["fifo", "random"], "none": [BOUND]}
    first = cells(arms, GROUND, seeds, told())
    files = sorted((Store().root / "cells").iterdir())
    assert len(files) == 6
    times = [f.stat().st_mtime_ns for f in files]
    again = cells(arms, GROUND, seeds, told(workers=2))
    assert [f.stat().st_mtime_ns for f in files] == times
    for arm, frame in first.items():
        pd.testing.assert_frame_equal(frame, again[arm])
    assert list(first["a"]["training"].unique()) == [0, 1]
    files[0].write_text("{")
    cells(arms, GROUND, seeds, told())
    changed = [f.stat().st_mtime_ns != t for f, t in zip(files, times, strict=True)]
    assert changed == [True, *[False] * 5]
    cells({"a": ["fifo"]}, GROUND, seeds, told(force=True))
    assert sum(f.stat().st_mtime_ns != t for f, t in zip(files, times, strict=True)) in (2, 3)


def test_what_is_not_the_same_is_played():
    seeds = range(20_000, 20_002)
    a = cells({"a": ["fifo"]}, GROUND, seeds, told())["a"]
    b = cells({"a": ["fifo"]}, (*GROUND, "scenario.sigma=0.1"), seeds, told())["a"]
    assert not a["latency_mean"].equals(b["latency_mean"])


def test_no_policy_falls_below_the_bound():
    seeds = range(20_000, 20_003)
    for scenario, policy in (("genomics_tiny", "static"), ("batches_tiny", "best_static")):
        found_ = cells({"p": [policy], "least": [BOUND]}, (scenario,), seeds, told())
        both = found_["p"].merge(found_["least"], on="seed", suffixes=("", "_least"))
        for metric in ("latency_mean", "response_time", "cost"):
            assert (both[metric] >= both[f"{metric}_least"] - 1e-9).all()
        assert (both["throughput"] <= both["throughput_least"] + 1e-9).all()


USERS_OWN = """
class Shortest:
    name = "shortest"
    def reset(self, workload): self.seen = 0
    def probabilities(self, decision):
        self.seen += 1
        p = decision.mask / decision.mask.sum()
        return p

def first(decision):
    return int(decision.mask.argmax())

def uniform(decision):
    return decision.mask / decision.mask.sum()

def breaks_down(decision):
    if decision.time > 20:
        raise ZeroDivisionError("| <b>oops</b>")
    return int(decision.mask.argmax())

def illegal(decision):
    return [2.0] * len(decision.mask)

number = 3
"""


@pytest.fixture
def users_own(tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text(USERS_OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users_own", raising=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_callable_is_judged(users_own, workers):
    names = ["users_own:first", "users_own:uniform", "users_own:Shortest", "random"]
    seeds = range(20_000, 20_003)
    got = cells({n: [n] for n in names}, GROUND, seeds, told(workers=workers))
    columns = ["seed", "return_mean", "latency_mean", "max_queue"]
    for name in names[1:3]:
        pd.testing.assert_frame_equal(got[name][columns], got["random"][columns])
    assert not got["users_own:first"]["latency_mean"].equals(got["random"]["latency_mean"])


@pytest.mark.parametrize(
    ("name", "why"),
    [("users_own:breaks_down", "ZeroDivisionError: | <b>oops</b>"), ("users_own:illegal", "mask")],
)
def test_a_policy_that_breaks_down_fails_its_cells_and_no_other(users_own, name, why):
    seeds = range(20_000, 20_002)
    got = cells({name: [name], "fifo": ["fifo"]}, GROUND, seeds, told())
    assert FAILED not in got["fifo"]
    assert got[name][FAILED].str.contains(why, regex=False).all()
    kept = list((Store().root / "cells").iterdir())
    assert len(kept) == 1, "what broke down is played again"


def test_what_is_no_policy_is_named(users_own):
    for name, error in (
        ("users_own:number", ConfigError), ("users_own:nothing", NotFoundError),
        ("not_there:f", NotFoundError), ("static", ConfigError),
    ):  # fmt: skip
        with pytest.raises(error, match=name.partition(":")[2] or name):
            cells({"a": [name]}, GROUND, [20_000], told())
