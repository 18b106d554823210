"""Evidence: what the record knows beside the board, gathered once and kept as values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from leaderboard.row import Group, Row
from toolkit import tracking
from toolkit.errors import CorruptError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

MOST = 8
"""Policies of a table that pictures show: as many as there are colours to tell apart."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What was chosen over an episode, against what waited; sequences of one length.

    Args:
        name: What was chosen, e.g. ``cores``.
        time: When, in the episode's unit.
        value: What was chosen then.
        queue: How much waited then.
        size: How much data the work had.
    """

    name: str
    time: Sequence[float]
    value: Sequence[float]
    queue: Sequence[float]
    size: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What ran where and when, while one policy served one workload.

    Args:
        task: Name of the scenario.
        seed: Of the workload.
        unit: Of all times.
        places: Names of where things ran.
        types: Names of what ran.
        jobs: How many jobs there were.
        bars: Place, job, type, start and finish of each execution; numbers count from 0.
        left_out: How many executions are not among them.
        choices: What was chosen over time, where a policy chooses resources.
    """

    task: str
    seed: int
    unit: str
    places: Sequence[str]
    types: Sequence[str]
    jobs: int
    bars: Sequence[tuple[int, int, int, float, float]]
    left_out: int = 0
    choices: Choices | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What stands behind the rows of one table.

    Args:
        cells: Per-seed results by run id.
        curves: Learning curves by id of the trained policy: ``metric``, ``step`` and ``value``.
        episodes: By run id.
    """

    cells: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    curves: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    episodes: Mapping[str, Episode] = field(default_factory=dict)


def gather(group: Group, cells: Callable[[str], pd.DataFrame]) -> Evidence:
    """Return what the record knows of the policies of a group that pictures show.

    Args:
        group: Rows of one table.
        cells: Gives the per-seed results of a run id.
    """
    rows = pictured(group)
    trained = dict.fromkeys(r.trained_policy for r in rows if r.trained_policy)
    runs = [r.run_id for r in rows]
    curves = {i: c for i, c in _found(tracking.curve, trained).items() if len(c)}
    told = {i: e for i, e in _found(tracking.episode, runs).items() if e is not None}
    return Evidence(
        cells=_found(cells, runs),
        curves=curves,
        episodes=_found(lambda run: episode(told[run]), told),
    )


def pictured(group: Group) -> list[Row]:
    """Return the rows that pictures show: the best, and the heuristic to beat."""
    rows = [r for r in group.rows if not r.failed > 0]
    best = group.best_heuristic
    first = rows[:MOST]
    if best is not None and best not in first:
        first = [*first[: MOST - 1], best]
    return first


def episode(told: Mapping[str, Any]) -> Episode:
    """Return an episode as the record tells it.

    Raises:
        CorruptError: When it tells something else.
    """
    try:
        places, types = list(map(str, told["places"])), list(map(str, told["types"]))
        jobs = int(told["jobs"])
        bars = [
            (int(place), int(job), int(kind), float(start), float(finish))
            for place, job, kind, start, finish in told["bars"]
        ]
        _check(bars, (len(places), jobs, len(types)))
        return Episode(
            task=str(told["task"]),
            seed=int(told["seed"]),
            unit=str(told["unit"]),
            places=places,
            types=types,
            jobs=jobs,
            bars=bars,
            left_out=int(told["left_out"]),
            choices=None if told["choices"] is None else _choices(told["choices"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptError("the episode in the record is damaged") from error


def _check(bars: Sequence[tuple[int, int, int, float, float]], sizes: tuple[int, int, int]) -> None:
    for *indices, start, finish in bars:
        if not all(0 <= i < n for i, n in zip(indices, sizes, strict=True)):
            raise ValueError
        if not 0 <= start <= finish < math.inf:
            raise ValueError


def _choices(told: Mapping[str, Any]) -> Choices:
    lines = {k: [float(v) for v in told[k]] for k in ("time", "value", "queue", "size")}
    if len({len(line) for line in lines.values()}) != 1 or not all(
        math.isfinite(v) for line in lines.values() for v in line
    ):
        raise ValueError
    return Choices(name=str(told["name"]), **lines)


def _found(ask: Callable[[str], T], names: Sequence[str] | Mapping[str, Any]) -> dict[str, T]:
    """Ask for each; what is gone or damaged is left out, so that the board is shown without it."""
    found = {}
    for name in names:
        try:
            found[name] = ask(name)
        except (NotFoundError, CorruptError):
            continue
    return found
