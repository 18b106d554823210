"""Report of a paper's suite: tables, pictures and verdicts, as a folder and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.verdicts.claims import NOT_COMPARABLE, VERDICTS, Claim, Finding
from evaluations.verdicts.sizes import command_of
from toolkit.errors import require
from toolkit.paths import data_root
from toolkit.report import Report, to_json
from toolkit.revision import revision
from toolkit.store import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers under a caption; columns carry their units in their names.

    Args:
        caption: What they tell, of how many workloads.
        frame: A column per heading; intervals as :func:`interval` writes them.
    """

    caption: str
    frame: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture under a caption.

    Args:
        name: Of its file, without an ending.
        caption: What it shows.
        draw: Makes it; matplotlib is imported there.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True, kw_only=True)
class Produced:
    """All that a paper's suite produced.

    Args:
        suite: Its name.
        title: What the paper is about.
        size: ``quick`` or ``full``.
        command: What to type to get it again.
        about: Lines on what was played and how to read it.
        tables: In order.
        pictures: In order.
        findings: One for each claim.
    """

    suite: str
    title: str
    size: str
    command: str
    about: Sequence[str]
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    findings: Sequence[Finding]


def interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """Return a figure with its 95 % interval as text."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def folder_of(suite: str, size: str) -> Path:
    """Return where a suite's report lies."""
    return data_root() / "reports" / f"{suite}-{size}"


def answered(claim: str, experiment: str, size: str) -> Finding:
    """Return what an experiment found of a claim that a suite does not answer itself.

    Args:
        claim: Its id.
        experiment: Name of the experiment.
        size: ``quick`` or ``full``; the answer of another size is none.
    """
    command = command_of(f"toolkit train +experiment={experiment}", size, "experiment")
    file = folder_of(experiment, size) / "report.json"
    if file.is_file():
        for told in json.loads(file.read_text(encoding="utf-8"))["verdicts"]:
            if told["id"] == claim:
                parts = {k: told[k] for k in ("verdict", "figure", "why", "possible", "command")}
                return Finding(claim=claim, **parts)
    return Finding(claim=claim, verdict=NOT_COMPARABLE, why=f"an experiment answers it: {command}")


def publish(produced: Produced, stated: Sequence[Claim]) -> Report:
    """Write ``report.md``, ``report.json`` and the pictures; what was there is replaced.

    Args:
        produced: What the suite gave.
        stated: The paper's claims; each must have one finding.
    """
    told = [f.claim for f in produced.findings]
    wanted = [c.id for c in stated]
    require(sorted(told) == sorted(wanted), f"findings for {told}, but the claims are {wanted}")
    folder = folder_of(produced.suite, produced.size)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in produced.pictures:
        _draw(picture, folder)
    document = _document(produced, stated)
    write_text(folder / "report.md", markdown(produced, stated))
    write_text(folder / "report.json", to_json(document))
    document = {**document, "folder": str(folder)}
    return Report(document=document, text=_text(produced, stated, folder))


def markdown(produced: Produced, stated: Sequence[Claim]) -> str:
    """Return a report as Markdown; pictures lie beside it."""
    lines = [f"# {produced.title}", "", *(f"{line}\n" for line in produced.about)]
    lines += [f"    {produced.command}", "", f"Code: {revision()}.", "", "## Verdicts", ""]
    lines += _rows(_verdicts(produced, stated))
    for i, table in enumerate(produced.tables, 1):
        lines += ["", f"## Table {i}", "", table.caption, "", *_rows(table.frame)]
    for picture in produced.pictures:
        lines += ["", f"![{picture.caption}]({picture.name}.png)", "", f"*{picture.caption}*"]
    return "\n".join(lines) + "\n"


def _verdicts(produced: Produced, stated: Sequence[Claim]) -> pd.DataFrame:
    found = {f.claim: f for f in produced.findings}
    rows = []
    for claim in stated:
        f = found[claim.id]
        rows.append(
            {
                "": claim.id,
                "The paper": claim.text + (" (expected there)" if claim.expected else ""),
                "Verdict": f"**{f.verdict}**",
                "Here": ". ".join(part for part in (f.figure, f.why) if part),
                "Most that is possible": "" if f.possible is None else f"{f.possible:.1%}",
                "Command": f"`{f.command}`" if f.command else "",
            }
        )
    return pd.DataFrame(rows)


def _rows(frame: pd.DataFrame) -> list[str]:
    heads = [str(c) for c in frame.columns]
    numbers = [pd.api.types.is_numeric_dtype(frame[c]) for c in frame.columns]
    lines = [
        f"| {' | '.join(heads)} |",
        "|" + "".join("---:|" if n else "---|" for n in numbers),
    ]
    for row in frame.itertuples(index=False):
        lines.append(f"| {' | '.join(_cell(v) for v in row)} |")
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "–" if not np.isfinite(value) else f"{value:.{_DIGITS}g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _draw(picture: Picture, folder: Path) -> None:
    figure = picture.draw()
    aside = folder / f".{picture.name}.png"
    # Without the date and the version the same numbers give the same bytes.
    figure.savefig(aside, format="png", dpi=120, metadata={"Software": None})
    aside.replace(folder / f"{picture.name}.png")


def _document(produced: Produced, stated: Sequence[Claim]) -> dict[str, Any]:
    found = {f.claim: f for f in produced.findings}
    return {
        "suite": produced.suite,
        "size": produced.size,
        "command": produced.command,
        "commit": revision(),
        "verdicts": [{**asdict(c), **asdict(found[c.id])} for c in stated],
        "tables": [
            {"caption": t.caption, "rows": t.frame.to_dict("records")} for t in produced.tables
        ],
        "pictures": [{"name": p.name, "caption": p.caption} for p in produced.pictures],
    }


def _text(produced: Produced, stated: Sequence[Claim], folder: Path) -> str:
    found = {f.claim: f for f in produced.findings}
    lines = [f"{produced.title} ({produced.size})"]
    width = max((len(c.id) for c in stated), default=0) + 1
    for claim in stated:
        f = found[claim.id]
        told = ". ".join(part for part in (f.figure, f.why) if part)
        lines += [f"  {claim.id:<{width}}{f.verdict:<15} {claim.text}", f"      {told}"]
    counts = {v: sum(f.verdict == v for f in produced.findings) for v in VERDICTS}
    lines.append("  " + ", ".join(f"{n} {v}" for v, n in counts.items()))
    lines.append(f"report: {folder / 'report.md'}")
    return "\n".join(lines)
