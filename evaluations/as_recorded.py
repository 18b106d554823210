"""As recorded: the runs of a trace as they really happened, as cells."""

from __future__ import annotations

from typing import Any

import pandas as pd

from evaluations.metrics import measure
from toolkit import trace as traces
from toolkit.live import rollout
from toolkit.simulator.recorded import Forced, Recorded, scenario_of, workload_of
from toolkit.store import Product


def as_recorded(recording: Product) -> dict[str, pd.DataFrame]:
    """Return a row per workload of each policy of a trace; several runs of one are averaged.

    Args:
        recording: A trace whose decisions can be played again.
    """
    trace = traces.read(recording.path)
    scenario = scenario_of(trace)
    rows: dict[str, list[dict[str, Any]]] = {}
    for about in trace.runs("policy"):
        number = int(about["run"])
        episode = rollout(
            Recorded(trace, number),
            workload_of(trace, number),
            Forced(trace, number).chooser,
            horizon=scenario.horizon,
            weights=scenario.weights,
        )
        cell = {"seed": int(about["seed"]), **measure(episode)}
        rows.setdefault(str(about["policy"]), []).append(cell)
    return {
        name: pd.DataFrame(r).groupby("seed", as_index=False).mean().assign(task=recording.id)
        for name, r in rows.items()
    }
