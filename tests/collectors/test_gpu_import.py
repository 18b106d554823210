"""Traces of GPU profilers and samples of nvidia-smi: numbers against the raw files, and damage."""

import gzip
import json
import math
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import importing
from collectors.gpu import events, smi
from collectors.gpu.events import Events
from collectors.gpu.importer import GpuImporter
from collectors.gpu.kineto import EXTRA, Kineto
from collectors.gpu.names import annotated, short
from collectors.gpu.nesting import inside_of, parents
from collectors.importing import Settings
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, SchemaError

SAMPLES = Path(__file__).parent / "samples" / "gpu"
BEGAN = datetime(2026, 11, 20, 10, tzinfo=UTC).timestamp()
"""When the trace in ``samples/gpu/beside`` begins."""


def load(path, work, *, zone="UTC", least=0.0):
    """Import a file or folder; return the trace and the reports by log."""
    shutil.rmtree(work, ignore_errors=True)
    importer = GpuImporter(zone=zone)
    how = Settings(min_complete=least, executor="processes", workers=1, limits=Limits())
    logs = importing.logs_of(importer, str(path))
    provenance = importing.load(importer, logs, how, work / "parts", work / "trace")
    return traces.read(work / "trace"), provenance


def report_of(provenance):
    return provenance["completeness"]["runs"][0]


def document(*found, **meta):
    """Return a Chrome trace as bytes."""
    return json.dumps({"schemaVersion": 1, **meta, "traceEvents": list(found)}).encode()


def complete(cat, name, ts, dur, pid=1, tid=1, **args):
    return {
        "ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "pid": pid, "tid": tid,
        "args": args,
    }  # fmt: skip


def kernel(name, ts, dur, stream=7, **args):
    return complete("kernel", name, ts, dur, 0, stream, device=0, stream=stream, **args)


def load_bytes(content, tmp_path, **how):
    file = tmp_path / "trace.json"
    file.write_bytes(content)
    return load(file, tmp_path / "work", **how)


# -- public traces, whose numbers are counted here from the raw JSON -----------------------------


@pytest.fixture(
    scope="module", params=["alexnet_a100", "mi250_minitoy", "sampled_rank0", "cupti_profiler"]
)
def public(request, reference_data, tmp_path_factory):
    file = reference_data / "data" / "kineto" / f"{request.param}.json.gz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not here; name the reference data in TOOLKIT_REFERENCE_DATA")
    raw = json.loads(gzip.decompress(file.read_bytes()))
    trace, provenance = load(file, tmp_path_factory.mktemp("public"), least=1.0)
    return raw, trace, provenance


GPU = ("kernel", "gpu_memcpy", "gpu_memset")
SPAN = {
    "cpu_op": "op",
    "cuda_runtime": "runtime",
    "user_annotation": "annotation",
    "gpu_user_annotation": "annotation",
}


def of(raw, *cats):
    return [e for e in raw["traceEvents"] if e.get("cat") in cats and e["ph"] == "X"]


def test_public_traces_have_a_row_for_every_event_of_a_kind_that_is_read(public):
    raw, trace, provenance = public
    activities, spans = of(raw, *GPU), of(raw, *SPAN)
    assert trace.tables["spans"]["kind"].to_pylist() == [SPAN[e["cat"]] for e in spans]
    assert trace.tables["spans"]["name"].to_pylist() == [e["name"][:500] for e in spans]
    if activities:
        assert trace.tables["tasks"]["name"].to_pylist() == [e["name"][:500] for e in activities]
    unread = Counter(
        e.get("cat") or e["name"]
        for e in raw["traceEvents"]
        if e["ph"] != "M" and e.get("cat") not in {*GPU, *SPAN}
    )
    assert report_of(provenance)["unknown"] == dict(unread)


def test_public_traces_keep_start_and_length_to_the_nanosecond(public):
    raw, trace, provenance = public
    spans = of(raw, *SPAN)
    origin = min(e["ts"] for e in of(raw, *SPAN, *GPU))
    for table, found in (("spans", spans), ("tasks", of(raw, *GPU))):
        if not found:
            continue
        rows = trace.tables[table]
        start = np.array([e["ts"] - origin for e in found]) / 1e6
        assert np.abs(rows["started_at"].to_numpy() - start).max() < 1e-9
        length = np.array([e["dur"] for e in found]) / 1e6
        seen = rows["finished_at"].to_numpy() - rows["started_at"].to_numpy()
        assert np.abs(seen - length).max() < 2e-9
    base = raw.get("baseTimeNanoseconds", 0) / 1e9
    assert provenance["runs"][0]["began_unix"] == pytest.approx(base + origin / 1e6, abs=1e-5)


