"""Spark's event logs: what they say is in the trace, and nothing else is."""

import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import importing
from collectors.importing import Settings
from collectors.spark import event_log, redaction
from collectors.spark.importer import SparkImporter
from collectors.spark.places import Places, Seen
from collectors.spark.resources import memory_of
from collectors.streams import Limits, Source
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError

SAMPLES = Path(__file__).parent / "samples" / "spark"
CLUSTER = SAMPLES / "app-20261121090127-0000"
ROLLING = SAMPLES / "eventlog_v2_local-1795251655713"
STREAMING = SAMPLES / "local-1795251638885.zstd"


def load(path, work, least=0.99, limits=None):
    how = Settings(min_complete=least, executor="processes", workers=1, limits=limits or Limits())
    importer = SparkImporter()
    logs = importing.logs_of(importer, str(path))
    shutil.rmtree(work / "parts", ignore_errors=True)
    importing.load(importer, logs, how, work / "parts", work / "trace")
    return traces.read(work / "trace")


def rows(trace, table, run=0):
    return trace.of(table, run).to_pylist()


def report(trace, run=0):
    return trace.provenance["completeness"]["runs"][run]


def raw_events(path):
    files = sorted(path.glob("events_*")) if path.is_dir() else [path]
    return [json.loads(line) for f in files for line in Source(f, Limits()).lines()]


def of_kind(events, kind):
    return [e for e in events if e["Event"].endswith(kind)]


def write(folder, events, name="app-1"):
    """Write events, or lines that are none, as a log."""
    folder.mkdir(exist_ok=True)
    lines = [e if isinstance(e, str) else json.dumps(e, separators=(",", ":")) for e in events]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


# A log by hand, with no field that Spark 2.4 did not write.


def start(at=1_000_000):
    return [
        {"Event": "SparkListenerLogStart", "Spark Version": "2.4.8"},
        {"Event": "SparkListenerApplicationStart", "App Name": "a", "Timestamp": at, "User": "me"},
        executor("1", at + 10),
    ]


def executor(name, at):
    info = {"Host": "h", "Total Cores": 2}
    return {
        "Event": "SparkListenerExecutorAdded",
        "Timestamp": at,
        "Executor ID": name,
        "Executor Info": info,
    }


def stage(number, attempt=0, tasks=1, parents=(), **more):
    return {
        "Stage ID": number,
        "Stage Attempt ID": attempt,
        "Stage Name": f"map at A.scala:{number}",
        "Number of Tasks": tasks,
        "Parent IDs": list(parents),
        **more,
    }


def job(number, stages, at=1_000_100):
    return {
        "Event": "SparkListenerJobStart",
        "Job ID": number,
        "Submission Time": at,
        "Stage Infos": stages,
        "Stage IDs": [s["Stage ID"] for s in stages],
    }


def submitted(info, at=1_000_200):
    return {"Event": "SparkListenerStageSubmitted", "Stage Info": {**info, "Submission Time": at}}


def completed(info, at=1_000_900, **more):
    info = {**info, "Submission Time": 1_000_200, "Completion Time": at, **more}
    return {"Event": "SparkListenerStageCompleted", "Stage Info": info}


def task(number, index, stage_id=0, attempt=0, launched=1_000_300, **more):
    return {
        "Event": "SparkListenerTaskStart",
        "Stage ID": stage_id,
        "Stage Attempt ID": attempt,
        "Task Info": {
            "Task ID": number,
            "Index": index,
            "Attempt": 0,
            "Launch Time": launched,
            "Executor ID": "1",
            "Host": "h",
            "Locality": "ANY",
            "Speculative": False,
            "Getting Result Time": 0,
            "Finish Time": 0,
            "Failed": False,
            "Killed": False,
            **more,
        },
    }


def end(begun, at=1_000_500, reason=None, metrics=None):
    told = {
        **begun,
        "Event": "SparkListenerTaskEnd",
        "Task Type": "ResultTask",
        "Task End Reason": reason or {"Reason": "Success"},
        "Task Info": {**begun["Task Info"], "Finish Time": at},
    }
    if metrics is not None:
        told["Task Metrics"] = metrics
    return told


def over(number=0, at=1_001_000, **more):
    result = more or {"Result": "JobSucceeded"}
    return {
        "Event": "SparkListenerJobEnd",
        "Job ID": number,
        "Completion Time": at,
        "Job Result": result,
    }


LAST = {"Event": "SparkListenerApplicationEnd", "Timestamp": 1_002_000}


def small(*between):
    """Return a whole log of one job of one stage of one task, with events put before its end."""
    first = task(0, 0)
    return [
        *start(),
        job(0, [stage(0)]),
        submitted(stage(0)),
        first,
        end(first),
        *between,
        completed(stage(0)),
        over(),
        LAST,
    ]


# What real logs say.


