"""Queues whose mean wait is known: the kernel's clock, dispatch and bookkeeping against theory."""

from math import factorial

import numpy as np
import pytest
from scipy.stats import t as student

from toolkit.cluster import Cluster, Node
from toolkit.seeding import generator
from toolkit.simulator.compiled import lean
from toolkit.simulator.kernel import act, proceed
from toolkit.simulator.rules import first_fit
from toolkit.simulator.simulator import Truth, scene_of
from toolkit.simulator.state import (
    ASK_NODE,
    ASK_TASK,
    BUSY,
    CLOSED,
    ELAPSED,
    JOBS_DONE,
    JOBS_IN_SYSTEM,
    LATENCY,
    N_READY,
    PICKED,
    QUEUED,
    SOJOURN,
    STAGE,
)
from toolkit.workload import ALLOCATION, CONFIGURATION, PLACEMENT, Workload, assemble

JOBS, WARM_UP, REPLICATIONS = 30_000, 3_000, 20
SIGMA = 0.8
TOLERATED = 0.05
"""Widest half of a confidence interval, relative: a wider one would prove nothing."""


@lean
def first_come_first_served(s):
    """Run an episode: the oldest ready task to the first node with room, else choice 0."""
    while s.totals[JOBS_DONE] < len(s.arrival):
        if s.cursor[STAGE] == CLOSED:
            proceed(s, np.inf)
        elif s.cursor[STAGE] == ASK_TASK:
            i = 0
            while s.first[s.by_arrival[i]] < 0:
                i += 1
            act(s, s.first[s.by_arrival[i]])
        elif s.cursor[STAGE] == ASK_NODE:
            act(s, first_fit(s, s.profile[s.cursor[PICKED]]))
        else:
            act(s, 0)


