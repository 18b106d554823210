"""Curves: how the trained policies of a table learned, a picture per metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from leaderboard.axis import spanning
from leaderboard.evidence import Evidence, pictured
from leaderboard.row import Group, brief

if TYPE_CHECKING:
    import pandas as pd

_MOST_METRICS = 12
_MOST_POINTS = 300
"""Of a line; of more every so many-th is drawn, and the last."""


def curves(group: Group, evidence: Evidence) -> list[dict[str, Any]]:
    """Return a picture per metric, those first that most policies have, then by name."""
    by_metric: dict[str, list[tuple[int, str, pd.DataFrame]]] = {}
    for colour, row in enumerate(pictured(group)):
        frame = evidence.curves.get(row.trained_policy)
        if frame is None:
            continue
        finite = frame[np.isfinite(frame["value"].to_numpy(np.float64))]
        for metric, line in finite.groupby("metric"):
            by_metric.setdefault(str(metric), []).append((colour, row.policy, line))
    order = sorted(by_metric, key=lambda m: (-len(by_metric[m]), m))
    return [_picture(metric, by_metric[metric]) for metric in order[:_MOST_METRICS]]


def _picture(metric: str, lines: list[tuple[int, str, pd.DataFrame]]) -> dict[str, Any]:
    x = spanning((float(v) for _, _, f in lines for v in f["step"]), room=0.0)
    y = spanning(float(v) for _, _, f in lines for v in f["value"])
    drawn = []
    for colour, policy, frame in lines:
        ordered = frame.sort_values("step", kind="stable")
        every = -(-len(ordered) // _MOST_POINTS)
        keep = np.unique(np.r_[0 : len(ordered) : every, len(ordered) - 1])
        line = ordered.iloc[keep]
        spots = [
            (x.at(float(a)), round(100 - y.at(float(b)), 2))
            for a, b in zip(line["step"], line["value"], strict=True)
        ]
        drawn.append(
            {
                "colour": colour,
                "policy": brief(policy, 36),
                "kind": "learned",
                "line": " ".join(f"{a:g},{b:g}" for a, b in spots),
                "last": {"x": spots[-1][0], "y": spots[-1][1]},
                "value": f"{float(ordered['value'].iloc[-1]):.4g}",
                "step": f"{int(ordered['step'].iloc[-1]):,}",
            }
        )
    return {"metric": brief(metric, 60), "x": x.ticks, "y": y.ticks, "lines": drawn}
