"""The hand-made rules: legal everywhere, equal to a calculation by hand where that is short."""

from functools import cache

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workloads import Luck, ask, before, estimates
from tests.workloads import scenario as pipelines
from toolkit.catalogue import Catalogue
from toolkit.cluster import Cluster, Node
from toolkit.decision import decide
from toolkit.errors import ConfigError, ToolkitError
from toolkit.features.configuration import MODEL_ADVICE
from toolkit.live import chooser, rollout
from toolkit.policies import dispatching
from toolkit.policies.best_static import BestStatic
from toolkit.policies.history import StaticHistory
from toolkit.policies.largest import Largest
from toolkit.policies.mixture import Mixture
from toolkit.policies.model_greedy import ModelGreedy
from toolkit.policies.paper_random import PaperRandom, spread_out
from toolkit.policies.random import Random
from toolkit.reward import BatchWeights, WorkflowWeights
from toolkit.scenarios.batches import Batches, Stage
from toolkit.scenarios.disturbances import Disturbances
from toolkit.scenarios.workflows import Group, Machines, Share, Stream, Workflows
from toolkit.simulator import kernel
from toolkit.simulator.simulator import Simulator, Truth, scene_of
from toolkit.simulator.state import CLOSED, LOST, NUMBER, RETURNED, STAGE, State
from toolkit.workflows.fork_join import ForkJoin
from toolkit.workflows.layered import Layered
from toolkit.workload import PLACEMENT, Workload, assemble

LISTED = dispatching.RULES
QUEUED = ("fifo_deft", "fifo_deft_strict", "sjf_deft", "high_rank_up_deft")
PLACING = (*LISTED, *QUEUED, "linear")
FAMILY = {
    **dict.fromkeys(PLACING, "placement"),
    "static_history": "allocation",
    **dict.fromkeys(
        ("largest", "best_static", "least_expected", "paper_random", "model_greedy"),
        "configuration",
    ),
}
WEIGHTS = WorkflowWeights(sojourn=1.0)


def make(name):
    return instantiate(Catalogue().read(f"policy/{name}"))


# --- random scenes -------------------------------------------------------------------------------


def workflows(**changes):
    """A stream of small graphs, some with interchangeable tasks, on five unequal nodes."""
    values = {
        "name": "rules",
        "graphs": (
            Share(graphs=Layered(tasks=(5, 12), mean_seconds=10.0, types=3, density=0.4)),
            Share(graphs=ForkJoin(width=(2, 4), stages=2, mean_seconds=10.0, sigma=0.0, types=1)),
        ),
        "jobs": 6,
        "arrivals": Stream(load=1.0),
        "cluster": Machines(
            groups=(
                Group(kind="fast", count=1, memory=8, speed=2.0, bandwidth=1e9, latency=0.01),
                Group(kind="slow", count=2, memory=16, bandwidth=1e9, latency=0.01),
                Group(kind="old", count=2, memory=4, speed=0.5, bandwidth=5e8, latency=0.01),
            ),
            affinity=0.3,
        ),
        "weights": WEIGHTS,
        "horizon": 100000.0,
        "sigma": 0.4,
        "ccr": 1.0,
        "memory": {"k0": 2, "k1": 6},
    }
    return Workflows(**{**values, **changes})


def wide():
    """Machines that run several tasks at once."""
    groups = (
        Group(kind="big", count=1, memory=32, cpus=4, bandwidth=1e9),
        Group(kind="small", count=2, memory=12, cpus=2, speed=1.5, bandwidth=1e9),
    )
    return workflows(cluster=Machines(groups=groups, affinity=0.3), arrivals=Stream(load=1.5))


FLAWS = Disturbances(
    straggler_share=0.1, straggler_factor=4.0, losses=60.0, repair=30.0, preemptions=60.0,
    start_delay=0.05, seen_delay=0.1,
)  # fmt: skip
SCENES = {
    "plain": workflows(),
    "copies": workflows(duplicate=True, ccr=4.0),
    "two slots": workflows(slots=2, arrivals=Stream(load=3.0)),
    "disturbed": workflows(disturbances=FLAWS, duplicate=True),
    "pulling": workflows(pull=True, advice=False),
    "wide": wide(),
}


