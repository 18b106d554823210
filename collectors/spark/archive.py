"""Archive: the classes that an executor loads, kept in a file, so that the next starts sooner.

An executor spends most of its start on loading classes. A JVM can write what it has loaded into an
archive when it ends and map it when another begins (application class-data sharing). The archive
fits one version of Java and Spark only; a JVM that cannot use it starts without.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from collectors.spark import video
from collectors.spark.cluster import SMALL_JVM, Master, Spark
from collectors.spark.fleet import COLD, Fleet
from collectors.spark.session import session
from toolkit.progress import say
from toolkit.store import fingerprint

_WRITTEN_WITHIN = 60.0


def place(spark: Spark, root: Path) -> Path:
    """Return where the archive of this Java and Spark lies.

    Args:
        spark: What is installed.
        root: The folder of everything a user makes.
    """
    name = fingerprint(spark.version, spark.java_version, str(spark.home), SMALL_JVM)
    return root / ".spark" / f"classes-{name}.jsa"


def flags(archive: Path) -> tuple[str, ...]:
    """Return the flags of a JVM that starts from an archive, or from none if it does not fit."""
    return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto")


def make(spark: Spark, master: Master, archive: Path, folder: Path) -> bool:
    """Let one executor run a small batch and keep what it loaded; returns whether that worked.

    Args:
        spark: What is installed.
        master: A cluster.
        archive: Where it is kept.
        folder: For what this needs meanwhile.
    """
    say("keeping the classes of an executor, so that the next start sooner (once; half a minute)")
    aside = folder / "classes.jsa"
    with session(spark, master, folder, [f"-XX:ArchiveClassesAtExit={aside}"]) as running:
        fleet = Fleet(running, COLD, 0)
        shape = (1, 512)
        fleet.change(shape, 1)
        small = video.Settings(frames=4, seed=0, width=64, height=36, folder=str(folder / "out"))
        video.run(running.context, fleet.profile(shape), list(video.STAGES), 2, small, _nobody)
        fleet.let_go()
        whole = _end_executor(master, str(aside))
    if not whole or not aside.is_file():
        return False
    archive.parent.mkdir(parents=True, exist_ok=True)
    mine = archive.with_name(f".{archive.name}.{os.getpid()}")
    mine.write_bytes(aside.read_bytes())
    os.replace(mine, archive)
    return True


def _nobody(probes: list[video.Probe]) -> None:
    """Take no note of what tasks took."""


def _end_executor(master: Master, mark: str) -> bool:
    """Let the executor with a flag end in its own time, which Spark would not give it."""
    ours = [
        process
        for watcher in master.watchers
        for process in psutil.Process(watcher.pid).children(recursive=True)
        if any(mark in word for word in _words(process))
    ]
    for process in ours:
        process.terminate()
    _, left = psutil.wait_procs(ours, timeout=_WRITTEN_WITHIN)
    return bool(ours) and not left


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