def queue(family, servers, service, gaps, in_flight=0, rates=()):
    """A scene of jobs of one task each, which ``servers`` serve.

    Args:
        family: In a placement each server is a node, in an allocation all are cpus of one node;
            in a configuration there is one, an executor.
        servers: How many.
        service: Seconds of each job.
        gaps: Seconds between arrivals.
        in_flight: Jobs of a closed system.
        rates: Speed by how many are served, of a machine that all nodes are on.
    """
    n = len(service)
    nodes = servers if family == PLACEMENT else 1
    cluster = Cluster(
        nodes=tuple(Node(name=f"n{m}", cpus=servers // nodes, memory=64) for m in range(nodes))
    )
    arrays = assemble(
        family=family,
        type_of=np.zeros(n),
        job_ptr=np.arange(n + 1),
        parent_ptr=np.zeros(n + 1),
        parents=[],
        data=[],
        arrival=np.cumsum(gaps),
        scale=np.ones(n),
        seconds=[[1.0]],
        demand=[[1, 1, 0]],
        cluster=cluster,
        profile_of_type=None if family == ALLOCATION else [0],
        by_profile=family == ALLOCATION,
        fleets=np.array([[0.0, 1.0, 64.0, 1.0]]) if family == CONFIGURATION else None,
        in_flight=in_flight,
    )
    workload = Workload(types=("only",), cluster=cluster, arrays=arrays, seed=0)
    machine = np.zeros(nodes, dtype=np.int32)
    return scene_of(
        workload, Truth(seconds=service[:, None], rates=np.array(rates), machine=machine)
    )


def waits(family, servers, load, draw, name):
    """Run the replications; return the mean wait of each, s."""
    found = []
    for seed in range(REPLICATIONS):
        rng = generator(seed, "queue", name, servers)
        service = draw(rng, JOBS)
        scene = queue(family, servers, service, rng.exponential(1 / (load * servers), JOBS))
        first_come_first_served(scene.handle)
        s = scene.state
        assert s.done
        wait = s.started - s.arrived
        found.append(wait[WARM_UP:].mean())
        # Little's law holds without an error: of what is in the system, waits and is served.
        spent = (s.completed - s.arrived).sum()
        assert s.totals[SOJOURN] == pytest.approx(s.totals[LATENCY], rel=1e-9)
        assert s.totals[SOJOURN] == pytest.approx(spent, rel=1e-9)
        if family != CONFIGURATION:  # there a batch waits before any of its tasks does
            share = 1 / servers if family == ALLOCATION else 1
            assert s.totals[QUEUED] == pytest.approx(wait.sum(), rel=1e-9)
            assert s.totals[BUSY] == pytest.approx(share * service.sum(), rel=1e-9)
        assert s.totals[JOBS_IN_SYSTEM] == s.totals[N_READY] == 0
    return np.array(found)


def assert_mean(found, expected):
    """Assert that theory lies in the 99 % confidence interval over replications."""
    half = student.ppf(0.995, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    print(f"theory {expected:.4f} s, simulated {found.mean():.4f} ± {half:.4f} s")
    assert half < TOLERATED * expected
    assert abs(found.mean() - expected) < half


def exponential(rng, n):
    return rng.exponential(1.0, n)


def lognormal(rng, n):
    return np.exp(SIGMA * rng.standard_normal(n) - SIGMA**2 / 2)


def erlang_c(servers, load):
    """Mean wait in M/M/c with services of mean 1 s: Erlang's C by what the servers can spare."""
    a = servers * load
    top = a**servers / factorial(servers) / (1 - load)
    chance = top / (sum(a**k / factorial(k) for k in range(servers)) + top)
    return chance / (servers - a)


@pytest.mark.parametrize(
    ("family", "servers", "load"),
    [
        (PLACEMENT, 1, 0.6),
        (PLACEMENT, 2, 0.7),
        (PLACEMENT, 4, 0.7),
        (ALLOCATION, 2, 0.7),
        (CONFIGURATION, 1, 0.6),
    ],
    ids=["placement-1", "placement-2", "placement-4", "allocation-2", "configuration-1"],
)
def test_an_mmc_queue_waits_as_erlang_says(family, servers, load):
    assert_mean(waits(family, servers, load, exponential, f"mmc {family}"), erlang_c(servers, load))


def test_an_mg1_queue_waits_as_pollaczek_and_khinchine_say():
    load = 0.6
    second_moment = np.exp(SIGMA**2)  # of a log-normal service of mean 1 s
    expected = load * second_moment / (2 * (1 - load))
    assert_mean(waits(PLACEMENT, 1, load, lognormal, "mg1"), expected)


@pytest.mark.parametrize("family", [PLACEMENT, ALLOCATION])
@pytest.mark.parametrize("draw", [exponential, lognormal])
def test_an_mg1_queue_that_shares_its_processor_stays_as_long_whatever_the_work(family, draw):
    """Jobs of 1 s of work on average stay 1 / (1 - load) s, however their work is distributed."""
    load, slots = 0.6, 64
    rates = 1 / np.maximum(1.0, np.arange(slots + 1))
    found = []
    for seed in range(REPLICATIONS):
        rng = generator(seed, "shared processor", family, draw.__name__)
        service = draw(rng, JOBS)
        gaps = rng.exponential(1 / load, JOBS)
        scene = queue(family, slots, service, gaps, rates=rates)
        first_come_first_served(scene.handle)
        s = scene.state
        assert s.done
        assert (s.started == s.arrived).all()
        found.append((s.completed - s.arrived)[WARM_UP:].mean())
        # Shared or not, a processor is busy as long as there is work.
        assert s.totals[ELAPSED] == pytest.approx(service.sum(), rel=1e-9)
    assert_mean(np.array(found), 1 / (1 - load))


def test_a_closed_system_keeps_its_servers_busy():
    """With as many jobs in flight as servers nobody waits, and no server does until the end."""
    for family in (PLACEMENT, ALLOCATION):
        rng = generator(0, "closed queue", family)
        service = rng.exponential(1.0, 500)
        scene = queue(family, 2, service, np.full(500, 1e9), in_flight=2)
        first_come_first_served(scene.handle)
        s = scene.state
        assert s.done
        assert (s.started == s.arrived).all()
        assert s.time[0] == s.completed.max()
        # Both work until the last but one is done.
        last = np.sort(s.completed)[-2:]
        assert service.sum() == pytest.approx(last.sum())
