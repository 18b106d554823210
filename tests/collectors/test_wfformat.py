"""WfFormat: published runs, hand-written ones, faults of converters, and the way back."""

import copy
import gzip
import json
import re
import shutil
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors import importing, wfformat, wfformat_schema
from collectors.importing import Settings
from collectors.streams import Limits
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, SchemaError
from toolkit.trace import Trace
from toolkit.workflows import wfformat as reader

SAMPLES = Path(__file__).parent / "samples" / "wfformat"
FILES = {name: SAMPLES / f"{name}.json" for name in ("v13", "v14", "v15")}
FILES["v16"] = SAMPLES / "folder" / "chain.json"
LENIENT = Settings(min_complete=0.0, executor="processes", workers=1, limits=Limits())

PUBLISHED = {
    "1000genome-chameleon-2ch-250k-001": (82, 106, 2391.0, 3, 4436.465),
    "blast-chameleon-small-005": (43, 120, 902.68, 2, 380.318167),
    "epigenomics-chameleon-hep-1seq-100k-001": (41, 48, 594.0, 1, 539.307),
    "helloworld-forkjoin-10-chameleon": (10, 16, 437.0, 1, 1028.704),
    "sarek-dirt02-001": (26, 50, 518.0, 1, 393.226),
    "srasearch-chameleon-10a-001": (22, 30, 3488.0, 1, 6996.779),
}
"""Tasks, edges, makespan in s, machines, and the sum of run times in s, counted with grep."""


def load(path, folder, how=LENIENT):
    importer = wfformat.WfFormat().importer()
    logs = importing.logs_of(importer, str(path))
    importing.load(importer, logs, how, folder / "parts", folder / "trace")
    return traces.read(folder / "trace")


@pytest.fixture
def imported(tmp_path):
    """Return a function that imports a document, or a file, as a trace."""
    count = iter(range(1000))

    def imported_(content):
        place = tmp_path / str(next(count))
        place.mkdir()
        if isinstance(content, dict):
            (place / "run.json").write_text(json.dumps(content))
            content = place / "run.json"
        return load(content, place)

    return imported_


def content_of(name):
    return json.loads(FILES[name].read_text())


def report_of(trace):
    return trace.provenance["completeness"]["runs"][0]


def column(trace, table, name):
    return trace.tables[table][name].to_pylist()


def edges_of(trace):
    names = column(trace, "tasks", "name")
    return {
        (names[row["parent"]], names[row["child"]]): row["bytes"]
        for row in trace.tables["edges"].to_pylist()
    }


# Published runs.


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_run_has_the_numbers_of_its_file(reference_data, imported, name):
    path = reference_data / "data" / "wfformat" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the reference data")
    trace = imported(path)
    tasks, edges, makespan, machines, work = PUBLISHED[name]
    assert [len(trace.tables[t]) for t in ("tasks", "edges", "nodes", "jobs")] == [
        *(tasks, edges, machines),
        1,
    ]
    assert column(trace, "jobs", "finished_at") == [makespan]

    raw = json.loads(path.read_text())["workflow"]
    ran = {t["id"]: t for t in raw["execution"]["tasks"]}
    planned = {t["id"]: t for t in raw["specification"]["tasks"]}
    rows = {row["name"]: row for row in trace.tables["tasks"].to_pylist()}
    assert {n: r["seconds"] for n, r in rows.items()} == {
        n: t["runtimeInSeconds"] for n, t in ran.items()
    }
    total = sum(t["runtimeInSeconds"] for t in ran.values())
    assert sum(column(trace, "tasks", "seconds")) == pytest.approx(total)
    assert trace.runs()[0]["work"] == pytest.approx(total)
    assert total == pytest.approx(work, abs=1e-5)
    sizes = {f["id"]: f["sizeInBytes"] for f in raw["specification"]["files"]}
    found = edges_of(trace)
    assert found.keys() == {(p, n) for n, t in planned.items() for p in t["parents"]}
    for (parent, child), moved in found.items():
        shared = set(planned[parent]["outputFiles"]) & set(planned[child]["inputFiles"])
        assert moved == (sum(sizes[f] for f in shared) if shared else None)
    nodes = column(trace, "nodes", "name")
    for own, t in ran.items():
        where = rows[own]["node"]
        assert (None if where is None else [nodes[where]]) == t.get("machines")
        assert rows[own]["peak_memory"] == t.get("memoryInBytes")
        assert rows[own]["bytes_in"] == t.get("readBytes")
        assert rows[own]["bytes_out"] == t.get("writtenBytes")
        assert rows[own]["cpus"] == t.get("coreCount")
        assert rows[own]["cpu_seconds"] == pytest.approx(t["avgCPU"] / 100 * t["runtimeInSeconds"])
    # Nobody said when a task started or ended.
    for name in ("started_at", "finished_at", "submitted_at", "ready_at", "memory"):
        assert trace.tables["tasks"][name].null_count == tasks
    assert trace.provenance["completeness"]["share"] == 1.0


