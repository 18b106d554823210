"""Recording on Spark: the pipeline by hand, the command lines, and small rounds of the real one."""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from collectors.spark import archive, cluster, live_log, record, rows, submit, watch
from collectors.spark.cluster import Spark
from collectors.spark.engine import BatchEngine, Ran
from collectors.spark.fleet import Fleet
from collectors.spark.record import SparkRecorder, check_memory
from collectors.spark.session import session
from toolkit import trace as traces
from toolkit.errors import ConfigError, CorruptError, EngineError, NotFoundError, ResourceError
from toolkit.live import chooser, rollout
from toolkit.policies.random import Random
from toolkit.reward import BatchWeights
from toolkit.scenarios.batches import Batches, Stage
from toolkit.simulator.state import N_KILLED

video = pytest.importorskip("collectors.spark.video")
cv2 = pytest.importorskip("cv2")

SPARK = Spark(
    home=Path("/opt/pyspark"), version="4.3.0", scala="2.13", java=Path("/opt/java"),
    java_version="17.0.1",
)  # fmt: skip
LINE = [
    sys.executable, "job.py", "{cores}", "{memory}", "{instances}", "{event_log_dir}",
]  # fmt: skip


def tiny(**changes):
    settings = {
        "name": "tiny",
        "stages": [Stage(name=n, seconds=0.001, overhead=0.05) for n in video.STAGES],
        "batches": 3,
        "startup": 3.0,
        "weights": BatchWeights(inverse=1000.0, sojourn=0.1),
        "hosts": 2,
        "host_cpus": 2,
        "host_memory": 2,
        "cores": (1, 2),
        "memory": (500,),
        "instances": (1, 2),
        "frames": (10, 20),
        "partitions": (3, 4),
        "max_waiting": 120.0,
    }
    return Batches(**{**settings, **changes})


# The pipeline, by hand.


def frame(image, number=0, partition=0, route=""):
    return video.Frame(
        partition=partition, number=number, route=route, image=np.asarray(image, dtype=np.uint8)
    )


def settings(**changes):
    known = {"frames": 8, "seed": 1, "width": 32, "height": 16, "folder": "unused"}
    return video.Settings(**{**known, **changes})


def test_resizing_takes_the_mean_of_four_pixels():
    image = np.zeros((2, 4, 3))
    image[:, :2, 0] = [[10, 20], [30, 40]]
    image[:, 2:, 2] = 100
    [small] = video.resize([frame(image)], 0, settings())
    assert small.image.tolist() == [[[25, 0, 0], [0, 0, 100]]]


def test_a_frame_that_shows_nothing_new_is_dropped():
    still = np.full((2, 2, 3), 50)
    frames = [frame(still, 0), frame(still + 1, 1), frame(still + 2, 2), frame(still + 3, 3)]
    # Compared with the last one that was kept: 1 is no news, 2 is, and 3 is again 1 from it.
    assert [f.number for f in video.resize(frames, 0, settings())] == [0, 2]


@pytest.mark.parametrize(("level", "way"), [(0, "dark"), (63, "dark"), (64, "bright")])
def test_frames_are_routed_by_their_brightness(level, way):
    [routed] = video.route([frame(np.full((2, 2, 3), level))], 0, settings())
    assert routed.route == way


def test_grey_weighs_the_colours_and_lifts_the_dark():
    pixel = np.array([[[10, 20, 200]]])  # blue, green, red
    grey = round(0.114 * 10 + 0.587 * 20 + 0.299 * 200)
    [bright] = video.greyscale([frame(pixel, route="bright")], 0, settings())
    assert bright.image.tolist() == [[grey]]
    lifted = round(0.114 * 20 + 0.587 * 40 + 0.299 * 255)  # 400 is cut to 255
    [dark] = video.greyscale([frame(pixel, route="dark")], 0, settings())
    assert dark.image.tolist() == [[lifted]]


