import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.dags import (
    TOPCUOGLU_COSTS,
    TOPCUOGLU_EDGES,
    arabnejad,
    figure2,
    graph,
    instance,
    random_dag,
    topcuoglu,
)
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, ToolkitError
from toolkit.planning import cpop, heft, lookahead, peft
from toolkit.planning.board import Board, empty
from toolkit.seeding import generator
from toolkit.workload import MEAN_COST, MEAN_LATENCY, PLACEMENT, assemble, fits, moving, seconds_on

PLANNERS = (heft.plan, cpop.plan, peft.plan, lookahead.plan)


def makespan(plan):
    return float(plan.finish.max())


def lanes_by_task(plan):
    return plan.lane[np.argsort(plan.task)].tolist()


# What the algorithms are, in the plainest words: every booking is kept, every lane is asked.


class Slow:
    def __init__(self, w, board):
        self.w, self.board = w, board
        self.node, self.finish = board.node.tolist(), board.finish.tolist()
        self.booked = [[] for _ in board.lane_node]
        self.rows = []

    def edges(self, task):
        return range(self.w.parent_ptr[task], self.w.parent_ptr[task + 1])

    def children(self, task, among):
        first, last = self.w.child_ptr[task], self.w.child_ptr[task + 1]
        return [int(c) for c in self.w.children[first:last] if c in among]

    def parents(self, task, among):
        return [(int(self.w.parents[e]), e) for e in self.edges(task) if self.w.parents[e] in among]

    def mean_moving(self, edge):
        sent = self.w.data[edge]
        return self.w.numbers[MEAN_LATENCY] + sent * self.w.numbers[MEAN_COST] if sent > 0 else 0.0

    def nodes(self, task):
        return [m for m in range(len(self.w.capacity)) if fits(self.w, task, m)]

    def slot(self, task, lane, insertion=True):
        """Return (finish, start) of a task on a lane; parents without a node do not count."""
        m = int(self.board.lane_node[lane])
        if m not in self.nodes(task):
            return np.inf, np.inf
        took = seconds_on(self.w, task, m)
        ready = -np.inf
        for e in self.edges(task):
            p = self.w.parents[e]
            if self.node[p] >= 0:
                ready = max(ready, self.finish[p] + moving(self.w, e, self.node[p], m))
        idle = float(self.board.lane_free[lane])
        for start, finish in sorted(self.booked[lane]):
            if insertion and max(ready, idle) + took <= start:
                break
            idle = max(idle, finish)
        return max(ready, idle) + took, max(ready, idle)

    def put(self, task, lane, insertion=True):
        finish, start = self.slot(task, lane, insertion)
        self.booked[lane].append((start, finish))
        self.node[task], self.finish[task] = int(self.board.lane_node[lane]), finish
        self.rows.append((task, lane, start, finish))
        return finish

    def lanes(self):
        return range(len(self.booked))

    def put_earliest(self, task, lanes=None, insertion=True):
        among = self.lanes() if lanes is None else lanes
        lane = min(among, key=lambda ln: (self.slot(task, ln, insertion)[0], ln))
        return self.put(task, lane, insertion)


def slow_heft(w, board, tasks, insertion=True):
    s = Slow(w, board)
    for task in tasks:
        s.put_earliest(int(task), insertion=insertion)
    return s.rows


def by_priority(s, tasks, priority, place):
    left = set(tasks)
    while left:
        ready = [t for t in left if not s.parents(t, left)]
        task = min(ready, key=lambda t: (-priority[t], t))
        place(task)
        left.remove(task)
    return s.rows


def slow_cpop(w, board, tasks):
    s, tasks = Slow(w, board), [int(t) for t in tasks]
    mean, down = w.mean_seconds[w.type_of] * w.scale, {}
    for t in tasks:
        ways = [down[p] + mean[p] + s.mean_moving(e) for p, e in s.parents(t, down)]
        down[t] = max(ways, default=0.0)
    task = min((t for t in tasks if not s.parents(t, tasks)), key=lambda t: (-w.rank[t], t))
    path = [task]
    while heirs := s.children(task, tasks):
        onward = {
            c: s.mean_moving(e) + w.rank[c]
            for c in heirs
            for p, e in s.parents(c, [task])
            if p >= 0
        }
        task = min(heirs, key=lambda c: (-onward[c], c))
        path.append(task)

    def burden(m):
        held = [t for t in path if fits(w, t, m)]
        return len(path) - len(held), sum(seconds_on(w, t, m) for t in held), m

    home = min(set(board.lane_node.tolist()), key=burden)

    def place(t):
        at_home = t in path and fits(w, t, home)
        s.put_earliest(t, [ln for ln in s.lanes() if not at_home or board.lane_node[ln] == home])

    return by_priority(s, tasks, {t: w.rank[t] + down[t] for t in tasks}, place)


