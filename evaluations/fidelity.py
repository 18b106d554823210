"""Fidelity: the measured errors of a calibration, as a table and as a picture.

A document has these keys; all but ``splits`` may be missing, and what is unknown is None:

- ``splits``: as :func:`toolkit.calibration.agreement.summarise` returns it.
- ``rows``: for each check ``split``, ``run``, ``policy``, ``seed``, ``real`` (metric to s) and
  ``predicted`` (``held_out``, ``in_sample``, ``naive`` to metric to median, s).
- ``agreement``: the fields of :class:`toolkit.calibration.agreement.Agreement`.
- ``search``: the losses ``random`` and ``refined``, the number of ``evaluations``, and which of
  the two was ``kept``.
- ``parameters``: name to what was found.
- ``kinds``: type of task to how it is predicted: ``parametric``, ``boosted`` or ``mean``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.calibration.agreement import LEVELS
from toolkit.gantt import COLOURS

_NAMES = {"latency": "mean latency"}
_INK = "#222222"
_MOST = 5
"""Types of tasks that are named of each kind."""


def text(document: Mapping[str, Any]) -> str:
    """Return the table; controls and noise floor are those of the first split."""
    splits = document["splits"]
    lines = [*_errors(splits), *_tasks(splits)] if splits else ["  no run was held out"]
    for key, told in (
        ("agreement", _agreement),
        ("search", _search),
        ("parameters", _parameters),
        ("kinds", _kinds),
    ):
        if document.get(key):
            lines.append(f"  {told(document[key])}")
    return "\n".join(lines)


def _errors(splits: Mapping[str, Any]) -> list[str]:
    metrics = list(dict.fromkeys(m for s in splits.values() for m in s["metrics"]))
    first = next(iter(splits.values()))

    def line(label: str, split: Mapping[str, Any], way: str) -> str:
        cells = ""
        for told in (split["metrics"].get(m, {}) for m in metrics):
            worst = _share(told.get("held_out_worst")) if way == "held_out" else ""
            cells += f"{_share(told.get(way)):>8}{worst:>8}"
        log = _number(split["log_error"][way], ".3f") if way != "floor" else ""
        return f"  {label:<26}{cells}{log:>8}".rstrip()

    return [
        f"  {'':<26}{''.join(f'{_NAMES.get(m, m):>16}' for m in metrics)}{'tasks':>8}",
        f"  {'relative error':<26}{'    mean   worst' * len(metrics)}{'|log|':>8}",
        line("in sample", first, "in_sample"),
        *(line(f"held out by {name}", split, "held_out") for name, split in splits.items()),
        line("naive: mean of each type", first, "naive"),
        line("noise floor", first, "floor"),
    ]


def _tasks(splits: Mapping[str, Any]) -> list[str]:
    heads = "".join(f"{f'within their {level} %':>24}" for level in LEVELS)
    lines = [f"  {'held out by':<11}{'tasks':>7}{heads}{'KS':>7}{'p':>8}{'cpus':>7}{'beyond':>8}"]
    for name, split in splits.items():
        covered = [split["coverage"][str(level)] for level in LEVELS]
        shares = (f"{_share(c['share'])} {_interval(c['low'], c['high'], '.1%')}" for c in covered)
        ks, p = _number(split["ks"]["statistic"], ".3f"), _number(split["ks"]["p"], ".2g")
        lines.append(
            f"  {name:<11}{covered[0]['n']:>7}{''.join(f'{s:>24}' for s in shares)}{ks:>7}{p:>8}"
            f"{_share(split['curve']):>7}{_share(split['extrapolated']):>8}"
        )
    return [
        *lines,
        "  within: the predicted interval, [95 % CI]; KS: distance of luck from uniform;",
        "  cpus: distance of the curves of busy cpus; beyond: tasks unlike any that was fitted",
    ]


def _agreement(told: Mapping[str, Any]) -> str:
    return (
        f"policies: {told['differ']} of {told['pairs']} pairs differ in the recording, "
        f"{_share(told['same_sign'])} of these with the same sign in simulation;\n"
        f"    Spearman {_number(told['spearman'], '.2f')}, Kendall "
        f"{_number(told['kendall'], '.2f')}; slope of differences {_number(told['slope'], '.2f')} "
        f"{_interval(told['slope_low'], told['slope_high'], '.2f')}"
    )


def _search(told: Mapping[str, Any]) -> str:
    random, refined = (_number(told[way], ".4g") for way in ("random", "refined"))
    return (
        f"search: loss {refined} refined, {random} at random, in {told['evaluations']} "
        f"evaluations; kept {told['kept']}"
    )


def _parameters(told: Mapping[str, Any]) -> str:
    found = (f"{k} {v if isinstance(v, str | int) else _number(v, '.4g')}" for k, v in told.items())
    return f"parameters: {', '.join(found)}"


def _kinds(told: Mapping[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for name, kind in told.items():
        groups.setdefault(kind, []).append(name)
    found = (
        f"{len(names)} {kind} ({', '.join(names[:_MOST])}{', …' if len(names) > _MOST else ''})"
        for kind, names in groups.items()
    )
    return f"types of tasks: {', '.join(found)}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _share(value: float | None) -> str:
    return _number(value, ".1%")


def _interval(low: float | None, high: float | None, form: str) -> str:
    return f"[{_number(low, form)}, {_number(high, form)}]"


def picture(document: Mapping[str, Any]) -> bytes:
    """Return a PNG: predicted beside real makespans, luck of tasks, coverage of intervals."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        # What a user configured for other pictures would change this one.
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.size": 8,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "legend.frameon": False,
            }
        )
        figure = Figure(figsize=(12, 3.6), dpi=80, layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        _makespans(left, document["splits"], document.get("rows") or ())
        _luck(middle, document["splits"])
        _coverage(right, document["splits"])
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _makespans(axes: Any, splits: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import LogFormatter

    drawn = []

    def scatter(way: str, split: str, label: str, **style: Any) -> None:
        points = [
            (r["real"].get("makespan"), r["predicted"].get(way, {}).get("makespan"))
            for r in rows
            if r["split"] == split
        ]
        known = [p for p in points if None not in p and np.isfinite(p).all()]
        drawn.extend(known)
        axes.scatter(*np.array(known).reshape(-1, 2).T, label=label, **style)

    for i, name in enumerate(splits):
        if i == 0:
            scatter("naive", name, "naive", s=16, marker="x", linewidth=0.8, color="#8c8c8c")
        style = {"s": 14, "alpha": 0.7, "linewidth": 0, "color": COLOURS[i]}
        scatter("held_out", name, f"held out by {name}", **style)
    if drawn:
        ends = [np.min(drawn), np.max(drawn)]
        axes.plot(ends, ends, color=_INK, linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(LogFormatter())
            axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))
        axes.legend(fontsize=7)
    axes.set(xlabel="recorded, s", ylabel="predicted, s", title="makespan")


def _luck(axes: Any, splits: Mapping[str, Any]) -> None:
    for i, split in enumerate(splits.values()):
        counts = np.array(split["pit"])
        if counts.sum():
            edges = np.linspace(0, 1, len(counts) + 1)
            axes.stairs(counts / counts.mean(), edges, linewidth=1.2, color=COLOURS[i])
    axes.axhline(1, color=_INK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="F(recorded | predicted)", ylabel="density", title="luck of held-out tasks")
    axes.set(xlim=(0, 1), ylim=(0, None))


def _coverage(axes: Any, splits: Mapping[str, Any]) -> None:
    width = 0.8 / max(1, len(splits))
    for i, split in enumerate(splits.values()):
        at = np.arange(len(LEVELS)) + (i - (len(splits) - 1) / 2) * width
        told = [split["coverage"][str(level)] for level in LEVELS]
        share, low, high = (
            np.array([t[k] for t in told], dtype=np.float64) for k in ("share", "low", "high")
        )
        axes.bar(at, share, 0.9 * width, yerr=[share - low, high - share], color=COLOURS[i])
    for i, level in enumerate(LEVELS):
        axes.plot([i - 0.45, i + 0.45], [level / 100] * 2, color=_INK, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(LEVELS)), [f"predicted {level} %" for level in LEVELS])
    axes.set(ylabel="share of held-out tasks", title="coverage, 95 % CI", ylim=(0, 1))
