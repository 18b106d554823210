"""Planned: what a trace of each family was recorded of, planned again and kept as plain values."""

import dataclasses
import json

import numpy as np
import pytest

from collectors.simulated import SimulatedCollector
from tests.calibration.made import FAMILIES, scenario_of, simulated
from tests.recordings import record
from toolkit.calibration.planned import Planned, planned_of
from toolkit.errors import ConfigError, CorruptError
from toolkit.policies.random import Random
from toolkit.workload import ALLOCATION, CONFIGURATION, PLACEMENT


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def trace(family, tmp_path_factory):
    return simulated(scenario_of(family), tmp_path_factory.mktemp(family), runs=1)


def same(a, b):
    for name, array in a.arrays._asdict().items():
        np.testing.assert_array_equal(array, getattr(b.arrays, name), err_msg=name)


def test_a_simulated_trace_is_planned_as_it_was(family, trace):
    found, of = planned_of(trace), scenario_of(family)
    assert found.name == of.name
    assert found.horizon == of.horizon
    assert found.weights == of.weights
    kinds = {"allocation": ALLOCATION, "placement": PLACEMENT, "configuration": CONFIGURATION}
    assert found.family == kinds[family]
    same(found.plan(3), of.plan(3))


def test_it_survives_json(trace):
    found = planned_of(trace)
    again = Planned.from_dict(json.loads(json.dumps(found.to_dict())))
    same(again.plan(4), found.plan(4))
    assert again.types == found.types
    np.testing.assert_array_equal(again.columns, found.columns)
    assert again.to_dict() == found.to_dict()


def test_types_and_columns(family, trace):
    found = planned_of(trace)
    told = {
        "allocation": (("qc", "align"), [[1, 8 / 1024], [2, 8 / 1024]]),
        "placement": (("k0", "k1"), [[4, 8], [4, 8]]),
        "configuration": (("resize", "store"), [[2, 500 / 1024], [4, 500 / 1024]]),
    }
    types, columns = told[family]
    assert found.types == types
    np.testing.assert_allclose(found.columns, columns)
    assert found.columns.shape[0] == found.plan(0).arrays.seconds.shape[1]


def test_a_recording_elsewhere_keeps_its_machines_and_what_was_told():
    trace = record()
    found = planned_of(trace)
    assert [n["name"] for n in found.nodes] == ["local"]
    assert found.told.unit == trace.provenance["estimates"]["unit"]
    assert not found.shared
    again = Planned.from_dict(json.loads(json.dumps(found.to_dict())))
    same(again.plan(9), found.plan(9))


def test_names_with_sizes_are_divided(tmp_path):
    found = planned_of(simulated(scenario_of("configuration"), tmp_path, runs=1))
    base, size = found.divided(["store@40", "resize@10", "resize", "store@much"])
    assert base.tolist() == [1, 0, 0, 1]
    np.testing.assert_array_equal(size, [40, 10, np.nan, np.nan])
    with pytest.raises(CorruptError, match="a task of type 'sort@3', which the scenario 'batches'"):
        found.divided(["sort@3"])


def test_only_pipelines_are_pipelines(trace, family):
    found = planned_of(trace)
    if family == "allocation":
        assert found.pipelines is found.scenario
    else:
        with pytest.raises(ConfigError, match="is no stream of pipelines"):
            _ = found.pipelines


def test_a_log_without_a_scenario_is_refused_with_a_hint(tmp_path):
    collector = SimulatedCollector(runs=1, behaviours=["x"], decisions=False)
    log = collector.collect(scenario_of("placement"), (Random(),), 5, tmp_path)
    with pytest.raises(ConfigError, match="comes from synthetic and names no scenario") as caught:
        planned_of(log)
    assert "toolkit list what=traces" in caught.value.hint


@pytest.mark.parametrize(
    "changed", [{"scenario": None}, {"scenario": {}}, {"source": "nextflow", "scenario": None}]
)
def test_a_recording_that_names_no_scenario_is_refused(changed):
    trace = record()
    told = dataclasses.replace(trace, provenance={**trace.provenance, **changed})
    with pytest.raises(ConfigError, match="names no scenario"):
        planned_of(told)


@pytest.mark.parametrize("told", [{"profiles": 3}, {"profiles": [], "features": [{}]}])
def test_a_scenario_that_makes_no_sense_is_one_sentence(told):
    trace = record()
    with pytest.raises(CorruptError, match="its scenario makes no sense"):
        planned_of(dataclasses.replace(trace, provenance={**trace.provenance, "scenario": told}))
