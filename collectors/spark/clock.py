"""Clock: the driver's times become seconds since the start of the application."""

from __future__ import annotations

from collectors.completeness import Completeness

EARLIEST, LATEST = -3600.0, 3.2e9
"""Seconds from the start within which a time can be true."""


class Clock:
    """Knows time 0 and refuses what cannot be true.

    Args:
        report: Where repairs are counted and said.
    """

    def __init__(self, report: Completeness) -> None:
        self._report = report
        self.began: int | None = None
        """Milliseconds since 1970 of time 0."""

    def at(self, ms: int | None, table: str, what: str) -> float | None:
        """Return seconds since the start; null, and a repair, where it cannot be true.

        Args:
            ms: Milliseconds since 1970. The first that is known becomes time 0 where the log
                does not tell the start.
            table: Whose row has it.
            what: Happened then, for the note.
        """
        if ms is None or ms <= 0:
            return None
        if self.began is None:
            self.began = ms
            self._report.flags["no_start"] = True
        at = (ms - self.began) / 1000.0
        if EARLIEST <= at <= LATEST:
            return at
        self.repair(table, f"{what} is {at:.0f} s from the start of the application: left out")
        return None

    def repair(self, table: str, sentence: str) -> None:
        """Count a value that was set to null, and say why."""
        self._report.of(table).repaired += 1
        self._report.note(f"{table}: {sentence}")
