"""Step pictures: what a step costs against size, with the fitted powers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evaluations.experiments.curves import COLOURS, MARKS
from evaluations.experiments.scaling import STEP
from toolkit.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TICKS = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5)]
_LABELS = {
    "nodes": "process types of a pipeline",
    "in flight": "pipelines in flight",
    "edges": "edges of a graph",
    "tasks": "tasks of a workflow",
}
_COLUMNS = 4


def step_times(times: pd.DataFrame, exponents: Mapping[str, Interval], part: str = STEP) -> Figure:
    """Draw medians and quartiles over repeats, and the fitted power, for all that grows.

    Args:
        times: What ``evaluations.experiments.scaling.timed`` returned.
        exponents: Of the same part.
        part: Of ``evaluations.experiments.scaling.PARTS``.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(exponents))
    rows = -(-len(exponents) // columns)
    figure = Figure(figsize=(3.9 * columns, 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes[len(exponents) :]:
        axis.set_axis_off()
    for i, (axis, (grows, power)) in enumerate(zip(axes, exponents.items(), strict=False)):
        of_size = times[times["grows"] == grows].groupby("size")[part]
        low, middle, high = (of_size.quantile(q).to_numpy() for q in (0.25, 0.5, 0.75))
        x = of_size.median().index.to_numpy(dtype=np.float64)
        _draw(axis, x, (low, middle, high), power, (MARKS[i], COLOURS[i]))
        axis.set(xlabel=_LABELS.get(grows, grows), ylabel="wall clock of a step (ms)")
        axis.set_xticks(x, [f"{v:g}" for v in x])
    return figure


def _draw(
    axis: Any, x: Any, quartiles: tuple[Any, Any, Any], power: Interval, style: tuple[str, str]
) -> None:
    low, y, high = quartiles
    mark, colour = style
    axis.spines[["top", "right"]].set_visible(False)
    axis.errorbar(
        x, y, yerr=(y - low, high - y), fmt=mark, color=colour, capsize=3,
        label="median and quartiles",
    )  # fmt: skip
    level = np.exp(np.mean(np.log(y) - power.value * np.log(x)))
    told = f"size^{power.value:.2f} [{power.low:.2f}, {power.high:.2f}]"
    axis.plot(x, level * x**power.value, color="black", linewidth=1, label=told)
    axis.set(xscale="log", yscale="log")
    axis.minorticks_off()
    ends = low.min() / 1.6, high.max() * 1.6
    ticks = [v for v in _TICKS if ends[0] <= v <= ends[1]]
    axis.set_ylim(*ends)
    axis.set_yticks(ticks, [f"{v:g}" for v in ticks])
    axis.legend(frameon=False, fontsize=8)
