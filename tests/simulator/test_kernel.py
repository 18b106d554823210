"""The kernel against a plain oracle, step by step, in every family and with everything going wrong.

Both are asked the same questions and given the same answers; at every decision the legal choices
must be equal, and what the state keeps running must equal a recount of what it keeps at rest.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator import oracle, random_scenes
from tests.simulator.random_scenes import HORIZON
from toolkit.cluster import Cluster, Node
from toolkit.decision import decide
from toolkit.errors import ToolkitError
from toolkit.schedule import COPY, KILLED, RUN, Schedule
from toolkit.seeding import generator
from toolkit.simulator import kernel, state
from toolkit.simulator.simulator import Truth, scene_of
from toolkit.simulator.state import (
    ASK_FLEET,
    ASK_NODE,
    ASK_PROFILE,
    ASK_TASK,
    BATCH,
    CLOSED,
    DONE,
    LOST,
    N_DONE,
    N_RUNNING,
    N_WAITING,
    PICKED,
    POSITION,
    PRESENT,
    RETURNED,
    RUNNING,
    STAGE,
    USED_CPUS,
    USED_MEMORY,
    WAITING,
    WAITING_SCALE,
)
from toolkit.workload import (
    ALLOCATION,
    CONFIGURATION,
    CPUS,
    DUPLICATE,
    IN_FLIGHT,
    MEMORY,
    PLACEMENT,
    Workload,
    assemble,
)

STAGES = {ASK_TASK: "task", ASK_NODE: "node", ASK_PROFILE: "profile", ASK_FLEET: "fleet"}
STATUS = ("blocked", "waiting", "running", "done")

seeds = st.integers(0, 2**20)
disturbances = st.integers(0, 6)
in_flight = st.sampled_from([0, 0, 1, 2])

placements = st.builds(
    random_scenes.placement,
    seeds,
    jobs=st.integers(1, 4),
    tasks=st.integers(1, 7),
    nodes=st.integers(1, 4),
    grid=st.booleans(),
    outages=disturbances,
    pull=st.booleans(),
    duplicate=st.booleans(),
    in_flight=in_flight,
)
allocations = st.builds(
    random_scenes.allocation,
    seeds,
    jobs=st.integers(1, 5),
    tasks=st.integers(1, 6),
    nodes=st.integers(1, 3),
    grid=st.booleans(),
    outages=disturbances,
    in_flight=in_flight,
)
configurations = st.builds(
    random_scenes.configuration,
    seeds,
    jobs=st.integers(1, 4),
    tasks=st.integers(1, 7),
    hosts=st.integers(1, 2),
    grid=st.booleans(),
    outages=disturbances,
    in_flight=in_flight,
)
alone = st.one_of(placements, allocations, configurations)
crowds = st.one_of(
    *(
        st.builds(
            family,
            seeds,
            jobs=st.integers(1, 4),
            tasks=st.integers(1, 6),
            grid=st.booleans(),
            outages=disturbances,
            in_flight=in_flight,
            crowded=st.just(True),
        )
        for family in (
            random_scenes.placement,
            random_scenes.allocation,
            random_scenes.configuration,
        )
    )
)
every_family = st.one_of(placements, allocations, configurations, crowds)


def asked(scene):
    """Stage and subject of the choice that is due in the kernel."""
    cursor = scene.state.cursor
    stage = int(cursor[STAGE])
    subject = {
        ASK_TASK: -1,
        ASK_NODE: int(cursor[PICKED]),
        ASK_PROFILE: int(scene.workload.arrays.order[cursor[POSITION]]),
        ASK_FLEET: int(cursor[BATCH]),
    }[stage]
    return STAGES[stage], subject


def decisions(scene):
    """Let time pass in the kernel and yield wherever a choice is due."""
    s = scene.state
    while not s.done and s.time[0] < HORIZON:
        if s.cursor[STAGE] != CLOSED:
            yield decide(scene)
            continue
        before = float(s.time[0])
        kernel.proceed(scene.handle, HORIZON)
        assert s.done or s.time[0] > before or s.cursor[STAGE] != CLOSED, "time stands still"


def random_choice(rng, decision):
    """Return any legal key; a copy of a parent, which is rare, more often than others."""
    keys = np.sort(decision.keys[decision.mask])
    weights = 1.0 + 3.0 * (keys >= len(decision.scene.state.up)) * (decision.agent == "node")
    return int(rng.choice(keys, p=weights / weights.sum()))


def together(case, look=None):
    """Run kernel and oracle with the same random choices; return both at the end."""
    workload, truth = case
    scene = scene_of(workload, truth)
    plain = oracle.Oracle(workload, truth)
    questions = plain.run(HORIZON)
    question = next(questions, None)
    rng = generator(workload.seed, "choices")
    for decision in decisions(scene):
        assert question is not None, "the oracle has nothing to ask"
        assert decision.time == pytest.approx(question.time, abs=1e-9)
        assert asked(scene) == (question.stage, question.subject)
        legal = tuple(sorted(decision.keys[decision.mask].tolist()))
        assert legal == question.legal
        assert len(set(legal)) == len(legal)
        if look is not None:
            look(scene, decision, plain)
        key = random_choice(rng, decision)
        kernel.act(scene.handle, key)
        try:
            question = questions.send(key)
        except StopIteration:
            question = None
    assert question is None or question.time >= HORIZON, "the kernel has nothing to ask"
    return scene, plain


def equal(got, wanted):
    """Compare numbers, with NaN for None."""
    wanted = [np.nan if x is None else x for x in wanted]
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def compare(scene, plain):
    """Assert that kernel and oracle stand at the same point, with the same past."""
    s = scene.state
    assert s.time[0] == pytest.approx(plain.now, abs=1e-9)
    assert [STATUS[x] for x in s.status] == plain.status
    equal(s.ready, plain.ready_at)
    equal(s.started, plain.start)
    equal(s.finished, plain.finish)
    equal(s.arrived, plain.arrived)
    equal(s.completed, plain.completed)
    assert s.node.tolist() == [-1 if m is None else m for m in plain.where]
    assert s.profile.tolist() == plain.profile
    if scene.workload.family != ALLOCATION:
        equal(s.begun, plain.begun)
    for name, value in plain.totals().items():
        got = s.totals[getattr(state, name)]
        assert got == pytest.approx(value, rel=1e-7, abs=1e-6), name
    loads = s.load * (s.time[0] - s.touched)
    np.testing.assert_allclose(s.used + loads, plain.used_seconds(), rtol=1e-9, atol=1e-6)
    assert s.up.tolist() == [node.up for node in plain.nodes]
    for m in range(len(s.up)):
        held = s.holds[m] - s.free[m]
        np.testing.assert_allclose(held, plain.used(m), rtol=0, atol=1e-6)
    if len(s.copies):
        found = {(int(p), int(m)): s.copies[p, m] for p, m in np.argwhere(np.isfinite(s.copies))}
        assert found == pytest.approx(plain.copies)


@settings(max_examples=150, deadline=None)
@given(case=placements)
def test_placements_equal_the_oracle(case):
    compare(*together(case))


@settings(max_examples=80, deadline=None)
@given(case=allocations)
def test_allocations_equal_the_oracle(case):
    compare(*together(case))


@settings(max_examples=80, deadline=None)
@given(case=configurations)
def test_configurations_equal_the_oracle(case):
    compare(*together(case))


@settings(max_examples=250, deadline=None)
@given(case=crowds)
def test_tasks_that_contend_equal_the_oracle(case):
    compare(*together(case))


@settings(max_examples=60, deadline=None)
@given(case=alone.filter(lambda case: not case[0].arrays.rules[DUPLICATE]))
def test_where_any_load_leaves_the_speed_at_one_all_is_as_without_rates(case):
    workload, truth = case
    delays = {"start_delay": truth.start_delay[:1], "seen_delay": truth.seen_delay[:1]}
    truth = dataclasses.replace(truth, **delays)
    states = []
    for rates in (np.zeros(0), np.ones(4)):
        scene = scene_of(workload, dataclasses.replace(truth, rates=rates))
        rng = generator(workload.seed, "choices")
        for decision in decisions(scene):
            kernel.act(scene.handle, random_choice(rng, decision))
        states.append(scene.state)
    plain, rated = states
    for name in ("ready", "started", "finished", "arrived", "completed", "node", "decision"):
        np.testing.assert_array_equal(getattr(rated, name), getattr(plain, name))
    # Events of one instant come in another order, and so do the terms of sums.
    equal(rated.totals, plain.totals)


@settings(max_examples=30, deadline=None)
@given(case=every_family)
def test_kernel_and_oracle_stand_at_the_same_point_at_every_decision(case):
    together(case, lambda scene, decision, plain: compare(scene, plain))


@settings(max_examples=30, deadline=None)
@given(
    case=st.builds(
        random_scenes.placement,
        seeds,
        jobs=st.integers(2, 6),
        tasks=st.integers(1, 6),
        slots=st.integers(1, 4),
        outages=disturbances,
    )
)
def test_slots_are_filled_by_least_work_and_first_arrival_in_turns(case):
    def look(scene, decision, plain):
        if decision.agent != "task":
            assert all(k == -1 or k % len(scene.state.up) == i for i, k in enumerate(decision.keys))
            return
        shown = decision.keys[1:]
        assert shown[shown >= 0].tolist() == plain.shown()
        g = decision.globals
        assert g[4] == len(plain.groups()) - len(plain.shown())

    together(case, look)


def recount(scene):
    """Assert that what the state keeps running equals a count of what it keeps at rest."""
    s, w = scene.state, scene.workload.arrays
    now = s.time[0]
    running, waiting, done = s.status == RUNNING, s.status == WAITING, s.status == DONE
    for t in range(len(scene.workload.types)):
        mine = w.type_of == t
        counted = {
            N_WAITING: (mine & waiting).sum(),
            N_RUNNING: (mine & running).sum(),
            N_DONE: (mine & done).sum(),
            WAITING_SCALE: w.scale[mine & waiting].sum(),
            USED_CPUS: w.demand[s.profile[mine & running], CPUS].sum(),
            USED_MEMORY: w.demand[s.profile[mine & running], MEMORY].sum(),
        }
        for column, value in counted.items():
            assert s.by_type[t, column] == pytest.approx(value, abs=1e-6)
        for size in range(3):
            these = mine & done & (w.size_bin[w.job_of] == size)
            assert s.history_count[t, size] == these.sum()
            took = (s.finished[these] - s.started[these]).sum()
            assert s.history_seconds[t, size] == pytest.approx(took)
    # A task that was handed over holds its node before its start is seen.
    holding = (s.node >= 0) & (running | waiting)
    for m in range(len(s.up)):
        on_it = np.flatnonzero(holding & (s.node == m))
        assert s.running[m] == len(on_it)
        assert sorted(linked(s, s.head[m])) == on_it.tolist()
        used = w.demand[s.profile[on_it]].sum(axis=0)
        np.testing.assert_allclose(s.free[m], s.holds[m] - used, rtol=0, atol=1e-6)
        assert (used <= s.holds[m] + [1e-9, 0.5, 1e-9]).all()
        shares = [u / h for u, h in zip(used, s.holds[m], strict=True) if h > 0]
        assert s.load[m] == pytest.approx(max(shares), abs=1e-9)
    assert s.totals[state.SHARE] == pytest.approx(s.load.sum(), abs=1e-9)
    assert s.totals[state.SHARE_SQUARED] == pytest.approx((s.load**2).sum(), abs=1e-9)
    assert s.totals[state.N_READY] == waiting.sum()
    assert s.totals[state.CPUS_NOW] == pytest.approx(s.by_type[:, USED_CPUS].sum(), abs=1e-9)
    assert s.totals[state.MEMORY_NOW] == pytest.approx(s.by_type[:, USED_MEMORY].sum(), abs=1e-3)
    for i in range(len(s.status)):
        parents = w.parents[w.parent_ptr[i] : w.parent_ptr[i + 1]]
        assert s.missing[i] == (s.status[parents] != DONE).sum()
    here = np.flatnonzero(~np.isnan(s.arrived) & (s.left > 0))
    assert s.totals[state.JOBS_IN_SYSTEM] == len(here)
    assert s.totals[state.JOBS_DONE] == (s.left == 0).sum()
    for job in range(len(s.left)):
        mine = w.job_of == job
        assert s.left[job] == (mine & ~done).sum()
    assert (s.ready[waiting] <= now).all()
    if scene.workload.family == ALLOCATION:
        return  # It keeps neither lists of jobs nor the work that is left of them.
    for job in range(len(s.left)):
        left = (w.job_of == job) & ~done
        work = (w.mean_seconds[w.type_of] * w.scale)[left].sum()
        assert s.work[job] == pytest.approx(work, abs=1e-9)
    present = int(s.cursor[PRESENT])
    by_work, by_arrival = s.by_work[:present], s.by_arrival[:present]
    assert by_arrival.tolist() == here.tolist()
    assert by_work.tolist() == sorted(here.tolist(), key=lambda j: (s.work[j], j))
    assert s.totals[state.WORK_NOW] == pytest.approx(s.work[here].sum(), abs=1e-6)
    if scene.workload.family == PLACEMENT:
        recount_ready(scene)


def recount_ready(scene):
    s, w = scene.state, scene.workload.arrays
    groups, stood_for = 0, 0
    for job in range(len(s.left)):
        ready = linked(s, s.first[job])
        assert ready == sorted(ready, key=lambda i: (-w.rank[i], i))
        for task in ready:
            assert s.status[task] == WAITING and w.job_of[task] == job
            assert s.twins[task] > 0
        groups += len(ready)
        stood_for += s.twins[ready].sum()
        rest = w.by_rank[s.front[job] : w.job_ptr[job + 1]]
        before = w.by_rank[w.job_ptr[job] : s.front[job]]
        assert (s.status[before] >= RUNNING).all()
        assert set(ready) <= set(rest.tolist())
    assert s.totals[state.N_GROUPS] == groups
    assert s.totals[state.N_READY] == stood_for


def linked(s, i):
    found = []
    while i >= 0:
        found.append(int(i))
        i = s.link[i]
    return found


def snapshot(scene):
    return [a.copy() for a in (*scene.state, *scene.world, *scene.workload.arrays)]


@settings(max_examples=60, deadline=None)
@given(case=every_family)
def test_running_totals_equal_a_recount_and_looking_changes_nothing(case):
    workload, truth = case
    scene = scene_of(workload, truth)
    rng = generator(workload.seed, "choices")
    for decision in decisions(scene):
        recount(scene)
        before = snapshot(scene)
        again = decide(scene)
        for old, new in zip(before, snapshot(scene), strict=True):
            np.testing.assert_array_equal(old, new)
        assert again.digest() == decision.digest()
        assert np.isfinite(decision.globals).all()
        assert np.isfinite(decision.candidates).all()
        kernel.act(scene.handle, random_choice(rng, decision))
    recount(scene)
    arrived = scene.state.arrived
    here = ~np.isnan(arrived)
    # Little's law: what the jobs present sum up over time is what they spent here, one by one.
    left = scene.state.totals[state.LATENCY]
    staying = (scene.state.time[0] - arrived[here & (scene.state.left > 0)]).sum()
    assert scene.state.totals[state.SOJOURN] == pytest.approx(left + staying)


@settings(max_examples=30, deadline=None)
@given(case=every_family, at=st.integers(0, 12))
def test_a_copy_goes_its_own_way_and_with_the_same_choices_to_the_same_end(case, at):
    workload, truth = case
    scene = scene_of(workload, truth)
    rng = generator(workload.seed, "choices")
    for _ in itertools.islice(decisions(scene), at):
        kernel.act(scene.handle, random_choice(rng, decide(scene)))
    twin, kept = scene.copy(), snapshot(scene)

    def finish(one):
        rng = generator(workload.seed, "choices after")
        for decision in decisions(one):
            kernel.act(one.handle, random_choice(rng, decision))
        return snapshot(one)

    ends = finish(twin)
    for old, new in zip(kept, snapshot(scene), strict=True):
        np.testing.assert_array_equal(old, new)
    for one, other in zip(ends, finish(scene), strict=True):
        np.testing.assert_array_equal(one, other)


def schedule_of(scene, plain):
    """Everything that ran: the kernel's runs and copies, the oracle's attempts that were killed."""
    s = scene.state
    copies = [(p, m, at, done) for p, m, at, done in plain.copy_log if s.copies[p, m] == done]
    killed = [a for a in plain.attempts if a.killed and a.start < a.released]
    rows = [
        (i, s.node[i], s.started[i], s.finished[i], RUN, s.profile[i]) for i in range(len(s.status))
    ]
    rows += [(p, m, at, done, COPY, s.profile[p]) for p, m, at, done in copies]
    rows += [(a.task, a.node, a.start, a.released, KILLED, a.profile) for a in killed]
    columns = ("task", "node", "start", "finish", "kind", "profile")
    arrays = dict(zip(columns, map(np.array, zip(*rows, strict=True)), strict=True))
    workload, w = scene.workload, scene.workload.arrays
    if w.rules[IN_FLIGHT]:
        # In a closed system nobody reads when jobs were meant to arrive.
        admitted = w._replace(arrival=np.zeros(len(w.arrival)))
        workload = dataclasses.replace(workload, arrays=admitted)
    return Schedule(workload=workload, policy="random", seed=0, **arrays)


# Who was promised the data of a copy on another node that was then lost is not told of it.
sound = st.one_of(
    st.builds(random_scenes.placement, seeds, outages=disturbances, pull=st.booleans()),
    st.builds(random_scenes.placement, seeds, duplicate=st.just(True), pull=st.booleans()),
    allocations,
    configurations,
    crowds,
)


@settings(max_examples=50, deadline=None)
@given(case=sound)
def test_what_ran_could_have_been_run(case):
    scene, plain = together(case)
    if scene.state.done:
        schedule_of(scene, plain).check()


# Made by hand: what random scenes meet too rarely to rely on.


def hand_made(
    family, nodes, type_of, seconds, *, outages=(), startup=0.0, truth=None, true=None, **settings
):
    """A scene of one job per task and estimates that are the truth, unless said otherwise.

    ``true`` are more fields of the truth.
    """
    n, types = len(type_of), len(seconds)
    cluster = Cluster(nodes=tuple(Node(name=f"n{m}", **room) for m, room in enumerate(nodes)))
    plain = {
        "job_ptr": range(n + 1),
        "parent_ptr": np.zeros(n + 1),
        "parents": [],
        "data": [],
        "demand": [[1, 1, 0]],
        "profile_of_type": np.zeros(types, dtype=int),
    }
    of = {**plain, **settings}
    arrays = assemble(
        family=family,
        type_of=type_of,
        arrival=np.zeros(len(of["job_ptr"]) - 1),
        scale=np.ones(n),
        seconds=seconds,
        cluster=cluster,
        startup=startup,
        **of,
    )
    at, where, kind = zip(*outages, strict=True) if outages else ((), (), ())
    known = Truth(
        seconds=arrays.seconds if truth is None else np.array(truth),
        scale=arrays.scale.copy(),
        startup=startup,
        outages=(np.array(at, float), np.array(where, np.int32), np.array(kind, np.int32)),
    )
    names = tuple(f"t{t}" for t in range(types))
    workload = Workload(types=names, cluster=cluster, arrays=arrays, seed=0)
    scene = scene_of(workload, dataclasses.replace(known, **(true or {})))
    if family != ALLOCATION:
        kernel.proceed(scene.handle, HORIZON)
    return scene


def act(scene, *keys):
    for key in keys:
        kernel.act(scene.handle, key)


ONE = {"cpus": 1, "memory": 1}


@pytest.mark.parametrize("family", [PLACEMENT, ALLOCATION])
def test_tasks_that_ask_for_different_resources_run_beside_each_other(family):
    many = 3 if family == PLACEMENT else 2
    scene = hand_made(
        family,
        [{"cpus": 8, "memory": 8, "gpus": 8}],
        [t for t in range(many) for _ in range(8)],
        [[9.0] * (1 if family == PLACEMENT else many)] * many,
        demand=[[1, 0, 0], [0, 1, 0], [0, 0, 1]][:many],
        profile_of_type=range(many),
        by_profile=family == ALLOCATION,
    )
    if family == ALLOCATION:
        kernel.act(scene.handle, 0)
        kernel.act(scene.handle, 1)
        kernel.advance(scene.handle, 0.0)
    else:
        for decision in itertools.islice(decisions(scene), 48):
            act(scene, decision.keys[decision.mask].max())
    assert (scene.state.status == RUNNING).all()
    # What is to come fits where it is kept: one finish each, and in an allocation a start before.
    events = 8 * many * (1 if family == PLACEMENT else 2)
    assert len(scene.world.heap_time) >= events
    kernel.advance(scene.handle, HORIZON)
    assert scene.state.done


@pytest.mark.parametrize("family", [PLACEMENT, ALLOCATION, CONFIGURATION])
def test_time_passes_when_nothing_will_ever_happen(family):
    scene = hand_made(
        family,
        [ONE],
        [0],
        [[1.0]],
        outages=[(0.0, 0, LOST)],
        fleets=np.array([[0, 1, 1, 1.0]]) if family == CONFIGURATION else None,
    )
    if family != PLACEMENT:
        act(scene, 0)
    kernel.proceed(scene.handle, HORIZON)
    assert scene.state.time[0] == HORIZON
    assert not scene.state.done
    assert scene.state.totals[state.SOJOURN] == HORIZON


def test_batches_that_arrive_together_are_seen_together():
    scene = hand_made(CONFIGURATION, [ONE], [0, 0], [[1.0]], fleets=np.array([[0, 1, 1, 1.0]]))
    assert scene.state.cursor[PRESENT] == 2


def test_nobody_waits_for_a_job_that_waits_for_room():
    scene = hand_made(PLACEMENT, [ONE], [0, 0], [[1.0]], in_flight=1)
    assert decide(scene).keys[decide(scene).mask].tolist() == [0]


def test_the_next_twin_stands_behind_a_task_of_equal_rank_and_lower_id():
    scene = hand_made(PLACEMENT, [ONE], [0, 1, 0], [[1.0], [1.0]], job_ptr=[0, 3])
    assert linked(scene.state, scene.state.first[0]) == [0, 1]
    act(scene, 0, 0)
    assert linked(scene.state, scene.state.first[0]) == [1, 2]


def parent_with_heavy_data(**changes):
    """A parent has run on node 0, and one of its two children is picked."""
    nodes = [{"cpus": 1, "memory": 4, "bandwidth": 1.0}] * 2
    scene = hand_made(
        PLACEMENT,
        **{
            "nodes": nodes,
            "type_of": [0, 1, 1],
            "seconds": [[2.0], [10.0]],
            "job_ptr": [0, 3],
            "parent_ptr": [0, 0, 1, 2],
            "parents": [0, 0],
            "data": [50.0, 60.0],
            "duplicate": True,
            **changes,
        },
    )
    act(scene, 0, 0)
    kernel.proceed(scene.handle, HORIZON)
    act(scene, 1)
    return scene


@pytest.mark.parametrize("kind", [LOST, state.KILLED])
def test_a_copy_that_has_not_finished_dies_with_what_runs_on_its_node(kind):
    scene = parent_with_heavy_data(outages=[(3.0, 1, kind), (9.0, 1, RETURNED)])
    act(scene, 3)
    assert scene.state.started[1] == 4.0
    act(scene, -1)
    kernel.advance(scene.handle, 3.0)
    assert np.isinf(scene.state.copies[0]).all()
    assert scene.state.status[1] == WAITING


def test_a_copy_that_has_finished_outlives_its_child():
    scene = parent_with_heavy_data(outages=[(5.0, 1, LOST)])
    act(scene, 3, -1)
    kernel.advance(scene.handle, 5.0)
    assert scene.state.copies[0, 1] == 4.0


def test_nobody_sees_when_a_copy_will_have_finished():
    scene = parent_with_heavy_data(truth=[[2.5], [10.0]])
    act(scene, 3)
    assert np.isinf(scene.state.copies[0]).all()
    assert scene.state.started[1] == 2.5 + 2.0  # the parent ran until 2.5, and takes 2 it is said
    act(scene, -1)
    kernel.advance(scene.handle, 5.5)
    assert scene.state.copies[0, 1] == scene.state.started[1] == 5.0


def test_a_copy_needs_no_more_room_than_its_child_reserves():
    profiles = {"demand": [[1, 4, 0], [1, 1, 0]], "profile_of_type": [0, 1]}
    decision = decide(parent_with_heavy_data(**profiles))
    assert decision.keys[decision.mask].tolist() == [0, 1]


def crowd(rates=(1, 1, 0.5), machine=(0, 0), delays=(0.0, 0.0)):
    """What makes tasks contend."""
    return {
        "rates": np.array(rates, float),
        "machine": np.array(machine, np.int32),
        "start_delay": np.array(delays),
    }


def ends(scene):
    """Hand each task to the first node with room, the lowest first; return when they end."""
    for decision in decisions(scene):
        legal = decision.keys[decision.mask]
        act(scene, legal[legal >= 0].min())
    return scene.state.finished.tolist()


@pytest.mark.parametrize(
    ("contention", "finished"),
    [
        ({}, [2.0, 2.0]),
        ({"delays": (0.0, 0.5)}, [1.5, 2.0]),
        ({"machine": (0, 1)}, [1.0, 1.0]),
        ({"machine": ()}, [1.0, 1.0]),
        ({"rates": (1, 1, 4)}, [0.25, 0.25]),
        ({"rates": (1, 0.5)}, [2.0, 2.0]),
        ({"rates": (9, 1, 1)}, [1.0, 1.0]),
    ],
    ids=[
        "together",
        "one after the other",
        "apart",
        "each on its own",
        "better together",
        "constant beyond the last",
        "what an empty machine could do is of no use",
    ],
)
def test_two_tasks_of_one_second_slow_each_other_down(contention, finished):
    scene = hand_made(PLACEMENT, [ONE] * 2, [0, 0], [[1.0]], true=crowd(**contention))
    assert ends(scene) == finished


@pytest.mark.parametrize("family", [PLACEMENT, ALLOCATION])
def test_a_task_loads_its_machine_by_its_cpus_and_by_one_where_it_asks_for_none(family):
    """Loads of 1.5 and then 1 + 1.5: speeds of 0.75 and 0.5, between whole loads linear."""
    scene = hand_made(
        family,
        [{"cpus": 1.5, "memory": 2}],
        [0, 1],
        [[3.0] * (1 if family == PLACEMENT else 2)] * 2,
        demand=[[1.5, 1, 0], [0, 1, 0]],
        profile_of_type=[0, 1],
        by_profile=family == ALLOCATION,
        true=crowd((1, 1, 0.5, 0.5), (0,), (0.0, 2.0)),
    )
    if family == ALLOCATION:
        act(scene, *scene.workload.arrays.order)
        kernel.advance(scene.handle, HORIZON)
        finished = scene.state.finished.tolist()
    else:
        finished = ends(scene)
    assert finished == [5.0, 6.5]  # 2 s at 0.75 and 3 at 0.5; 3 s at 0.5 and 1.5 alone


def test_a_task_that_is_killed_gives_its_load_back():
    killed = {"outages": [(0.5, 1, LOST)], "true": crowd()}
    scene = hand_made(PLACEMENT, [ONE] * 2, [0, 0], [[1.0]], **killed)
    assert ends(scene) == [1.25, 2.25]


@pytest.mark.parametrize("seen", [0.0, 0.25])
def test_what_has_ended_unseen_loads_nothing(seen):
    late = {**crowd(delays=(0.0, 1.0)), "seen_delay": np.array([seen])}
    scene = hand_made(PLACEMENT, [ONE] * 2, [0, 0], [[1.0]], true=late)
    assert ends(scene) == [1.0, 2.0]
    assert scene.state.time[0] == 2.0 + seen


@pytest.mark.parametrize("rates", [(), (1, 1)])
@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_task_that_ends_as_its_node_is_lost_is_spared(rates, seconds):
    lost = [(0.5 + seconds, 0, LOST)]
    contention = crowd(rates, (), (0.5,))
    scene = hand_made(PLACEMENT, [ONE], [0], [[seconds]], outages=lost, true=contention)
    assert ends(scene) == [0.5 + seconds]


@pytest.mark.parametrize("flat", [1, 3])
def test_equal_tasks_that_start_together_end_together(flat):
    """To the last digit, on one machine and on others: or somebody would be asked in between."""
    rates = [1.0] * (flat + 1) + [0.9, 0.7, 0.3, 0.1]
    delays = np.full(8, 0.1)
    scene = hand_made(
        PLACEMENT,
        [ONE] * 8,
        [0] * 8,
        [[0.3]],
        true=crowd(rates, [0, 0, 0, 0, 1, 1, 1, 1], delays),
    )
    assert len({*ends(scene)}) == 1


@pytest.mark.parametrize(
    ("contention", "told"),
    [
        ({"rates": (1,)}, "rates must be positive speeds at loads 0, 1"),
        ({"rates": (1, 0)}, r"positive speeds .* got \[1.0, 0.0\]"),
        ({"rates": (1, -1)}, "positive speeds"),
        ({"rates": (1, np.nan)}, "positive speeds"),
        ({"rates": (1, np.inf)}, "positive speeds"),
        ({"rates": ((1, 1), (1, 1))}, "positive speeds"),
        ({"machine": (0,)}, r"one of each of the 2 nodes, got \[0\]"),
        ({"machine": ((0,), (0,))}, "one of each of the 2 nodes"),
        ({"machine": (0, -1)}, r"2 nodes, got \[0, -1\]"),
    ],
)
def test_contention_that_cannot_be_is_refused(contention, told):
    with pytest.raises(ToolkitError, match=told):
        hand_made(PLACEMENT, [ONE] * 2, [0, 0], [[1.0]], true=crowd(**contention))


def test_where_tasks_contend_no_parent_is_executed_again():
    with pytest.raises(ToolkitError, match="beside their children"):
        parent_with_heavy_data(true=crowd(delays=(0.0,)))


FLEETS = np.array([[0, 1, 1, 1.0], [0, 1, 1, 4.0]])


@pytest.mark.parametrize(("fleet", "begun"), [(0, 1.0), (1, 3.0)])
def test_executors_take_longer_the_more_of_them_start(fleet, begun):
    """One alone takes 1 s; of more than three each takes what three do."""
    scene = hand_made(
        CONFIGURATION,
        [{"cpus": 4, "memory": 4}],
        [0],
        [[1.0]],
        fleets=FLEETS,
        true={"startup": np.array([1.0, 2.0, 3.0])},
    )
    act(scene, fleet)
    kernel.advance(scene.handle, HORIZON)
    assert scene.state.started[0] == begun


def test_an_executor_that_is_not_employed_does_not_return():
    host = [{"cpus": 4, "memory": 4}]
    outages = [(1.0, 3, RETURNED)]
    scene = hand_made(CONFIGURATION, host, [0], [[5.0]], fleets=FLEETS, outages=outages)
    act(scene, 0)
    kernel.advance(scene.handle, 2.0)
    assert scene.state.up.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(("returned", "up"), [(1.5, 2.0), (9.0, 9.0)])
def test_an_executor_lost_while_it_starts_is_up_when_both_are_over(returned, up):
    outages = [(1.0, 0, LOST), (returned, 0, RETURNED)]
    scene = hand_made(
        CONFIGURATION, [ONE], [0], [[5.0]], fleets=FLEETS, outages=outages, startup=2.0
    )
    act(scene, 0)
    kernel.advance(scene.handle, up - 0.25)
    assert scene.state.up[0] == 0
    kernel.advance(scene.handle, up)
    assert scene.state.up[0] == 1
    assert scene.state.node[0] == 0


def test_an_executor_that_still_starts_does_not_begin_anew_for_the_next_batch():
    host = [{"cpus": 4, "memory": 4}]
    scene = hand_made(CONFIGURATION, host, [0] * 3, [[1.0]], fleets=FLEETS, startup=2.0)
    for fleet, served in ((0, 3.0), (1, 4.0)):  # one executor, then four of which one is up
        act(scene, fleet)
        kernel.advance(scene.handle, HORIZON)
        assert scene.state.time[0] == served
    act(scene, 1)
    assert scene.state.up.tolist() == [1, 0, 0, 0]
    kernel.advance(scene.handle, 5.0)
    assert scene.state.up.tolist() == [1, 1, 1, 1]  # they start since 3.0


def test_a_task_that_fits_no_node_that_is_up_is_described_in_finite_numbers():
    small_is_left = [(0.0, 0, LOST)]
    profiles = {"demand": [[1, 4, 0], [1, 1, 0]], "profile_of_type": [0, 1]}
    for slots, legal in ((8, [1]), (1, [-1])):
        scene = hand_made(
            PLACEMENT,
            [{"cpus": 1, "memory": 4}, ONE],
            [0, 1],
            [[2.0], [1.0]],
            job_ptr=[0, 2],
            outages=small_is_left,
            slots=slots,
            **profiles,
        )
        decision = decide(scene)
        assert np.isfinite(decision.candidates).all()
        # Where nothing that could run has a slot, and nothing will come, it may wait after all.
        assert decision.keys[decision.mask].tolist() == legal
