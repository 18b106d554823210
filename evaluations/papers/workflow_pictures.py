"""Workflow pictures: measures against the number of jobs, and two schedules side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluations.cells import BOUND, ground_of, settings_of
from toolkit.history import schedule_of
from toolkit.policies.named import named
from toolkit.simulator.simulator import simulated
from toolkit.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Okabe and Ito's, which the colour-blind can tell apart."""
_MARKS = "osD^vP*X"
_UNITS = {"makespan": "makespan, s", "speedup": "speedup", "slr": "schedule length ratio"}


def against_jobs(batches: Mapping[int, pd.DataFrame], policies: Sequence[str]) -> Figure:
    """Return makespan, speedup and schedule length ratio against the number of jobs.

    Args:
        batches: Cells by number of devices, with ``policy`` and ``jobs``.
        policies: Those to draw, in order.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6 * len(batches)), layout="constrained")
    axes = figure.subplots(len(batches), len(_UNITS), squeeze=False)
    for row, (devices, frame) in zip(axes, batches.items(), strict=True):
        for ax, (metric, unit) in zip(row, _UNITS.items(), strict=True):
            shown = [*policies, BOUND] if metric == "makespan" else policies
            for i, name in enumerate(shown):
                own = frame[frame["policy"] == name].groupby("jobs")[metric]
                mean, error = own.mean(), 1.96 * own.sem().fillna(0)
                style: dict[str, Any] = {"color": COLOURS[i % 8], "marker": _MARKS[i % 8], "ms": 4}
                style["ls"] = "-" if i < len(COLOURS) else "--"
                if name == BOUND:
                    style = {"color": "black", "ls": ":"}
                ax.plot(mean.index, mean, lw=1.3, label=name, **style)
                ax.fill_between(
                    mean.index, mean - error, mean + error, alpha=0.15, lw=0, color=style["color"]
                )
            ax.set(xlabel="workflows at once", ylabel=unit, title=f"{devices} devices")
            ax.set_xscale("symlog")
            if metric != "speedup":
                ax.set_yscale("log")
            ax.grid(alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def side_by_side(policies: Sequence[str], ground: Sequence[str], seed: int) -> Figure:
    """Return one workload under several policies, each device a row, on one axis of time."""
    from matplotlib.figure import Figure

    store = Store()
    played = ground_of(ground, settings_of(ground, store), store)
    figure = Figure(figsize=(11, 2.6 * len(policies)), layout="constrained")
    axes = figure.subplots(len(policies), 1, sharex=True, squeeze=False)[:, 0]
    for ax, name in zip(axes, policies, strict=True):
        workload = played.plan(seed)
        episode = simulated(
            played, named(name, store).policy, workload, seed,
            horizon=played.horizon, weights=played.weights,
        )  # fmt: skip
        schedule = schedule_of(episode.scene, name, seed)
        kinds = workload.arrays.type_of[schedule.task]
        for kind in np.unique(kinds).tolist():
            own = kinds == kind
            ax.barh(
                schedule.node[own], (schedule.finish - schedule.start)[own],
                left=schedule.start[own], height=0.8, color=COLOURS[kind % 8],
                edgecolor="white", lw=0.4, label=workload.types[kind],
            )  # fmt: skip
        names = schedule.node_names()
        ax.set_yticks(range(len(names)), names, fontsize=7)
        ax.invert_yaxis()
        ax.set_title(f"{name}: makespan {schedule.measures()['makespan']:.1f} s", fontsize=10)
    axes[-1].set_xlabel("s")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, title="type")
    return figure
