"""Torch tasks on two unequal CPU workers: formulas, processes, and a whole recording."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch

from collectors.gpu.devices import Board, CpuDevice, CudaDevice
from collectors.gpu.estimates import estimate
from collectors.gpu.messages import Failed
from collectors.gpu.record import GpuRecorder
from collectors.gpu.rows import beside
from collectors.gpu.tasks import execute, noise
from collectors.gpu.workers import UNEQUAL, Workers, check_unequal, specs
from tests.recordings import keep
from toolkit import trace as traces
from toolkit.cluster import Cluster, Node
from toolkit.errors import ConfigError, EngineError, NotFoundError
from toolkit.live import rollout
from toolkit.policies.heft_online import HeftOnline
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.replays.reconstruct import replays
from toolkit.reward import WorkflowWeights
from toolkit.scenarios.torch_dags import Measured, TorchGraphs, workload_of
from toolkit.scenarios.workflows import Group, Machines, Stream, Workflows
from toolkit.simulator.recorded import Forced
from toolkit.simulator.recorded_placement import RecordedPlacement
from toolkit.workflows.operations import OPERATIONS, parsed

SMALL = {
    "matmul": [128, 256],
    "convolution": [32],
    "attention": [64, 256],
    "reduction": [256],
    "sort": [4096],
    "transfer": [4096],
}


def scenario(**changes):
    return Workflows(
        **{
            "name": "torch_small",
            "graphs": TorchGraphs(operations=SMALL, tasks=(6, 9)),
            "jobs": 2,
            "arrivals": Stream(rate=20.0),
            "cluster": Machines(groups=[Group(kind="cpu", count=2, memory=4, bandwidth=1e9)]),
            "weights": WorkflowWeights(sojourn=1.0),
            "horizon": 60.0,
            "pull": True,
            **changes,
        }
    )


SETTINGS = GpuRecorder(runs=2, behaviours=["random", "heft_online~0.5"], repeats=2, devices="cpu")
POLICIES = [Random(), Mixture(of=HeftOnline(), epsilon=0.5)]


# Operations and tasks.


def test_flops_and_bytes_are_those_counted_by_hand():
    def of(name):
        operation, size = parsed(name)
        return operation.flops(size), operation.bytes(size)

    # 3 x 3 results of 3 products and 3 sums each.
    assert of("matmul@3") == (54, 36)
    # 64 channels of 4 x 4 points, each from 64 x 3 x 3 products and as many sums.
    assert of("convolution@4") == (64 * 16 * 576 * 2, 64 * 16 * 4)
    # 8 heads: 5 x 5 scores of 64 products and sums, then 5 x 64 results of 5 of them.
    assert of("attention@5") == (8 * (25 * 128 + 320 * 10), 8 * 5 * 64 * 4)
    # Four times a subtraction, an exponential and an addition of each number.
    assert of("reduction@6") == (4 * 36 * 3, 24)
    assert of("sort@7") == (0, 28)
    assert of("transfer@7") == (0, 28)


@pytest.mark.parametrize("name", OPERATIONS)
def test_flops_agree_with_what_torch_counts(name):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    size, pool = 64, noise("cpu")
    # It counts what an attention is made of, not the one kernel for all of it.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        execute(name, size, 0, [], pool, torch.empty)
    counted = counter.get_total_flops()
    if name in ("matmul", "convolution", "attention"):
        assert counted == OPERATIONS[name].flops(size)
    else:
        assert counted == 0  # torch counts no reductions


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_task_is_determined_by_its_seed_and_its_parents(name):
    size, pool = 48, noise("cpu")

    def made(seed, parents=()):
        return execute(name, size, seed, parents, pool, torch.empty)

    first = made(1)
    assert first.dtype == torch.float32
    assert first.shape == (OPERATIONS[name].elements(size),)
    assert torch.isfinite(first).all()
    assert torch.equal(first, made(1))
    assert not torch.equal(first, made(2))
    parent = torch.ones(10)
    assert not torch.equal(first, made(1, [parent]))
    assert torch.equal(parent, torch.ones(10))


def test_numbers_stay_near_one_along_a_deep_graph():
    pool, parent = noise("cpu"), torch.zeros(1)
    for depth in range(60):
        name = list(OPERATIONS)[depth % len(OPERATIONS)]
        parent = execute(name, 64, depth, [parent], pool, torch.empty)
    assert float(parent.abs().max()) < 100


@pytest.mark.parametrize("name", ["matmul", "matmul@", "matmul@-3", "matmul@1e3", "matmul@٣", "@4"])
def test_a_type_that_is_no_operation_and_size_is_refused(name):
    with pytest.raises((ConfigError, NotFoundError)):
        parsed(name)


def test_an_operation_that_is_misspelt_gets_its_name_back():
    with pytest.raises(NotFoundError, match="did you mean 'matmul'"):
        TorchGraphs(operations={"matmull": [4]})


# Plans.


def test_a_plan_needs_no_measuring_and_follows_from_its_seed():
    of = scenario()
    a, b, other = of.plan(3), of.plan(3), of.plan(4)
    np.testing.assert_array_equal(a.arrays.type_of, b.arrays.type_of)
    assert not np.array_equal(a.arrays.type_of, other.arrays.type_of)
    assert a.types == other.types == of.graphs.types
    sent = [parsed(a.types[a.arrays.type_of[p]]) for p in a.arrays.parents]
    np.testing.assert_array_equal(a.arrays.data, [o.bytes(size) for o, size in sent])


# Estimates.


def test_estimates_are_medians_of_warm_runs_and_lines_through_the_links():
    cluster = Cluster(
        nodes=(Node(name="a", cpus=1, memory=1, kind="x"), Node(name="b", cpus=1, memory=1))
    )
    runs = [(0, 0, False, 9.0), *[(0, 0, True, t) for t in (1.0, 2.0, 7.0)], (0, 1, False, 5.0)]
    moves = [(0, 1, size, 0.25 + size / 1000) for size in (100.0, 500.0, 2000.0)]
    moves += [(1, 0, size, 0.05 + size / 500) for size in (100.0, 500.0, 2000.0)]
    told = estimate(["sort@1"], cluster, runs, moves)
    assert told.seconds.tolist() == [[2.0, 5.0]]
    assert told.bandwidth[0, 1] == pytest.approx(1000)
    assert told.bandwidth[1, 0] == pytest.approx(500)
    # A latency is that of both ends, and the mean of both ways.
    assert told.latency.sum() == pytest.approx(0.15)
    again = Measured.from_dict(json.loads(json.dumps(told.to_dict())))
    np.testing.assert_array_equal(again.bandwidth, told.bandwidth)
    with pytest.raises(EngineError, match=r"sort@2 never ran to its end on x"):
        estimate(["sort@1", "sort@2"], cluster, runs, moves)
    with pytest.raises(ConfigError, match="did not measure the type 'sort@2'"):
        told.of(["sort@2"], cluster)


def test_co_runners_are_counted_over_a_tasks_life_on_its_own_hardware():
    rows = [
        {"node": 0, "started_at": 0.0, "finished_at": 4.0},
        {"node": 1, "started_at": 1.0, "finished_at": 2.0},
        {"node": 1, "started_at": 3.0, "finished_at": 5.0},
        {"node": 2, "started_at": 0.0, "finished_at": 5.0},
        {"node": 1, "started_at": 6.0, "finished_at": None},
    ]
    assert beside(rows, ["host", "host", "cuda:0"]) == [0.5, 1.0, 0.5, 0.0, None]


# Workers.


@pytest.fixture(scope="module")
def workers():
    with Workers(specs("cpu", 1)) as found:
        yield found


def test_workers_run_tasks_and_move_outputs(workers):
    workers.run(0, 0, "matmul", 128, 1)
    workers.run(1, 1, "matmul", 128, 2)
    ended, moved = workers.finish(2)
    assert not moved
    assert all(e.took.bytes_out == 128 * 128 * 4 and e.took.host_seconds > 0 for e in ended)
    assert all(e.took.device_seconds is None and e.took.energy is None for e in ended)
    workers.run(1, 2, "transfer", 1000, 3, [(0, 0), (1, 1)])
    [end], [move] = workers.finish(1)
    assert (move.parent, move.child, move.bytes) == (0, 2, 65536)
    assert move.began < move.ended <= end.at
    assert end.took.bytes_in == 2 * 65536
    workers.clear()


def test_only_the_first_execution_is_cold(workers):
    ends = []
    for task in range(3):
        workers.run(0, task, "sort", 3001, 0)
        ends += workers.finish(1)[0]
    assert [e.took.warm for e in ends] == [False, True, True]
    workers.clear()


def test_a_large_output_arrives_whole_while_its_source_is_busy(workers):
    count = 3_000_001
    workers.run(0, 0, "transfer", count, 0)
    workers.finish(1)
    workers.run(0, 1, "attention", 1024, 0)
    workers.run(1, 2, "sort", 10, 0, [(0, 0)])
    ended, [move] = workers.finish(2)
    assert move.bytes == 4 * count
    assert {e.task for e in ended} == {1, 2}
    workers.clear()


def test_a_task_that_cannot_be_run_is_told_and_harms_no_other(workers):
    workers.run(0, 0, "matmul", 10**6, 0)  # 4 TB
    [end], _ = workers.finish(1)
    assert isinstance(end, Failed)
    assert "RuntimeError" in end.why
    workers.run(0, 1, "matmul", 16, 0)
    assert workers.finish(1)[0][0].task == 1
    workers.clear()


def test_the_two_workers_differ_in_what_they_were_started_with(workers):
    fast, slow = workers.about()
    assert slow["isa"] == "DEFAULT" != fast["isa"]
    assert slow["onednn_max_cpu_isa"] == "SSE41"
    assert fast["onednn_max_cpu_isa"] is None
    nodes = workers.cluster().nodes
    assert [n.kind for n in nodes] == [f"cpu-{str(fast['isa']).lower()}", "cpu-sse4"]
    assert all(n.logical for n in nodes)


def test_the_two_workers_are_unequal_or_are_not_called_so(workers):
    try:
        ratios = check_unequal(workers)
    except EngineError as refused:
        assert "the two CPU workers are not unequal" in refused.message
    else:
        assert ratios["mean"] >= UNEQUAL


@pytest.mark.slow
def test_equal_workers_are_not_called_unequal():
    with (
        Workers(specs("cpu", 1, unequal=False)) as equal,
        pytest.raises(EngineError, match=r"not unequal: matmul .*x, attention .*x") as refused,
    ):
        check_unequal(equal)
    assert "collector.unequal=false" in refused.value.hint


def test_nothing_listens(workers):
    for pid in workers.pids:
        assert not psutil.Process(pid).net_connections("all")


def _gone(pids, seconds=10.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [p for p in pids if psutil.pid_exists(p)]
        alive = [p for p in alive if psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def test_workers_die_with_the_recorder_in_the_middle_of_a_task():
    code = (
        "import sys, time\n"
        "from collectors.gpu.workers import Workers, specs\n"
        "w = Workers(specs('cpu', 1))\n"
        "w.run(0, 0, 'sort', 200_000_000, 0)\n"
        "w.run(1, 1, 'matmul', 9000, 0)\n"
        "print(*w.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as recorder:
        pids = [int(p) for p in recorder.stdout.readline().split()]
        assert len(pids) == 2
        assert all(psutil.pid_exists(p) for p in pids)
        recorder.send_signal(signal.SIGKILL)
        recorder.wait()
    assert _gone(pids)


def test_a_worker_that_is_killed_is_an_error_that_names_it():
    with Workers(specs("cpu", 1)[:1]) as doomed:
        os.kill(doomed.pids[0], signal.SIGKILL)
        with pytest.raises(EngineError, match=r"worker 0 \(cpu\) was killed by signal 9"):
            doomed.finish(1, 30.0)
        pids = doomed.pids
    assert _gone(pids)


def test_cuda_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ConfigError, match="no CUDA device"):
        specs("cuda", 2)


def test_only_who_was_alone_on_a_device_may_read_its_counters():
    board = Board(0)
    first = board.enter()
    assert board.leave(first)
    first = board.enter()
    second = board.enter()
    assert not board.leave(second)
    assert not board.leave(first)
    assert board.leave(board.enter())


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@CUDA
def test_streams_of_a_cuda_device_share_it_and_measure_on_it():
    with Workers(specs("auto", 2)) as found:
        kinds = [n.kind for n in found.cluster().nodes]
        assert kinds[0] == kinds[1] == torch.cuda.get_device_name(0)
        cpu = len(kinds) - 1
        found.run(0, 0, "matmul", 512, 1)
        found.run(cpu, 1, "matmul", 512, 1)
        ended, _ = found.finish(2)
        took = {e.task: e.took for e in ended}
        assert 0 < took[0].device_seconds <= took[0].host_seconds
        assert took[0].peak_memory >= 3 * 512 * 512 * 4
        found.run(1, 2, "sort", 64, 0, [(0, 0)])  # another stream of the same device
        _, moved = found.finish(1)
        assert not moved
        found.run(cpu, 3, "sort", 64, 0, [(0, 0)])
        found.run(0, 4, "sort", 64, 0, [(1, cpu)])
        _, moved = found.finish(2)
        assert {(m.parent, m.child, m.bytes) for m in moved} == {
            (0, 3, 512 * 512 * 4),
            (1, 4, 512 * 512 * 4),
        }


@CUDA
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_cuda_device_makes_the_numbers_that_the_cpu_makes(name):
    parent = torch.linspace(-1, 1, 1000)
    cpu, cuda = CpuDevice(), CudaDevice(Board(0), 1)
    ours, _ = cpu.run(name, 96, 5, [parent])
    theirs, _ = cuda.run(name, 96, 5, [cuda.take(parent)])
    np.testing.assert_allclose(cuda.give(theirs), ours.numpy(), rtol=1e-3, atol=1e-4)


@CUDA
@pytest.mark.slow
def test_a_recording_on_cuda_replays_bit_by_bit(tmp_path):
    settings = dataclasses.replace(SETTINGS, devices="auto", runs=1)
    found = settings.collect(scenario(), POLICIES, 7, tmp_path)
    on_device = found.of("tasks", 1).to_pandas()
    on_device = on_device[on_device["m_device_seconds"].notna()]
    assert len(on_device) > 0
    forced = Forced(found, 1)
    episode = rollout(
        RecordedPlacement(found, 1),
        workload_of(found, 1),
        forced.chooser,
        horizon=np.inf,
        weights=scenario().weights,
    )
    assert forced.same == len(episode.steps)


# A recording.


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return SETTINGS.collect(scenario(), POLICIES, 7, tmp_path_factory.mktemp("recording"))


def test_a_recording_is_a_valid_trace_with_propensities(trace):
    traces.validate(trace)
    assert [r["mode"] for r in trace.runs()] == ["sweep", "policy", "policy"]
    decisions = trace.tables["decisions"].to_pandas()
    assert set(decisions["agent"]) == {"task", "node"}
    assert decisions["propensity"].between(0, 1, inclusive="right").all()
    assert (decisions["digest"].str.len() == 16).all()
    tasks = trace.tables["tasks"].to_pandas()
    placed = tasks[tasks["run"] > 0]
    assert (placed["status"] == "done").all()
    chosen = placed.merge(decisions, on=["run", "decision"])
    assert len(chosen) == len(placed)
    assert (chosen["agent"] == "node").all()
    assert (chosen["key"] == chosen["node"]).all()
    assert (chosen["at"] <= chosen["submitted_at"]).all()
    for column in ("m_flops", "m_host_seconds", "m_co_runners", "cpu_seconds", "bytes_out"):
        assert placed[column].notna().all()
    for column in ("m_device_seconds", "m_energy_joules", "m_clock_mhz"):
        assert placed[column].isna().all()


def test_a_node_runs_one_task_at_a_time(trace):
    for run in (1, 2):
        for _, own in trace.of("tasks", run).to_pandas().groupby("node"):
            own = own.sort_values("started_at")
            assert (own["started_at"].to_numpy()[1:] >= own["finished_at"].to_numpy()[:-1]).all()


def test_every_output_that_had_to_move_was_measured(trace):
    for run in (1, 2):
        tasks = trace.of("tasks", run).to_pandas().set_index("task")
        edges = trace.of("edges", run).to_pandas()
        spans = trace.of("spans", run).to_pandas()
        detail = [json.loads(d) for d in spans["detail"]]
        moved = {
            (d["parent"], int(c)): d["bytes"] for d, c in zip(detail, spans["task"], strict=True)
        }
        crossing = {
            (e.parent, e.child): e.bytes
            for e in edges.itertuples()
            if tasks["node"][e.parent] != tasks["node"][e.child]
        }
        assert moved == crossing
        child = tasks.loc[spans["task"].astype(int)]
        begun_at, done = spans["started_at"].to_numpy(), spans["finished_at"].to_numpy()
        assert (child["submitted_at"].to_numpy() <= begun_at).all()
        assert (begun_at <= done).all()
        assert (done <= child["started_at"].to_numpy()).all()


def test_the_sweep_measured_each_type_on_each_kind(trace):
    rows = trace.of("tasks", 0).to_pandas()
    types = scenario().graphs.types
    assert len(rows) == len(types) * 2 * SETTINGS.repeats
    assert (rows[rows["attempt"] == 0]["m_warm"] == False).all()  # noqa: E712
    assert rows["decision"].isna().all()
    told = Measured.from_dict(trace.provenance["estimates"])
    assert told.types == types
    assert (told.seconds > 0).all()
    off = ~np.eye(2, dtype=bool)
    assert np.isfinite(told.bandwidth[off]).all()


@pytest.mark.parametrize("run", [1, 2])
def test_the_replay_of_a_recording_shows_its_policies_the_same_bit_by_bit(trace, run):
    forced = Forced(trace, run)
    episode = rollout(
        RecordedPlacement(trace, run),
        workload_of(trace, run),
        forced.chooser,
        horizon=np.inf,
        weights=scenario().weights,
    )
    assert episode.terminated
    assert forced.same == len(episode.steps) == len(trace.of("decisions", run))
    tasks = trace.of("tasks", run).sort_by("task")
    np.testing.assert_array_equal(episode.outcome.node, tasks["node"].to_numpy())
    np.testing.assert_array_equal(episode.outcome.started, tasks["started_at"].to_numpy())
    np.testing.assert_array_equal(episode.scene.state.decision, tasks["decision"].to_numpy())


def test_estimates_of_an_earlier_recording_are_told_again(trace, tmp_path):
    """Without a sweep, each policy twice on each workload; what it was shown can be replayed."""
    earlier = keep(trace, "first")
    settings = dataclasses.replace(SETTINGS, runs=5, paired=True, times=2, estimates="first")
    found = settings.collect(scenario(), POLICIES, 90, tmp_path / "runs")
    assert [(r["run"], r["mode"], r["seed"], r["repeat"]) for r in found.runs()] == [
        (1, "policy", 91, 0), (2, "policy", 91, 0), (3, "policy", 91, 1), (4, "policy", 91, 1),
        (5, "policy", 92, 0),
    ]  # fmt: skip
    assert not (tmp_path / "runs" / "run-0").exists()
    assert found.provenance["estimates"] == trace.provenance["estimates"]
    assert found.provenance["engine"]["estimates_of"] == earlier.id
    again = list(replays(found))
    assert [r.same for r in again] == [len(r.episode.steps) for r in again]
    one, other = (found.of("tasks", run).sort_by("task") for run in (1, 3))
    assert one["type"].equals(other["type"])
    assert not one["node"].equals(other["node"])
    equal = dataclasses.replace(settings, unequal=False)
    with pytest.raises(EngineError, match="what policies are told was measured on"):
        equal.collect(scenario(), POLICIES, 90, tmp_path / "others")


@pytest.mark.slow
def test_an_episode_that_is_cut_says_what_still_ran(tmp_path):
    slow = scenario(
        graphs=TorchGraphs(operations={"matmul": [1500]}, tasks=8), jobs=1, horizon=0.15
    )
    settings = dataclasses.replace(SETTINGS, runs=1, repeats=1)
    found = settings.collect(slow, [HeftOnline()], 0, tmp_path)
    [about] = found.runs("policy")
    assert about["terminated"] is False
    tasks = found.of("tasks", 1).to_pandas()
    assert "running" in set(tasks["status"])
    assert tasks[tasks["status"] == "running"]["finished_at"].isna().all()
    with pytest.raises(ConfigError, match="no whole episode"):
        workload_of(found, 1)


@pytest.mark.slow
def test_finished_runs_are_kept_and_only_missing_ones_recorded(tmp_path, trace):
    one = dataclasses.replace(SETTINGS, runs=1)
    one.collect(scenario(), POLICIES, 7, tmp_path)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.parquet")}
    whole = SETTINGS.collect(scenario(), POLICIES, 7, tmp_path)
    assert len(whole.runs("policy")) == 2
    assert all(f.stat().st_mtime_ns == t for f, t in before.items())


@pytest.mark.slow
def test_a_sweep_for_calibration_measures_alone_and_beside_others(tmp_path):
    sizes = {"matmul": [32, 64, 96, 128, 160], "sort": [512, 1024, 2048, 4096, 8192]}
    settings = dataclasses.replace(SETTINGS, mode="sweep", repeats=5)
    of = scenario(graphs=TorchGraphs(operations=sizes))
    found = settings.collect(of, POLICIES, 0, tmp_path)
    assert [r["mode"] for r in found.runs()] == ["sweep"]
    assert len(found.tables["decisions"]) == 0
    rows = found.tables["tasks"].to_pandas()
    assert (rows.groupby(["type", "node"]).size() == 10).all()
    assert rows["type"].nunique() == 10
    alone = rows["attempt"] < 5
    assert (rows[alone]["m_co_runners"] == 0).all()
    assert rows[~alone]["m_co_runners"].mean() > 0.2


# Settings.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"runs": 0}, "collector.runs"),
        ({"behaviours": []}, "collector.behaviours"),
        ({"mode": "both"}, "collector.mode"),
        ({"mode": "sweep", "repeats": 4}, "at least 5 in mode sweep"),
        ({"repeats": 0}, "collector.repeats"),
        ({"mode": "sweep", "repeats": 5, "estimates": "x"}, "collector.estimates must be null"),
        ({"devices": "tpu"}, "collector.devices"),
        ({"streams": 0}, "collector.streams"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        dataclasses.replace(SETTINGS, **change)


def test_too_few_sizes_for_a_calibration_are_refused(tmp_path):
    settings = dataclasses.replace(SETTINGS, mode="sweep", repeats=5)
    with pytest.raises(ConfigError, match="a sweep needs 5 sizes of each operation"):
        settings.collect(scenario(), POLICIES, 0, tmp_path)


def test_a_scenario_of_other_tasks_is_refused(tmp_path):
    from toolkit.workflows.layered import Layered

    with pytest.raises(ConfigError, match="no torch operations") as refused:
        SETTINGS.collect(scenario(graphs=Layered(tasks=4)), POLICIES, 0, tmp_path)
    assert "scenario=torch_dags" in refused.value.hint


# The command.

COMMAND = [
    sys.executable, "-m", "toolkit", "collect", "+collector=gpu", "scenario=torch_dags",
    *(f"scenario.graphs.operations.{o}=[{n}]" for o, n in
      (("matmul", 900), ("convolution", 128), ("attention", 900), ("reduction", 900),
       ("sort", 200_000), ("transfer", 200_000))),
    "scenario.jobs=2", "scenario.arrivals.rate=4", "collector.devices=cpu",
    "collector.behaviours=[random,'min_min~0.3']", "collector.repeats=1", "trace=torch",
]  # fmt: skip


@pytest.mark.slow
def test_the_command_killed_in_the_middle_leaves_no_process_and_goes_on(tmp_path):
    """SIGKILL in the second run: workers are gone, the first run stays, again it finishes."""
    env = {**os.environ, "TOOLKIT_DATASETS": str(tmp_path)}
    command = [*COMMAND, "collector.runs=3"]
    partial = tmp_path / "traces"
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as job:
        deadline = time.monotonic() + 120
        while not list(partial.glob(".*/run-1/provenance.json")):
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.02)
        children = [p.pid for p in psutil.Process(job.pid).children(recursive=True)]
        assert len(children) >= 2
        job.send_signal(signal.SIGKILL)
        job.wait()
    assert _gone(children)
    first = pq.read_table(next(partial.glob(".*/run-1/tasks.parquet")))
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    whole = traces.read(tmp_path / "traces" / "torch")
    assert len(whole.runs("policy")) == 3
    assert whole.of("tasks", 1).equals(first)
    assert whole.tables["decisions"].to_pandas()["propensity"].between(0, 1, "right").all()
    assert not list(partial.glob(".*"))


@pytest.mark.slow
def test_ctrl_c_stops_the_workers(tmp_path):
    env = {**os.environ, "TOOLKIT_DATASETS": str(tmp_path)}
    with subprocess.Popen(
        [*COMMAND, "collector.runs=50"],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as job:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("traces/.*/run-1/provenance.json")):
            assert time.monotonic() < deadline
            assert job.poll() is None
            time.sleep(0.02)
        children = [p.pid for p in psutil.Process(job.pid).children(recursive=True)]
        with contextlib.suppress(ProcessLookupError):
            job.send_signal(signal.SIGINT)
        assert job.wait(30) == 130
    assert _gone(children)
