"""Importing: one validated trace from many logs, the gate, what is refused, what is resumed."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

from collectors import importing
from collectors.importing import Log, Settings, Told
from collectors.streams import Limits, Source
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, NotFoundError
from toolkit.store import Store


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Reads lines ``start end``; a line without an end is a task that was not finished."""

    source: str = "lines"
    extra: ClassVar = {}

    def find(self, path):
        files = [path] if path.is_file() else sorted(path.glob("*.lines"))
        return [Log(name=f.name, files=(f,)) for f in files]

    def read(self, log, run, limits):
        source = Source(log.files[0], limits)
        run.add("jobs", job=0, arrived_at=0.0)
        tasks = run.completeness.of("tasks")
        for task, line in enumerate(source.lines()):
            words = [float(w) for w in line.split()]
            if not words:
                raise CorruptError(f"{log.name} has an empty line")
            tasks.seen += 1
            tasks.complete += len(words) == 2
            run.add(
                "tasks",
                task=task,
                attempt=0,
                job=0,
                type="line",
                started_at=words[0],
                finished_at=words[1] if len(words) == 2 else None,
                status="done" if len(words) == 2 else "running",
            )
        return Told(clock="the log's own", files=[source.about])


SETTINGS = Settings(min_complete=0.99, executor="processes", workers=1, limits=Limits())


def load(tmp_path, settings=SETTINGS):
    importer = Lines()
    logs = importing.logs_of(importer, str(tmp_path / "logs"))
    folder = tmp_path / "trace"
    provenance = importing.load(importer, logs, settings, tmp_path / "parts", folder)
    return provenance, traces.read(folder)


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.lines").write_text("0 1\n1 3\n")
    (folder / "b.lines").write_text("0 2\n")
    return folder


def test_every_log_is_a_run_of_one_trace(tmp_path, logs):
    provenance, trace = load(tmp_path)
    assert [r["log"] for r in provenance["runs"]] == ["a.lines", "b.lines"]
    assert trace.of("tasks", 0)["finished_at"].to_pylist() == [1.0, 3.0]
    assert trace.of("tasks", 1)["finished_at"].to_pylist() == [2.0]
    assert trace.tables["tasks"]["cpus"].null_count == 3  # nobody said
    assert provenance["runs"][0]["files"][0]["bytes"] == 8


@pytest.mark.parametrize("workers", [1, 2])
def test_several_processes_give_the_same_trace(tmp_path, logs, workers):
    _, trace = load(tmp_path, replace(SETTINGS, workers=workers))
    assert trace.tables["tasks"]["task"].to_pylist() == [0, 1, 0]


def test_a_log_of_which_too_little_is_there_is_refused_beside_the_others(tmp_path, logs):
    (logs / "b.lines").write_text("0 2\n0\n0\n")
    provenance, trace = load(tmp_path)
    (refused,) = provenance["completeness"]["refused"]
    assert refused["log"] == "b.lines"
    assert "only 33.3% of its tasks" in refused["why"]
    assert refused["hint"] == "take it as it is: min_complete=0.33"
    assert len(trace.tables["tasks"]) == 2
    provenance, trace = load(tmp_path, replace(SETTINGS, min_complete=0.33))
    assert provenance["completeness"]["share"] == pytest.approx(1 / 3, abs=1e-6)
    assert len(trace.tables["tasks"]) == 5


def test_where_too_little_is_there_of_all_nothing_is_written(tmp_path, logs):
    (logs / "a.lines").write_text("0\n")
    (logs / "b.lines").write_text("0 2\n0\n0\n")
    with pytest.raises(CorruptError, match=r"a\.lines: only 0\.0% of its tasks") as caught:
        load(tmp_path)
    assert "expected      seen  complete" in caught.value.message
    assert not (tmp_path / "trace" / "provenance.json").exists()


def test_a_log_that_contradicts_itself_is_refused_beside_the_others(tmp_path, logs):
    (logs / "b.lines").write_text("5 2\n")
    provenance, trace = load(tmp_path)
    (refused,) = provenance["completeness"]["refused"]
    assert refused["log"] == "b.lines"
    assert "started_at = 5.000000 is after finished_at" in refused["why"]
    assert len(trace.runs()) == 1


