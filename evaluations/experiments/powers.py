"""Powers: how measured times grow with size, and their medians over repeats."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from evaluations.experiments.scaling import PARTS, STEP
from evaluations.verdicts.claims import CONFIRMED, NOT_CONFIRMED
from toolkit.statistics import Floats, Interval

LINEAR = (0.75, 1.25)
"""Exponents that count as about linear."""


def exponents(times: pd.DataFrame, part: str = STEP) -> Mapping[str, Interval]:
    """Return the exponent of a part's median time in each quantity that grows.

    Args:
        times: What :func:`evaluations.experiments.scaling.timed` returned.
        part: Of ``PARTS``.
    """
    found = {}
    for grows, own in times.groupby("grows", sort=False):
        medians = own.groupby("size")[part].median()
        sizes = medians.index.to_numpy(dtype=np.float64)
        found[str(grows)] = exponent(sizes, medians.to_numpy(dtype=np.float64))
    return found


def exponent(sizes: Floats, seconds: Floats) -> Interval:
    """Return b of ``seconds = a · size ** b`` by least squares of logarithms.

    The 95 % interval is that of the slope by Student's t over the sizes, so that it also tells
    how badly a power fits.

    Args:
        sizes: Three or more, shape [n].
        seconds: Shape [n].
    """
    from scipy.stats import linregress, t

    found = linregress(np.log(np.asarray(sizes, dtype=float)), np.log(seconds))
    half = float(t.ppf(0.975, len(sizes) - 2)) * float(found.stderr)
    return Interval(float(found.slope), float(found.slope) - half, float(found.slope) + half)


def medians(times: pd.DataFrame) -> pd.DataFrame:
    """Return a row per size: medians of all parts, the quartiles of a step, and its ratio.

    Args:
        times: What :func:`evaluations.experiments.scaling.timed` returned.

    Returns:
        ``grows``, ``size``, ``nodes``, ``edges``, ``concurrency``, the parts, ``quartiles``, and
        ``of_the_smallest``: the median of what a step takes by that of the smallest size in the
        same repeat.
    """
    rows = []
    for (grows, _), own in times.groupby(["grows", "size"], sort=False):
        kind = times[times["grows"] == grows]
        least = kind[kind["size"] == kind["size"].min()].set_index("repeat")[STEP]
        low, high = np.percentile(own[STEP], [25, 75])
        first = own.iloc[0]
        rows.append(
            {
                "grows": grows,
                **{k: int(first[k]) for k in ("size", "nodes", "edges", "concurrency")},
                **{part: float(own[part].median()) for part in PARTS},
                "quartiles": f"{low:.3g} to {high:.3g}",
                "of_the_smallest": float((own.set_index("repeat")[STEP] / least).median()),
            }
        )
    return pd.DataFrame(rows)


def about_linear(exponents: Mapping[str, Interval]) -> str:
    """Return whether all exponents are about 1 as a whole."""
    low, high = LINEAR
    each = exponents.values()
    return CONFIRMED if all(low <= e.low and e.high <= high for e in each) else NOT_CONFIRMED
