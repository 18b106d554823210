"""The board as text, as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboard.row import Group, Row, Verdict, brief, sentence
from toolkit.errors import ResourceError

_HERE = Path(__file__).resolve().parent
_NONE = "–"


@dataclass(frozen=True)
class Section:
    """A group with its verdicts: what one table shows.

    Args:
        group: The rows.
        verdicts: One per learned policy.
    """

    group: Group
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class _Column:
    """A column: its heading and unit, what it sorts by, and the ends of its interval."""

    key: str
    title: str
    unit: str = ""
    interval: bool = False

    @property
    def heading(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def numbers(self, row: Row) -> list[float]:
        names = [self.key]
        if self.interval:
            stem = "ci" if self.key == "score" else f"{self.key}_ci"
            names += [f"{stem}_low", f"{stem}_high"]
        return [getattr(row, n) for n in names]

    def texts(self, rows: Sequence[Row]) -> list[str]:
        """Return the cells of a column, all with the same number of decimals."""
        table = [self.numbers(row) for row in rows]
        finite = [abs(v) for line in table for v in line if math.isfinite(v)]
        whole = all(v == int(v) for v in finite)
        largest = max(finite, default=0.0)
        n = 0 if whole or largest >= 1_000 else 1 if largest >= 10 else 2 if largest >= 1 else 4
        return [_cell(line, n) for line in table]


_COLUMNS = (
    _Column("score", "score", interval=True),
    _Column("latency_mean", "latency mean", "s", interval=True),
    _Column("latency_p95", "p95", "s"),
    _Column("throughput", "throughput", "jobs/s"),
    _Column("cost", "cost"),
    _Column("max_queue", "max queue"),
    _Column("n_seeds", "n"),
)


def text(sections: Sequence[Section], *, limit: int) -> str:
    """Return the board for a terminal."""
    parts = []
    for section in sections:
        rows, more = _shown(section.group, limit)
        columns = _columns(rows)
        head = ["#", "policy", "kind", *(_interval_heading(c) for c in columns)]
        cells = [c.texts(rows) for c in columns]
        lines = [
            [str(i), brief(row.policy, 36), _kind(row), *(column[i - 1] for column in cells)]
            for i, row in enumerate(rows, 1)
        ]
        parts.append(
            "\n".join(
                [
                    _title(section.group),
                    *_aligned([head, *lines]),
                    *more,
                    brief(section.group.note, 200),
                    *(sentence(v) for v in section.verdicts),
                    *_hints(section),
                ]
            )
        )
    return "\n\n".join(parts)


def markdown(sections: Sequence[Section], *, limit: int) -> str:
    """Return the board as Markdown, for a pull request or a report."""
    parts = []
    for section in sections:
        rows, more = _shown(section.group, limit)
        columns = _columns(rows)
        cells = [c.texts(rows) for c in columns]
        heads = ["policy", "kind", *(_interval_heading(c) for c in columns)]
        lines = [
            f"## {_escaped(_title(section.group))}",
            "",
            f"| {' | '.join(heads)} |",
            "|" + "---|" * 2 + "---:|" * len(columns),
        ]
        for i, row in enumerate(rows):
            values = [_escaped(brief(row.policy)), _kind(row), *(c[i] for c in cells)]
            lines.append(f"| {' | '.join(values)} |")
        notes = [*more, brief(section.group.note, 200)]
        lines += ["", *(_escaped(n) + "  " for n in notes), ""]
        said = [*(sentence(v) for v in section.verdicts), *_hints(section)]
        parts.append("\n".join([*lines, *(f"- {_escaped(s)}" for s in said)]).rstrip())
    return "\n\n".join(parts) + "\n"


def page(sections: Sequence[Section], *, limit: int) -> str:
    """Return the board as one HTML page that needs nothing else."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [row for section in sections for row in section.group.rows]
    return environment.get_template("page.html").render(
        sections=[_view(s, i, limit) for i, s in enumerate(sections, 1)],
        evaluations=len(rows),
        newest=max((row.created for row in rows), default=""),
    )


