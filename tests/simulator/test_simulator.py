"""The kernel against a plain oracle, capacity and precedence, theory, determinism."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator import oracle
from tests.workloads import Fixed, Luck, estimates, scenario, two_nodes
from toolkit.envs.registration import scenario_of
from toolkit.live import chooser, rollout
from toolkit.policies.random import Random
from toolkit.simulator import kernel
from toolkit.simulator.simulator import Simulator, Truth
from toolkit.simulator.state import (
    DONE,
    LOST,
    N_DONE,
    N_RUNNING,
    N_WAITING,
    RUNNING,
    USED_CPUS,
    USED_MEMORY,
    WAITING,
    WAITING_SCALE,
)
from toolkit.workload import CPUS, MEMORY


def run(of, policy, seed=0, model=None, cluster=None):
    workload = of.plan(seed, estimates=estimates(of), cluster=cluster)
    engine = Simulator(model or Luck(), seed)
    episode = rollout(
        engine,
        workload,
        chooser(policy, seed),
        horizon=of.horizon,
        weights=of.weights,
    )
    return workload, episode


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    jobs=st.integers(1, 12),
    rate=st.floats(0.5, 50),
    sigma=st.floats(0, 1),
    slots=st.lists(st.integers(0, 3), min_size=6, max_size=6),
    delay=st.sampled_from([0.0, 0.003]),
    wide=st.booleans(),
)
def test_the_kernel_equals_the_oracle(seed, jobs, rate, sigma, slots, delay, wide):
    of = scenario(jobs=jobs, rate=rate)
    model = Luck(sigma=sigma, start=delay, seen=delay)
    workload, episode = run(of, Fixed(slots), seed, model, two_nodes() if wide else None)
    truth = model.truth(workload, seed)
    started, finished = oracle.simulate(
        workload, truth.seconds.tolist(), truth.start_delay, truth.seen_delay, slots
    )
    o = episode.outcome
    assert episode.terminated
    np.testing.assert_allclose(o.started, [started[i] for i in range(workload.tasks)], atol=1e-9)
    np.testing.assert_allclose(o.finished, [finished[i] for i in range(workload.tasks)], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rate=st.floats(1, 30), wide=st.booleans())
def test_capacity_and_precedence_hold_under_any_choice(seed, rate, wide):
    cluster = two_nodes() if wide else None
    workload, episode = run(scenario(rate=rate), Random(), seed, cluster=cluster)
    w, o = workload.arrays, episode.outcome
    for task in range(workload.tasks):
        for i in range(w.child_ptr[task], w.child_ptr[task + 1]):
            assert o.started[w.children[i]] >= o.finished[task]
    for m in range(len(w.capacity)):
        mine = np.flatnonzero(o.node == m)
        for at in o.started[mine]:
            now = mine[(o.started[mine] <= at) & (o.finished[mine] > at)]
            assert w.demand[o.profile[now], CPUS].sum() <= w.capacity[m, CPUS] + 1e-9
            assert w.demand[o.profile[now], MEMORY].sum() <= w.capacity[m, MEMORY] + 0.5
    first = w.arrival[w.job_of]
    assert (o.started >= first).all()


def test_running_counters_equal_a_recount_at_every_decision():
    of = scenario(rate=20, jobs=20)
    workload = of.plan(3, estimates=estimates(of))
    w = workload.arrays
    policy = chooser(Random(), 3)
    seen = []

    def check(decision):
        s = decision.view
        for t in range(len(workload.types)):
            mine = w.type_of == t
            waiting, running = mine & (s.status == WAITING), mine & (s.status == RUNNING)
            counted = {
                N_WAITING: waiting.sum(),
                N_RUNNING: running.sum(),
                N_DONE: (mine & (s.status == DONE)).sum(),
                WAITING_SCALE: w.scale[waiting].sum(),
                USED_CPUS: w.demand[s.profile[running], CPUS].sum(),
                USED_MEMORY: w.demand[s.profile[running], MEMORY].sum(),
            }
            for column, value in counted.items():
                assert s.by_type[t, column] == pytest.approx(value, abs=1e-6)
        seen.append(s.time[0])
        return policy(decision)

    rollout(
        Simulator(Luck(), 3),
        workload,
        check,
        horizon=of.horizon,
        weights=of.weights,
    )
    assert len(seen) > 20


def test_the_view_of_a_policy_cannot_be_written():
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))

    def write(decision):
        decision.view.status[0] = 3

    with pytest.raises(ValueError, match="read-only"):
        rollout(Simulator(Luck(), 0), workload, write, horizon=9, weights=of.weights)


def test_a_copy_goes_its_own_way():
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))
    engine = Simulator(Luck(), 0)
    scene = engine.start(workload)
    for _ in workload.types:
        engine.act(0)
    kept = scene.copy()
    before = kept.state.copy()
    engine.advance(5.0)
    for old, now in zip(before, kept.state, strict=True):
        np.testing.assert_array_equal(old, now)
    kernel.advance(kept.handle, 5.0)
    for one, other in zip(kept.state, scene.state, strict=True):
        np.testing.assert_array_equal(one, other)


class Exponential:
    """Service times of a single type: exponential with mean one over ``rate``."""

    def __init__(self, rate):
        self.rate = rate

    def truth(self, workload, seed):
        n = workload.tasks
        drawn = np.random.default_rng(seed).exponential(1 / self.rate, (n, 1))
        zero = np.zeros(n)
        durations = np.repeat(drawn, len(workload.profiles), axis=1)
        return Truth(seconds=durations, start_delay=zero, seen_delay=zero)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 0.7)])
def test_an_mmc_queue_waits_as_theory_says(servers, load):
    """Erlang C: mean wait in M/M/c, within a 99 % confidence interval over replications."""
    service = 1.0
    arrivals = load * servers * service
    of = scenario(
        types=("only",), edges=(), profiles=((1, 8),), cpus=servers, memory=96, jobs=6000,
        rate=arrivals, interval=1e6, horizon=1e9,
    )  # fmt: skip
    waits = []
    for seed in range(12):
        _, episode = run(of, Fixed([0]), seed, Exponential(service))
        o = episode.outcome
        waits.append(np.mean((o.started - o.arrived)[1000:]))
    a = arrivals / service
    terms = [a**k / np.prod(np.arange(1, k + 1)) for k in range(servers)]
    top = a**servers / np.prod(np.arange(1, servers + 1)) / (1 - load)
    expected = top / (sum(terms) + top) / (servers * service - arrivals)
    half = 3.106 * np.std(waits, ddof=1) / np.sqrt(len(waits))  # t(11) at 99 %
    assert abs(np.mean(waits) - expected) < half


_SCRIPT = """
import hashlib
from tests.policies.test_policies import make
from toolkit.envs.registration import scenario_of
from toolkit.envs.registration import scenario_of
from toolkit.live import chooser, rollout
from toolkit.simulator.simulator import Simulator
h = hashlib.sha256()
for name, policy in (
    ("genomics_tiny", "random"), ("batches_tiny", "paper_random"), ("workflows_tiny", "random"),
    ("workflows_tiny", "srpt_heft"), ("workflows_tiny", "genetic"),
):
    of, rule = scenario_of(name), make(policy)
    workload = of.plan(5)
    rule.reset(workload)
    episode = rollout(
        Simulator(of, 5), workload, chooser(rule, 5), horizon=of.horizon, weights=of.weights
    )
    for step in episode.steps:
        h.update(step.decision.digest().encode() + repr((step.action, step.reward)).encode())
    h.update(episode.outcome.finished.tobytes())
print(h.hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_for_any_hash_seed_and_number_of_threads():
    found = set()
    for hash_seed, threads in (("0", "1"), ("77", "4")):
        env = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "OMP_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads,
            "PYTHONPATH": ".",
        }
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_an_episode_without_an_end_is_over_once_nothing_can_happen():
    of = scenario_of("workflows_tiny")
    workload = of.plan(0)
    nodes = np.arange(len(workload.arrays.capacity), dtype=np.int32)

    class AllLost:
        def truth(self, workload, seed):
            lost = (np.zeros(len(nodes)), nodes, np.full(len(nodes), LOST, np.int32))
            return replace(of.truth(workload, seed), outages=lost)

    episode = rollout(
        Simulator(AllLost(), 0),
        workload,
        chooser(Random(), 0),
        horizon=np.inf,
        weights=of.weights,
    )
    assert not episode.terminated
    assert np.isnan(episode.outcome.started).all()