@pytest.mark.parametrize("name", PUBLISHED)
def test_import_and_simulator_read_the_same_graph(reference_data, imported, name):
    path = reference_data / "data" / "wfformat" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the reference data")
    trace = imported(path)
    graph, _, facts = reader.read(path)
    types = dict(zip(graph.labels, (graph.types[k] for k in graph.type_of), strict=True))
    rows = trace.tables["tasks"].to_pylist()
    assert {r["name"]: r["type"] for r in rows} == types
    assert trace.runs()[0]["longest_path"] == pytest.approx(graph.longest_path())
    assert trace.runs()[0]["makespan"] == facts.makespan
    assert sum(b or 0.0 for b in edges_of(trace).values()) == float(graph.data.sum())


# Each version, by hand.


def test_version_1_3_is_in_kilobytes_and_names_tasks_by_name(imported):
    trace = imported(FILES["v13"])
    rows = trace.tables["tasks"].to_pylist()
    assert [r["name"] for r in rows] == [
        *("cut_ID000001", "stack_ID000002", "stack_ID000003", "blend_ID000004"),
    ]
    assert [r["type"] for r in rows] == ["cut", "stack", "stack", "blend"]
    assert [r["seconds"] for r in rows] == [10.0, 20.0, 25.0, 5.0]
    assert [r["node"] for r in rows] == [0, 0, 1, 1]
    assert rows[0]["bytes_in"] == 5000.0
    assert rows[0]["bytes_out"] == 3000.0
    assert rows[0]["peak_memory"] == 2_048_000.0
    assert rows[0]["cpu_seconds"] == pytest.approx(9.0)
    assert (rows[0]["m_energy_kwh"], rows[0]["m_power_watts"], rows[0]["m_priority"]) == (
        *(0.001, 30.5),
        10.0,
    )
    assert rows[1]["peak_memory"] is None
    assert edges_of(trace) == {
        ("cut_ID000001", "stack_ID000002"): 1200.0,
        ("cut_ID000001", "stack_ID000003"): 1300.0,
        ("stack_ID000002", "blend_ID000004"): 700.0,
        ("stack_ID000003", "blend_ID000004"): 800.0,
    }
    assert column(trace, "nodes", "memory") == [16e9, 8e9]
    assert column(trace, "nodes", "kind") == ["x86_64 Acme 8 cpus", "4 cpus"]
    run = trace.runs()[0]
    assert (run["makespan"], run["longest_path"], run["work"]) == (42.5, 40.0, 60.0)
    assert run["began_unix"] == 1614844800.0
    assert trace.provenance["engine"] == {"name": "Makeflow", "version": "7.1"}


def test_bytes_that_pegasus_moved_were_bytes_already_in_1_3(imported):
    content = content_of("v13")
    content["wms"]["name"] = "Pegasus"
    assert imported(content).tables["tasks"]["bytes_in"][0].as_py() == 5.0