@cache
def planned(name, seed):
    workload = SCENES[name].plan(seed)
    return workload, SCENES[name].truth(workload, seed)


class Drawn:
    """A truth that was drawn before."""

    def __init__(self, truth):
        self.drawn = truth

    def truth(self, workload, seed):
        return self.drawn


def play(policy, workload, truth, *, seed=0, horizon=100000.0, record=True):
    policy.reset(workload)
    return rollout(
        Simulator(Drawn(truth), seed),
        workload,
        chooser(policy, seed),
        horizon=horizon,
        weights=WEIGHTS,
        record=record,
    )


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", PLACING)
def test_a_rule_answers_legally_and_brings_every_job_to_an_end(name, scene):
    for seed in range(2):
        episode = play(make(name), *planned(scene, seed), record=False)
        assert episode.terminated, (name, scene, seed)


@pytest.mark.parametrize("name", PLACING)
def test_a_rule_repeats_itself_and_forgets_the_episode_before(name):
    policy = make(name)
    other, *same = (play(policy, *planned("disturbed", seed)) for seed in (1, 0, 0))
    assert [s.action for s in same[0].steps] == [s.action for s in same[1].steps]
    np.testing.assert_array_equal(same[0].outcome.finished, same[1].outcome.finished)
    assert len(other.steps) != len(same[0].steps)


@pytest.mark.parametrize("name", QUEUED)
@pytest.mark.parametrize("scene", ["copies", "disturbed", "two slots"])
def test_queues_survive_that_others_decide_in_between(name, scene):
    for seed in range(2):
        episode = play(Mixture(of=make(name), epsilon=0.4), *planned(scene, seed), record=False)
        assert episode.terminated


def test_a_rule_that_lists_never_waits_while_a_task_is_offered():
    for name in LISTED:
        for step in play(make(name), *planned("plain", 0)).steps:
            if step.decision.agent == "task" and step.decision.mask[1:].any():
                assert step.action > 0


@pytest.mark.parametrize("scene", ["plain", "disturbed", "pulling", "wide"])
@pytest.mark.parametrize("name", LISTED)
def test_a_rule_played_inside_compiled_code_makes_the_same_choices(name, scene):
    for seed in range(2):
        workload, truth = planned(scene, seed)
        episode = play(make(name), workload, truth)
        inside = scene_of(workload, truth)
        assert all(step.decision.globals[4] == 0 for step in episode.steps), "all have a slot"
        choices = dispatching.play(inside.handle, 100000.0, LISTED.index(name))
        assert choices == len(episode.steps)
        for field, one, other in zip(State._fields, inside.state, episode.scene.state, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=field)


def test_a_rule_takes_over_inside_compiled_code_at_any_moment():
    workload, truth = planned("plain", 0)
    whole, late = scene_of(workload, truth), scene_of(workload, truth)
    policy = make("fair")
    while int(late.state.cursor[NUMBER]) < 41:
        if int(late.state.cursor[STAGE]) == CLOSED:
            kernel.proceed(late.handle, np.inf)
        decision = decide(late)
        kernel.act(late.handle, int(decision.keys[policy.probabilities(decision).argmax()]))
    rule = LISTED.index("fair")
    assert dispatching.play(late.copy().handle, np.inf, rule) == dispatching.play(
        whole.handle, np.inf, rule
    )
    dispatching.play(late.handle, np.inf, rule)
    np.testing.assert_array_equal(late.state.finished, whole.state.finished)


def test_nothing_is_handed_over_inside_compiled_code_after_the_horizon():
    workload, truth = planned("plain", 1)
    scene = scene_of(workload, truth)
    dispatching.play(scene.handle, 30.0, 0)
    episode = play(make("fifo"), workload, truth, horizon=30.0)
    assert scene.state.time[0] == 30.0
    np.testing.assert_array_equal(scene.state.started, episode.scene.state.started)


# --- by hand -------------------------------------------------------------------------------------


