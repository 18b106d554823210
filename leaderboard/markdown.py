"""Markdown: the board for a pull request or a report."""

from __future__ import annotations

from collections.abc import Sequence

from leaderboard.column import columns
from leaderboard.row import brief, sentence
from leaderboard.section import Section, kind


def markdown(sections: Sequence[Section]) -> str:
    """Return the board as Markdown."""
    return "\n\n".join("\n".join(_lines(section)).rstrip() for section in sections) + "\n"


def _lines(section: Section) -> list[str]:
    rows = section.rows
    shown = columns(rows, chief=True)
    cells = [c.texts(rows) for c in shown]
    heads = ["policy", "kind", *(c.full_heading for c in shown)]
    lines = [
        f"## {escaped(section.title)}",
        "",
        f"| {' | '.join(heads)} |",
        "|" + "---|" * 2 + "---:|" * len(shown),
    ]
    for i, row in enumerate(rows):
        values = [escaped(brief(row.policy)), kind(row), *(c[i] for c in cells)]
        lines.append(f"| {' | '.join(values)} |")
    notes = [*section.left_out, brief(section.group.note, 200), section.group.choice]
    lines += ["", *(escaped(n) + "  " for n in notes if n), ""]
    failures = [f"{brief(r.policy)} failed: {brief(r.failure, 160)}" for r in rows if r.failed > 0]
    said = [*(sentence(v) for v in section.verdicts), *section.hints, *failures]
    lines += [f"- {escaped(s)}" for s in said]
    again = [f"{i}. {escaped(brief(r.command, 600))}" for i, r in enumerate(rows, 1) if r.command]
    return [*lines, "", "Each row again:", "", *again] if again else lines


def escaped(shown: str) -> str:
    """Return text that Markdown shows as it stands, inside a table too."""
    out = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~$#!@" else c for c in out)
