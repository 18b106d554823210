"""Pictures of paper B; matplotlib is imported where one is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.papers.learning_b import Followed
from evaluations.papers.served_b import Course

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which everybody can tell apart.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999",
)  # fmt: skip
_MARKERS = "osD^vP*X"
_STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}


def _panels(rows: int, columns: int, width: float, height: float, **shared: Any) -> Any:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def _look(i: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[i % len(_COLOURS)], "marker": _MARKERS[i % len(_MARKERS)],
        "markersize": 4, "linewidth": 1, "capsize": 2,
    }  # fmt: skip


def by_frames(
    panels: Mapping[str, tuple[str, Mapping[str, pd.DataFrame]]],
    told: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
) -> Figure:
    """Draw means with 95 % intervals against frames, a panel for each figure.

    Args:
        panels: By title the label of the axis, and by policy ``frames``, ``value``, ``low`` and
            ``high``.
        told: By title and label what the paper states: pairs of frames and value.
    """
    figure, axes = _panels(1, len(panels), 3.6 * len(panels), 3.2)
    names = list(dict.fromkeys(n for _, shown in panels.values() for n in shown))
    for axis, (title, (label, shown)) in zip(axes[0], panels.items(), strict=True):
        for name, frame in shown.items():
            off = np.abs([frame["value"] - frame["low"], frame["high"] - frame["value"]])
            axis.errorbar(
                frame["frames"], frame["value"], yerr=off, label=name, **_look(names.index(name))
            )
        for i, (name, points) in enumerate(told.get(title, {}).items()):
            x, y = zip(*points, strict=True)
            axis.plot(
                x, y, linestyle=":", linewidth=1, color=_COLOURS[i], marker=_MARKERS[i],
                markerfacecolor="none", markersize=7, label=name,
            )  # fmt: skip
        axis.set(xlabel="frames per partition", ylabel=label, title=title)
        axis.set_ylim(bottom=0)
    axes[0][0].legend(fontsize=6, frameon=False)
    return figure  # type: ignore[no-any-return]


def rewards(trainings: Sequence[Followed]) -> Figure:
    """Draw the reward of each step, its running mean, and the means of episodes."""
    figure, axes = _panels(1, 3, 11, 3.2)
    for i, one in enumerate(trainings):
        colour = _COLOURS[i]
        axes[0][0].plot(
            one.decisions, 1e3 * one.one, ".", markersize=1, color=colour, alpha=0.4, label=one.name
        )
        axes[0][1].plot(one.decisions, 1e3 * one.running, color=colour, label=one.name)
        ends = one.decisions[one.batches - 1 :: one.batches][: len(one.episodes)]
        axes[0][2].plot(ends, 1e3 * one.episodes, color=colour, linewidth=0.8, label=one.name)
    for axis, title in zip(axes[0], ("a step", "running mean", "mean of episodes"), strict=True):
        axis.set(xlabel="decisions", ylabel="reward, 1/s of a batch", title=title)
        axis.set_ylim(bottom=0)
    axes[0][1].legend(fontsize=6, frameon=False, title="ε falls", title_fontsize=6)
    return figure  # type: ignore[no-any-return]


def courses(shown: Mapping[str, Course]) -> Figure:
    """Draw what is chosen over time, below what there is to do; a column for each policy."""
    rows = (
        ("frames", "frames\nof the batch"),
        ("waiting", "batches\nwaiting"),
        ("granted", "executors\ngranted"),
        ("cores", "cores of\nan executor"),
        ("memory", "memory of an\nexecutor, MiB"),
    )
    figure, axes = _panels(len(rows), len(shown), 5 * len(shown), 6.5, sharex=True, sharey="row")
    for column, (name, one) in enumerate(shown.items()):
        for row, (field, label) in enumerate(rows):
            axis = axes[row][column]
            colour = "#000000" if row < 2 else _COLOURS[column]
            axis.step(one.time, getattr(one, field), where="post", color=colour, linewidth=1)
            if column == 0:
                axis.set_ylabel(label)
        axes[0][column].set_title(name)
        axes[-1][column].set_xlabel("time, s")
    for axis in axes.flat:  # shared, so that the highest must be there before the lowest is set
        axis.set_ylim(bottom=0)
    return figure  # type: ignore[no-any-return]
