"""Cells: pieces that are played once, by networks side by side and by rules one by one."""

import pytest
from omegaconf import OmegaConf

from evaluations import cells as module
from evaluations.cells import BOUND, cells, one_by_one, side_by_side
from toolkit.envs.registration import scenario_of
from toolkit.policies.learned import found
from toolkit.store import Store

GROUND = ("paper_c_8_stream", "scenario.jobs=3", "scenario.graphs.tasks=[8,12]")


def told(**changes):
    values = {"executor": "processes", "workers": 1, "ray": {"address": None}, "force": False}
    return OmegaConf.create({**values, **changes})


def test_networks_play_side_by_side_what_they_play_alone():
    scenario = scenario_of(GROUND[0], GROUND[1:])
    policy = found("workflows-8-stream-ppo")
    both = [f(policy, scenario, [7, 8]) for f in (one_by_one, side_by_side)]
    for a, b in zip(*both, strict=True):
        assert {k: a[k] for k in b} == pytest.approx(b)


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
        assert frame.equals(again[arm])
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
        for metric in ("latency_mean", "makespan", "cost"):
            assert (both[metric] >= both[f"{metric}_least"] - 1e-9).all()
        assert (both["throughput"] <= both["throughput_least"] + 1e-9).all()