def test_public_traces_tie_each_activity_to_the_call_that_launched_it(public):
    raw, trace, _ = public
    activities, spans = of(raw, *GPU), of(raw, *SPAN)
    if not activities:
        pytest.skip("no activity of a GPU")
    calls = {e["args"]["correlation"]: (k, e) for k, e in enumerate(spans) if "cuda" in e["cat"]}
    origin = min(e["ts"] for e in spans + activities)
    submitted = trace.tables["tasks"]["submitted_at"].to_pylist()
    launched = trace.tables["spans"]["task"].to_pylist()
    for k, e in enumerate(activities):
        at, call = calls[e["args"]["correlation"]]
        assert submitted[k] == pytest.approx((call["ts"] - origin) / 1e6, abs=1e-9)
        assert launched[at] == k
    assert sum(t is not None for t in launched) == len(activities)


def test_public_traces_have_a_node_per_stream_with_the_memory_of_its_device(public):
    raw, trace, _ = public
    activities = of(raw, *GPU)
    if not activities:
        pytest.skip("no activity of a GPU")
    queues = list(dict.fromkeys((e["args"]["device"], e["args"]["stream"]) for e in activities))
    nodes = trace.tables["nodes"].to_pylist()
    assert [n["name"] for n in nodes] == [f"gpu{d}/stream{s}" for d, s in queues]
    about = {d["id"]: d for d in raw.get("deviceProperties", [])}
    for (device, _), node in zip(queues, nodes, strict=True):
        assert node["kind"] == about.get(device, {}).get("name", "gpu")
        assert node["memory"] == about.get(device, {}).get("totalGlobalMem")
        assert node["logical"]
    placed = trace.tables["tasks"]["node"].to_pylist()
    assert [queues[n] for n in placed] == [
        (e["args"]["device"], e["args"]["stream"]) for e in activities
    ]


def test_public_traces_nest_each_span_in_the_shortest_one_around_it(public):
    raw, trace, _ = public
    spans = of(raw, *SPAN)
    found = trace.tables["spans"]["parent"].to_pylist()
    by_thread = {}
    for k, e in enumerate(spans):
        by_thread.setdefault((e["pid"], e["tid"]), []).append(k)
    rank = {"annotation": 0, "op": 1, "runtime": 2}
    for rows in by_thread.values():
        begins = np.array([spans[k]["ts"] for k in rows])
        ends = begins + np.array([spans[k]["dur"] for k in rows])
        for i, k in enumerate(rows):
            around = (begins <= begins[i] + 1e-6) & (ends >= ends[i] - 1.0) & (ends > begins[i])
            around[i] = False
            lengths = {rows[j]: ends[j] - begins[j] for j in np.flatnonzero(around)}
            if found[k] is None:
                # Nothing around it but what is as long as it, or shorter by a rounding.
                assert all(v <= ends[i] - begins[i] + 1e-3 for v in lengths.values())
            else:
                assert found[k] in lengths
                mine = rank[SPAN[spans[k]["cat"]]], ends[i] - begins[i]
                tighter = [
                    j for j, v in lengths.items() if mine[1] + 1.001 < v < lengths[found[k]] - 1.001
                ]
                assert not tighter


def test_public_traces_keep_what_the_profiler_measured_of_kernels_and_copies(public):
    raw, trace, _ = public
    activities = of(raw, *GPU)
    if not activities:
        pytest.skip("no activity of a GPU")
    rows = trace.tables["tasks"].to_pylist()
    sizes = {
        e["args"]["correlation"]: float(e["args"]["size"])
        for e in of(raw, "cuda_runtime")
        if "size" in e["args"]
    }
    for e, row in zip(activities, rows, strict=True):
        args = e["args"]
        assert row["m_correlation"] == args["correlation"]
        assert row["m_registers_per_thread"] == args.get("registers per thread")
        assert row["m_occupancy_percent"] == args.get("est. achieved occupancy %")
        assert row["m_blocks"] == (math.prod(args["grid"]) if "grid" in args else None)
        assert row["m_bytes"] == args.get("bytes", sizes.get(args["correlation"]))
        assert row["m_bandwidth_gb_per_second"] == args.get("memory bandwidth (GB/s)")


def test_public_traces_give_the_job_of_the_step_in_which_a_kernel_was_launched(public):
    raw, trace, _ = public
    activities = of(raw, *GPU)
    steps = [e for e in of(raw, "user_annotation") if e["name"].startswith("ProfilerStep#")]
    names = trace.tables["jobs"]["name"].to_pylist()
    assert names[: len(steps)] == [e["name"] for e in steps]
    if not activities or not steps:
        assert set(trace.tables["tasks"]["job"].to_pylist()) == {0}
        return
    calls = {e["args"]["correlation"]: e["ts"] for e in of(raw, "cuda_runtime")}
    for e, job in zip(activities, trace.tables["tasks"]["job"].to_pylist(), strict=True):
        at = calls[e["args"]["correlation"]]
        inside = [k for k, s in enumerate(steps) if s["ts"] <= at < s["ts"] + s["dur"]]
        assert [job] == (inside or [len(steps)])


