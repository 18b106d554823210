"""Curves of trainings: what policies play, and how far trainings disagree, while they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluations.experiments.stability import disagreement
from toolkit.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evaluations.experiments.arms import Followed

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def learning_curves(
    panels: Mapping[str, Mapping[str, Sequence[Followed]]], rules: Mapping[str, float]
) -> Figure:
    """Draw the mean return while learning, with 95 % intervals over trainings.

    Args:
        panels: Trainings by arm, by what the x axis says; the mean is of points of the same
            number, at the mean of their decisions, as far as all trainings of an arm go.
        rules: Mean return of rules, drawn as lines.
    """
    figure, axes = figure_of(len(panels), 7.0 if len(panels) == 1 else 5.2 * len(panels), 4.2)
    styles = _styles(panels)
    for axis, (label, arms) in zip(axes, panels.items(), strict=True):
        for arm, each in arms.items():
            _one_arm(axis, arm, each, *styles[arm])
        for i, (rule, value) in enumerate(rules.items()):
            axis.axhline(value, color="black", linewidth=1, linestyle=("--", ":", "-.")[i % 3])
            axis.text(1.0, value, f" {rule}", transform=axis.get_yaxis_transform(), va="center")
        lowest = min(
            [*rules.values(), *(float(f.returns.min()) for each in arms.values() for f in each)]
        )
        axis.set_ylim(bottom=lowest - 0.05 * abs(lowest))
        axis.set(xlabel=label, ylabel="mean return on training workloads (reward)")
        axis.legend(frameon=False, loc="lower right", fontsize="small")
    return figure


def _one_arm(axis: Any, arm: str, each: Sequence[Followed], colour: str, mark: str) -> None:
    from scipy.stats import t

    # A mean over other trainings at every point would tell of those, not of the learning.
    points = min(len(f.returns) for f in each)
    x = np.mean([f.decisions[:points] for f in each], axis=0)
    curves = np.stack([f.returns[:points] for f in each])
    middle = curves.mean(axis=0)
    axis.plot(x, middle, color=colour, marker=mark, markersize=4, label=arm)
    if len(each) > 1:
        spread = curves.std(axis=0, ddof=1) / np.sqrt(len(each))
        half = float(t.ppf(0.975, len(each) - 1)) * spread
        axis.fill_between(x, middle - half, middle + half, color=colour, alpha=0.2, lw=0)
    for one in each:
        axis.plot(one.decisions, one.returns, color=colour, linewidth=0.6, alpha=0.6)


def disagreements(panels: Mapping[str, Mapping[str, Sequence[Followed]]]) -> Figure:
    """Draw the variance over trainings of the value of a state, by the variance of returns.

    Args:
        panels: As for :func:`learning_curves`; arms without values are left out.
    """
    figure, axes = figure_of(len(panels), 7.0 if len(panels) == 1 else 5.2 * len(panels), 4.2)
    styles = _styles(panels)
    for axis, (label, arms) in zip(axes, panels.items(), strict=True):
        for arm, each in arms.items():
            worth = [f.worth for f in each if f.worth is not None]
            if len(worth) < 2:
                continue
            points = min(len(w) for w in worth)
            varied = [disagreement(np.stack([w[i] for w in worth])) for i in range(points)]
            share = np.array(varied) / each[0].probes.var(ddof=1)
            colour, mark = styles[arm]
            x = each[0].decisions[:points]
            axis.semilogy(x, share, color=colour, marker=mark, markersize=4, label=arm)
        axis.set(xlabel=label, ylabel="variance of values over trainings\nby variance of returns")
        axis.legend(frameon=False, fontsize="small")
    return figure


def against(
    what: str, levels: Sequence[float], gains: Mapping[str, Sequence[Interval]], metric: str
) -> Figure:
    """Draw the share of a metric that is saved against the best rule, level by level."""
    figure, (axis,) = figure_of(1, 6.0, 3.8)
    shift = 0.006 * (max(levels) - min(levels))
    for i, (arm, found) in enumerate(gains.items()):
        middle = 100 * np.array([g.value for g in found])
        ends = 100 * np.array([[g.value - g.low, g.high - g.value] for g in found]).T
        x = np.asarray(levels) + shift * (i - (len(gains) - 1) / 2)
        axis.errorbar(
            x, middle, yerr=ends, color=COLOURS[i % len(COLOURS)], marker=MARKS[i % len(MARKS)],
            capsize=3, label=arm, linestyle=("-", "--", ":", "-.")[i % 4],
        )  # fmt: skip
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set(xlabel=what, ylabel=f"{metric} saved against\nthe best rule (%)")
    axis.legend(frameon=False, fontsize="small")
    return figure


def _styles(panels: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    arms = [arm for each in panels.values() for arm in each]
    return {a: (COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)]) for i, a in enumerate(arms)}


def figure_of(columns: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    """Return a figure of some panels side by side, and these.

    Args:
        columns: How many.
        width: Of all, inches.
        height: In inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)
