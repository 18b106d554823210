"""A linear policy weighs what it says; its search in compiled code plays what the policy plays."""

import numpy as np
import pytest
from hydra.utils import instantiate

from tests.workloads import scenario as pipelines
from toolkit.catalogue import Catalogue
from toolkit.decision import decide
from toolkit.errors import ConfigError, NotFoundError
from toolkit.features.observe import sizes_of
from toolkit.features.placement import CANDIDATE_FEATURES
from toolkit.live import chooser, rollout
from toolkit.policies.linear import (
    COUNT,
    FEATURES,
    MOST,
    PLAIN,
    SECONDS,
    TRANSFORMS,
    Linear,
    best_slot,
    drive,
    transformed,
    unit_of,
    vector,
)
from toolkit.policies.tuning import HELD_OUT, START, Track, Tuner
from toolkit.reward import WorkflowWeights
from toolkit.scenarios.disturbances import Disturbances
from toolkit.scenarios.workflows import Batch, Group, Machines, Stream, Workflows
from toolkit.simulator import kernel
from toolkit.simulator.simulator import Simulator, scene_of
from toolkit.simulator.state import CLOSED, STAGE, State
from toolkit.workflows.layered import Layered


def workflows(**changes):
    values = {
        "name": "linear",
        "graphs": Layered(tasks=(5, 12), mean_seconds=10.0, types=3, density=0.4),
        "jobs": 4,
        "arrivals": Stream(load=1.0),
        "cluster": Machines(
            groups=(
                Group(kind="fast", count=1, memory=8, speed=2.0, bandwidth=1e9),
                Group(kind="slow", count=2, memory=16, bandwidth=1e9),
            ),
            affinity=0.3,
        ),
        "weights": WorkflowWeights(sojourn=1.0),
        "horizon": 100000.0,
        "sigma": 0.4,
        "ccr": 1.0,
    }
    return Workflows(**{**values, **changes})


SCENES = {
    "stream": workflows(),
    "copies": workflows(duplicate=True, ccr=4.0, arrivals=Batch()),
    "two slots": workflows(slots=2, arrivals=Stream(load=3.0)),
    "disturbed": workflows(disturbances=Disturbances(losses=80.0, preemptions=80.0)),
    "cut short": workflows(horizon=40.0),
}


def shipped():
    return instantiate(Catalogue().read("policy/linear"))


def drawn(seed):
    return np.random.default_rng(seed).standard_normal(len(FEATURES))


def named(weights):
    return Linear(weights=dict(zip(FEATURES, weights.tolist(), strict=True)))


def play(policy, of, seed):
    workload = of.plan(seed)
    policy.reset(workload)
    return rollout(
        Simulator(of, seed), workload, chooser(policy, 0), horizon=of.horizon, weights=of.weights
    )


def inside(of, seed, weights):
    workload = of.plan(seed)
    scene = scene_of(workload, of.truth(workload, seed))
    G, K, F = sizes_of(workload)
    found = drive(
        scene.handle,
        np.empty(G, np.float32),
        np.empty((K, F), np.float32),
        np.empty(K, np.bool_),
        np.empty(K, np.int32),
        weights,
        TRANSFORMS,
        of.horizon,
    )
    return scene, found


@pytest.mark.parametrize("scene", SCENES)
def test_what_is_played_in_compiled_code_is_what_the_policy_plays(scene):
    of = SCENES[scene]
    for seed, weights in ((0, drawn(0)), (1, drawn(1)), (2, vector(START))):
        episode = play(named(weights), of, seed)
        done, (makespan, completion, choices) = inside(of, seed, weights)
        assert choices == len(episode.steps) or not episode.terminated
        for field, one, other in zip(State._fields, done.state, episode.scene.state, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=field)
        o = episode.outcome
        arrived = ~np.isnan(o.arrived)
        ended = np.where(np.isnan(o.completed), of.horizon, o.completed)[arrived]
        assert makespan == pytest.approx(ended.max() - np.nanmin(o.started))
        assert completion == pytest.approx(np.mean(ended - o.arrived[arrived]))


def test_the_shipped_weights_finish_every_scene():
    for name, of in SCENES.items():
        assert play(shipped(), of, 0).terminated == (name != "cut short")


def test_a_score_is_the_weighted_sum_of_transformed_features():
    of = SCENES["copies"]
    workload = of.plan(3)
    scene = scene_of(workload, of.truth(workload, 3))
    weights, units = drawn(5), [unit for _, unit in CANDIDATE_FEATURES]
    policy, seen = named(weights), 0
    while not scene.state.done and seen < 60:
        if int(scene.state.cursor[STAGE]) == CLOSED:
            kernel.proceed(scene.handle, np.inf)
            continue
        d = decide(scene)
        c = d.candidates.astype(float)
        offered = d.mask.copy()
        if d.globals[5] == 0:
            offered &= c[:, 0] == 0  # while nothing runs it does not wait
        unit = c[d.mask & (c[:, 0] == 0), FEATURES.index("fastest seconds")].mean()
        scores = np.zeros(len(c))
        for f, u in enumerate(units):
            x = c[:, f]
            if u == "s":
                x = np.sign(x) * np.minimum(np.log1p(np.abs(x) / unit), 5.0)
            elif u == "tasks":
                x = np.log1p(x)
            scores += weights[f] * x
        scores[~offered] = -np.inf
        slot = int(policy.probabilities(d).argmax())
        assert scores[slot] == pytest.approx(scores.max(), abs=1e-6)
        kernel.act(scene.handle, int(d.keys[slot]))
        seen += 1
    assert seen == 60


