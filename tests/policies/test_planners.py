"""Planners that act out a plan of their own: exact where nothing varies, legal everywhere."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning import dags
from tests.workloads import estimates, scenario
from toolkit.catalogue import Catalogue
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, NotFoundError, ToolkitError
from toolkit.live import chooser, rollout
from toolkit.planning import heft
from toolkit.planning.board import Board, Plan, empty
from toolkit.policies.genetic import Genetic
from toolkit.policies.heft_merged import HeftMerged
from toolkit.policies.heft_online import HeftOnline
from toolkit.policies.heft_static import HeftStatic
from toolkit.policies.mixture import Mixture
from toolkit.policies.portfolio import MEMBERS, Portfolio
from toolkit.reward import WorkflowWeights
from toolkit.seeding import generator
from toolkit.simulator.simulator import Simulator, Truth
from toolkit.simulator.state import DONE, KILLED, LOST, RETURNED
from toolkit.workload import (
    CPUS,
    DUPLICATE,
    FAMILY,
    MEMORY,
    PLACEMENT,
    PULL,
    SLOTS,
    Workload,
    assemble,
)

FORMS_OF_HEFT = ("heft_merged", "heft_fcfs", "heft_static", "heft_online", "srpt_heft")
NAMES = (*FORMS_OF_HEFT, "cpop", "peft", "lookahead", "tdca", "genetic", "portfolio")
SMALL_SEARCH = {"population": 8, "generations": 3, "elite": 2}


THREE_NODES = Cluster(
    nodes=tuple(Node(name=f"p{m}", cpus=1, memory=1, kind=f"k{m}", bandwidth=1.0) for m in range(3))
)


class Noise:
    """Estimates times log-normal luck; nodes that are lost and tasks that are killed."""

    def __init__(self, sigma=0.0, outages=None):
        self.sigma, self.outages = sigma, outages

    def truth(self, workload, seed):
        w = workload.arrays
        luck = generator(seed, "luck").standard_normal(workload.tasks)
        return Truth(
            seconds=w.seconds, scale=w.scale * np.exp(self.sigma * luck), outages=self.outages
        )


def make(name):
    values = Catalogue().read(f"policy/{name}")
    return instantiate({**values, **(SMALL_SEARCH if name == "genetic" else {})})


def workload(w, *, arrival=None, **rules):
    """Return a workload of arrays, its jobs arriving at given times under given rules."""
    kept = w.rules.copy()
    for name, value in rules.items():
        kept[{"slots": SLOTS, "duplicate": DUPLICATE, "pull": PULL}[name]] = value
    w = w._replace(rules=kept, arrival=w.arrival if arrival is None else np.array(arrival))
    nodes = tuple(
        Node(name=f"p{m}", cpus=row[CPUS], memory=row[MEMORY]) for m, row in enumerate(w.capacity)
    )
    types = tuple(f"t{i}" for i in range(len(w.seconds)))
    return Workload(types=types, cluster=Cluster(nodes=nodes), arrays=w, seed=0)


def stream(seed, *, jobs=12, tasks=20, nodes=4, load=1.0, **rules):
    """Return jobs that arrive at a share of what the nodes can do."""
    w = dags.random_dag(seed, jobs * tasks, nodes, 0.5, jobs=jobs)
    gaps = generator(seed, "arrival").exponential(10.0 * tasks / nodes / load, jobs)
    return workload(w, arrival=np.cumsum(gaps) - gaps[0], **rules)


def play(of, policy, *, sigma=0.0, seed=0, outages=None, record=False):
    policy.reset(of)
    return rollout(
        Simulator(Noise(sigma, outages), seed),
        of,
        chooser(policy, seed),
        horizon=1e9,
        weights=WorkflowWeights(sojourn=1.0),
        record=record,
    )


def makespan(episode):
    assert episode.terminated
    return float(episode.outcome.completed.max())


def completion(episode):
    assert episode.terminated
    return float((episode.outcome.completed - episode.outcome.arrived).mean())


@pytest.mark.parametrize("name", FORMS_OF_HEFT)
def test_every_form_of_heft_reproduces_the_schedule_of_its_paper(name):
    assert makespan(play(workload(dags.topcuoglu()), make(name))) == 80
    assert makespan(play(workload(dags.figure2()), make(name))) == 85
    assert makespan(play(workload(dags.arabnejad()), make(name))) == 133


@pytest.mark.parametrize(
    ("instance", "published"),
    [("dag_n20_m8_s0", 228.5), ("dag_n100_m8_s0", 820.5), ("dag_n150_m8_s0", 898.3)],
)
@pytest.mark.parametrize("name", FORMS_OF_HEFT)
def test_every_form_of_heft_reproduces_the_published_instances(name, instance, published):
    of = workload(dags.instance(instance))
    assert makespan(play(of, make(name))) == pytest.approx(published, abs=0.05)


def test_a_thousand_tasks_are_reproduced_where_every_ready_one_has_a_slot():
    w = dags.instance("dag_n1000_m8_s0")
    wide, narrow = workload(w, slots=256), workload(w, slots=16)
    assert makespan(play(wide, make("heft_static"))) == pytest.approx(5178.9, abs=0.05)
    assert makespan(play(narrow, make("heft_static"))) < 1.03 * 5178.9
    assert makespan(play(narrow, make("heft_online"))) < 1.03 * 5178.9


def test_the_other_planners_reproduce_their_papers():
    assert makespan(play(workload(dags.topcuoglu()), make("cpop"))) == 86
    assert makespan(play(workload(dags.arabnejad()), make("peft"))) == 122
    assert makespan(play(workload(dags.arabnejad()), make("lookahead"))) == 127


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lanes=st.integers(1, 4),
    jobs=st.integers(1, 4),
    ccr=st.sampled_from([0.0, 1.0, 4.0]),
    idle=st.sampled_from([0.0, 0.3]),
)
def test_with_exact_estimates_nothing_ends_later_than_planned(seed, lanes, jobs, ccr, idle):
    w = dags.random_dag(seed, 40, 3, ccr, jobs=jobs, lanes=lanes, idle=idle)
    # Lanes count cpus: memory does not bind.
    w = w._replace(demand=np.tile([1.0, 1.0, 0.0], (2, 1)))
    of = workload(w, slots=64)
    plan = heft.heft(w)
    assert makespan(play(of, make("heft_merged"))) <= plan.finish.max() + 1e-6
    if lanes == 1:
        # On several something may start early, and the next plan then be another.
        assert makespan(play(of, make("heft_online"))) == pytest.approx(plan.finish.max())
    by_job = heft.plan(w, empty(w), heft.job_by_job(w))
    assert makespan(play(of, make("heft_fcfs"))) <= by_job.finish.max() + 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_static_plans_each_job_behind_those_that_came_before(seed):
    of = stream(seed, slots=64)
    w = of.arrays
    board = empty(w)
    until = board.lane_free.copy()
    expected = []
    for job in range(of.jobs):
        free = np.maximum(until, w.arrival[job])
        tasks = w.by_rank[w.job_ptr[job] : w.job_ptr[job + 1]]
        plan = heft.plan(w, Board(board.node, board.finish, board.lane_node, free), tasks)
        np.maximum.at(until, plan.lane, plan.finish)
        expected.append(plan.finish.max())
    episode = play(of, HeftStatic())
    np.testing.assert_allclose(episode.outcome.completed, expected)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    name=st.sampled_from(NAMES),
    lanes=st.integers(1, 3),
    tight=st.booleans(),
    slots=st.sampled_from([2, 32]),
    duplicate=st.booleans(),
    pull=st.booleans(),
    sigma=st.sampled_from([0.0, 1.0]),
    disturbed=st.booleans(),
)
def test_every_answer_is_legal_and_every_episode_ends(
    seed, name, lanes, tight, slots, duplicate, pull, sigma, disturbed
):
    # The rollout itself refuses an illegal answer.
    w = dags.random_dag(seed, 36, 3, jobs=3, lanes=lanes, tight=tight)
    of = workload(
        w, arrival=[0.0, 8.0, 30.0], slots=slots, duplicate=int(duplicate), pull=int(pull)
    )
    outages = (
        np.array([5.0, 12.0, 12.0, 20.0, 25.0, 40.0, 60.0]),
        np.array([0, 1, 2, 0, 2, 2, 1], dtype=np.int32),
        np.array([LOST, KILLED, LOST, RETURNED, RETURNED, LOST, KILLED], dtype=np.int32),
    )
    if tight:
        # Some tasks fit the last node only: it must come back.
        outages = tuple(column[:5] for column in outages)
    episode = play(of, make(name), sigma=sigma, seed=seed, outages=outages if disturbed else None)
    assert episode.terminated
    assert (episode.scene.state.status == DONE).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_planner_repeats_itself(name):
    of = stream(3, jobs=5)
    policy = make(name)
    once = play(of, policy, sigma=1.0, record=True)
    again = play(of, policy, sigma=1.0, record=True)
    assert [s.action for s in once.steps] == [s.action for s in again.steps]
    other = play(of, make(name), sigma=1.0, record=True)
    assert [s.action for s in once.steps] == [s.action for s in other.steps]


def test_planning_again_at_every_epoch_pays_where_durations_vary():
    streams = [stream(seed, load=0.8) for seed in range(4)]
    for measure in (completion, makespan):
        online, static = (
            np.mean([measure(play(of, make(name), sigma=1.0, seed=of.seed)) for of in streams])
            for name in ("heft_online", "heft_static")
        )
        assert online <= static


def test_least_remaining_work_first_completes_jobs_sooner_than_first_come_first_served():
    means = {}
    for name in ("srpt_heft", "heft_fcfs"):
        played = [play(stream(seed, load=1.5), make(name), sigma=0.5) for seed in range(4)]
        means[name] = np.mean([completion(e) for e in played])
    assert means["srpt_heft"] < 0.9 * means["heft_fcfs"]


@dataclass(frozen=True, kw_only=True)
class Counted(HeftMerged):
    times: list = field(default_factory=list)

    def plan(self, outlook):
        self.times.append(outlook.time)
        return super().plan(outlook)


@dataclass(frozen=True, kw_only=True)
class CountedOnline(Counted, HeftOnline):
    WHEN = HeftOnline.WHEN


def test_plans_are_made_at_arrivals_or_at_every_epoch():
    of = stream(1, jobs=8, slots=256)
    counted, online = Counted(), CountedOnline()
    play(of, counted, sigma=0.5)
    assert len(counted.times) == of.jobs
    episode = play(of, online, sigma=0.5, record=True)
    assert len(online.times) == len({s.epoch for s in episode.steps})


def test_plans_are_made_when_nodes_go_and_come_and_tasks_are_killed():
    of = workload(dags.random_dag(5, 60, 3), slots=64)
    disturbed = Counted()
    outages = (
        np.array([20.0, 60.0, 100.0]),
        np.array([0, 0, 1], dtype=np.int32),
        np.array([LOST, RETURNED, KILLED], dtype=np.int32),
    )
    assert play(of, disturbed, outages=outages).terminated
    assert disturbed.times[0] == 0
    assert len(disturbed.times) == 4
    assert all(np.array(disturbed.times[1:]) - outages[0] < 20)


@dataclass(frozen=True, kw_only=True)
class Backwards(HeftMerged):
    def plan(self, outlook):
        plan = super().plan(outlook)
        return plan._replace(start=-plan.start, finish=-plan.finish)


def test_a_plan_that_waits_for_itself_is_put_in_order():
    of = workload(dags.random_dag(5, 40, 3), slots=64)
    policy = Backwards()
    assert play(of, policy, sigma=0.5).terminated
    assert in_order(of.arrays, policy._play.plan.task)


@dataclass(frozen=True, kw_only=True)
class Forgetful(Counted):
    def plan(self, outlook):
        plan = super().plan(outlook)
        return plan._make(column[:20] for column in plan)


def test_a_plan_is_made_afresh_where_nothing_is_left_of_it():
    policy = Forgetful()
    assert play(workload(dags.random_dag(5, 40, 3), slots=64), policy).terminated
    assert len(policy.times) == 2


def in_order(w, tasks):
    place = {int(task): i for i, task in enumerate(tasks)}
    return all(
        place[int(parent)] < i
        for task, i in place.items()
        for parent in w.parents[w.parent_ptr[task] : w.parent_ptr[task + 1]]
    )


def test_a_plan_is_made_for_what_is_left_when_a_node_is_lost_for_good():
    of = workload(dags.random_dag(5, 40, 3), slots=64)
    undisturbed = play(of, HeftStatic())
    at = 0.3 * makespan(undisturbed)
    node = int(np.bincount(undisturbed.outcome.node).argmax())
    lost = (np.array([at]), np.array([node], np.int32), np.array([LOST], np.int32))
    ends = {}
    for name in NAMES:
        policy = make(name)
        episode = play(of, policy, outages=lost)
        ends[name] = makespan(episode)
        after = episode.outcome.started > at
        assert after.any()
        assert (episode.outcome.node[after] != node).all()
        if name != "tdca":
            # Nothing but the plan made after the loss was acted out, and that to its end.
            assert ends[name] == pytest.approx(policy._play.plan.finish.max())
    # One job: all forms of HEFT make the same plan then, and none is made later.
    assert len({ends[name] for name in FORMS_OF_HEFT}) == 1


def test_without_enough_slots_the_order_of_heft_is_still_kept_in_the_main():
    w = dags.random_dag(2, 400, 4, 0.5, jobs=20)
    free, narrow = workload(w, slots=256), workload(w, slots=4)
    for name in ("heft_merged", "heft_fcfs", "srpt_heft"):
        assert makespan(play(narrow, make(name))) < 1.2 * makespan(play(free, make(name)))


def butterflies(jobs=2, **rules):
    """Return jobs whose eight entry tasks are twins of each other, but not their children."""
    edges = []
    for job in range(jobs):
        for layer in range(3):
            for i in range(8):
                for j in {i, i ^ (1 << layer)}:
                    edges.append((24 * job + 8 * layer + j, 24 * job + 8 * (layer + 1) + i, 3.0))
    edges = [(u, v, d) for u, v, d in edges if v < 24 * (u // 24 + 1)]
    return same_tasks(24 * jobs, edges, jobs=jobs, **rules)


def same_tasks(tasks, edges, *, jobs=1, **rules):
    """Return jobs of tasks of one type and size on three unequal nodes."""
    parent_ptr, parents, data = dags.by_child(tasks, edges)
    return workload(
        assemble(
            family=PLACEMENT,
            type_of=np.zeros(tasks),
            job_ptr=np.linspace(0, tasks, jobs + 1),
            parent_ptr=parent_ptr,
            parents=parents,
            data=data,
            arrival=np.zeros(jobs),
            scale=np.ones(tasks),
            seconds=[[2.0, 3.0, 5.0]],
            demand=[[1, 1, 0]],
            profile_of_type=[0],
            cluster=THREE_NODES,
        ),
        **rules,
    )


@pytest.mark.parametrize("name", NAMES)
def test_interchangeable_tasks_change_places_in_the_plan(name):
    of = butterflies(slots=64)
    assert (of.arrays.twin >= 0).sum() >= 14
    policy, swapped = make(name), []

    class Watched:
        name = "watched"

        def reset(self, workload):
            policy.reset(workload)

        def probabilities(self, decision):
            before = policy._play.plan.task.copy()
            p = policy.probabilities(decision)
            if decision.agent == "task":
                after = policy._play.plan.task
                swapped.append(len(before) == len(after) and (before != after).any())
            else:
                # Whoever goes is planned on a node that has room now.
                assert decision.mask[policy._play.home(decision)]
                assert policy._play.home(decision) == p.argmax()
            return p

    episode = play(of, Watched(), sigma=0.5)
    assert episode.terminated
    # They share one slot, the lowest first.
    for first in (0, 24):
        placed = episode.scene.state.decision[first : first + 8]
        assert (np.diff(placed) > 0).all()
    if name not in ("heft_online", "srpt_heft"):
        # Not made afresh, and yet another.
        assert sum(swapped) > 0
        assert in_order(of.arrays, policy._play.plan.task)


@dataclass(frozen=True, kw_only=True)
class ByHand(HeftMerged):
    def plan(self, outlook):
        return Plan(
            task=np.array([1, 3, 0, 2], dtype=np.int32),
            lane=np.array([0, 1, 0, 1], dtype=np.int32),
            start=np.array([0.0, 2.0, 4.0, 6.0]),
            finish=np.array([2.0, 4.0, 6.0, 8.0]),
        )


def test_a_plan_is_put_in_order_after_twins_changed_places():
    # The plan wants task 1 first, but 0 has the slot of both: now 3 waits longer than 2.
    of, policy = same_tasks(4, [(0, 2, 0.0), (1, 3, 0.0)]), ByHand()
    assert of.arrays.twin[0] == 1
    assert play(of, policy).terminated
    assert policy._play.plan.task.tolist() == [0, 1, 3, 2]


@pytest.mark.parametrize("name", FORMS_OF_HEFT)
def test_the_makespan_does_not_ask_which_twin_is_which(name):
    edges = [(0, i, 1.0) for i in range(1, 15)] + [(i, 15, 1.0) for i in range(1, 15)]
    of = same_tasks(16, edges)
    assert (of.arrays.twin >= 0).sum() == 13
    assert makespan(play(of, make(name))) == heft.heft(of.arrays).finish.max()


def test_copies_are_made_only_where_they_are_allowed():
    w = dags.random_dag(1, 60, 4, 5.0)
    copying = play(workload(w, duplicate=1, slots=64), make("tdca"))
    assert np.isfinite(copying.scene.state.copies).any()
    plain = play(workload(w, slots=64), make("tdca"))
    assert plain.terminated
    assert plain.scene.state.copies.size == 0
    others = play(workload(w, duplicate=1, slots=64), make("heft_merged"))
    assert not np.isfinite(others.scene.state.copies).any()


def test_the_search_is_no_worse_than_heft_and_has_a_seed():
    values = {k: v for k, v in Catalogue().read("policy/genetic").items() if k != "_target_"}
    w = dags.random_dag(4, 60, 4)
    of = workload(w, slots=64)
    searched = play(of, Genetic(**{**values, "generations": 20}), record=True)
    assert makespan(searched) < heft.heft(w).finish.max()
    other = play(of, Genetic(**{**values, "generations": 20, "seed": 1}), record=True)
    assert [s.action for s in searched.steps] != [s.action for s in other.steps]
    with pytest.raises(ConfigError, match="population"):
        Genetic(**{**values, "elite": 100})


def test_the_portfolio_adopts_the_plan_that_ends_first():
    w = dags.arabnejad()
    members = list(MEMBERS)
    each = {name: makespan(play(workload(w), Portfolio(members=[name]))) for name in members}
    assert each["heft"] == 133
    assert each["peft"] == 122
    assert makespan(play(workload(w), Portfolio(members=members))) == min(each.values())
    with pytest.raises(NotFoundError, match="did you mean 'heft'"):
        Portfolio(members=["hefd"])
    with pytest.raises(ConfigError, match="list of planners"):
        Portfolio(members="heft")


def test_a_planner_follows_what_others_decide_between_its_answers():
    of = stream(6, jobs=6, slots=4)
    for name in ("heft_merged", "heft_static", "tdca"):
        assert play(of, Mixture(of=make(name), epsilon=0.5), sigma=1.0).terminated


@pytest.mark.parametrize("name", NAMES)
def test_a_decision_of_the_past_gets_a_legal_answer(name):
    of = stream(7, jobs=1, tasks=16, slots=4)
    steps = play(of, make(name), record=True).steps
    policy = make(name)
    policy.reset(of)
    for step in steps:
        p = policy.probabilities(step.decision)
        assert p.sum() == 1.0
        assert step.decision.mask[int(p.argmax())]


@pytest.mark.parametrize("name", NAMES)
def test_a_planner_refuses_work_that_nobody_places(name):
    of = scenario()
    with pytest.raises(ConfigError, match="mheft"):
        make(name).reset(of.plan(0, estimates=estimates(of)))
    policy = make(name)
    step = play(stream(0, jobs=1), policy, record=True).steps[0]
    with pytest.raises(ToolkitError, match="call reset"):
        make(name).probabilities(step.decision)
    policy.reset(stream(0, jobs=2))
    with pytest.raises(ToolkitError, match="call reset"):
        policy.probabilities(step.decision)


def test_a_planner_needs_the_profiles_of_its_tasks():
    w = dags.topcuoglu()
    assert w.rules[FAMILY] == PLACEMENT
    loose = w._replace(profile_of_type=np.full(10, -1, dtype=np.int32))
    with pytest.raises(ConfigError, match="resource profile"):
        make("heft_merged").reset(workload(loose))