def test_ranges_without_times_of_their_own_are_no_tasks(reference_data, tmp_path):
    file = reference_data / "data" / "kineto" / "cupti_profiler.json.gz"
    if not file.is_file():
        pytest.skip(f"{file.name} is not here; name the reference data in TOOLKIT_REFERENCE_DATA")
    trace, provenance = load(file, tmp_path)
    assert trace.tables["nodes"]["kind"].to_pylist() == ["cpu"]
    assert report_of(provenance)["unknown"]["cuda_profiler_range"] == 77
    assert report_of(provenance)["flags"]["launches_without_activity"] == 104
    assert any("divides its time evenly" in n for n in report_of(provenance)["notes"])


# -- our own samples ----------------------------------------------------------------------------


def test_samples_of_nvidia_smi_join_the_trace_by_time_and_device(tmp_path):
    trace, provenance = load(SAMPLES / "beside", tmp_path, least=1.0)
    assert provenance["runs"][0]["began_unix"] == BEGAN
    rows = [r for r in trace.tables["samples"].to_pylist() if r["metric"] == "power_watts"]
    assert [(r["at"], r["value"]) for r in rows if r["value"] != 250] == [
        (pytest.approx(-0.5), 60.0),
        (pytest.approx(0.512), 250.25),
        (pytest.approx(1.52), 251.0),
        (pytest.approx(2.531), 180.5),
        (pytest.approx(3.54), 90.0),
    ]
    assert {r["node"] for r in rows} == {0}  # the first queue of GPU 0
    used = [r for r in trace.tables["samples"].to_pylist() if r["metric"] == "memory_used_bytes"]
    assert max(r["value"] for r in used) == 1024 * 2**20
    assert [r["at"] for r in used if r["at"] == int(r["at"])] == [0.0, 1.0, 2.0]  # dmon
    flags = report_of(provenance)["flags"]
    assert flags["samples_of_other_devices"] == 5 * 7  # GPU 1, in five rows of the query
    assert report_of(provenance)["unknown"]["pstate (text)"] == 5
    assert flags["samples_not_available"] == 5 + 3  # fans of five rows, mtemp of three


def test_steps_are_jobs_and_what_no_call_launched_is_in_none(tmp_path):
    trace, provenance = load(SAMPLES / "beside", tmp_path)
    assert trace.tables["tasks"]["job"].to_pylist() == [0, 0, 0, 1, 1, 1, 2]
    jobs = trace.tables["jobs"].to_pylist()
    assert [j["name"] for j in jobs] == ["ProfilerStep#3", "ProfilerStep#4", None]
    assert [j["finished_at"] for j in jobs[:2]] == [1.4, 2.9]
    assert report_of(provenance)["flags"]["unlinked_kernels"] == 1
    # The thread of autograd launches too: its calls lie in the step by time, not by thread.
    calls = [s for s in trace.tables["spans"].to_pylist() if s["kind"] == "runtime"]
    assert {(s["name"], s["job"], s["task"]) for s in calls} == {
        ("cudaMemcpyAsync", 0, 0),
        ("cudaLaunchKernel", 0, 1),
        ("cudaLaunchKernel", 0, 2),
        ("cudaMemcpyAsync", 1, 3),
        ("cudaLaunchKernel", 1, 4),
        ("cudaLaunchKernel", 1, 5),
    }


def test_a_trace_without_a_gpu_has_the_outermost_ops_as_tasks(tmp_path):
    trace, _ = load(SAMPLES / "steps.json.gz", tmp_path, least=1.0)
    raw = json.loads(gzip.decompress((SAMPLES / "steps.json.gz").read_bytes()))
    ops = of(raw, "cpu_op")
    outermost = [
        e["name"]
        for e in ops
        if not any(
            o is not e
            and (o["pid"], o["tid"]) == (e["pid"], e["tid"])
            and o["ts"] <= e["ts"]
            and e["ts"] + e["dur"] <= o["ts"] + o["dur"] + 1
            and o["dur"] > e["dur"]
            for o in ops
        )
    ]
    assert trace.tables["tasks"]["name"].to_pylist() == outermost
    assert [j["name"] for j in trace.tables["jobs"].to_pylist()][:3] == [
        f"ProfilerStep#{k}" for k in (2, 3, 4)
    ]
    memory = [e for e in raw["traceEvents"] if e["name"] == "[memory]"]
    samples = trace.tables["samples"].to_pylist()
    held = [s["value"] for s in samples if s["metric"] == "cpu_allocator_allocated_bytes"]
    assert held == [e["args"]["Total Allocated"] for e in memory]


