"""Watching a user's own Ray program, and Ray as an executor: real programs, real Ray."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from collectors import importing
from collectors.importing import Settings
from collectors.ray import watch
from collectors.ray.importer import RayImporter
from collectors.ray.probe import size_of
from collectors.ray.watch import Choice
from collectors.streams import Limits
from toolkit import trace as traces
from toolkit.errors import ConfigError
from toolkit.store import Store

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).parent / "samples" / "ray"

PROGRAM = """
import os, sys, time
import numpy as np
import ray
from collectors.ray import watch
from collectors.ray.watch import Choice

START = dict(num_cpus=2, object_store_memory=100 << 20, include_dashboard=False,
             log_to_driver=False, _temp_dir=sys.argv[1])

@ray.remote(num_cpus=1, memory=50 << 20)
def load(i):
    return np.full(1000 * (i + 1), i)

@ray.remote(num_returns=2)
def halves(x):
    return x[: len(x) // 2], x[len(x) // 2 :]

@ray.remote
def total(*xs):
    return float(sum(x.sum() for x in xs))

@ray.remote(max_retries=1, retry_exceptions=True)
def flaky(path):
    if not os.path.exists(path):
        open(path, "w").close()
        raise ValueError("first time")
    return 1
"""


@pytest.fixture
def short():
    """Return a folder whose name is short enough for Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="rw", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run(body, short, store, expect=0):
    """Run a program of a user in a process of its own."""
    file = Path(short) / "program.py"
    file.write_text(PROGRAM + textwrap.dedent(body))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TOOLKIT_DATASETS": str(store)}
    done = subprocess.run(
        [sys.executable, str(file), short],
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=short,
    )
    assert done.returncode == expect, done.stderr
    return done


def rows(trace, name):
    return trace.tables[name].to_pylist()


def of_type(trace, name):
    return [r for r in rows(trace, "tasks") if r["type"] == name]


@pytest.mark.engine
@pytest.mark.slow
def test_three_lines_make_a_trace_of_a_program(short, own_store):
    run(
        """
        with watch("mine") as w:
            ray.init(**START)
            parts = [w.submit(load, i) for i in range(3)]
            pairs = [w.submit(halves, p) for p in parts]
            sum_ = w.submit(total, pairs[0][1], pairs[1][0], pairs[1][1], num_cpus=0.5)
            assert ray.get(sum_) == 2000.0
            assert ray.get(w.submit(flaky, START["_temp_dir"] + "/flaky")) == 1
            addresses = set()
            import psutil
            for child in psutil.Process().children(recursive=True):
                try:
                    sockets = child.net_connections("inet")
                except psutil.Error:
                    continue
                addresses |= {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
            assert addresses and addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, addresses
        assert not ray.is_initialized()
        assert w.product.id == "mine"
        """,
        short,
        own_store,
    )
    trace = traces.read(Store(own_store).get("traces", "mine").path)
    assert {r["type"]: r["cpus"] for r in rows(trace, "tasks")} == {
        "load": 1, "halves": 1, "total": 0.5, "flaky": 1,
    }  # fmt: skip
    [summed] = of_type(trace, "total")
    into = {(e["parent"], e["bytes"]) for e in rows(trace, "edges") if e["child"] == summed["task"]}
    halves = [r["task"] for r in of_type(trace, "halves")]
    assert into == {(halves[0], 4000.0), (halves[1], 16000.0)}  # one half, and both
    assert [r["bytes_out"] for r in of_type(trace, "load")] == [8000, 16000, 24000]
    assert [r["bytes_in"] for r in of_type(trace, "halves")] == [8000, 16000, 24000]
    assert all(r["cpu_seconds"] >= 0 and r["peak_memory"] >= 0 for r in rows(trace, "tasks"))
    assert [(r["attempt"], r["status"]) for r in of_type(trace, "flaky")] == [
        (0, "failed"),
        (1, "done"),
    ]
    assert rows(trace, "decisions") == []
    assert trace.provenance["completeness"]["share"] == 1


@pytest.mark.engine
@pytest.mark.slow
def test_a_policy_is_asked_when_the_parents_are_done_and_its_choices_are_recorded(short, own_store):
    run(
        """
        seen = []
        def decide(observation):
            seen.append(observation)
            return Choice(action=1, slots=3, options={"num_cpus": 0.25}, propensity=0.5)

        with watch("decided", decide=decide, policy="quarter") as w:
            ray.init(**START)
            parts = [w.submit(load, i) for i in range(2)]
            ray.get(w.submit(total, *parts))
        assert [o["function"] for o in seen] == ["load", "load", "total"]
        assert all(o["all_cpu"] == 2 and 0 <= o["free_cpu"] <= 2 for o in seen)
        """,
        short,
        own_store,
    )
    trace = traces.read(Store(own_store).get("traces", "decided").path)
    tasks, decisions = rows(trace, "tasks"), rows(trace, "decisions")
    assert [t["cpus"] for t in tasks] == [0.25] * 3
    assert {(d["action"], d["slots"], d["propensity"], d["policy"]) for d in decisions} == {
        (1, 3, 0.5, "quarter")
    }
    assert [decisions[t["decision"]]["agent"] for t in tasks] == ["load", "load", "total"]
    [last] = of_type(trace, "total")
    ended = max(t["finished_at"] for t in of_type(trace, "load"))
    # The driver learns of an end a little before Ray notes it.
    assert decisions[last["decision"]]["at"] >= ended - 0.05
    assert len(decisions[0]["digest"]) == 16


@pytest.mark.engine
@pytest.mark.slow
def test_a_program_that_fails_leaves_its_trace_and_its_own_error(short, own_store):
    done = run(
        """
        with watch("failed") as w:
            ray.init(**START)
            ray.get(w.submit(load, 1))
            raise ValueError("my own mistake")
        """,
        short,
        own_store,
        expect=1,
    )
    assert done.stderr.rstrip().endswith("ValueError: my own mistake")
    trace = traces.read(Store(own_store).get("traces", "failed").path)
    assert [r["status"] for r in of_type(trace, "load")] == ["done"]


@pytest.mark.engine
@pytest.mark.slow
def test_a_program_that_is_killed_leaves_files_to_import_and_no_process(short, own_store, tmp_path):
    run(
        """
        with watch("killed") as w:
            ray.init(**START)
            ray.get(w.submit(total, *[w.submit(load, i) for i in range(2)]))
            time.sleep(1.5)
            import json, psutil, signal
            family = [(p.pid, p.create_time()) for p in psutil.Process().children(recursive=True)]
            open("family.json", "w").write(json.dumps(family))
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        short,
        own_store,
        expect=-signal.SIGKILL,
    )
    assert len(json.loads((Path(short) / "family.json").read_text())) >= 4
    _all_gone(json.loads((Path(short) / "family.json").read_text()))
    assert not Store(own_store).exists("traces", "killed")
    logs = importing.logs_of(RayImporter(), short)
    assert len(logs) == 1
    importing.load(RayImporter(), logs, SETTINGS, tmp_path / "parts", tmp_path / "trace")
    trace = traces.read(tmp_path / "trace")
    assert [r["status"] for r in rows(trace, "tasks")] == ["done"] * 3
    assert len(rows(trace, "edges")) == 2


def _all_gone(family, seconds=15):
    """Check that processes, by id and time of creation, end within some seconds."""
    deadline = time.monotonic() + seconds
    while True:
        left = []
        for pid, created in family:
            try:
                process = psutil.Process(pid)
                if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                    left.append((pid, process.name()))
            except psutil.NoSuchProcess:
                continue
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@pytest.mark.engine
@pytest.mark.slow
def test_a_ray_that_runs_already_without_recording_is_refused(short, own_store):
    run(
        """
        from toolkit.errors import EngineError
        ray.init(**START)
        try:
            with watch("late") as w:
                raise SystemExit("never here")
        except EngineError as error:
            assert "does not record" in str(error) and "before Ray is started" in error.hint
        else:
            raise SystemExit("was not refused")
        assert ray.is_initialized()
        ray.shutdown()
        """,
        short,
        own_store,
    )


SETTINGS = Settings(min_complete=0.9, executor="processes", workers=2, limits=Limits())


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("joined", [True, False])
def test_logs_read_over_ray_give_the_same_trace_as_by_processes(joined, short, tmp_path):
    """On several logical nodes of a cluster that is joined, and on a Ray started for it."""
    import ray
    from ray.cluster_utils import Cluster

    from collectors.ray.loopback import on_loopback

    folder = tmp_path / "logs"
    folder.mkdir()
    for k in range(4):
        shutil.copy(SAMPLES / "export_events.jsonl", folder / f"{k}.jsonl")
    logs = importing.logs_of(RayImporter(), str(folder))
    assert len(logs) == 4
    importing.load(RayImporter(), logs, SETTINGS, tmp_path / "p", tmp_path / "processes")
    cluster, address = None, None
    before = signal.getsignal(signal.SIGTERM)
    if joined:
        node = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}
        head = {**node, "include_dashboard": False, "temp_dir": short}
        with on_loopback():
            cluster = Cluster(initialize_head=True, head_node_args=head)
            cluster.add_node(**node)
        address = cluster.address
    try:
        how = Settings(
            min_complete=0.9, executor="ray", workers=2, limits=Limits(), address=address
        )
        importing.load(RayImporter(), logs, how, tmp_path / "r", tmp_path / "ray")
        assert not ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) == before
        if cluster is not None:
            assert all(n.remaining_processes_alive() for n in cluster.list_all_nodes())
    finally:
        if cluster is not None:
            cluster.shutdown()
    one, other = traces.read(tmp_path / "processes"), traces.read(tmp_path / "ray")
    assert len(one.runs()) == 4
    for name in traces.TABLES:
        assert one.tables[name].equals(other.tables[name]), name
    assert one.provenance == other.provenance


def test_a_trace_that_exists_is_not_recorded_over(own_store):
    store = Store()
    (store.partial("traces", "there") / "x").write_text("x")
    store.commit("traces", "there", inputs={}, about={})
    with pytest.raises(ConfigError, match="trace 'there' exists"), watch("there"):
        pass


def test_a_ray_that_sends_its_events_elsewhere_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_enable_ray_event", "1")
    with pytest.raises(ConfigError, match="RAY_enable_ray_event is set"), watch("other"):
        pass


@pytest.mark.parametrize(
    "bad",
    [{"action": 2, "slots": 2}, {"action": 0, "slots": 1, "propensity": 0.0}],
)
def test_choices_that_make_no_sense_are_refused(bad):
    with pytest.raises(ConfigError):
        Choice(**bad)


class Strange:
    pass


def test_sizes_are_those_of_the_data_or_not_known():
    import numpy as np
    import pyarrow as pa

    assert size_of(np.zeros(10)) == 80
    assert size_of({"a": np.zeros(10), "b": [1, 2.0]}) == 80 + 16 + 2
    assert size_of(b"123") == 3
    assert size_of("ü") == 2
    assert size_of(pa.table({"x": [1, 2]})) == 16
    assert size_of([]) == size_of({}) == 0
    assert size_of(Strange()) is None
    assert size_of([np.zeros(10), Strange()]) is None
    assert size_of(list(range(1_000_000))) is None
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert size_of(deep) is None
