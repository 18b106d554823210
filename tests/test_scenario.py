"""Scenarios: plans are reproducible, vary as declared, and refuse what makes no sense."""

import numpy as np
import pytest
from hydra.utils import instantiate

from tests.workloads import scenario
from toolkit.catalogue import Catalogue
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError
from toolkit.scenarios.pipelines import Feature, Pipelines

NAMES = [n for n in Catalogue().groups["scenario"] if n.startswith("genomics")]


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_plans_the_same_workload_from_the_same_seed(name):
    of = instantiate(Catalogue().read(f"scenario/{name}"), _convert_="all")
    first, again, other = of.plan(1), of.plan(1), of.plan(2)
    np.testing.assert_array_equal(first.job_features, again.job_features)
    np.testing.assert_array_equal(first.arrival, again.arrival)
    assert not np.array_equal(first.job_features, other.job_features)
    assert first.jobs == of.jobs
    assert first.tasks == of.jobs * len(of.types)


def test_a_scenario_survives_plain_values():
    of = scenario()
    again = Pipelines.from_dict(of.to_dict())
    np.testing.assert_array_equal(again.plan(3).arrays.children, of.plan(3).arrays.children)
    assert again.unit == of.unit


def test_features_vary_as_declared():
    rng = np.random.default_rng(0)
    wide = Feature(name="x", low=10, high=1e6, median=1000, spread=0.5)
    drawn = wide.draw(20_000, rng)
    assert np.median(drawn) == pytest.approx(1000, rel=0.03)
    assert np.log(drawn).std() == pytest.approx(0.5, rel=0.03)
    flat = Feature(name="y", low=75, high=250, step=25)
    values = flat.draw(5000, rng)
    assert set(values) <= set(range(75, 251, 25))
    for q in (0.1, 0.5, 0.9):
        assert wide.quantile(q) == pytest.approx(np.quantile(drawn, q), rel=0.05)


@pytest.mark.parametrize(("burst", "instants"), [(1, 12), (4, 3), (5, 3)])
def test_a_burst_arrives_at_one_instant_and_the_rate_stays(burst, instants):
    arrival = scenario(jobs=12, burst=burst).plan(0).arrival
    assert len(np.unique(arrival)) == instants
    assert arrival[0] == 0.0
    many = scenario(jobs=20_000, burst=burst, rate=3.0).plan(0).arrival
    assert 20_000 / many[-1] == pytest.approx(3.0, rel=0.06)


def test_tasks_of_a_job_stand_parents_first():
    w = scenario().plan(0).arrays
    for task in range(len(w.type_of)):
        children = w.children[w.child_ptr[task] : w.child_ptr[task + 1]]
        assert (children > task).all()
        assert (w.job_of[children] == w.job_of[task]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"edges": (("qc", "trim"), ("trim", "qc"))}, "cycle"),
        ({"edges": (("qc", "nope"),)}, "names no process type 'nope'"),
        ({"edges": (("qc",),)}, "pair of types"),
        ({"types": ("a", "a"), "edges": ()}, "unique"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"burst": 0}, "burst must be at least 1"),
        ({"interval": 0.0}, "interval must be positive"),
        ({"horizon": 0.1}, "horizon must be longer"),
        ({"size": ("weight",)}, "no feature 'weight'"),
        ({"profiles": ((1, -5),)}, "a profile is"),
    ],
)
def test_what_makes_no_sense_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        scenario(**change)


def test_a_cluster_that_fits_no_profile_is_refused():
    small = Cluster(nodes=(Node(name="a", cpus=0.5, memory=2**30),))
    with pytest.raises(ConfigError, match="no resource profile fits any node"):
        scenario().plan(0, cluster=small)


@pytest.mark.parametrize("node", [{"cpus": 0}, {"memory": 0}])
def test_a_node_without_resources_is_refused(node):
    with pytest.raises(ConfigError, match="needs"):
        Node(**{"name": "a", "cpus": 1, "memory": 1, **node})
