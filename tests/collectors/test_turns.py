"""The order of a recording: workload by workload, repeat by repeat, policy by policy."""

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
    assert order(9, policies=2, paired=True, times=2) == [
        (0, 100, 0), (1, 100, 0), (0, 100, 1), (1, 100, 1),
        (0, 101, 0), (1, 101, 0), (0, 101, 1), (1, 101, 1),
        (0, 102, 0),
    ]  # fmt: skip


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
    assert [(r["policy"], r["seed"], r["repeat"]) for r in twice.runs()] == [
        (POLICIES[p].name, seed, repeat) for seed in (5, 6) for repeat in (0, 1) for p in (0, 1)
    ]
    for name in traces.TABLES:
        for run in (0, 1):
            assert twice.of(name, run).equals(once.of(name, run))
    for run in (0, 1):
        first, second = twice.of("jobs", run), twice.of("jobs", run + 2)
        assert first["arrived_at"].equals(second["arrived_at"])
        assert not first["finished_at"].equals(second["finished_at"])
    first, second = (twice.of("decisions", run)["action"].to_pylist() for run in (0, 2))
    assert first != second
