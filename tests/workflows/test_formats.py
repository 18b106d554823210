"""Workflow files of strangers are read as they are meant, or refused with the reason."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.errors import ConfigError, CorruptError, NotFoundError, SchemaError, ToolkitError
from toolkit.workflows import plain, wfformat

GIB = 2**30

RUN = {
    "name": "two",
    "schemaVersion": "1.5",
    "workflow": {
        "specification": {
            "tasks": [
                {
                    "name": "join_ID0002",
                    "id": "join_ID0002",
                    "parents": ["split_ID0001"],
                    "children": [],
                    "inputFiles": ["part", "other", "part", "given"],
                    "outputFiles": [],
                },
                {
                    "name": "split_ID0001",
                    "id": "split_ID0001",
                    "parents": [],
                    "children": ["join_ID0002"],
                    "inputFiles": [],
                    "outputFiles": ["part", "other", "other", "unread"],
                },
            ],
            "files": [
                {"id": "part", "sizeInBytes": 100},
                {"id": "other", "sizeInBytes": 23},
                {"id": "unread", "sizeInBytes": 1000},
                {"id": "given", "sizeInBytes": 5000},
            ],
        },
        "execution": {
            "makespanInSeconds": 9.5,
            "executedAt": "2020-01-01T00:00:00Z",
            "tasks": [
                {"id": "split_ID0001", "runtimeInSeconds": 4, "machines": ["b"]},
                {
                    "id": "join_ID0002",
                    "runtimeInSeconds": 2.5,
                    "machines": ["a"],
                    "memoryInBytes": 3 * GIB,
                    "coreCount": 2,
                },
            ],
            "machines": [
                {"nodeName": "a", "memoryInBytes": 8 * GIB, "cpu": {"coreCount": 4}},
                {"nodeName": "b", "memoryInBytes": 4 * GIB, "cpu": {"coreCount": 2}},
            ],
        },
    },
}

PUBLISHED = {
    "1000genome-chameleon-2ch-250k-001": (82, 106, 2391.0, 3),
    "blast-chameleon-small-005": (43, 120, 902.68, 2),
    "epigenomics-chameleon-hep-1seq-100k-001": (41, 48, 594.0, 1),
    "helloworld-forkjoin-10-chameleon": (10, 16, 437.0, 1),
    "sarek-dirt02-001": (26, 50, 518.0, 1),
    "srasearch-chameleon-10a-001": (22, 30, 3488.0, 1),
}
"""Tasks, edges, makespan in seconds and machines of the published runs."""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write_(content, name="run.json"):
        path = tmp_path / name
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(raw)
        return path

    return write_


def changed(*path, to):
    """Return the small run with the value at a path replaced."""
    run = copy.deepcopy(RUN)
    place = run
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return run


SPECIFIED = ("workflow", "specification", "tasks")
EXECUTED = ("workflow", "execution", "tasks")
MACHINES = ("workflow", "execution", "machines")


def published(reference_data, name):
    path = reference_data / "data" / "wfformat" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the reference data")
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_run_is_read_whole(reference_data, name):
    path = published(reference_data, name)
    tasks, edges, makespan, machines = PUBLISHED[name]
    assert plain.sniff(path) == "wfformat"
    graph, cluster, facts = wfformat.read(path)
    assert (graph.tasks, graph.edges, facts.makespan) == (tasks, edges, makespan)
    assert len(cluster.nodes) == machines
    assert graph.longest_path() <= makespan
    # Everything fits somewhere.
    assert max(m or 0 for m in facts.memory) <= max(n.memory for n in cluster.nodes)

    content = json.loads(path.read_text())["workflow"]
    given_tasks = {t["id"]: t for t in content["specification"]["tasks"]}
    sizes = {f["id"]: f["sizeInBytes"] for f in content["specification"]["files"]}
    runtime = {t["id"]: t["runtimeInSeconds"] for t in content["execution"]["tasks"]}
    assert dict(zip(graph.labels, graph.work, strict=True)) == runtime
    for task, label in enumerate(graph.labels):
        for edge in range(graph.parent_ptr[task], graph.parent_ptr[task + 1]):
            parent = given_tasks[graph.labels[graph.parents[edge]]]
            moved = set(parent["outputFiles"]) & set(given_tasks[label]["inputFiles"])
            assert label in parent["children"]
            assert graph.data[edge] == sum(sizes[f] for f in moved)


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            "1000genome-chameleon-2ch-250k-001",
            {"individuals", "individuals_merge", "sifting", "mutation_overlap", "frequency"},
        ),
        ("srasearch-chameleon-10a-001", {"bowtie2-build", "bowtie2", "fasterq-dump", "merge"}),
        ("helloworld-forkjoin-10-chameleon", {"cpuhog"}),
    ],
)
def test_types_are_programs_without_numbers(reference_data, name, types):
    graph, _, _ = wfformat.read(published(reference_data, name))
    assert set(graph.types) == types


def test_a_script_is_no_program(reference_data):
    graph, _, facts = wfformat.read(published(reference_data, "sarek-dirt02-001"))
    assert "NFCORE_SAREK.SAREK.FASTQC" in graph.types
    assert all("\n" not in t for t in graph.types)
    assert facts.zero_runtimes == 15


def test_kib_written_as_bytes_are_found(reference_data):
    _, cluster, facts = wfformat.read(published(reference_data, "helloworld-forkjoin-10-chameleon"))
    assert cluster.nodes[0].memory == 196483612 * 1024
    assert facts.memory == (724672 * 1024,)
    assert sum("KiB" in note for note in facts.notes) == 2


def test_many_cores_with_hardly_any_memory_mean_kib(write):
    run = changed(*EXECUTED, 1, "memoryInBytes", to=2**21)
    for cores, memory in ((32, 2**38), (16, 2**28)):
        run["workflow"]["execution"]["machines"][0] = {
            "nodeName": "a",
            "memoryInBytes": 2**28,
            "cpu": {"coreCount": cores},
        }
        assert wfformat.read(write(run))[1].nodes[0].memory == memory


def test_a_run_becomes_graph_cluster_and_facts(write):
    graph, cluster, facts = wfformat.read(write(RUN))
    assert graph.labels == ("split_ID0001", "join_ID0002")
    assert graph.types == ("split", "join")
    assert graph.work.tolist() == [4, 2.5]
    # Each file once, and only what the parent wrote.
    assert graph.data.tolist() == [123]
    assert [(n.name, n.cpus, n.memory) for n in cluster.nodes] == [
        ("a", 4, 8 * GIB),
        ("b", 2, 4 * GIB),
    ]
    assert facts.makespan == 9.5
    assert facts.memory == (None, 3 * GIB)
    assert facts.cores == (1, 2)
    assert facts.ran_on.tolist() == [1, 0]
    assert facts.zero_runtimes == 0
    assert facts.notes == ()


def test_version_1_4_says_the_same(write):
    old = {
        "name": "two",
        "schemaVersion": "1.4",
        "workflow": {
            "makespanInSeconds": 9.5,
            "executedAt": "2020-01-01T00:00:00Z",
            "tasks": [
                {
                    "name": "join_ID0002",
                    "type": "compute",
                    "category": "join",
                    "parents": ["split_ID0001"],
                    "runtimeInSeconds": 2.5,
                    "cores": 2,
                    "memoryInBytes": 3 * GIB,
                    "machine": "a",
                    "files": [
                        {"name": "part", "sizeInBytes": 100, "link": "input"},
                        {"name": "other", "sizeInBytes": 23, "link": "input"},
                    ],
                },
                {
                    "name": "split_ID0001",
                    "type": "compute",
                    "runtimeInSeconds": 4,
                    "machine": "b",
                    "files": [
                        {"name": "part", "sizeInBytes": 100, "link": "output"},
                        {"name": "other", "sizeInBytes": 23, "link": "output"},
                    ],
                },
            ],
            "machines": [
                {"nodeName": "a", "memoryInBytes": 8 * GIB, "cpu": {"count": 4}},
                {"nodeName": "b", "memoryInBytes": 4 * GIB, "cpu": {"count": 2}},
            ],
        },
    }
    new_graph, new_cluster, new = wfformat.read(write(RUN))
    graph, cluster, facts = wfformat.read(write(old))
    assert (graph.labels, graph.types, cluster) == (new_graph.labels, new_graph.types, new_cluster)
    assert graph.data.tolist() == new_graph.data.tolist()
    assert (facts.memory, facts.cores) == (new.memory, new.cores)
    assert facts.ran_on.tolist() == new.ran_on.tolist()


@pytest.mark.parametrize(
    ("name", "command", "wanted"),
    [
        ("bowtie2_ID0000003", None, "bowtie2"),
        ("plasmid1", None, "plasmid1"),
        ("sort_1_2", None, "sort"),
        ("ID0000001", None, "task"),
        ("X:SPLIT__chr10_1-2__ID36028797018963968", None, "X:SPLIT"),
        ("align_7", "/usr/bin/bwa", "bwa"),
        ("align_7", "/usr/bin/python3", "align"),
        ("align_7", "set -e\nbwa mem", "align"),
        ("align_7", 3, "align"),
    ],
)
def test_the_type_of_a_task_is_what_it_does(write, name, command, wanted):
    run = changed(*SPECIFIED, 0, "name", to=name)
    if command is not None:
        run["workflow"]["execution"]["tasks"][1]["command"] = {"program": command}
    assert wfformat.read(write(run))[0].types[1] == wanted


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (changed(*MACHINES, 0, "memoryInBytes", to=8 * 2**20), "'a' is read as KiB: 8.0 GiB"),
        (changed(*MACHINES, 0, "cpu", to={}), "'a' has no core count; 2 is assumed"),
        (changed(*MACHINES, 0, to={"nodeName": "a"}), "'a' has no memory; 6.0 GiB are assumed"),
        (changed(*EXECUTED, 0, "machines", to=["c"]), "1 tasks ran on machines"),
        (changed(*SPECIFIED, 0, "parents", to=[]), "1 edges are told by the parent only"),
        (changed(*SPECIFIED, 0, "parents", to=["split_ID0001"] * 2), "1 repeated parents"),
        (changed("workflow", "specification", "files", to=[]), "3 input files have no size"),
        (changed("workflow", "execution", "makespanInSeconds", to=5), "exceeds the makespan"),
    ],
)
def test_what_is_repaired_or_assumed_is_told(write, run, said):
    graph, _, facts = wfformat.read(write(run))
    assert graph.edges == 1
    assert any(said in note for note in facts.notes), facts.notes


def test_more_work_than_the_cores_can_do_is_told(write):
    run = changed(*SPECIFIED, 0, "parents", to=[])
    run["workflow"]["specification"]["tasks"][1]["children"] = []
    run["workflow"]["execution"]["makespanInSeconds"] = 4.0
    run["workflow"]["execution"]["machines"] = [
        {"nodeName": "a", "memoryInBytes": 8 * GIB, "cpu": {"coreCount": 1}}
    ]
    _, _, facts = wfformat.read(write(run))
    assert any("core count is too low" in note for note in facts.notes)
    assert any("no dependencies" in note for note in facts.notes)


def test_a_run_without_machines_has_no_cluster(write):
    run = copy.deepcopy(RUN)
    del run["workflow"]["execution"]["machines"]
    assert wfformat.read(write(run))[1] is None


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (changed(*EXECUTED, 0, to={"id": "split_ID0001"}), "'split_ID0001' has no runtime"),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to=-1), "runtimeInSeconds of the task 'split"),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to=True), "runtimeInSeconds of the task 'spl"),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to="4"), "got '4'"),
        (changed(*EXECUTED, 0, "runtimeInSeconds", to=10**400), "from 0 to 1e+18"),
        (changed(*EXECUTED, 0, "memoryInBytes", to=-3), "memoryInBytes of the task"),
        (changed(*EXECUTED, to=[RUN["workflow"]["execution"]["tasks"][0]]), "no entry in exec"),
        (changed(*EXECUTED, 1, "id", to="split_ID0001"), "two tasks 'split_ID0001'"),
        (changed(*EXECUTED, 1, "id", to=7), "a task of execution.tasks needs a printable name"),
        (changed(*SPECIFIED, 0, "id", to="split_ID0001"), "two tasks are called 'split_ID0001'"),
        (changed(*SPECIFIED, 0, "id", to="a\x1b[2J"), "printable name"),
        (changed(*SPECIFIED, 0, "id", to=""), "printable name"),
        (changed(*SPECIFIED, 0, "parents", to=["x"]), "parent 'x', which is no task"),
        (changed(*SPECIFIED, 0, "children", to=["x"]), "child 'x', which is no task"),
        (changed(*SPECIFIED, 0, "children", to=["split_ID0001"]), "wait for each other"),
        (changed(*SPECIFIED, 0, "children", to=["join_ID0002"]), "depends on itself"),
        (changed(*SPECIFIED, 0, "parents", to="split_ID0001"), "must be a list of names"),
        (changed(*SPECIFIED, to=[]), "which is no task"),
        (changed(*SPECIFIED, to={}), "must be a list, got an object"),
        (changed(*SPECIFIED, 0, to=[]), "must be an object, got a list"),
        (changed("workflow", "specification", "files", 0, "sizeInBytes", to=-1), "file 'part'"),
        (changed("workflow", "specification", "files", 1, "id", to="part"), "has two sizes"),
        (changed("workflow", "execution", "makespanInSeconds", to=-1), "makespanInSeconds"),
        (changed("workflow", "execution", to=None), "workflow.execution must be an object"),
        (changed(*MACHINES, 0, "nodeName", to="b"), "described twice"),
        (changed(*MACHINES, 0, "nodeName", to=None), "a machine needs a printable name"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(write, run, said):
    path = write(run)
    with pytest.raises(CorruptError) as refused:
        wfformat.read(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_run_that_was_never_executed_is_refused(write):
    run = copy.deepcopy(RUN)
    del run["workflow"]["execution"]
    with pytest.raises(CorruptError, match="no 'execution'"):
        wfformat.read(write(run))


@pytest.mark.parametrize("version", ["1.3", "2.0", 1.5, None, [], {}])
def test_another_version_is_refused(write, version):
    with pytest.raises(SchemaError, match=r"only 1\.4, 1\.5, 1\.6"):
        wfformat.read(write(changed("schemaVersion", to=version)))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no JSON"),
        (b'{"workflow": ', "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b'{"workflow": NaN}', "NaN is no number"),
        (b'{"workflow": [-Infinity]}', "-Infinity is no number"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 10_000 + b"]", "no JSON"),
    ],
    ids=["empty", "cut", "binary", "nan", "inf", "lists", "objects", "digits"],
)
def test_what_is_no_json_is_refused(write, raw, said):
    path = write(raw)
    for reader in (wfformat.read, plain.read, plain.sniff):
        with pytest.raises(CorruptError) as refused:
            reader(path)
        assert said in str(refused.value)


def test_a_file_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(wfformat.MAX_BYTES + 2**20)
    with pytest.raises(ConfigError, match="513 MiB; a workflow file may have 512"):
        wfformat.read(path)


def test_a_file_of_too_many_values_is_refused_before_it_is_parsed(write):
    path = write(b"[" * 4 + b"[]," * (wfformat.MAX_VALUES // 2))
    with pytest.raises(ConfigError, match="values"):
        wfformat.read(path)


def test_a_file_that_is_none_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "absent.json", "."):
        with pytest.raises(NotFoundError):
            wfformat.load(tmp_path / name)


def test_a_folder_lists_its_instances_in_order(write, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.json", "b/10.json", "a.json", "b/notes.txt"):
        write({}, name)
    found = wfformat.folder(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        *("a.json", "b/10.json", "b/2.json")
    ]
    assert wfformat.folder(found[0]) == [found[0]]
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "absent"):
        with pytest.raises(NotFoundError):
            wfformat.folder(tmp_path / missing)


TABLE = [
    *([14, 16, 9], [13, 19, 18], [11, 13, 19], [13, 8, 17], [12, 13, 10]),
    *([13, 16, 9], [7, 15, 11], [5, 11, 14], [18, 12, 20], [21, 7, 16]),
]
EDGES = [
    *([0, 1, 18], [0, 2, 12], [0, 3, 9], [0, 4, 11], [0, 5, 14], [1, 7, 19], [1, 8, 16]),
    *([2, 6, 23], [3, 7, 27], [3, 8, 23], [4, 8, 13], [5, 7, 15], [6, 9, 17], [7, 9, 11]),
    [8, 9, 13],
]
TOPCUOGLU = {"seconds": TABLE, "edges": EDGES, "link": [[1.0] * 3] * 3}
"""The example of Topcuoglu, Hariri and Wu, TPDS 2002, figure 2 and table 2."""

SMALL = {
    "n": 3,
    "m": 2,
    "cost": [1, 2, 3],
    "speed": [1, 2],
    "edges": [[2, 0, 5], [0, 1, 7]],
    "link": [[0, 4], [8, 0]],
}


@pytest.mark.parametrize(("n", "edges"), [(20, 23), (100, 213), (150, 313), (1000, 2345)])
def test_a_reference_instance_is_read_whole(reference_data, n, edges):
    path = reference_data / "benchmarks" / "instances" / f"dag_n{n}_m8_s0.json"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the reference data")
    assert plain.sniff(path) == "plain"
    instance, content = plain.read(path), json.loads(path.read_text())
    assert (instance.graph.tasks, instance.graph.edges) == (n, edges)
    assert instance.mean_link == "unordered_pairs_with_self"
    assert instance.seconds[3, 5] == content["cost"][3] / content["speed"][5]
    link = np.array(content["link"])
    np.fill_diagonal(link, np.inf)
    assert np.array_equal(instance.cluster.bandwidth(), link)
    assert instance.cluster.kinds == tuple(f"n{j}" for j in range(8))


def test_the_example_of_topcuoglu_is_a_table_of_seconds(write):
    instance = plain.read(write(TOPCUOGLU))
    assert instance.speed is None
    assert instance.mean_link == "ordered_pairs"
    assert (instance.graph.tasks, instance.graph.edges) == (10, 15)
    assert instance.graph.type_of.tolist() == list(range(10))
    # The denominator of the paper's SLR.
    assert instance.graph.longest_path(instance.seconds.min(axis=1)) == 41
    assert instance.graph.work[0] == 13
    # min over processors of the sequential time, the numerator of its speedup 127 / 80.
    assert instance.seconds.sum(axis=0).min() == 127


def test_tasks_of_a_plain_file_may_come_in_any_order(write):
    instance = plain.read(write(SMALL))
    assert instance.graph.labels == ("2", "0", "1")
    assert instance.graph.work.tolist() == [3, 1, 2]
    assert instance.graph.data.tolist() == [5, 7]
    assert instance.seconds.tolist() == [[3, 1.5], [1, 0.5], [2, 1]]
    assert instance.cluster.bandwidth()[0, 1] == 4
    table = {**SMALL, "seconds": [[1, 2], [3, 4], [5, 6]]}
    del table["cost"], table["speed"]
    instance = plain.read(write(table))
    assert instance.seconds.tolist() == [[5, 6], [1, 2], [3, 4]]
    assert instance.graph.types == ("task-2", "task-0", "task-1")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"cost": None}, CorruptError, "cost must be a list of numbers"),
        ({"cost": []}, CorruptError, "cost must be a list of numbers"),
        ({"cost": [1, 2, True]}, CorruptError, "cost must be a list of numbers"),
        ({"cost": [1, 2, -3]}, CorruptError, "cost must hold numbers from 0"),
        ({"cost": [1, 2, 10**400]}, CorruptError, "cost must hold numbers from 0"),
        ({"cost": [1, 2]}, CorruptError, "n is 3, but there are 2"),
        ({"speed": [1, 0]}, CorruptError, "every speed"),
        ({"speed": [1, 1e-300], "cost": [1e10, 1, 1]}, CorruptError, "not finite"),
        ({"edges": 3}, CorruptError, "edges must be a list"),
        ({"edges": [[0, 1]]}, CorruptError, r"edges[0] must be"),
        ({"edges": [[0, 1.0, 2]]}, CorruptError, r"edges[0] must be"),
        ({"edges": [[0, 1, -2]]}, CorruptError, r"edges[0] must hold"),
        ({"edges": [[0, 3, 2]]}, CorruptError, "'3', which is no task"),
        ({"edges": [[0, -1, 2]]}, CorruptError, "'-1', which is no task"),
        ({"edges": [[0, 1, 1], [1, 0, 1]]}, CorruptError, "wait for each other"),
        ({"edges": [[1, 1, 1]]}, CorruptError, "depends on itself"),
        ({"link": [[0, 4]]}, CorruptError, "link must have 2 rows of 2"),
        ({"link": [[0, 4], [8]]}, CorruptError, "same length"),
        ({"link": [[0, 0], [8, 0]]}, CorruptError, "bandwidth > 0"),
        ({"link": 5}, CorruptError, "link must be a list"),
        ({"mean_link": "median"}, CorruptError, "mean_link must be"),
        ({"mean_link": []}, CorruptError, "mean_link must be"),
        ({"name": "\x1b"}, CorruptError, "printable"),
        ({"seconds": [[1, 2]]}, SchemaError, "either 'cost' and 'speed' or 'seconds'"),
    ],
)
def test_a_plain_file_that_cannot_be_is_refused_with_the_key(write, change, error, said):
    path = write({**SMALL, **change})
    with pytest.raises(error) as refused:
        plain.read(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("key", ["cost", "speed", "edges", "link"])
def test_a_key_that_lacks_is_named(write, key):
    with pytest.raises(SchemaError, match=f"'{key}'"):
        plain.read(write({k: v for k, v in SMALL.items() if k != key}))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"nodes": [], "links": []}, "'nodes', 'links'"),
        ({"edges": []}, "'edges'"),
        ({}, "no keys"),
        ([1], "no object"),
        ({f"k{i:02}": i for i in range(30)}, "and 20 more"),
    ],
)
def test_another_file_is_told_what_both_formats_need(write, content, found):
    with pytest.raises(SchemaError) as refused:
        plain.sniff(write(content))
    for word in ("workflow", "edges", "seconds", found):
        assert word in str(refused.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**30) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Yield the path of everything in a nested value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))
        else:
            yield (*path, key)


@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_stands_in_a_file_is_read_or_refused_in_words(write, data):
    reader, good = data.draw(
        st.sampled_from([(wfformat.read, RUN), (plain.read, SMALL), (plain.read, TOPCUOGLU)])
    )
    content = copy.deepcopy(good)
    *way, last = data.draw(st.sampled_from(list(places(content))))
    place = content
    for step in way:
        place = place[step]
    place[last] = data.draw(json_values)
    try:
        reader(write(content))
    except ToolkitError as e:
        assert e.message.isprintable()