def test_version_1_4_keeps_tasks_in_one_list_or_in_halves(imported):
    trace = imported(FILES["v14"])
    assert column(trace, "tasks", "seconds") == [4.25, 12.0, 14.0]
    assert column(trace, "tasks", "cpus") == [None, 2.0, 2.0]
    assert column(trace, "tasks", "type") == ["prepare", "work", "work"]
    assert edges_of(trace) == {("prepare", "work#1"): 100.0, ("prepare", "work#2"): 200.0}
    assert column(trace, "nodes", "cpus") == [16.0]
    halves = content_of("v15")
    halves["schemaVersion"] = "1.4"
    assert imported(halves).tables["tasks"].equals(imported(FILES["v15"]).tables["tasks"])


def test_dates_of_tasks_are_their_starts(imported):
    trace = imported(FILES["v15"])
    assert column(trace, "tasks", "started_at") == [1.5, 1.75, 10.0, 13.0, 56.0]
    assert column(trace, "tasks", "finished_at") == [None] * 5
    assert column(trace, "nodes", "kind") == ["x86_64 Acme 8 cpus"] * 2
    assert json.loads(column(trace, "nodes", "detail")[1])["speed_mhz"] == 2900
    assert report_of(trace)["flags"]["task_starts"] == "read"
    assert trace.runs()[0]["began_unix"] == 1683360000.0
    assert trace.runs()[0]["longest_path"] == 11 + 41.25 + 4


def test_a_run_without_dates_files_or_machines_has_nulls(imported):
    trace = imported(FILES["v16"])
    assert column(trace, "tasks", "name") == ["first_1", "second_1"]
    assert column(trace, "tasks", "seconds") == [3.0, 2.0]
    assert edges_of(trace) == {("first_1", "second_1"): None}
    assert "began_unix" not in trace.runs()[0]
    assert len(trace.tables["nodes"]) == 0


# Faults.


def execution(content):
    return content["workflow"]["execution"]


def planned(content):
    return content["workflow"]["specification"]["tasks"]


def test_dates_of_a_conversion_are_no_starts(imported):
    content = content_of("v15")
    for task in execution(content)["tasks"]:
        task["executedAt"] = "2023-05-06T10:00:05+02:00"
    trace = imported(content)
    assert trace.tables["tasks"]["started_at"].null_count == 5
    report = report_of(trace)
    assert report["flags"]["task_starts"] == "refused"
    assert report["tables"]["tasks"]["repaired"] == 5
    assert report["tables"]["tasks"]["complete"] == 5
    late = content_of("v15")
    execution(late)["tasks"][0]["executedAt"] = "2026-01-01T00:00:00+02:00"
    assert imported(late).tables["tasks"]["started_at"].null_count == 5
    mixed = content_of("v15")
    execution(mixed)["tasks"][0]["executedAt"] = "2023-05-06T10:00:01"
    assert imported(mixed).tables["tasks"]["started_at"].null_count == 5


def test_a_negative_runtime_is_null_and_told(imported):
    content = content_of("v15")
    execution(content)["tasks"][0]["runtimeInSeconds"] = -1
    execution(content)["tasks"][1]["coreCount"] = 0
    trace = imported(content)
    assert column(trace, "tasks", "seconds")[0] is None
    assert column(trace, "tasks", "cpu_seconds")[0] is None
    assert column(trace, "tasks", "cpus")[1] is None
    counts = report_of(trace)["tables"]["tasks"]
    assert (counts["seen"], counts["complete"], counts["repaired"]) == (5, 4, 2)
    assert any("runtime of 1 tasks" in note for note in report_of(trace)["notes"])


def test_an_id_twice_is_kept_once(imported):
    content = content_of("v15")
    planned(content).append({**planned(content)[0], "parents": ["REPORT_1"]})
    execution(content)["tasks"].append({"id": "TRIM_1", "runtimeInSeconds": 99})
    trace = imported(content)
    assert column(trace, "tasks", "seconds")[0] == 8.0
    counts = report_of(trace)["tables"]["tasks"]
    assert (counts["expected"], counts["seen"], counts["dropped"]) == (6, 6, 1)