def test_annotated_tasks_are_the_tasks_of_a_trace_without_a_gpu(tmp_path):
    trace, _ = load(SAMPLES / "tasks.json", tmp_path, least=1.0)
    tasks = trace.tables["tasks"].to_pylist()
    assert [t["name"] for t in tasks] == [
        f"task:type={kind},batch={size}" for size in (4, 8, 16) for kind in ("matmul", "sort")
    ]
    assert [t["type"] for t in tasks] == ["matmul", "sort"] * 3
    marks = [s for s in trace.tables["spans"].to_pylist() if s["task"] is not None]
    assert [s["name"] for s in marks] == [t["name"] for t in tasks]


# -- what is special, contradicts or is damaged ---------------------------------------------------


def test_kernels_of_one_graph_launch_share_its_time_and_its_span_shows_the_first(tmp_path):
    trace, provenance = load_bytes(
        document(
            complete("cuda_runtime", "cudaGraphLaunch", 0, 10, correlation=5),
            kernel("a", 20, 5, correlation=5),
            kernel("b", 22, 5, correlation=5),
        ),
        tmp_path,
    )
    assert trace.tables["tasks"]["submitted_at"].to_pylist() == [0.0, 0.0]
    assert trace.tables["spans"]["task"].to_pylist() == [0]
    flags = report_of(provenance)["flags"]
    assert flags["launches_of_several"] == 1
    assert flags["overlapping_on_a_queue"] == 1


def test_overlaps_within_a_rounding_are_none(tmp_path):
    _, provenance = load_bytes(document(kernel("a", 20, 5), kernel("b", 24, 5)), tmp_path)
    assert "overlapping_on_a_queue" not in report_of(provenance)["flags"]


def test_ids_of_two_processes_that_are_equal_link_nothing(tmp_path):
    trace, provenance = load_bytes(
        document(
            complete("cuda_runtime", "cudaLaunchKernel", 0, 1, pid=1, correlation=5),
            complete("cuda_runtime", "cudaLaunchKernel", 1, 1, pid=2, correlation=5),
            kernel("a", 20, 5, correlation=5),
        ),
        tmp_path,
    )
    assert trace.tables["tasks"]["submitted_at"].to_pylist() == [None]
    assert report_of(provenance)["flags"]["ambiguous_correlations"] == 1


def test_a_kernel_before_its_launch_has_no_time_of_submission(tmp_path):
    trace, provenance = load_bytes(
        document(
            complete("cuda_runtime", "cudaLaunchKernel", 50, 1, correlation=5),
            complete("cuda_runtime", "cudaLaunchKernel", 100, 1, correlation=6),
            kernel("a", 20, 5, correlation=5),
            kernel("b", 99.5, 5, correlation=6),  # within the rounding of clocks
        ),
        tmp_path,
    )
    tasks = trace.tables["tasks"].to_pylist()
    assert [t["submitted_at"] for t in tasks] == [None, tasks[1]["started_at"]]
    assert report_of(provenance)["tables"]["tasks"]["repaired"] == 1


@pytest.mark.parametrize("dur", [-1, 1e30, None], ids=str)
def test_an_impossible_duration_leaves_a_task_without_an_end(dur, tmp_path):
    trace, provenance = load_bytes(document(kernel("a", 20, dur), kernel("b", 30, 5)), tmp_path)
    assert trace.tables["tasks"]["status"].to_pylist() == ["running", "done"]
    count = report_of(provenance)["tables"]["tasks"]
    assert (count["seen"], count["complete"], count["repaired"]) == (2, 1, int(dur is not None))


@pytest.mark.parametrize("ts", [None, 1e300, -1e18, 4e15], ids=str)
def test_an_event_without_a_possible_time_is_left_out(ts, tmp_path):
    good = [kernel("a", 1e9 + k, 1) for k in range(5)]
    trace, provenance = load_bytes(document(kernel("lost", ts, 5), *good), tmp_path)
    assert trace.tables["tasks"]["name"].to_pylist() == ["a"] * 5
    assert trace.tables["tasks"]["started_at"].to_pylist()[0] == 0.0
    assert report_of(provenance)["tables"]["tasks"]["dropped"] == 1


def test_bare_infinities_of_old_profilers_become_null(tmp_path):
    whole = document(
        complete("Memcpy", "Memcpy HtoD", 10, 0, 0, "stream 7", device=0, stream=7, bytes=8),
        complete("Kernel", "k", 20, 1, 0, "stream 7"),
    )
    bent = whole.replace(b'"bytes": 8', b'"bytes": 8, "memory bandwidth (GB/s)": inf')
    trace, provenance = load_bytes(bent, tmp_path)
    assert trace.tables["tasks"]["m_bandwidth_gb_per_second"].to_pylist() == [None, None]
    assert trace.tables["tasks"]["m_bytes"].to_pylist() == [8.0, None]
    # One says its stream in args, one in words: both are queues of GPU 0.
    assert trace.tables["nodes"]["name"].to_pylist() == ["gpu0/stream7"] * 2
    assert report_of(provenance)["flags"]["bent_values"] == 1