def small(jobs, *, arrival=None, edges=(), data=0.0, types=None, **settings):
    """Jobs of tasks, each with its seconds per node of a kind of its own; links of bandwidth 1.

    Edges are pairs of tasks; each carries ``data`` bytes, which are seconds.
    """
    costs = [costs for job in jobs for costs in job]
    n, nodes = len(costs), len(costs[0])
    kind = np.arange(n) if types is None else np.asarray(types)
    parents = [[u for u, v in edges if v == task] for task in range(n)]
    return Workload(
        types=tuple(f"t{t}" for t in range(kind.max() + 1)),
        cluster=(
            cluster := Cluster(
                nodes=tuple(
                    Node(name=f"n{m}", cpus=1, memory=1, kind=f"k{m}", bandwidth=1.0)
                    for m in range(nodes)
                )
            )
        ),
        seed=0,
        arrays=assemble(
            family=PLACEMENT,
            type_of=kind,
            job_ptr=np.cumsum([0, *(len(job) for job in jobs)]),
            parent_ptr=np.cumsum([0, *(len(p) for p in parents)]),
            parents=np.array([u for p in parents for u in p], dtype=int),
            data=np.full(len(edges), float(data)),
            arrival=np.zeros(len(jobs)) if arrival is None else arrival,
            scale=np.ones(n),
            seconds=np.array([costs[list(kind).index(t)] for t in range(kind.max() + 1)], float),
            demand=[[1, 0, 0]],
            profile_of_type=np.zeros(kind.max() + 1, dtype=int),
            cluster=cluster,
            **settings,
        ),
    )


def outcome(name, workload, outages=None):
    """Node and finish of each task, estimates being exact."""
    truth = Truth(seconds=workload.arrays.seconds, scale=np.ones(workload.tasks), outages=outages)
    episode = play(make(name), workload, truth)
    assert episode.terminated
    return list(zip(episode.outcome.node.tolist(), episode.outcome.finished.tolist(), strict=True))


THREE = ([(4, 6), (3, 5), (9, 7)],)


def test_min_min_takes_the_pair_that_is_done_first():
    # 1 on node 0 until 3; of the others on node 1 task 0 until 6; at 3 task 2 on node 0.
    assert outcome("min_min", small(THREE)) == [(1, 6.0), (0, 3.0), (0, 12.0)]


def test_max_min_takes_the_task_whose_best_completion_is_last():
    assert outcome("max_min", small(THREE)) == [(0, 4.0), (0, 7.0), (1, 7.0)]


def test_fifo_takes_the_lowest_task_of_the_first_job_and_the_earliest_node():
    assert outcome("fifo", small(THREE)) == [(0, 4.0), (1, 5.0), (0, 13.0)]


@pytest.mark.parametrize("name", ["shortest_work", "fair"])
def test_within_a_job_the_highest_upward_rank_goes_first(name):
    # Ranks are 5, 4 and 8.
    assert outcome(name, small(THREE)) == [(0, 4.0), (0, 7.0), (1, 7.0)]


TWO_JOBS = ([(4,), (4,), (4,)], [(5,), (1,)])
"""One node; the second job has half the work and arrives a second later."""


@pytest.mark.parametrize(
    ("name", "finished"),
    [
        # The first job is done with, then the second by the order of its tasks.
        ("fifo", [4, 8, 12, 17, 18]),
        # At 4 the first job has 8 s left, the second 6; within it the long task has higher rank.
        ("shortest_work", [4, 14, 18, 9, 10]),
        # Nobody runs when the node is free: the job that arrived first.
        ("fair", [4, 8, 12, 17, 18]),
        ("min_min", [4, 9, 13, 18, 5]),
        ("max_min", [4, 13, 17, 9, 18]),
    ],
)
def test_rules_choose_among_jobs(name, finished):
    workload = small(TWO_JOBS, arrival=[0.0, 1.0])
    assert [f for _, f in outcome(name, workload)] == finished


def test_fair_gives_a_node_to_the_job_that_runs_least():
    # Both nodes are alike; the first job has both at first, and one when the second has come.
    jobs = ([(4, 4), (6, 6), (6, 6), (6, 6)], [(7, 7), (7, 7)])
    done = outcome("fair", small(jobs, arrival=[0.0, 1.0]))
    by_node = sorted((f, task) for task, (_, f) in enumerate(done))
    # By rank 1 and 2 go first, until 6; then one of each job; at 12 the first job runs nothing;
    # at 13 the second runs nothing.
    assert by_node == [(6.0, 1), (6.0, 2), (12.0, 3), (13.0, 4), (16.0, 0), (20.0, 5)]