@pytest.mark.parametrize(
    ("value", "transform", "expected"),
    [
        (3.0, PLAIN, 3.0),
        (0.0, SECONDS, 0.0),
        (2.0, SECONDS, np.log(2.0)),
        (-6.0, SECONDS, -np.log(4.0)),
        (1e6, SECONDS, MOST),
        (3.0, COUNT, np.log(4.0)),
    ],
)
def test_features_are_transformed_by_their_unit(value, transform, expected):
    assert transformed(value, transform, 2.0) == pytest.approx(expected)


def test_times_compare_whatever_a_scenario_counts_them_in():
    rng = np.random.default_rng(0)
    c = rng.uniform(0.5, 9.0, (6, len(FEATURES))).astype(np.float32)
    c[:, 0] = 0.0
    mask = np.array([False, True, True, True, False, True])
    times = TRANSFORMS == SECONDS
    hours = c.copy()
    hours[:, times] *= 3600.0
    assert unit_of(hours, mask) == pytest.approx(3600 * unit_of(c, mask), rel=1e-6)
    g = np.ones(17, dtype=np.float32)
    for seed in range(20):
        w = drawn(seed)
        assert best_slot(g, c, mask, w, TRANSFORMS) == best_slot(g, hours, mask, w, TRANSFORMS)


def test_ties_go_to_the_first_slot_and_waiting_needs_something_to_wait_for():
    c = np.zeros((3, len(FEATURES)), dtype=np.float32)
    c[0, 0] = 1.0
    mask = np.ones(3, dtype=np.bool_)
    patient = vector({"is wait": 1.0})
    g = np.zeros(17, dtype=np.float32)
    assert best_slot(g, c, mask, patient, TRANSFORMS) == 1
    g[5] = 1.0
    assert best_slot(g, c, mask, patient, TRANSFORMS) == 0
    assert best_slot(g, c, mask, -patient, TRANSFORMS) == 1


def test_weights_are_named_and_what_is_not_named_counts_nothing():
    policy = Linear(weights={"finish in": -2, "is wait": 1})
    assert policy.weights == {"finish in": -2.0, "is wait": 1.0}
    found = vector(policy.weights)
    assert found[FEATURES.index("finish in")] == -2.0
    assert np.count_nonzero(found) == 2


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ({"finnish in": 1.0}, NotFoundError, "did you mean 'finish in'"),
        ({"finish in": float("nan")}, ConfigError, "finite"),
        ({"finish in": 0.0}, ConfigError, "at least one weight"),
        ({}, ConfigError, "at least one weight"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        Linear(weights=weights)


def test_another_family_is_refused():
    with pytest.raises(ConfigError, match="allocation"):
        shipped().reset(pipelines().plan(0))
    with pytest.raises(ConfigError, match="allocation"):
        tuner().tune([pipelines()])


# --- the search ----------------------------------------------------------------------------------


def tuner(**changes):
    values = {"population": 12, "elite": 3, "generations": 3, "seed": 0, "episodes": 2, "final": 3}
    return Tuner(**{**values, **changes})


def test_a_track_is_the_same_each_time_it_is_played():
    for of in SCENES.values():
        track = Track(of, 0)
        first = track.play(drawn(0))
        track.play(drawn(1))
        assert track.play(drawn(0)) == first


@pytest.mark.parametrize("objective", ["makespan", "mean_completion"])
def test_a_search_repeats_itself_and_finds_better_weights(objective):
    # From weights that always take the slowest node.
    start = {"seconds": 1.0}
    of = workflows(jobs=2, arrivals=Batch())
    search = tuner(objective=objective, start=start, generations=6)
    one, same = (search.tune([of]) for _ in range(2))
    assert one == same
    assert one.score < 0.85 * one.start
    other = tuner(objective=objective, start=start, seed=1).tune([of])
    assert other.weights != one.weights


def test_the_answer_scores_what_the_search_says_on_episodes_of_its_own():
    of = workflows(jobs=2)
    search = tuner()
    found = search.tune([of])
    tracks = [Track(of, search.generations * search.episodes + i) for i in range(search.final)]
    weights = vector(found.weights)
    assert np.exp(search.score(tracks, weights)) == pytest.approx(found.score)
    assert found.score == pytest.approx(
        np.exp(np.mean([np.log(t.play(weights)[1]) for t in tracks]))
    )
    assert len(found.curve) == search.generations


def test_weights_that_are_left_out_stay_as_they_begin():
    found = tuner(start={"twins": 0.5, "finish in": -1.0}, leave_out=("twins", "children")).tune(
        [workflows(jobs=1)]
    )
    assert found.weights["twins"] == 0.5
    assert "children" not in found.weights
    assert found.weights.get("finish in") != -1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elite": 13}, "elite"),
        ({"elite": 0}, "elite"),
        ({"generations": 0}, "generations"),
        ({"seed": -1}, "seed"),
        ({"objective": "latency"}, "objective"),
        ({"episodes": 0}, "episodes"),
        ({"spread": 0.0}, "spread"),
        ({"least": 1.5}, "least"),
        ({"generations": HELD_OUT}, "training seeds"),
    ],
)
def test_a_search_refuses_settings_that_make_no_sense(changes, message):
    with pytest.raises(ConfigError, match=message):
        tuner(**changes)


def test_a_search_refuses_unknown_features_and_no_scenario():
    with pytest.raises(NotFoundError, match="did you mean 'children'"):
        tuner(leave_out=("childrn",))
    with pytest.raises(NotFoundError, match="did you mean 'twins'"):
        tuner(start={"twin": 1.0})
    with pytest.raises(ConfigError, match="scenario"):
        tuner().tune([])