def test_edges_to_tasks_that_are_not_there_are_dropped(imported):
    content = content_of("v15")
    planned(content)[0]["parents"] = ["GHOST_1"]
    planned(content)[4]["children"] = ["GHOST_2"]
    trace = imported(content)
    assert len(trace.tables["edges"]) == 4
    counts = report_of(trace)["tables"]["edges"]
    assert (counts["seen"], counts["complete"], counts["dropped"]) == (6, 4, 2)
    assert any("GHOST_1" in note for note in report_of(trace)["notes"])


def test_edges_on_a_cycle_are_dropped_and_the_others_kept(imported):
    content = content_of("v15")
    planned(content)[0]["parents"] = ["REPORT_1", "TRIM_1"]
    trace = imported(content)
    # TRIM_1 -> ALIGN_1 -> REPORT_1 -> TRIM_1 and TRIM_1 -> TRIM_1 are gone.
    assert set(edges_of(trace)) == {("TRIM_2", "ALIGN_2"), ("ALIGN_2", "REPORT_1")}
    assert report_of(trace)["tables"]["edges"]["dropped"] == 4


def test_executions_without_a_plan_and_plans_without_an_execution_are_told(imported):
    content = content_of("v15")
    execution(content)["tasks"][0]["id"] = "GHOST"
    trace = imported(content)
    rows = {r["name"]: r for r in trace.tables["tasks"].to_pylist()}
    assert len(rows) == 5
    assert rows["TRIM_1"]["status"] == "running"
    assert rows["TRIM_1"]["seconds"] is None
    counts = report_of(trace)["tables"]["tasks"]
    assert (counts["seen"], counts["complete"], counts["dropped"]) == (6, 4, 1)


def test_a_plan_alone_is_no_complete_run(imported, tmp_path):
    content = content_of("v15")
    del content["workflow"]["execution"]
    assert report_of(imported(content))["share"] == 0.0


def test_edges_are_read_from_files_only_where_nobody_names_a_parent(imported):
    content = content_of("v15")
    for task in planned(content):
        task["parents"], task["children"] = [], []
    trace = imported(content)
    assert report_of(trace)["flags"]["edges"] == "files"
    assert edges_of(trace) == edges_of(imported(FILES["v15"]))
    # A file that two tasks write tells nothing.
    planned(content)[1]["outputFiles"].append("a.trim.fq")
    assert ("TRIM_1", "ALIGN_1") not in edges_of(imported(content))
    planned(content)[0]["children"] = ["REPORT_1"]
    trace = imported(content)
    assert set(edges_of(trace)) == {("TRIM_1", "REPORT_1")}
    assert report_of(trace)["flags"]["edges"] == "declared"


def test_a_shared_file_without_a_size_makes_no_bytes(imported):
    content = content_of("v15")
    files = content["workflow"]["specification"]["files"]
    files[:] = [f for f in files if f["id"] != "a.bam"]
    files.append({"id": "b.bam", "sizeInBytes": 9999})
    found = edges_of(imported(content))
    assert found["ALIGN_1", "REPORT_1"] is None
    assert found["ALIGN_2", "REPORT_1"] is None  # two sizes
    assert found["TRIM_1", "ALIGN_1"] == 3500


def test_an_impossible_makespan_is_told(imported):
    content = content_of("v15")
    execution(content)["makespanInSeconds"] = 20
    for task in execution(content)["tasks"]:
        del task["executedAt"]
    report = report_of(imported(content))
    assert report["flags"]["makespan"] == "too short"
    assert any("more than the makespan" in note for note in report["notes"])
    execution(content)["makespanInSeconds"] = -20
    trace = imported(content)
    assert column(trace, "jobs", "finished_at") == [None]
    assert report_of(trace)["tables"]["jobs"]["repaired"] == 1


