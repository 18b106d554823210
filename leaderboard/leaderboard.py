"""The command ``toolkit leaderboard``: complete the evaluations, show the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate

from leaderboard.evidence import gather
from leaderboard.markdown import markdown
from leaderboard.page import page, write
from leaderboard.row import groups, rows, sentence, verdicts
from leaderboard.section import Section
from leaderboard.table import table
from leaderboard.text import text
from toolkit import tracking
from toolkit.errors import NotFoundError, require, unknown
from toolkit.paths import data_root
from toolkit.progress import say
from toolkit.report import Report
from toolkit.tracking_files import require_port

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FORMATS = ("text", "markdown", "csv", "json")


def leaderboard(cfg: DictConfig) -> Report:
    """Evaluate what is missing, then show every evaluation with honest comparisons.

    Raises:
        ConfigError: When a value cannot be used.
        NotFoundError: When nothing has been evaluated, or not on the suite that was named.
        ResourceError: When MLflow's pages shall be served on a port that is taken.
    """
    limit, suite = cfg.limit, None if cfg.all else str(cfg.suite.name)
    require(cfg.format in _FORMATS, f"format must be one of {', '.join(_FORMATS)}")
    require(
        isinstance(limit, int) and not isinstance(limit, bool) and limit > 0,
        f"limit must be a whole number above 0, got {limit}",
    )
    if cfg.serve:
        require_port(cfg.port)  # before evaluations that may take minutes
    if cfg.evaluate:
        from evaluations.evaluate import ensure

        ensure(instantiate(cfg.suite, _convert_="all"), cfg)
    lines = rows(tracking.board(suite))
    if not lines:
        raise _nothing(suite)
    cells = cache(tracking.cells)  # verdicts and pictures ask for the same
    sections = [
        Section(group=g, verdicts=verdicts(g, cells, limit=limit), limit=limit)
        for g in groups(lines)
    ]
    target = _target(cfg.html)
    server = f"http://127.0.0.1:{cfg.port}" if cfg.serve else tracking.uri()
    found = [gather(section.group, cells) for section in sections]
    write(page(sections, found, target=target, server=server), target)
    said = _said(str(cfg.format), sections, target)
    current = {row.run_id for section in sections for row in section.group.rows}
    document = {
        "rows": [asdict(r) | {"superseded": r.run_id not in current} for r in lines],
        "verdicts": [
            asdict(v) | {"sentence": sentence(v), "note": section.group.note}
            for section in sections
            for v in section.verdicts
        ],
        "html": str(target),
    }
    if cfg.serve:
        say(said)
        tracking.serve(cfg.port)
        said = f"the board stays at {target}"
    return Report(document, said)


def _said(form: str, sections: Sequence[Section], target: Path) -> str:
    if form == "markdown":
        return markdown(sections)
    if form == "csv":
        return table(sections).rstrip("\r\n")  # whoever prints it ends the line
    return f"{text(sections)}\n\npage: {target}"


def _nothing(suite: str | None) -> NotFoundError:
    known = sorted(set(tracking.board()["suite"]))
    if suite is not None and known:
        return unknown("evaluated suite", suite, known)
    hint = "toolkit collect && toolkit train +algo=cql && toolkit leaderboard"
    return NotFoundError("nothing has been evaluated yet", hint=hint)


def _target(named: str | None) -> Path:
    if not named:
        return data_root() / "boards" / "leaderboard.html"
    target = Path(named).expanduser().resolve()
    require(not target.is_dir(), f"html must name a file, {target} is a folder")
    return target
