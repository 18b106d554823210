"""The command ``toolkit leaderboard compare``: what differs between two runs, does it matter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from leaderboard.comparison import SHARED, Comparison, Measured, compared
from leaderboard.markdown import escaped
from leaderboard.row import brief
from leaderboard.text import aligned
from toolkit import tracking
from toolkit.errors import ConfigError, CorruptError, NotFoundError, require, unknown
from toolkit.report import Report
from toolkit.tracking_runs import Recorded

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

_FORMATS = ("text", "markdown", "json")
_SCORE = "points of the suite: 100 is its reference"
_MOST = 12
"""Settings and names that are listed one by one in an error."""


def compare(cfg: DictConfig) -> Report:
    """Say what differs between two evaluations or trainings, and whether it matters.

    a and b are ids of MLflow runs, their first 6 characters or more, or names of policies; of a
    name the newest evaluation counts, if possible one that may be compared with the other.
    Evaluations are paired by task and seed. A difference matters where its 95 % interval leaves
    out 0.

    Raises:
        ConfigError: When an id is short of naming one run.
        NotFoundError: When there is no such run or policy.
    """
    require(cfg.format in _FORMATS, f"format must be one of {', '.join(_FORMATS)}")
    a, b = _pair(str(cfg.a), str(cfg.b))
    evaluated = a.kind == b.kind == "evaluation"
    found = compared(a, b, _cells(a, b) if evaluated else None)
    units = _units([m.name for m in found.metrics])
    draw = _markdown if cfg.format == "markdown" else _text
    return Report(_document(found, units), draw(found, units))


def _pair(a: str, b: str) -> tuple[Recorded, Recorded]:
    """Return the runs that two words name; of names those newest ones that may be compared."""
    frame = tracking.board().sort_values(["created", "run_id"], ascending=False)
    lines = frame.to_dict("records")
    left, right = (_candidates(word, lines) for word in (a, b))
    beside: dict[tuple[str, ...], str] = {}
    for line in lines:
        if line["run_id"] in right:
            beside.setdefault(_shared(line), line["run_id"])
    both = (
        (line["run_id"], beside[_shared(line)])
        for line in lines
        if line["run_id"] in left and _shared(line) in beside
    )
    first, second = next(both, (left[0], right[0]))
    return _recorded(first), _recorded(second)


def _candidates(word: str, lines: Sequence[Mapping[Any, Any]]) -> list[str]:
    """Return the runs that a word may stand for, newest first."""
    named = [r["run_id"] for r in lines if word and word in (r["policy"], r["trained_policy"])]
    if named:
        return named
    found = tracking.recorded(word)
    if len(found) > 1:
        ids = ", ".join(f"{r.run_id[:12]} ({brief(_name(r), 24)})" for r in found[:_MOST])
        raise ConfigError(f"{word!r} begins the ids of {len(found)} runs: {ids}")
    if found:
        return [found[0].run_id]
    known = dict.fromkeys(brief(r["policy"]) for r in lines)
    if re.fullmatch(r"[0-9a-f]{6,32}", word):
        known |= dict.fromkeys(r["run_id"] for r in lines)
    hint = "toolkit leaderboard format=json shows policies and their runs; 6 characters name a run"
    raise unknown("run or evaluated policy", word, known, hint=hint)


def _shared(line: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(line[name]) for name in SHARED)


def _recorded(run_id: str) -> Recorded:
    found = tracking.recorded(run_id)
    if not found:
        raise NotFoundError(f"run {run_id[:40]!r} is not in the record any more")
    return found[0]


def _cells(a: Recorded, b: Recorded) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    try:
        return tracking.cells(a.run_id), tracking.cells(b.run_id)
    except (NotFoundError, CorruptError):
        return None


def _units(names: Sequence[str]) -> dict[str, str]:
    from evaluations.metrics import UNITS

    known = {**UNITS, "score": _SCORE}
    return {name: known[name] for name in names if name in known}


def verdict(found: Comparison) -> str:
    """Say in a sentence what a person wants to know first."""
    a, b = brief(_name(found.a)), brief(_name(found.b))
    if found.identical:
        return f"a and b are the same run, {found.a.run_id[:12]} ({a})"
    changed = _changed(found)
    if found.a.kind == found.b.kind == "training":
        return (
            f"two trainings, {a} and {b}: {changed}; their final metrics stand side by side, but "
            f"{found.hindrance}: compare their evaluations"
        )
    if found.hindrance:
        return f"{a} and {b} are not comparable: {found.hindrance}; {changed}"
    score = next((m for m in found.metrics if m.name == "score"), None)
    others = [m.name for m in found.metrics if m.word == "matters" and m.name != "score"]
    if score is None or score.difference is None:
        reason = score.word if score is not None else "no score in both"
        return f"{a} and {b}: {reason.removeprefix('not comparable: ')}; {changed}"
    ends = f"95 % CI {_number(score.difference.low)} to {_number(score.difference.high)}"
    told = f"{score.pairs} pairs, p = {score.p:.2g}"
    d = score.difference.value
    if score.word == "matters":
        more = "more" if d > 0 else "FEWER"
        said = f"it matters: {b} scores {_number(abs(d))} points {more} than {a} ({ends}; {told})"
    else:
        said = f"{b} and {a} cannot be told apart by score ({_number(d, '+')}, {ends}; {told})"
    beside = f"; beyond chance differ also: {', '.join(others[:_MOST])}" if others else ""
    return f"{said}; {changed}{beside}"


def _changed(found: Comparison) -> str:
    n = len(found.params)
    said = [f"{n} setting{'' if n == 1 else 's'} differ{'s' if n == 1 else ''}"] if n else []
    said += [f"other {name.replace('_', ' ')}" for name in found.lineage if name not in SHARED]
    return ", ".join(said) or "all else that was recorded is the same"


def _document(found: Comparison, units: Mapping[str, str]) -> dict[str, Any]:
    def of(run: Recorded) -> dict[str, Any]:
        tags = {k: v for k, v in run.tags.items() if not k.startswith("mlflow.")}
        return {"run": run.run_id, "kind": run.kind, "name": _name(run), "tags": tags}

    return {
        "verdict": verdict(found),
        "same_run": found.identical,
        "comparable": not found.hindrance,
        "hindrance": found.hindrance,
        "a": of(found.a),
        "b": of(found.b),
        "configuration": found.params,
        "lineage": found.lineage,
        "lineage_same": found.same,
        "metrics": [
            asdict(m) | {"relative": m.relative, "unit": units.get(m.name, "")}
            for m in found.metrics
        ],
    }


def _sections(found: Comparison) -> list[tuple[str, list[list[str]]]]:
    """Return titles with tables; the first line of each is its head."""
    shown = [
        ("configuration", [[k, *map(_value, pair)] for k, pair in found.params.items()]),
        ("lineage", [[k, *map(_value, pair)] for k, pair in found.lineage.items()]),
    ]
    tables = [(title, [[title, "a", "b"], *lines]) for title, lines in shown if lines]
    head = ["metric", "a", "b", "b - a [95 % CI]", "relative", "p", "n", "does it matter"]
    lines = [_line(m) for m in found.metrics]
    return [*tables, *([("metrics", [head, *lines])] if lines else [])]


def _line(m: Measured) -> list[str]:
    d = m.difference
    change = f"{_number(d.value, '+')} [{_number(d.low)}, {_number(d.high)}]" if d else "–"
    relative = "–" if d is None or m.relative != m.relative else f"{m.relative:+.1%}"
    p, n = ("–", "–") if d is None else (f"{m.p:.2g}", str(m.pairs))
    return [brief(m.name), _number(m.a), _number(m.b), change, relative, p, n, m.word]


def _notes(found: Comparison, units: Mapping[str, str]) -> list[str]:
    """Return what explains the tables: what is the same, units, how to read the words."""
    same = ", ".join(f"{k} {brief(v, 40)}" for k, v in found.same.items())
    notes = [f"the same: {same}"] if same else []
    if not found.params:
        notes.append("the same: all settings")
    notes += [f"{name}: {about}" for name, about in units.items()]
    if len(found.metrics) > 1 and not found.hindrance:
        notes.append("each comparison stands alone; none is corrected for their number")
    return notes


def _text(found: Comparison, units: Mapping[str, str]) -> str:
    """Return the comparison for a terminal."""
    parts = [verdict(found), "\n".join(_runs(found))]
    parts += ["\n".join(aligned(table, left=range(len(table[0])))) for _, table in _sections(found)]
    return "\n\n".join([*parts, "\n".join(_notes(found, units))]).rstrip()


def _markdown(found: Comparison, units: Mapping[str, str]) -> str:
    """Return the comparison as Markdown, for a pull request or a report."""
    parts = [f"**{escaped(verdict(found))}**", _listed(_runs(found))]
    for title, (head, *lines) in _sections(found):
        table = [f"| {' | '.join(map(escaped, cells))} |" for cells in (head, *lines)]
        table.insert(1, "|" + "---|" * len(head))
        parts.append("\n".join([f"## {title}", "", *table]))
    return "\n\n".join([*parts, _listed(_notes(found, units))]).rstrip() + "\n"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _runs(found: Comparison) -> list[str]:
    return [
        f"{letter}: {run.kind} {brief(_name(run))}, run {run.run_id}"
        for letter, run in (("a", found.a), ("b", found.b))
    ]


def _name(run: Recorded) -> str:
    """Return the policy's name in full; that of a run is cut."""
    return run.tags.get("policy") or run.name


def _value(value: str | None) -> str:
    return "(absent)" if value is None else brief(value, 60) or "(none)"


def _number(value: float, sign: str = "") -> str:
    return format(value, f"{sign},.4g") if value == value else "–"