def test_machines_twice_or_nowhere_are_told(imported):
    content = content_of("v15")
    execution(content)["machines"][1]["nodeName"] = "w0"
    trace = imported(content)
    assert column(trace, "nodes", "name") == ["w0", "w1"]
    assert column(trace, "nodes", "cpus") == [8.0, None]
    assert column(trace, "tasks", "node") == [0, 1, 0, 1, 0]
    assert report_of(trace)["tables"]["nodes"]["dropped"] == 1


# The schema.


def test_a_refusal_names_the_place_and_what_was_expected(imported):
    content = content_of("v15")
    execution(content)["tasks"][2]["runtimeInSeconds"] = "long"
    with pytest.raises(CorruptError, match=r"Expected `float`, got `str`.*execution\.tasks\[2\]"):
        imported(content)
    del planned(content)[1]["parents"]
    with pytest.raises(CorruptError, match=r"missing required field `parents`.*tasks\[1\]"):
        imported(content)
    content["schemaVersion"] = "1.2"
    with pytest.raises(CorruptError, match=r"'1\.2' is not read, only 1\.3, 1\.4, 1\.5, 1\.6"):
        imported(content)
    with pytest.raises(CorruptError, match="no object 'workflow'"):
        imported({"schemaVersion": "1.5"})


def accepts(content):
    """Tell what the types that decode and the JSON Schema say of a document; they must agree."""
    raw = json.dumps(content).encode()
    try:
        wfformat_schema.decode(raw, "it")
    except SchemaError:
        typed = False
    else:
        typed = True
    version = content.get("schemaVersion") if isinstance(content, dict) else None
    known = isinstance(version, str) and version in wfformat_schema.VERSIONS
    said = known and VALID[version].is_valid(content)
    return typed, said


VALID = {
    version: jsonschema.Draft202012Validator(wfformat_schema.json_schema(version))
    for version in wfformat_schema.VERSIONS
}


@pytest.mark.parametrize("version", wfformat_schema.VERSIONS)
def test_the_json_schema_is_one(version):
    jsonschema.Draft202012Validator.check_schema(wfformat_schema.json_schema(version))


def test_the_reference_files_are_as_the_json_schema_says(reference_data):
    files = sorted((reference_data / "data" / "wfformat").glob("*.json"))
    if not files:
        pytest.skip("no published workflows among the reference data")
    for file in files:
        assert accepts(json.loads(file.read_text())) == (True, True), file.name


