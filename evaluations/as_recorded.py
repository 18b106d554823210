"""As recorded: the runs of a trace as they really happened, as cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from evaluations.metrics import measure
from toolkit import trace as traces
from toolkit.replays.reconstruct import replays
from toolkit.store import Product

JOULES = traces.METRIC + "energy_joules"
"""Column of tasks with what a device's counter says."""


def as_recorded(recording: Product) -> dict[str, pd.DataFrame]:
    """Return a row per workload of each policy of a trace; several runs of one are averaged.

    Args:
        recording: A trace whose decisions can be played again, of any family.
    """
    trace = traces.read(recording.path)
    decided = {int(r["run"]) for r in trace.runs("policy")}
    rows: dict[str, list[dict[str, Any]]] = {}
    for one in replays(trace):
        if one.run in decided:
            spent = energy(trace.of("tasks", one.run), len(trace.of("jobs", one.run)))
            cell = {"seed": one.seed, **measure(one.episode), **spent}
            rows.setdefault(one.policy, []).append(cell)
    return {
        name: pd.DataFrame(r).groupby("seed", as_index=False).mean().assign(task=recording.id)
        for name, r in rows.items()
    }


def energy(tasks: pa.Table, jobs: int) -> dict[str, float]:
    """Return the joules per pipeline, nothing where a device did not tell of every task.

    Args:
        tasks: Of a run.
        jobs: How many pipelines they belong to.
    """
    if JOULES not in tasks.column_names or not jobs:
        return {}
    spent = tasks[JOULES].to_numpy(zero_copy_only=False).astype(np.float64)
    return {"energy": float(spent.sum()) / jobs} if np.isfinite(spent).all() else {}
