"""Spark importer: the event log of one application becomes one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from collectors.importing import Log, Told
from collectors.run_writer import RunWriter
from collectors.spark import event_log, events, redaction
from collectors.spark.application import Application
from collectors.spark.task_rows import METRICS
from collectors.streams import Limits, Source
from toolkit.errors import CorruptError

CLOCK = (
    "the driver's, in whole milliseconds; time 0 is the start of the application, or its first "
    "event where the log does not tell the start"
)


@dataclass(frozen=True, kw_only=True)
class SparkImporter:
    """Reads event logs of Spark 2.4 to 4.3, one application's attempt a run.

    Single files and rolling folders, plain or compressed by zstd, lz4, snappy, lzf or gzip; also
    those of applications that still run, were cut off, or were compacted.
    """

    source: str = "spark"
    extra: ClassVar[Mapping[str, Sequence[pa.Field]]] = {"tasks": METRICS}

    def find(self, path: Path) -> list[Log]:
        """Return the logs in a file or folder, ordered by path."""
        return event_log.logs(path)

    def read(self, log: Log, run: RunWriter, limits: Limits) -> Told:
        """Read a log into a run.

        Args:
            log: A file, or the files of a rolling log.
            run: Where the rows go.
            limits: What all files of the log may cost together.

        Raises:
            CorruptError: When it holds no job.
        """
        application = Application(run)
        reading = _Reading(application, run)
        parts = event_log.events_of(log)
        files: list[Mapping[str, Any]] = []
        spent = 0
        for part in parts:
            source = Source(part.file, Limits(bytes=limits.bytes - spent, line=limits.line))
            reading.file(source)
            files.append(source.about)
            spent += source.bytes
        if not reading.events:
            raise CorruptError(
                f"{log.name} holds no event of Spark",
                hint="name an event log: a file or folder that Spark wrote to spark.eventLog.dir",
            )
        application.finish()
        _flag(run, application, parts, in_progress=event_log.in_progress(log))
        if not run.completeness.of("jobs").seen:
            raise CorruptError(
                f"{log.name} tells of no job",
                hint="an application that ran nothing gives no trace; name another log",
            )
        return Told(
            clock=CLOCK,
            engine=_engine(application),
            about=_about(application),
            files=files,
        )


class _Reading:
    """Takes files line by line."""

    def __init__(self, application: Application, run: RunWriter) -> None:
        self.events = 0
        self._application = application
        self._report = run.completeness
        self._take = {
            name: (decoder.decode, application.take[decoder.type])
            for name, decoder in events.DECODERS.items()
        }

    def file(self, source: Source) -> None:
        """Take the events of one file.

        Raises:
            CorruptError: When it is longer than is allowed.
        """
        report = self._report
        line = bad = None
        seen = unreadable = 0
        take, name_of, passed = self._take, events.name_of, events.PASSED_OVER
        try:
            for line in source.lines(skip_long=True):
                try:
                    known = take.get(line[10 : line.find(b'"', 10)])
                    if known is None:
                        name = name_of(line)
                        known = take.get(name)
                    if known is None:
                        kind = name.decode("utf-8", "replace")
                        if kind not in passed:
                            report.see_unknown(kind)
                        continue
                    event = known[0](line)
                except (ValueError, RecursionError) as error:
                    if not line.strip():
                        continue
                    unreadable += 1
                    bad = line
                    if unreadable <= 3:
                        said = redaction.short(str(error))
                        report.note(f"{source.path.name}: cannot be read: {said}")
                    continue
                seen += 1
                known[1](event)
        except CorruptError as error:
            if not source.damaged:
                raise
            report.note(f"{error.message}; what came before it was read")
            report.flags["damaged"] = True
        self.events += seen
        if source.truncated and (bad is line or self._application.ended is None):
            report.flags["truncated"] = True
            unreadable -= bad is line and bad is not None
        if source.skipped:
            report.note(f"{source.path.name}: {source.skipped} lines are too long: left out")
        unreadable += source.skipped
        if unreadable:
            before = report.flags.get("unreadable_events", 0)
            report.flags["unreadable_events"] = before + unreadable


def _flag(
    run: RunWriter, application: Application, parts: Sequence[event_log.Part], *, in_progress: bool
) -> None:
    """Say what a user must know to judge the trace."""
    report = run.completeness
    if application.ended is None:
        report.flags["no_end"] = True
        # Spark takes the suffix away once it has written the end.
        report.flags["in_progress" if in_progress else "truncated"] = True
    elif in_progress:
        report.flags["in_progress"] = True
    compacted = any(p.compact for p in parts)
    if compacted:
        report.flags["compacted"] = True
        report.note(
            "the history server has compacted the log: jobs, executors and executions that had "
            f"ended are gone; by their numbers {application.absent_jobs} jobs are absent"
        )
    indices = [p.index for p in parts]
    before = indices[0] - 1 if compacted else 0
    gaps = [(a + 1, b - 1) for a, b in zip([before, *indices], indices, strict=False) if b > a + 1]
    if gaps:
        report.flags["missing_files"] = sum(last - first + 1 for first, last in gaps)
        said = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in gaps[:10])
        report.note(f"files of the rolling log are absent: {said}")


def _engine(application: Application) -> dict[str, Any]:
    engine: dict[str, Any] = {"spark": application.version}
    for key, name in (("Java Version", "java"), ("Scala Version", "scala")):
        if key in application.jvm:
            engine[name] = application.jvm[key]
    return engine


def _about(application: Application) -> dict[str, Any]:
    began = application.began
    return {
        "app": application.app,
        "name": application.name,
        "attempt": application.attempt,
        "began_unix": began / 1000.0 if began is not None else None,
        "seconds": application.ended,
        "properties": redaction.properties(application.properties),
    }