def places(value, path=()):
    """Yield the path of every value in a document."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "1.3", "1.4", "1.5", "1.6", "input"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
CONTENT = {name: json.loads(path.read_text()) for name, path in FILES.items()}
PLACES = {name: list(places(content)) for name, content in CONTENT.items()}


@given(data=st.data(), name=st.sampled_from(sorted(CONTENT)))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_decoding_accepts_what_the_json_schema_accepts(data, name):
    content = copy.deepcopy(CONTENT[name])
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(PLACES[name][1:]))
        place = content
        try:
            for step in path[:-1]:
                place = place[step]
            if isinstance(place, dict) and data.draw(st.booleans()):
                del place[path[-1]]
            else:
                place[path[-1]] = data.draw(JSON)
        except (KeyError, IndexError, TypeError):
            continue
    typed, said = accepts(content)
    assert typed == said


@pytest.mark.parametrize("name", FILES)
def test_the_schema_refuses_a_wrong_type_wherever_a_value_is_read(name):
    """No field that is read could hold an object or list of the wrong kind unnoticed."""
    unread = {"description", "createdAt", "author", "arguments", "url", "type", "metrics"}
    for path in PLACES[name][1:]:
        if unread & {p for p in path if isinstance(p, str)}:
            continue
        content = copy.deepcopy(CONTENT[name])
        place = content
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = True
        assert accepts(content) == (False, False), path


@given(dice=st.randoms(use_true_random=False), name=st.sampled_from(sorted(CONTENT)))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_values_that_contradict_each_other_never_make_an_import_fail(dice, name, tmp_path):
    """Swap names and numbers of a file: whatever the schema accepts becomes a valid trace."""
    content = copy.deepcopy(CONTENT[name])
    for _ in range(dice.randint(1, 6)):
        path, other = dice.choice(PLACES[name][1:]), dice.choice(PLACES[name][1:])
        value = CONTENT[name]
        for step in other:
            value = value[step]
        value = dice.choice([copy.deepcopy(value), -1, 0, 1e300, 10**18, "x" * 5000, "\x00é\n"])
        place = content
        try:
            for step in path[:-1]:
                place = place[step]
            if type(place[path[-1]]) is type(value) or dice.random() < 0.1:
                place[path[-1]] = value
            if isinstance(place, list) and dice.random() < 0.5:
                place.append(copy.deepcopy(place[0]))
        except (KeyError, IndexError, TypeError):
            continue
    raw = json.dumps(content).encode()
    try:
        wfformat_schema.decode(raw, "it")
    except SchemaError:
        return
    (tmp_path / "bent.json").write_bytes(raw)
    shutil.rmtree(tmp_path / "parts", ignore_errors=True)
    trace = load(tmp_path / "bent.json", tmp_path)
    count = report_of(trace)["tables"]["tasks"]
    assert len(trace.tables["tasks"]) == count["seen"] - count["dropped"]


# Folders and files.


def test_a_folder_leaves_out_what_is_no_workflow_and_refuses_damaged_ones(tmp_path):
    folder = tmp_path / "logs"
    (folder / "deep").mkdir(parents=True)
    (folder / "settings.json").write_text('{"a": 1}')
    (folder / "list.json").write_text("[1, 2]")
    (folder / "deep" / "good.json").write_bytes(FILES["v15"].read_bytes())
    (folder / "small.json.gz").write_bytes(gzip.compress(FILES["v14"].read_bytes()))
    (folder / "cut.json").write_bytes(FILES["v15"].read_bytes()[:-20])
    (folder / "other.json").write_text('{"workflow": {"steps": []}}')
    trace = load(folder, tmp_path)
    assert [r["log"] for r in trace.runs()] == ["deep/good.json", "small.json.gz"]
    refused = {r["log"]: r["why"] for r in trace.provenance["completeness"]["refused"]}
    assert set(refused) == {"cut.json", "other.json"}
    assert "is no JSON" in refused["cut.json"]
    assert "version None is not read" in refused["other.json"]


def test_a_folder_without_workflows_is_no_import(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match="looks like a log of wfformat"):
        load(tmp_path, tmp_path)


def test_a_named_file_is_never_left_out(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(CorruptError, match="no object 'workflow'"):
        load(tmp_path / "a.json", tmp_path)


# The way back.


def same(a, b, run=0):
    for name in traces.TABLES:
        mine, other = (t.of(name, r).drop_columns("run").to_pylist() for t, r in ((a, run), (b, 0)))
        assert mine == other, name


def back(trace, run, tmp_path):
    path = tmp_path / f"exported-{run}.json"
    wfformat.export(trace, run, path)
    content = json.loads(path.read_text())
    VALID["1.5"].validate(content)
    return path, content


@pytest.mark.parametrize("name", FILES)
def test_what_is_exported_and_imported_again_is_the_same(imported, tmp_path, name):
    trace = imported(FILES[name])
    path, _ = back(trace, 0, tmp_path)
    same(trace, imported(path))


def test_published_runs_survive_the_way_out_and_back(reference_data, imported, tmp_path):
    folder = reference_data / "data" / "wfformat"
    if not folder.is_dir():
        pytest.skip("no published workflows among the reference data")
    trace = imported(folder)
    assert len(trace.runs()) == 6
    for run in range(6):
        path, _ = back(trace, run, tmp_path)
        same(trace, imported(path), run)


def test_an_export_is_as_strict_as_the_published_format(imported, tmp_path):
    """Ids, files and numbers keep to what the format's own validator asks beyond our schema."""
    trace = imported(FILES["v15"])
    names = ["a (1)", "a (1)", "ä/b", "x y", None]
    tasks = trace.tables["tasks"]
    tasks = tasks.set_column(tasks.column_names.index("name"), tasks.schema.field("name"), [names])
    trace = Trace(tables={**trace.tables, "tasks": tasks}, provenance=trace.provenance)
    _, content = back(trace, 0, tmp_path)
    ids = [t["id"] for t in planned(content)]
    assert len(set(ids)) == 5
    assert all(re.fullmatch(r"[0-9a-zA-Z_.#-]+", own) for own in ids)
    for task in planned(content):
        assert {*task["parents"], *task["children"]} <= set(ids)
    assert all(
        isinstance(f["sizeInBytes"], int) for f in content["workflow"]["specification"]["files"]
    )
    for machine in execution(content)["machines"]:
        assert isinstance(machine["memoryInBytes"], int)
        assert isinstance(machine["cpu"]["coreCount"], int)