def test_a_lost_executor_a_failed_fetch_and_stages_tried_again(tmp_path):
    trace = load(CLUSTER, tmp_path)
    stages = rows(trace, "stages")
    assert [(s["attempt"], s["tasks"], s["status"]) for s in stages] == [
        (0, 3, "done"),
        (0, 3, "failed"),
        (1, 2, "done"),
        (1, 1, "done"),
    ]
    assert [json.loads(s["detail"])["id"] for s in stages] == [0, 1, 0, 1]
    assert [(e["parent"], e["child"]) for e in rows(trace, "edges")] == [(0, 1), (2, 3)]
    tasks = {t["name"]: t for t in rows(trace, "tasks")}
    tried = {n: (t["task"], t["attempt"], t["stage"], t["status"]) for n, t in tasks.items()}
    assert tried == {
        "0": (0, 0, 0, "done"),
        "1": (1, 0, 0, "done"),
        "2": (2, 0, 0, "done"),
        "3": (3, 0, 1, "done"),
        "4": (4, 0, 1, "failed"),
        "5": (5, 0, 1, "done"),
        "6": (4, 1, 1, "failed"),  # partition 1 of the second stage, again
        "7": (0, 1, 2, "done"),  # partitions 0 and 2 of the first, whose output was lost
        "8": (2, 1, 2, "done"),
        "9": (4, 2, 3, "done"),
    }
    assert tasks["4"]["reason"] == "ExecutorLostFailure: Command exited with code 137"
    assert tasks["6"]["reason"].startswith("FetchFailed: ")
    nodes = {n["name"]: n for n in rows(trace, "nodes")}
    assert nodes["0"]["removed_at"] == pytest.approx(1795251705.525 - 1795251686.346)
    assert nodes["1"]["removed_at"] is None
    assert nodes["0"]["memory"] == 512 * 2**20
    assert {t["cpus"] for t in tasks.values()} == {1.0}
    assert {t["memory"] for t in tasks.values()} == {None}
    assert json.loads(nodes["0"]["detail"])["removed"] == "Command exited with code 137"


def test_numbers_of_a_task_are_those_of_its_event(tmp_path):
    trace = load(CLUSTER, tmp_path)
    began = of_kind(raw_events(CLUSTER), "ApplicationStart")[0]["Timestamp"]
    by_name = {t["name"]: t for t in rows(trace, "tasks")}
    for event in of_kind(raw_events(CLUSTER), "TaskEnd"):
        info, m = event["Task Info"], event.get("Task Metrics")
        row = by_name[str(info["Task ID"])]
        assert row["started_at"] == pytest.approx((info["Launch Time"] - began) / 1000)
        assert row["finished_at"] == pytest.approx((info["Finish Time"] - began) / 1000)
        assert row["submitted_at"] is None
        assert row["ready_at"] is None
        assert row["m_locality"] == info["Locality"]
        assert row["m_speculative"] is False
        if m is None:
            assert row["cpu_seconds"] is None
            assert row["m_run_seconds"] is None
            assert row["bytes_in"] is None
            continue
        read = m["Shuffle Read Metrics"]
        shuffled = read["Remote Bytes Read"] + read["Local Bytes Read"]
        delay = (
            info["Finish Time"]
            - info["Launch Time"]
            - m["Executor Run Time"]
            - m["Executor Deserialize Time"]
            - m["Result Serialization Time"]
        )
        if info["Getting Result Time"]:
            delay -= info["Finish Time"] - info["Getting Result Time"]
        assert row["cpu_seconds"] == pytest.approx(m["Executor CPU Time"] / 1e9)
        assert row["m_run_seconds"] == m["Executor Run Time"] / 1e3
        assert row["m_deserialize_seconds"] == m["Executor Deserialize Time"] / 1e3
        assert row["m_gc_seconds"] == m["JVM GC Time"] / 1e3
        assert row["m_scheduler_delay_seconds"] == pytest.approx(max(0, delay) / 1e3)
        assert row["m_result_bytes"] == m["Result Size"]
        assert row["m_spilled_memory_bytes"] == m["Memory Bytes Spilled"]
        assert row["m_spilled_disk_bytes"] == m["Disk Bytes Spilled"]
        assert row["m_peak_execution_bytes"] == m["Peak Execution Memory"]
        assert row["m_shuffle_read_bytes"] == shuffled
        written = m["Shuffle Write Metrics"]["Shuffle Bytes Written"]
        assert row["m_shuffle_write_bytes"] == written
        assert row["bytes_in"] == m["Input Metrics"]["Bytes Read"] + shuffled
        assert row["bytes_out"] == m["Output Metrics"]["Bytes Written"] + written


def test_jobs_sql_and_streaming_of_a_log_of_spark_4_3(tmp_path):
    trace = load(STREAMING, tmp_path)
    jobs = rows(trace, "jobs")
    assert [j["status"] for j in jobs] == ["done"] * 3 + ["failed"] + ["done"] * 9
    assert [j["name"] for j in jobs[:4]] == ["count words", "count words", "flaky", "always fails"]
    assert json.loads(jobs[0]["detail"])["group"] == "first"
    assert json.loads(jobs[7]["detail"])["batch"] == "0"
    skipped = [s for s in rows(trace, "stages") if s["status"] == "skipped"]
    assert [(json.loads(s["detail"])["id"], s["job"], s["tasks"]) for s in skipped] == [
        (2, 1, 3),
        (8, 6, 2),
    ]
    edges = {(e["parent"], e["child"]) for e in rows(trace, "edges")}
    assert edges == {(0, 1), (2, 3), (8, 9)}
    flaky = [t for t in rows(trace, "tasks") if t["stage"] == 4]
    assert [(t["attempt"], t["status"]) for t in flaky if t["reason"] or t["attempt"]] == [
        (0, "failed"),
        (1, "done"),
    ]
    spans = rows(trace, "spans")
    sql = [s for s in spans if s["kind"] == "sql"]
    assert len(sql) == 13
    assert json.loads(sql[0]["detail"]) == {"id": 0, "root": 0, "plan": "AdaptiveSparkPlan"}
    assert sql[0]["started_at"] < sql[0]["finished_at"]
    (query,) = (s for s in spans if s["kind"] == "query")
    batches = [s for s in spans if s["kind"] == "streaming"]
    told = [p["progress"] for p in of_kind(raw_events(STREAMING), "QueryProgressEvent")]
    assert len(batches) == len(told) == 6
    for span, progress in zip(batches, told, strict=True):
        detail = json.loads(span["detail"])
        assert span["name"] == "rates"
        assert span["parent"] == query["span"]
        assert detail["batch"] == progress["batchId"]
        assert detail["duration_ms"] == progress["durationMs"]
        assert detail["input_rows"] == sum(s["numInputRows"] for s in progress["sources"])
        lasted = span["finished_at"] - span["started_at"]
        assert lasted == pytest.approx(progress["batchDuration"] / 1000)
    # the start of the first batch, on the clock of the application
    assert batches[0]["started_at"] == pytest.approx(1795251646.203 - 1795251638.271)


