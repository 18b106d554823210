"""TDCA-like plans with copies and the genetic search: feasible, repeatable, as good as said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning import dags
from tests.planning.brute_force import least, transfer
from toolkit.errors import ConfigError
from toolkit.planning import board, bounds, genetic, tdca
from toolkit.planning.board import Board, Plan
from toolkit.planning.optimum import optimum

QUICK = genetic.Settings(population=16, generations=15)
SHAPES = [{}, {"jobs": 3, "idle": 0.2}, {"lanes": 2, "tight": True}, {"jobs": 2, "latency": 0.3}]


def everything(w):
    return np.arange(w.tasks)


def in_flight(w):
    """Return a board on which the first third of the tasks has run or runs, and the other tasks."""
    b = board.empty(w)
    d = bounds.durations_of(w)
    count = w.tasks // 3
    for task in range(count):
        m = int(np.argmin(d[task]))
        b.node[task], b.finish[task] = m, 3.0 + 2.0 * task
    b.lane_free[:] = 5.0 + np.arange(len(b.lane_free)) % 4
    return b, np.arange(count, w.tasks)


def wrong(w, b, p, copies=None):
    """Return what makes a plan impossible, in words; empty when nothing does."""
    copy = np.zeros(len(p.task), dtype=bool) if copies is None else copies
    d = bounds.durations_of(w)
    node = b.lane_node[p.lane]
    if not np.allclose(p.finish - p.start, d[p.task, node], atol=1e-9):
        return "a duration"
    for lane in range(len(b.lane_node)):
        at = np.flatnonzero(p.lane == lane)
        at = at[np.lexsort((p.finish[at], p.start[at]))]
        begins, ends = p.start[at], np.append(b.lane_free[lane], p.finish[at])
        if (begins < ends[:-1] - 1e-9).any():
            return f"two at once on lane {lane}"
        if len(set(p.task[at])) < len(at):
            return f"a task twice on lane {lane}"
    for x, task in enumerate(p.task):
        for e in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            parent = w.parents[e]
            there = [
                p.finish[y] + transfer(w, e, node[y], node[x])
                for y in np.flatnonzero(p.task == parent)
            ]
            if b.node[parent] >= 0:
                there.append(b.finish[parent] + transfer(w, e, b.node[parent], node[x]))
            if p.start[x] < min(there) - 1e-9:
                return f"task {task} before its data from {parent}"
    if len(set(p.task[~copy])) < (~copy).sum():
        return "a task twice"
    return ""


def makespan(p):
    return float(p.finish.max())


@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 6),
    st.sampled_from([0.0, 1.0, 6.0]),
    st.sampled_from(SHAPES),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_plan_can_be_executed(seed, tasks, nodes, ccr, shape, underway):
    w = dags.random_dag(seed, tasks, nodes, ccr, **{"jobs": 1, **shape})
    b, chosen = in_flight(w) if underway else (board.empty(w), everything(w))
    for by_start in (False, True):
        p = tdca.plan(w, b, chosen, by_start=by_start)
        assert wrong(w, b, p, p.copy) == ""
        assert sorted(tdca.primary(p).task) == list(chosen)
        assert (np.diff(p.start) >= 0).all()
    found = genetic.plan(w, b, chosen, QUICK, seed=seed)
    assert wrong(w, b, found) == "" and sorted(found.task) == list(chosen)


@pytest.mark.parametrize("seed", range(6))
def test_neither_is_better_than_what_bounds_it(seed):
    w = dags.random_dag(seed, 6, 2, 1.0 + seed)
    d, b = bounds.durations_of(w), board.empty(w)
    assert makespan(genetic.plan(w, b, everything(w), QUICK)) >= least(w, d) * (1 - 1e-9)
    assert makespan(tdca.plan(w, b, everything(w))) >= bounds.makespan(w, d).value * (1 - 1e-9)


def test_a_parent_is_copied_where_its_data_would_come_late():
    w = dags.graph([[1, 1], [10, 10], [10, 10]], [(0, 1, 100.0), (0, 2, 100.0)])
    p = tdca.plan(w, board.empty(w), everything(w))
    assert makespan(p) == 11.0  # 21 without copies
    assert p.copy.sum() == 1 and p.task[p.copy] == [0]
    own = tdca.primary(p)
    with_copy = tdca.copied_parent(w, p)
    assert sorted(own.task) == [0, 1, 2]
    assert sorted(with_copy) == [-1, -1, 0]
    assert with_copy[own.task == 0] == [-1]


def test_copies_that_only_help_together_are_found():
    # A copy of task 1 alone would wait for the data of task 0.
    edges = [(0, 1, 100.0), (1, 2, 100.0), (1, 3, 100.0)]
    w = dags.graph([[1, 1], [1, 1], [10, 10], [10, 10]], edges)
    p = tdca.plan(w, board.empty(w), everything(w))
    assert makespan(p) == 12.0
    assert sorted(p.task[p.copy]) == [0, 1]
    # A placement with a copy of one parent can carry out the last copy of the trail only.
    assert sorted(tdca.copied_parent(w, p)) == [-1, -1, -1, 1]


def test_nothing_is_copied_where_data_cost_nothing():
    w = dags.random_dag(3, 40, 4, 0.0)
    assert not tdca.plan(w, board.empty(w), everything(w)).copy.any()


# Graphs in which no copy comes sooner than one that was planned before it.
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_no_copy_is_kept_from_which_nobody_takes_data(seed):
    w = dags.random_dag(seed, 150, 24, 3.0)
    b = board.empty(w)
    p = tdca.plan(w, b, everything(w))
    node = b.lane_node[p.lane]
    takers = {
        x: [(y, e) for y, task in enumerate(p.task) for e in edges(w, task, p.task[x])]
        for x in np.flatnonzero(p.copy)
    }
    assert len(takers) > 5
    for x, consumers in takers.items():
        same = np.flatnonzero(p.task == p.task[x])
        assert any(
            p.finish[x] + transfer(w, e, node[x], node[y])
            <= min(p.finish[o] + transfer(w, e, node[o], node[y]) for o in same)
            for y, e in consumers
        )


def edges(w, task, parent):
    return [e for e in range(w.parent_ptr[task], w.parent_ptr[task + 1]) if w.parents[e] == parent]


def phase_one(w):
    """Return the lane of each cluster's tasks, -1 of tasks that remain."""
    q = tdca.problem(w, board.empty(w), everything(w))
    level = tdca._levels(q, 0.0, 1.0)
    ect = tdca._completions(q)
    favourite = np.argsort(ect, axis=1, kind="stable")
    cpred = tdca._critical(q, ect, favourite)
    return list(tdca._clusters(q, ect, favourite, cpred, np.argsort(-level, kind="stable")))


