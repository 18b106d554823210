"""Played: the scenario in which reference policies play what a trace was recorded of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.benchmarks.reference import Played
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.ensure import ensure
from toolkit.calibration.planned import planned_of
from toolkit.errors import ToolkitError
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.described import rebuilt
from toolkit.scenarios.workflows import Workflows
from toolkit.store import Product, Store
from toolkit.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Where policies can be played against each other.

    Args:
        scenario: Plans workloads and knows their truth.
        name: Of the scenario.
        fidelity: Errors of the calibration behind it; None where there is none.
        calibration: Its id; empty where there is none.
    """

    scenario: Played
    name: str
    fidelity: Mapping[str, Any] | None = None
    calibration: str = ""


def replay_of(trace: Trace, product: Product, store: Store) -> Replay | None:
    """Return where the policies of a trace's scenario can be compared.

    Args:
        trace: A recording or an import.
        product: Where it lies.
        store: For the calibration of a recording.

    Returns:
        None for a log of a stranger, whose scenario nobody knows.
    """
    source, told = trace.provenance["source"], trace.provenance["scenario"]
    try:
        if source == "simulated" and isinstance(told, dict) and "profiles" not in told:
            scenario: Any = rebuilt(told, Workflows | Batches)
            return Replay(scenario=scenario, name=scenario.name)
        planned_of(trace)
    except ToolkitError:
        return None
    fitted = ensure(store, product)
    calibration = Calibration.load(fitted.path)
    return Replay(
        scenario=calibration,
        name=calibration.planned.name,
        fidelity={"id": fitted.id, **fitted.manifest["about"]["fidelity"]},
        calibration=fitted.id,
    )