def test_what_is_stored_can_be_read_again(tmp_path):
    grey = np.arange(12).reshape(3, 4)
    [kept] = video.store([frame(grey, 7, 2, "dark")], 0, settings(folder=str(tmp_path / "out")))
    assert cv2.imread(str(tmp_path / "out" / "002-00007.png"), 0).tolist() == grey.tolist()
    assert kept.image.size == 0
    assert kept.route == "dark"


def test_cameras_differ_and_follow_from_the_seed():
    films = [video.film(p, settings()) for p in range(4)]
    assert [len(f) for f in films] == [8] * 4
    assert all(f.image.shape == (16, 32, 3) for f in films[0])
    same = video.film(0, settings())
    assert all(np.array_equal(a.image, b.image) for a, b in zip(films[0], same, strict=True))
    assert not np.array_equal(films[0][0].image, films[3][0].image)
    kept = [[f.number for f in video.resize(one, p, settings())] for p, one in enumerate(films)]
    assert kept[0] == list(range(8))
    assert kept[2] == [0, 4]  # the still one
    ways = [video.route(one, 0, settings())[0].route for one in films[:2]]
    assert ways == ["bright", "dark"]


def test_a_task_reads_all_that_it_is_given_and_says_what_it_took():
    notes = []
    given = iter([(0, frame(np.full((2, 2, 3), 90), n)) for n in range(5)])
    out = list(video.task(1, given, stage=1, name="route", settings=settings(), note=notes.extend))
    assert next(given, None) is None
    assert [key for key, _ in out] == [0, 1, 2, 3, 4]
    [probe] = notes
    assert (probe.stage, probe.partition, probe.frames_in, probe.frames_out) == (1, 1, 5, 5)
    assert probe.cpu_seconds >= 0


# The commands.


def test_the_master_listens_on_loopback_and_has_no_rest_server():
    words = cluster.master_command(SPARK)
    assert words[0] == "/opt/java"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "-Dspark.master.rest.enabled=false" in words
    assert "-Dspark.authenticate=true" in words
    assert words[words.index("-cp") + 1] == "/opt/pyspark/jars/*"


def test_a_worker_holds_what_it_is_told():
    words = cluster.worker_command(SPARK, "spark://127.0.0.1:7", 4, 2048, Path("/work"))
    assert words[words.index("-c") + 1] == "4"
    assert words[words.index("-m") + 1] == "2048m"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[-1] == "spark://127.0.0.1:7"


def test_the_secret_is_in_no_command_line_and_no_settings_of_a_user_leak_in(monkeypatch):
    monkeypatch.setenv("SPARK_CONF_DIR", "/somewhere")
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master yarn")
    env = cluster.environment(SPARK, "geheim")
    assert "SPARK_CONF_DIR" not in env
    assert "PYSPARK_SUBMIT_ARGS" not in env
    assert env["SPARK_LOCAL_IP"] == "127.0.0.1"
    assert env["SPARK_SCALA_VERSION"] == "2.13"
    assert env["_SPARK_AUTH_SECRET"] == "geheim"
    assert "geheim" not in " ".join(cluster.master_command(SPARK))


def test_without_java_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="needs Java 17 or later: none is on the PATH") as caught:
        cluster.find_java()
    assert "JAVA_HOME=<folder>" in caught.value.hint
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"there is no bin/java in it"):
        cluster.find_java()


@pytest.mark.parametrize(
    ("said", "fine"),
    [
        ('openjdk version "17.0.15" 2025-04-15', True),
        ('openjdk version "21" 2023-09-19', True),
        ('java version "1.8.0_391"', False),
        ('openjdk version "11.0.2" 2019-01-15', False),
        ("Segmentation fault", False),
    ],
)
def test_an_old_java_is_refused(monkeypatch, tmp_path, said, fine):
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if fine:
        assert cluster.find_java()[0] == program
        return
    with pytest.raises(EngineError, match="needs Java 17 or later, but"):
        cluster.find_java()


# Watching.

BROOD = """
import subprocess, sys, time
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
orphan = [sys.executable, "-S", "-c",
          "import subprocess, sys, os;"
          f"p = subprocess.Popen({sleep!r}, start_new_session=True); print(p.pid, flush=True)"]
child = subprocess.Popen(sleep)
subprocess.run(orphan)
print(child.pid, flush=True)
time.sleep(600)
"""


