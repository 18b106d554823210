"""Task rows: attempts of tasks as the log has them, made into columns many at a time."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collectors.run_writer import RunWriter
from collectors.spark.clock import EARLIEST, LATEST, Clock
from toolkit.trace import METRIC, field

BATCH = 4096
"""Rows that are made into columns at once."""
UNTOLD = -(1 << 62)
"""Stands for a number that the log does not tell."""

METRICS: tuple[pa.Field, ...] = tuple(
    field(METRIC + name, kind, unit, nullable=True)
    for name, kind, unit in (
        ("run_seconds", pa.float64(), "s"),
        ("deserialize_seconds", pa.float64(), "s"),
        ("gc_seconds", pa.float64(), "s"),
        ("scheduler_delay_seconds", pa.float64(), "s"),
        ("result_bytes", pa.float64(), "bytes"),
        ("spilled_memory_bytes", pa.float64(), "bytes"),
        ("spilled_disk_bytes", pa.float64(), "bytes"),
        ("peak_execution_bytes", pa.float64(), "bytes"),
        ("shuffle_read_bytes", pa.float64(), "bytes"),
        ("shuffle_write_bytes", pa.float64(), "bytes"),
        ("locality", pa.string(), "Spark's name"),
        ("speculative", pa.bool_(), "flag: a copy of a slow attempt"),
    )
)
"""What Spark measures of an attempt beside the columns that every source has."""

NUMBERS = (
    "launched",
    "finished",
    "getting_result",
    "run",
    "deserialize",
    "serialize",
    "cpu",
    "gc",
    "result",
    "memory_spilled",
    "disk_spilled",
    "peak_execution",
    "remote",
    "local",
    "shuffle_written",
    "input",
    "output",
)
"""The whole numbers of a row, in Spark's units; times that are not positive are not known."""
UNMEASURED = (UNTOLD,) * (len(NUMBERS) - 3)

_Floats = npt.NDArray[np.float64]


class TaskRows:
    """Collects attempts and hands them on as columns.

    Args:
        run: Where the rows go.
        clock: Knows time 0; it must, when rows with a time are handed on.
    """

    def __init__(self, run: RunWriter, clock: Clock) -> None:
        self._run = run
        self._report = run.completeness
        self._count = run.completeness.of("tasks")
        self._clock = clock
        self._facts: list[tuple[Any, ...]] = []
        self._numbers: list[tuple[int, ...]] = []

    def add(self, facts: tuple[Any, ...], numbers: tuple[int, ...]) -> None:
        """Take an attempt.

        Args:
            facts: Task, attempt, Spark's number of the attempt, job, stage, type, node, cpus,
                gpus, status, reason, locality, whether it is a copy.
            numbers: As ``NUMBERS`` lists them.
        """
        self._facts.append(facts)
        self._numbers.append(numbers)
        if len(self._facts) >= BATCH:
            self.hand_on()

    def hand_on(self) -> None:
        """Write what was collected."""
        count = len(self._facts)
        if not count:
            return
        told = np.fromiter(
            chain.from_iterable(self._numbers), dtype=np.int64, count=count * len(NUMBERS)
        ).reshape(count, len(NUMBERS))
        facts = [*zip(*self._facts, strict=True)]
        self._facts, self._numbers = [], []
        task, attempt, number, job, stage, kind, node, cpus, gpus, status, reason, near, copy = (
            facts
        )
        of = {name: told[:, k] for k, name in enumerate(NUMBERS)}
        started, finished = self._times(of["launched"], of["finished"], number)
        measured = {name: self._measure(of[name], number) for name in NUMBERS[3:]}
        shuffled = measured["remote"] + measured["local"]
        self._count.complete += int((np.isfinite(started) & np.isfinite(finished)).sum())
        self._run.extend(
            "tasks",
            {
                "task": np.array(task, dtype=np.int32),
                "attempt": np.array(attempt, dtype=np.int32),
                "name": [*map(str, number)],
                "job": np.array(job, dtype=np.int32),
                "stage": np.array(stage, dtype=np.int32),
                "type": kind,
                "node": node,
                "cpus": cpus,
                "gpus": gpus,
                "started_at": started,
                "started_seen": started,
                "finished_at": finished,
                "finished_seen": finished,
                "status": status,
                "reason": reason,
                "cpu_seconds": measured["cpu"] / 1e9,
                "bytes_in": _sum(measured["input"], shuffled),
                "bytes_out": _sum(measured["output"], measured["shuffle_written"]),
                "m_run_seconds": measured["run"] / 1e3,
                "m_deserialize_seconds": measured["deserialize"] / 1e3,
                "m_gc_seconds": measured["gc"] / 1e3,
                "m_scheduler_delay_seconds": _delay(of, measured, started, finished),
                "m_result_bytes": measured["result"],
                "m_spilled_memory_bytes": measured["memory_spilled"],
                "m_spilled_disk_bytes": measured["disk_spilled"],
                "m_peak_execution_bytes": measured["peak_execution"],
                "m_shuffle_read_bytes": shuffled,
                "m_shuffle_write_bytes": measured["shuffle_written"],
                "m_locality": near,
                "m_speculative": copy,
            },
        )

    def _times(
        self, launched: npt.NDArray[np.int64], ended: npt.NDArray[np.int64], number: Any
    ) -> tuple[_Floats, _Floats]:
        """Return start and end; NaN where the log does not tell or contradicts itself."""
        found = []
        began = self._clock.began or 0
        wrong = np.zeros(len(launched), dtype=bool)
        for ms in (launched, ended):
            at = np.where(ms > 0, (ms.astype(np.float64) - began) / 1e3, np.nan)
            with np.errstate(invalid="ignore"):
                strange = (at < EARLIEST) | (at > LATEST)
            wrong |= strange
            at[strange] = np.nan
            found.append(at)
        started, finished = found
        with np.errstate(invalid="ignore"):
            backwards = finished < started
        finished[backwards] = np.nan
        self._repair(wrong, number, "began or ended long before or after the application")
        self._repair(backwards, number, "ended before it began")
        return started, finished

    def _measure(self, told: npt.NDArray[np.int64], number: Any) -> _Floats:
        values = told.astype(np.float64)
        below = told < 0
        if below.any():
            values[below] = np.nan
            self._repair(below & (told != UNTOLD), number, "measured less than nothing")
        return values

    def _repair(self, wrong: npt.NDArray[np.bool_], number: Any, what: str) -> None:
        rows = np.flatnonzero(wrong)
        self._count.repaired += len(rows)
        for row in rows[:60].tolist():
            self._report.note(f"tasks: task {number[row]} {what}: left out")
        self._report.more_notes += max(0, len(rows) - 60)


def _sum(a: _Floats, b: _Floats) -> _Floats:
    """Return the sum of what is known; NaN where neither is."""
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, a + b))


def _delay(
    of: dict[str, npt.NDArray[np.int64]], measured: dict[str, _Floats], began: _Floats, end: _Floats
) -> _Floats:
    """Return the scheduler delay as Spark's own pages have it: what nothing else accounts for."""
    fetching = np.where(of["getting_result"] > 0, of["finished"] - of["getting_result"], 0)
    spent = measured["run"] + measured["deserialize"] + measured["serialize"] + fetching
    lasted = np.where(np.isnan(began + end), np.nan, of["finished"] - of["launched"])
    return np.maximum(0.0, lasted - spent) / 1e3
