"""Logs: the decisions that an imported log implies, inferred again with all that they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from toolkit.errors import ConfigError, CorruptError
from toolkit.inferred import allocation, configuration, placement
from toolkit.inferred.rows import COLUMNS, Inferred
from toolkit.inferred.steps import Steps
from toolkit.replays.recordings import believing, whole
from toolkit.reward import REWARDS, BatchWeights, Reward, Weights, WorkflowWeights
from toolkit.trace import Trace
from toolkit.workload import FAMILIES

INFERRED = "inferred"
"""Key of a run's entry in the provenance that says how its decisions were inferred."""

TOLD: Mapping[str, Reward] = {
    "placement": WorkflowWeights(sojourn=1.0),
    "allocation": Weights(throughput=1.0, latency=1.0, cost=1.0, bottleneck=0.25),
    "configuration": BatchWeights(inverse=1000.0),
}
"""The reward by family where nobody says another: no log has one."""

_TABLES = ("nodes", "jobs", "tasks", "edges")
_SECONDS = 1.0
"""How long a wait or an interval was where an older import does not say."""


@dataclass(frozen=True, kw_only=True)
class InferredRun:
    """A run of a log.

    Args:
        about: Its entry in the provenance.
        found: Its decisions as they are inferred now.
        steps: The same with all that they show.
        weights: Of the reward.
        same: Decisions that the trace says, too, bit by bit.
    """

    about: Mapping[str, Any]
    found: Inferred
    steps: Steps
    weights: Reward
    same: int


def inferred_runs(
    trace: Trace, runs: Sequence[Mapping[str, Any]], weights: Reward | None
) -> Iterator[InferredRun]:
    """Yield runs of logs with their decisions, one at a time.

    Args:
        trace: An import.
        runs: Entries of the provenance that say ``inferred``.
        weights: Of the reward; those of ``TOLD`` where absent.

    Raises:
        CorruptError: When the trace does not say how they were inferred, or not from these logs.
    """
    sets = configuration.Applications()
    for about in runs:
        # A configuration was chosen from those of all applications.
        if family_of(about) == "configuration":
            with _inferring(about):
                sets.add(configuration.application(_tables(trace, about)))
    for about in runs:
        yield _inferred(trace, about, sets, weights)


def _inferred(
    trace: Trace,
    about: Mapping[str, Any],
    sets: configuration.Applications,
    weights: Reward | None,
) -> InferredRun:
    family = family_of(about)
    kind = REWARDS[FAMILIES.index(family)]
    chosen = TOLD[family] if weights is None else weights
    if not isinstance(chosen, kind):
        raise ConfigError(f"a log of {family} is paid by {kind.__name__}")
    steps = Steps(chosen)
    with _inferring(about):
        found = _infer(_tables(trace, about), about, sets, steps)
    return InferredRun(
        about=about,
        found=found,
        steps=steps,
        weights=chosen,
        same=_same(found, trace.of("decisions", whole(about, "run"))),
    )


def family_of(about: Mapping[str, Any]) -> str:
    """Return the family of the decisions that were inferred for a run.

    Raises:
        CorruptError: When it is none that is known.
    """
    told = about[INFERRED]
    family = told.get("family") if isinstance(told, dict) else None
    if not isinstance(family, str) or family not in TOLD:
        raise CorruptError(f"decisions of an unknown family were inferred: {str(family)[:40]!r}")
    return family


def _infer(
    tables: Mapping[str, pa.Table],
    about: Mapping[str, Any],
    sets: configuration.Applications,
    steps: Steps,
) -> Inferred:
    told, family = about[INFERRED], family_of(about)
    known = told.get("edges_known", True) is not False
    if family == "placement":
        return placement.infer(
            tables, wait_after=_seconds(told, "wait_after"), edges_known=known, steps=steps
        )
    if family == "allocation":
        return allocation.infer(
            tables, interval=_seconds(told, "interval"), edges_known=known, steps=steps
        )
    return sets.infer(configuration.application(tables), steps)


def _tables(trace: Trace, about: Mapping[str, Any]) -> dict[str, pa.Table]:
    run = whole(about, "run")
    return {name: trace.of(name, run) for name in _TABLES}


def _seconds(told: Mapping[str, Any], name: str) -> float:
    value = told.get(name, _SECONDS)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise CorruptError(f"{name} must be in seconds, got {str(value)[:40]!r}")
    return float(value)


def _inferring(about: Mapping[str, Any]) -> Any:
    return believing(f"run {whole(about, 'run')}")


def _same(found: Inferred, rows: pa.Table) -> int:
    """Return how many decisions are in the table as they are inferred now."""
    stored = rows.sort_by("decision").select(list(COLUMNS)).to_pydict()
    now = zip(*(found.columns[c] for c in COLUMNS), strict=True)
    before = zip(*(stored[c] for c in COLUMNS), strict=True)
    return sum(a == b for a, b in zip(now, before, strict=False))
