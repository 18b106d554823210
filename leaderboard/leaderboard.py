"""The command ``toolkit leaderboard``: complete the evaluations, show the board."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate

from leaderboard import render
from leaderboard.row import groups, rows, sentence, verdicts
from toolkit import tracking
from toolkit.errors import NotFoundError, require, unknown
from toolkit.paths import data_root
from toolkit.progress import say
from toolkit.report import Report
from toolkit.tracking_files import require_port

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FORMATS = ("text", "markdown", "json")


def leaderboard(cfg: DictConfig) -> Report:
    """Evaluate what is missing, then show every evaluation with honest comparisons.

    Raises:
        ConfigError: When a value cannot be used.
        NotFoundError: When nothing has been evaluated, or not on the suite that was named.
        ResourceError: When MLflow's pages shall be served on a port that is taken.
    """
    judged, limit = instantiate(cfg.suite, _convert_="all"), cfg.limit
    suite = None if cfg.all else judged.name
    require(cfg.format in _FORMATS, f"format must be one of {', '.join(_FORMATS)}")
    require(
        isinstance(limit, int) and not isinstance(limit, bool) and limit > 0,
        f"limit must be a whole number above 0, got {limit}",
    )
    if cfg.serve:
        require_port(cfg.port)  # before evaluations that may take minutes
    if cfg.evaluate:
        from evaluations.evaluate import ensure

        ensure(judged, cfg)
    lines = rows(tracking.board(suite))
    if not lines:
        raise _nothing(suite)
    sections = [
        render.Section(group, verdicts(group, tracking.cells, limit=limit))
        for group in groups(lines)
    ]
    target = _target(cfg.html)
    render.write(render.page(sections, limit=limit), target)
    draw = render.markdown if cfg.format == "markdown" else render.text
    shown = draw(sections, limit=limit)
    said = shown if cfg.format == "markdown" else f"{shown}\n\npage: {target}"
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
