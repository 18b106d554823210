import json
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning import dags
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, ToolkitError
from toolkit.schedule import COPY, KILLED, MEASURES, RUN, Schedule
from toolkit.seeding import generator
from toolkit.workload import ALLOCATION, PLACEMENT, Workload, assemble

# Topcuoglu, Hariri and Wu, TPDS 2002, doi:10.1109/71.993206, figure 3a: node and start per task.
HEFT = ((2, 0), (0, 27), (2, 9), (1, 18), (2, 28), (1, 26), (2, 38), (0, 57), (1, 56), (1, 73))
PROCESSORS = Cluster(
    nodes=tuple(Node(name=f"p{m}", cpus=1, memory=1, kind=f"k{m}", bandwidth=1.0) for m in range(3))
)


def of(workload, executions, *, policy="by hand", seed=0, **more):
    """Build a schedule from rows (task, node, start, finish[, kind])."""
    rows = [(*e, RUN) if len(e) == 4 else e for e in executions]
    task, node, start, finish, kind = zip(*rows, strict=True) if rows else [()] * 5
    return Schedule(
        workload=workload,
        policy=policy,
        seed=seed,
        task=np.array(task, dtype=np.int32),
        node=np.array(node, dtype=np.int32),
        start=np.array(start, dtype=np.float64),
        finish=np.array(finish, dtype=np.float64),
        kind=np.array(kind, dtype=np.int32),
        **more,
    )


def example():
    """Return the schedule that the paper which introduced HEFT prints."""
    workload = Workload(
        types=tuple(f"n{i + 1}" for i in range(10)),
        cluster=PROCESSORS,
        arrays=dags.topcuoglu(),
        seed=0,
        labels=tuple(f"n{i + 1}" for i in range(10)),
    )
    cost = dags.TOPCUOGLU_COSTS
    rows = [(i, m, t, t + cost[i][m]) for i, (m, t) in enumerate(HEFT)]
    return of(workload, rows, policy="HEFT")


def simple(jobs=1, tasks=2, *, edges=(), demand=((1, 1, 0),), profiles=None, nodes=None, **more):
    """Return jobs of equal tasks of 10 s; edges ``(parent, child, data)`` are those of each job."""
    cluster = Cluster(
        nodes=nodes
        or tuple(Node(name=f"m{m}", cpus=2, memory=8, gpus=1, bandwidth=1.0) for m in range(2))
    )
    every = [
        (u + job * tasks, v + job * tasks, data) for job in range(jobs) for u, v, data in edges
    ]
    parent_ptr, parents, data = dags.by_child(jobs * tasks, every)
    chosen = np.zeros(tasks, dtype=int) if profiles is None else np.array(profiles)
    arrays = assemble(
        **{
            "family": PLACEMENT,
            "type_of": np.tile(np.arange(tasks), jobs),
            "job_ptr": np.arange(jobs + 1) * tasks,
            "parent_ptr": parent_ptr,
            "parents": parents,
            "data": data,
            "arrival": np.zeros(jobs),
            "scale": np.ones(jobs * tasks),
            "seconds": np.full((tasks, len(cluster.kinds)), 10.0),
            "demand": demand,
            "profile_of_type": chosen,
            "cluster": cluster,
            **more,
        }
    )
    return Workload(types=tuple("abcdefghijkl"[:tasks]), cluster=cluster, arrays=arrays, seed=0)


def planned(workload, seed=0, gap=0.0, policy="random nodes"):
    """Place each task in turn on a random node, as early as inputs and lanes of one cpu allow."""
    w = workload.arrays
    rng = generator(seed, "placed")
    free = [np.zeros(int(room[0])) for room in w.capacity]
    node, finish, rows = {}, {}, []
    for task in range(workload.tasks):
        p = w.profile_of_type[w.type_of[task]]
        fits = [m for m, room in enumerate(w.capacity) if (w.demand[p] <= room).all()]
        m = int(rng.choice(fits))
        ready = w.arrival[w.job_of[task]]
        for e in range(w.parent_ptr[task], w.parent_ptr[task + 1]):
            u = int(w.parents[e])
            moved = w.latency[node[u], m] + w.data[e] / w.bandwidth[node[u], m]
            ready = max(ready, finish[u] + (moved if node[u] != m and w.data[e] else 0.0))
        lane = int(np.argmin(free[m]))
        start = max(ready, free[m][lane]) + gap
        node[task] = m
        finish[task] = free[m][lane] = (
            start + w.seconds[w.type_of[task], w.column[m]] * w.scale[task]
        )
        rows.append((task, m, start, finish[task]))
    return of(workload, rows, policy=policy, seed=seed)


