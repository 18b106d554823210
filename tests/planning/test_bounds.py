"""Bounds and the exact optimum, against every schedule of small workloads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tests.planning import dags
from tests.planning.brute_force import least, mean_response
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError
from toolkit.planning import board, bounds
from toolkit.planning.optimum import optimum
from toolkit.planning.tdca import plan as tdca
from toolkit.workload import ALLOCATION, PLACEMENT, assemble

ABOVE = 1.0 + 1e-9

SMALL = [
    {"jobs": 1},
    {"jobs": 2, "arrival": [3.0, 10.0]},
    {"jobs": 2, "lanes": 2},
    {"jobs": 1, "lanes": 2, "tight": True},
    {"jobs": 3, "tight": True, "latency": 0.5, "arrival": [0.0, 4.0, 4.0]},
    {"jobs": 2, "idle": 0.3, "arrival": [0.0, 6.0]},
]


def small(seed, ccr, arrival=None, **shape):
    """Return a workload that brute force can solve: 5 tasks on 3 nodes or 6 on 2."""
    tasks, nodes = ((5, 3), (6, 2))[seed % 2]
    w = dags.random_dag(seed, tasks, nodes, ccr, **shape)
    return w if arrival is None else w._replace(arrival=np.array(arrival))


def free_tasks(durations, cpus=1.0, demand=1.0, arrival=None):
    """Return tasks without edges, one job each where arrivals are given."""
    n, nodes = np.shape(durations)
    jobs = 1 if arrival is None else n
    return assemble(
        family=PLACEMENT,
        type_of=np.arange(n),
        job_ptr=[0, n] if arrival is None else np.arange(n + 1),
        parent_ptr=np.zeros(n + 1),
        parents=[],
        data=[],
        arrival=np.zeros(jobs) if arrival is None else arrival,
        scale=np.ones(n),
        seconds=durations,
        demand=[[demand, 0, 0]],
        profile_of_type=np.zeros(n),
        cluster=Cluster(
            nodes=tuple(Node(name=f"p{m}", cpus=cpus, memory=1, kind=f"k{m}") for m in range(nodes))
        ),
    )


def test_estimated_durations_are_those_of_type_size_and_kind_where_the_task_fits():
    w = dags.random_dag(0, 6, 3, tight=True)._replace(scale=np.arange(1.0, 7.0))
    found = bounds.durations_of(w)
    asked = w.demand[w.profile_of_type[w.type_of], 1]
    for task in range(6):
        for m in range(3):
            wanted = w.seconds[task, m] * (task + 1)
            assert found[task, m] == (wanted if asked[task] <= w.capacity[m, 1] else np.inf)


@pytest.mark.parametrize("shape", SMALL, ids=str)
@pytest.mark.parametrize(("seed", "ccr"), [(0, 4.0), (1, 0.5), (3, 2.0)])
def test_the_solver_finds_the_best_schedule_and_no_bound_exceeds_it(shape, ccr, seed):
    w = small(seed, ccr, **shape)
    d = bounds.durations_of(w)
    best = least(w, d)
    found = optimum(w, d)
    assert found.proven
    assert found.bound <= best * ABOVE
    # Equal but for what the rounding of the search's clock may cost.
    assert best <= found.makespan * ABOVE <= best + 2 * w.tasks * found.resolution + 1e-6
    assert bounds.response(w, d).value <= best * ABOVE
    together = least(w._replace(arrival=np.zeros(len(w.arrival))), d)
    assert bounds.makespan(w, d).value <= together * ABOVE
    assert bounds.mean_response(w, d) <= least(w, d, mean_response) * ABOVE


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0]), st.sampled_from(SMALL))
@settings(max_examples=10, deadline=None)
def test_bounds_hold_for_any_durations(seed, ccr, shape):
    w = small(seed, ccr, **shape)
    luck = np.exp(np.random.default_rng(seed).standard_normal((w.tasks, len(w.capacity))))
    d = bounds.durations_of(w) * luck
    assert bounds.response(w, d).value <= least(w, d) * ABOVE
    assert bounds.mean_response(w, d) <= least(w, d, mean_response) * ABOVE


def test_the_optimum_of_published_examples():
    for w, heft, best in (
        (dags.topcuoglu(), 80, 73),
        (dags.figure2(), 85, 76),
        (dags.arabnejad(), 133, 113),
    ):
        d = bounds.durations_of(w)
        found = optimum(w, d)
        assert found.proven and found.resolution == 1.0
        assert found.makespan == found.bound == best <= heft
        assert bounds.makespan(w, d).value <= best
    assert bounds.longest_path(dags.topcuoglu(), bounds.durations_of(dags.topcuoglu())) == [41.0]


def executes(w, d, found):
    """Return whether a schedule without copies keeps precedence, transfers and one task a node."""
    for task in range(w.tasks):
        for e in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            p, a, b = w.parents[e], found.node[w.parents[e]], found.node[task]
            moved = 0.0 if a == b else w.latency[a, b] + w.data[e] / w.bandwidth[a, b]
            if found.start[task] < found.finish[p] + moved - 1e-9:
                return False
        others = np.flatnonzero(found.node == found.node[task])
        alone = (found.start[others] >= found.finish[task] - 1e-9) | (
            found.finish[others] <= found.start[task] + 1e-9
        )
        if alone.sum() < len(others) - 1:
            return False
    took = d[np.arange(w.tasks), found.node]
    return bool(np.allclose(found.finish - found.start, took))


def test_an_unfinished_search_still_gives_a_schedule_a_bound_and_the_same_each_time():
    w = dags.random_dag(1, 20, 8)
    d = bounds.durations_of(w)
    first, second = (optimum(w, d, time_limit=0.01) for _ in range(2))
    assert not first.proven
    assert bounds.makespan(w, d).value * (1 - 1e-8) <= first.bound < first.makespan
    assert executes(w, d, first)
    assert first.makespan == second.makespan and first.bound == second.bound
    assert (first.start == second.start).all() and (first.node == second.node).all()


def test_a_proven_schedule_can_be_executed():
    w = dags.random_dag(4, 9, 3, 2.0, latency=0.25)
    d = bounds.durations_of(w)
    found = optimum(w, d)
    assert found.proven and executes(w, d, found)
    assert found.makespan == found.finish.max()


def test_the_ratio_of_sums_is_no_bound_where_speeds_are_specific_to_tasks():
    d = np.array([[1.0, 100.0], [100.0, 1.0]])
    w = free_tasks(d)
    work = d.mean(axis=1)
    speed = (work[:, None] / d).mean(axis=0)
    ratio = work.sum() / speed.sum()
    assert least(w, d) == 1.0 < ratio
    assert bounds.area(w, d) == pytest.approx(1.0)


def test_the_relaxation_exceeds_the_valid_ratio_of_fastest_durations_to_nodes():
    d = np.array([[1.0, 4.0], [1.0, 4.0], [1.0, 4.0], [2.0, 2.0]])
    w = free_tasks(d)
    simple = d.min(axis=1).sum() / 2
    # By hand: task 4 on node 2, and 3 − x of the others on node 1 while 2 + 4 x on node 2.
    assert simple == 2.5 < bounds.area(w, d) == pytest.approx(2.8)
    assert least(w, d) == 3.0


def relaxation(d, lanes):
    """Return the value of the linear relaxation of R||Cmax, written out in full."""
    n, nodes = d.shape
    fit = np.isfinite(d)
    load = np.zeros((nodes, n * nodes + 1))
    whole = np.zeros((n, n * nodes + 1))
    for i in range(n):
        for m in range(nodes):
            load[m, i * nodes + m] = d[i, m] if fit[i, m] else 0.0
            whole[i, i * nodes + m] = 1.0
    load[:, -1] = -lanes
    limits = [(0.0, 1.0 if ok else 0.0) for ok in fit.ravel()] + [(0.0, None)]
    goal = np.append(np.zeros(n * nodes), 1.0)
    solved = linprog(goal, load, np.zeros(nodes), whole, np.ones(n), bounds=limits)
    return solved.fun


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("tight", [False, True])
def test_the_area_is_the_value_of_the_relaxation(lanes, tight):
    w = dags.random_dag(5, 40, 4, lanes=lanes)
    # Memory says where a task fits, and never how many run at once.
    room = [1.0, 1000.0, 1.0, 1000.0] if tight else [1000.0] * 4
    w.capacity[:, 1], w.demand[:, 1] = room, (0.0, 2.0)
    d = bounds.durations_of(w)
    assert np.isinf(d).any() == tight
    assert bounds.area(w, d) == pytest.approx(relaxation(d, lanes), rel=1e-6)


def test_tasks_of_one_type_and_nodes_of_one_kind_count_together():
    rng = np.random.default_rng(0)
    n, kinds = 3000, ("fast", "slow", "slow", "fast", "odd")
    w = assemble(
        family=PLACEMENT,
        type_of=rng.integers(0, 3, n),
        job_ptr=[0, n],
        parent_ptr=np.zeros(n + 1),
        parents=[],
        data=[],
        arrival=[0.0],
        scale=rng.lognormal(size=n),
        seconds=rng.uniform(1, 5, (3, 3)),
        demand=[[1, 1, 0]],
        profile_of_type=np.zeros(3),
        cluster=Cluster(
            nodes=tuple(Node(name=f"p{m}", cpus=1, memory=1, kind=k) for m, k in enumerate(kinds))
        ),
    )
    d = bounds.durations_of(w)
    sums = np.array([d[w.type_of == t].sum(axis=0) for t in range(3)])
    assert bounds.area(w, d) == pytest.approx(relaxation(sums, 1), rel=1e-6)


def test_a_sample_of_many_different_tasks_gives_a_bound_that_is_hardly_lower(monkeypatch):
    w = dags.random_dag(2, 300, 6, jobs=3)
    d = bounds.durations_of(w)
    full = bounds.area(w, d)
    monkeypatch.setattr(bounds, "LARGEST", 300)
    assert 0.95 * full < bounds.area(w, d) < full


def test_only_whole_tasks_share_a_node():
    w = free_tasks(np.ones((4, 1)), cpus=8.0, demand=3.0)
    d = bounds.durations_of(w)
    assert bounds.area(w, d) == pytest.approx(2.0)  # two at once, not 2.67
    assert least(w, d) == optimum(w, d).makespan == 2.0


def test_a_window_counts_the_entry_before_and_the_exit_after_the_work_between():
    edges = [(0, v, 0.0) for v in range(1, 5)] + [(v, 5, 0.0) for v in range(1, 5)]
    w = dags.graph([[10, 10], *[[5, 5]] * 4, [10, 10]], edges)
    d = bounds.durations_of(w)
    found = bounds.makespan(w, d)
    assert (found.longest_path, found.which) == (25.0, "window")
    assert found.area == pytest.approx(20.0)
    assert found.value == pytest.approx(30.0) == optimum(w, d).makespan


def test_arrivals_count_for_the_response_and_not_for_the_makespan():
    w = free_tasks(np.ones((5, 1)), arrival=[5.0, 105.0, 105.0, 105.0, 105.0])
    d = bounds.durations_of(w)
    assert bounds.response(w, d).value == pytest.approx(104.0) == least(w, d)
    # A policy that starts nothing before 105 needs 5 s from its first start.
    assert bounds.makespan(w, d).value == pytest.approx(5.0)


def test_the_mean_response_on_one_node_is_that_of_shortest_first():
    w = free_tasks(np.array([[3.0], [1.0], [2.0]]), arrival=[0.0, 0.0, 0.0])
    d = bounds.durations_of(w)
    assert bounds.mean_response(w, d) == pytest.approx((1 + 3 + 6) / 3)
    # Interrupted: the second job takes the node over at 1 and is done at 2, the first at 4.
    w = free_tasks(np.array([[3.0], [1.0]]), arrival=[0.0, 1.0])
    assert bounds.mean_response(w, bounds.durations_of(w)) == pytest.approx((4 + 1) / 2)


def test_the_mean_response_joins_the_path_of_each_job_with_the_load_of_all():
    # Two nodes: merged they finish the jobs at 0.5, 1, 1.5, 2; but none takes less than 1.
    w = free_tasks(np.ones((4, 2)), arrival=np.zeros(4))
    d = bounds.durations_of(w)
    assert bounds.mean_response(w, d) == pytest.approx((1 + 1 + 1.5 + 2) / 4)
    assert least(w, d, mean_response) == (1 + 1 + 2 + 2) / 4


def test_copies_beat_the_optimum_without_them_and_not_the_bounds():
    w = dags.graph([[1, 1], [10, 10], [10, 10]], [(0, 1, 100.0), (0, 2, 100.0)])
    d = bounds.durations_of(w)
    planned = tdca(w, board.empty(w), np.arange(3))
    assert bounds.makespan(w, d).value <= planned.finish.max() == 11.0 < optimum(w, d).makespan


def test_what_cannot_be_bounded_is_refused():
    w = dags.random_dag(0, 4, 2)
    d = bounds.durations_of(w)
    with pytest.raises(ConfigError, match="shape"):
        bounds.area(w, d[:, :1])
    with pytest.raises(ConfigError, match="at least 0"):
        bounds.area(w, np.where(d > 0, np.nan, d))
    with pytest.raises(ConfigError, match="task 1 fits no node"):
        bounds.makespan(w, np.where(np.arange(4)[:, None] == 1, np.inf, d))
    with pytest.raises(ConfigError, match="out of reach"):
        many = dags.random_dag(0, 151, 2)
        optimum(many, bounds.durations_of(many))
    w.rules[0] = ALLOCATION
    with pytest.raises(ConfigError, match="placement"):
        bounds.durations_of(w)
