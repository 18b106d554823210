"""Comparison: what policies gain on unseen workloads of one ground, against rules and the bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evaluations.cells import BOUND, FAILED, cells
from evaluations.metrics import MORE_IS_BETTER
from evaluations.verdicts.report import interval
from toolkit.errors import ToolkitError
from toolkit.seeding import GATE
from toolkit.statistics import Floats, Interval, crossed


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What was played on one ground.

    Args:
        ground: Name of the scenario, and overrides.
        cells: A row per unseen workload and training, by arm, ``BOUND`` among them.
        before: The same of the rivals on training workloads.
    """

    ground: tuple[str, ...]
    cells: Mapping[str, pd.DataFrame]
    before: Mapping[str, pd.DataFrame]

    def best(self, metric: str, among: Sequence[str] | None = None) -> str:
        """Return the rival that is best on training workloads; unseen ones would flatter it.

        Args:
            metric: In what.
            among: Of which; all of them where absent.
        """
        sign = -1.0 if metric in MORE_IS_BETTER else 1.0
        return min(
            self.before if among is None else among,
            key=lambda n: (sign * float(np.log(self.before[n][metric]).mean()), n),
        )

    def shares(self, arm: str, against: str, metric: str) -> Floats:
        """Return by which share of a rival's metric an arm has less, by workload, shape [n]."""
        mine, base = (self.cells[a].groupby("seed")[metric].mean() for a in (arm, against))
        found: Floats = (1 - mine / base.reindex(mine.index)).to_numpy(dtype=np.float64)
        return found

    def ratio(self, arm: str, against: str, metric: str) -> Interval:
        """Return the geometric mean ratio of a metric, paired by workload.

        Its interval is over workloads and, of what was trained more than once, over trainings.
        NaN comes of a metric that is 0 somewhere.
        """
        with np.errstate(divide="ignore"):
            some, others = (np.log(self._matrix(a, metric)) for a in (arm, against))
        found = crossed(some, others)
        return Interval(*(float(np.exp(v)) for v in (found.value, found.low, found.high)))

    def gain(self, arm: str, against: str, metric: str) -> Interval:
        """Return the gain of an arm as a share: positive where it is better."""
        r = self.ratio(arm, against, metric)
        if metric in MORE_IS_BETTER:
            return Interval(r.value - 1, r.low - 1, r.high - 1)
        return Interval(1 - r.value, 1 - r.high, 1 - r.low)

    def possible(self, against: str, metric: str) -> Interval:
        """Return the gain that no policy passes."""
        return self.gain(BOUND, against, metric)

    def logs(self, arm: str, against: str, metric: str) -> Floats:
        """Return logarithms of ratios, shape [trainings, workloads]."""
        mine = self.cells[arm].pivot_table(index="training", columns="seed", values=metric)
        base = self.cells[against].groupby("seed")[metric].mean()
        found: Floats = np.log(mine.to_numpy()) - np.log(base.reindex(mine.columns).to_numpy())
        return found

    def _matrix(self, arm: str, metric: str) -> Floats:
        """Return a metric, shape [trainings, workloads], workloads ascending."""
        told = self.cells[arm].pivot_table(index="training", columns="seed", values=metric)
        found: Floats = told.to_numpy(dtype=np.float64)
        return found

    def order(self, metric: str) -> list[str]:
        """Return the arms that have a metric, the best first."""
        best = self.best(metric)
        arms = [a for a in self.cells if metric in self.cells[a]]
        return sorted(arms, key=lambda a: (-self.gain(a, best, metric).value, a))

    def ranking(self, metric: str, heading: str, more: Sequence[str] = ()) -> pd.DataFrame:
        """Return a row per arm, the best first: its mean, and its ratio to the best rival.

        Args:
            metric: Of which.
            heading: What the column of means is called, with its unit.
            more: Others that ratios are told to.
        """
        best = self.best(metric)
        rows = []
        for arm in self.order(metric):
            row = {
                "policy": arm,
                "trainings": self.trainings(arm),
                f"mean {heading}": float(self.cells[arm][metric].mean()),
            }
            for other in dict.fromkeys([best, *more]):
                r = self.ratio(arm, other, metric)
                row[f"of {other}"] = interval(r.value, r.low, r.high)
            rows.append(row)
        return pd.DataFrame(rows)

    def trainings(self, arm: str) -> str:
        """Return how many trainings an arm has, "" for one or none."""
        n = int(self.cells[arm]["training"].nunique())
        return str(n) if n > 1 else ""


def compared(
    ground: Sequence[str],
    arms: Mapping[str, Sequence[str]],
    rivals: Sequence[str],
    chosen_on: int,
    seeds: Sequence[int],
    cfg: Any,
) -> Compared:
    """Play rivals on training workloads, and all arms and the bound on unseen ones.

    Args:
        ground: Name of the scenario, and overrides.
        arms: Names of policies by arm, the rivals among them.
        rivals: Rules of which the best counts.
        chosen_on: Training workloads that tell which that is.
        seeds: Of the unseen workloads.
        cfg: See :func:`evaluations.cells.cells`.

    Raises:
        ToolkitError: When a policy broke down.
    """
    known = range(GATE, GATE + chosen_on)
    before = cells({n: [n] for n in rivals}, ground, known, cfg)
    played = cells({**arms, BOUND: [BOUND]}, ground, seeds, cfg)
    for arm, frame in [*before.items(), *played.items()]:
        if FAILED in frame:
            why = frame[FAILED].dropna().iloc[0]
            raise ToolkitError(f"{arm!r} failed on {' '.join(ground)}: {why}")
    return Compared(ground=tuple(ground), cells=played, before=before)


def slope(advantages: Floats, levels: Sequence[float]) -> Floats:
    """Return by how much the advantage of each workload grows with a level, least squares.

    Args:
        advantages: Shape [workloads, levels].
        levels: Shape [levels].
    """
    x = np.asarray(levels, dtype=np.float64)
    x = x - x.mean()
    found: Floats = (advantages - advantages.mean(axis=1, keepdims=True)) @ x / float(x @ x)
    return found
