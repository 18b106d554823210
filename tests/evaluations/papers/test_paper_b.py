"""Paper B: verdicts on both sides of their bars, who served what, and the quick suite whole."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from evaluations.cells import BOUND
from evaluations.papers import judging_b as judging
from evaluations.papers import learning_b as learning
from evaluations.papers import pictures_b as pictures
from evaluations.papers import served_b as batches
from evaluations.papers.paper_b import PaperB, best_within
from evaluations.verdicts.claims import (
    CONFIRMED,
    IMPOSSIBLE,
    NOT_COMPARABLE,
    NOT_CONFIRMED,
    claims,
)
from toolkit.errors import ConfigError, NotFoundError
from toolkit.paths import conf_dir
from toolkit.statistics import Interval
from toolkit.store import Store

WORDS = ("paper_b", "scenario.batches=6", "scenario.repeats=6")


def suite() -> PaperB:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return instantiate(compose("evaluate", ["suite=paper_b"]).suite, _convert_="all")


def test_a_ratio_becomes_a_gain_with_its_ends_swapped():
    gain = judging.gain_of(Interval(0.7, 0.6, 0.9))
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.3, 0.1, 0.4))


def test_all_parts_of_a_claim_must_hold():
    assert judging.together([CONFIRMED, CONFIRMED]) == CONFIRMED
    assert judging.together([CONFIRMED, NOT_CONFIRMED]) == NOT_CONFIRMED
    assert judging.together([NOT_CONFIRMED, IMPOSSIBLE, CONFIRMED]) == IMPOSSIBLE
    assert judging.all_hold({"a": True, "b": True}) == (CONFIRMED, "")
    assert judging.all_hold({"a": False, "b": True, "c": False}) == (NOT_CONFIRMED, "a, c")


def test_a_claim_read_in_several_ways_needs_one_of_them():
    assert judging.either([NOT_CONFIRMED, CONFIRMED]) == CONFIRMED
    assert judging.either([NOT_COMPARABLE, NOT_CONFIRMED]) == NOT_CONFIRMED
    assert judging.either([NOT_COMPARABLE]) == NOT_COMPARABLE


def test_a_gain_that_is_bought_does_not_count():
    assert judging.at_no_more(CONFIRMED, Interval(1.2, 1.01, 1.4)) == NOT_CONFIRMED
    assert judging.at_no_more(CONFIRMED, Interval(1.0, 0.99, 1.1)) == CONFIRMED
    assert judging.at_no_more(IMPOSSIBLE, Interval(0.5, 0.4, 0.6)) == IMPOSSIBLE


@pytest.mark.parametrize(
    ("high", "least", "verdict"),
    [(0.99, 0.5, CONFIRMED), (1.0, 0.5, NOT_CONFIRMED), (1.2, 1.0, IMPOSSIBLE)],
)
def test_less_time_means_the_whole_interval(high, least, verdict):
    assert judging.lower(Interval(0.9, 0.8, high), least) == verdict


def test_a_mean_is_near_with_its_whole_interval():
    assert judging.near(Interval(1.0, 0.91, 1.09), 1.0)
    assert not judging.near(Interval(1.0, 0.89, 1.05), 1.0)
    assert not judging.near(Interval(1.05, 1.0, 1.11), 1.0)
    assert judging.above(Interval(7.6, 7.51, 7.7), 7.5)
    assert not judging.above(Interval(7.6, 7.5, 7.7), 7.5)
    assert judging.below(Interval(0.1, 0.05, 0.149), 0.15)
    assert not judging.below(Interval(0.1, 0.05, 0.15), 0.15)


def rising(decisions: int, by: float) -> np.ndarray:
    """Return rewards of every ten decisions that rise from 1 to 2 until ``by``, then stay."""
    at = np.arange(0, decisions, 10)
    return 1 + np.minimum(1.0, at / by)


def test_a_reward_that_rises_fast_and_stays_is_told_from_one_that_does_not():
    fast = judging.learning(rising(250_000, 9_000), 10, 10_000)
    assert fast.risen > 0.7
    assert 8_000 < fast.settled < 30_000
    assert fast.decisions == 250_000
    assert judging.learnt_as_told(fast, 50_000, 0.5) == CONFIRMED
    slow = judging.learning(rising(250_000, 90_000), 10, 10_000)
    assert slow.risen < 0.2
    assert slow.settled > 80_000
    assert judging.learnt_as_told(slow, 50_000, 0.5) == NOT_CONFIRMED
    late = replace(fast, settled=50_001.0)
    assert judging.learnt_as_told(late, 50_000, 0.5) == NOT_CONFIRMED
    assert judging.learnt_as_told(replace(fast, risen=0.49), 50_000, 0.5) == NOT_CONFIRMED
    assert judging.learnt_as_told(replace(fast, decisions=99_999), 50_000, 0.5) == NOT_COMPARABLE
    falling = judging.learning(rising(250_000, 9_000)[::-1], 10, 10_000)
    assert falling.settled == np.inf
    assert judging.learnt_as_told(falling, 50_000, 0.5) == NOT_CONFIRMED


def test_a_share_is_of_the_whole():
    share = judging.share_of(Interval(50.0, 40.0, 100.0), 400.0)
    assert (share.value, share.low, share.high) == pytest.approx((1 / 9, 1 / 11, 1 / 5))


def test_the_best_static_is_no_dearer():
    assert best_within([1.0, 2.0, 3.0], [9.0, 5.0, 4.0], 5.0) == 1
    assert best_within([1.0, 2.0, 3.0], [9.0, 5.0, 4.0], 9.0) == 0
    assert best_within([1.0, 2.0, 3.0], [9.0, 5.0, 4.0], 3.0) == 2


def test_what_a_fleet_is_and_reserves():
    seeds = [30_000, 30_001]
    (piece,) = batches.pieces("fixed", WORDS, seeds, again=False, fleet=(2, 750, 8))
    _, rows = batches.served(piece)
    for row in rows:
        # Two of 2 cores fit on each of three hosts of 4 cores and 8 GiB.
        assert (row["cores"], row["memory"], row["instances"], row["granted"]) == (2, 750, 8, 6)
        assert row["cpu_reserved"] == pytest.approx(6 * 2 / 12)
        assert row["memory_reserved"] == pytest.approx(6 * 750 / (24 * 1024))
        assert 0 < row["cpu_busy"] < row["cpu_reserved"]
        assert 0 < row["memory_busy"] < row["memory_reserved"]
        assert row["latency_mean"] == pytest.approx(row["wait_mean"] + row["service_mean"])
        assert row["switches"] == 0
    (file,) = (Store().root / "served").iterdir()
    told = json.loads(file.read_text())
    told["rows"][0]["cores"] = 7.0
    file.write_text(json.dumps(told))
    assert batches.served(piece)[1][0]["cores"] == 7.0
    assert batches.served(replace(piece, again=True))[1] == rows


def test_no_policy_falls_below_the_bound():
    seeds = [30_000, 30_001]
    (piece,) = batches.pieces(BOUND, WORDS, seeds, again=False)
    least = batches.served(piece)[1]
    for arm in ("least_expected", "paper-b-ppo", "random"):
        (piece,) = batches.pieces(arm, WORDS, seeds, again=False)
        for row, bound in zip(batches.served(piece)[1], least, strict=True):
            assert (row["seed"], row["frames"]) == (bound["seed"], bound["frames"])
            for metric in ("latency_mean", "service_mean"):
                assert row[metric] >= bound[metric] - 1e-9


def test_fleets_are_those_that_are_granted_alike_but_once():
    fleets = batches.fleets_of(("paper_b",))
    # Of 1 core 5 to 8 are granted, of 2 cores 5 and 6, of 3 cores always 3; each with 3 memories.
    assert len(fleets) == 3 * (4 + 2 + 1)
    assert (3.0, 1000.0, 5.0) in fleets
    assert (3.0, 1000.0, 6.0) not in fleets


def test_workloads_are_found_by_their_frames():
    found = batches.seeds_by_frames(WORDS, [10, 60], 2, 30_000)
    scenario = batches.batches_of(WORDS)
    assert {f: len(s) for f, s in found.items()} == {10: 2, 60: 2}
    for frames, seeds in found.items():
        assert all(set(scenario.plan(s).frames.tolist()) == {frames} for s in seeds)
    with pytest.raises(ConfigError, match="no batches of \\[11\\]"):
        batches.seeds_by_frames(WORDS, [10, 11], 2, 30_000)
    with pytest.raises(ConfigError, match="no scenario of batches"):
        batches.batches_of(("genomics_tiny",))


def test_a_course_tells_what_is_chosen_where_batches_queue():
    words = ("paper_b", "scenario.batches=8", "scenario.period=0.1")
    shown = batches.course(words, "largest", 30_000)
    assert len(shown.time) == 8
    assert (np.diff(shown.time) > 0).all()
    assert shown.waiting.max() > 0
    workload = batches.batches_of(words).plan(30_000)
    assert shown.frames.tolist() == (workload.frames * workload.partitions).tolist()
    assert set(shown.memory) == {1000.0}
    figure = pictures.courses({"largest": shown, "again": shown})
    assert figure.axes[2].get_ylim()[1] >= shown.granted.max()


def test_rewards_of_a_training_are_told_one_by_one():
    play = {"copies": 4, "rounds": 1, "before": 16, "capacity": 40}
    settings = learning.settings_with({"batch_size": 8, "report_every": 100, "play": play})
    settings["n_steps"] = learning.steps_for(settings, 96)
    assert settings["n_steps"] == (96 - 16) / 4
    training = learning.Training(
        name="short", settings=settings, words=WORDS, discount_seconds=17.0
    )
    _, told = learning.followed(training)
    # More than are remembered at once.
    assert len(told.mean) == len(told.one) == 96 / 4
    assert told.decisions[-1] == 96
    assert len(told.episodes) == 4
    assert told.episodes.mean() == pytest.approx(told.running[-1])
    assert (told.one > 0).all()
    assert len(told.step_ms) == 2
    _, again = learning.followed(training)
    assert again.step_ms.tolist() == told.step_ms.tolist()  # the same times: read, not trained
    _, trained = learning.followed(replace(training, again=True))
    assert trained.mean.tolist() == told.mean.tolist()


def test_settings_that_make_no_sense_are_refused():
    whole = suite()
    with pytest.raises(NotFoundError, match="quick"):
        replace(whole, size="huge")
    with pytest.raises(ConfigError, match="10000 or more"):
        replace(whole, first_seed=5)
    with pytest.raises(ConfigError, match="paper_random"):
        replace(whole, rivals=["random"])
    with pytest.raises(ConfigError, match="of_cpus"):
        replace(whole, of_cpus=0)
    with pytest.raises(ConfigError, match="ascend"):
        replace(whole.sizes["quick"], frames=[60, 10])


@pytest.mark.check
def test_the_quick_suite_has_a_verdict_for_every_claim(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "toolkit", "evaluate", "+suite=paper_b", "suite.size=quick",
         "workers=1", "format=json"],
        env={**os.environ, "TOOLKIT_DATASETS": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    verdicts = {v["id"]: v for v in told["verdicts"]}
    assert list(verdicts) == [c.id for c in claims("b")]
    assert verdicts["B9"]["verdict"] == NOT_COMPARABLE
    assert verdicts["B3"]["verdict"] == CONFIRMED
    pictured = {p["name"] for p in told["pictures"]}
    assert pictured == {"time", "configuration", "utilisation", "reward", "course"}
    folder = tmp_path / "reports" / "paper_b-quick"
    for name in pictured:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "## Verdicts" in (folder / "report.md").read_text(encoding="utf-8")