def test_a_parent_joins_the_cluster_unless_its_data_come_sooner_from_elsewhere():
    edge = [(0, 1, 5.0)]
    # On its favourite the parent is done at 2, its data there at 7; here it would be done at 6.
    assert phase_one(dags.graph([[6, 2], [1, 9]], edge)) == [0, 0]
    # Here it would be done at 8: it opens a cluster of its own.
    assert phase_one(dags.graph([[8, 2], [1, 9]], edge)) == [1, 0]


def test_a_cluster_takes_the_best_other_parent_where_the_critical_one_is_taken():
    # By level the walk starts at task 4, whose critical parent is task 0; then task 3 finds
    # task 0 taken, and of tasks 1 and 2 the one that would finish first.
    links = [(0, 4, 9.0), (0, 3, 9.0), (1, 3, 5.0), (2, 3, 5.0)]
    costs = [[5, 6, 7], [4, 4, 4], [3, 3, 3], [2, 2, 2], [1, 1, 1]]
    lanes = phase_one(dags.graph(costs, links))
    assert lanes[0] == lanes[4] != lanes[3] == lanes[2] != lanes[1]


def test_a_trail_stays_on_one_processor_while_that_is_faster_than_waiting():
    edges = [(v, v + 1, 50.0) for v in range(4)]
    w = dags.graph([[3, 3, 2]] * 5, edges)
    p = tdca.plan(w, board.empty(w), everything(w))
    assert (p.lane == 2).all() and makespan(p) == 10.0


def test_processors_are_merged_where_a_transfer_costs_more_than_the_queue():
    # Each child opens a cluster of its own; elsewhere its parent is too slow to be copied.
    w = dags.graph([[9, 100], [1, 1], [1, 1]], [(0, 1, 20.0), (0, 2, 20.0)])
    p = tdca.plan(w, board.empty(w), everything(w))
    assert makespan(p) == 11.0 and (p.lane == 0).all() and not p.copy.any()