def test_the_schedule_that_introduced_heft_has_the_published_measures():
    measures = example().measures()
    assert list(measures) == list(MEASURES)
    assert measures["makespan"] == 80
    assert measures["path"] == 41
    assert measures["slr"] == pytest.approx(80 / 41)
    assert measures["speedup"] == pytest.approx(127 / 80)
    assert measures["response"] == measures["completion_mean"] == measures["completion_p95"] == 80
    busy = 13 + 5 + (8 + 16 + 12 + 7) + (9 + 19 + 10 + 11)
    assert measures["utilisation"] == pytest.approx(busy / 240)
    assert measures["wasted"] == 0


def test_true_durations_take_the_place_of_estimates():
    given_ = example().measures(2.0 * np.array(dags.TOPCUOGLU_COSTS))
    assert (given_["path"], given_["speedup"]) == (82, pytest.approx(254 / 80))
    with pytest.raises(ConfigError, match=r"durations must have shape \[10, 3\]"):
        example().measures(np.ones((10, 2)))


def test_makespan_counts_from_the_first_start_and_response_from_the_first_arrival():
    workload = simple(jobs=2, tasks=1, arrival=[5.0, 10.0])
    measures = of(workload, [(0, 0, 7, 17), (1, 0, 10, 40)]).measures()
    assert (measures["makespan"], measures["response"]) == (33, 35)
    assert measures["completion_mean"] == (12 + 30) / 2
    assert measures["completion_p95"] == pytest.approx(12 + 0.95 * 18)


def test_work_that_does_not_count_is_wasted_and_not_busy():
    workload = simple(tasks=2, edges=[(0, 1, 5.0)])
    rows = [(0, 0, 0, 10), (0, 1, 0, 6, KILLED), (0, 1, 6, 16, COPY), (1, 1, 16, 26)]
    schedule = of(workload, rows)
    schedule.check()
    measures = schedule.measures()
    assert measures["utilisation"] == pytest.approx(20 / (4 * 26))
    assert measures["wasted"] == pytest.approx(16 / 36)


def test_a_task_takes_the_share_that_it_asks_of_what_its_node_runs_short_of():
    workload = simple(
        tasks=3,
        demand=[(1, 1, 0), (4, 1, 0)],
        profiles=[0, 0, 1],
        nodes=(Node(name="m", cpus=4, memory=9), Node(name="n", cpus=8, memory=9)),
    )
    schedule = of(workload, [(0, 0, 0, 10), (1, 1, 0, 10), (2, 0, 10, 20)])
    assert schedule.shares().tolist() == [0.25, 0.125, 1.0]
    assert schedule.measures()["utilisation"] == pytest.approx((10 + 10 + 40) / (12 * 20))


def test_speedup_leaves_out_nodes_that_cannot_hold_every_task():
    small, large = Node(name="s", cpus=1, memory=1), Node(name="l", cpus=1, memory=4, kind="slow")
    demand, profiles, seconds = [(1, 1, 0), (1, 4, 0)], [0, 1], [[1.0, 3.0], [1.0, 3.0]]
    both = simple(demand=demand, profiles=profiles, nodes=(small, large), seconds=seconds)
    measures = of(both, [(0, 0, 0, 1), (1, 1, 0, 3)]).measures()
    assert (measures["speedup"], measures["path"]) == (2.0, 3.0)
    gpu = Node(name="g", cpus=0, memory=1, gpus=1, kind="slow")
    none = simple(
        demand=[(1, 1, 0), (0, 1, 1)], profiles=[0, 1], nodes=(small, gpu), seconds=seconds
    )
    assert isnan(of(none, [(0, 0, 0, 1), (1, 1, 0, 3)]).measures()["speedup"])


def test_what_a_policy_chose_must_be_named_and_counts():
    types = {"family": ALLOCATION, "by_profile": True, "profiles": [-1, -1]}
    workload = simple(demand=[(1, 1, 0), (2, 1, 0)], seconds=[[8.0, 4.0], [8.0, 4.0]], **types)
    rows = [(0, 0, 0, 8), (1, 0, 8, 12)]
    with pytest.raises(ConfigError, match="must name them"):
        of(workload, rows)
    schedule = of(workload, rows, profile=np.array([0, 1]))
    schedule.check()
    assert schedule.measures()["path"] == 8
    assert schedule.shares().tolist() == [0.5, 1.0]
    with pytest.raises(ToolkitError, match="2 cpus, and 3 would"):
        of(workload, [(0, 0, 0, 8), (1, 0, 7, 11)], profile=np.array([0, 1])).check()


