"""Weighed: whether policies follow the weights that they were trained under, and the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluations.experiments.ranks import Ranked, on_the_front, ranked
from evaluations.verdicts.claims import CONFIRMED, NOT_CONFIRMED, Claim, Finding
from evaluations.verdicts.comparison import Compared
from evaluations.verdicts.part import percent
from evaluations.verdicts.report import Table, interval
from toolkit.seeding import generator
from toolkit.statistics import Floats, Interval, crossed

OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a weight is for.

    Args:
        system: Where it is judged.
        metric: By what.
        sign: +1 where the metric grows as the weight does, -1 where it falls.
        unit: Of the metric, as it is shown.
    """

    system: str
    metric: str
    sign: int
    unit: str


ASKED: Mapping[str, Asked] = {
    "throughput": Asked(
        system=CLOSED, metric="throughput", sign=1, unit="throughput (pipelines/s)"
    ),
    "latency": Asked(system=OPEN, metric="latency_mean", sign=-1, unit="mean latency (s)"),
    "cost": Asked(system=OPEN, metric="cost", sign=-1, unit="cost (CPU-equivalent s)"),
    "bottleneck": Asked(system=OPEN, metric="max_queue", sign=-1, unit="longest queue (tasks)"),
}
"""By weight of the allocation reward."""
FRONT = ("latency", "throughput", "cost")
"""The axes of the front."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A weighting.

    Args:
        times: What weights are multiplied by; 1 where they are not named.
    """

    times: Mapping[str, float]

    @property
    def name(self) -> str:
        """What is multiplied by what."""
        return ", ".join(f"{weight} × {x:g}" for weight, x in self.times.items()) or "base"

    def words(self, base: Mapping[str, float]) -> list[str]:
        """Return the overrides of a scenario."""
        return [f"scenario.weights.{w}={base[w] * x!r}" for w, x in self.times.items()]


def arm(start: str, point: Point) -> str:
    """Return the name of the trainings of a point."""
    return f"{start}: {point.name}"


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """All that was played.

    Args:
        base: Weights that are multiplied.
        levels: By what, one at a time.
        starts: What trainings begin with.
        points: All weightings.
        rules: Played beside.
        played: By system.
    """

    base: Mapping[str, float]
    levels: Sequence[float]
    starts: Sequence[str]
    points: Sequence[Point]
    rules: Sequence[str]
    played: Mapping[str, Compared]

    def along(self, weight: str) -> list[Point]:
        """Return the points where one weight differs, by level."""
        return [Point(times={} if x == 1 else {weight: x}) for x in self.levels]

    def values(self, name: str, weight: str) -> Floats:
        """Return what a weight is for, of an arm, shape [trainings, workloads]."""
        told = ASKED[weight]
        frame = self.played[told.system].cells[name]
        table = frame.pivot_table(index="training", columns="seed", values=told.metric)
        return table.to_numpy(dtype=np.float64)

    def mean(self, name: str, weight: str) -> Interval:
        """Return the mean of the same, over trainings and workloads."""
        return crossed(self.values(name, weight))

    def correlation(self, start: str, weight: str) -> Ranked:
        """Return the rank correlation of a weight and what it is for."""
        values = [self.values(arm(start, p), weight) for p in self.along(weight)]
        return ranked(self.levels, values, generator(0, "ranks", start, weight))

    def change(self, start: str, weight: str) -> Interval:
        """Return by which share the metric differs from the least level to the largest."""
        first, *_, last = (arm(start, p) for p in self.along(weight))
        told = ASKED[weight]
        r = self.played[told.system].ratio(last, first, told.metric)
        return Interval(r.value - 1, r.low - 1, r.high - 1)

    def names(self) -> list[str]:
        """Return the arms of all points, and the rules."""
        return [*(arm(s, p) for s in self.starts for p in self.points), *self.rules]

    def front(self) -> set[str]:
        """Return the arms that no other dominates in all of ``FRONT``, by their means."""
        names = self.names()
        values = [[-ASKED[w].sign * self.values(n, w).mean() for w in FRONT] for n in names]
        # Policies that became the same stay on the front together.
        kept = on_the_front(np.asarray(values, dtype=np.float64).round(9))
        return {n for n, stays in zip(names, kept.tolist(), strict=True) if stays}


