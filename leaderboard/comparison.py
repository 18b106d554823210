"""A comparison: in what two runs of the record differ, and whether it matters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from leaderboard.statistics import difference
from toolkit.seeding import generator
from toolkit.statistics import FEWEST_PAIRS, Interval
from toolkit.tracking_runs import Recorded

MATTERS, CANNOT_TELL = "matters", "cannot be told apart"
LINEAGE = (
    "suite", "engine", "dataset", "dataset_digest", "trained_policy", "calibration", "simulator",
    "schema", "commit",
)  # fmt: skip
"""Tags that say what a run came from."""
SHARED = ("suite", "engine", "calibration", "simulator", "schema")
"""Tags in which evaluations must agree before their numbers may be compared."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One metric of two runs.

    Args:
        name: Of the metric.
        a: Mean of the first run over the common cells; its own value where none are common.
        b: That of the second.
        difference: Mean of b minus a with its 95 % BCa interval, None where none can be given.
        p: Two-sided sign-flip probability of such a difference without a real one.
        pairs: Cells that both ran.
        word: Whether the difference matters, or why nobody can say.
    """

    name: str
    a: float
    b: float
    word: str
    difference: Interval | None = None
    p: float = math.nan
    pairs: int = 0

    @property
    def relative(self) -> float:
        """Return the change from a to b in parts of a, NaN where a is 0."""
        return (self.b - self.a) / abs(self.a) if self.a else math.nan


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All in which two runs differ.

    Args:
        a: The first run.
        b: The second.
        params: Settings that differ, first and second; None where one has it not.
        lineage: Of what they came from, what differs.
        same: Of what they came from, what is the same.
        metrics: What was measured of both.
    """

    a: Recorded
    b: Recorded
    params: Mapping[str, tuple[str | None, str | None]]
    lineage: Mapping[str, tuple[str, str]]
    same: Mapping[str, str]
    metrics: tuple[Measured, ...]

    @property
    def identical(self) -> bool:
        """Return whether both are one run."""
        return self.a.run_id == self.b.run_id

    @property
    def hindrance(self) -> str:
        """Say why their numbers may not be compared, empty where they may."""
        return hindrance(self.a, self.b)


def hindrance(a: Recorded, b: Recorded) -> str:
    """Say why the numbers of two runs may not be compared, empty where they may."""
    if a.kind != b.kind:
        return "one is a training, the other an evaluation"
    if a.kind == "training":
        return "one training each says nothing of chance"
    other = [name for name in SHARED if a.tags.get(name, "") != b.tags.get(name, "")]
    return ", ".join(f"other {name}" for name in other)


def compared(
    a: Recorded, b: Recorded, cells: tuple[pd.DataFrame, pd.DataFrame] | None
) -> Comparison:
    """Compare two runs.

    Args:
        a: The first.
        b: The second.
        cells: Per-seed results of each, None where there are none.
    """
    keys = dict.fromkeys([*a.params, *b.params])
    pairs = {k: (a.params.get(k), b.params.get(k)) for k in keys}
    came = {k: (a.tags.get(k, ""), b.tags.get(k, "")) for k in LINEAGE}
    return Comparison(
        a=a,
        b=b,
        params={k: (left, right) for k, (left, right) in pairs.items() if left != right},
        lineage={k: (left, right) for k, (left, right) in came.items() if left != right},
        same={k: left for k, (left, right) in came.items() if left == right and left},
        metrics=tuple(_metrics(a, b, cells)),
    )


def _metrics(
    a: Recorded, b: Recorded, cells: tuple[pd.DataFrame, pd.DataFrame] | None
) -> list[Measured]:
    against = hindrance(a, b)
    if against or cells is None:
        against = against or "no per-seed results in the record"
        names = [k for k in a.metrics if k in b.metrics and not k.endswith(("_low", "_high"))]
        word = against if a.kind == b.kind == "training" else f"not comparable: {against}"
        return [
            Measured(name=k, a=a.metrics[k], b=b.metrics[k], word=word) for k in _score_first(names)
        ]
    names = [str(c) for c in cells[0] if c in cells[1] and c not in ("task", "seed")]
    # Where one suite had scenarios and the other none, no cell is common.
    left, right = (frame.assign(task=frame.get("task", "")) for frame in cells)
    both = left.merge(right, on=["task", "seed"], suffixes=(" a", " b"))
    return [_paired(n, both, a.tags.get("suite", "")) for n in _score_first(names)]


def _paired(name: str, both: pd.DataFrame, suite: str) -> Measured:
    values = [pd.to_numeric(both[f"{name} {x}"], errors="coerce") for x in "ab"]
    a, b = (v.to_numpy(dtype=np.float64) for v in values)
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite], b[finite]
    n = len(a)
    if n < 2:
        word = f"not comparable: {n} cells in common"
        left, right = (float(x.mean()) if n else math.nan for x in (a, b))
        return Measured(name=name, a=left, b=right, word=word, pairs=n)
    found = difference(b, a, generator(0, "compare", suite, name))
    low, high = found.difference.low, found.difference.high
    word = MATTERS if low > 0 or high < 0 else CANNOT_TELL
    if n < FEWEST_PAIRS:
        word = f"{CANNOT_TELL}: {n} pairs, {FEWEST_PAIRS} are needed"
    return Measured(
        name=name,
        a=float(a.mean()),
        b=float(b.mean()),
        word=word,
        difference=found.difference,
        p=found.sign_flip,
        pairs=n,
    )


def _score_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != "score", names.index(name)))
