"""Session: one SparkContext on a cluster of its own, for a whole recording.

Starting a context costs more than a batch does, so that one serves every batch of every run and
only its executors change. Its event log is plain text, so that it can be read while it grows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from collectors.spark.cluster import (
    LOOPBACK,
    SMALL_JVM,
    Master,
    Spark,
    environment,
    last_words,
)
from collectors.spark.live_log import LiveLog
from toolkit.errors import EngineError

DRIVER_MEMORY = 768
"""MiB of the driver's heap."""

_NEVER = "86400s"
_STOPS_WITHIN = 10.0


@dataclass(frozen=True, kw_only=True)
class Session:
    """A Spark that runs.

    Args:
        spark: What is installed.
        context: The ``SparkContext``.
        log: What it says of itself.
        master: The cluster.
        folder: For what executors write.
    """

    spark: Spark
    context: Any
    log: LiveLog
    master: Master
    folder: Path


def settings_of(url: str, events: Path, local: Path, flags: Sequence[str]) -> dict[str, str]:
    """Return Spark's settings: nothing but loopback, and nobody but us changes the executors.

    Args:
        url: Of the master.
        events: Folder of the event log.
        local: Folder of shuffle files.
        flags: Further flags of the executors' JVMs.
    """
    own = " ".join(f'"{flag}"' for flag in (*SMALL_JVM, *flags))
    return {
        "spark.master": url,
        "spark.app.name": "toolkit collect",
        "spark.authenticate": "true",
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.driver.memory": f"{DRIVER_MEMORY}m",
        "spark.driver.extraJavaOptions": " ".join(SMALL_JVM),
        "spark.executor.extraJavaOptions": own,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(local),
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": events.as_uri(),
        "spark.eventLog.compress": "false",
        "spark.eventLog.rolling.enabled": "false",
        # Executors of several shapes need dynamic allocation; by itself it would never act.
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.initialExecutors": "0",
        "spark.dynamicAllocation.minExecutors": "0",
        "spark.dynamicAllocation.schedulerBacklogTimeout": _NEVER,
        "spark.dynamicAllocation.sustainedSchedulerBacklogTimeout": _NEVER,
        "spark.dynamicAllocation.executorIdleTimeout": _NEVER,
        "spark.dynamicAllocation.cachedExecutorIdleTimeout": _NEVER,
        "spark.dynamicAllocation.shuffleTracking.timeout": _NEVER,
        # The master says why an executor is gone; there is no need to wait for it.
        "spark.standalone.executorRemoveDelayOnDisconnection": "100ms",
        # A task goes to any free slot at once.
        "spark.locality.wait": "0s",
        "spark.python.daemon.module": "collectors.spark.daemon",
        "spark.python.worker.reuse": "true",
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
        "spark.log.level": "WARN",
    }


@contextmanager
def session(
    spark: Spark, master: Master, folder: Path, flags: Sequence[str] = ()
) -> Iterator[Session]:
    """Start a SparkContext on a cluster, and stop it.

    Args:
        spark: What is installed.
        master: The cluster.
        folder: For logs, shuffle files and what executors write; made here.
        flags: Further flags of the executors' JVMs.

    Raises:
        EngineError: When Spark does not start.
    """
    events, local = folder / "events", folder / "local"
    events.mkdir(parents=True)
    settings = settings_of(master.url, events, local, flags)
    with (
        _quiet(),
        _context(spark, settings, master.secret, folder / "driver.log") as context,
    ):
        log = LiveLog(events / f"{context.applicationId}.inprogress")
        yield Session(spark=spark, context=context, log=log, master=master, folder=folder)


@contextmanager
def _context(spark: Spark, settings: Mapping[str, str], secret: str, output: Path) -> Iterator[Any]:
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    if SparkContext._active_spark_context is not None:
        raise EngineError("another SparkContext runs in this process already")
    conf = SparkConf(loadDefaults=False)
    for key, value in settings.items():
        conf.set(key, value)
    gateway: Any = None
    ended = False
    try:
        try:
            with _environment(environment(spark, secret)), _signals(), output.open("wb") as stream:
                # Its JVM ends when the pipe to it does, so when this process does.
                gateway = launch_gateway(conf, {"stdout": stream, "stderr": stream})
                # Told to the JVM itself: what is on its command line everybody can read.
                conf.set("spark.authenticate.secret", secret)
                context = SparkContext(gateway=gateway, conf=conf)
        except (PySparkRuntimeError, Py4JError, OSError) as error:
            raise EngineError(
                f"Spark's driver did not start: {last_words(output)}",
                hint="to see the whole error: add --traceback",
            ) from error
        yield context
        ended = True
    finally:
        _stop(gateway, gently=ended)


def _stop(gateway: Any, *, gently: bool) -> None:
    """Stop the driver, by force where the conversation with it was interrupted."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is not None and gently:
        stopping = threading.Thread(target=context.stop, daemon=True)
        stopping.start()
        stopping.join(_STOPS_WITHIN)
    if gateway is not None:
        process = cast("subprocess.Popen[bytes]", gateway.proc)
        with suppress(Exception):
            gateway.shutdown()
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOPS_WITHIN if gently else 1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # The next recording of this process starts a JVM of its own.
    SparkContext._active_spark_context = None
    SparkContext._gateway = None
    SparkContext._jvm = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PySpark from warning of pandas 3, which nothing here uses with it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*pandas >= 3", FutureWarning)
        yield


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Run with another environment; what starts now inherits it and keeps it."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals() -> Iterator[None]:
    """Keep PySpark from putting its own handler in the place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def scratch_folder(folder: Path) -> Path:
    """Return a new folder for one session, under a name that nobody else knows."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="spark-", dir=folder))
