"""Scenarios as plain values and back; nothing is made of what a stranger wrote but scenarios."""

import dataclasses
import json
import math

import pytest

from toolkit.catalogue import Catalogue
from toolkit.envs.registration import scenario_of
from toolkit.errors import ConfigError, CorruptError
from toolkit.reward import BatchWeights, WorkflowWeights
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.described import described, rebuilt
from toolkit.scenarios.pipelines import Pipelines
from toolkit.scenarios.workflows import Group, Stream, Workflows

ANY = Workflows | Batches | Pipelines


@pytest.mark.parametrize("name", Catalogue().groups["scenario"])
def test_every_scenario_survives_json(name):
    scenario = scenario_of(name)
    told = json.loads(json.dumps(described(scenario), allow_nan=False))
    assert rebuilt(told, ANY) == scenario


def test_plain_fields_without_types_are_enough_where_one_type_fits():
    scenario = scenario_of("batches_tiny")
    told = json.loads(json.dumps(dataclasses.asdict(scenario)))
    assert dataclasses.asdict(rebuilt(told, Batches)) == dataclasses.asdict(scenario)


def test_what_is_endless_stays_endless():
    told = described(Group(kind="a", count=1, memory=1.0))
    assert told["bandwidth"] == "inf"
    assert math.isinf(rebuilt(told, Group).bandwidth)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_target_": "os.system"}, "which nobody knows here"),
        ({"_target_": "subprocess.Popen"}, "which nobody knows here"),
        ({"_target_": "toolkit.store.Store"}, "which nobody knows here"),
        ({"_target_": "toolkit.scenarios.workflows.os"}, "which nobody knows here"),
        ({"_target_": "toolkit.scenarios.workflows.Path"}, "which nobody knows here"),
        ({"_target_": "toolkit.scenarios.workflows._Jobs"}, "must be"),
        ({"_target_": ["toolkit"]}, "which nobody knows here"),
        ({"_target_": "toolkit.scenarios.workflows.Group"}, "must be"),
        ({"graphs": {"_target_": "toolkit.scenarios.workflows.Machines"}}, "must be"),
        ({"graphs": {"_target_": "builtins.open", "file": "x"}}, "which nobody knows here"),
        ({"graphs": {}}, "must be"),
        ({"jobs": "many"}, "must be"),
        ({"jobs": True}, "must be"),
        ({"horizon": "5000"}, "must be"),
        ({"horizon": float("nan")}, "must be"),
        ({"cluster": []}, "must be"),
        ({"weights": {"sojourn": "1"}}, "must be"),
        ({"strange": 1}, "has no 'strange'"),
        ({"horizon": None}, "must be"),
    ],
)
def test_what_a_stranger_wrote_is_refused(change, said):
    told = {**described(scenario_of("workflows_tiny")), **change}
    with pytest.raises(CorruptError, match=said):
        rebuilt(told, ANY)


@pytest.mark.parametrize("told", [None, 1, "x", [], {"_target_": None}])
def test_what_is_no_scenario_at_all_is_refused(told):
    with pytest.raises(CorruptError):
        rebuilt(told, ANY)


def test_what_is_missing_is_named():
    told = described(scenario_of("workflows_tiny"))
    del told["arrivals"]
    with pytest.raises(CorruptError, match="Workflows lacks 'arrivals'"):
        rebuilt(told, ANY)


def test_a_value_that_makes_no_sense_says_why():
    with pytest.raises(ConfigError, match="rate of a stream must be positive"):
        rebuilt({"rate": -1.0}, Stream)


def test_a_reward_is_made_of_its_plain_numbers():
    weights = WorkflowWeights(sojourn=1.0, qos=2.0)
    assert rebuilt(described(weights), WorkflowWeights) == weights
    with pytest.raises(CorruptError, match="must be"):
        rebuilt(described(BatchWeights(inverse=1.0)), WorkflowWeights)