def test_tdca_is_a_serious_rival_on_random_graphs():
    heft, by_finish, by_start = (np.empty(5) for _ in range(3))
    none = genetic.Settings(population=2, generations=0, elite=1)
    for seed in range(5):
        w = dags.random_dag(seed, 100, 8)
        b = board.empty(w)
        heft[seed] = makespan(genetic.plan(w, b, everything(w), none))
        by_finish[seed] = makespan(tdca.plan(w, b, everything(w)))
        by_start[seed] = makespan(tdca.plan(w, b, everything(w), by_start=True))
    assert np.log(by_finish / heft).mean() < np.log(1.05)
    assert np.log(by_start / by_finish).mean() > np.log(1.05)


def test_the_genetic_search_finds_the_optimum_of_small_examples():
    for w in (dags.topcuoglu(), dags.figure2(), dags.arabnejad()):
        best = optimum(w, bounds.durations_of(w)).makespan
        assert makespan(genetic.plan(w, board.empty(w), everything(w))) == best


def test_it_starts_from_heft_without_insertion():
    seeded = genetic.Settings(population=2, generations=0, elite=1)
    w = dags.topcuoglu()
    assert makespan(genetic.plan(w, board.empty(w), everything(w), seeded)) <= 80.0


@given(st.integers(0, 10**6), st.sampled_from(SHAPES), st.booleans())
@settings(max_examples=20, deadline=None)
def test_it_is_never_worse_than_a_plan_it_knows(seed, shape, underway):
    w = dags.random_dag(seed, 24, 3, 2.0, **{"jobs": 1, **shape})
    b, chosen = in_flight(w) if underway else (board.empty(w), everything(w))
    # Without mutants: these are drawn, and one of them may be lucky.
    none = genetic.Settings(population=4, generations=0, elite=1, mutation=0.0)
    rough = genetic.plan(w, b, chosen, none)
    known = genetic.plan(w, b, chosen, QUICK, seed=seed)
    assert makespan(known) <= makespan(rough)
    shuffled = np.random.default_rng(seed).permutation(len(chosen))
    known = Plan(*(column[shuffled] for column in known))
    assert makespan(genetic.plan(w, b, chosen, none, known=known)) <= makespan(known) + 1e-9


def test_more_generations_help():
    w = dags.random_dag(0, 60, 6)
    short, long = (
        makespan(
            genetic.plan(
                w, board.empty(w), everything(w), genetic.Settings(population=20, generations=g)
            )
        )
        for g in (0, 60)
    )
    assert long < 0.97 * short


def test_the_same_seed_gives_the_same_plan_and_another_does_not():
    w = dags.random_dag(0, 40, 4)
    a, b, c = (genetic.plan(w, board.empty(w), everything(w), QUICK, seed=s) for s in (1, 1, 2))
    assert all((x == y).all() for x, y in zip(a, b, strict=True))
    assert makespan(a) != makespan(c)


def test_the_order_in_which_tasks_are_named_changes_nothing():
    w = dags.random_dag(0, 30, 4)
    some = np.random.default_rng(0).permutation(30)
    for planner in (tdca.plan, lambda *of: genetic.plan(*of, QUICK)):
        a, b = (planner(w, board.empty(w), tasks) for tasks in (everything(w), some))
        assert all((x == y).all() for x, y in zip(a, b, strict=True))


def test_tasks_that_cannot_be_planned_are_refused():
    w = dags.topcuoglu()
    b = board.empty(w)
    for planner in (tdca.plan, genetic.plan):
        with pytest.raises(ConfigError, match="no task to plan"):
            planner(w, b, [])
        with pytest.raises(ConfigError, match="task 9 waits for task 6"):
            planner(w, b, [9])
        ran = Board(np.zeros(10, dtype=np.int32), np.zeros(10), b.lane_node, b.lane_free)
        with pytest.raises(ConfigError, match="has run already"):
            planner(w, ran, [9])
    with pytest.raises(ConfigError, match="other tasks"):
        other = genetic.plan(w, b, [0, 1], QUICK)
        genetic.plan(w, b, everything(w), QUICK, known=other)


@pytest.mark.parametrize(
    "setting", [{"elite": 0}, {"elite": 60}, {"generations": -1}, {"crossover": 1.5}], ids=str
)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        genetic.Settings(**setting)
