"""The artefact: it comes back as it was, lies of any kind are refused, nothing is executed."""

import json

import numpy as np
import pytest

import toolkit
from tests import workloads
from tests.envs.standins import Allocation
from tests.learning.lessons import SMALL, algorithm, equal, learn
from tests.recordings import record, transitions
from tests.workloads import before, estimates, scenario
from toolkit.envs.environment import SchedulingEnv
from toolkit.errors import CorruptError, NotFoundError, SchemaError
from toolkit.policies import learned
from toolkit.policies.shipped import folders
from toolkit.store import Store


@pytest.fixture(scope="module")
def trained():
    data = transitions(record())
    network = learn(algorithm("cql", **{**SMALL, "n_steps": 50}), data, tau=3.0).network
    return network, {**data.described.to_dict(), "lineage": {"algo": "cql"}}


def ask():
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))
    return workload, workloads.ask(before(workload), 2)


def test_a_policy_survives_its_files(trained, tmp_path):
    network, about = trained
    network.temperature = 0.25
    learned.save(network, about, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy.json", "policy.safetensors"]
    workload, decision = ask()
    policy = learned.load(tmp_path, "mine")
    policy.reset(workload)
    assert equal(policy.network, network)
    assert policy.network.temperature == 0.25
    before_ = learned.Learned(name="x", network=network, about=about)
    np.testing.assert_array_equal(policy.scores(decision), before_.scores(decision))
    p = policy.probabilities(decision)
    assert p.sum() == 1.0
    assert p.argmax() == policy.act(decision)
    assert decision.mask[policy.act(decision)]


def test_it_acts_on_what_an_environment_shows(trained, tmp_path):
    network, about = trained
    learned.save(network, about, tmp_path)
    policy = toolkit.load_policy(tmp_path)
    env = SchedulingEnv(Allocation())
    observation, _ = env.reset()
    over = False
    while not over:
        action = policy.act(observation)
        assert observation["mask"][action]
        observation, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated


def test_it_is_found_by_its_id(trained):
    network, about = trained
    store = Store()
    learned.save(network, about, store.partial("policies", "cql-1"))
    store.commit("policies", "cql-1", inputs={}, about={"algo": "cql"})
    assert equal(toolkit.load_policy("cql-1").network, network)
    with pytest.raises(NotFoundError, match="did you mean 'cql-1'"):
        toolkit.load_policy("cql-2")


@pytest.mark.parametrize("name", list(folders()))
def test_what_is_shipped_can_be_loaded(name):
    policy = toolkit.load_policy(name)
    assert policy.about["lineage"]["command"].startswith("toolkit train +algo=")
    assert sum(f.stat().st_size for f in folders()[name].iterdir()) < 2**20


def test_features_that_differ_are_named(trained, tmp_path):
    network, about = trained
    changed = {**about, "candidates": [["colour", "1"], *about["candidates"][1:]]}
    learned.save(network, changed, tmp_path)
    workload, _ = ask()
    with pytest.raises(SchemaError, match=r"only there: \['colour'\]; only here: \['cpus'\]"):
        learned.load(tmp_path, "mine").reset(workload)


@pytest.mark.parametrize(
    "change",
    [
        {"policy_schema": 9},
        {"kind": "pickle"},
        {"kind": ["scorer"]},
        {"sizes": {"shape": {"globals": 1, "candidates": 1, "hidden": 10**9}}},
        {"sizes": {"shape": {"globals": 3, "candidates": 12, "hidden": 32}}},
        {"sizes": {"shape": [1, 2]}},
        {"sizes": {"members": 0}},
        {"sizes": {"members": 10**9}},
        {"sizes": {"temperature": 0}},
        {"sizes": {"temperature": "warm"}},
        {
            "sizes": {
                "shape": {
                    "globals": 2,
                    "candidates": 2,
                    "hidden": 8192,
                    "network": "mlp",
                    "slots": 8192,
                }
            }
        },
        {"globals": None},
    ],
)
def test_a_policy_file_that_lies_is_refused(trained, tmp_path, change):
    network, about = trained
    learned.save(network, about, tmp_path)
    file = tmp_path / "policy.json"
    told = json.loads(file.read_text())
    sizes = {**told["sizes"], **change.get("sizes", {})}
    file.write_text(json.dumps({**told, **change, "sizes": sizes}))
    with pytest.raises((CorruptError, SchemaError)):
        learned.load(tmp_path, "mine")


def test_a_damaged_policy_is_refused(trained, tmp_path):
    network, about = trained
    learned.save(network, about, tmp_path)
    tensors = tmp_path / "policy.safetensors"
    whole = tensors.read_bytes()
    for share in (0.0, 0.3, 0.9):
        tensors.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CorruptError, match="cannot be read"):
            learned.load(tmp_path, "mine")
