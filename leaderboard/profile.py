"""Profile: on which share of the workloads each policy scores above a level, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leaderboard.axis import Axis, spanning
from leaderboard.evidence import Evidence, pictured
from leaderboard.row import Group, Row, brief
from leaderboard.section import kind
from leaderboard.statistics import optimality_gap, profiles, ranks
from toolkit.seeding import generator

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.statistics import Floats, Interval

_LEVELS = 80


def profile(group: Group, evidence: Evidence) -> dict[str, Any] | None:
    """Return the picture of a group's profiles, None where fewer than two policies compare.

    Policies that lack a workload which the first one met are left out.
    """
    rows, scores = _paired(group, evidence)
    if len(rows) < 2:
        return None
    axis = spanning(scores.ravel().tolist())
    levels = np.linspace(axis.low, axis.high, _LEVELS)
    rng = generator(0, "profile", group.suite)
    share, low, high = profiles(scores, levels, rng)
    placed = ranks(scores, generator(0, "ranks", group.suite))
    colours = {r.run_id: i for i, r in enumerate(pictured(group))}
    return {
        "x": axis.ticks,
        "y": Axis(0.0, 1.0).ticks,
        "n": int(scores[0].size),
        "lines": [
            {
                "colour": colours[row.run_id],
                "policy": brief(row.policy, 36),
                "kind": kind(row),
                "line": points(axis, levels, share[i]),
                "band": points(axis, levels, high[i])
                + " "
                + points(axis, levels[::-1], low[i][::-1]),
                "rank": f"{placed[i].value:g}",
                "ends": _ends(placed[i]),
                "gap": f"{optimality_gap(scores[i]):.1f}",
            }
            for i, row in enumerate(rows)
        ],
    }


def _ends(interval: Interval) -> str:
    low, high = interval.low, interval.high
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def points(axis: Axis, x: Floats, share: Floats) -> str:
    """Return the points of a line in percent of a picture, whose y runs from 0 at its foot to 1."""
    return " ".join(
        f"{axis.at(float(a)):g},{round(100 * (1 - float(b)), 2):g}"
        for a, b in zip(x, share, strict=True)
    )


def _paired(group: Group, evidence: Evidence) -> tuple[list[Row], Floats]:
    """Return rows and their scores on the same workloads, shape (P, seeds[, tasks])."""
    told = {
        r.run_id: _scores(evidence.cells[r.run_id])
        for r in pictured(group)
        if r.run_id in evidence.cells
    }
    found = {run: s for run, s in told.items() if s is not None and len(s)}
    if not found:
        return [], np.empty((0, 0))
    workloads = next(iter(found.values())).index
    met = {run for run, s in found.items() if workloads.isin(s.index).all()}
    rows = [r for r in pictured(group) if r.run_id in met]
    scores = np.stack([found[r.run_id].loc[workloads].to_numpy() for r in rows])
    tasks = workloads.get_level_values("task").unique()
    if len(tasks) > 1 and len(workloads) % len(tasks) == 0:
        per_task = [workloads.get_level_values("task") == t for t in tasks]
        if len({int(m.sum()) for m in per_task}) == 1:
            return rows, np.stack([scores[:, m] for m in per_task], axis=-1)
    return rows, scores


def _scores(cells: pd.DataFrame) -> pd.Series | None:
    """Return finite scores by task and seed, None where cells hold none."""
    import pandas as pd

    if not {"seed", "score"} <= set(cells):
        return None
    frame = cells.assign(task=cells.get("task", ""))
    frame["score"] = pd.to_numeric(frame["score"], errors="coerce")
    frame = frame[np.isfinite(frame["score"].to_numpy(np.float64))]
    if frame.duplicated(["task", "seed"]).any():
        return None
    scores: pd.Series = frame.set_index(["task", "seed"])["score"].sort_index()
    return scores
