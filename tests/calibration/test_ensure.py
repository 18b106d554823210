"""The command: a small trace is calibrated once, said as text and as JSON, and drawn."""

import json

import pytest

from tests.calibration.made import scenario_of, simulated
from toolkit import trace as traces
from toolkit.calibration import ensure, fidelity
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.runs import Runs
from toolkit.calibration.search import Effort
from toolkit.cli import main
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.store import Store

PNG = b"\x89PNG"


@pytest.fixture
def hurried(monkeypatch):
    """Search little: what is found is another test's."""
    few = Effort(random=2, refine=1, runs=1, draws=1)
    monkeypatch.setattr(fidelity, "QUICK", few)
    monkeypatch.setattr(ensure, "Effort", lambda: few)


@pytest.fixture
def made(tmp_path):
    policies = (Random(), Mixture(of=Static(), epsilon=0.3))
    trace = simulated(
        scenario_of("allocation", jobs=6), tmp_path / "runs", runs=4, policies=policies, paired=True
    )
    store = Store()
    traces.write(trace, store.partial("traces", "made"))
    return store.commit("traces", "made", inputs={}, about={"replayable": True})


def run(capsys, *words):
    code = main(["calibrate", *words])
    said = capsys.readouterr()
    assert code == 0, said.err
    return said


def test_a_trace_is_calibrated_once(capsys, hurried, made):
    said = run(capsys, "format=json")
    assert "calibrating a replay on trace made" in said.err
    told = json.loads(said.out)
    [product] = Store().list("calibrations")
    assert told["calibration"] == product.id
    assert told["path"] == str(product.path)
    assert told["scenario"] == "test"
    assert product.manifest["inputs"] == {"trace": "made"}
    assert told["fidelity"]["held_out_makespan_error"] < 0.3
    assert told["report"]["splits"].keys() == {"workload", "time", "policy"}
    assert told["report"] == Calibration.load(product.path).fidelity
    assert (product.path / "fidelity.png").read_bytes().startswith(PNG)
    Store().verify(product)

    before = (product.path / "calibration.json").read_bytes()
    again = run(capsys)
    assert "calibrating" not in again.err
    assert f"calibration {product.id}" in again.out
    for line in ("held out by workload", "naive: mean of each type", "noise floor", "search: loss"):
        assert line in again.out
    assert "fidelity.png" in again.out

    forced = run(capsys, "force=true", "trace=made")
    assert "calibrating" in forced.err
    [same] = Store().list("calibrations")
    assert (same.path / "calibration.json").read_bytes() == before
    assert (same.path / "fidelity.png").is_file()


def test_policies_that_are_not_here_are_left_out(capsys, made):
    recorded = Runs(traces.read(made.path))
    told = [{**r, "policy": "gone" if r["run"] == 1 else "random"} for r in recorded.trace.runs()]
    recorded.trace.provenance["runs"][:] = told
    assert list(ensure.behaviours(recorded, Store())) == ["random"]
    assert "runs of 'gone' are learnt from, but not predicted" in capsys.readouterr().err


def test_a_log_is_refused_with_a_hint(capsys, made):
    trace = traces.read(made.path)
    store = Store()
    trace.provenance.update(source="synthetic", scenario=None)
    traces.write(trace, store.partial("traces", "log"))
    store.commit("traces", "log", inputs={}, about={"replayable": False})
    assert main(["calibrate", "trace=log"]) == 2
    said = capsys.readouterr().err
    assert "names no scenario that could be replayed" in said
    assert "toolkit list what=traces" in said
    assert not store.list("calibrations")
