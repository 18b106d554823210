"""What Ray leaves behind: every form against its raw lines, and what is missing in each."""

import base64
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors import importing
from collectors.importing import Log, Settings
from collectors.ray.collector import RayCollector
from collectors.ray.http_events import nanoseconds
from collectors.ray.importer import RayImporter
from collectors.run_writer import RunWriter
from collectors.streams import Limits
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, SchemaError

SAMPLES = Path(__file__).parent / "samples" / "ray"
EXPORT = (SAMPLES / "export_events.jsonl").read_text("utf-8").splitlines()
HTTP = (SAMPLES / "http_events.jsonl").read_text("utf-8").splitlines()
TIMELINE = json.loads((SAMPLES / "timeline.json").read_text("utf-8"))
LENIENT = Settings(min_complete=0.0, executor="processes", workers=1, limits=Limits())
IMPORTER = RayImporter()


def load(path, work, how=LENIENT):
    logs = importing.logs_of(IMPORTER, str(path))
    importing.load(IMPORTER, logs, how, work / "parts", work / "trace")
    return traces.read(work / "trace")


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports lines, or a JSON value, as a trace."""
    count = iter(range(1000))

    def imported_(content):
        work = tmp_path / str(next(count))
        work.mkdir()
        text = "".join(f"{line}\n" for line in content)
        (work / "log.jsonl").write_text(text, "utf-8")
        return load(work / "log.jsonl", work)

    return imported_


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return load(SAMPLES / "export_events.jsonl", tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def posted(tmp_path_factory):
    return load(SAMPLES / "http_events.jsonl", tmp_path_factory.mktemp("http"))


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    return load(SAMPLES / "timeline.json", tmp_path_factory.mktemp("timeline"))


def events(lines, kind):
    return [e["event_data"] for e in map(json.loads, lines) if e.get("source_type") == kind]


def plain(text):
    return base64.b64decode(text).hex()


def table(trace, name):
    return trace.tables[name].to_pylist()


def only(rows, **wanted):
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


def began(trace):
    return trace.runs()[0]["began_unix"]


def report(trace):
    return trace.provenance["completeness"]["runs"][0]


def test_every_attempt_of_the_export_files_has_the_times_of_its_raw_lines(exported):
    raw = defaultdict(dict)
    for task in events(EXPORT, "EXPORT_TASK"):
        info = task.get("task_info", {})
        key = (plain(task["task_id"]), task["attempt_number"])
        if info.get("type") == "DRIVER_TASK":
            raw[key]["driver"] = True
        raw[key].update(task.get("state_updates", {}).get("state_ts_ns", {}))
        if "required_resources" in info:
            raw[key]["asked"] = info["required_resources"]
            raw[key]["type"] = info["func_or_class_name"]
    wanted = {k: v for k, v in raw.items() if "driver" not in v}
    rows = {(r["name"], r["attempt"]): r for r in table(exported, "tasks")}
    assert rows.keys() == wanted.keys()
    assert len(rows) == 13
    zero = began(exported)
    for key, row in rows.items():
        states = wanted[key]
        ended = states.get("12") or states["11"]
        assert row["submitted_at"] == pytest.approx(int(states["1"]) / 1e9 - zero, abs=1e-6)
        assert row["ready_at"] == pytest.approx(int(states["2"]) / 1e9 - zero, abs=1e-6)
        assert row["started_at"] == pytest.approx(int(states["8"]) / 1e9 - zero, abs=1e-6)
        assert row["finished_at"] == pytest.approx(int(ended) / 1e9 - zero, abs=1e-6)
        assert row["type"] == states["type"]
        assert row["status"] == ("failed" if "12" in states else "done")
        if row["type"] != "Counter.add":
            assert row["cpus"] == states["asked"].get("CPU", 0)
            assert row["memory"] == states["asked"].get("memory", 0)


def test_retries_and_deaths_are_attempts_with_their_reason(exported):
    rows = table(exported, "tasks")
    flaky = [r for r in rows if r["type"] == "flaky"]
    assert [(r["attempt"], r["status"]) for r in flaky] == [(0, "failed"), (1, "done")]
    assert flaky[0]["reason"] == "TASK_EXECUTION_EXCEPTION: ValueError: first time"
    assert len({r["task"] for r in flaky}) == 1
    dies = [r for r in rows if r["type"] == "dies"]
    assert [(r["status"], r["reason"]) for r in dies] == [("failed", "WORKER_DIED"), ("done", None)]
    assert only(rows, type="broken")["status"] == "failed"
    assert report(exported)["share"] == 1


def test_logical_nodes_are_flagged_and_those_of_other_hosts_are_not(exported, imported):
    nodes = table(exported, "nodes")
    assert [(n["cpus"], n["memory"] / 2**20, n["logical"]) for n in nodes] == [
        (1, 500, True),
        (1, 1000, True),
    ]
    assert nodes[0]["kind"] == nodes[1]["kind"]
    assert report(exported)["flags"]["logical_nodes"] == 2
    assert {r["node"] for r in table(exported, "tasks")} == {0, 1}
    second = events(EXPORT, "EXPORT_NODE")[1]["node_id"]
    moved = [
        line.replace('"node_manager_address":"127.0.0.1"', '"node_manager_address":"10.0.0.7"')
        if second in line and "EXPORT_NODE" in line
        else line
        for line in EXPORT
    ]
    apart = table(imported(moved), "nodes")
    assert [n["logical"] for n in apart] == [False, False]
    assert apart[0]["kind"] != apart[1]["kind"]


def test_a_call_from_within_a_task_is_named_but_is_no_edge(exported):
    rows = table(exported, "tasks")
    nested = only(rows, type="nested")
    called = only(rows, type="load", m_parent=nested["name"])
    assert called["task"] not in {e["child"] for e in table(exported, "edges")}
    assert {r["m_parent"] for r in rows} == {None, nested["name"]}


def test_what_the_program_noted_becomes_edges_with_bytes_and_decisions(exported):
    rows = {r["task"]: r["type"] for r in table(exported, "tasks")}
    edges = {
        (rows[e["parent"]], e["parent"], rows[e["child"]], e["bytes"])
        for e in table(exported, "edges")
    }
    loads = [t for t in sorted(rows) if rows[t] == "load"][:3]
    assert edges == {("load", t, "merge", 8000.0) for t in loads} | {
        ("merge", 3, "Counter.add", 8.0)
    }
    decisions = table(exported, "decisions")
    assert len(decisions) == 8
    assert {(d["slots"], d["propensity"], d["policy"]) for d in decisions} == {(2, 0.5, "half")}
    for row in table(exported, "tasks"):
        if row["decision"] is None:
            continue
        decided = decisions[row["decision"]]
        assert decided["agent"] == row["type"]
        assert decided["at"] <= row["submitted_at"]


def test_the_probe_measures_what_succeeded_and_what_failed(exported):
    rows = table(exported, "tasks")
    probed = [r for r in rows if r["cpu_seconds"] is not None]
    # Of the dead worker nothing was written, and neither actors nor nested calls are probed.
    assert Counter(r["type"] for r in probed) == {
        "load": 3, "merge": 1, "flaky": 2, "nested": 1, "dies": 1, "broken": 1,
    }  # fmt: skip
    assert all(r["bytes_out"] == 8000 for r in probed if r["type"] == "load")
    assert only(probed, type="merge")["bytes_in"] == 24000
    assert only(probed, type="broken")["bytes_out"] is None


def test_phases_of_the_worker_are_kept_beside_the_attempt(exported):
    row = only(table(exported, "tasks"), type="merge")
    [profile] = [
        t["profile_events"]["events"]
        for t in events(EXPORT, "EXPORT_TASK")
        if plain(t["task_id"]) == row["name"] and "profile_events" in t
    ]
    took = {e["event_name"]: (int(e["end_time"]) - int(e["start_time"])) / 1e9 for e in profile}
    assert row["m_fetch_seconds"] == pytest.approx(took["task:deserialize_arguments"])
    assert row["m_execute_seconds"] == pytest.approx(took["task:execute"])
    assert row["m_store_seconds"] == pytest.approx(took["task:store_outputs"])
    assert row["seconds"] is None  # start and end are told


def test_a_method_of_an_actor_asks_for_nothing_and_runs_where_its_actor_is(exported):
    rows = table(exported, "tasks")
    start, call = only(rows, type="Counter.__init__"), only(rows, type="Counter.add")
    assert call["cpus"] is None
    assert start["node"] == call["node"] is not None
    span = only(table(exported, "spans"), kind="actor")
    assert span["name"] == "Counter"
    assert span["started_at"] == pytest.approx(start["started_at"])


def test_the_order_of_lines_does_not_matter(exported, imported):
    def told(trace):
        names = {n["node"]: n["name"] for n in table(trace, "nodes")}
        return [{**r, "node": names.get(r["node"]), "job": None} for r in table(trace, "tasks")]

    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.permutations(EXPORT))
    def check(lines):
        assert told(imported(lines)) == told(exported)

    check()


def test_what_a_killed_worker_did_not_write_is_null_and_counted(imported):
    raw = events(EXPORT, "EXPORT_TASK")
    [merge] = {
        t["task_id"] for t in raw if t.get("task_info", {}).get("func_or_class_name") == "merge"
    }
    lost = imported([x for x in EXPORT if not (merge in x and ('"8":' in x or "profile" in x))])
    row = only(table(lost, "tasks"), type="merge")
    assert row["started_at"] is None
    assert row["finished_at"] is not None
    assert report(lost)["tables"]["tasks"] == {
        "expected": None, "seen": 13, "complete": 12, "repaired": 0, "dropped": 0,
        "share": pytest.approx(12 / 13, abs=1e-6),
    }  # fmt: skip


def test_what_a_killed_program_did_not_write_is_missing_but_the_workers_say_what_ran(imported):
    raw = events(EXPORT, "EXPORT_TASK")
    [merge] = {
        t["task_id"] for t in raw if t.get("task_info", {}).get("func_or_class_name") == "merge"
    }
    lost = imported([x for x in EXPORT if not (merge in x and ("task_info" in x or '"11":' in x))])
    row = only(table(lost, "tasks"), type="merge")
    assert (row["status"], row["finished_at"], row["cpus"]) == ("running", None, None)
    assert row["seconds"] > 0  # what the worker says of it
    assert report(lost)["tables"]["tasks"]["complete"] == 12


def test_clocks_that_disagree_cost_the_start_and_are_said(imported):
    lines = []
    for line in EXPORT:
        event = json.loads(line)
        data = event.get("event_data", {})
        states = data.get("state_updates", {}).get("state_ts_ns", {})
        if "8" in states and "task_info" not in data:
            states["8"] = str(int(states["8"]) + 3_600_000_000_000)
        lines.append(json.dumps(event))
    # Notes are told apart by how they begin.
    lines = [x if "event_data" in x else y for x, y in zip(lines, EXPORT, strict=True)]
    trace = imported(lines)
    rows = table(trace, "tasks")
    assert all(r["started_at"] is None for r in rows)
    assert all(r["seconds"] > 0 for r in rows if r["m_execute_seconds"] is not None)
    found = report(trace)
    assert found["tables"]["tasks"]["repaired"] == 13
    assert any("clocks of worker and owner disagree" in n for n in found["notes"])


def session(folder, name="session_1", lines=EXPORT):
    """Lay lines out as Ray does: a file per kind and process."""
    place = folder / name / "logs" / "export_events"
    place.mkdir(parents=True)
    for line in lines:
        kind = json.loads(line).get("source_type")
        file = f"event_{kind}.log" if kind else "toolkit_notes_1.jsonl"
        with (place / file).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    return folder / name


def test_a_session_is_found_by_any_of_its_folders_and_files(tmp_path, exported):
    folder = session(tmp_path / "ray")
    events_of = folder / "logs" / "export_events"
    (tmp_path / "ray" / "session_latest").symlink_to(folder)
    (folder / "logs" / "raylet.out").write_text("not a log of tasks")
    places = [
        tmp_path / "ray",
        folder,
        folder / "logs",
        events_of,
        events_of / "event_EXPORT_TASK.log",
    ]
    found = [IMPORTER.find(p) for p in places]
    for logs in found:
        assert [g.name for g in logs] == ["session_1"]
        assert len(logs[0].files) == 5
        assert logs[0].files[0].name == "event_EXPORT_DRIVER_JOB.log"
    trace = load(tmp_path / "ray", tmp_path / "work")
    assert trace.tables["tasks"].equals(exported.tables["tasks"])
    assert trace.tables["edges"].equals(exported.tables["edges"])


def test_two_sessions_are_two_runs(tmp_path):
    session(tmp_path / "ray", "session_1")
    session(tmp_path / "ray", "session_2")
    trace = load(tmp_path / "ray", tmp_path / "work")
    assert [r["log"] for r in trace.runs()] == ["session_1", "session_2"]
    assert trace.of("tasks", 0).drop_columns("run").equals(trace.of("tasks", 1).drop_columns("run"))


def read(log, tmp_path):
    writer = RunWriter(tmp_path / "run", 0, IMPORTER.extra)
    return IMPORTER.read(log, writer, Limits())


def test_files_that_the_aggregator_left_empty_are_explained(tmp_path):
    place = tmp_path / "logs" / "export_events"
    place.mkdir(parents=True)
    for name in ("event_EXPORT_NODE.log", "event_EXPORT_TASK_12.log"):
        (place / name).write_bytes(b"")
    [log] = IMPORTER.find(tmp_path)
    with pytest.raises(SchemaError, match="RAY_enable_ray_event") as caught:
        read(log, tmp_path)
    assert "RAY_enable_export_api_write=1 alone" in caught.value.hint
    lines = [x for x in EXPORT if "EXPORT_NODE" in x]
    (place / "event_EXPORT_NODE.log").write_text("\n".join(lines) + "\n")
    with pytest.raises(SchemaError, match="the files of the tasks are empty"):
        read(log, tmp_path)


def test_events_that_are_not_read_are_counted_by_kind(imported):
    other = '{"event_data":{},"source_type":"EXPORT_TRAIN_RUN","timestamp":1}'
    trace = imported([*EXPORT, other, other])
    assert report(trace)["unknown"] == {"EXPORT_TRAIN_RUN": 2}
    assert report(trace)["share"] == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"probed","task":"zz","attempt":0,"cpu_seconds":1,"peak_memory":1}',
        '{"type":"probed","task":"00","attempt":-1,"cpu_seconds":1,"peak_memory":1}',
        '{"type":"submitted","task":"00","takes":["00"]}',
        '{"type":"decided","decision":9,"agent":"a","at":1e9,"action":2,"slots":2,"propensity":1.0,"policy":"p","digest":""}',
        '{"type":"decided","decision":9,"agent":"a","at":1e9,"action":0,"slots":2,"propensity":0.0,"policy":"p","digest":""}',
        '{"type":"begun","version":99,"trace":"t"}',
        '{"type":"other"}',
        '{"event_data":{"task_id":"","attempt_number":0},"source_type":"EXPORT_TASK"}',
        '{"event_data":{"task_id":"AAAA","attempt_number":99999999999},"source_type":"EXPORT_TASK"}',
        '{"event_data":{"task_id":7},"source_type":"EXPORT_TASK"}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_line_that_makes_no_sense_is_left_out_and_counted(imported, exported, line):
    trace = imported([*EXPORT, line])
    count = report(trace)["tables"]["tasks"]
    assert (count["seen"], count["complete"], count["dropped"]) == (14, 13, 1)
    assert trace.tables["tasks"].equals(exported.tables["tasks"])
    assert trace.tables["decisions"].equals(exported.tables["decisions"])


def test_a_child_that_starts_before_its_parent_ends_has_no_edge_to_it(imported, exported):
    rows = table(exported, "tasks")
    late, early = only(rows, type="merge")["name"], rows[0]["name"]
    note = json.dumps(
        {"type": "submitted", "task": early, "takes": [late + "01000000"], "decision": None},
        separators=(",", ":"),
    )
    trace = imported([*EXPORT, note])
    assert report(trace)["tables"]["edges"]["dropped"] == 1
    assert len(trace.tables["edges"]) == 4


def test_http_events_say_the_same_as_their_raw_states(posted):
    raw = defaultdict(dict)
    for event in (e for line in HTTP for e in json.loads(line)):
        life = event.get("taskLifecycleEvent")
        if life:
            for change in life["stateTransitions"]:
                raw[plain(life["taskId"]), life["taskAttempt"]][change["state"]] = change[
                    "timestamp"
                ]
    rows = table(posted, "tasks")
    zero = began(posted)
    assert len(rows) == 15
    for row in rows:
        states = raw[row["name"], row["attempt"]]
        ended = states.get("FAILED") or states["FINISHED"]
        for column, text in (
            ("submitted_at", states["PENDING_ARGS_AVAIL"]),
            ("ready_at", states["PENDING_NODE_ASSIGNMENT"]),
            ("started_at", states["RUNNING"]),
            ("finished_at", ended),
        ):
            assert row[column] == pytest.approx(nanoseconds(text) / 1e9 - zero, abs=1e-6)
    assert [r["status"] for r in rows if r["type"] == "flaky"] == ["failed", "done"]
    assert [r["status"] for r in rows if r["type"] == "dies"] == ["failed", "done"]
    assert only(rows, type="Counter.add")["cpus"] is None
    assert only(rows, type="Counter.__init__")["node"] is not None
    assert [n["cpus"] for n in table(posted, "nodes")] == [1, 2]
    assert all(n["logical"] for n in table(posted, "nodes"))
    assert report(posted)["share"] == 1


def test_http_events_tell_when_workers_were_launched(posted):
    raw = [
        change
        for line in HTTP
        for event in json.loads(line)
        for change in event.get("workerLifecycleEvent", {}).get("stateTransitions", [])
        if change["state"] == "ALIVE"
    ]
    spans = [s for s in table(posted, "spans") if s["kind"] == "worker"]
    assert len(spans) == len(raw) > 0
    launched = sorted(int(c["workerLaunchTimeMs"]) / 1e3 - began(posted) for c in raw)
    assert sorted(s["started_at"] for s in spans) == pytest.approx(launched, abs=1e-6)
    ready = json.loads(spans[0]["detail"])["ready_at"]
    assert ready > spans[0]["started_at"]


def test_http_events_in_single_lines_or_several_files_are_the_same(posted, tmp_path):
    single = [json.dumps(e) for line in HTTP for e in json.loads(line)]
    folder = tmp_path / "sink"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(single[::2]) + "\n")
    (folder / "b.jsonl").write_text("\n".join(single[1::2]) + "\n")
    (folder / "c.json").write_text('{"something": "else"}')
    trace = load(folder, tmp_path / "work")
    [run] = trace.runs()
    assert run["log"].startswith("session_2026")
    columns = ["task", "attempt", "name", "started_at", "finished_at", "cpus", "status"]
    assert trace.tables["tasks"].select(columns).equals(posted.tables["tasks"].select(columns))


def test_events_of_another_session_in_the_same_file_are_left_out_and_said(imported, posted):
    other = json.loads(HTTP[-1])
    for event in other:
        event["sessionName"] = "session_of_others"
    trace = imported([*HTTP, json.dumps(other)])
    assert report(trace)["tables"]["tasks"]["dropped"] == len(other)
    assert any("session_of_others" in n for n in report(trace)["notes"])
    assert len(trace.tables["tasks"]) == len(posted.tables["tasks"])


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("2026-11-21T09:02:42.226Z", 1_795_251_762_226_000_000),
        ("2026-11-21T09:02:42.227179337Z", 1_795_251_762_227_179_337),
        ("2026-11-21T09:02:42.2271793379999Z", 1_795_251_762_227_179_337),
        ("yesterday", 0),
        ("2026-11-21T09:02:42.xZ", 0),
        ("", 0),
    ],
)
def test_times_keep_their_nanoseconds(text, ns):
    assert nanoseconds(text) == ns


def test_a_timeline_tells_when_tasks_ran_and_no_more(timed):
    raw = {}
    for event in TIMELINE:
        if event["cat"].startswith("task::"):
            raw.setdefault(event["args"]["task_id"], []).append(event)
    rows = table(timed, "tasks")
    assert len(rows) == sum(map(len, raw.values())) == 14
    for row in rows:
        event = sorted(raw[row["name"]], key=lambda e: e["ts"])[row["attempt"]]
        assert row["type"] == event["cat"].removeprefix("task::")
        assert row["started_at"] == pytest.approx(event["ts"] / 1e6 - began(timed), abs=1e-6)
        assert row["finished_at"] - row["started_at"] == pytest.approx(event["dur"] / 1e6, abs=1e-6)
        for column in ("cpus", "memory", "gpus", "ready_at", "submitted_at", "cpu_seconds"):
            assert row[column] is None
    executed = {e["ts"]: e["dur"] for e in TIMELINE if e["cat"] == "task:execute"}
    assert sum(r["m_execute_seconds"] for r in rows) == pytest.approx(sum(executed.values()) / 1e6)
    assert [n["cpus"] for n in table(timed, "nodes")] == [None]
    assert table(timed, "edges") == []


def test_a_timeline_says_how_many_were_submitted_and_what_is_inferred(timed):
    submitted = sum(e["cat"] == "submit_task" for e in TIMELINE)
    count = report(timed)["tables"]["tasks"]
    assert count["expected"] == submitted + 1 == 14  # and one retry
    assert report(timed)["flags"]["outcomes"].startswith("inferred")
    status = {(r["type"], r["attempt"]): r["status"] for r in table(timed, "tasks")}
    assert status["flaky", 0] == status["broken", 0] == "failed"
    assert status["flaky", 1] == "done"


def test_tasks_that_a_timeline_does_not_tell_of_lower_its_share(imported):
    [gone] = [e for e in TIMELINE if e["cat"] == "task::merge"]
    rest = [e for e in TIMELINE if not (e["tid"] == gone["tid"] and inside(e, gone))]
    trace = imported([json.dumps(rest)])
    count = report(trace)["tables"]["tasks"]
    assert (count["expected"], count["complete"]) == (14, 13)
    half = [e for e in TIMELINE if e is not gone]  # begun, with neither name nor end
    count = report(imported([json.dumps(half)]))["tables"]["tasks"]
    assert (count["seen"], count["complete"], count["dropped"]) == (14, 13, 1)


def inside(event, around):
    return (
        around["ts"] - 1 <= event["ts"] and
        event["ts"] + event["dur"] <= around["ts"] + around["dur"] + 1
    )  # fmt: skip


def test_a_timeline_that_was_cut_is_read_up_to_there(tmp_path):
    text = (SAMPLES / "timeline.json").read_text("utf-8")
    (tmp_path / "cut.json").write_text(text[: len(text) * 3 // 4])
    trace = load(tmp_path / "cut.json", tmp_path / "work")
    assert report(trace)["flags"]["truncated"] is True
    assert 0 < len(trace.tables["tasks"]) < 14
    assert report(trace)["share"] < 1


def test_a_file_of_none_of_the_forms_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"traceEvents": [{"cat": "cpu_op", "ph": "X"}]}')
    with pytest.raises(ConfigError, match="looks like a log of ray"):
        importing.logs_of(IMPORTER, str(tmp_path))
    with pytest.raises(CorruptError, match="none of the forms"):
        read(Log(name="a", files=(tmp_path / "a.json",)), tmp_path)


def test_an_import_does_not_need_ray():
    code = (
        "import sys, collectors.ray.importer, collectors.ray.collector, collectors.ray.watch\n"
        "assert 'ray' not in sys.modules and 'pyspark' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SAMPLES.parents[3])


def test_the_collector_gives_the_importer():
    collector = RayCollector(
        path="x", runs=1, behaviours=["random"], paired=False, sweep=[0.2, 0.5], fastq=None,
        address=None, store_memory=100,
    )  # fmt: skip
    assert collector.importer() == IMPORTER