def test_the_published_schedule_could_have_been():
    example().check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"finish": (9, 72.0)}, "'n10' of job 0 starts on node 'p1' at 73 s, but finishes at 72 s"),
        ({"task": (3, 4)}, "task 'n4' of job 0 did not run"),
        ({"kind": (3, KILLED)}, "task 'n4' of job 0 did not run"),
        ({"start": (0, -1.0)}, "starts on node 'p2' at -1 s, before its job arrives at 0 s"),
        (
            {"start": (8, 55.0)},
            "'n9' of job 0 starts on node 'p1' at 55 s, before the data of its parent 'n2' are "
            "there at 56 s: the parent finishes on node 'p0' at 40 s",
        ),
        (
            {"finish": (3, 27.0)},
            "'n6' .* at 26 s, where it finds no room: the node has 1 cpus",
        ),
    ],
)
def test_each_way_to_be_impossible_is_named(change, message):
    schedule = example()
    arrays = {k: getattr(schedule, k).copy() for k in ("task", "node", "start", "finish", "kind")}
    for name, (at, value) in change.items():
        arrays[name][at] = value
    with pytest.raises(ToolkitError, match=message):
        Schedule(workload=schedule.workload, policy="", seed=0, **arrays).check()


def test_a_task_that_runs_twice_is_named():
    with pytest.raises(ToolkitError, match="'a-0' of job 0 ran 2 times"):
        of(simple(tasks=1), [(0, 0, 0, 10), (0, 1, 0, 10)]).check()