def gone(pids, within=5.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not any(alive(p) for p in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="orphans are adopted on Linux")
@pytest.mark.parametrize("way", ["closed", "killed"])
def test_when_the_input_ends_all_that_was_started_ends(way, tmp_path):
    log = tmp_path / "log"
    if way == "closed":
        one = cluster.start([sys.executable, "-c", BROOD], log, os.environ)
        pids = _told(log, 2)
        cluster.stop([one])
        assert one.returncode is not None
    else:
        # Its owner is killed and can close nothing itself.
        owner = subprocess.Popen(
            [
                sys.executable, "-c",
                "import os, sys, time; from pathlib import Path; "
                "from collectors.spark import cluster; "
                f"one = cluster.start([sys.executable, '-c', {BROOD!r}], Path({str(log)!r}), "
                "os.environ); print(one.pid, flush=True); time.sleep(600)",
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(watch.__file__).parents[2])},
        )  # fmt: skip
        watcher = int(owner.stdout.readline())
        pids = [*_told(log, 2), watcher]
        owner.kill()
        owner.wait()
        owner.stdout.close()
    assert gone(pids)


def _told(log, lines):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if log.exists() and len(found := log.read_text().split()) >= lines:
            return [int(x) for x in found]
        time.sleep(0.02)
    raise AssertionError("it did not start")


def test_a_watched_command_has_time_to_end_by_itself(tmp_path):
    script = (
        "import signal, sys, time\n"
        "def end(*_): print('ended well', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nprint(1, flush=True)\ntime.sleep(600)"
    )
    one = cluster.start([sys.executable, "-c", script], tmp_path / "log", os.environ, grace=5)
    _told(tmp_path / "log", 1)
    cluster.stop([one])
    assert "ended well" in (tmp_path / "log").read_text()


def test_the_exit_status_of_a_watched_command_is_kept(tmp_path):
    one = cluster.start([sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "log", os.environ)
    assert one.wait(20) == 7
    cluster.stop([one])


# The user's own line.


def test_a_line_is_filled_once_and_word_by_word():
    words = submit.fill(["run", "--x={cores}", "{memory}m", "a b; rm {frames}"], {
        "cores": 2, "memory": "{cores}", "frames": 3,
    })  # fmt: skip
    assert words == ["run", "--x=2", "{cores}m", "a b; rm 3"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("spark-submit job.py", "must be a list of words"),
        ([], "must be a list of words"),
        ([*LINE, "{core}"], "placeholder {core}"),
        (LINE[:-1], "never says {event_log_dir}"),
        ([w for w in LINE if w != "{cores}"], r"choose cores from \[1, 2\]"),
        (["no-such-program", *LINE[1:]], "is not there: 'no-such-program'"),
        (["{cores}", *LINE[1:]], "is not there"),
    ],
)
def test_a_line_that_cannot_do_what_is_chosen_is_refused(line, said):
    with pytest.raises(ConfigError, match=said):
        submit.check_line(line, tiny())


def test_what_leaves_no_choice_need_not_be_in_the_line():
    submit.check_line([w for w in LINE if w != "{memory}"], tiny())


# Settings.


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"runs": 0}, ConfigError, "collector.runs"),
        ({"regime": "warm"}, NotFoundError, "did you mean 'warm_pool'"),
        ({"pool": -1}, ConfigError, "collector.pool"),
        ({"frame": [320]}, ConfigError, "collector.frame"),
        ({"regime": "submit"}, ConfigError, "command of regime=submit"),
        ({"submit": ["x"]}, ConfigError, "command of regime=submit"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, kind, said):
    with pytest.raises(kind, match=said):
        SparkRecorder(**{"runs": 1, **change})


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"memory": (300, 500)}, ConfigError, "less than 450 MiB"),
        ({"stages": [Stage(name="blur", seconds=1)]}, NotFoundError, "stage of the video"),
        (
            {"stages": [Stage(name=n, seconds=1) for n in ("store", "resize")]},
            ConfigError,
            "come in the order",
        ),
        ({"cores": (1.5,)}, ConfigError, "whole cores"),
    ],
)
def test_a_scenario_that_cannot_run_is_refused_before_spark_starts(change, kind, said, tmp_path):
    with pytest.raises(kind, match=said):
        SparkRecorder(runs=1).collect(tiny(**change), [Random()], 0, tmp_path)


