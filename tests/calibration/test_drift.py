"""Drift: the same machine still fits, a slower one is named with by how much."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.calibration.made import scenario_of, simulated
from toolkit import trace as traces
from toolkit.calibration.calibration import Sought, fit
from toolkit.calibration.drift import drift
from toolkit.calibration.runs import Runs
from toolkit.cli import main
from toolkit.errors import ConfigError
from toolkit.policies.random import Random
from toolkit.store import Store


def recorded(folder, *, slower=1.0, family="allocation", runs=4):
    of = scenario_of(family, **({"jobs": 8} if family == "allocation" else {}))
    if slower != 1.0:
        of = replace(of, processes=[replace(p, seconds=p.seconds * slower) for p in of.processes])
    return simulated(of, folder, runs=runs, policies=(Random(),))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    of = Runs(recorded(tmp_path_factory.mktemp("learnt")))
    return fit(of, of.runs, Sought())


def test_the_same_machine_still_fits(learnt, tmp_path):
    found = drift(learnt, Runs(recorded(tmp_path, runs=3)))
    assert not any(d.drifted for d in found)
    assert found[0].type == "all" and found[0].tasks == sum(d.tasks for d in found[1:])
    assert found[0].factor == pytest.approx(1.0, abs=0.1)


def test_a_machine_of_half_the_speed_is_named(learnt, tmp_path):
    found = drift(learnt, Runs(recorded(tmp_path, slower=2.0)))
    assert found[0].drifted
    assert found[0].factor == pytest.approx(2.0, rel=0.15)
    assert np.mean([d.drifted for d in found[1:]]) > 0.5


def test_another_scenario_is_no_drift_but_a_mistake(learnt, tmp_path):
    with pytest.raises(ConfigError, match="calibrate trace="):
        drift(learnt, Runs(recorded(tmp_path, family="configuration")))


def test_the_command_says_what_to_do(tmp_path, capsys):
    store = Store()
    for name, slower in (("first", 1.0), ("later", 2.0)):
        trace = recorded(tmp_path / name, slower=slower)
        traces.write(trace, store.partial("traces", name))
        store.commit("traces", name, inputs={}, about={"replayable": True})
    assert main(["calibrate", "trace=first", "check=later", "format=json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "all" in told["drifted"]
    assert told["trace"] == "later"
