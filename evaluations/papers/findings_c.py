"""Findings of paper C: what cells say of each claim, functions of numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from evaluations.cells import BOUND
from evaluations.verdicts.claims import (
    CONFIRMED,
    IMPOSSIBLE,
    NOT_COMPARABLE,
    NOT_CONFIRMED,
    Finding,
    gain_verdict,
)
from evaluations.verdicts.report import interval
from toolkit.policies.learned import Taught
from toolkit.policies.named import named
from toolkit.seeding import generator
from toolkit.statistics import Interval, bootstrap, mean
from toolkit.store import Store

SHAPES: Mapping[str, Sequence[str]] = {
    "Gaussian elimination": ("Gauss", "gauss"),
    "fast Fourier transform": ("FFT", "fft"),
    "fork and join": ("ForkJoin", "fork_join"),
}
"""Structures that layered random graphs do not have, by their class and module."""


def gains(frame: pd.DataFrame, policy: str, baseline: str) -> pd.DataFrame:
    """Return ``jobs`` and ``log``: ln of makespan by that of a baseline, a row per batch.

    Args:
        frame: Cells with ``policy``, ``jobs``, ``seed`` and ``makespan``.
        policy: Whose.
        baseline: By whose.
    """
    mine, other = (frame[frame["policy"] == n] for n in (policy, baseline))
    both = mine.merge(other, on=["jobs", "seed"], suffixes=("", "_baseline"))
    log = np.log(both["makespan"] / both["makespan_baseline"])
    return pd.DataFrame(
        {"jobs": both["jobs"], "log": log, "seconds": both["makespan_baseline"] - both["makespan"]}
    )


def most_jobs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the batches with the most workflows."""
    found: pd.DataFrame = frame[frame["jobs"] == frame["jobs"].max()]
    return found


def where(high: pd.DataFrame) -> str:
    """Return how many workflows on how many devices some cells are of."""
    return f"{int(high['jobs'].max())} workflows on {int(high['devices'].max())} devices"


def gain_of(ways: pd.DataFrame) -> Interval:
    """Return the reduction, 1 − geometric mean of ratios, batches resampled within their number."""
    logs = [g["log"].to_numpy() for _, g in ways.groupby("jobs")]
    found = bootstrap(np.column_stack(logs), generator(0, "paper c"), statistic=mean)
    return Interval(*(1 - math.exp(v) for v in (found.value, found.high, found.low)))


def reduction(
    claim: str, ways: Mapping[int, pd.DataFrame], possible: Mapping[int, pd.DataFrame], low: float
) -> Finding:
    """Return the finding on a reduction of makespan against HEFT, on each number of devices.

    It is confirmed where it is on any; impossible where on none it could be.
    """
    told, verdicts = [], []
    most = {m: gain_of(frame).value for m, frame in possible.items()}
    for m, frame in ways.items():
        g = gain_of(frame)
        verdicts.append(gain_verdict(g.low, low, most[m]))
        told.append(
            f"{m} devices: {interval(g.value, g.low, g.high)}, at most {most[m]:.3f} possible"
        )
    best = min(verdicts, key=[CONFIRMED, NOT_CONFIRMED, IMPOSSIBLE].index)
    return Finding(claim=claim, verdict=best, figure="; ".join(told), possible=max(most.values()))


def against_fifo(high: pd.DataFrame, policy: str, low: float) -> Finding:
    """Return the finding on the reduction against FIFO-DEFT with the most jobs."""
    g = gain_of(gains(high, policy, "fifo_deft"))
    most = gain_of(gains(high, BOUND, "fifo_deft")).value
    return Finding(
        claim="C2",
        verdict=gain_verdict(g.low, low, most),
        figure=f"{where(high)}: {interval(g.value, g.low, g.high)} below FIFO-DEFT",
        possible=most,
    )


