"""Text: the board for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from leaderboard.column import columns
from leaderboard.row import brief, sentence
from leaderboard.section import Section, kind


def text(sections: Sequence[Section]) -> str:
    """Return the board for a terminal."""
    return "\n\n".join("\n".join(_lines(section)) for section in sections)


def _lines(section: Section) -> list[str]:
    rows = section.rows
    shown = columns(rows, chief=True)
    cells = [c.texts(rows) for c in shown]
    head = ["#", "policy", "kind", *(c.full_heading for c in shown)]
    table = [
        [str(i), brief(row.policy, 36), kind(row), *(column[i - 1] for column in cells)]
        for i, row in enumerate(rows, 1)
    ]
    return [
        section.title,
        *aligned([head, *table], left=(1, 2)),
        *section.left_out,
        brief(section.group.note, 200),
        *([section.group.choice] if section.group.choice else []),
        *(sentence(v) for v in section.verdicts),
        *section.hints,
        *_failures(section),
        *_commands(section),
    ]


def _failures(section: Section) -> list[str]:
    return [
        f"{brief(r.policy, 36)} failed: {brief(r.failure, 160)}"
        for r in section.rows
        if r.failed > 0 and r.failure
    ]


def _commands(section: Section) -> list[str]:
    lines = [f"{i:>4}  {brief(r.command, 600)}" for i, r in enumerate(section.rows, 1) if r.command]
    return ["each row again:", *lines] if lines else []


def aligned(table: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """Return lines with aligned columns.

    Args:
        table: Texts by line and column.
        left: Columns of names, which begin alike; numbers end alike.
    """
    widths = [max(_width(line[i]) for line in table) for i in range(len(table[0]))]
    lines = []
    for line in table:
        cells = []
        for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
            pad = " " * (width - _width(cell))
            cells.append(cell + pad if i in left else pad + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(shown: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in shown
    )
