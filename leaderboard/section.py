"""Section: one table of the board with what stands around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboard.row import Group, Row, Verdict, brief


@dataclass(frozen=True, kw_only=True)
class Section:
    """A group with its verdicts: what one table shows.

    Args:
        group: The rows.
        verdicts: One per learned policy.
        limit: Most rows to show.
    """

    group: Group
    verdicts: Sequence[Verdict]
    limit: int

    @property
    def rows(self) -> Sequence[Row]:
        """Return the rows to show."""
        return self.group.rows[: self.limit]

    @property
    def title(self) -> str:
        """Return the suite and what else the rows share, in one line."""
        about = ", ".join(f"{name} {value}" for name, value in self.shared.items())
        return brief(self.group.suite, 60) + (f", {about}" if about else "")

    @property
    def shared(self) -> dict[str, str]:
        """Return what the rows share beside the suite, by what it is."""
        first = self.group.rows[0]
        named = {"engine": first.engine, "simulator": first.simulator, "schema": first.schema}
        return {name: brief(value, 60) for name, value in named.items() if value}

    @property
    def left_out(self) -> list[str]:
        """Say which rows are not shown."""
        hidden = len(self.group.rows) - self.limit
        notes = []
        if hidden > 0:
            notes.append(f"… and {hidden} more (limit={len(self.group.rows)} shows them)")
        if self.group.older:
            plural = "s" if self.group.older > 1 else ""
            notes.append(
                f"{self.group.older} older evaluation{plural} of the same policies left out"
            )
        return notes

    @property
    def hints(self) -> list[str]:
        """Say what else a reader should know."""
        hints = []
        if not any(r.learned for r in self.group.rows):
            hints.append("no learned policy on this board yet: toolkit train +algo=cql")
        if len(self.verdicts) > 1:
            hints.append("each comparison stands alone; none is corrected for their number")
        return hints


def kind(row: Row) -> str:
    """Return whether a policy was learned from data or is a rule, in a word."""
    return "learned" if row.learned else "heuristic"