@pytest.mark.parametrize("name", LISTED)
def test_ties_go_to_the_lowest_task_and_the_lowest_node(name):
    done = outcome(name, small(([(5, 5, 5)] * 5,)))
    assert done == [(0, 5.0), (1, 5.0), (2, 5.0), (0, 10.0), (1, 10.0)]


AHEAD = ([(2, 10), (3, 10), (9, 1)],)
"""Task 1 is better off behind task 0 on the node that both like than alone on the other."""


def test_deft_queues_a_task_at_a_busy_node():
    assert outcome("fifo", small(AHEAD)) == [(0, 2.0), (1, 10.0), (0, 11.0)]
    assert outcome("fifo_deft", small(AHEAD)) == [(0, 2.0), (0, 5.0), (1, 1.0)]


def test_strict_deft_lets_nobody_overtake_the_head():
    # Task 2 waits until task 1 has got its node at 2.
    assert outcome("fifo_deft_strict", small(AHEAD)) == [(0, 2.0), (0, 5.0), (1, 3.0)]


def test_deft_selects_by_its_rule():
    jobs = ([(3,), (3,)], [(2,), (1,)])
    assert [f for _, f in outcome("fifo_deft", small(jobs))] == [3, 6, 8, 9]
    assert [f for _, f in outcome("sjf_deft", small(jobs))] == [6, 9, 2, 3]
    chain = small(([(1,), (4,), (2,)], [(3,)]), edges=[(0, 1)])
    # Ranks are 5, 4, 2 and 3; task 1 is executable from 1 on and queues behind 3 and 2.
    assert [f for _, f in outcome("high_rank_up_deft", chain)] == [1, 10, 6, 4]


FORK = {
    "jobs": ([(2, 2), (5, 5), (5, 5)],),
    "edges": [(0, 1), (0, 2)],
    "data": 10.0,
    "types": [0, 1, 1],
}
"""A task that hands ten seconds of data to each of two interchangeable ones."""


def test_deft_copies_the_parent_only_where_that_is_allowed():
    # Alone: one child after the other beside the parent. With a copy on node 1 from 2 to 4 the
    # second child runs there until 9.
    alone = small(**FORK)
    assert outcome("fifo_deft", alone) == [(0, 2.0), (0, 7.0), (0, 12.0)]
    assert outcome("fifo_deft", small(**FORK, duplicate=True)) == [(0, 2.0), (0, 7.0), (1, 9.0)]


def test_deft_commits_again_what_a_lost_node_held():
    # Node 0 is lost at 1 for longer than the rest takes: both go to node 1, the first first.
    outages = (np.array([1.0, 100.0]), np.array([0, 0], np.int32), np.array([LOST, RETURNED]))
    jobs = ([(2, 10), (3, 10)],)
    done = outcome("fifo_deft", small(jobs), (outages[0], outages[1], outages[2].astype(np.int32)))
    assert done == [(1, 11.0), (1, 21.0)]


# --- what does not fit ---------------------------------------------------------------------------


@cache
def workload_of(family):
    if family == "placement":
        return planned("plain", 0)[0]
    if family == "allocation":
        return pipelines().plan(0)
    return batches().plan(0)


@pytest.mark.parametrize("name", FAMILY)
def test_a_rule_refuses_other_families_and_names_what_fits(name):
    for family in ("placement", "allocation", "configuration"):
        policy = make(name)
        assert policy.name == name
        if family == FAMILY[name]:
            policy.reset(workload_of(family))
            continue
        with pytest.raises(ConfigError, match=rf"'{name}' decides .* asks for {family}") as caught:
            policy.reset(workload_of(family))
        fitting = caught.value.hint.split(": ")[1].split("; ")[0].split(", ")
        assert all(make(n).name == n for n in fitting)
        assert all(FAMILY.get(n, family) == family for n in fitting)