def test_a_rolling_log_is_one_run_that_says_where_it_is_from(tmp_path):
    trace = load(ROLLING, tmp_path)
    (run,) = trace.runs("log")
    assert run["log"] == ROLLING.name
    assert run["app"] == "local-1795251655713"
    assert run["began_unix"] == 1795251655.065
    assert [f["name"][:8] for f in run["files"]] == ["events_1", "events_2"]
    assert [f["codec"] for f in run["files"]] == ["zstd", "zstd"]
    assert trace.provenance["engine"] == {
        "spark": "4.3.0",
        "java": "17.0.15 (Debian)",
        "scala": "version 2.13.18",
    }
    assert trace.provenance["source"] == "spark"
    assert report(trace)["flags"] == {"cpu_kind": "JVM"}
    assert "user" not in json.dumps(trace.provenance).lower().replace("-duser.timezone", "")


REFERENCE = {
    # By hand: grep and json over the raw files. Tasks, listed stages, jobs, executors and a
    # local driver that ran tasks; sums of Executor Run Time (ms), CPU time (ns), bytes shuffled.
    "eventlog_3nodes_12cores_multiple_executors": (3, 3, 3, 5, 806, 690153301, 0),
    "eventlog_4nodes_8cores_dynamic_alloc.zstd": (235, 45, 20, 15, 173557, 122204209080, 504289880),
    "eventlog_v2_local-1623876083964": (2801, 4, 1, 1, 1401278, 1278607618550, 10078016818),
    "rdd_only_eventlog": (1, 1, 1, 1, 27, 25822551, 0),
    "truncated_eventlog": (24, 5, 2, 1, 8648, 5430127402, 0),
}


@pytest.fixture(scope="module")
def reference(reference_data, tmp_path_factory):
    folder = reference_data / "data" / "spark"
    if not folder.is_dir():
        pytest.skip("the reference data hold no logs of Spark")
    return load(folder, tmp_path_factory.mktemp("reference"), least=0)


@pytest.mark.parametrize("run", range(5))
def test_logs_of_strangers_hold_what_was_counted_by_hand(reference, run):
    name = reference.runs("log")[run]["log"]
    tasks, stages, jobs, nodes, ran, cpu, shuffled = REFERENCE[name]
    found = reference.of("tasks", run)
    assert len(found) == tasks
    assert len(reference.of("stages", run)) == stages
    assert len(reference.of("jobs", run)) == jobs
    assert len(reference.of("nodes", run)) == nodes

    def total(column):
        return sum(v or 0 for v in found[column].to_pylist())

    assert total("m_run_seconds") == pytest.approx(ran / 1e3)
    assert total("cpu_seconds") == pytest.approx(cpu / 1e9)
    assert total("m_shuffle_read_bytes") == shuffled
    truncated = name == "truncated_eventlog"
    assert report(reference, run)["share"] == (0.2 if truncated else 1.0)
    assert ("truncated" in report(reference, run)["flags"]) == truncated


def test_executors_come_and_go_as_a_strangers_log_says(reference):
    run = [r["log"] for r in reference.runs("log")].index(
        "eventlog_4nodes_8cores_dynamic_alloc.zstd"
    )
    nodes = rows(reference, "nodes", run)
    began = 1727965992.605
    second = next(n for n in nodes if n["name"] == "2")
    assert second["removed_at"] == pytest.approx(1727966037.269 - began)
    assert json.loads(second["detail"])["removed"] == "Executor killed by driver."
    assert sum(n["removed_at"] is None for n in nodes) == 1
    assert all(n["added_at"] is not None for n in nodes)
    skipped = [s for s in rows(reference, "stages", run) if s["status"] == "skipped"]
    assert len(skipped) == 45 - 20
    first = rows(reference, "jobs", run)[0]
    assert first["finished_at"] == pytest.approx(1727966100.477 - began)


def test_what_a_truncated_log_leaves_open_stays_open(reference):
    run = [r["log"] for r in reference.runs("log")].index("truncated_eventlog")
    tasks = rows(reference, "tasks", run)
    assert sum(t["status"] == "running" for t in tasks) == 3
    assert all(t["finished_at"] is None for t in tasks if t["status"] == "running")
    assert {j["status"] for j in rows(reference, "jobs", run)} == {"done", None}
    # Not submitted when the log broke off: nobody knows whether they were skipped.
    assert "skipped" not in {s["status"] for s in rows(reference, "stages", run)}


def test_a_truncated_log_is_refused_unless_it_is_asked_for(reference_data, tmp_path):
    with pytest.raises(CorruptError, match=r"truncated_eventlog: only 20\.0% of its stages") as e:
        load(reference_data / "data" / "spark" / "truncated_eventlog", tmp_path)
    assert "min_complete=0.2" in e.value.hint


# Old and odd logs.


def test_a_log_of_spark_2_4_is_read_with_null_for_what_it_does_not_say(tmp_path):
    trace = load(write(tmp_path / "logs", small()), tmp_path)
    (row,) = rows(trace, "tasks")
    assert row["started_at"] == 0.3
    assert row["finished_at"] == 0.5
    assert row["type"] == "map at A.scala:0"
    told = ("cpus", "memory", "gpus", "cpu_seconds", "bytes_in", "m_run_seconds", "profile")
    assert {row[c] for c in told} == {None}
    (node,) = rows(trace, "nodes")
    assert (node["cpus"], node["memory"], node["requested_at"]) == (2.0, None, None)
    assert report(trace)["share"] == 1.0


