"""Gains: what a learned policy saves on the engine, beside what the replay had promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.seeding import generator
from toolkit.statistics import paired

METRIC = "latency"
NEED = 0.5
"""Share of the promised gain that must come true."""

Cells = Mapping[tuple[str, int], Sequence[float]]
"""Policy and seed of a workload to seconds: one value per repeat, or per draw of a prediction."""


def gains(
    learned: Sequence[str], rivals: Sequence[str], real: Cells, predicted: Cells
) -> list[dict[str, Any]]:
    """Return what each learned policy saves against the rival that was best on the engine.

    Args:
        learned: Policies that were trained; those that met no workload of the rival do not count.
        rivals: Rules that they are to beat; those that did not run do not count.
        real: Mean latency on the engine, s; the k-th repeats of two policies ran in one turn.
        predicted: Mean latency as it was sealed, s.

    Returns:
        For each policy: ``rival``; ``saved`` with its paired 95 % interval, of ``n`` pairs, and
        ``p``; ``promised``; ``share`` of the promise that came true, None where nothing was
        promised. Seconds.
    """
    ran = [r for r in rivals if any(policy == r for policy, _ in real)]
    if not ran:
        return []
    rival = min(ran, key=lambda r: (_mean(real, r), r))
    beside = {s for p, s in real if p == rival}
    met = [p for p in learned if any(q == p and s in beside for q, s in real)]
    return [_gain(p, rival, real, predicted) for p in met if p != rival]


def _gain(policy: str, rival: str, real: Cells, predicted: Cells) -> dict[str, Any]:
    seeds = [s for p, s in real if p == policy and (rival, s) in real]
    pairs = [
        (slow, fast)
        for s in seeds
        for slow, fast in zip(real[rival, s], real[policy, s], strict=False)
    ]
    slow, fast = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    found = paired(slow, fast, generator(0, "gain", policy, rival))
    promised = float(
        np.mean([np.mean(predicted[rival, s]) - np.mean(predicted[policy, s]) for s in seeds])
    )
    return {
        "policy": policy,
        "rival": rival,
        "saved": vars(found.difference),
        "of": float(slow.mean()),
        "p": found.p,
        "n": found.n,
        "promised": promised,
        "share": found.difference.value / promised if promised > 0 else None,
    }


def bars(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what is asked of gains and whether it was reached."""
    rows = []
    for g in found:
        saved = g["saved"]
        rows += [
            {
                "bar": f"{g['policy']} saves latency against {g['rival']}, s (least, 95 %)",
                "found": saved["low"],
                "asked": "> 0",
                "met": bool(saved["low"] > 0),
            },
            {
                "bar": f"share of the promised {g['promised']:.2f} s that came true",
                "found": g["share"],
                "asked": f">= {NEED}",
                "met": bool(g["share"] is not None and g["share"] >= NEED),
            },
        ]
    return rows


def text(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each gain."""
    lines = []
    for g in found:
        s, share = g["saved"], g["share"]
        told = "nothing was promised" if share is None else f"{share:.0%} of the promise"
        lines.append(
            f"  {g['policy']} against {g['rival']}: saves {s['value']:.3f} s "
            f"[{s['low']:.3f}, {s['high']:.3f}] of {g['of']:.3f} (n = {g['n']}, p = {g['p']:.3f}), "
            f"promised {g['promised']:.3f}: {told}"
        )
    return lines


def _mean(cells: Cells, policy: str) -> float:
    return float(np.mean([np.mean(v) for (p, _), v in cells.items() if p == policy]))
