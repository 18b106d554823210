"""One tiny round of the real Ray: record, interrupt, go on, replay."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from collectors import fastq
from collectors.ray.collector import RayCollector
from collectors.ray.session import check_memory
from tests.workloads import scenario
from toolkit import trace as traces
from toolkit.calibration.calibration import Sought, fit
from toolkit.calibration.predict import Abducted, real
from toolkit.calibration.runs import Runs
from toolkit.errors import ConfigError, EngineError, ResourceError
from toolkit.live import rollout
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.simulator.recorded import Forced, Recorded, instants_of, scenario_of, workload_of
from toolkit.simulator.simulator import Simulator

SETTINGS = RayCollector(
    runs=2, behaviours=["random", "static~0.5"], paired=False, sweep=[0.3, 0.7], fastq=None,
    address=None, store_memory=100,
)  # fmt: skip


def tiny():
    return scenario(
        jobs=4,
        rate=4.0,
        interval=0.25,
        features=tuple(
            dataclasses.replace(f, median=800, low=300, high=2000) if f.name == "reads" else f
            for f in scenario().features
        ),
    )


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    policies = [Random(), Mixture(of=Static(), epsilon=0.5)]
    return SETTINGS.collect(tiny(), policies, 7, folder)


@pytest.mark.engine
def test_a_real_run_is_a_valid_trace(trace):
    traces.validate(trace)
    tasks = trace.tables["tasks"].to_pandas()
    recorded_tasks = tasks[tasks["run"] > 0]
    assert len(recorded_tasks) == 2 * 4 * 6
    assert (recorded_tasks["status"] == "done").all()
    assert (tasks["cpu_seconds"] > 0).all()
    assert (tasks["bytes_in"] > 0).all()
    assert recorded_tasks["decision"].notna().all()
    decisions = trace.tables["decisions"].to_pandas()
    assert decisions["propensity"].between(0.1, 1).all()
    chosen = recorded_tasks.merge(decisions, on=["run", "decision"])
    assert (chosen["agent"] == chosen["type"]).all()
    assert (chosen["key"] == chosen["profile"]).all()
    assert (chosen["at"] <= chosen["ready_seen"] + 1e-9).all()
    assert trace.provenance["engine"]["ray"]


@pytest.mark.engine
def test_no_more_was_reserved_than_the_node_has(trace):
    for run in (1, 2):
        t = trace.of("tasks", run).to_pandas()
        for at in t["started_at"]:
            now = t[(t["started_at"] <= at) & (t["finished_at"] > at)]
            assert now["cpus"].sum() <= 2
            assert now["memory"].sum() <= 96 * 2**20


@pytest.mark.engine
def test_the_replay_of_a_real_run_is_exact(trace):
    """Features bit by bit, and the makespan from recorded durations within 2 %."""
    of, recorded = scenario_of(trace), Runs(trace)
    calibration = fit(recorded, recorded.runs, Sought())
    for run in (1, 2):
        forced = Forced(trace, run)
        episode = rollout(
            Recorded(trace, run),
            workload_of(trace, run),
            forced.chooser,
            horizon=of.horizon,
            weights=of.weights,
        )
        assert forced.same == len(episode.steps) > 0
        again = rollout(
            Simulator(Abducted(recorded=recorded, run=run, calibration=calibration), 0),
            workload_of(trace, run, arrival="arrived_seen"),
            Forced(trace, run).chooser,
            horizon=of.horizon,
            weights=of.weights,
            instants=instants_of(trace, run).tolist(),
        )
        makespan = float(np.nanmax(again.outcome.finished))
        assert makespan == pytest.approx(real(recorded, run)["makespan"], rel=0.02)


@pytest.mark.engine
def test_a_users_own_reads_are_sampled(tmp_path):
    file = tmp_path / "own.fastq.gz"
    fastq.generate(file, reads=6000, length=100, accuracy=0.99, complexity=0.8, seed=1)
    settings = dataclasses.replace(SETTINGS, runs=1, fastq=str(file))
    found = settings.collect(tiny(), [Random()], 3, tmp_path / "rec")
    jobs = found.of("jobs", 1).to_pandas()
    assert (jobs["x_length"] == 100).all()
    assert len(found.of("tasks", 1)) == 24


def _listening(processes):
    """Return the addresses on which processes accept connections."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("inet")
            found |= {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
    assert found, "nothing listens: the check sees no sockets"
    return found


@pytest.mark.engine
def test_an_interrupted_recording_leaves_no_process_and_goes_on(tmp_path):
    """SIGTERM in the middle: Ray is gone, finished runs stay, the same command finishes."""
    env = {**os.environ, "TOOLKIT_DATASETS": str(tmp_path)}
    command = [
        sys.executable, "-m", "toolkit", "collect", "scenario=genomics_tiny", "collector.runs=3",
        "ray.store_memory=100", "trace=cut",
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as job:
        partial = tmp_path / "traces"
        deadline = time.monotonic() + 120
        while not list(partial.glob(".*/run-1/provenance.json")):
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.1)
        children = psutil.Process(job.pid).children(recursive=True)
        assert _listening(children) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 130
    _gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    listed = subprocess.run(
        [*command[:3], "list", "what=traces", "format=json"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"cut"' not in listed.stdout
    first = next(partial.glob(".*/run-1/tasks.parquet")).read_bytes()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = traces.read(tmp_path / "traces" / "cut")
    assert len(whole.runs("policy")) == 3
    assert not list(partial.glob(".*"))
    kept = traces.read(tmp_path / "traces" / "cut").of("tasks", 1)
    (tmp_path / "first.parquet").write_bytes(first)
    import pyarrow.parquet as pq

    assert kept.equals(pq.read_table(tmp_path / "first.parquet"))


def _left(family):
    found = []
    for pid, created in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.engine
@pytest.mark.slow
def test_a_recording_that_is_killed_leaves_no_process_and_goes_on(tmp_path):
    """SIGKILL in the middle: a reaper ends what Ray leaves; finished runs are used again."""
    env = {**os.environ, "TOOLKIT_DATASETS": str(tmp_path)}
    command = [
        sys.executable, "-m", "toolkit", "collect", "scenario=genomics_tiny", "collector.runs=3",
        "ray.store_memory=100", "trace=killed",
    ]  # fmt: skip
    partial = tmp_path / "traces"
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as job:
        deadline = time.monotonic() + 180
        while not list(partial.glob(".*/run-1/provenance.json")):
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.1)
        family = []
        for child in psutil.Process(job.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                family.append((child.pid, child.create_time()))
        job.kill()
        job.wait(30)
    assert len(family) >= 6
    deadline = time.monotonic() + 20
    while left := _left(family):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "recording on Ray: 2 runs" in done.stderr
    whole = traces.read(tmp_path / "traces" / "killed")
    assert len(whole.runs("policy")) == 3


def _kill_a_worker(folder, stop, killed):
    """Kill the first worker that executes a task of the first episode."""
    while not stop.is_set():
        if (folder / "run-0" / "provenance.json").is_file():
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error, IndexError):
                    title = process.cmdline()[0]
                    if re.fullmatch(r"ray::[a-z]+-\d+", title):
                        process.kill()
                        killed.append(title)
                        return
        time.sleep(0.002)


@pytest.mark.engine
@pytest.mark.slow
def test_a_lost_worker_is_an_attempt_and_its_replay_is_exact(tmp_path):
    """On two logical nodes: the task is submitted again, and the record can be replayed."""
    settings = dataclasses.replace(
        SETTINGS, runs=1, nodes=[{"cpus": 1, "memory": 64}, {"cpus": 1, "memory": 48}]
    )
    stop, killed = threading.Event(), []
    killer = threading.Thread(target=_kill_a_worker, args=(tmp_path, stop, killed))
    killer.start()
    try:
        found = settings.collect(tiny(), [Random()], 5, tmp_path)
    finally:
        stop.set()
        killer.join()
    assert killed
    nodes = found.of("nodes", 1).to_pylist()
    assert [(n["name"], n["cpus"], n["logical"]) for n in nodes] == [
        ("logical-0", 1, True),
        ("logical-1", 1, True),
    ]
    assert [n["memory"] / 2**20 for n in nodes] == [64, 48]
    tasks = found.of("tasks", 1).to_pandas()
    assert set(tasks["node"]) == {0, 1}
    lost = tasks[tasks["status"] == "failed"]
    assert len(lost) >= 1
    assert lost["reason"].str.contains("Ray lost a task").all()
    again = tasks[tasks["task"].isin(lost["task"])].sort_values(["task", "attempt"])
    assert again.groupby("task")["status"].last().eq("done").all()
    assert again.groupby("task")["submitted_at"].apply(lambda s: s.is_monotonic_increasing).all()
    assert tasks["task"].nunique() == 4 * 6
    of = scenario_of(found)
    forced = Forced(found, 1)
    episode = rollout(
        Recorded(found, 1),
        workload_of(found, 1),
        forced.chooser,
        horizon=of.horizon,
        weights=of.weights,
    )
    assert forced.same == len(episode.steps) > 0
    assert not np.isnan(episode.outcome.finished).any()
    assert len(episode.outcome.finished) == 4 * 6


@pytest.mark.engine
def test_a_cluster_that_is_there_is_joined_and_left_running(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    start = [
        str(ray), "start", "--head", "--block", f"--port={port}", "--num-cpus=2",
        "--memory=200000000", "--object-store-memory=100000000", "--include-dashboard=false",
        "--node-ip-address=127.0.0.1", "--disable-usage-stats",
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(start, **quiet) as head:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            env = {**os.environ, "TOOLKIT_DATASETS": str(tmp_path)}
            command = [
                sys.executable, "-m", "toolkit", "collect", "scenario=genomics_tiny",
                "collector.runs=1", f"ray.address=127.0.0.1:{port}", "trace=joined",
            ]  # fmt: skip
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert head.poll() is None, "the cluster was stopped"
        finally:
            processes = psutil.Process(head.pid).children(recursive=True)
            head.terminate()
            head.wait(30)
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
    [node] = traces.read(tmp_path / "traces" / "joined").of("nodes", 1).to_pylist()
    assert node["cpus"] == 2
    assert node["name"] != "local"


def test_an_address_that_does_not_answer_is_one_sentence(tmp_path):
    settings = dataclasses.replace(SETTINGS, address="127.0.0.1:1")
    with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        settings.collect(tiny(), [Random()], 0, tmp_path)


def test_too_little_memory_is_said_before_ray_starts(monkeypatch):
    free = psutil.virtual_memory()._replace(available=100 * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(ResourceError, match=r"needs about \d+ MiB of memory") as caught:
        check_memory(100, tiny())
    assert "ray.store_memory" in caught.value.hint


def test_a_store_larger_than_shared_memory_is_refused():
    if not Path("/dev/shm").is_dir():
        pytest.skip("no /dev/shm on this system")
    with pytest.raises(ResourceError, match="shared memory"):
        check_memory(10**9, tiny())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runs": 0}, "collector.runs"),
        ({"behaviours": []}, "collector.behaviours"),
        ({"sweep": [0.5]}, "collector.sweep"),
        ({"sweep": [0.0, 0.5]}, "collector.sweep"),
        ({"store_memory": 5}, "collector.store_memory"),
        ({"fastq": "no/such/file"}, "names no file"),
        ({"nodes": [{"cpus": 1}]}, "cpus and memory"),
        ({"nodes": [{"cpus": 1, "memory": 9}], "address": "a:1"}, "address must be null"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(SETTINGS, **change)


def test_sweep_quantiles_span_the_sizes():
    of = tiny()
    values = [of.features[0].quantile(q) for q in (0.25, 0.5, 0.9)]
    assert np.all(np.diff(values) > 0)
