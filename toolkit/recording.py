"""Recording: what a recorder saw under behaviour policies becomes a trace of the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from toolkit import trace as traces
from toolkit.policies.named import Named
from toolkit.policies.policy import Policy
from toolkit.scenarios.pipelines import Pipelines
from toolkit.store import Product, Store
from toolkit.trace import Trace


class Recorder(Protocol):
    """Records runs under behaviour policies; named by ``collector.behaviours``."""

    def collect(self, scenario: Any, policies: Sequence[Policy], seed: int, folder: Path) -> Trace:
        """Record, or go on where an interrupted recording stopped.

        Args:
            scenario: What arrives.
            policies: The behaviour policies.
            seed: Workload k has seed ``seed + k``.
            folder: Where finished runs are kept until all are there.
        """


def record(
    store: Store,
    name: str,
    recorder: Recorder,
    scenario: Any,
    behaviours: Sequence[Named],
    seed: int,
    identity: str,
) -> Product:
    """Record and commit a trace; an interrupted recording of the same identity goes on.

    Args:
        store: Where it lies.
        name: Its id.
        recorder: Who records.
        scenario: What arrives.
        behaviours: Who decides, in turn.
        seed: Of the workloads.
        identity: Fingerprint of all settings.
    """
    parts = store.partial("traces", f"{name}.runs-{identity}")
    trace = recorder.collect(scenario, [b.policy for b in behaviours], seed, parts)
    traces.write(trace, store.partial("traces", name))
    product = store.commit(
        "traces",
        name,
        inputs={},
        about={
            "identity": identity,
            "source": trace.provenance["source"],
            "scenario": scenario.name,
            "replayable": isinstance(scenario, Pipelines) and len(trace.runs("policy")) > 0,
            "runs": len(trace.runs()),
            "artefacts": {b.policy.name: b.product.id for b in behaviours if b.product},
            "rows": {n: len(t) for n, t in trace.tables.items()},
        },
    )
    store.discard("traces", f"{name}.runs-{identity}")
    return product