def test_settings_tell_what_profiles_do_not(tmp_path):
    environment = {
        "Event": "SparkListenerEnvironmentUpdate",
        "Spark Properties": {"spark.executor.memory": "2g", "spark.task.cpus": "2"},
    }
    events = small()
    trace = load(write(tmp_path / "logs", [events[0], environment, *events[1:]]), tmp_path)
    assert rows(trace, "tasks")[0]["cpus"] == 2.0
    assert rows(trace, "nodes")[0]["memory"] == 2 * 2**30


def test_profiles_tell_of_accelerators_and_of_the_time_an_executor_took_to_start(tmp_path):
    def amount(n):
        return {"Amount": n}

    profile = {
        "Event": "SparkListenerResourceProfileAdded",
        "Resource Profile Id": 1,
        "Executor Resource Requests": {"memory": amount(1000), "memoryOverhead": amount(384)},
        "Task Resource Requests": {"cpus": amount(3.0), "gpu": amount(0.5)},
    }
    added = executor("7", 1_000_060)
    added["Executor Info"] |= {
        "Resource Profile Id": 1,
        "Request Time": 1_000_020,
        "Registration Time": 1_000_050,
        "Resources": {"gpu": {"name": "gpu", "addresses": ["0", "1"]}},
    }
    info = stage(0, **{"Resource Profile Id": 1})
    begun = task(0, 0, **{"Executor ID": "7"})
    events = [
        *start(),
        profile,
        added,
        job(0, [info]),
        submitted(info),
        begun,
        end(begun),
        completed(info),
        over(),
        LAST,
    ]
    trace = load(write(tmp_path / "logs", events), tmp_path)
    node = next(n for n in rows(trace, "nodes") if n["name"] == "7")
    assert (node["requested_at"], node["added_at"]) == (0.02, 0.05)
    assert (node["memory"], node["gpus"]) == (1000 * 2**20, 2.0)
    assert json.loads(node["detail"])["memoryOverhead_bytes"] == 384 * 2**20
    (row,) = rows(trace, "tasks")
    assert (row["cpus"], row["gpus"], row["node"]) == (3.0, 0.5, node["node"])


def test_without_partitions_a_later_attempt_of_a_stage_has_tasks_of_its_own(tmp_path):
    """Spark 2.4 numbers the tasks of a second attempt anew: index 0 may be any partition."""
    a, b = task(0, 0), task(1, 1)
    again = task(2, 0, attempt=1, launched=1_000_600)
    events = [
        *start(),
        job(0, [stage(0, tasks=2)]),
        submitted(stage(0, tasks=2)),
        a,
        b,
        end(a),
        end(b, reason={"Reason": "FetchFailed", "Message": "gone\n\tat somewhere"}),
        completed(stage(0, tasks=2), at=1_000_550, **{"Failure Reason": "gone\nfor good"}),
        submitted(stage(0, attempt=1), at=1_000_560),
        again,
        end(again, at=1_000_800),
        completed(stage(0, attempt=1)),
        over(),
        LAST,
    ]
    trace = load(write(tmp_path / "logs", events), tmp_path)
    tasks = {t["name"]: (t["task"], t["attempt"], t["status"]) for t in rows(trace, "tasks")}
    assert tasks == {"0": (0, 0, "done"), "1": (1, 0, "failed"), "2": (2, 0, "done")}
    assert report(trace)["flags"]["partitions_of_later_attempts"] == "unknown"
    assert report(trace)["tables"]["tasks"]["expected"] == 3


def test_speculative_copies_and_resubmitted_tasks(tmp_path):
    first = task(0, 0)
    copy = task(1, 0, launched=1_000_400, Speculative=True)
    killed = {"Reason": "TaskKilled", "Kill Reason": "another attempt succeeded"}
    events = small(copy, end(copy, reason=killed), end(first, reason={"Reason": "Resubmitted"}))
    trace = load(write(tmp_path / "logs", events), tmp_path)
    one, two = rows(trace, "tasks")
    assert (one["task"], one["attempt"], one["status"]) == (0, 0, "done")
    assert (two["task"], two["attempt"], two["status"]) == (0, 1, "killed")
    assert two["m_speculative"] is True
    assert two["reason"] == "TaskKilled: another attempt succeeded"
    assert report(trace)["flags"]["resubmitted"] == 1


def test_a_job_that_was_cancelled_was_killed(tmp_path):
    why = {"Message": "Job 1 cancelled because I said so\n\tat x"}
    more = [
        job(1, [stage(1)], at=1_000_950),
        over(1, Result="JobFailed", Exception=why),
        job(2, [stage(2)], at=1_000_960),
        over(2, Result="JobFailed", Exception={"Message": "Job aborted due to stage failure"}),
    ]
    trace = load(write(tmp_path / "logs", small(*more)), tmp_path)
    assert [j["status"] for j in rows(trace, "jobs")] == ["done", "killed", "failed"]
    assert json.loads(rows(trace, "jobs")[1]["detail"])["failure"].endswith("because I said so")


def test_a_stage_of_two_jobs_is_the_first_ones_and_skipped_only_when_both_are_over(tmp_path):
    shared = stage(1)
    begun = task(1, 0, stage_id=2)
    more = [
        job(1, [shared], at=1_000_910),
        job(2, [shared, stage(2, parents=[1])], at=1_000_920),
        over(1, at=1_000_930),
        submitted(stage(2, parents=[1])),
        begun,
        end(begun),
        completed(stage(2, parents=[1])),
        over(2, at=1_000_940),
    ]
    trace = load(write(tmp_path / "logs", small(*more)), tmp_path)
    assert [(s["job"], s["status"]) for s in rows(trace, "stages")] == [
        (0, "done"),
        (1, "skipped"),
        (2, "done"),
    ]
    assert [(e["parent"], e["child"]) for e in rows(trace, "edges")] == [(1, 2)]