def slow_peft(w, board, tasks):
    s, tasks = Slow(w, board), [int(t) for t in tasks]
    usable = set(board.lane_node.tolist())
    table, rank = {}, {}
    for t in reversed(tasks):
        for m in range(len(w.capacity)):
            table[t, m] = 0.0
            for c in s.children(t, tasks):
                ((_, e),) = s.parents(c, [t])
                ways = [
                    table[c, q] + seconds_on(w, c, q) + (0.0 if q == m else s.mean_moving(e))
                    for q in s.nodes(c)
                    if q in usable
                ]
                table[t, m] = max(table[t, m], min(ways))
        total, mine = 0.0, [m for m in s.nodes(t) if m in usable]
        for m in mine:
            total += table[t, m]
        rank[t] = total / len(mine)

    def place(t):
        ahead = [table[t, int(m)] for m in board.lane_node]
        s.put(t, min(s.lanes(), key=lambda ln: (s.slot(t, ln)[0] + ahead[ln], ln)))

    return by_priority(s, tasks, rank, place)


def slow_lookahead(w, board, tasks):
    s, order = Slow(w, board), sorted((int(t) for t in tasks), key=lambda t: (-w.rank[t], t))
    for t in order:
        best = None
        for m in sorted(set(board.lane_node.tolist()) & set(s.nodes(t))):
            trial = copy.copy(s)
            trial.node, trial.finish, trial.rows = s.node[:], s.finish[:], []
            trial.booked = [b[:] for b in s.booked]
            lanes = [ln for ln in s.lanes() if board.lane_node[ln] == m]
            own = trial.put_earliest(t, lanes)
            ends = [trial.put_earliest(c) for c in order if c in s.children(t, order)]
            if best is None or (max(ends, default=own), own) < best[:2]:
                best = max(ends, default=own), own, lanes
        s.put_earliest(t, best[2])
    return s.rows


SLOW = {
    heft.plan: slow_heft,
    cpop.plan: slow_cpop,
    peft.plan: slow_peft,
    lookahead.plan: slow_lookahead,
}


def rows(plan):
    columns = (plan.task.tolist(), plan.lane.tolist(), plan.start.tolist(), plan.finish.tolist())
    return list(zip(*columns, strict=True))


shapes = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "tasks": st.integers(1, 30),
        "nodes": st.integers(1, 4),
        "ccr": st.sampled_from([0.0, 0.5, 1.0, 5.0]),
        "lanes": st.integers(1, 3),
        "latency": st.sampled_from([0.0, 1.0]),
        "tight": st.booleans(),
        "idle": st.sampled_from([0.0, 0.3]),
        "whole": st.booleans(),
    }
)


def in_flight(w, seed):
    """Return a board on which a part of the work has started, and the tasks still to plan.

    Half the time the first node is gone by then.
    """
    board, rng = empty(w), generator(seed, "board")
    at = float(rng.uniform(0.0, 1.0)) * makespan(heft.heft(w))
    started = [r for r in rows(heft.heft(w)) if r[2] < at]
    node, finish = board.node.copy(), board.finish.copy()
    lane_free = np.full(len(board.lane_node), at)
    for task, lane, _, end in started:
        node[task], finish[task] = board.lane_node[lane], end
        lane_free[lane] = max(lane_free[lane], end)
    left = heft.merged(w)[node[heft.merged(w)] < 0]
    there = board.lane_node >= (len(w.capacity) > 1 and rng.integers(2))
    return Board(node, finish, board.lane_node[there], lane_free[there]), left


def check(w, board, tasks, plan):
    """Assert all that any plan must keep."""
    assert sorted(plan.task.tolist()) == sorted(tasks.tolist())
    node, finish = board.node.copy(), board.finish.copy()
    for task, lane, start, end in rows(plan):
        node[task], finish[task] = board.lane_node[lane], end
        assert fits(w, task, node[task])
        assert end == start + seconds_on(w, task, node[task])
        assert start >= board.lane_free[lane]
    for task, _, start, _ in rows(plan):
        for e in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            p = w.parents[e]
            assert start >= finish[p] + moving(w, e, node[p], node[task])
    for lane in range(len(board.lane_node)):
        spans = sorted((s, f) for _, ln, s, f in rows(plan) if ln == lane)
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert start >= end


