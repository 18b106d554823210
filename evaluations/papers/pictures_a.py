"""Pictures of paper A."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evaluations.experiments.curves import COLOURS, MARKS, figure_of
from toolkit.features.observe import features_of
from toolkit.policies.named import named
from toolkit.scenarios.pipelines import MIB, Pipelines
from toolkit.simulator.simulator import simulated
from toolkit.store import Store
from toolkit.workload import CPUS, MEMORY

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def choices(policy: str, scenario: Pipelines, seed: int) -> pd.DataFrame:
    """Return what a policy chose on a workload, a row per decision.

    Args:
        policy: Its name.
        scenario: What is played.
        seed: Of the workload.

    Returns:
        ``time``, s; ``type``; ``profile``, its index; ``waiting``, tasks of all types; and
        ``size``, the mean size of those of the type that wait, 1 for a typical one.
    """
    workload = scenario.plan(seed)
    names = [n for n, _ in features_of(workload)[0]]
    waiting, size = names.index("waiting tasks"), names.index("asked: mean waiting scale")
    episode = simulated(
        scenario, named(policy, Store()).policy, workload, seed,
        horizon=scenario.horizon, weights=scenario.weights,
    )  # fmt: skip
    return pd.DataFrame(
        [
            {
                "time": s.decision.time,
                "type": s.decision.agent,
                "profile": int(s.decision.keys[s.action]),
                "waiting": float(s.decision.globals[waiting]),
                "size": float(s.decision.globals[size]),
            }
            for s in episode.steps
        ]
    )


def profiles(policies: Mapping[str, str], scenario: Pipelines, seed: int) -> Figure:
    """Draw the profiles that policies choose over time, above the queue and the size of the data.

    Args:
        policies: Names of policies by what they are called.
        scenario: What is played.
        seed: Of the workload that all of them meet.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(
        2, len(policies), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 2)
    )
    demand = scenario.plan(seed).arrays.demand
    offered = [f"{d[CPUS]:g} CPU, {d[MEMORY] / MIB:g} MiB" for d in demand]
    colours = mpl.colormaps["viridis"].resampled(len(offered))
    types = list(scenario.types)
    for column, (called, policy) in enumerate(policies.items()):
        told = choices(policy, scenario, seed)
        top, bottom = axes[:, column]
        ends = np.append(np.unique(told["time"]), told["time"].max() + scenario.interval)
        chosen = told.pivot_table(index="type", columns="time", values="profile").reindex(types)
        drawn = top.pcolormesh(
            ends, np.arange(len(types) + 1), chosen.to_numpy(), cmap=colours,
            vmin=-0.5, vmax=len(offered) - 0.5,
        )  # fmt: skip
        top.set_yticks(np.arange(len(types)) + 0.5, types)
        top.set_title(called)
        by_time = told.groupby("time")
        bottom.step(
            ends[:-1], by_time["waiting"].first(), where="post", color=COLOURS[0],
            label="waiting (tasks)",
        )  # fmt: skip
        other = bottom.twinx()
        other.step(
            ends[:-1], by_time["size"].mean(), where="post", color=COLOURS[1], linestyle="--",
            label="size of what waits (1: typical)",
        )  # fmt: skip
        bottom.set(xlabel="time (s)", ylabel="waiting (tasks)" if column == 0 else "")
        if column == len(policies) - 1:
            other.set_ylabel("mean size of\nwhat waits (1: typical)", fontsize=9)
        lines = [*bottom.get_lines(), *other.get_lines()]
        bottom.legend(lines, [str(x.get_label()) for x in lines], frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("process type")
    bar = figure.colorbar(drawn, ax=axes[0].tolist(), ticks=range(len(offered)))
    bar.set_ticklabels(offered)
    bar.set_label("profile chosen")
    return figure


def front(weights: Sequence[float], latency: Sequence[float], cost: Sequence[float]) -> Figure:
    """Draw latency against cost of policies that were trained under growing weights of cost."""
    figure, (axis,) = figure_of(1, 5.5, 3.8)
    axis.plot(cost, latency, marker=MARKS[0], color=COLOURS[0], label="PPO by weight of cost")
    for weight, x, y in zip(weights, cost, latency, strict=True):
        axis.annotate(f"{weight:g}", (x, y), xytext=(5, 5), textcoords="offset points")
    axis.set(xlabel="cost (CPU-equivalent s per pipeline)", ylabel="mean latency (s)")
    axis.legend(frameon=False)
    return figure
