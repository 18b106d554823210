"""No policy earns more than the bound, truncated episodes, copies and disturbances included."""

import dataclasses
import math

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluations.metrics import measure
from tests.simulator import random_scenes
from tests.workloads import scenario as pipelines
from toolkit import reward
from toolkit.catalogue import Catalogue
from toolkit.cluster import Cluster, Node
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.planning.return_bound import best_return, least_metrics
from toolkit.policies.random import Random
from toolkit.reward import BatchWeights, Weights, WorkflowWeights
from toolkit.simulator.simulator import Simulator, Truth
from toolkit.workload import CONFIGURATION, PLACEMENT, Workload, assemble

NAMES = Catalogue().groups["policy"]
WEIGHTS = [
    Weights(throughput=1, latency=1, cost=1, bottleneck=0.25),
    Weights(throughput=5, latency=0, cost=0, bottleneck=0),
    Weights(throughput=0, latency=0, cost=1, bottleneck=0),
    WorkflowWeights(elapsed=1),
    WorkflowWeights(sojourn=1),
    WorkflowWeights(elapsed=0.5, sojourn=1, utilisation=0.7, imbalance=0.1, bottleneck=0.1, qos=9),
    WorkflowWeights(sojourn=4, utilisation=1),
    WorkflowWeights(qos=1, utilisation=1),
    BatchWeights(inverse=1000),
    BatchWeights(inverse=1000, sojourn=0.1, cost=0.1),
]
BY_FAMILY = {
    "placement": ["fifo", "shortest_work", "srpt_heft", "heft_static", "linear"],
    "allocation": ["static", "mheft", "reactive"],
    "configuration": ["largest", "model_greedy", "best_static", "least_expected"],
}


class Given:
    def __init__(self, truth):
        self._truth = truth

    def truth(self, workload, seed):
        return self._truth


def played(workload, truth, weights, horizon, policy, seed=0):
    """The return by the sums of the state, and whether the episode ended by itself."""
    totals, terminated = sums(workload, truth, horizon, policy, seed)
    return returned(totals, weights), terminated


def returned(totals, weights):
    return float(reward.signed(weights) @ totals[reward.columns(weights)])


def sums(workload, truth, horizon, policy, seed=0):
    policy.reset(workload)
    episode = rollout(
        Simulator(Given(truth), seed),
        workload,
        chooser(policy, seed),
        horizon=horizon,
        weights=WEIGHTS[0],
        record=False,
    )
    return episode.scene.state.totals, episode.terminated


def never_above(workload, truth, every, horizon, policy, seed=0):
    totals, _ = sums(workload, truth, horizon, policy, seed)
    for weights in every:
        most = best_return(workload, truth, weights, horizon)
        assert most is not None
        assert returned(totals, weights) <= most + 1e-7 + 1e-9 * abs(most)


def make(name):
    return instantiate(Catalogue().read(f"policy/{name}"), _convert_="all")


seeds = st.integers(0, 10_000)
shared = {"outages": st.sampled_from([0, 0, 4]), "grid": st.booleans()}
cases = st.one_of(
    st.builds(
        random_scenes.placement,
        seeds,
        **shared,
        jobs=st.integers(1, 4),
        pull=st.booleans(),
        duplicate=st.booleans(),
        in_flight=st.sampled_from([0, 0, 1, 2]),
    ),
    st.builds(
        random_scenes.allocation,
        seeds,
        **shared,
        jobs=st.integers(1, 6),
        in_flight=st.sampled_from([0, 1, 2]),
    ),
    st.builds(
        random_scenes.configuration,
        seeds,
        **shared,
        jobs=st.integers(1, 5),
        in_flight=st.sampled_from([0, 1, 2]),
    ),
)


@settings(max_examples=120, deadline=None)
@given(cases, st.sampled_from([1.0, 4.0, 9.0, random_scenes.HORIZON]), seeds)
def test_no_choices_earn_more_in_random_scenes(case, horizon, seed):
    workload, truth = case
    never_above(workload, truth, WEIGHTS, horizon, Random(), seed)


@settings(max_examples=60, deadline=None)
@given(cases, st.sampled_from([4.0, random_scenes.HORIZON]), st.integers(0, 4))
def test_no_rule_earns_more_in_random_scenes(case, horizon, which):
    workload, truth = case
    family = ("placement", "allocation", "configuration")[workload.family]
    policy = make(BY_FAMILY[family][which % len(BY_FAMILY[family])])
    never_above(workload, truth, WEIGHTS[::3], horizon, policy)