def write(content: str, target: Path) -> None:
    """Write a page aside, then move it into place, so that no reader sees half of it.

    Raises:
        ResourceError: When the file cannot be written.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(content, encoding="utf-8")
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(f"the page {target} cannot be written: {error.strerror}") from error


def _view(section: Section, number: int, limit: int) -> dict[str, Any]:
    """Return what the template needs of a section: texts and percentages, no logic."""
    group = section.group
    rows, more = _shown(group, limit)
    columns = _columns(rows)
    cells = [c.texts(rows) for c in columns]
    low, high, ticks = _axis(rows)
    at = _scale(low, high)
    best = group.best_heuristic
    if best not in rows:  # cut off by the limit
        best = None
    return {
        "id": f"board-{number}",
        "suite": brief(group.suite, 80),
        "about": _about(group),
        "note": brief(group.note, 200),
        "more": more,
        "columns": columns[1:],
        "rows": [_line(r, columns, [c[i] for c in cells], at) for i, r in enumerate(rows)],
        "ticks": [{"at": at(t), "text": f"{t:g}"} for t in ticks],
        "reference": at(best.score) if best is not None else None,
        "reference_name": brief(best.policy) if best is not None else "",
        "verdicts": [{"outcome": v.outcome, "text": sentence(v)} for v in section.verdicts],
        "hints": _hints(section),
    }


def _line(
    row: Row, columns: Sequence[_Column], cells: Sequence[str], at: Callable[[float], float]
) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for column, shown in zip(columns, cells, strict=True):
        value, _, interval = shown.partition(" ")
        number = getattr(row, column.key)
        key = repr(float(number)) if math.isfinite(number) else ""
        values.append({"column": column, "value": value, "interval": interval, "sort": key})
    bar = None
    if math.isfinite(row.score):
        ends = [row.ci_low, row.ci_high]
        ends = ends if all(map(math.isfinite, ends)) else [row.score, row.score]
        left, right = at(min(ends)), at(max(ends))
        bar = {"left": left, "width": round(right - left, 2), "dot": at(row.score)}
    return {
        "policy": brief(row.policy),
        "kind": _kind(row),
        "bar": bar,
        "score": values[0],
        "values": values[1:],
        "details": _details(row),
    }


def _details(row: Row) -> Mapping[str, str]:
    """Return what stands behind a row, for whoever wants to check it."""
    found = {
        "command": row.command,
        "name": row.policy if brief(row.policy) != row.policy else "",
        "interquartile mean": _cell([row.iqm], 2),
        "mean return": _cell([row.return_mean], 2),
        "dataset": row.dataset,
        "dataset digest": row.dataset_digest,
        "schema": row.schema,
        "simulator": row.simulator,
        "commit": row.commit,
        "evaluated": row.created,
        "run": row.run_id,
    }
    return {k: brief(v, 600) for k, v in found.items() if v not in ("", _NONE)}


def _hints(section: Section) -> list[str]:
    hints = []
    if not any(r.learned for r in section.group.rows):
        hints.append("no learned policy on this board yet: toolkit train +algo=cql")
    if len(section.verdicts) > 1:
        hints.append("each comparison stands alone; none is corrected for their number")
    return hints


def _title(group: Group) -> str:
    about = _about(group)
    return brief(group.suite, 60) + (f", {about}" if about else "")


def _about(group: Group) -> str:
    """Say what the rows share beside the suite."""
    first = group.rows[0]
    named = {"engine": first.engine, "simulator": first.simulator, "schema": first.schema}
    return ", ".join(f"{name} {brief(value, 60)}" for name, value in named.items() if value)


def _kind(row: Row) -> str:
    return "learned" if row.learned else "heuristic"


def _shown(group: Group, limit: int) -> tuple[Sequence[Row], list[str]]:
    """Return the rows to show and lines that say what is left out."""
    hidden = len(group.rows) - limit
    notes = [f"… and {hidden} more (limit={len(group.rows)} shows them)"] if hidden > 0 else []
    if group.older:
        plural = "s" if group.older > 1 else ""
        notes.append(f"{group.older} older evaluation{plural} of the same policies left out")
    return group.rows[:limit], notes


def _columns(rows: Sequence[Row]) -> list[_Column]:
    """Return the score and whatever else was measured."""
    return [
        c
        for c in _COLUMNS
        if c.key == "score" or any(math.isfinite(getattr(r, c.key)) for r in rows)
    ]


def _interval_heading(column: _Column) -> str:
    return f"{column.heading} [95 % CI]" if column.interval else column.heading


def _cell(numbers: Sequence[float], decimals: int) -> str:
    def one(value: float) -> str:
        return f"{value:,.{decimals}f}" if math.isfinite(value) else _NONE

    value, *ends = map(one, numbers)
    return value if not ends or _NONE in ends else f"{value} [{', '.join(ends)}]"


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with aligned columns: names to the left, numbers to the right."""
    widths = [max(_width(line[i]) for line in table) for i in range(len(table[0]))]
    lines = []
    for line in table:
        cells = []
        for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
            pad = " " * (width - _width(cell))
            cells.append(cell + pad if i in (1, 2) else pad + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(shown: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in shown
    )


def _escaped(shown: str) -> str:
    """Return text that Markdown shows as it stands, inside a table too."""
    out = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~$#!@" else c for c in out)


def _axis(rows: Sequence[Row]) -> tuple[float, float, list[float]]:
    """Return the ends of the axis of scores and round marks on it."""
    found = [v for r in rows for v in (r.score, r.ci_low, r.ci_high) if math.isfinite(v)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    span = (high - low) or abs(high) or 1.0
    low, high = low - 0.04 * span, high + 0.04 * span
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return low, high, [round(i * step, 12) for i in range(first, last + 1)]


def _scale(low: float, high: float) -> Callable[[float], float]:
    return lambda value: round(100 * (value - low) / (high - low), 2)
