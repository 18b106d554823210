"""Completeness: how much of what a log should say an import has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_NOTES = 50
"""Notes kept per log; how many more there were is said in the last."""


@dataclass(kw_only=True)
class Count:
    """What happened to the rows of one table.

    Args:
        expected: Rows that the source itself announces; None where it does not say.
        seen: Rows that the log begins to tell of.
        complete: Those of which it tells everything that this kind of source can tell.
        repaired: Rows kept after a value that contradicts others was set to null.
        dropped: Rows that could not be kept.
    """

    expected: int | None = None
    seen: int = 0
    complete: int = 0
    repaired: int = 0
    dropped: int = 0

    @property
    def share(self) -> float:
        """Complete rows by those expected or, where more, seen; 1 where there are none."""
        whole = max(self.expected or 0, self.seen)
        return self.complete / whole if whole else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the share as plain values."""
        return {
            "expected": self.expected,
            "seen": self.seen,
            "complete": self.complete,
            "repaired": self.repaired,
            "dropped": self.dropped,
            "share": round(self.share, 6),
        }


@dataclass(kw_only=True)
class Completeness:
    """The report of one import.

    Args:
        tables: Counts by table.
        unknown: How many events of kinds that nobody here reads, by kind.
        flags: What a user must know to judge the trace, e.g. ``truncated``, ``compacted``;
            ``edges`` is ``none`` where the source does not tell what a task waits for.
        notes: Sentences about what was repaired or dropped and why.
    """

    tables: dict[str, Count] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    flags: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    more_notes: int = 0

    def of(self, table: str) -> Count:
        """Return the counts of a table, to be changed in place."""
        return self.tables.setdefault(table, Count())

    def note(self, sentence: str) -> None:
        """Keep a sentence, unless there are too many already."""
        if len(self.notes) < MOST_NOTES:
            self.notes.append(sentence[:500])
        else:
            self.more_notes += 1

    def see_unknown(self, kind: str) -> None:
        """Count an event of a kind that is not read; names from a log are cut to size."""
        name = kind[:80]
        if name not in self.unknown and len(self.unknown) >= 200:
            name = "(others)"
        self.unknown[name] += 1

    @property
    def share(self) -> float:
        """The least share of any table."""
        return min((c.share for c in self.tables.values()), default=1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        notes = list(self.notes)
        if self.more_notes:
            notes.append(f"and {self.more_notes} more such notes")
        return {
            "share": round(self.share, 6),
            "tables": {name: c.to_dict() for name, c in sorted(self.tables.items())},
            "unknown": dict(sorted(self.unknown.items())),
            "flags": dict(sorted(self.flags.items())),
            "notes": notes,
        }


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return a report, as :meth:`Completeness.to_dict` gives it, as lines to print."""
    found = [f"{'':<10} {'expected':>9} {'seen':>9} {'complete':>9} {'repaired':>9} {'dropped':>9}"]
    for name, c in report["tables"].items():
        expected = "?" if c["expected"] is None else f"{c['expected']:,}"
        found.append(
            f"{name:<10} {expected:>9} {c['seen']:>9,} {c['complete']:>9,} "
            f"{c['repaired']:>9,} {c['dropped']:>9,}"
        )
    if report["unknown"]:
        kinds = ", ".join(f"{k} {v:,}" for k, v in report["unknown"].items())
        found.append(f"not read: {kinds}")
    if report["flags"]:
        found.append("flags: " + ", ".join(f"{k}={v}" for k, v in report["flags"].items()))
    return found + [f"note: {n}" for n in report["notes"]]
