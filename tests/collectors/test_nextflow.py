"""Nextflow: raw and human traces, attempts, what contradicts itself, and edges that are known."""

import random
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors import importing, nextflow
from collectors.completeness import Completeness
from collectors.importing import Settings
from collectors.nextflow_edges import process_graph
from collectors.streams import Limits, Source
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, ToolkitError

SAMPLES = Path(__file__).parent / "samples" / "nextflow"
LENIENT = Settings(min_complete=0.0, executor="processes", workers=1, limits=Limits())
KB, MB, GB = 1 << 10, 1 << 20, 1 << 30

GRAPH = """digraph "dag" {
v0 [shape=point,label="",fixedsize=true,width=0.1,xlabel="Channel.fromPath"];
v1 [label="RNA:INDEX"];
v0 -> v1 [label="genome"];

v1 [label="RNA:INDEX"];
v2 [shape=circle,label="",fixedsize=true,width=0.1,xlabel="combine"];
v1 -> v2;

v2 [shape=circle,label="",fixedsize=true,width=0.1,xlabel="combine"];
v3 [label="RNA:QUANT"];
v2 -> v3;

v3 [label="RNA:QUANT"];
v4 [shape=circle,label="",fixedsize=true,width=0.1,xlabel="collect"];
v3 -> v4 [label="quants"];

v4 [shape=circle,label="",fixedsize=true,width=0.1,xlabel="collect"];
v5 [label="RNA:REPORT"];
v4 -> v5;

v3 [label="RNA:QUANT"];
v6 [label="RNA:EXTRA"];
v3 -> v6;

v5 [label="RNA:REPORT"];
v7 [shape=point];
v5 -> v7;

}
"""


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports a trace file, from a path or its text."""
    count = iter(range(1000))

    def imported_(content, **collector):
        place = tmp_path / f"import-{next(count)}"
        place.mkdir()
        if isinstance(content, str):
            (place / "trace.txt").write_text(content, newline="")
            content = place / "trace.txt"
        importer = nextflow.Nextflow(**collector).importer()
        logs = importing.logs_of(importer, str(content))
        importing.load(importer, logs, LENIENT, place / "parts", place / "trace")
        return traces.read(place / "trace")

    return imported_


def rows_of(trace, table="tasks"):
    return trace.tables[table].to_pylist()


def report_of(trace):
    return trace.provenance["completeness"]["runs"][0]


def text(*rows):
    """Return a trace file; every row must name the same fields."""
    assert len({tuple(row) for row in rows}) == 1
    lines = [rows[0].keys(), *(map(str, row.values()) for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def row(number, submit, start, complete, **more):
    """Return a raw row; times in ms."""
    return {
        **{"task_id": number, "name": f"WORK ({number})", "status": "COMPLETED", "exit": 0},
        **{"submit": 10**12 + submit, "start": 10**12 + start, "complete": 10**12 + complete},
        **more,
    }


# What the fields mean.


def test_a_raw_trace_is_in_milliseconds_and_bytes(imported):
    trace = imported(SAMPLES / "raw.txt")
    first = rows_of(trace)[0]
    assert {k: v for k, v in first.items() if v is not None} == {
        **{"run": 0, "task": 0, "attempt": 0, "name": "RNA:INDEX", "job": 0, "stage": 0},
        **{"type": "RNA:INDEX", "node": 0, "cpus": 2.0, "memory": 512.0 * MB},
        **{"submitted_at": 0.0, "started_at": 0.25, "finished_at": 10.25, "seconds": 9.8},
        **{"status": "done", "cpu_seconds": pytest.approx(1.505 * 9.8)},
        **{"peak_memory": 200.0 * MB, "bytes_in": 1e6, "bytes_out": 5e5},
        **{"m_cpu_percent": 150.5, "m_rchar_bytes": 2e6, "m_wchar_bytes": 1e6},
        **{"m_rss_bytes": 200.0 * MB, "m_peak_vmem_bytes": 400.0 * MB},
        **{"m_time_limit_seconds": 3600.0, "m_exit_code": 0.0},
    }
    assert trace.runs()[0]["began_unix"] == 1.7e9
    assert [n["name"] for n in rows_of(trace, "nodes")] == ["n1", "n2"]
    assert [s["name"] for s in rows_of(trace, "stages")] == ["RNA:INDEX", "RNA:QUANT", "RNA:REPORT"]
    assert rows_of(trace, "jobs")[0]["finished_at"] == 20.1
    assert report_of(trace)["share"] == 1.0
    assert report_of(trace)["flags"]["rounded"] is False


def test_a_human_trace_says_the_same_in_its_units(imported):
    trace = imported(SAMPLES / "human.txt")
    a, b, c = rows_of(trace)
    assert (a["submitted_at"], a["started_at"], a["finished_at"]) == (0.0, 2.5, 1286.5)
    assert (a["seconds"], b["seconds"], c["seconds"]) == (1282.0, 3853.0, 1.5)
    assert (a["memory"], c["memory"], c["peak_memory"]) == (8 * GB, 512 * MB, 64 * KB)
    assert (a["bytes_in"], b["bytes_out"], c["bytes_out"]) == (1.5 * GB, 250.5 * MB, 17)
    assert a["cpu_seconds"] == pytest.approx(3.782 * 1282)
    assert a["m_time_limit_seconds"] == 26 * 3600
    assert "began_unix" not in trace.runs()[0]  # the zone is unknown
    assert "zone is not recorded" in trace.provenance["clock"]
    assert report_of(trace)["flags"]["rounded"] is True
    assert len(rows_of(trace, "nodes")) == 0


def test_the_default_fields_have_no_start_and_an_end_from_the_duration(imported):
    trace = imported(SAMPLES / "folder")
    a, b, c, d = rows_of(trace)
    assert [r["type"] for r in (a, b, c, d)] == ["FETCH", "FETCH", "MERGE", "PUBLISH"]
    assert [r["started_at"] for r in (a, b, c, d)] == [None] * 4
    assert [r["finished_at"] for r in (a, b, c, d)] == [65.0, 30.275, 65.887, None]
    assert (b["seconds"], c["seconds"], c["peak_memory"]) == (21.5, 0.12, None)
    assert d["status"] == "killed"
    flags = report_of(trace)["flags"]
    assert flags["finish"] == "submit + duration"
    assert "start complete" in flags["fields_absent"]


def test_the_second_attempt_of_a_failed_task_is_the_same_task(imported):
    rows = rows_of(imported(SAMPLES / "raw.txt"))
    liver = [(r["task"], r["attempt"], r["status"]) for r in rows if "liver" in r["name"]]
    assert liver == [(1, 0, "failed"), (1, 1, "done")]
    assert rows[1]["reason"] == "exit 137"
    assert sorted({r["task"] for r in rows}) == [0, 1, 2, 3]


def test_attempts_that_could_follow_two_tasks_are_tasks_of_their_own(imported):
    failed = {"name": "WORK (x)", "status": "FAILED", "exit": 1}
    trace = imported(
        text(
            row(1, 0, 1, 2, attempt=1, **failed),
            row(2, 0, 1, 2, attempt=1, **failed),
            row(3, 5, 6, 7, attempt=2, name="WORK (x)"),
            row(4, 5, 6, 7, attempt=3, name="WORK (y)"),
        )
    )
    assert [(r["task"], r["attempt"]) for r in rows_of(trace)] == [(0, 0), (1, 0), (2, 1), (3, 2)]
    assert any("2 later attempts" in note for note in report_of(trace)["notes"])


def test_attempts_are_joined_whatever_their_order_in_the_file(imported):
    trace = imported(
        text(
            row(3, 20, 21, 22, attempt=3, name="WORK (x)"),
            row(1, 0, 1, 2, attempt=1, name="WORK (x)", status="FAILED"),
            row(9, 0, 1, 2, attempt=1, name="WORK (z)"),
            row(2, 10, 11, 12, attempt=2, name="WORK (x)", status="FAILED"),
        )
    )
    assert [(r["task"], r["attempt"]) for r in rows_of(trace)] == [(0, 2), (0, 0), (1, 0), (0, 1)]


def test_cached_rows_are_left_out_and_counted(imported):
    trace = imported(SAMPLES / "raw.txt")
    assert not any("OLD" in r["name"] for r in rows_of(trace))
    assert report_of(trace)["flags"]["cached"] == 1
    # Their old times do not move time 0.
    assert min(r["submitted_at"] for r in rows_of(trace)) == 0.0


@given(ms=st.integers(0, 10**11))
def test_a_duration_as_nextflow_writes_it_is_read_within_its_rounding(ms):
    """Below a second in ms, below a minute with a decimal, then whole units without the rest."""
    if ms < 1000:
        said, rounding = f"{ms}ms", 0.0
    elif ms < 60_000:
        said, rounding = f"{ms / 1000:.1f}s".replace(".0s", "s"), 0.05
    else:
        s = ms // 1000
        parts = (s // 86400, "d"), (s // 3600 % 24, "h"), (s // 60 % 60, "m"), (s % 60, "s")
        said, rounding = " ".join(f"{n}{unit}" for n, unit in parts if n), 1.0
    assert nextflow.duration(said) == pytest.approx(ms / 1000, abs=rounding + 1e-6)
    assert nextflow.duration(str(ms)) == ms / 1000


@given(count=st.integers(0, 10**15))
def test_a_size_as_nextflow_writes_it_is_read_within_its_rounding(count):
    units = ["B", "KB", "MB", "GB", "TB", "PB"]
    k = 0
    while count >> 10 * (k + 1):
        k += 1
    shown = round(count / 1024**k, 1)
    said = f"{shown:.1f}".removesuffix(".0") + f" {units[k]}"
    assert nextflow.size(said) == pytest.approx(count, abs=0.051 * 1024**k)
    assert nextflow.size(str(count)) == count


@pytest.mark.parametrize(
    "wrong",
    ["", "-", "x", "1_0", "nan", "inf", "1e9", "-1", "٣", "1 XB", "9" * 60, "1h1", "1.2.3s"],
)
def test_what_is_no_number_is_none(wrong):
    assert nextflow.number(wrong) is None
    assert nextflow.size(wrong) is None
    assert nextflow.duration(wrong) is None
    assert nextflow.percent(wrong) is None
    assert nextflow.date(wrong) is None


# What contradicts itself.


def test_times_that_contradict_each_other_are_null_and_told(imported):
    trace = imported(
        text(
            row(1, 0, 10, 1000, realtime=900),
            row(2, 500, 100, 1000, realtime=100),  # starts before it is submitted
            row(3, 0, 800, 500, realtime=100),  # ends before it starts
            row(4, 0, 10, 1000, realtime=99_000),  # runs longer than it took
            row(5, 0, 10, 10**15, realtime=100),  # ends in the year 33000
        )
    )
    a, b, c, d, e = rows_of(trace)
    assert (a["started_at"], a["finished_at"], a["seconds"]) == (0.01, 1.0, 0.9)
    assert (b["started_at"], b["finished_at"]) == (None, 1.0)
    assert (c["started_at"], c["finished_at"]) == (0.8, None)
    assert (d["finished_at"], d["seconds"]) == (1.0, None)
    assert (e["started_at"], e["finished_at"]) == (0.01, None)
    counts = report_of(trace)["tables"]["tasks"]
    assert (counts["seen"], counts["complete"], counts["repaired"]) == (5, 2, 4)
    assert len(report_of(trace)["notes"]) == 4


def test_local_dates_and_unix_times_are_not_compared(imported):
    a, b = rows_of(
        imported(text(row(1, 0, 1, 2), {**row(2, 0, 1, 2), "start": "2024-03-01 10:00:00.000"}))
    )
    assert (a["started_at"], b["started_at"]) == (0.001, None)


def test_rows_that_cannot_be_kept_are_counted(imported):
    content = text(
        row(1, 0, 1, 2),
        row(1, 3, 4, 5),
        {**row(2, 0, 1, 2), "status": "SHINY"},
        {**row(3, 0, 1, 2), "status": "-", "exit": "-"},
        {**row(4, 0, 1, 2), "name": "split\tname"},
    )
    trace = imported(content + "\n")
    assert len(rows_of(trace)) == 1
    counts = report_of(trace)["tables"]["tasks"]
    assert (counts["seen"], counts["complete"], counts["dropped"]) == (5, 1, 4)


def test_without_a_status_the_exit_code_tells(imported):
    rows = [row(k, 0, 1, 2, exit=code) for k, code in enumerate((0, 1))]
    for r in rows:
        del r["status"]
    assert [r["status"] for r in rows_of(imported(text(*rows)))] == ["done", "failed"]
    del rows[0]["exit"], rows[1]["exit"]
    with pytest.raises(CorruptError, match="neither 'status' nor 'exit'"):
        imported(text(*rows))


def test_a_last_line_that_does_not_end_loses_its_last_field(imported):
    content = text(row(1, 0, 1, 2, wchar=5), row(2, 0, 1, 2, wchar=123456))
    trace = imported(content[:-4])  # "123"
    assert [r["m_wchar_bytes"] for r in rows_of(trace)] == [5.0, None]
    assert report_of(trace)["flags"]["truncated"] is True
    # Cut in an earlier field there are fewer of them.
    trace = imported(content[:-9])
    assert len(rows_of(trace)) == 1
    assert report_of(trace)["tables"]["tasks"]["dropped"] == 1


def test_tasks_that_were_still_running_are_incomplete(imported):
    trace = imported(
        text(row(1, 0, 1, 2), {**row(2, 0, 1, 2), "status": "RUNNING", "complete": "-"})
    )
    assert [r["status"] for r in rows_of(trace)] == ["done", "running"]
    assert rows_of(trace, "jobs")[0]["finished_at"] is None
    assert report_of(trace)["share"] == 0.5


def test_another_table_is_refused(imported):
    with pytest.raises(CorruptError, match="no trace of Nextflow"):
        imported("a,b,c\n1,2,3\n")
    with pytest.raises(CorruptError, match="names a field twice"):
        imported("name\tstatus\tstatus\nx\tCOMPLETED\tFAILED\n")
    with pytest.raises(CorruptError, match="no row of a task that ran"):
        imported("name\tstatus\nx\tCACHED\n")


def test_windows_line_ends_and_fields_of_the_future_are_read(imported):
    content = text(row(1, 0, 1, 2, shiny="x"), row(2, 0, 1, 2, shiny="-"))
    trace = imported(content.replace("\n", "\r\n"))
    assert len(rows_of(trace)) == 2
    assert report_of(trace)["unknown"] == {"field shiny": 1}


def test_only_traces_of_a_folder_are_logs(tmp_path):
    importer = nextflow.Nextflow().importer()
    (tmp_path / "notes_on_trace.txt").write_text("nothing of use\n")
    with pytest.raises(ConfigError, match="looks like a log of nextflow"):
        importing.logs_of(importer, str(tmp_path))
    for name in ("run/trace.txt", "run/trace-20240301.txt", "run/report.txt", "run/trace.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((SAMPLES / "human.txt").read_bytes())
    names = [log.name for log in importer.find(tmp_path)]
    assert names == ["run/trace-20240301.txt", "run/trace.txt"]


WILD = ["-", "", "0", "1", "-1", "99999999999999999", "1.5 GB", "3d 4h", "2024-03-01 10:00:00.000"]
WILD += ["1700000000999", "FAILED", "CACHED", "RUNNING", "n1", "101.5%", "NaN", "x" * 5000, "é\x00"]


@given(dice=st.randoms(use_true_random=False), name=st.sampled_from(["raw.txt", "human.txt"]))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_values_that_contradict_each_other_never_make_an_import_fail(dice, name, tmp_path):
    cells = [line.split("\t") for line in (SAMPLES / name).read_text().splitlines()]
    for _ in range(dice.randint(1, 12)):
        line, at = dice.randrange(1, len(cells)), dice.randrange(len(cells[0]))
        cells[line][at] = dice.choice([*WILD, cells[dice.randrange(1, len(cells))][at]])
    if dice.random() < 0.3:
        cells.append(list(cells[-1]))
    (tmp_path / "trace.txt").write_text("".join("\t".join(line) + "\n" for line in cells))
    for old in ("parts", "trace"):
        shutil.rmtree(tmp_path / old, ignore_errors=True)
    importer = nextflow.Nextflow().importer()
    logs = importing.logs_of(importer, str(tmp_path / "trace.txt"))
    try:
        importing.load(importer, logs, LENIENT, tmp_path / "parts", tmp_path / "trace")
    except CorruptError as error:
        assert "no row of a task that ran" in str(error)
        return
    trace = traces.read(tmp_path / "trace")
    count = report_of(trace)["tables"]["tasks"]
    assert len(rows_of(trace)) == count["seen"] - count["dropped"]


# Edges between processes.


@pytest.fixture
def graph(tmp_path):
    """Return a function that writes a graph and returns its path."""

    def graph_(content=GRAPH):
        (tmp_path / "graph.dot").write_text(content)
        return str(tmp_path / "graph.dot")

    return graph_


def named(trace):
    names = [s["name"] for s in rows_of(trace, "stages")]
    return {(e["kind"], names[e["parent"]], names[e["child"]]) for e in rows_of(trace, "edges")}


def test_a_graph_of_processes_gives_edges_between_stages(imported, graph):
    trace = imported(SAMPLES / "raw.txt", dag=graph())
    assert named(trace) == {
        ("stage", "RNA:INDEX", "RNA:QUANT"),
        ("stage", "RNA:QUANT", "RNA:REPORT"),
        ("stage", "RNA:QUANT", "RNA:EXTRA"),  # of which nothing ran
    }
    assert {r["name"]: r["stage"] for r in rows_of(trace)}["RNA:REPORT"] == 2
    assert report_of(trace)["flags"]["edges"] == "process"
    files = trace.runs()[0]["files"]
    assert [f["name"] for f in files] == ["raw.txt", "graph.dot"]
    assert all(f["sha256"] for f in files)


def test_without_a_graph_there_are_no_edges_whatever_the_times(imported):
    trace = imported(SAMPLES / "raw.txt")
    assert len(rows_of(trace, "edges")) == 0
    assert report_of(trace)["flags"]["edges"] == "none"


def test_processes_that_feed_each_other_have_no_edges(imported, graph):
    loop = GRAPH.replace("v5 -> v7;", "v5 -> v3;\nv5 -> v5;")
    trace = imported(SAMPLES / "raw.txt", dag=graph(loop))
    assert named(trace) == {
        ("stage", "RNA:INDEX", "RNA:QUANT"),
        ("stage", "RNA:QUANT", "RNA:EXTRA"),
    }
    assert report_of(trace)["tables"]["edges"]["dropped"] == 3


@pytest.mark.parametrize(
    "drawn", ["flowchart TB\n  v0 --> v1\n", "", "<html></html>", 'digraph "x" {\n}\n', "\x00" * 99]
)
def test_what_is_no_graph_in_dot_is_refused(imported, graph, drawn):
    with pytest.raises(CorruptError, match=r"no graph in DOT|shows no process"):
        imported(SAMPLES / "raw.txt", dag=graph(drawn))


def test_a_damaged_graph_is_read_or_refused(graph):
    dice = random.Random(0)
    path = Path(graph())
    for _ in range(300):
        bent = bytearray(GRAPH.encode())
        for _ in range(3):
            bent[dice.randrange(len(bent))] ^= 1 << dice.randrange(7)
        path.write_bytes(bytes(bent[: dice.randrange(1, len(bent) + 1)]))
        try:
            processes, pairs = process_graph(Source(path, Limits()), Completeness())
        except ToolkitError as error:
            assert str(error)
        else:
            assert {name for pair in pairs for name in pair} <= set(processes)


def test_a_graph_that_is_too_entangled_is_refused(graph):
    """Every process reaches every operator, so that paths are many more than lines."""
    count = 5000
    lines = [f'p{k} [label="P{k}"];\np{k} -> o0;' for k in range(count)]
    lines += [f"o{k} -> o{k + 1};" for k in range(count)]
    drawn = graph("digraph {\n" + "\n".join(lines) + "\n}\n")
    began = time.process_time()
    with pytest.raises(CorruptError, match="more entangled"):
        process_graph(Source(Path(drawn), Limits()), Completeness())
    assert time.process_time() - began < 15


# Edges between tasks.


class Work:
    """A work folder, as Nextflow leaves it."""

    def __init__(self, root):
        self.root = root

    def folder(self, key):
        place = self.root / key
        place.mkdir(parents=True, exist_ok=True)
        return place

    def file(self, key, name, count):
        place = self.folder(key) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x" * count)
        return place

    def link(self, key, name, target):
        place = self.folder(key) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def key_of(number):
    return f"{number:02x}/{number:030x}"


@pytest.fixture
def work(tmp_path):
    (tmp_path / "work").mkdir()
    return Work(tmp_path / "work")


def in_folders(work, *rows, **more):
    """Return a trace whose tasks ran in the folders of a work folder."""
    return text(*({**r, **more, "workdir": f"{work.root}/{key_of(r['task_id'])}"} for r in rows))


def chain(work):
    """Two tasks whose outputs a third reads."""
    for k in (1, 2, 3):
        work.file(key_of(k), ".command.sh", 10)
    work.link(key_of(3), "a.bam", work.file(key_of(1), "a.bam", 100))
    work.link(key_of(3), "a.bai", work.file(key_of(1), "a.bai", 7))
    work.link(key_of(3), "inputs/again/a.bam", work.root / key_of(1) / "a.bam")
    work.link(key_of(3), "b", work.file(key_of(2), "out/b.bam", 50).parent)
    return in_folders(work, row(1, 0, 1, 10), row(2, 0, 1, 12), row(3, 13, 14, 20))


def edges_of(trace):
    return {(e["parent"], e["child"]): e["bytes"] for e in rows_of(trace, "edges")}


def test_links_between_work_folders_are_edges_with_bytes(imported, work):
    trace = imported(chain(work), edges="files", work=str(work.root))
    # The same file twice counts once; what is in a folder nobody has counted.
    assert edges_of(trace) == {(0, 2): 107.0, (1, 2): None}
    flags = report_of(trace)["flags"]
    assert (flags["edges"], flags["work_folders"]) == ("files", "3 of 3")


def test_a_work_folder_may_lie_elsewhere_than_the_log_says(imported, work, tmp_path):
    content = chain(work)
    moved = tmp_path / "moved"
    work.root.rename(moved)
    trace = imported(content, edges="files", work=str(moved))
    assert edges_of(trace) == {(0, 2): 107.0, (1, 2): None}


def test_the_short_hash_is_enough(imported, work):
    chain(work)
    rows = [row(k, *times, hash=key_of(k)[:9]) for k, times in ((1, (0, 1, 10)), (3, (13, 14, 20)))]
    trace = imported(text(*rows), edges="files", work=str(work.root))
    assert edges_of(trace) == {(0, 1): 107.0}
    # Where two folders begin alike, nobody knows which it is.
    work.folder("03/000000" + "f" * 24)
    trace = imported(text(*rows), edges="files", work=str(work.root))
    assert edges_of(trace) == {}
    assert report_of(trace)["flags"]["work_folders"] == "1 of 2"


def test_nothing_outside_the_work_folder_is_looked_at(imported, work, tmp_path):
    outside = tmp_path / "outside"
    secret = outside / key_of(1)
    secret.mkdir(parents=True)
    (secret / "data").write_bytes(b"x" * 1000)
    (secret / "up").symlink_to(work.root / key_of(2) / "b.bam")
    work.file(key_of(2), "b.bam", 50)
    # A task's folder is a link to somewhere else: not entered.
    (work.root / "01").mkdir()
    (work.root / key_of(1)).symlink_to(secret)
    # Another task links to what only seems to be in that folder, and to files outside.
    work.link(key_of(3), "data", work.root / key_of(1) / "data")
    work.link(key_of(3), "passwd", "/etc/passwd")
    work.link(key_of(3), "up", f"{work.root}/{key_of(2)}/../../../outside/{key_of(1)}/data")
    content = in_folders(work, row(1, 0, 1, 10), row(2, 0, 1, 10), row(3, 13, 14, 20))
    trace = imported(content, edges="files", work=str(work.root))
    # The log says whose folder the link names; but no size was read through a link.
    assert edges_of(trace) == {(0, 2): None}
    assert report_of(trace)["flags"]["work_folders"] == "2 of 3"


def test_a_log_cannot_name_a_folder_elsewhere(imported, work, tmp_path):
    chain(work)
    for evil in ("/etc", "../../..", f"{work.root}/../work", "/", "s3://bucket/work/ab/cd", "\x00"):
        rows = [row(k, 0, 1, 10, workdir=evil, hash="../etc") for k in (1, 2)]
        trace = imported(text(*rows), edges="files", work=str(work.root))
        assert edges_of(trace) == {}
        assert report_of(trace)["flags"]["work_folders"] == "0 of 2"


def test_links_to_cached_tasks_are_counted_and_are_no_edges(imported, work):
    content = chain(work).replace("WORK (1)\tCOMPLETED", "WORK (1)\tCACHED")
    trace = imported(content, edges="files", work=str(work.root))
    assert edges_of(trace) == {(0, 1): None}
    assert report_of(trace)["flags"]["edges_from_cached"] == 2


def test_a_task_cannot_start_before_its_parent_ended(imported, work):
    chain(work)
    content = in_folders(work, row(1, 0, 1, 10), row(2, 0, 1, 12), row(3, 5, 11, 20))
    trace = imported(content, edges="files", work=str(work.root))
    assert edges_of(trace) == {(0, 2): 107.0, (1, 2): None}
    assert [r["started_at"] for r in rows_of(trace)] == [0.001, 0.001, None]
    assert any("before the end of a parent" in note for note in report_of(trace)["notes"])


def test_a_parent_whose_folder_is_gone_is_still_known(imported, work):
    content = chain(work)
    for file in (work.root / key_of(1)).iterdir():
        file.unlink()
    (work.root / key_of(1)).rmdir()
    trace = imported(content, edges="files", work=str(work.root))
    assert edges_of(trace) == {(0, 2): None, (1, 2): None}


def test_both_kinds_of_edges_may_be_read(imported, work, graph):
    drawn = 'digraph "x" {\nv0 [label="WORK"];\nv1 [label="OTHER"];\nv0 -> v1;\n}\n'
    trace = imported(chain(work), edges="files", work=str(work.root), dag=graph(drawn))
    assert sorted(e["kind"] for e in rows_of(trace, "edges")) == ["stage", "task", "task"]
    assert report_of(trace)["flags"]["edges"] == "process+files"


def test_settings_that_make_no_sense_are_refused_with_what_to_type(tmp_path):
    with pytest.raises(ConfigError, match="none or files"):
        nextflow.Nextflow(edges="time")
    with pytest.raises(ConfigError, match="needs the work folder"):
        nextflow.Nextflow(edges="files")
    with pytest.raises(ConfigError, match="no file"):
        nextflow.Nextflow(dag=str(tmp_path / "none.dot")).importer()
    with pytest.raises(ConfigError, match="no folder"):
        nextflow.Nextflow(edges="files", work=str(tmp_path / "none")).importer()


def test_a_large_trace_takes_time_in_proportion(imported):
    """Also when all rows are attempts of one name."""
    count = 20_000
    rows = [
        row(k, k, k + 1, k + 2, attempt=k + 1, name="WORK (x)", status="FAILED")
        for k in range(count)
    ]
    began = time.process_time()
    trace = imported(text(*rows))
    assert time.process_time() - began < 15
    assert {r["task"] for r in rows_of(trace)} == {0}
