"""Workflows: what was asked for is what comes; and every scenario of conf/ runs to its end."""

import dataclasses
import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from toolkit.catalogue import Catalogue
from toolkit.errors import ConfigError
from toolkit.live import chooser, rollout
from toolkit.paths import conf_dir
from toolkit.policies.random import Random
from toolkit.reward import WorkflowWeights
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.disturbances import Disturbances
from toolkit.scenarios.workflows import (
    GIB,
    Batch,
    Group,
    Instances,
    Machines,
    Share,
    Stream,
    Workflows,
)
from toolkit.simulator.simulator import Simulator
from toolkit.workflows.layered import Layered
from toolkit.workflows.pipeline import Pipeline

MACHINES = Machines(
    groups=(
        Group(kind="fast", count=2, speed=2.0, memory=8, bandwidth=2e9),
        Group(kind="slow", count=3, speed=1.0, memory=16, bandwidth=1e9),
    ),
    affinity=0.3,
)


def workflows(**changes):
    return Workflows(
        **{
            "name": "test",
            "graphs": Layered(tasks=(5, 20), types=3),
            "jobs": 6,
            "arrivals": Stream(rate=0.03),
            "cluster": MACHINES,
            "weights": WorkflowWeights(sojourn=1.0),
            "horizon": 1e6,
            "sigma": 0.5,
            "ccr": 1.0,
            **changes,
        }
    )


def play(of, seed, **changes):
    """Plan and run an episode under the random policy."""
    workload = of.plan(seed)
    return workload, rollout(
        Simulator(of, seed),
        workload,
        chooser(Random(), seed),
        horizon=of.horizon,
        weights=of.weights,
        **changes,
    )


def differing(a, b):
    """The names of the arrays in which two workloads differ."""
    return {
        name
        for name in a.arrays._fields
        if not np.array_equal(getattr(a.arrays, name), getattr(b.arrays, name), equal_nan=True)
    }