@pytest.mark.parametrize("name", ["fifo_deft", "best_static", "least_expected", "paper_random"])
def test_a_rule_with_a_memory_asks_to_be_prepared(name):
    policy = make(name)
    workload = workload_of(FAMILY[name])
    scene = scene_of(workload, scenario_of(name).truth(workload, 0))
    kernel.proceed(scene.handle, np.inf)
    with pytest.raises(ToolkitError, match="reset"):
        policy.probabilities(decide(scene))


def scenario_of(name):
    return SCENES["plain"] if FAMILY[name] == "placement" else batches()


# --- allocation ----------------------------------------------------------------------------------


def test_static_history_believes_what_it_has_measured_often_enough():
    of = pipelines()
    workload = of.plan(0, estimates=estimates(of))
    w = workload.arrays
    policy = StaticHistory(samples=2)
    policy.reset(workload)
    scene = before(workload)
    s = scene.state
    t, position = 0, list(w.order).index(0)
    share = np.maximum(w.demand[:, 0] / 2, w.demand[:, 1] / (96 * 2**20))
    told = w.seconds[t] * share
    told[4] = np.inf  # four cpus do not fit two
    favourite = int(np.argmin(told))
    tasks = np.flatnonzero(w.type_of == t)[:2]

    def answer():
        return int(policy.probabilities(ask(scene, position)).argmax())

    assert answer() == favourite
    for i, task in enumerate(tasks):
        s.status[task] = 3
        s.profile[task] = favourite
        s.started[task] = 1.0
        s.finished[task] = 1.0 + 100.0 * w.scale[task]  # a hundred seconds at the typical size
        if i == 0:
            assert answer() == favourite, "one sample is not believed"
    told[favourite] = np.inf
    assert answer() == int(np.argmin(told)), "the next best by the estimates"
    s.finished[tasks] = 1.0 + 1e-6 * w.scale[tasks]
    s.profile[tasks] = 3
    assert answer() == 3, "what has proved cheapest"


def test_static_history_plays_an_episode():
    of = pipelines(rate=8)
    workload = of.plan(0, estimates=estimates(of, noise=1.0))
    policy = StaticHistory(samples=3)
    policy.reset(workload)
    episode = rollout(
        Simulator(Luck(), 0), workload, chooser(policy, 0), horizon=of.horizon, weights=of.weights
    )
    assert episode.terminated


# --- configuration -------------------------------------------------------------------------------


def batches(**changes):
    values = {
        "name": "batches",
        "stages": (Stage(name="grey", seconds=0.01, overhead=0.2, parallel=0.3, memory=8.0),),
        "batches": 12,
        "startup": 1.0,
        "weights": BatchWeights(inverse=1000.0),
    }
    return Batches(**{**values, **changes})


def configured(policy, of=None, seed=0):
    """The configurations that a policy chose: cores, MiB, instances, and the steps."""
    of = of or batches()
    workload = of.plan(seed)
    policy.reset(workload)
    episode = rollout(
        Simulator(of, seed), workload, chooser(policy, seed), horizon=of.horizon, weights=of.weights
    )
    assert episode.terminated
    rows = workload.arrays.fleets[[s.decision.keys[s.action] for s in episode.steps]]
    return [(int(c), int(b / 2**20), int(i)) for _, c, b, i in rows], episode.steps


def test_largest_counts_the_executors_that_are_granted():
    # Three hosts of four cpus: three executors of 3 cores, six of 2, eight of 1.
    chosen, _ = configured(Largest())
    assert set(chosen) == {(2, 1000, 6)}


def test_largest_takes_all_cores_where_the_hosts_have_them():
    chosen, _ = configured(Largest(), batches(host_cpus=9))
    assert set(chosen) == {(3, 1000, 8)}


def test_best_static_keeps_to_the_fleet_that_is_named():
    fleet = {"cores": 1, "memory": 750, "instances": 7}
    chosen, _ = configured(BestStatic(fleet=fleet))
    assert set(chosen) == {(1, 750, 7)}


def test_best_static_finds_the_configuration_of_least_estimated_seconds():
    of = batches(sigma=0.0, startup=0.0)
    chosen, steps = configured(BestStatic(fleet=None), of)
    assert len(set(chosen)) == 1
    # Without luck and start-up the estimates are the truth: no other does better.
    best = sum(s.elapsed for s in steps)
    for cores in of.cores:
        for instances in of.instances:
            fleet = {"cores": cores, "memory": 1000, "instances": instances}
            _, others = configured(BestStatic(fleet=fleet), of)
            assert best <= sum(s.elapsed for s in others) + 1e-9