def of_jobs(jobs, tasks, edges=(), **about):
    rows = {"jobs": jobs, "tasks": tasks, "edges": edges}
    for table in rows.values():
        for row in table:
            row["run"] = 0
    provenance = {
        **dict.fromkeys(traces.PROVENANCE),
        "source": "test",
        "schema": traces.SCHEMA,
        "engine": {},
        "runs": [{"run": 0, "mode": "log", **about}],
    }
    trace = Trace(
        tables={n: traces.table(n, rows.get(n, ())) for n in traces.TABLES}, provenance=provenance
    )
    traces.validate(trace)
    return trace


def task(number, job=0, **values):
    return {
        **{"task": number, "attempt": 0, "job": job, "type": "work", "status": "done"},
        **values,
    }


def test_one_job_of_a_recorded_run_is_exported(imported, tmp_path):
    trace = of_jobs(
        [{"job": 0, "arrived_at": 0.0}, {"job": 1, "arrived_at": 5.0, "finished_at": 9.0}],
        [
            task(0, started_at=1.0, finished_at=2.0),
            task(1, job=1, started_at=5.5, finished_at=6.0, status="failed"),
            task(1, job=1, attempt=1, started_at=6.0, finished_at=7.5, cpu_seconds=3.0),
            task(2, job=1, started_at=8.0, finished_at=9.0),
        ],
        [{"kind": "task", "parent": 1, "child": 2, "bytes": 12.0}],
        began_unix=1000.0,
    )
    with pytest.raises(ConfigError, match="has 2 jobs"):
        wfformat.export(trace, 0, tmp_path / "x.json")
    with pytest.raises(ConfigError, match="no run 7"):
        wfformat.export(trace, 7, tmp_path / "x.json")
    wfformat.export(trace, 0, tmp_path / "x.json", job=1)
    content = json.loads((tmp_path / "x.json").read_text())
    VALID["1.5"].validate(content)
    again = imported(tmp_path / "x.json")
    assert column(again, "tasks", "name") == ["work_1", "work_2"]
    assert column(again, "tasks", "seconds") == [1.5, 1.0]
    assert column(again, "tasks", "started_at") == [1.0, 3.0]
    assert column(again, "tasks", "cpu_seconds") == [3.0, None]
    assert column(again, "jobs", "finished_at") == [4.0]
    assert edges_of(again) == {("work_1", "work_2"): 12.0}
    assert again.runs()[0]["began_unix"] == 1005.0


def test_what_has_no_makespan_is_not_exported(tmp_path):
    trace = of_jobs([{"job": 0, "arrived_at": 0.0}], [task(0, seconds=3.0)])
    with pytest.raises(ConfigError, match="needs its makespan"):
        wfformat.export(trace, 0, tmp_path / "x.json")
