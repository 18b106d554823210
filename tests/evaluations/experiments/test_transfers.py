"""Transfers: what is kept, on both sides of every bar."""

import numpy as np
import pandas as pd
import pytest

from evaluations.experiments.arrivals import AT_LENGTH, HEFT, TUNED, judged, keeps
from evaluations.experiments.journey import Arrived, Journey, Place, Target, fine_tuned, place_of
from evaluations.experiments.keeping import kept, together, within
from evaluations.verdicts.claims import CONFIRMED, NOT_COMPARABLE, NOT_CONFIRMED
from evaluations.verdicts.comparison import Compared
from toolkit.errors import ConfigError
from toolkit.statistics import Interval


def gains(mean, seed, spread=0.02, n=40):
    return mean + spread * np.random.default_rng(seed).normal(0, 1, n)


@pytest.mark.parametrize(
    ("here", "there", "verdict"),
    [(0.20, 0.20, CONFIRMED), (0.10, 0.20, NOT_CONFIRMED), (0.17, 0.20, NOT_CONFIRMED),
     (0.30, 0.0, NOT_COMPARABLE), (0.30, -0.2, NOT_COMPARABLE)],
)  # fmt: skip
def test_what_is_kept_of_an_advantage(here, there, verdict):
    found = kept(gains(here, 1), gains(there, 2), 0.85, np.random.default_rng(0), paired=False)
    assert found.verdict == verdict
    assert (found.share is None) == (verdict == NOT_COMPARABLE)
    if found.share is not None:
        assert found.share.value == pytest.approx(here / there, abs=0.05)


def test_workloads_that_are_the_same_are_drawn_together():
    luck = gains(0.2, 0, spread=0.1)
    together_, apart = (
        kept(0.9 * luck, luck, 0.85, np.random.default_rng(0), paired=paired).share
        for paired in (True, False)
    )
    assert together_.high - together_.low == pytest.approx(0)
    assert apart.high - apart.low > 0.1


def test_fine_tuning_is_near_or_not():
    near, far = Interval(1.0, 0.99, 1.02), Interval(1.0, 0.96, 1.04)
    assert within([near], 0.03) == CONFIRMED
    assert within([near, far], 0.03) == NOT_CONFIRMED
    assert within([], 0.03) == NOT_COMPARABLE


def test_several_hold_where_all_do_that_can_be_compared():
    assert together([CONFIRMED, NOT_COMPARABLE]) == CONFIRMED
    assert together([CONFIRMED, NOT_CONFIRMED]) == NOT_CONFIRMED
    assert together([NOT_COMPARABLE]) == NOT_COMPARABLE


SMALL = ["paper_c_8_stream", "scenario.jobs=2", "scenario.graphs.tasks=[5,6]"]


def journey(**targets):
    return Journey(
        policy="workflows-8-stream-ppo", source=SMALL, hefts=["heft_static"], rules=["srpt_heft"],
        beside=[], targets=targets, kept="C9", tuned="C10",
    )  # fmt: skip


def test_fine_tuning_plays_about_so_many_episodes():
    target = Target(words=SMALL)
    place = place_of("workflows-8-stream-ppo", SMALL)
    assert place.slots == 33
    told = fine_tuned(journey(structures={"a": target}), target, place, 6, {"alike": 3}).settings
    assert told["copies"] == 6
    assert told["n_steps"] % (6 * told["rollout"]) == 0
    assert 0 <= told["n_steps"] / 6 - place.decisions < 16
    assert told["warm_start"]["critic_steps"] == told["n_steps"] // 4


def test_more_devices_than_slots_are_no_place_for_a_fully_connected_network():
    few, many = (
        place_of("workflows-8-stream-ppo", [SMALL[0], f"scenario/cluster=paper_c_{n}", *SMALL[1:]])
        for n in (16, 64)
    )
    assert few.slots == 33
    assert many.slots == 64


def test_a_journey_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="structures"):
        journey(sizes={"a": Target(words=SMALL)})
    with pytest.raises(ConfigError, match="names of targets"):
        journey(structures={"a": Target(words=SMALL)}, sizes={"a": Target(words=SMALL)})


def arrived(times):
    cells = {
        arm: pd.DataFrame({"training": 0, "seed": range(len(t)), "latency_mean": t})
        for arm, t in times.items()
    }
    played = Compared(
        ground=("x",), cells=cells, before={n: cells[n] for n in ("heft_static", "srpt_heft")}
    )
    place = Place(decisions=1, slots=2, features=3)
    return Arrived(group="structures", name="a", played=played, place=place)


def test_a_policy_is_not_held_against_itself():
    one = journey(structures={"a": Target(words=SMALL)})
    base = np.array([10.0, 20.0, 30.0, 40.0])
    rivals = {"heft_static": base, "srpt_heft": base / 1.1}
    source = arrived({**rivals, one.policy: 0.5 * base})
    same = arrived({**rivals, one.policy: 0.6 * base, AT_LENGTH: 0.6 * base, TUNED: 0.6 * base})
    other = arrived({**rivals, one.policy: 0.6 * base, AT_LENGTH: 0.7 * base, TUNED: 0.6 * base})
    held = [keeps(one, [source, x], x, HEFT) for x in (same, other)]
    assert [k.reference.value for k in held] == pytest.approx([0.5, 0.3])
    assert [k.share.value for k in held] == pytest.approx([0.8, 4 / 3])
    for found, verdict in ((same, NOT_COMPARABLE), (other, CONFIRMED)):
        claims_, findings = judged(one, [source, found], "")
        assert [c.id for c in claims_] == ["C9", "C10"]
        assert findings[1].verdict == verdict