@pytest.mark.parametrize(
    "args",
    [
        {"grid": "wide"},
        {"grid": [1, 2]},
        {"grid": [1e200, 1e200, 1e200]},
        {"registers per thread": {"a": [{"b": 1}, {"c": 2}]}},
        {"correlation": 10**400},
        {"correlation": "0x10"},
        {"bytes": "N/A"},
        {"Input Dims": [[[[]]]] * 3},
        [1, 2],
        {"Call stack": 'a },{ "b" }]', "x": [{"ph": "X"}, {"ph": "X"}]},
        {"name": "\ud800"},
    ],
    ids=lambda a: str(a)[:30],
)
def test_strange_arguments_do_not_hide_the_event(args, tmp_path):
    odd = kernel("odd", 10, 5)
    odd["args"] = args
    trace, _ = load_bytes(document(kernel("a", 0, 5), odd, kernel("b", 20, 5)), tmp_path)
    assert trace.tables["tasks"]["name"].to_pylist() == ["a", "odd", "b"]


def test_a_damaged_event_is_counted_and_those_around_it_are_kept(tmp_path):
    found = [kernel(f"k{i}", 10 * i, 5, correlation=i + 1) for i in range(300)]
    text = document(*found)
    lost = text.replace(b'"name": "k150"', b'"name": k150"')
    assert lost != text
    trace, provenance = load_bytes(lost, tmp_path)
    names = trace.tables["tasks"]["name"].to_pylist()
    assert names == [f"k{i}" for i in range(300) if i != 150]
    count = report_of(provenance)["tables"]["tasks"]
    assert (count["seen"], count["complete"], count["dropped"]) == (300, 299, 1)
    assert report_of(provenance)["flags"] == {
        "damaged_events": 1,
        "edges": "none",
        "unlinked_kernels": 299,
    }


@pytest.mark.parametrize("seam", [b"},\n  {", b"}, {"], ids=["as Kineto", "one line"])
def test_events_with_many_objects_inside_are_kept_beside_a_damaged_one(seam, tmp_path):
    """Where an object ends an event may end too: this must not lose it."""
    inside = [{"ph": "X", "cat": "other", "name": f"inner{i}", "ts": 1} for i in range(99)]
    found = [kernel(f"k{i}", 10 * i, 5, list=inside) for i in range(40)]
    text = document(*found).replace(
        b'}, {"ph": "X", "cat": "kernel"', seam + b'"ph": "X", "cat": "kernel"'
    )
    lost = text.replace(b'"name": "k20"', b'"name": "k20')
    trace, provenance = load_bytes(lost, tmp_path)
    names = trace.tables["tasks"]["name"].to_pylist()
    assert names == [f"k{i}" for i in range(40) if i != 20]
    assert report_of(provenance)["flags"]["damaged_events"] >= 1
    if b"\n" in seam:
        assert report_of(provenance)["unknown"] == {}


def test_a_trace_that_breaks_off_is_read_to_there_and_misses_what_was_launched(tmp_path):
    launches = [
        complete("cuda_runtime", "cudaLaunchKernel", 10 * i, 1, correlation=i + 1)
        for i in range(20)
    ]
    kernels = [kernel(f"k{i}", 10 * i + 5, 2, correlation=i + 1) for i in range(20)]
    whole = document(*launches, *kernels)
    cut = whole[: whole.index(b'"k15"') + 3]
    trace, provenance = load_bytes(cut, tmp_path)
    assert trace.tables["tasks"]["name"].to_pylist() == [f"k{i}" for i in range(15)]
    report = report_of(provenance)
    assert report["flags"]["truncated"] is True
    count = report["tables"]["tasks"]
    # 15 are whole, the 16th is torn, and 5 launches have no kernel, that of the torn one too.
    assert (count["seen"], count["complete"], count["dropped"]) == (16, 15, 1)
    assert count["expected"] == 20
    with pytest.raises(CorruptError, match=r"75\.0%"):
        load_bytes(cut, tmp_path, least=0.99)


@pytest.mark.parametrize("end", ["", "]", "\n", ",", ", \n"])
def test_an_array_may_have_no_end(end, tmp_path):
    text = "[" + ",\n".join(json.dumps(kernel(f"k{i}", i, 1)) for i in range(3)) + end
    trace, provenance = load_bytes(text.encode(), tmp_path)
    assert trace.tables["tasks"]["name"].to_pylist() == ["k0", "k1", "k2"]
    assert ("truncated" in report_of(provenance)["flags"]) == (end != "]")
    assert report_of(provenance)["tables"]["tasks"]["dropped"] == 0


