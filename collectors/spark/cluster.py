"""Cluster: a standalone master and workers from the pip package, on loopback, for one recording.

The package ships no start scripts for them, only the classes. They are watched: when this process
ends, in whatever way, they end.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from collectors.spark import watch
from toolkit.errors import EngineError
from toolkit.progress import say

JAVA = 17
"""The oldest version of Java that Spark 4 runs on."""

LOOPBACK = "127.0.0.1"
SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k")
"""Flags of every JVM that is started: they start in half the time, and with several JVMs on few
cores that is what counts. They change how fast a JVM computes, so they are part of the record."""

_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"
_AT = re.compile(r"Starting Spark master at (spark://[^\s]+)")
_JOINED = "Successfully registered with master"
_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Spark:
    """What is installed: Spark's pip package and a Java to run it.

    Args:
        home: Folder of the package.
        version: Of Spark.
        scala: Version of Scala that its jars are built for.
        java: The program.
        java_version: What it says of itself.
    """

    home: Path
    version: str
    scala: str
    java: Path
    java_version: str


@dataclass(frozen=True, kw_only=True)
class Master:
    """A cluster that runs.

    Args:
        url: ``spark://…`` of the master.
        secret: What everybody must know who talks to it.
        watchers: The processes that watch its JVMs.
    """

    url: str
    secret: str = field(repr=False)
    watchers: tuple[subprocess.Popen[bytes], ...]

    def check(self) -> None:
        """Raise where a part of the cluster has died.

        Raises:
            EngineError: Naming what has died.
        """
        for i, one in enumerate(self.watchers):
            if one.poll() is not None:
                name = "master" if i == 0 else f"worker {i - 1}"
                raise EngineError(f"the Spark {name} has ended with status {one.returncode}")


def installed() -> Spark:
    """Find Spark and Java.

    Raises:
        EngineError: When one is not there, or Java is too old.
    """
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise EngineError(
            "recording on Spark needs the package pyspark",
            hint="pip install 'offline-scheduling-toolkit[spark]'",
        )
    home = Path(found.origin).parent
    core = sorted((home / "jars").glob("spark-core_*.jar"))
    if not core:
        raise EngineError(
            "the package pyspark has no jars: it is the client of Spark Connect only",
            hint="pip install 'offline-scheduling-toolkit[spark]'",
        )
    java, told = find_java()
    return Spark(
        home=home,
        version=importlib.metadata.version("pyspark"),
        scala=core[0].name.removeprefix("spark-core_").partition("-")[0],
        java=java,
        java_version=told,
    )


def find_java() -> tuple[Path, str]:
    """Return the Java that ``JAVA_HOME`` or ``PATH`` names, and its version.

    Raises:
        EngineError: When there is none that Spark runs on.
    """
    hint = (
        f"install Java {JAVA} or later, e.g. apt install openjdk-{JAVA}-jre-headless, or name one: "
        "JAVA_HOME=<folder> toolkit collect …"
    )
    home = os.environ.get("JAVA_HOME")
    if home:
        program: str | None = str(Path(home) / "bin" / "java")
        missing = not Path(str(program)).is_file()
        where = f"JAVA_HOME is {home[:200]!r}, and there is no bin/java in it"
    else:
        program = shutil.which("java")
        missing, where = program is None, "none is on the PATH"
    if missing or program is None:
        raise EngineError(f"recording on Spark needs Java {JAVA} or later: {where}", hint=hint)
    try:
        said = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=30, check=False
        ).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"{program} -version failed: {error}", hint=hint) from error
    number = re.search(r'version "(?:1\.)?(\d+)([^"]*)"', said)
    if number is None or int(number[1]) < JAVA:
        told = said.splitlines()[0][:80] if said else "nothing"
        raise EngineError(
            f"recording on Spark needs Java {JAVA} or later, but {program} says {told}", hint=hint
        )
    return Path(program), number[1] + number[2]


def master_command(spark: Spark) -> list[str]:
    """Return the command of a master that listens on loopback, on ports that are free."""
    ports = ["--host", LOOPBACK, "--port", "0", "--webui-port", "0"]
    # Its second door, a REST server, would listen on port 6066.
    own = ["-Dspark.master.rest.enabled=false", "-Dspark.authenticate=true"]
    return [*_java(spark, 256), *own, "-cp", _classes(spark), _MASTER, *ports]


def worker_command(spark: Spark, url: str, cores: int, memory: int, folder: Path) -> list[str]:
    """Return the command of a worker.

    Args:
        spark: What is installed.
        url: Of the master.
        cores: Executors may hold that many; more than the machine has is allowed.
        memory: MiB that executors may hold.
        folder: Where executors run.
    """
    ports = ["--host", LOOPBACK, "--port", "0", "--webui-port", "0"]
    holds = ["-c", str(cores), "-m", f"{memory}m", "-d", str(folder)]
    own = ["-Dspark.authenticate=true"]
    return [*_java(spark, 256), *own, "-cp", _classes(spark), _WORKER, *ports, *holds, url]


def _java(spark: Spark, heap: int) -> list[str]:
    return [str(spark.java), f"-Xmx{heap}m", *SMALL_JVM]


def _classes(spark: Spark) -> str:
    return str(spark.home / "jars" / "*")


def environment(spark: Spark, secret: str) -> dict[str, str]:
    """Return the environment of Spark's processes: the user's, without settings of a Spark."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    ahead = str(Path(__file__).resolve().parents[2])
    paths = [ahead, *filter(None, [own.get("PYTHONPATH")])]
    return {
        **own,
        "SPARK_HOME": str(spark.home),
        "SPARK_LOCAL_IP": LOOPBACK,
        # Without it every executor ends: "Cannot find any build directories".
        "SPARK_SCALA_VERSION": spark.scala,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(paths),
        "_SPARK_AUTH_SECRET": secret,
        # A task is one thread; else each of them would start one per core.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


@contextmanager
def standalone(spark: Spark, hosts: Sequence[tuple[int, int]], folder: Path) -> Iterator[Master]:
    """Run a master and a worker per host, and stop them.

    Args:
        spark: What is installed.
        hosts: Cores and MiB of each worker.
        folder: For their logs and the executors' own.

    Raises:
        EngineError: When they do not come up.
    """
    say(f"starting Spark {spark.version} on loopback: a master and {len(hosts)} workers")
    secret = secrets.token_hex(32)
    env = environment(spark, secret)
    watchers: list[subprocess.Popen[bytes]] = []
    try:
        log = folder / "master.log"
        watchers.append(start(master_command(spark), log, env))
        url = _await(log, watchers[0], lambda text: _first(_AT.search(text)), "master")
        for i, (cores, memory) in enumerate(hosts):
            words = worker_command(spark, url, cores, memory, folder / f"worker-{i}")
            watchers.append(start(words, folder / f"worker-{i}.log", env))
        for i, one in enumerate(watchers[1:]):
            log = folder / f"worker-{i}.log"
            _await(log, one, lambda text: _JOINED if _JOINED in text else None, f"worker {i}")
        yield Master(url=url, secret=secret, watchers=tuple(watchers))
    finally:
        stop(watchers)


def start(
    words: Sequence[str], log: Path, env: Mapping[str, str], *, grace: float = 0.0
) -> subprocess.Popen[bytes]:
    """Start a watched command; it ends when this process does or its input is closed.

    Args:
        words: The command.
        log: Takes what it prints.
        env: Its environment.
        grace: Seconds from SIGTERM to SIGKILL when it is to end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        return subprocess.Popen(
            watch.command(words, grace=grace),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(env),
            # Ctrl-C in the terminal is for us; we stop them by their own pids.
            start_new_session=True,
        )


def stop(watchers: Sequence[subprocess.Popen[bytes]], *, patience: float = 15.0) -> None:
    """End watched commands and wait until they have."""
    for one in reversed(watchers):
        stdin: IO[bytes] | None = one.stdin
        if stdin is not None:
            stdin.close()
    end = time.monotonic() + patience
    for one in watchers:
        try:
            one.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def last_words(log: Path, most: int = 3) -> str:
    """Return the last lines of a log that tell of a failure, for a message."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()[-200:]
    except OSError:
        return ""
    telling = [x.strip() for x in lines if re.search(r"ERROR|Exception|Error|Cannot|Caused", x)]
    return " | ".join(x[:200] for x in (telling or lines)[-most:])


def _first(found: re.Match[str] | None) -> str | None:
    return found[1] if found else None


def _await(
    log: Path, one: subprocess.Popen[bytes], look: Callable[[str], str | None], name: str
) -> str:
    end = time.monotonic() + _PATIENCE
    while True:
        found = look(log.read_text("utf-8", "replace"))
        if found:
            return found
        if one.poll() is not None or time.monotonic() > end:
            raise EngineError(
                f"the Spark {name} did not start within {_PATIENCE:.0f} s: {last_words(log)}",
                hint="to see the whole error: add --traceback",
            )
        time.sleep(0.05)