# What is missing or contradicts itself is said.


def test_ends_that_were_lost_are_missed(tmp_path):
    lines = CLUSTER.read_text().splitlines()
    kept = [line for line in lines if "TaskEnd" not in line[:40] or '"Task ID":5,' not in line]
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app-1").write_text("\n".join(kept) + "\n")
    with pytest.raises(CorruptError, match=r"only 81\.8% of its tasks"):
        load(tmp_path / "logs", tmp_path)
    trace = load(tmp_path / "logs", tmp_path, least=0.8)
    # ten attempts were seen, nine ended; the stage announced one more partition than was done
    assert report(trace)["tables"]["tasks"] == {
        "expected": 11,
        "seen": 10,
        "complete": 9,
        "repaired": 0,
        "dropped": 0,
        "share": 0.818182,
    }
    (lost,) = (t for t in rows(trace, "tasks") if t["name"] == "5")
    assert (lost["status"], lost["finished_at"]) == ("running", None)


def test_events_of_unknown_kinds_are_counted_and_those_of_no_use_are_not(tmp_path):
    more = [
        {"Event": "com.example.SomethingNew", "a": {"b": [1]}},
        {"Event": "com.example.SomethingNew"},
        {"Event": "SparkListenerUnpersistRDD", "RDD ID": 1},
    ]
    trace = load(write(tmp_path / "logs", small(*more)), tmp_path)
    assert report(trace)["unknown"] == {"com.example.SomethingNew": 2}


def test_spaces_between_the_words_of_an_event_do_no_harm(tmp_path):
    events = [json.dumps(e, indent=None, separators=(", ", " : ")) for e in small()]
    trace = load(write(tmp_path / "logs", events), tmp_path)
    assert len(rows(trace, "tasks")) == 1


def test_lines_that_cannot_be_read_are_counted(tmp_path):
    more = ['{"Event":"SparkListenerTaskEnd","Stage ID":"x"}', "no json", "[" * 5000, ""]
    trace = load(write(tmp_path / "logs", small(*more)), tmp_path)
    assert report(trace)["flags"]["unreadable_events"] == 3
    assert sum("cannot be read" in n for n in report(trace)["notes"]) == 3
    assert len(rows(trace, "tasks")) == 1


def test_tasks_of_stages_that_nobody_listed_are_dropped_and_counted_once(tmp_path):
    strange = task(9, 0, stage_id=77)
    trace = load(write(tmp_path / "logs", small(strange, end(strange))), tmp_path, least=0)
    assert [t["name"] for t in rows(trace, "tasks")] == ["0"]
    tasks = report(trace)["tables"]["tasks"]
    assert (tasks["seen"], tasks["complete"], tasks["dropped"]) == (2, 1, 1)
    assert "tasks: 1 of stages that no job lists: left out" in report(trace)["notes"]


def test_what_is_there_twice_is_taken_once(tmp_path):
    first = task(0, 0)
    trace = load(write(tmp_path / "logs", small(first, end(first))), tmp_path, least=0)
    assert len(rows(trace, "tasks")) == 1
    assert report(trace)["tables"]["tasks"]["dropped"] == 2


@pytest.mark.parametrize(
    ("launched", "finished", "expected"),
    [
        (1_000_600, 1_000_500, (0.6, None)),
        (9_000_000_000_000_000_000, 1_000_500, (None, 0.5)),
        (1_000_300, -(2**63), (0.3, None)),
        (0, 0, (None, None)),
    ],
)
def test_times_that_cannot_be_are_null(launched, finished, expected, tmp_path):
    begun = task(1, 1, launched=launched)
    events = small(begun, end(begun, at=finished))
    trace = load(write(tmp_path / "logs", events), tmp_path, least=0)
    row = rows(trace, "tasks")[1]
    assert (row["started_at"], row["finished_at"]) == expected
    told = report(trace)["tables"]["tasks"]
    assert told["complete"] == 1
    assert told["repaired"] == (launched > 1_000_500)


def test_a_measurement_below_nothing_is_null_and_counted(tmp_path):
    begun = task(1, 1)
    metrics = {"Executor Run Time": -5, "Executor CPU Time": 2_000_000_000, "JVM GC Time": 7}
    events = small(begun, end(begun, metrics=metrics))
    trace = load(write(tmp_path / "logs", events), tmp_path)
    row = rows(trace, "tasks")[1]
    assert (row["m_run_seconds"], row["cpu_seconds"], row["m_gc_seconds"]) == (None, 2.0, 0.007)
    assert report(trace)["tables"]["tasks"]["repaired"] == 1


def test_jobs_and_stages_and_executors_that_end_before_they_begin_are_repaired(tmp_path):
    gone = {"Event": "SparkListenerExecutorRemoved", "Timestamp": 999_000, "Executor ID": "1"}
    more = [
        gone,
        job(1, [stage(1)], at=1_000_950),
        submitted(stage(1), at=1_000_960),
        completed(stage(1), at=1_000_100),
        over(1, at=1_000_900),
    ]
    trace = load(write(tmp_path / "logs", small(*more)), tmp_path, least=0)
    tables = report(trace)["tables"]
    assert {t: tables[t]["repaired"] for t in ("jobs", "stages", "nodes")} == {
        "jobs": 1,
        "stages": 1,
        "nodes": 1,
    }


def test_parents_that_are_later_or_unknown_give_no_edge_and_no_circle(tmp_path):
    a, b = stage(1, parents=[2, 1]), stage(2, parents=[1, 55])
    more = [job(1, [a, b], at=1_000_950), submitted(a), submitted(b), completed(a), completed(b)]
    trace = load(write(tmp_path / "logs", small(*more, over(1))), tmp_path, least=0)
    assert [(e["parent"], e["child"]) for e in rows(trace, "edges")] == [(1, 2)]
    assert report(trace)["tables"]["edges"]["dropped"] == 3