def test_the_violation_that_comes_first_in_time_is_the_one_named():
    workload = simple(jobs=1, tasks=8)
    rows = [(t, t // 4, 5 - 5 * (t // 4), 20) for t in range(8)]
    with pytest.raises(ToolkitError, match="'g-6' of job 0 starts on node 'm1' at 0 s"):
        of(workload, rows).check()


def test_data_may_come_from_a_copy_on_any_node_but_never_from_a_killed_attempt():
    workload = simple(tasks=2, edges=[(0, 1, 5.0)])
    parent, child = (0, 0, 0, 10), (1, 1, 12, 22)
    with pytest.raises(ToolkitError, match=r"are there at 15 s: the parent finishes on node 'm0'"):
        of(workload, [parent, child]).check()
    of(workload, [parent, child, (0, 1, 0, 11, COPY)]).check()
    of(workload, [(0, 0, 0, 30), (0, 1, 0, 7, COPY), (1, 0, 12, 22)]).check()
    with pytest.raises(ToolkitError, match="before the data"):
        of(workload, [parent, child, (0, 1, 0, 11, KILLED)]).check()


def test_a_copy_needs_the_inputs_of_its_task_too():
    workload = simple(tasks=3, edges=[(0, 1, 5.0), (1, 2, 50.0)])
    rows = [(0, 0, 0, 10), (1, 0, 10, 20), (1, 1, 12, 22, COPY), (2, 1, 22, 32)]
    with pytest.raises(ToolkitError, match="the copy of task 'b-1' of job 0 starts on node 'm1'"):
        of(workload, rows).check()


@pytest.mark.parametrize(
    ("demand", "what"), [((1, 5, 0), "8 bytes of memory, and 10"), ((0.5, 1, 1), "1 gpus, and 2")]
)
def test_every_resource_is_limited(demand, what):
    workload = simple(demand=[demand])
    of(workload, [(0, 0, 0, 10), (1, 1, 0, 10)]).check()
    with pytest.raises(ToolkitError, match=what):
        of(workload, [(0, 0, 0, 10), (1, 0, 9, 19)]).check()


def test_rounding_is_forgiven_and_more_is_not():
    workload = simple(tasks=2, edges=[(0, 1, 0.0)], demand=[(2, 1, 0)])
    end = 0.1 + 0.2  # the next number above 0.3
    of(workload, [(0, 0, 0.1, end), (1, 0, 0.3, 0.9)]).check()
    with pytest.raises(ToolkitError, match="before the data"):
        of(workload, [(0, 0, 0.1, end), (1, 0, 0.3 - 1e-6, 0.9)]).check()


def test_tenths_of_cpus_fill_a_node_and_not_more():
    tenths = {"demand": [(0.1, 1, 0)], "nodes": (Node(name="m", cpus=1, memory=99),)}
    of(simple(tasks=10, **tenths), [(t, 0, 0, 10) for t in range(10)]).check()
    with pytest.raises(ToolkitError, match="no room"):
        of(simple(tasks=11, **tenths), [(t, 0, 0, 10) for t in range(11)]).check()


executions = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 6), st.integers(0, 2)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(drawn=executions)
def test_room_is_judged_as_instant_by_instant_counting_judges_it(drawn):
    workload = WIDE
    w = workload.arrays
    rows = [(t, m, s, s + d) for t, (m, s, d, _) in enumerate(drawn)]
    rows += [(t, 0, 100 + t, 100 + t) for t in range(len(drawn), workload.tasks)]
    profile = np.array([p for *_, p in drawn] + [0] * (workload.tasks - len(drawn)))
    schedule = of(workload, rows, profile=profile)
    holds = all(
        sum(w.demand[profile[t], r] for t, m, s, f in rows if m == node and s <= now < f)
        <= w.capacity[node, r]
        for node in range(2)
        for now in range(20)
        for r in range(3)
    )
    if holds:
        schedule.check()
    else:
        with pytest.raises(ToolkitError, match="no room"):
            schedule.check()
    # Lanes as drawn: no overlap within a row, and no more rows than ever run at once.
    row = schedule.rows()
    for node in range(2):
        mine = [x for x in range(len(drawn)) if drawn[x][0] == node and drawn[x][2] > 0]
        for x in mine:
            for y in mine:
                if x < y and row[x] == row[y]:
                    assert rows[x][3] <= rows[y][2] or rows[y][3] <= rows[x][2]


WIDE = simple(tasks=12, demand=[(1, 2, 0), (2, 1, 0), (1, 3, 1)])


def test_rows_are_as_many_as_run_at_once():
    workload = simple(tasks=5, nodes=(Node(name="m", cpus=9, memory=9),))
    rows = [(0, 0, 0, 4), (1, 0, 1, 3), (2, 0, 3, 5), (3, 0, 4, 6), (4, 0, 4.5, 5)]
    assert of(workload, rows).rows().tolist() == [0, 1, 1, 0, 2]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_task_of_a_tight_schedule_can_be_moved_forward(seed):
    arrays = dags.random_dag(seed, 24, 3, jobs=2, latency=0.5)
    nodes = tuple(Node(name=f"p{m}", cpus=1, memory=4, kind=f"k{m}") for m in range(3))
    workload = Workload(
        types=tuple(f"t{i}" for i in range(24)),
        cluster=Cluster(nodes=nodes),
        arrays=arrays,
        seed=seed,
    )
    schedule = planned(workload, seed)
    schedule.check()
    inputs = schedule.inputs()
    assert (inputs.ready <= schedule.start[inputs.execution] * (1 + 1e-9)).all()
    at = seed % 24
    start = schedule.start.copy()
    start[at] -= 1e-3
    moved = Schedule(
        workload=workload,
        policy="",
        seed=0,
        task=schedule.task,
        node=schedule.node,
        start=start,
        finish=schedule.finish,
        kind=schedule.kind,
    )
    with pytest.raises(ToolkitError, match=r"before its job|before the data|no room"):
        moved.check()


def test_arrays_that_are_no_schedule_are_refused():
    workload = simple(tasks=2)
    with pytest.raises(ConfigError, match="node must lie in 0…1, got 2 in execution 1"):
        of(workload, [(0, 0, 0, 1), (1, 2, 0, 1)])
    with pytest.raises(ConfigError, match="finish must be finite, got nan in execution 0"):
        of(workload, [(0, 0, 0, np.nan), (1, 1, 0, 1)])
    with pytest.raises(ConfigError, match="profile must have shape"):
        of(workload, [(0, 0, 0, 1), (1, 1, 0, 1)], profile=np.array([0]))
    with pytest.raises(ToolkitError, match="did not run"):
        of(workload, []).measures()


def test_the_document_says_what_ran_where_and_is_plain_json():
    schedule = example()
    document = json.loads(json.dumps(schedule.to_dict(), allow_nan=False))
    assert document["policy"] == "HEFT"
    assert document["measures"]["makespan"] == 80
    assert [n["name"] for n in document["nodes"]] == ["p0", "p1", "p2"]
    assert document["nodes"][0] == {"name": "p0", "cpus": 1, "memory": 1, "gpus": 0, "lanes": 1}
    assert document["tasks"][0] == {
        "label": "n1",
        "job": 0,
        "type": "n1",
        "node": "p2",
        "start": 0,
        "finish": 9,
        "kind": "run",
    }
    starts = [t["start"] for t in document["tasks"]]
    assert starts == sorted(starts) and len(starts) == 10