# Worked examples


def test_heft_makes_the_schedule_that_its_paper_prints():
    plan = heft.heft(topcuoglu())
    assert makespan(plan) == 80
    assert lanes_by_task(plan) == [2, 0, 2, 1, 2, 1, 2, 0, 1, 1]
    other = graph(TOPCUOGLU_COSTS, TOPCUOGLU_EDGES, mean_link="unordered_pairs_with_self")
    assert makespan(heft.heft(other)) == 80


def test_cpop_makes_the_schedule_that_its_paper_prints():
    plan = cpop.cpop(topcuoglu())
    assert makespan(plan) == 86
    critical = [0, 1, 8, 9]
    assert [lanes_by_task(plan)[t] for t in critical] == [1, 1, 1, 1]


def test_what_the_node_of_the_critical_path_cannot_hold_goes_elsewhere():
    nodes = (
        Node(name="gpu", cpus=1, memory=1, gpus=1, kind="gpu", bandwidth=1.0),
        Node(name="cpu", cpus=2, memory=1, kind="cpu", bandwidth=1.0),
    )
    w = assemble(
        family=PLACEMENT,
        type_of=[0, 1, 0],
        job_ptr=[0, 3],
        parent_ptr=[0, 0, 1, 2],
        parents=[0, 1],
        data=[2.0, 2.0],
        arrival=[0.0],
        scale=np.ones(3),
        seconds=[[9.0, 1.0], [3.0, 1.0]],
        demand=[[2, 1, 0], [1, 1, 1]],
        profile_of_type=np.arange(2),
        cluster=Cluster(nodes=nodes),
    )
    board = Board(
        node=np.full(3, -1),
        finish=np.full(3, np.nan),
        lane_node=np.arange(2),
        lane_free=np.zeros(2),
    )
    # Two of three fit the second node, one the first.
    plan = cpop.plan(w, board, [0, 1, 2])
    assert rows(plan) == [(0, 1, 0.0, 1.0), (1, 0, 3.0, 6.0), (2, 1, 8.0, 9.0)]


def test_heft_needs_85_for_figure_2():
    assert makespan(heft.heft(figure2())) == 85


def test_the_example_of_peft_has_the_three_lengths_that_its_paper_prints():
    w = arabnejad()
    lengths = [makespan(f(w)) for f in (heft.heft, peft.peft, lookahead.lookahead)]
    assert lengths == [133, 122, 127]


def test_the_optimistic_cost_table_is_that_of_the_paper():
    tasks = np.arange(10, dtype=np.int32)
    lanes = np.arange(3, dtype=np.int32)
    table, rank = peft.optimistic_costs(arabnejad(), lanes, tasks, cpop.places(tasks, 10))
    assert table[0].tolist() == [64, 68, 86]
    assert table[4].tolist() == [28, 37, 28]
    np.testing.assert_allclose(rank, [72.7, 41, 37, 43.7, 31, 41.7, 17, 20.7, 16.3, 0], atol=0.05)


def test_nodes_without_lanes_have_no_part_in_the_optimistic_cost():
    tasks = np.arange(10, dtype=np.int32)
    lanes = np.array([1, 2], dtype=np.int32)
    table, rank = peft.optimistic_costs(arabnejad(), lanes, tasks, cpop.places(tasks, 10))
    # Task 9 takes 16 on the second node and 33 on the third, its data from task 6 take 9.
    assert table[6, 1:].tolist() == [16, 25]
    assert rank[6] == 20.5


def test_of_two_critical_paths_cpop_takes_that_of_the_lower_task():
    w = graph([[2.0, 3.0]] * 4, [(0, 1, 0.5), (0, 2, 0.5), (1, 3, 0.5), (2, 3, 0.5)])
    assert rows(cpop.cpop(w))[:3] == [(0, 0, 0.0, 2.0), (1, 0, 2.0, 4.0), (2, 1, 2.5, 5.5)]


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("dag_n20_m8_s0", 228.5),
        ("dag_n100_m8_s0", 820.5),
        ("dag_n150_m8_s0", 898.3),
        ("dag_n1000_m8_s0", 5178.9),
    ],
)
def test_heft_meets_the_published_length(name, length):
    assert makespan(heft.heft(instance(name))) == pytest.approx(length, abs=0.05)