@settings(max_examples=60, deadline=None)
@given(cases, st.integers(0, 5), seeds)
def test_no_episode_measures_less_than_the_least_in_random_scenes(case, which, seed):
    workload, truth = case
    family = ("placement", "allocation", "configuration")[workload.family]
    names = [*BY_FAMILY[family], "random"]
    policy = make(names[which % len(names)])
    policy.reset(workload)
    episode = rollout(
        Simulator(Given(truth), seed), workload, chooser(policy, seed),
        horizon=random_scenes.HORIZON, weights=WEIGHTS[0],
    )  # fmt: skip
    if episode.terminated:
        found = measure(episode)
        for name, least in least_metrics(workload, truth).items():
            assert found[name] >= least - 1e-7 * (1 + least), name


TINY = [
    ("workflows_tiny", []),
    ("workflows_tiny", ["scenario.horizon=40"]),
    ("workflows_tiny", ["+scenario.duplicate=true", "scenario.ccr=5"]),
    ("workflows_tiny", ["scenario.weights.sojourn=0", "+scenario.weights.elapsed=1"]),
    ("genomics_tiny", []),
    ("genomics_tiny", ["+scenario.in_flight=3"]),
    ("genomics_tiny", ["scenario.horizon=2"]),
    ("genomics_tiny", ["scenario.horizon=2", "+scenario.in_flight=3"]),
    ("batches_tiny", []),
    ("batches_tiny", ["scenario.period=null"]),
    ("batches_tiny", ["scenario.period=0.5", "scenario.max_waiting=6"]),
    ("spark_video", []),
]


@pytest.mark.parametrize(("name", "words"), TINY, ids=str)
def test_no_policy_earns_more_in_a_scenario(name, words):
    of = scenario_of(name, words)
    for policy in map(make, NAMES):
        for seed in (1, 2):
            workload = of.plan(seed)
            try:
                policy.reset(workload)
            except ConfigError:
                break
            truth = of.truth(workload, seed)
            never_above(workload, truth, [of.weights], of.horizon, policy, seed)


def test_one_chain_on_one_node_is_paid_the_bound():
    workload, truth = chain(arrival=2.0)
    for weights in (
        WorkflowWeights(elapsed=1, sojourn=2, qos=3),
        WorkflowWeights(elapsed=1, utilisation=0.25),
    ):
        earned, done = played(workload, truth, weights, math.inf, Random())
        assert done
        assert best_return(workload, truth, weights) == pytest.approx(earned)
    assert earned == pytest.approx(-0.75 * (3 + 4 + 5 + 3 * 0.5 + 3 * 0.25))


def test_a_truncated_chain_is_paid_the_bound():
    workload, truth = chain(arrival=2.0)
    weights = WorkflowWeights(elapsed=1, sojourn=2)
    assert best_return(workload, truth, weights, 7.0) == pytest.approx(-3.0 * 5.0)
    assert played(workload, truth, weights, 7.0, Random()) == (pytest.approx(-15.0), False)


@pytest.mark.parametrize("in_flight", [0, 1])
def test_a_pipeline_without_a_choice_is_paid_the_bound(in_flight):
    of = pipelines(
        types=("a", "b"),
        edges=(("a", "b"),),
        profiles=((1, 8),),
        cpus=1,
        memory=16,
        jobs=1 + 2 * in_flight,
        in_flight=in_flight,
        weights=Weights(throughput=7, latency=2, cost=3, bottleneck=0),
    )
    workload = of.plan(0)
    truth = Truth(seconds=np.linspace(0.3, 0.9, workload.tasks)[:, None])
    earned, done = played(workload, truth, of.weights, of.horizon, Random())
    assert done
    assert best_return(workload, truth, of.weights, of.horizon) == pytest.approx(earned)
    policy = Random()
    episode = rollout(
        Simulator(Given(truth), 0), workload, chooser(policy, 0), horizon=of.horizon,
        weights=of.weights,
    )  # fmt: skip
    found = measure(episode)
    least = least_metrics(workload, truth)
    assert least == pytest.approx({name: found[name] for name in least})