def test_too_little_memory_is_said_before_spark_starts(monkeypatch):
    free = psutil.virtual_memory()._replace(available=100 * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    # Two executors of 500 MiB and what is beside them, and the driver, master and workers.
    need = record._BASE + 2 * (500 + record._JVM_BESIDE)
    with pytest.raises(ResourceError, match=f"needs about {need} MiB"):
        check_memory(tiny(), "cold", 0)


def test_a_log_that_is_no_log_is_refused_and_half_a_line_is_left(tmp_path):
    path = tmp_path / "log"
    event = b'{"Event":"SparkListenerLogStart","Spark Version":"4.3.0"}\n'
    path.write_bytes(event + event[:20])
    log = live_log.LiveLog(path)
    assert log.refresh().version == "4.3.0"
    path.write_bytes(event + event[:-1] + b"\nnonsense\n")
    with pytest.raises(CorruptError, match="no event"):
        log.refresh()
    with pytest.raises(CorruptError, match="no event"):
        live_log.Told().read([b"[" * 100_000])


# The state of a live engine.


class Scripted(BatchEngine):
    """Serves every batch with attempts that a test wrote down."""

    def __init__(self, attempts):
        super().__init__()
        self.attempts = attempts

    def _serve(self, batch, until):
        batch.finished = self.now()
        offset = float(self.state.time[0])
        ran = [
            dataclasses.replace(a, started=a.started + offset, finished=a.finished + offset)
            for a in self.attempts
        ]
        self._show(ran, max(a.finished for a in ran))


def play(attempts, **changes):
    of = tiny(
        stages=[Stage(name="resize", seconds=0.001, overhead=0.05)],
        batches=1,
        partitions=(3,),
        cores=(1,),
        instances=(2,),
        **changes,
    )
    engine = Scripted(attempts)
    episode = rollout(
        engine, of.plan(0), chooser(Random(), 0), horizon=of.horizon, weights=of.weights
    )
    return engine, episode


def ran(task, slot, started, finished, done=True):
    return Ran(task=task, slot=slot, started=started, finished=finished, done=done)


def test_a_slot_that_is_given_away_early_is_shown_when_it_is_free():
    engine, episode = play([ran(0, 0, 1, 2), ran(1, 1, 1, 3), ran(2, 0, 1.99, 2.5)])
    assert episode.terminated
    seen, s = engine.seen, episode.scene.state
    assert seen["finished", 0] < seen["started", 2] == pytest.approx(seen["finished", 0], abs=1e-5)
    # When it truly started is kept.
    assert s.started[2] - s.started[0] == pytest.approx(0.99)
    assert (s.free[:2, 0] == 1).all()


def test_an_attempt_that_failed_waits_again():
    _, episode = play([ran(0, 0, 1, 2, False), ran(1, 1, 1, 3), ran(2, 0, 2, 4), ran(0, 1, 3, 5)])
    assert episode.terminated
    s = episode.scene.state
    assert s.node.tolist() == [1, 1, 0]
    assert s.totals[N_KILLED] == 1
    assert s.completed[0] == pytest.approx(s.started[0] + 2)


def test_a_batch_is_decided_on_before_it_is_served_and_paid_until_the_next():
    engine, episode = play([ran(0, 0, 1, 2), ran(1, 1, 1, 3), ran(2, 0, 2, 4)])
    [step] = episode.steps
    assert step.decision.agent == "fleet"
    assert step.propensity == 1
    assert step.elapsed == pytest.approx(4, abs=0.1)
    # 1000 times the inverse of some 4,000 ms, and 0.1 per second that the batch was there.
    assert step.reward == pytest.approx(1000 / 4000 - 0.1 * 4, rel=0.05)
    assert engine.batches[0].granted == 2


class Slow(BatchEngine):
    """Serves every batch in real time, one task after another on the first executor."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def _serve(self, batch, until):
        begun = self.now()
        time.sleep(min(self.seconds, max(0.0, until - begun)))
        ended = self.now()
        if ended - begun < self.seconds:
            self._arrive(ended)
            return
        first, last = self.workload.arrays.job_ptr[batch.job : batch.job + 2].tolist()
        each = (ended - begun) / (last - first)
        self._show(
            [
                ran(t, 0, begun + i * each, begun + (i + 1) * each)
                for i, t in enumerate(range(first, last))
            ],
            ended,
        )
        batch.finished = ended


def test_batches_that_arrive_meanwhile_wait_for_their_turn():
    of = tiny(batches=4, period=0.2)
    engine = Slow(0.5)
    episode = rollout(
        engine, of.plan(0), chooser(Random(), 0), horizon=of.horizon, weights=of.weights
    )
    assert episode.terminated
    arrived = [engine.seen["arrived", j] for j in range(4)]
    assert arrived == pytest.approx([0.0, 0.2, 0.4, 0.6], abs=0.02)
    assert [s.decision.subject for s in episode.steps] == [0, 1, 2, 3]
    waiting = [float(s.decision.globals[0]) for s in episode.steps]
    assert waiting == [1, 2, 2, 1]
    # They wait 0, 0.3, 0.6 and 0.9 s and are served in 0.5 s each.
    assert sum(s.components[1] for s in episode.steps) == pytest.approx(3.8, abs=0.4)


def test_an_episode_is_cut_at_its_horizon():
    of = tiny(batches=3, period=0.1, max_waiting=0.3)
    engine = Slow(0.35)
    episode = rollout(
        engine, of.plan(0), chooser(Random(), 0), horizon=of.horizon, weights=of.weights
    )
    assert not episode.terminated
    assert [b.finished is not None for b in engine.batches] == [True, False]
    provenance = SparkRecorder(runs=1)._provenance(of, 0, SPARK)
    about = {"run": 0, "policy": "random", "regime": "cold", "mode": "policy", "seed": 0}
    trace = rows.record(engine, episode, about, provenance)
    traces.validate(trace)
    jobs = trace.of("jobs", 0).to_pylist()
    assert [j["status"] for j in jobs] == ["done", "killed", "killed"]
    assert [j["finished_at"] is None for j in jobs] == [False, True, True]


# The real one.


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spark")
    trace = SparkRecorder(runs=2, archive=False).collect(tiny(), [Random()], 5, folder)
    return trace, folder


@pytest.mark.slow
@pytest.mark.engine
def test_a_real_recording_is_a_valid_trace(recorded):
    trace, folder = recorded
    traces.validate(trace)
    assert sorted(p.name for p in folder.iterdir()) == ["run-0", "run-1"]
    tasks = trace.tables["tasks"].to_pandas()
    jobs = trace.tables["jobs"].to_pandas()
    assert len(jobs) == 2 * 3
    assert (jobs["status"] == "done").all()
    assert len(tasks) == 4 * jobs["x_partitions"].sum()
    assert (tasks["status"] == "done").all()
    assert (tasks["cpu_seconds"] > tasks["m_python_cpu_seconds"]).all()
    first = tasks[tasks["type"].str.startswith("resize")].merge(jobs, on=["run", "job"])
    assert (first["m_frames_in"] == first["x_frames"]).all()
    # What a stage passes on the next one gets.
    sums = tasks.groupby(["run", "job", "stage"])[["m_frames_in", "m_frames_out"]].sum()
    for _, batch in sums.groupby(level=[0, 1]):
        assert batch["m_frames_in"].tolist()[1:] == batch["m_frames_out"].tolist()[:-1]
    decisions = trace.tables["decisions"].to_pandas()
    assert decisions["propensity"].eq(1 / 4).all()
    assert (decisions["agent"] == "fleet").all()
    nodes = trace.tables["nodes"].to_pandas()
    assert nodes["logical"].all()
    assert (nodes["requested_at"] < nodes["added_at"]).all()
    assert set(trace.tables["samples"]["metric"].to_pylist()) >= {"load_average"}


@pytest.mark.slow
@pytest.mark.engine
def test_every_batch_ran_on_exactly_the_executors_that_were_chosen(recorded):
    trace, _ = recorded
    for run in (0, 1):
        nodes = trace.of("nodes", run).to_pandas().set_index("node")
        tasks = trace.of("tasks", run).to_pandas()
        for job in trace.of("jobs", run).to_pylist():
            told = json.loads(job["detail"])
            chosen = told["configuration"]
            assert told["executors_exact"]
            assert told["executors_granted"] == chosen["instances"]
            assert told["live_idle"] == 0
            mine = tasks[tasks["job"] == job["job"]]
            began = mine["started_at"].min()
            up = nodes[(nodes["added_at"] <= began) & ~(nodes["removed_at"] <= began)]
            assert len(up) == chosen["instances"]
            assert (up["cpus"] == chosen["cores"]).all()
            assert (up["memory"] == chosen["memory_mib"] * 2**20).all()
            assert set(mine["node"]) <= set(up.index)
            for at in mine["started_seen"]:
                now = mine[(mine["started_seen"] <= at) & (mine["finished_seen"] > at)]
                assert now.groupby("node").size().max() <= chosen["cores"]
            assert told["apply_seconds"] > (0.5 if told["executors_started"] else 0)
            assert 0 < told["batch_seconds"] < job["finished_at"] - job["arrived_at"] + 0.5


@pytest.mark.slow
@pytest.mark.engine
def test_a_warm_pool_keeps_executors_of_other_shapes(tmp_path):
    class Turns:
        name = "turns"

        def reset(self, workload):
            self.turn = -1

        def probabilities(self, decision):
            self.turn += 1
            p = np.zeros(len(decision.mask))
            # Configurations: one core once or twice, two cores once or twice.
            p[[1, 2, 1][self.turn % 3]] = 1.0
            return p

    trace = SparkRecorder(runs=1, regime="warm_pool", pool=2, archive=False).collect(
        tiny(), [Turns()], 5, tmp_path
    )
    told = [json.loads(j["detail"]) for j in trace.of("jobs", 0).to_pylist()]
    assert [t["executors_started"] for t in told] == [2, 1, 0]
    assert [t["live_idle"] for t in told] == [0, 2, 1]
    assert [t["executors_killed"] for t in told] == [0, 0, 0]
    assert told[2]["first_batch_on_executor"] == 0
    assert told[2]["apply_seconds"] < told[0]["apply_seconds"] / 5
    assert {r["regime"] for r in trace.runs()} == {"warm_pool"}


@pytest.mark.slow
@pytest.mark.engine
def test_executors_start_from_an_archive_of_their_classes(monkeypatch, tmp_path):
    monkeypatch.setenv("TOOLKIT_DATASETS", str(tmp_path / "data"))
    trace = SparkRecorder(runs=1).collect(tiny(batches=1), [Random()], 5, tmp_path / "rec")
    [kept] = (tmp_path / "data" / ".spark").iterdir()
    assert kept.stat().st_size > 10 * 2**20
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert trace.provenance["engine"]["class_archive"] == digest


@pytest.mark.slow
@pytest.mark.engine
def test_an_executor_takes_its_classes_from_the_archive(tmp_path):
    spark, kept, said = cluster.installed(), tmp_path / "classes.jsa", tmp_path / "said.log"
    with cluster.standalone(spark, [(2, 2048)], tmp_path / "cluster") as master:
        assert archive.make(spark, master, kept, tmp_path / "make")
        flags = (*archive.flags(kept), f"-Xlog:class+load:file={said}")
        with session(spark, master, tmp_path / "use", flags) as running:
            Fleet(running, "cold", 0).change((1, 500), 1)
    lines = said.read_text().splitlines()
    taken = sum("shared objects file" in x for x in lines)
    assert taken > 0.7 * len(lines)
    assert any("apache.spark" in x and "shared objects file (top)" in x for x in lines)


JOB = """
import sys
from pyspark import SparkContext
sc = SparkContext(appName="own")
assert sc.parallelize(range(100), 4).map(lambda x: (x % 3, x)).reduceByKey(max).count() == 3
sc.stop()
"""


@pytest.mark.slow
@pytest.mark.engine
def test_a_users_own_line_runs_for_every_decision(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(JOB)
    line = [
        str(cluster.installed().home / "bin" / "spark-submit"),
        "--master", "local[{cores}]", "--driver-memory", "{memory}m",
        "--conf", "spark.executor.instances={instances}", "--conf", "spark.ui.enabled=false",
        "--conf", "spark.eventLog.enabled=true", "--conf", "spark.eventLog.dir={event_log_dir}",
        "--conf", "spark.driver.bindAddress=127.0.0.1", "--conf", "spark.driver.host=127.0.0.1",
        str(script),
    ]  # fmt: skip
    scenario = tiny(batches=2)
    recorder = SparkRecorder(runs=1, regime="submit", submit=line)
    trace = recorder.collect(scenario, [Random()], 1, tmp_path / "rec")
    jobs = trace.of("jobs", 0).to_pylist()
    tasks = trace.of("tasks", 0).to_pandas()
    nodes = trace.of("nodes", 0).to_pylist()
    for job in jobs:
        told = json.loads(job["detail"])
        assert told["regime"] == "submit"
        assert told["apply_seconds"] > 0.5
        assert 0 < told["batch_seconds"] < job["finished_at"] - job["arrived_at"]
        mine = tasks[tasks["job"] == job["job"]]
        assert len(mine) == 4 + 4
        assert (mine["status"] == "done").all()
        [node] = [nodes[int(n)] for n in mine["node"].unique()]
        assert node["cpus"] == told["configuration"]["cores"]
    assert len(trace.of("decisions", 0)) == 2
    assert trace.runs()[0]["files"][0]["sha256"]
    broken = dataclasses.replace(recorder, submit=[*line[:-1], str(tmp_path / "missing.py")])
    with pytest.raises(EngineError, match="ended with status"):
        broken.collect(scenario, [Random()], 1, tmp_path / "broken")


OWN = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
import importlib.util
spec = importlib.util.spec_from_file_location("cases", {test!r})
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
recorder = cases.SparkRecorder(runs=2, archive=False)
recorder.collect(cases.tiny(), [cases.Random()], 5, Path({folder!r}))
"""


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_recording_that_is_cut_leaves_no_process_and_goes_on(number, tmp_path):
    root = Path(watch.__file__).parents[2]
    words = OWN.format(root=str(root), test=__file__, folder=str(tmp_path))
    env = {**os.environ, "PYTHONPATH": str(root)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", words], env=env, **quiet) as job:
        end = time.monotonic() + 150
        while not (tmp_path / "run-0" / "provenance.json").is_file():
            assert job.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        time.sleep(3)
        brood = psutil.Process(job.pid).children(recursive=True)
        pids = [p.pid for p in brood]
        assert sum("java" in p.name() for p in brood) >= 5  # driver, master, workers, executor
        listening = set()
        for p in brood:
            with contextlib.suppress(psutil.NoSuchProcess):
                for c in p.net_connections("inet"):
                    if c.status == psutil.CONN_LISTEN:
                        listening.add(c.laddr.ip.removeprefix("::ffff:"))
        job.send_signal(number)
        job.wait(30)
    assert listening == {"127.0.0.1"}
    assert gone(pids, within=15)
    before = (tmp_path / "run-0" / "tasks.parquet").stat().st_mtime_ns
    trace = SparkRecorder(runs=2, archive=False).collect(tiny(), [Random()], 5, tmp_path)
    assert [r["run"] for r in trace.runs()] == [0, 1]
    assert (tmp_path / "run-0" / "tasks.parquet").stat().st_mtime_ns == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-0", "run-1"]