def test_what_is_said_after_the_events_is_read_too(tmp_path):
    text = json.dumps({"traceEvents": [kernel("k", 5e6, 1)], "schemaVersion": 1})[:-1]
    text += ', "deviceProperties": [{"id": 0, "name": "A"}, {"id": 1, "name": "B"}]'
    text += ', "baseTimeNanoseconds": 1735632360000000000, "traceName": "C:\\logs\\t.json"}'
    trace, provenance = load_bytes(text.encode(), tmp_path)
    assert provenance["runs"][0]["began_unix"] == 1735632365.0
    assert trace.tables["nodes"]["kind"].to_pylist() == ["A"]
    assert report_of(provenance)["flags"] == {"edges": "none", "unlinked_kernels": 1}


def test_other_chrome_traces_are_refused_with_a_sentence(tmp_path):
    with pytest.raises(SchemaError, match="no event of a GPU"):
        run = RunWriter(tmp_path / "run", 0, EXTRA)
        file = tmp_path / "timeline.json"
        file.write_text(json.dumps([{"ph": "X", "cat": "task::f", "name": "f", "ts": 0, "dur": 1}]))
        Kineto(Source(file, Limits()), run).read()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_blocks_of_any_size_give_the_same_events(data, tmp_path_factory, request):
    """Boundaries are searched in the text: where a block ends must not matter."""
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    text = st.text(alphabet='ab{}[],:"\\ \n', max_size=12)
    args = st.dictionaries(text, st.one_of(text, st.lists(st.dictionaries(text, text))), max_size=3)
    found = data.draw(st.lists(st.tuples(text, args), max_size=15))
    whole = document(*({"ph": "X", "name": n, "args": a} for n, a in found))
    file = tmp_path_factory.mktemp("blocks") / "trace.json"
    file.write_bytes(whole)
    size = data.draw(st.integers(16, 4000))
    patch.setattr("collectors.streams.CHUNK", size)
    patch.setattr(events, "BLOCK", max(64, size // 2))
    read = Events(Source(file, Limits()))
    names = [e.name for block in read.blocks() for e in block]
    assert names == [n for n, _ in found]
    assert (read.damaged, read.truncated) == (0, False)
    assert read.meta["schemaVersion"] == 1


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2)),
        max_size=40,
    )
)
def test_nesting_at_once_is_nesting_one_by_one(rows):
    thread, start, length, kind = np.array(rows, dtype=float).reshape(-1, 4).T
    found = parents(thread.astype(int), kind.astype(int), start, start + length)
    end = start + length
    order = sorted(range(len(rows)), key=lambda k: (thread[k], start[k], -end[k], kind[k], k))
    for at, k in enumerate(order):
        want = -1
        for j in reversed(order[:at]):
            if thread[j] == thread[k] and end[j] + 1 >= end[k] and end[j] > start[k]:
                want = j
                break
        assert found[k] == want


@given(above=st.lists(st.integers(-1, 30), max_size=30), of=st.lists(st.booleans(), min_size=30))
def test_what_lies_in_which_at_any_depth(above, of):
    parent = np.array([min(p, k - 1) for k, p in enumerate(above)], dtype=int)
    chosen = np.array(of[: len(above)], dtype=bool)
    want = []
    for p in parent:
        want.append(bool(p >= 0 and (chosen[p] or want[p])))
    assert inside_of(parent, chosen).tolist() == want


def test_deep_nesting_is_found_beyond_the_common_levels():
    n = 2000
    start = np.concatenate([np.arange(n), n + np.arange(5) * 10]).astype(float)
    end = np.concatenate([np.arange(100 * n, 99 * n, -1.0), n + np.arange(5) * 10 + 4])
    found = parents(np.zeros(n + 5, dtype=int), np.ones(n + 5, dtype=int), start, end)
    assert found[:n].tolist() == list(range(-1, n - 1))
    assert found[n:].tolist() == [n - 1] * 5


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("void at::native::reduce<512, 1, F<int> >(at::R<float>)", "at::native::reduce"),
        ("void at::native::(anonymous namespace)::k<4>(int)", "at::native::k"),
        ("ampere_sgemm_128x64_tn", "ampere_sgemm_128x64_tn"),
        ("Memcpy HtoD (Pageable -> Device)", "Memcpy HtoD"),
        ("Memset (Device)", "Memset"),
        ("void f<T>::{lambda(int)#1}::operator()() const", "f::operator const"),
        ("triton_poi_fused_add_0", "triton_poi_fused_add_0"),
        ("<<<>>>", "<<<>>>"),
        ("", ""),
    ],
)  # fmt: skip
def test_kernels_of_one_template_have_one_type(name, type_):
    assert short(name) == type_


def test_the_type_of_an_annotated_task_is_its_type_or_its_first_word():
    assert annotated("task:type=matmul,batch=8") == "matmul"
    assert annotated("task:batch=8, type=matmul") == "matmul"
    assert annotated("task:resize") == "resize"