def test_where_all_are_refused_the_first_reason_is_the_error(tmp_path, logs):
    (logs / "b.lines").unlink()
    (logs / "a.lines").write_text("\n")
    with pytest.raises(CorruptError, match=r"a\.lines: a\.lines has an empty line"):
        load(tmp_path)


def test_what_was_read_before_an_interruption_is_not_read_again(tmp_path, logs):
    load(tmp_path)
    done = tmp_path / "parts" / "run-0" / "provenance.json"
    told = json.loads(done.read_text())
    told["engine"] = {"kept": True}
    done.write_text(json.dumps(told))
    provenance, _ = load(tmp_path)
    assert provenance["engine"] == {"kept": True}


def test_a_path_that_holds_no_log_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no file or folder"):
        importing.logs_of(Lines(), str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="looks like a log of lines"):
        importing.logs_of(Lines(), str(tmp_path))


def test_another_executor_is_refused_with_the_known_ones(tmp_path, logs):
    with pytest.raises(NotFoundError, match="executor 'thread'"):
        load(tmp_path, replace(SETTINGS, executor="thread"))


def test_the_identity_changes_with_the_files(tmp_path, logs):
    importer = Lines()

    def identity():
        return importing.identity(importer, importing.logs_of(importer, str(logs)), SETTINGS)

    before = identity()
    assert identity() == before
    (logs / "b.lines").write_text("0 2\n0 3\n")
    assert identity() != before


def test_one_log_may_not_cost_more_than_was_allowed(tmp_path, logs):
    tight = replace(SETTINGS, limits=Limits(bytes=3))
    with pytest.raises(CorruptError, match="more than 3 bytes"):
        load(tmp_path, tight)
    assert Path(tmp_path / "parts" / "run-0.refused.json").is_file()


def test_placements_are_inferred_only_where_starts_and_nodes_are_told(tmp_path, logs):
    provenance, trace = load(tmp_path, replace(SETTINGS, infer="placement"))
    assert len(trace.tables["decisions"]) == 0
    for report in provenance["completeness"]["runs"]:
        assert report["notes"] == [
            "no placement inferred: the log names no start of any task on any node"
        ]


def test_a_family_that_is_not_known_is_refused_with_the_known_ones():
    with pytest.raises(NotFoundError, match="did you mean 'placement'"):
        replace(SETTINGS, infer="placements")


def test_what_a_trace_is_to_hold_at_least_is_part_of_what_it_is(tmp_path, logs):
    importer = Lines()
    found = importing.logs_of(importer, str(logs))
    lenient = replace(SETTINGS, min_complete=0.2)
    assert importing.identity(importer, found, lenient) == importing.identity(
        importer, found, SETTINGS
    )
    one, other = (importing.product_identity(importer, found, s) for s in (SETTINGS, lenient))
    assert one != other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"min_complete": "abc"}, "min_complete must be a number, got 'abc'"),
        ({"interval": -3.0}, "interval is in seconds and positive"),
        ({"workers": 0}, "workers must be a positive whole number"),
        ({"workers": "x"}, "workers must be a positive whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(SETTINGS, **changes)


def test_what_is_no_file_or_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no file or folder"):
        importing.logs_of(Lines(), "/dev/null")


def test_how_many_were_refused_is_said_and_nothing_is_left_behind(tmp_path, logs, capsys):
    store = Store(tmp_path / "store")
    (logs / "b.lines").write_text("\n")
    found = importing.logs_of(Lines(), str(logs))
    product = importing.keep(Lines(), found, SETTINGS, store, "some")
    assert "1 of 2 logs refused, e.g. b.lines" in capsys.readouterr().err
    assert product.manifest["about"]["rows"]["tasks"] == 2
    with pytest.raises(CorruptError):
        importing.keep(Lines(), [log for log in found if "b" in log.name], SETTINGS, store, "none")
    assert [p.name for p in (tmp_path / "store" / "traces").iterdir()] == ["some"]