def of_heft(high: pd.DataFrame, policy: str, heft: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on makespans, as ratios to HEFT with the most jobs."""
    mine, fifo = (1 - gain_of(gains(high, n, heft)).value for n in (policy, "fifo_deft"))
    wanted, slow = figures["drl"] / figures["heft"], figures["fifo_deft"] / figures["heft"]
    good = mine <= wanted and fifo >= slow
    return Finding(
        claim="C3",
        verdict=CONFIRMED if good else NOT_CONFIRMED,
        figure=f"{where(high)}, of HEFT's makespan: {policy} {mine:.2f} (there {wanted:.2f}), "
        f"FIFO-DEFT {fifo:.2f} (there {slow:.2f})",
    )


def speedups(high: pd.DataFrame, policy: str, heft: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on speedups with the most jobs."""
    by = high.groupby("policy")["speedup"].mean()
    found = {n: float(by[n]) for n in (policy, heft, "tdca", "fifo_deft")}
    # No policy ends sooner than the bound, and the sequential time is the same for all.
    one = high[high["policy"] == policy].merge(high[high["policy"] == BOUND], on="seed")
    most = float((one["speedup_x"] * one["makespan_x"] / one["makespan_y"]).mean())
    good = (
        found[policy] >= figures["drl"]
        and found[heft] <= figures["heft"]
        and found["fifo_deft"] < figures["fifo_deft"]
    )
    verdict = CONFIRMED if good else NOT_CONFIRMED if most >= figures["drl"] else IMPOSSIBLE
    told = ", ".join(f"{n} {v:.1f}" for n, v in found.items())
    return Finding(
        claim="C4", verdict=verdict, figure=f"{where(high)}: {told}; at most {most:.1f} possible",
        why="FIFO-DEFT is far from as bad as there" if found["fifo_deft"] >= 3 else "",
    )  # fmt: skip


def length_ratios(
    dags: pd.DataFrame, high: pd.DataFrame, policy: str, figures: Mapping[str, float]
) -> Finding:
    """Return the finding on schedule length ratios: single workflows, and most jobs at once."""
    one, many = (f.groupby("policy")["slr"].mean() for f in (dags, high))
    inside = figures["low"] <= float(one[policy]) <= figures["high"]
    slow = figures["fifo_low"] <= float(one["fifo_deft"]) <= figures["fifo_high"]
    return Finding(
        claim="C5",
        verdict=CONFIRMED if inside and slow else NOT_CONFIRMED,
        figure=f"single workflows: {policy} {one[policy]:.2f}, FIFO-DEFT {one['fifo_deft']:.2f}; "
        f"{where(high)} {many[policy]:.1f} and "
        f"{many['fifo_deft']:.1f}",
        why="with many workflows at once the ratio grows with their number under any policy",
    )


def paired_t(ways: Mapping[int, pd.DataFrame], figures: Mapping[str, float]) -> Finding:
    """Return the finding on the paired t of ln makespan against HEFT; it must be shorter."""
    told, good = [], True
    for m, frame in ways.items():
        t, p = (float(v) for v in stats.ttest_1samp(-frame["log"], 0.0))
        good &= t > figures["t"] and p < figures["p"]
        told.append(f"{m} devices: t = {t:.1f}, p = {p:.2g}, n = {len(frame)}")
    return Finding(
        claim="C6", verdict=CONFIRMED if good else NOT_CONFIRMED, figure="; ".join(told),
        why="a positive t is a shorter makespan than HEFT's",
    )  # fmt: skip


def latency(high: pd.DataFrame, policy: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on the time of a decision with the most jobs."""
    mine = high[high["policy"] == policy]
    ms = float(mine["decision_ms"].mean())
    # Every placement takes two decisions.
    share = 2 * ms / 1000 / float(mine["task_seconds"].mean())
    good = ms <= figures["ms"] and share < figures["share"]
    return Finding(
        claim="C7",
        verdict=CONFIRMED if good else NOT_CONFIRMED,
        figure=f"{ms:.2f} ms on one core, two of them {share:.3%} of a task, measured",
    )


def training_time(policy: str, figures: Mapping[str, float]) -> Finding:
    """Return the finding on the time of training; other machines are not compared."""
    one = named(policy, Store()).policy
    told = one.about["lineage"] if isinstance(one, Taught) else {}
    steps = int(told.get("settings", {}).get("n_steps", 0))
    return Finding(
        claim="C8",
        verdict=NOT_COMPARABLE,
        figure=f"{steps:,} decisions, against {figures['steps']:,.0f} there" if steps else "",
        why="another algorithm on another machine; its card tells how long it took",
    )


def kept(transfer: pd.DataFrame, low: float) -> Finding:
    """Return the finding on the advantage that is kept on structures that were not trained on.

    Args:
        transfer: ``ground`` and ``gain`` of each stream; the first ground is as trained.
        low: Share that must be kept.
    """
    rng = generator(0, "transfer")
    grounds = list(dict.fromkeys(transfer["ground"]))
    here = transfer[transfer["ground"] == grounds[0]]["gain"].to_numpy()
    own = bootstrap(here, rng, statistic=mean)
    if own.low <= 0:
        return Finding(
            claim="C9",
            verdict=NOT_COMPARABLE,
            figure=f"advantage as trained {interval(own.value, own.low, own.high)}",
            why="there is none whose share could be kept",
        )
    told, shares = [], []
    for name in [g for g in grounds[1:] if g in SHAPES]:
        there = transfer[transfer["ground"] == name]["gain"].to_numpy()
        shares.append(_share(there, here, rng))
        s = shares[-1]
        told.append(f"{name} {interval(s.value, s.low, s.high, 2)}")
    good = all(s.low >= low for s in shares)
    return Finding(
        claim="C9",
        verdict=CONFIRMED if good else NOT_CONFIRMED,
        figure=f"advantage over HEFT in mean completion time as trained "
        f"{interval(own.value, own.low, own.high)}; kept of it: {'; '.join(told)}",
    )


def _share(there: Any, here: Any, rng: np.random.Generator) -> Interval:
    """Return the ratio of two means with its bootstrap interval, resampled apart."""
    drawn = [
        there[rng.integers(0, len(there), len(there))].mean()
        / here[rng.integers(0, len(here), len(here))].mean()
        for _ in range(4000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(there.mean() / here.mean()), float(low), float(high))