# -- samples of nvidia-smi ------------------------------------------------------------------------


def beside(tmp_path, name, text, at=BEGAN, seconds=3.0):
    """Import a trace of ``seconds`` from ``at`` on GPUs 0 and 2 beside a file of samples."""
    folder = tmp_path / "logs"
    folder.mkdir(exist_ok=True)
    far = kernel("b", seconds * 1e6 - 1, 1)
    far["args"]["device"] = far["pid"] = 2
    base = {} if at is None else {"baseTimeNanoseconds": int(at * 1e9)}
    (folder / "trace.json").write_bytes(document(kernel("a", 0, 1), far, **base))
    (folder / name).write_text(text)
    return folder


HEADER = "timestamp, index, utilization.gpu [%], memory.used [MiB]\n"


def test_samples_without_a_trace_are_refused_with_a_sentence(tmp_path):
    for place in (SAMPLES / "beside" / "smi.csv", SAMPLES / "beside" / "dmon.txt"):
        with pytest.raises(CorruptError, match="samples without a run are no trace"):
            load(place, tmp_path)
    folder = tmp_path / "logs"
    (folder / "run").mkdir(parents=True)
    shutil.copy(SAMPLES / "tasks.json", folder / "run")
    shutil.copy(SAMPLES / "beside" / "smi.csv", folder)
    _, provenance = load(folder, tmp_path / "work")
    assert [r["log"] for r in provenance["runs"]] == ["run/tasks.json"]
    assert [r["log"] for r in provenance["completeness"]["refused"]] == ["smi.csv"]


def test_local_times_are_read_in_the_zone_that_is_given(tmp_path):
    text = HEADER + "2026/11/20 11:00:01.000, 0, 50 %, 10 MiB\n"
    folder = beside(tmp_path, "smi.csv", text)
    _, provenance = load(folder, tmp_path / "work")
    notes = report_of(provenance)["notes"]
    assert any("about +1 h: is collector.zone=UTC its time zone?" in n for n in notes)
    trace, _ = load(folder, tmp_path / "work", zone="Europe/Berlin")
    assert trace.tables["samples"]["at"].to_pylist() == [1.0, 1.0]
    assert trace.tables["samples"]["value"].to_pylist() == [50.0, 10 * 2.0**20]
    with pytest.raises(ConfigError, match="no time zone 'Mars'"):
        GpuImporter(zone="Mars")


def test_rows_that_cannot_be_read_are_counted_and_the_others_kept(tmp_path):
    text = (
        HEADER
        + "2026/11/20 10:00:01.000, 0, 50 %, 10 MiB\n"
        + "2026/11/20 10:00:01.500, 0, 5O %, 10 MiB\n"  # one value is none
        + "2026/11/20 10:00:02.000, 0\n"  # cells are missing
        + "2026/13/45 10:00:02.000, 0, 50 %, 10 MiB\n"  # no such day
        + HEADER  # a second run of nvidia-smi wrote to the same file
        + "2026/11/20 10:00:02.500, 2, 60 %, [N/A]\n"
        + "2026/11/20 10:00:03.000, 2, 70 %, 1"  # broken off
    )
    trace, provenance = load(beside(tmp_path, "smi.csv", text), tmp_path / "work")
    rows = trace.tables["samples"].to_pylist()
    assert [(r["at"], r["node"], r["value"]) for r in rows] == [
        (1.0, 0, 50.0),
        (1.0, 0, 10 * 2.0**20),
        (1.5, 0, 10 * 2.0**20),
        (2.5, 1, 60.0),
        (3.0, 1, 70.0),
    ]
    count = report_of(provenance)["tables"]["samples"]
    assert (count["seen"], count["complete"], count["dropped"]) == (11, 5, 6)


@pytest.mark.parametrize("header", ["timestamp, uuid, power.draw [W]", "timestamp, power.draw [W]"])
def test_samples_that_do_not_say_of_which_device_have_no_node(header, tmp_path):
    row = "2026/11/20 10:00:01.000, GPU-1234, 50.5 W" if "uuid" in header else (
        "2026/11/20 10:00:01.000, 50.5 W"
    )  # fmt: skip
    trace, provenance = load(beside(tmp_path, "smi.csv", f"{header}\n{row}\n"), tmp_path / "work")
    (sample,) = trace.tables["samples"].to_pylist()
    assert (sample["node"], sample["metric"], sample["value"]) == (None, "power_watts", 50.5)
    assert any("their node is null" in n for n in report_of(provenance)["notes"])