def test_peft_meets_the_length_of_another_implementation():
    assert makespan(peft.peft(instance("dag_n20_m8_s0"))) == pytest.approx(219.8, abs=0.05)


# Against the slow reading


@pytest.mark.parametrize("planner", PLANNERS)
@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_the_plan_is_that_of_the_slow_reading(planner, shape):
    w = random_dag(**shape)
    board, left = in_flight(w, shape["seed"])
    tasks = left if planner is heft.plan else np.sort(left)
    if len(tasks) > 0:
        assert rows(planner(w, board, tasks)) == SLOW[planner](w, board, tasks)


@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_without_insertion_a_lane_runs_tasks_in_the_order_of_planning(shape):
    w = random_dag(**shape)
    board, left = in_flight(w, shape["seed"])
    assert rows(heft.plan(w, board, left, insertion=False)) == slow_heft(
        w, board, left, insertion=False
    )


def scattered(seed, tasks, longest, spread, children=False, whole=False):
    """Return tasks whose parents ended at random times, and the board for that.

    The two lanes get far more gaps than a block has. Where there are ``children``, every two
    tasks have one, and it may take as long as the longest gap.
    """
    rng = generator(seed, "scattered")
    last = tasks + tasks // 2 * children
    edges = [(i, tasks + i, 0.0) for i in range(tasks)]
    edges += [(tasks + i, 2 * tasks + i // 2, 5.0) for i in range(2 * (last - tasks))]
    costs = rng.uniform(0.5, longest, (tasks + last, 2))
    ends = rng.uniform(0.0, spread * tasks, tasks)
    if whole:
        costs, ends = np.ceil(costs), np.ceil(ends)
    w = graph(costs, edges)
    board = empty(w)
    board.node[:tasks] = 0
    board.finish[:tasks] = ends
    return w, board, np.arange(tasks, tasks + last, dtype=np.int32)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("seed", "longest"), [(0, 3.0), (1, 20.0)])
def test_hundreds_of_gaps_are_searched_as_the_slow_reading_does(seed, longest, whole):
    w, board, tasks = scattered(seed, 300, longest, 3.0, whole=whole)
    assert rows(heft.plan(w, board, tasks)) == slow_heft(w, board, tasks)


@pytest.mark.parametrize("whole", [False, True])
def test_what_lookahead_tries_among_many_gaps_leaves_no_trace(whole):
    w, board, tasks = scattered(2, 80, 8.0, 4.0, children=True, whole=whole)
    assert rows(lookahead.plan(w, board, tasks)) == slow_lookahead(w, board, tasks)


# What holds for every plan


@pytest.mark.parametrize("planner", PLANNERS)
@settings(max_examples=40, deadline=None)
@given(shape=shapes, jobs=st.integers(1, 4))
def test_plans_keep_lanes_transfers_memory_and_the_board(planner, shape, jobs):
    w = random_dag(**{**shape, "tasks": 3 * shape["tasks"]}, jobs=jobs)
    board, left = in_flight(w, shape["seed"])
    before = copy.deepcopy(board)
    plan = planner(w, board, left)
    check(w, board, left, plan)
    assert rows(planner(w, board, left)) == rows(plan)
    for mine, theirs in zip(board, before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_thousand_tasks_are_planned_within_all_limits(planner):
    w = random_dag(5, 1000, 8, lanes=2, jobs=10, latency=0.2, tight=True, idle=0.05)
    board = empty(w)
    tasks = heft.merged(w)
    check(w, board, tasks, planner(w, board, tasks))


def test_the_kernel_leaves_the_board_as_it_was_even_when_it_gets_stuck():
    w = topcuoglu()
    board = empty(w)
    board.finish[:] = np.arange(10)
    order = np.array([0, 1, 2, 9], dtype=np.int32)
    lane, start, finish, stuck = heft.schedule(
        w, board.node, board.finish, board.lane_node, board.lane_free, order, True
    )
    assert stuck == 9
    assert lane[-1] == -1 and np.isnan(start[-1]) and np.isnan(finish[-1])
    assert np.all(lane[:3] >= 0)
    assert board.node.tolist() == [-1] * 10
    assert board.finish.tolist() == list(range(10))


def test_a_task_of_no_length_fits_between_two_that_touch():
    w = graph([[3.0], [5.0], [0.0]], [(0, 2, 0.0)])
    plan = heft.plan(w, empty(w), [0, 1, 2])
    assert rows(plan) == [(0, 0, 0.0, 3.0), (1, 0, 3.0, 8.0), (2, 0, 3.0, 3.0)]


def test_equal_lanes_are_taken_from_the_lowest():
    w = graph([[2.0, 2.0, 2.0]] * 3, [])
    assert lanes_by_task(heft.heft(w)) == [0, 1, 2]


def test_a_lane_that_is_busy_is_left_to_those_that_wait_for_nothing_else():
    w = graph([[2.0, 5.0]], [])
    board = empty(w)
    assert lanes_by_task(heft.plan(w, board, [0])) == [0]
    board.lane_free[0] = 3.5
    plan = heft.plan(w, board, [0])
    assert rows(plan) == [(0, 1, 0.0, 5.0)]


# Orders


def test_merged_puts_parents_first_even_where_nothing_takes_time():
    w = graph(np.zeros((6, 2)), [(0, 3, 0.0), (3, 4, 0.0), (1, 4, 0.0), (4, 5, 0.0)])
    assert heft.merged(w).tolist() == [0, 1, 2, 3, 4, 5]


def test_jobs_come_by_arrival_and_their_tasks_by_rank():
    w = random_dag(3, 30, 3, jobs=3)
    order = heft.job_by_job(w)
    assert w.job_of[order].tolist() == sorted(w.job_of.tolist())
    for job in range(3):
        ranks = w.rank[order[w.job_of[order] == job]]
        assert np.all(np.diff(ranks) <= 0)
    assert np.all(np.diff(w.rank[heft.merged(w)]) <= 0)
    assert heft.merged(w).tolist() != order.tolist()


# Mistakes


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_parent_that_is_nowhere_is_an_error(planner):
    w = topcuoglu()
    with pytest.raises(ToolkitError, match="parent 0 is neither on the board"):
        planner(w, empty(w), [1])


def test_a_child_before_its_parent_is_an_error():
    w = topcuoglu()
    with pytest.raises(ToolkitError, match="parent 0 is neither on the board"):
        heft.plan(w, empty(w), [1, 0])


def test_a_task_twice_is_an_error():
    w = topcuoglu()
    with pytest.raises(ToolkitError, match="task 0 is to be planned more than once"):
        heft.plan(w, empty(w), [0, 0])


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_task_that_has_started_is_an_error(planner):
    w = topcuoglu()
    board = empty(w)
    board.node[0], board.finish[0] = 1, 4.0
    with pytest.raises(ToolkitError, match="task 0 is to be planned, but it is on the board"):
        planner(w, board, [0, 1])


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_child_that_has_started_before_its_parent_is_an_error(planner):
    w = topcuoglu()
    board = empty(w)
    board.node[1], board.finish[1] = 1, 4.0
    with pytest.raises(ToolkitError, match="task 1 is to be planned, but it is on the board"):
        planner(w, board, [0, 1])


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_task_that_no_lane_can_hold_is_an_error(planner):
    nodes = (Node(name="a", cpus=1, memory=1), Node(name="b", cpus=1, memory=9))
    w = assemble(
        family=PLACEMENT,
        type_of=[0],
        job_ptr=[0, 1],
        parent_ptr=[0, 0],
        parents=[],
        data=[],
        arrival=[0.0],
        scale=[1.0],
        seconds=[[1.0]],
        demand=[[1, 5, 0]],
        profile_of_type=np.zeros(1, dtype=np.int32),
        cluster=Cluster(nodes=nodes),
    )
    board = empty(w)
    assert lanes_by_task(planner(w, board, [0])) == [1]
    with pytest.raises(ToolkitError, match="no lane of the board"):
        planner(w, board._replace(lane_node=board.lane_node[:1], lane_free=np.zeros(1)), [0])


@pytest.mark.parametrize("tasks", [[-1], [10], [[0, 1]]])
def test_tasks_that_do_not_exist_are_an_error(tasks):
    w = topcuoglu()
    with pytest.raises(ConfigError, match="tasks must"):
        heft.plan(w, empty(w), tasks)


def test_tasks_without_a_profile_of_their_own_are_an_error():
    w = topcuoglu()
    w.profile_of_type[3] = -1
    with pytest.raises(ConfigError, match="type 3"):
        heft.plan(w, empty(topcuoglu()), [0, 3])


@pytest.mark.parametrize("planner", PLANNERS)
def test_nothing_to_plan_gives_an_empty_plan(planner):
    w = topcuoglu()
    assert rows(planner(w, empty(w), [])) == []
