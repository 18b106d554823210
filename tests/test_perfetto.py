import gzip
import json
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from tests.test_schedule import example, of, planned, simple
from toolkit import perfetto
from toolkit.cluster import Node
from toolkit.errors import ConfigError
from toolkit.schedule import COPY, KILLED, KINDS
from toolkit.workload import Workload


def busy():
    """Return a schedule of several jobs on nodes of two lanes, with odd times."""
    workload = simple(
        jobs=4,
        tasks=4,
        edges=[(0, 1, 0.7), (0, 2, 0.3), (1, 3, 0.0), (2, 3, 1.1)],
        seconds=[[1 / 3], [0.1], [np.pi / 7], [1e-5]],
        nodes=tuple(Node(name=f"node {m}", cpus=2, memory=9, bandwidth=1.0) for m in range(3)),
    )
    return planned(workload, seed=3)


def written(schedule, folder, name="trace.json"):
    path = folder / name
    perfetto.write(schedule, path)
    raw = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert [f.name for f in folder.iterdir()] == [name]
    document = json.loads(raw)
    by_phase = defaultdict(list)
    for event in document["traceEvents"]:
        by_phase[event["ph"]].append(event)
    return document, by_phase


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_what_is_read_back_is_the_schedule_to_the_last_bit(name, tmp_path):
    schedule = busy()
    document, events = written(schedule, tmp_path, name)
    assert document["otherData"]["policy"] == "random nodes"
    processes = {e["pid"]: e["args"]["name"] for e in events["M"] if e["name"] == "process_name"}
    order = np.argsort([e["args"]["task"] for e in events["X"]])
    read = [events["X"][i] for i in order]
    assert [e["args"]["start_s"] for e in read] == schedule.start.tolist()
    assert [e["args"]["finish_s"] for e in read] == schedule.finish.tolist()
    assert [processes[e["pid"]] for e in read] == [f"node {m}" for m in schedule.node]
    assert [e["name"] for e in read] == [schedule.workload.label(t) for t in range(16)]
    assert [e["args"]["job"] for e in read] == [t // 4 for t in range(16)]
    assert [e["args"]["type"] for e in read] == list("abcd" * 4)


def test_times_are_whole_microseconds_and_nothing_overlaps_on_a_thread(tmp_path):
    _, events = written(busy(), tmp_path)
    threads = defaultdict(list)
    for e in events["X"]:
        assert isinstance(e["ts"], int) and isinstance(e["dur"], int)
        assert abs(e["ts"] - e["args"]["start_s"] * 1e6) <= 1
        assert abs(e["ts"] + e["dur"] - e["args"]["finish_s"] * 1e6) <= 1
        threads[e["pid"], e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
    for spans in threads.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
    named = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events["M"] if e["name"] == "thread_name"
    }
    assert set(named) == set(threads)
    assert all(names in {"lane 0", "lane 1"} for names in named.values())
    numbers = [tid for _, tid in threads]
    assert len(set(numbers)) == len(numbers) and not set(numbers) & {pid for pid, _ in threads}


def test_neighbours_that_round_to_an_overlap_are_kept_apart(tmp_path):
    workload = simple(tasks=2, demand=[(2, 1, 0)])
    # At 4000 s the schedule forgives 4 μs.
    schedule = of(workload, [(0, 0, 0, 4000.0000015), (1, 0, 4000.0, 5000.0)])
    schedule.check()
    _, events = written(schedule, tmp_path)
    first, second = sorted(events["X"], key=lambda e: e["ts"])
    assert first["tid"] == second["tid"]
    assert first["ts"] + first["dur"] == second["ts"] == 4_000_000_002


def test_an_arrow_joins_the_events_between_which_data_moved(tmp_path):
    schedule = example()
    _, events = written(schedule, tmp_path)
    at = {e["args"]["task"]: e for e in events["X"]}
    w = schedule.workload.arrays
    child = np.repeat(np.arange(10), np.diff(w.parent_ptr))
    moved = [
        (int(u), int(v))
        for u, v in zip(w.parents, child, strict=True)
        if schedule.node[u] != schedule.node[v]
    ]

    def around(event):
        return next(
            t
            for t, e in at.items()
            if e["tid"] == event["tid"] and e["ts"] <= event["ts"] < e["ts"] + e["dur"]
        )

    ends = {e["id"]: e for e in events["f"]}
    assert sorted((around(s), around(ends[s["id"]])) for s in events["s"]) == sorted(moved)


def test_kinds_are_told_and_killed_attempts_get_no_arrow(tmp_path):
    workload = simple(tasks=2, edges=[(0, 1, 5.0)])
    rows = [(0, 0, 0, 10), (0, 1, 0, 9, COPY), (1, 0, 10, 12, KILLED), (1, 1, 10, 20)]
    _, events = written(of(workload, rows), tmp_path)
    assert sorted(e["cat"] for e in events["X"]) == ["copy", "killed", "run", "run"]
    assert all(e["args"]["kind"] in KINDS for e in events["X"])
    assert not events["s"]  # the copy served the child


def test_the_counter_counts_what_runs(tmp_path):
    schedule = busy()
    _, events = written(schedule, tmp_path)
    begun, ended = np.rint(schedule.start * 1e6), np.rint(schedule.finish * 1e6)
    assert len(events["C"]) == len(np.unique([begun, ended]))
    for e in events["C"]:
        now = e["ts"]
        assert e["args"]["running"] == ((begun <= now) & (ended > now)).sum()
    assert events["C"][-1]["args"]["running"] == 0


def test_large_graphs_get_no_arrows(tmp_path):
    many = perfetto.MOST_ARROWS // 2 + 1
    workload = simple(jobs=many, tasks=3, edges=[(0, 2, 1.0), (1, 2, 1.0)])
    rows = [(t, t % 2, 20 * t, 20 * t + 10) for t in range(3 * many)]
    _, events = written(of(workload, rows), tmp_path)
    assert len(events["X"]) == 3 * many
    assert not events["s"] and not events["f"]


def test_the_same_schedule_gives_the_same_bytes(tmp_path):
    for name in ("a.json.gz", "b.json.gz"):
        perfetto.write(busy(), tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_a_missing_folder_is_named_and_a_failure_leaves_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder '.*absent'"):
        perfetto.write(example(), tmp_path / "absent" / "trace.json")
    whole = example()
    w = whole.workload
    short = Workload(types=w.types, cluster=w.cluster, arrays=w.arrays, seed=0, labels=("n1",))
    rows = zip(whole.task, whole.node, whole.start, whole.finish, strict=True)
    (tmp_path / "trace.json").write_text("the one before")
    with pytest.raises(IndexError):
        perfetto.write(of(short, rows), tmp_path / "trace.json")
    assert [f.name for f in tmp_path.iterdir()] == ["trace.json"]
    assert (tmp_path / "trace.json").read_text() == "the one before"