def test_a_job_without_a_beginning_is_left_out_with_a_note(tmp_path):
    trace = load(write(tmp_path / "logs", small(over(5))), tmp_path)
    assert len(rows(trace, "jobs")) == 1
    assert "jobs: job 5 ended but never began: left out" in report(trace)["notes"]


def test_partitions_far_apart_take_no_memory(tmp_path):
    info = stage(0, tasks=2)
    begun = [task(1, 0, **{"Partition ID": 2**62}), task(2, 1, **{"Partition ID": 2**31 - 1})]
    events = [*start(), job(0, [info]), submitted(info), *begun, *map(end, begun)]
    again = task(3, 0, **{"Partition ID": 2**62})
    events += [again, end(again), completed(info), over(), LAST]
    trace = load(write(tmp_path / "logs", events), tmp_path)
    assert [(t["task"], t["attempt"]) for t in rows(trace, "tasks")] == [(0, 0), (1, 0), (0, 1)]


# Files and folders.


def test_an_application_that_still_runs_is_flagged(tmp_path):
    folder = tmp_path / "logs"
    write(folder, small()[:-3], "app-1.inprogress")
    flags = report(load(folder, tmp_path, least=0))["flags"]
    assert flags == {"in_progress": True, "no_end": True, "cpu_kind": "JVM"}


def test_a_line_that_is_cut_off_is_no_damage(tmp_path):
    folder = tmp_path / "logs"
    file = write(folder, small())
    file.write_bytes(file.read_bytes()[:-30])
    flags = report(load(folder, tmp_path))["flags"]
    assert flags == {"truncated": True, "no_end": True, "cpu_kind": "JVM"}


def test_a_last_line_without_an_end_is_whole(tmp_path):
    file = write(tmp_path / "logs", small())
    file.write_bytes(file.read_bytes()[:-1])
    assert report(load(file, tmp_path))["flags"] == {"cpu_kind": "JVM"}


def test_what_came_before_damage_is_kept(tmp_path):
    folder = tmp_path / "logs"
    shutil.copytree(ROLLING, folder)
    second = next(folder.glob("events_2*"))
    second.write_bytes(second.read_bytes()[:8] + b"\xff" * 400)
    trace = load(folder, tmp_path, least=0)
    assert report(trace)["flags"]["damaged"] is True
    assert len(rows(trace, "jobs")) == 1