def composed(name):
    """A scenario of conf/ as a command builds it."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("collect", [f"scenario={name}"])
    return instantiate(OmegaConf.select(config, "scenario"), _convert_="all")


@pytest.mark.parametrize("name", Catalogue().groups["scenario"])
def test_every_scenario_plans_reproducibly_and_runs_to_its_end(name):
    of = composed(name)
    assert of.name == name
    if isinstance(of, Workflows):
        if isinstance(of.graphs, Instances):
            try:
                of.plan(3)
            except ConfigError as absent:
                pytest.skip(f"{absent.message}; name some in TOOLKIT_REFERENCE_DATA")
        of = dataclasses.replace(of, jobs=of.jobs if of.jobs == 1 else 2)
    elif isinstance(of, Batches):
        of = dataclasses.replace(of, batches=min(10, of.batches))
    else:
        of = dataclasses.replace(of, jobs=min(10, of.jobs))
    workload, episode = play(of, 3, record=False)
    assert not differing(workload, of.plan(3))
    assert differing(workload, of.plan(4))
    assert episode.terminated
    assert np.isfinite(episode.outcome.finished).all()


def test_one_draw_does_not_shift_another():
    plain = workflows().plan(1)
    assert differing(plain, workflows(arrivals=Stream(rate=0.5)).plan(1)) == {"arrival"}
    assert differing(plain, workflows(sigma=0.9).plan(1)) == set()
    moved = differing(plain, workflows(ccr=3.0).plan(1))
    assert moved <= {"data", "rank", "by_rank", "twin", "type_rank", "order"}
    more = workflows(jobs=9).plan(1).arrays
    tasks, edges = plain.tasks, len(plain.arrays.parents)
    np.testing.assert_array_equal(more.scale[:tasks], plain.arrays.scale)
    np.testing.assert_array_equal(more.parents[:edges], plain.arrays.parents)
    np.testing.assert_array_equal(more.arrival[:6], plain.arrays.arrival)


def test_luck_is_the_seeds_own_and_no_other_draw_shifts_it():
    of = workflows()
    plan = of.plan(1)
    first = of.truth(plan, 1).scale
    np.testing.assert_array_equal(first, of.truth(plan, 1).scale)
    assert not np.array_equal(first, of.truth(plan, 2).scale)
    disturbed = workflows(disturbances=Disturbances(losses=100.0, preemptions=50.0))
    np.testing.assert_array_equal(first, disturbed.truth(plan, 1).scale)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.1, 10.0), st.integers(0, 50), st.sampled_from(["bytes", "time"]))
def test_every_job_communicates_as_much_as_was_asked(ccr, seed, edge_kind):
    of = workflows(ccr=ccr, edge_kind=edge_kind)
    w = of.plan(seed).arrays
    off = ~np.eye(len(w.capacity), dtype=bool)
    cost = (1.0 / w.bandwidth[off]).mean()
    if edge_kind == "time":
        assert set(w.bandwidth[off]) == {1.0}
    seconds = w.seconds[:, w.column].mean(axis=1)[w.type_of] * w.scale
    for j in range(len(w.arrival)):
        tasks = slice(w.job_ptr[j], w.job_ptr[j + 1])
        edges = slice(w.parent_ptr[w.job_ptr[j]], w.parent_ptr[w.job_ptr[j + 1]])
        sent = w.data[edges]
        assert sent.mean() * cost / seconds[tasks].mean() == pytest.approx(ccr)


def test_without_a_ratio_the_data_stay_as_they_came():
    graphs = Layered(tasks=10, ccr=2.0, data_sigma=0.0, sigma=0.0, bandwidth=3.0)
    w = workflows(graphs=graphs, ccr=None, cluster=MACHINES).plan(0).arrays
    np.testing.assert_allclose(w.data, 2.0 * 3.0 * 10.0)


@pytest.mark.parametrize("load", [0.3, 1.2])
def test_a_stream_brings_the_load_that_was_asked(load):
    of = workflows(arrivals=Stream(load=load), jobs=1500)
    w = of.plan(5).arrays
    # What is lent to a type by a node that it fills all the time, all types alike.
    speed = (1.0 / w.seconds[:, w.column].mean(axis=0)).sum()
    offered = w.scale.sum() / speed / w.arrival[-1]
    assert offered == pytest.approx(load, rel=0.1)
    assert w.arrival[0] == 0.0


def test_a_batch_is_there_from_the_start_and_has_as_many_jobs_as_asked():
    of = workflows(arrivals=Batch(), jobs=(2, 5))
    plans = [of.plan(seed) for seed in range(40)]
    assert all((p.arrays.arrival == 0).all() for p in plans)
    assert {p.jobs for p in plans} == {2, 3, 4, 5}


def test_sources_are_drawn_by_their_shares():
    of = workflows(
        graphs=(
            Share(graphs=Pipeline(stages=1), share=3.0),
            Share(graphs=Pipeline(stages=2), share=1.0),
        ),
        jobs=2000,
    )
    sizes = np.diff(of.plan(0).arrays.job_ptr)
    assert (sizes == 1).mean() == pytest.approx(0.75, abs=0.04)
    assert set(sizes) == {1, 2}


def test_exact_estimates_are_the_truth():
    of = workflows(
        estimates="exact",
        disturbances=Disturbances(straggler_share=0.2, straggler_factor=3.0),
    )
    workload, episode = play(of, 2)
    w, out = workload.arrays, episode.outcome
    truth = of.truth(workload, 7)
    np.testing.assert_array_equal(truth.scale, w.scale)
    np.testing.assert_array_equal(truth.seconds, w.seconds)
    told = w.seconds[w.type_of, w.column[out.node]] * w.scale
    np.testing.assert_allclose(out.finished - out.started, told)


def test_mean_estimates_lack_nothing_but_luck():
    of = workflows(jobs=400, sigma=0.7)
    plan = of.plan(2)
    truth = of.truth(plan, 2)
    luck = truth.scale / plan.arrays.scale
    np.testing.assert_array_equal(truth.seconds, plan.arrays.seconds)
    assert luck.mean() == pytest.approx(1.0, abs=0.03)
    assert np.log(luck).std() == pytest.approx(0.7, abs=0.03)


def test_blind_estimates_know_the_structure_only():
    of, mean = workflows(estimates="blind"), workflows()
    plan, other = of.plan(2), mean.plan(2)
    w = plan.arrays
    assert (w.scale == 1).all()
    assert (w.seconds == 1).all()
    np.testing.assert_array_equal(w.parents, other.arrays.parents)
    np.testing.assert_array_equal(w.data, other.arrays.data)


def test_what_policies_are_told_does_not_change_what_is_true():
    told = [workflows(estimates=e) for e in ("exact", "mean", "blind")]
    truths = [of.truth(of.plan(3), 3) for of in told]
    for other in truths[1:]:
        np.testing.assert_array_equal(other.scale, truths[0].scale)
        np.testing.assert_array_equal(other.seconds, truths[0].seconds)


def test_unrelated_speeds_belong_to_the_machines():
    a, b = workflows().plan(1).arrays.seconds, workflows().plan(2).arrays.seconds
    np.testing.assert_array_equal(a, b)
    assert np.ptp(a[:, 0] / a[:, 1]) > 0.01
    other = dataclasses.replace(MACHINES, seed=1)
    assert not np.array_equal(a, workflows(cluster=other).plan(1).arrays.seconds)
    related = dataclasses.replace(MACHINES, affinity=0.0)
    np.testing.assert_array_equal(
        workflows(cluster=related).plan(1).arrays.seconds, [[0.5, 1.0]] * 3
    )


def test_tasks_run_where_their_memory_fits():
    of = workflows(memory={"k1": 12}, jobs=10)
    workload, episode = play(of, 0)
    w = workload.arrays
    large = w.type_of == workload.types.index("k1")
    kinds = np.array([n.kind for n in workload.cluster.nodes])[episode.outcome.node]
    assert set(kinds[large]) == {"slow"}
    assert set(kinds[~large]) == {"fast", "slow"}


def test_a_deadline_is_a_multiple_of_the_longest_path():
    of = workflows(deadline=2.0, graphs=Pipeline(stages=3, lanes=2, types=1), memory={"k0": 12})
    w = of.plan(0).arrays
    # The fast nodes have too little memory.
    lanes = (w.scale * w.seconds[0, 1]).reshape(6, 2, 3).sum(axis=2)
    np.testing.assert_allclose(w.deadline, 2.0 * lanes.max(axis=1))
    assert np.isinf(workflows().plan(0).arrays.deadline).all()
    assert (workflows(slo=9.0).plan(0).arrays.deadline == 9.0).all()


def wfformat(folder, name="run", memory=2 * GIB, cores=2):
    """Write the record of a run of two tasks, 30 s and 10 s, one after the other."""
    tasks = [("first_1", [], ["second_2"]), ("second_2", ["first_1"], [])]
    content = {
        "name": name,
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {
                "tasks": [
                    {
                        "id": task,
                        "name": task,
                        "parents": parents,
                        "children": children,
                        "inputFiles": ["f"] if parents else [],
                        "outputFiles": [] if parents else ["f"],
                    }
                    for task, parents, children in tasks
                ],
                "files": [{"id": "f", "sizeInBytes": 5_000_000}],
            },
            "execution": {
                "makespanInSeconds": 50,
                "executedAt": "2024-01-01T00:00:00Z",
                "tasks": [
                    {
                        "id": "first_1",
                        "runtimeInSeconds": 30,
                        "coreCount": cores,
                        "memoryInBytes": memory,
                    },
                    {"id": "second_2", "runtimeInSeconds": 10},
                ],
            },
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def servers(**changes):
    group = Group(**{"kind": "server", "count": 2, "cpus": 4, "memory": 8, **changes})
    return Machines(groups=(group,))


def test_recorded_runs_are_jobs_that_ask_for_what_they_used(tmp_path):
    wfformat(tmp_path)
    of = workflows(
        graphs=Instances(folder=str(tmp_path)),
        arrivals=Stream(load=0.7),
        ccr=None,
        cluster=servers(),
        sigma=0.0,
    )
    workload, episode = play(of, 0)
    w = workload.arrays
    assert workload.types == ("first", "second")
    assert workload.label(1) == "second_2"
    np.testing.assert_allclose(w.scale, [30, 10] * 6)
    np.testing.assert_allclose(w.data, 5e6)
    np.testing.assert_allclose(w.demand[w.profile_of_type], [[2, 2 * GIB, 0], [1, 0, 0]])
    assert episode.terminated
    # By cores: 70 core-seconds a job, 8 cores.
    assert of.rate == pytest.approx(0.7 * 8 / 70)


def test_recorded_runs_are_looked_for_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_REFERENCE_DATA", str(tmp_path))
    with pytest.raises(ConfigError, match="no recorded workflows") as caught:
        workflows(graphs=Instances(), ccr=None).plan(0)
    assert "scenario.graphs.folder" in caught.value.hint
    (tmp_path / "data" / "wfformat").mkdir(parents=True)
    wfformat(tmp_path / "data" / "wfformat")
    assert workflows(graphs=Instances(), ccr=None, cluster=servers()).plan(0).tasks == 12


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"memory": 12 * GIB}, "cannot|no node can hold a task of type 'first'"),
        ({"cores": 5}, "5 cpus"),
    ],
)
def test_what_no_node_can_hold_is_refused_by_name(tmp_path, asked, said):
    wfformat(tmp_path, **asked)
    of = workflows(graphs=Instances(folder=str(tmp_path)), ccr=None, cluster=servers())
    with pytest.raises(ConfigError, match=said):
        of.plan(0)


def test_memory_of_a_type_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="memory names no type 'k7'"):
        workflows(memory={"k7": 1}).plan(0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jobs": 0}, "jobs must be"),
        ({"jobs": (3, 2)}, "jobs must be"),
        ({"edge_kind": "miles"}, "edge_kind"),
        ({"estimates": "good"}, "exact, mean, blind"),
        ({"graphs": ()}, "at least one source"),
        ({"sigma": -1.0}, "sigma"),
        ({"horizon": 0.0}, "horizon"),
        ({"ccr": -1.0}, "ccr"),
        ({"deadline": 0.0}, "deadline"),
        ({"slots": 0}, "slots"),
        ({"cluster": servers()}, "finite bandwidth"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        workflows(**change)


@pytest.mark.parametrize("given", [{}, {"rate": 1.0, "load": 1.0}, {"rate": 0.0}, {"load": -1.0}])
def test_a_stream_has_a_rate_or_a_load(given):
    with pytest.raises(ConfigError, match="stream"):
        Stream(**given)