def judged(found: Weighed, paper: Claim, command: str) -> tuple[list[Claim], list[Finding]]:
    """Return the paper's claim, the same of every weight, and what was found of each.

    Args:
        found: All that was played.
        paper: The paper's claim.
        command: What to type to get it again.
    """
    stated, findings = [], []
    by_start: dict[str, dict[str, str]] = {}
    for start in found.starts:
        verdicts = {}
        for weight, told in ASKED.items():
            r, change = found.correlation(start, weight), found.change(start, weight)
            verdicts[weight] = CONFIRMED if r.follows(told.sign) else NOT_CONFIRMED
            way = "grows" if told.sign > 0 else "falls"
            claim = Claim(
                id=f"{paper.id} {weight}" + (f", {start}" if len(found.starts) > 1 else ""),
                text=f"{told.unit.partition(' (')[0]} {way} as its weight grows ({start})",
                metric=told.metric,
            )
            stated.append(claim)
            findings.append(
                Finding(
                    claim=claim.id,
                    verdict=verdicts[weight],
                    figure=f"rank correlation {_rho(r)}, p = {r.p:.2g}; from "
                    f"× {found.levels[0]:g} to × {found.levels[-1]:g} it changes by "
                    f"{percent(change)}",
                    command=command,
                )
            )
        by_start[start] = verdicts
    whole = [s for s, v in by_start.items() if set(v.values()) == {CONFIRMED}]
    told_of = "; ".join(
        f"{s}: {', '.join(w for w, v in by.items() if v == CONFIRMED) or 'none'}"
        for s, by in by_start.items()
    )
    finding = Finding(
        claim=paper.id,
        verdict=CONFIRMED if whole else NOT_CONFIRMED,
        figure=f"weights that are followed, {told_of}",
        why="confirmed where what each of the four weights is for moves with it: the whole "
        "interval of the rank correlation lies on the wanted side of 0, over trainings and "
        "workloads, and levels dealt to trainings by chance give as much in less than 5 % of "
        "deals; of trainings that begin alike",
        command=command,
    )
    return [paper, *stated], [finding, *findings]


def correlations(found: Weighed) -> Table:
    """Return rank correlations and changes, a row for each start and weight."""
    rows = []
    for start in found.starts:
        for weight, told in ASKED.items():
            r, change = found.correlation(start, weight), found.change(start, weight)
            rows.append(
                {
                    "trained": start,
                    "weight": weight,
                    "metric": told.unit,
                    "wanted": "+" if told.sign > 0 else "−",
                    "rank correlation": _rho(r),
                    "p": f"{r.p:.2g}",
                    **{
                        f"× {x:g}": found.mean(arm(start, p), weight).value
                        for x, p in zip(found.levels, found.along(weight), strict=True)
                    },
                    "change": percent(change),
                }
            )
    return Table(
        caption="Spearman's correlation of each weight and what it is for, with 95 % intervals "
        "over trainings and workloads and the probability of as much by chance, the means at each "
        "level, and the change from the least to the largest.",
        frame=pd.DataFrame(rows),
    )


def _rho(found: Ranked) -> str:
    return interval(found.rho.value, found.rho.low, found.rho.high, 2)


def table(found: Weighed) -> Table:
    """Return all points and rules with their intervals."""
    front = found.front()
    rows: list[dict[str, object]] = []
    for start in found.starts:
        for point in found.points:
            weights = {w: found.base[w] * point.times.get(w, 1.0) for w in ASKED}
            rows.append({"trained": start, **weights} | _metrics(found, arm(start, point), front))
    for rule in found.rules:
        blank: dict[str, object] = dict.fromkeys(ASKED, "")
        rows.append({"trained": rule, **blank} | _metrics(found, rule, front))
    workloads = found.played[OPEN].cells[found.rules[0]]["seed"].nunique()
    frame = pd.DataFrame(rows).astype(dict.fromkeys(ASKED, object))
    return Table(
        caption="All points: the four weights, and what policies trained under them do; "
        f"{workloads} unseen workloads each, 95 % intervals over trainings and workloads. Front: "
        "no other row is as good in latency, throughput and cost and better in one of them.",
        frame=frame,
    )


def _metrics(found: Weighed, name: str, front: set[str]) -> dict[str, object]:
    means = {w: found.mean(name, w) for w in ASKED}
    told = {ASKED[w].unit: interval(m.value, m.low, m.high) for w, m in means.items()}
    return {**told, "front": "yes" if name in front else ""}