def rolled(folder, count, suffix=""):
    """Write a rolling log of ``count`` files, an event or more in each."""
    folder.mkdir(parents=True)
    events = small()
    cuts = [len(events) * k // count for k in range(count + 1)]
    for k in range(count):
        write(folder, events[cuts[k] : cuts[k + 1]], f"events_{k + 1}_app-1{suffix}")
    (folder / "appstatus_app-1").touch()
    return folder


def test_rolled_files_are_read_in_the_order_of_their_numbers(tmp_path):
    folder = rolled(tmp_path / "logs" / "eventlog_v2_app-1", 10)
    (folder / ".events_3_app-1.crc").write_bytes(b"crc")
    (folder / "events_2_app-1.crc").write_bytes(b"crc")
    trace = load(tmp_path / "logs", tmp_path)
    names = [f["name"] for f in trace.runs("log")[0]["files"]]
    assert names == [f"events_{k}_app-1" for k in range(1, 11)]
    assert len(rows(trace, "tasks")) == 1
    assert report(trace)["flags"] == {"cpu_kind": "JVM"}


def test_an_open_status_file_flags_a_rolling_log(tmp_path):
    folder = rolled(tmp_path / "eventlog_v2_app-1", 2)
    (folder / "appstatus_app-1").rename(folder / "appstatus_app-1.inprogress")
    assert report(load(folder, tmp_path))["flags"]["in_progress"] is True


def test_a_missing_file_of_a_rolling_log_is_said(tmp_path):
    folder = rolled(tmp_path / "eventlog_v2_app-1", 5)
    (folder / "events_4_app-1").unlink()
    found = report(load(folder, tmp_path, least=0))
    assert found["flags"]["missing_files"] == 1
    assert "files of the rolling log are absent: 4" in found["notes"]
    (folder / "events_1_app-1").rename(folder / "events_999999999_app-1")
    found = report(load(folder, tmp_path, least=0))
    assert found["flags"]["missing_files"] == 999_999_999 - 4
    assert "files of the rolling log are absent: 1, 4, 6 to 999999998" in found["notes"]


def test_a_compacted_log_is_flagged_and_replaces_what_was_before(tmp_path):
    """File 2 in its compacted form holds what is left of files 1 and 2."""
    folder = tmp_path / "eventlog_v2_app-1"
    events = small()
    write(folder, ["this would be no event"], "events_1_app-1")
    write(folder, ["nor this"], "events_2_app-1")
    late = [{**e, "Job ID": 4} if "Job ID" in e else e for e in events]
    write(folder, late[:6], "events_2_app-1.compact")
    write(folder, late[6:], "events_3_app-1")
    write(folder, ["half done"], "events_3_app-1.compact.inprogress")
    found = report(load(folder, tmp_path))
    assert found["flags"]["compacted"] is True
    assert any("by their numbers 4 jobs are absent" in n for n in found["notes"])
    assert "missing_files" not in found["flags"]
    assert "unreadable_events" not in found["flags"]


def test_a_folder_of_applications_gives_a_run_for_each(tmp_path):
    folder = tmp_path / "logs"
    shutil.copytree(SAMPLES, folder)
    write(folder / "2026", small(), "app-2_1")
    (folder / "notes.txt").write_text("no log")
    (folder / "empty").touch()
    (folder / "data.json").write_text('{"Event":"of something else"}\n')
    (folder / "link").symlink_to(folder / "2026" / "app-2_1")
    trace = load(folder, tmp_path)
    assert [r["log"] for r in trace.runs("log")] == [
        "2026/app-2_1",
        CLUSTER.name,
        ROLLING.name,
        STREAMING.name,
        "local-1795251663376.lz4",
    ]


@pytest.mark.parametrize(
    ("name", "pack"),
    [("app-1.gz", gzip.compress), ("app-1.zstd", zstandard.ZstdCompressor().compress)],
)
def test_a_compressed_log_is_known_by_its_first_bytes_not_its_name(name, pack, tmp_path):
    file = write(tmp_path / "logs", small())
    packed = file.with_name(f"{name}.txt")
    packed.write_bytes(pack(file.read_bytes()))
    assert len(rows(load(packed, tmp_path), "tasks")) == 1


def test_files_that_are_no_event_log_are_not_found(tmp_path):
    (tmp_path / "a").write_text("{}\n")
    with pytest.raises(ConfigError, match="looks like a log of spark"):
        load(tmp_path / "a", tmp_path)


def test_an_application_that_ran_nothing_is_refused(tmp_path):
    file = write(tmp_path / "logs", [*start(), LAST])
    with pytest.raises(CorruptError, match="tells of no job"):
        load(file, tmp_path)


def test_all_files_of_a_log_share_its_limit(tmp_path):
    rolled(tmp_path / "eventlog_v2_app-1", 2)
    sizes = [f.stat().st_size for f in (tmp_path / "eventlog_v2_app-1").glob("events_*")]
    load(tmp_path / "eventlog_v2_app-1", tmp_path, limits=Limits(bytes=sum(sizes)))
    with pytest.raises(CorruptError, match="holds more than"):
        load(tmp_path / "eventlog_v2_app-1", tmp_path, limits=Limits(bytes=sum(sizes) - 1))


# Secrets.

SECRETS = [
    "-Xmx2g -Dpassword=hunter2 -Djavax.net.ssl.keyStorePassword=hunter2",
    "org.apache.spark.deploy.SparkSubmit --conf spark.x.secret=hunter2 --password hunter2 a.py",
    "jdbc:mysql://h/db?user=bob&password=hunter2",
    "jdbc:sqlserver://h:1433;database=d;user=sa;Password=hunter2;encrypt=true",
    "jdbc:oracle:thin:scott/hunter2@h:1521",
    "https://bob:hunter2@host/path",
    "s3a://bob:hunter2@bucket/key",
    "wasbs://c@h/?sv=2020&sig=hunter2%3D",
    "CREATE TABLE t USING jdbc OPTIONS (url 'u', password 'hunter2')",
    'spark.read.option("password", "hunter2").load()',
    '{"client_secret": "hunter2"}',
    "Authorization: Bearer hunter2hunter2",
    "AWS_SECRET_ACCESS_KEY=hunter2",
    "fs.azure.account.key.x.blob.core.windows.net=hunter2",
    "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
    "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true keyTab=/hunter2",
]
TOKENS = [
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "dapi0123456789abcdef0123456789abcdef",
    "xoxb-123456789012-abcdefghijkl",
]


@pytest.mark.parametrize("value", SECRETS)
def test_secrets_within_a_value_are_hidden(value):
    assert "hunter2" not in redaction.text(value)
    assert "hunter2" not in redaction.short(value)
    assert "hunter2" not in redaction.place(value)
    assert "hunter2" not in str(redaction.properties({"spark.driver.extraJavaOptions": value}))


@pytest.mark.parametrize("token", TOKENS)
def test_what_issuers_give_out_is_known_by_its_shape(token):
    assert token not in redaction.text(f"begin {token} end")


@pytest.mark.parametrize(
    "key",
    [
        "spark.hadoop.fs.s3a.secret.key",
        "spark.hadoop.fs.s3a.access.key",
        "spark.hadoop.fs.azure.account.key.x.blob.core.windows.net",
        "spark.ssl.keyStorePassword",
        "spark.authenticate.secret",
        "spark.databricks.api.token",
        "spark.kubernetes.driverEnv.DB_PASSWD",
        "spark.executorEnv.AWS_SESSION_TOKEN",
        "spark.yarn.keytab",
        "spark.yarn.principal",
        "spark.openai.apiKey",
        "spark.my.credentials",
        "spark.mongodb.pwd",
        "spark.es.net.http.auth.user",
        "spark.snowflake.sfPassword",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", "12345678", "org.Example"])
def test_properties_that_are_secret_are_hidden_whole(key, value):
    assert redaction.properties({key: value}) == {redaction.text(key): redaction.HIDDEN}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.serializer", "org.apache.spark.serializer.KryoSerializer"),
        ("spark.app.id", "application_1702417715262_0001"),
        ("spark.driver.extraJavaOptions", "-Duser.timezone=UTC -XX:+UseG1GC"),
        ("spark.executor.memory", "4g"),
        ("spark.network.crypto.enabled", "true"),
        ("spark.authenticate", "false"),
        ("spark.jars", "file:/opt/spark/jars/spark-core_2.12-3.1.1.jar"),
        ("spark.shuffle.sort.bypassMergeThreshold", "200"),
        ("spark.kerberos.renewal.token.enabled", "true"),
        ("spark.sql.autoBroadcastJoinThreshold", "10485760"),
    ],
)
def test_settings_that_explain_a_run_are_kept(key, value):
    assert redaction.properties({key: value}) == {key: value}


def test_names_of_people_in_paths_are_hidden():
    kept = redaction.properties({"spark.home": "/home/bob/spark", "spark.eventLog.dir": "/logs"})
    assert kept == {"spark.home": "/home/(user)/spark", "spark.eventLog.dir": "/logs"}


@settings(max_examples=60, deadline=2000)
@given(st.text(max_size=3000))
def test_any_text_can_be_redacted(text):
    assert isinstance(redaction.text(text), str)


def test_no_secret_of_a_log_reaches_the_trace(tmp_path):
    assert b"not-a-real-secret" in CLUSTER.read_bytes()
    load(CLUSTER, tmp_path)
    for file in (tmp_path / "trace").iterdir():
        assert b"not-a-real-secret" not in file.read_bytes()
    properties = json.loads((tmp_path / "trace" / "provenance.json").read_text())["runs"][0][
        "properties"
    ]
    assert properties["spark.hadoop.fs.s3a.secret.key"] == redaction.HIDDEN
    assert properties["spark.executor.memory"] == "512m"


def test_a_reason_with_a_secret_is_redacted(tmp_path):
    trace = load(STREAMING, tmp_path)
    reasons = [t["reason"] for t in rows(trace, "tasks") if t["reason"]]
    assert reasons
    assert not any("abc123secret" in r for r in reasons)


# Parts.


@given(st.lists(st.integers(-5, 50) | st.integers(2**40, 2**40 + 3) | st.integers(5000, 9000)))
def test_places_are_what_a_dictionary_would_say(partitions):
    places, model = Places(), {}
    for partition in partitions:
        if partition in model:
            model[partition][1] += 1
        else:
            model[partition] = [len(model), 0]
        assert places.attempt(partition, places.seen) == tuple(model[partition])
    for partition in partitions[::2]:
        places.win(partition)
    assert places.seen == len(model)
    assert places.done == len(set(partitions[::2]))


@given(st.lists(st.integers(-3, 300) | st.integers(0, 2**62) | st.integers(60_000, 80_000)))
def test_seen_is_what_a_set_would_say(numbers):
    seen, model = Seen(), set()
    for number in numbers:
        assert (number in seen) == (number in model)
        assert seen.add(number) == (number not in model)
        model.add(number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1g", 2**30),
        ("512m", 512 * 2**20),
        ("1024", 1024 * 2**20),
        ("2 GiB", 2 * 2**30),
        ("1500k", 1500 * 2**10),
        ("lots", None),
        ("-1g", None),
    ],
)
def test_sizes_of_memory_are_read_as_spark_reads_them(text, expected):
    assert memory_of(text) == expected


