"""Page: the board as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leaderboard.axis import Axis, spanning
from leaderboard.column import NONE, Column, columns, number
from leaderboard.curves import curves
from leaderboard.evidence import Evidence, pictured
from leaderboard.links import card_link, run_link
from leaderboard.profile import profile
from leaderboard.row import Row, brief, sentence
from leaderboard.schedules import inline, schedules
from leaderboard.section import Section, kind
from toolkit.errors import ResourceError
from toolkit.store import write_text

_HERE = Path(__file__).resolve().parent


def page(
    sections: Sequence[Section], evidence: Sequence[Evidence], *, target: Path, server: str
) -> str:
    """Return the board as one HTML page.

    Args:
        sections: What is shown.
        evidence: What stands behind each of them.
        target: Where the page will lie; links to cards begin there.
        server: Where the record is kept; runs are linked where it is an address.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("page.js.j2").render()
    rows = [row for section in sections for row in section.group.rows]
    both = list(zip(sections, evidence, strict=True))
    drawn = [schedules(section.group, found) for section, found in both]
    return environment.get_template("page.html").render(
        sections=[
            _view(section, found, f"board-{i}", target, server) | {"schedules": len(told)}
            for i, ((section, found), told) in enumerate(zip(both, drawn, strict=True), 1)
        ],
        suites=[brief(s, 80) for s in dict.fromkeys(section.group.suite for section in sections)],
        evaluations=len(rows),
        newest=max((row.created for row in rows), default=""),
        data=inline({f"board-{i}": told for i, told in enumerate(drawn, 1)}),
        script=script,
        # The browser runs this script and no other, whatever a name may smuggle in.
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def write(content: str, target: Path) -> None:
    """Write a page aside, then move it into place, so that no reader sees half of it.

    Raises:
        ResourceError: When the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, content)
    except OSError as error:
        raise ResourceError(f"the page {target} cannot be written: {error.strerror}") from error


def _view(
    section: Section, evidence: Evidence, name: str, target: Path, server: str
) -> dict[str, Any]:
    """Return what the template needs of a section: texts and percentages, no logic."""
    group, rows = section.group, section.rows
    shown = columns(rows)
    cells = [c.texts(rows) for c in shown]
    axis = spanning(v for r in rows for v in (r.score, r.ci_low, r.ci_high))
    best = group.best_heuristic
    if best not in rows:  # cut off by the limit
        best = None
    links = {r.run_id: _links(r, target, server) for r in rows}
    return {
        "id": name,
        "suite": brief(group.suite, 80),
        "note": brief(group.note, 200),
        "choice": group.choice,
        "badges": _badges(section),
        "more": section.left_out,
        "columns": shown[1:],
        "extra": sum(not c.chief for c in shown),
        "rows": [
            _line(r, shown, [c[i] for c in cells], axis) | {"links": links[r.run_id]}
            for i, r in enumerate(rows)
        ],
        "ticks": axis.ticks,
        "reference": axis.at(best.score) if best is not None else None,
        "reference_name": brief(best.policy) if best is not None else "",
        "verdicts": [{"outcome": v.outcome, "text": sentence(v)} for v in section.verdicts],
        "hints": section.hints,
        "pictured": len(pictured(group)) if len(pictured(group)) < len(group.rows) else 0,
        "profile": profile(group, evidence),
        "curves": curves(group, evidence),
    }


def _badges(section: Section) -> list[dict[str, Any]]:
    """Return what decides whether rows may be compared; an error also as a share of a meter."""
    group = section.group
    badges: list[dict[str, Any]] = [
        {"name": name, "value": value, "meter": None} for name, value in section.shared.items()
    ]
    if not group.simulated:
        return [*badges, {"name": "scores", "value": "measured", "meter": None}]
    calibration = brief(group.rows[0].calibration, 60) or "none"
    known = math.isfinite(group.error)
    error = {
        "name": "calibration error",
        "value": f"{100 * group.error:.1f} %" if known else "unknown",
        "meter": round(min(100.0, 100 * group.error), 1) if known else 100.0,
        "known": known,
    }
    return [error, *badges, {"name": "calibration", "value": calibration, "meter": None}]


def _line(row: Row, shown: Sequence[Column], cells: Sequence[str], axis: Axis) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    for column, cell in zip(shown, cells, strict=True):
        value, _, rest = cell.partition(" ")  # an interval, or how often it failed
        key = getattr(row, column.key)
        values.append(
            {
                "column": column,
                "value": value,
                "rest": rest,
                "sort": repr(float(key)) if math.isfinite(key) else "",
            }
        )
    return {
        "policy": brief(row.policy),
        "kind": kind(row),
        "failed": row.failed > 0,
        "failure": brief(row.failure, 160),
        "bar": _bar(row, axis),
        "score": values[0],
        "values": values[1:],
        "details": _details(row),
    }


def _bar(row: Row, axis: Axis) -> dict[str, float] | None:
    if not math.isfinite(row.score):
        return None
    ends = [row.ci_low, row.ci_high]
    ends = ends if all(map(math.isfinite, ends)) else [row.score, row.score]
    left, right = axis.at(min(ends)), axis.at(max(ends))
    return {"left": left, "width": round(right - left, 2), "dot": axis.at(row.score)}


def _details(row: Row) -> Mapping[str, str]:
    """Return what stands behind a row, for whoever wants to check it."""
    found = {
        "command": row.command,
        "name": row.policy if brief(row.policy) != row.policy else "",
        "failure": row.failure if row.failed > 0 else "",
        "interquartile mean": number([row.iqm], 2),
        "mean return": number([row.return_mean], 2),
        "score in training": number([row.chosen], 2),
        "trained policy": row.trained_policy,
        "dataset": row.dataset,
        "card": f"toolkit dataset show id={row.dataset}" if row.dataset else "",
        "dataset digest": row.dataset_digest,
        "schema": row.schema,
        "simulator": row.simulator,
        "commit": row.commit,
        "evaluated": row.created,
        "run": row.run_id,
        "parent run": row.parent,
    }
    return {k: brief(v, 600) for k, v in found.items() if v not in ("", NONE)}


def _links(row: Row, target: Path, server: str) -> Mapping[str, str]:
    """Return addresses by the name of the detail that they belong to."""
    found = {
        "dataset": card_link(row.dataset, target),
        "run": run_link(server, row.run_id),
        "parent run": run_link(server, row.parent),
    }
    return {name: link for name, link in found.items() if link}