def test_a_device_of_another_name_is_not_that_of_the_trace(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "trace.json").write_bytes(
        document(
            kernel("a", 0, 1e6),
            baseTimeNanoseconds=int(BEGAN * 1e9),
            deviceProperties=[{"id": 0, "name": "NVIDIA A100"}],
        )
    )
    (folder / "smi.csv").write_text(
        "timestamp, index, name, power.draw [W]\n"
        "2026/11/20 10:00:00.100, 0, Tesla T4, 20 W\n"
        "2026/11/20 10:00:00.100, 0, NVIDIA A100, 30 W\n"
    )
    trace, _ = load(folder, tmp_path / "work")
    assert trace.tables["samples"]["value"].to_pylist() == [30.0]


def test_a_trace_that_does_not_say_when_it_was_takes_no_samples(tmp_path):
    text = HEADER + "2026/11/20 10:00:01.000, 0, 50 %, 10 MiB\n"
    trace, provenance = load(beside(tmp_path, "smi.csv", text, at=None), tmp_path / "work")
    assert len(trace.tables["samples"]) == 0
    assert provenance["runs"][0]["began_unix"] is None
    assert report_of(provenance)["flags"]["samples_refused"] == 1
    assert all(f["sha256"] for f in provenance["runs"][0]["files"])


def dmon(*rows, time=True):
    head = "# gpu    sm\n# Idx     %\n"
    if time:
        head = "#Time        gpu    sm\n#HH:MM:SS    Idx     %\n"
    return head + "".join(f" {r}\n" for r in rows)


def test_dmon_without_times_is_refused_with_the_option_that_writes_them(tmp_path):
    folder = beside(tmp_path, "dmon.txt", dmon("0 50", time=False))
    trace, provenance = load(folder, tmp_path / "work")
    assert len(trace.tables["samples"]) == 0
    assert any("dmon -o DT" in n for n in report_of(provenance)["notes"])


def test_dmon_with_the_time_of_day_takes_the_date_of_the_trace(tmp_path):
    rows = ("09:59:00 0 1", "10:00:01 0 50", "10:00:02 2 60", "10:00:02 1 99", "10:05:00 0 2")
    trace, provenance = load(beside(tmp_path, "dmon.txt", dmon(*rows)), tmp_path / "work")
    assert [
        (r["at"], r["node"], r["metric"], r["value"]) for r in trace.tables["samples"].to_pylist()
    ] == [(1.0, 0, "sm_utilisation_percent", 50.0), (2.0, 1, "sm_utilisation_percent", 60.0)]
    assert report_of(provenance)["flags"]["samples_of_other_devices"] == 1


def test_dmon_over_midnight_follows_the_trace(tmp_path):
    at = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC).timestamp()
    rows = ("23:59:58 0 1", "23:59:59 0 2", "00:00:00 0 3", "00:00:01 0 4", "00:00:09 0 5")
    folder = beside(tmp_path, "dmon.txt", dmon(*rows), at=at)
    trace, _ = load(folder, tmp_path / "work")
    assert [(r["at"], r["value"]) for r in trace.tables["samples"].to_pylist()] == [
        (-1.0, 1.0),
        (0.0, 2.0),
        (1.0, 3.0),
        (2.0, 4.0),
    ]


def test_dmon_of_several_days_without_dates_is_refused(tmp_path):
    rows = ("10:00:01 0 50", "22:00:00 0 50", "09:00:00 0 50", "10:00:01 0 60")
    trace, provenance = load(beside(tmp_path, "dmon.txt", dmon(*rows)), tmp_path / "work")
    assert len(trace.tables["samples"]) == 0
    assert any("more than once" in n for n in report_of(provenance)["notes"])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("timestamp, utilization.gpu [%]\n", "query"),
        ("index, memory.used [MiB]\n", "query"),
        ("timestamp, value\n", None),
        ("# gpu   pwr\n# Idx     W\n", "dmon"),
        ("#gpu, pwr\n#Idx, W\n", "dmon"),
        ("# gpu costs\n1 2\n", None),
        ("name,age\n", None),
        ("", None),
    ],
)
def test_files_of_samples_are_known_by_their_first_lines(head, kind):
    assert smi.kind_of(head.encode()) == kind


def test_a_folder_has_a_run_per_trace_and_each_takes_the_samples_beside_it(tmp_path):
    for name in ("a", "b"):
        shutil.copytree(SAMPLES / "beside", tmp_path / "logs" / name)
    shutil.copy(SAMPLES / "tasks.json", tmp_path / "logs" / "tasks.json")
    (tmp_path / "logs" / "notes.txt").write_text("none")
    logs = GpuImporter().find(tmp_path / "logs")
    assert [(g.name, [f.name for f in g.files]) for g in logs] == [
        ("a/trace.json", ["trace.json", "dmon.txt", "smi.csv"]),
        ("b/trace.json", ["trace.json", "dmon.txt", "smi.csv"]),
        ("tasks.json", ["tasks.json"]),
    ]
    alone = GpuImporter().find(tmp_path / "logs" / "a" / "trace.json")
    assert [len(g.files) for g in alone] == [1]