def test_logs_are_found_by_what_they_are(tmp_path):
    rolled(tmp_path / "eventlog_v2_b", 2)
    write(tmp_path, small(), "a")
    (found, other) = event_log.logs(tmp_path)
    assert (found.name, other.name) == ("a", "eventlog_v2_b")
    assert not event_log.in_progress(other)
    assert [p.index for p in event_log.events_of(other)] == [1, 2]


def bent(rng, lines):
    """Drop, repeat and move events, and change numbers in them."""
    lines = list(lines)
    for _ in range(int(rng.integers(1, 8))):
        at, to = (int(n) for n in rng.integers(0, len(lines), 2))
        what = rng.integers(0, 4)
        if what == 0 and len(lines) > 5:
            del lines[at]
        elif what == 1:
            lines.insert(to, lines[at])
        elif what == 2:
            lines.insert(to, lines.pop(at))
        else:
            numbers = [m.span() for m in re.finditer(r"(?<=:)-?\d+", lines[at])]
            if numbers:
                a, b = numbers[int(rng.integers(0, len(numbers)))]
                new = rng.choice(["0", "-1", "1", "2147483648", "9223372036854775807", "1e300"])
                lines[at] = lines[at][:a] + str(new) + lines[at][b:]
    return lines


@pytest.mark.parametrize("sample", [CLUSTER, STREAMING], ids=["cluster", "streaming"])
def test_a_log_that_contradicts_itself_is_still_a_valid_trace(sample, tmp_path):
    whole = [line.decode() for line in Source(sample, Limits()).lines()]
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / "app-1"
    rng = np.random.default_rng(7)
    for _ in range(15):
        file.write_text("\n".join(bent(rng, whole)) + "\n")
        try:
            trace = load(file, tmp_path, least=0)
        except CorruptError as error:
            assert "tells of no job" in error.message  # the only one was bent
            continue
        for count in report(trace)["tables"].values():
            assert count["complete"] + count["dropped"] <= count["seen"]
        kept = {name: len(rows(trace, name)) for name in ("jobs", "stages", "tasks", "spans")}
        for name, number in kept.items():
            told = report(trace)["tables"].get(name, {"seen": 0, "dropped": 0})
            assert number == told["seen"] - told["dropped"]


@pytest.mark.parametrize(
    "told",
    [
        "-Ddb.pw=S3CR",
        'password\\":\\"S3CR\\"',
        "x?password%3DS3CR",
        "curl -u bob:S3CR http://h",
        "https://hooks.example.com/services/S3CR",
        "oracle:thin:scott/S3CR@h",
        "mongodb+srv://u:p@S3CR@h",
        "pass_word=S3CR",
        "my.passcode: S3CR",
    ],
)
def test_what_looks_like_a_secret_inside_a_text_is_hidden(told):
    assert "S3CR" not in redaction.text(told)


@pytest.mark.parametrize(
    "name", ["spark.credential.provider", "spark.secretType", "spark.apitoken.timeout"]
)
def test_a_name_that_speaks_of_secrets_shows_only_plain_values(name):
    assert redaction.properties({name: "s3cr-Value!x"}) == {name: redaction.HIDDEN}
    assert redaction.properties({name: "30s"}) == {name: "30s"}
    assert redaction.properties({name: "org.x.Provider"}) == {name: "org.x.Provider"}
