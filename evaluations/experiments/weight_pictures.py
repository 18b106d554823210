"""Weight pictures: the front of latency, throughput and cost, and what each weight does."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluations.experiments.curves import COLOURS, MARKS
from evaluations.experiments.weighed import ASKED, FRONT, Point, Weighed, arm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = dict(zip((*ASKED, "several"), COLOURS, strict=False)) | {"base": "black"}
"""Colour by the weight that is multiplied."""


def fronts(found: Weighed) -> Figure:
    """Draw all pairs of latency, throughput and cost, the front and the rules marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5.2), layout="constrained")
    axes = figure.subplots(1, 3)
    front = found.front()
    for axis, (first, second) in zip(axes, itertools.combinations(FRONT, 2), strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        for i, start in enumerate(found.starts):
            for point in found.points:
                name = arm(start, point)
                x, y = (found.values(name, w).mean() for w in (first, second))
                kind = _kind(point)
                axis.scatter(
                    x, y, s=_large(point), marker=MARKS[i], color=_KINDS[kind],
                    edgecolor="black" if name in front else "none", linewidth=1.2, alpha=0.8,
                )  # fmt: skip
        for i, rule in enumerate(found.rules):
            x, y = (found.values(rule, w).mean() for w in (first, second))
            axis.scatter(
                x, y, s=70, marker="*", color="white", linewidth=1,
                edgecolor="black" if rule in front else "#7f7f7f",
            )  # fmt: skip
            # Some lie upon one another: the later ones are told below.
            above = 4 if i < 3 else -11
            axis.annotate(rule, (x, y), (5, above), textcoords="offset points", fontsize=8)
        axis.set(xlabel=ASKED[first].unit, ylabel=ASKED[second].unit)
    figure.legend(handles=_handles(found), loc="outside lower center", ncols=5, frameon=False)
    return figure


def along(found: Weighed) -> Figure:
    """Draw what each weight is for against the weight, with intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots(1, len(ASKED))
    places = np.arange(len(found.levels), dtype=np.float64)
    for axis, (weight, told) in zip(axes, ASKED.items(), strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        for i, start in enumerate(found.starts):
            means = [found.mean(arm(start, p), weight) for p in found.along(weight)]
            middle = np.array([m.value for m in means])
            ends = np.array([[m.value - m.low, m.high - m.value] for m in means]).T
            axis.errorbar(
                places + 0.08 * i, middle, yerr=ends, marker=MARKS[i], capsize=3,
                color=_KINDS[weight], linestyle=("-", "--")[i % 2], label=start,
            )  # fmt: skip
        axis.set_xticks(places, [f"× {x:g}" for x in found.levels])
        axis.set(xlabel=f"weight of {weight}", ylabel=told.unit)
    axes[0].legend(frameon=False)
    return figure


def _kind(point: Point) -> str:
    if not point.times:
        return "base"
    return next(iter(point.times)) if len(point.times) == 1 else "several"


def _large(point: Point) -> float:
    """Return the area of a mark: larger for larger weights."""
    largest = max(point.times.values(), default=1.0)
    return float(45 + 25 * np.clip(np.log10(largest + 1e-2), -1.2, 2.2))


def _handles(found: Weighed) -> list[Any]:
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, label=label, **style)

    told = {"base": "base point", "several": "several weights"}
    handles = [mark(told.get(k, k), "o", color=c) for k, c in _KINDS.items()]
    handles += [mark(s, MARKS[i], color="#7f7f7f") for i, s in enumerate(found.starts)]
    handles.append(mark("rule", "*", color="white", markeredgecolor="#7f7f7f", markersize=9))
    ring: dict[str, Any] = {"color": "white", "markeredgecolor": "black"}
    return [*handles, mark("on the front", "o", **ring)]
