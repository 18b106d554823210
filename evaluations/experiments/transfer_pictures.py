"""Transfer pictures: advantages at all targets, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluations.cells import BOUND
from evaluations.experiments.arrivals import AT_LENGTH, BEST, HEFT, TUNED, advantage
from evaluations.experiments.curves import COLOURS, MARKS
from evaluations.experiments.journey import Arrived, Journey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = dict(zip(("as it is", TUNED, AT_LENGTH), zip(MARKS, COLOURS, strict=True), strict=False))


def advantages(journey: Journey, found: Sequence[Arrived]) -> Figure:
    """Draw advantages over HEFT and over the best heuristic, a row for each target."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.6 + 0.42 * len(found)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, against in zip(axes, (HEFT, BEST), strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        for row, one in enumerate(found):
            most = 100 * advantage(journey, one, BOUND, against).value
            axis.barh(
                row, 100 - most, left=most, height=0.8, color="white", edgecolor="#bbbbbb",
                hatch="////", lw=0,
            )  # fmt: skip
            for i, (said, (mark, colour)) in enumerate(_STYLES.items()):
                arm = journey.policy if said == "as it is" else said
                if arm not in one.played.cells:
                    continue
                a = advantage(journey, one, arm, against)
                axis.errorbar(
                    100 * a.value, row + 0.22 * (i - 1),
                    xerr=[[100 * (a.value - a.low)], [100 * (a.high - a.value)]],
                    fmt=mark, color=colour, ms=4, capsize=2,
                    label=said if row == 1 else None,
                )  # fmt: skip
        axis.axvline(0, color="black", lw=0.8)
        axis.set(xlabel=f"advantage over {against} (%)")
        low = min(axis.dataLim.x0, -5)
        axis.set_xlim(low - 2, 75)
    axes[0].set_yticks(range(len(found)), [one.name for one in found])
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