@pytest.mark.parametrize("tasks", [1, 3, 7])
def test_batches_without_a_choice_are_paid_the_bound(tasks):
    """Three executors of one core: one, one and three waves; they start once."""
    workload, truth = batches(tasks, count=3)
    weights = BatchWeights(inverse=1000, sojourn=1, cost=2)
    earned, done = played(workload, truth, weights, 100.0, Random())
    assert done
    assert best_return(workload, truth, weights, 100.0) == pytest.approx(earned)
    waves = -(-tasks // 3)
    lasts = np.array([2.5 + waves * 4, waves * 4])
    wanted = (1 / lasts).sum() - lasts.sum() - 2 * tasks * 8 * 0.5
    assert earned == pytest.approx(wanted)


@settings(max_examples=40, deadline=None)
@given(
    cases,
    st.sampled_from(WEIGHTS),
    st.floats(0.01, 10),
    st.sampled_from([3.0, 20.0, random_scenes.HORIZON, math.inf]),
)
def test_a_penalty_that_weighs_more_never_raises_the_bound(case, weights, more, horizon):
    workload, truth = case
    before = best_return(workload, truth, weights, horizon)
    for name, term in weights.TERMS.items():
        if term.sign > 0:
            continue
        heavier = dataclasses.replace(weights, **{name: getattr(weights, name) + more})
        after = best_return(workload, truth, heavier, horizon)
        if before is not None:
            assert after is not None
            assert after <= before + 1e-9 * (1 + abs(before))


def test_use_that_is_paid_for_more_than_its_time_costs_has_no_bound_without_a_horizon():
    workload, truth = chain(arrival=0.0)
    weights = WorkflowWeights(elapsed=1, sojourn=1, utilisation=3)
    assert best_return(workload, truth, weights) is None
    assert best_return(workload, truth, weights, 100.0) is not None
    costly = dataclasses.replace(weights, sojourn=2)
    assert best_return(workload, truth, costly) == pytest.approx(0.0)


def test_executors_that_fit_no_host_are_paid_for_waiting_only():
    workload, truth = batches(2, count=3, cores=8.0)
    weights = BatchWeights(inverse=1000, sojourn=1)
    assert best_return(workload, truth, weights) is None
    assert best_return(workload, truth, weights, 10.0) == pytest.approx(-10.0)


def chain(arrival):
    """Three tasks of 3, 4 and 5 s one after another on the only node, told late."""
    cluster = Cluster(nodes=(Node(name="a", cpus=1, memory=1),))
    arrays = assemble(
        family=PLACEMENT,
        type_of=[0, 1, 2],
        job_ptr=[0, 3],
        parent_ptr=[0, 0, 1, 2],
        parents=[0, 1],
        data=[8.0, 8.0],
        arrival=[arrival],
        scale=np.ones(3),
        seconds=np.ones((3, 1)),
        demand=[[1, 0, 0]],
        profile_of_type=[0, 0, 0],
        cluster=cluster,
        deadline=[10.0],
    )
    truth = Truth(
        seconds=np.array([[3.0], [4.0], [5.0]]),
        start_delay=np.array([0.5]),
        seen_delay=np.full(3, 0.25),
    )
    return Workload(types=("a", "b", "c"), cluster=cluster, arrays=arrays, seed=0), truth


def batches(tasks, count, cores=1.0):
    """Two batches at once, of tasks of 4 s that all executors of the one shape can hold."""
    cluster = Cluster(nodes=(Node(name="h", cpus=4, memory=64),))
    arrays = assemble(
        family=CONFIGURATION,
        type_of=np.zeros(2 * tasks),
        job_ptr=[0, tasks, 2 * tasks],
        parent_ptr=np.zeros(2 * tasks + 1),
        parents=[],
        data=[],
        arrival=[0.0, 0.0],
        scale=np.ones(2 * tasks),
        seconds=[[4.0]],
        demand=[[1, 0, 0]],
        profile_of_type=[0],
        cluster=cluster,
        fleets=np.array([[0.0, cores, 8.0, count]]),
        in_flight=1,
        startup=2.5,
    )
    truth = Truth(seconds=np.array([[4.0]]), scale=np.ones(2 * tasks), startup=2.5)
    return Workload(types=("a",), cluster=cluster, arrays=arrays, seed=0), truth
