"""The order of a recording: workload by workload, repeat by repeat, policy by policy."""

from itertools import pairwise

import numpy as np
import pytest

from collectors.gpu.record import GpuRecorder
from collectors.ray.collector import RayCollector
from collectors.simulated import SimulatedCollector
from collectors.spark.collector import SparkCollector
from collectors.spark.record import SparkRecorder
from collectors.turns import Turns
from toolkit import trace as traces
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static

RAY = {"runs": 1, "sweep": [0.3, 0.7], "fastq": None, "address": None, "store_memory": 100}
POLICIES = (Random(), Mixture(of=Static(), epsilon=0.5))


def order(episodes, **settings):
    turns = Turns(**settings)
    found = [turns.of(k, 100) for k in range(episodes)]
    return [(t.policy, t.seed, t.repeat) for t in found]


def test_unpaired_every_episode_has_a_workload_of_its_own():
    assert order(4, policies=3, paired=False, times=1) == [
        (0, 100, None), (1, 101, None), (2, 102, None), (0, 103, None)
    ]  # fmt: skip


def test_paired_all_policies_meet_a_workload_before_the_next():
    assert order(4, policies=2, paired=True, times=1) == [
        (0, 100, None), (1, 100, None), (0, 101, None), (1, 101, None)
    ]  # fmt: skip


def test_policies_take_turns_within_a_repeat_and_repeats_within_a_workload():
    met = order(18, policies=3, paired=True, times=2)
    rounds = [met[k : k + 3] for k in range(0, 18, 3)]
    for number, turn in enumerate(rounds):
        assert sorted(turn) == [(p, 100 + number // 2, number % 2) for p in range(3)]


def test_nobody_always_follows_the_same_policy():
    met = [p for p, _, _ in order(400, policies=4, paired=True, times=100)]
    first = np.bincount(met[::4], minlength=4)
    assert first.min() > 10, "in a fair draw of 100 rounds below 1 in 10,000"
    followed = {(a, b) for k in range(0, 400, 4) for a, b in pairwise(met[k : k + 4])}
    assert len(followed) == 12


def test_the_first_repeat_has_the_luck_of_old_and_each_other_one_its_own():
    turns = Turns(policies=2, paired=True, times=3)
    luck = [turns.of(k, 7).luck for k in range(12)]
    assert luck[:2] == [7, 7]
    assert luck[6:8] == [8, 8]
    assert luck[::2] == luck[1::2]
    assert len(set(luck)) == 6
    assert turns.of(0, 7).about == {"seed": 7, "repeat": 0}
    assert Turns(policies=2, paired=True, times=1).of(0, 7).about == {"seed": 7}


@pytest.mark.parametrize(
    "made",
    [
        lambda **how: RayCollector(**RAY, behaviours=["random"], **how),
        lambda **how: GpuRecorder(**how),
        lambda **how: SparkRecorder(runs=1, **how),
        lambda **how: SparkCollector(**how).recorder(),
        lambda **how: SimulatedCollector(runs=1, behaviours=["random"], **how),
    ],
    ids=["ray", "gpu", "spark", "spark collector", "simulated"],
)
def test_every_recorder_repeats_only_what_is_paired(made):
    assert made(paired=True, times=3).times == 3
    with pytest.raises(ConfigError, match=r"collector\.times=3 repeats workloads") as refused:
        made(paired=False, times=3)
    assert "collector.paired=true" in refused.value.hint
    with pytest.raises(ConfigError, match="at least 1"):
        made(paired=True, times=0)


def test_repeats_in_the_simulator_differ_by_luck_alone(tmp_path):
    def collect(folder, runs, times):
        collector = SimulatedCollector(runs=runs, behaviours=["x", "y"], paired=True, times=times)
        return collector.collect(scenario_of("genomics_tiny"), POLICIES, 5, tmp_path / folder)

    once, twice = collect("once", 2, 1), collect("twice", 8, 2)
    traces.validate(twice)
    told = {(r["policy"], r["seed"], r["repeat"]): r["run"] for r in twice.runs()}
    names = [p.name for p in POLICIES]
    assert set(told) == {(n, seed, k) for n in names for seed in (5, 6) for k in (0, 1)}
    for run, name in enumerate(names):
        first, second = told[name, 5, 0], told[name, 5, 1]
        for table in traces.TABLES:
            met = once.of(table, run).drop(["run"])
            assert twice.of(table, first).drop(["run"]).equals(met)
        jobs = [twice.of("jobs", k) for k in (first, second)]
        assert jobs[0]["arrived_at"].equals(jobs[1]["arrived_at"])
        assert not jobs[0]["finished_at"].equals(jobs[1]["finished_at"])
    runs = told["random", 5, 0], told["random", 5, 1]
    chosen = [twice.of("decisions", run)["action"].to_pylist() for run in runs]
    assert chosen[0] != chosen[1]