@pytest.mark.parametrize(
    ("fleet", "message"),
    [
        ({"cores": 1, "memory": 600, "instances": 7}, "offers no executors"),
        ({"cores": 1, "memory": 500}, "a fleet has cores, memory, instances"),
        ({"cores": 1, "memory": 500, "executors": 5}, "a fleet has cores, memory, instances"),
    ],
)
def test_best_static_refuses_what_is_not_offered(fleet, message):
    with pytest.raises(ConfigError, match=message):
        BestStatic(fleet=fleet).reset(batches().plan(0))


def test_best_static_refuses_what_no_host_holds():
    with pytest.raises(ConfigError, match="hold no executor"):
        BestStatic(fleet={"cores": 3, "memory": 500, "instances": 5}).reset(
            batches(host_cpus=2).plan(0)
        )


def test_model_greedy_follows_the_estimates():
    _, steps = configured(ModelGreedy())
    assert all(s.decision.candidates[s.action, MODEL_ADVICE] == 1.0 for s in steps)
    _, others = configured(Random())
    assert any(s.decision.candidates[s.action, MODEL_ADVICE] == 0.0 for s in others)


@pytest.mark.parametrize(
    ("frames", "means"),
    [(10, (1.14, 500.0, 5.5)), (35, (1.33, 650.0, 6.0)), (60, (1.52, 800.0, 6.5))],
)
def test_paper_random_has_the_averages_that_the_paper_reports(frames, means):
    of = batches(frames=(frames,), host_cpus=24)  # everything is granted
    workload = of.plan(0)
    policy = make("paper_random")
    policy.reset(workload)
    scene = scene_of(workload, of.truth(workload, 0))
    kernel.proceed(scene.handle, np.inf)
    decision = decide(scene)
    assert decision.mask.all()
    p = policy.probabilities(decision)
    found = p @ (workload.arrays.fleets[:, 1:] / [1, 2**20, 1])
    np.testing.assert_allclose(found, means, rtol=1e-6)
    assert p.sum() == pytest.approx(1.0)


def test_paper_random_draws_only_what_is_granted():
    of = batches(host_cpus=2)  # no executor of three cores
    chosen, steps = configured(make("paper_random"), of)
    assert all(cores < 3 for cores, _, _ in chosen)
    assert len(set(chosen)) > 3
    assert all(0 < s.propensity < 1 for s in steps)


def test_paper_random_needs_batches_with_frames():
    workload = batches().plan(0)
    plain = Workload(types=workload.types, cluster=workload.cluster, arrays=workload.arrays, seed=0)
    with pytest.raises(ConfigError, match="frames"):
        make("paper_random").reset(plain)


@pytest.mark.parametrize("changes", [{"frames": (60, 10)}, {"cores": (1,)}])
def test_paper_random_refuses_averages_that_are_no_pair(changes):
    values = {"frames": (10, 60), "cores": (1, 2), "memory": (500, 800), "instances": (5, 6)}
    with pytest.raises(ConfigError, match=next(iter(changes))):
        PaperRandom(**{**values, **changes})


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(1, 50), min_size=2, max_size=6, unique=True).map(sorted),
    share=st.floats(0.0, 1.0),
)
def test_a_distribution_of_greatest_entropy_has_its_mean_and_rises_or_falls(values, share):
    values = np.array(values, dtype=float)
    mean = values[0] + share * (values[-1] - values[0])
    p = spread_out(values, mean)
    assert p.sum() == pytest.approx(1.0)
    assert p @ values == pytest.approx(mean, rel=1e-6)
    # Log-linear in the values: one sign of slope throughout.
    steps = np.sign(np.round(np.diff(p), 12))
    assert (steps >= 0).all() or (steps <= 0).all()


def test_a_mean_in_the_middle_is_uniform():
    np.testing.assert_allclose(spread_out(np.array([1.0, 2.0, 3.0]), 2.0), 1 / 3, rtol=1e-9)
