"""Ensure: the calibration of a trace, fitted where there is none yet."""

from __future__ import annotations

import json
from collections.abc import Mapping

from toolkit import trace as traces
from toolkit.calibration import calibration, fidelity
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.runs import Runs
from toolkit.calibration.search import Effort, search
from toolkit.errors import ToolkitError
from toolkit.policies.named import named
from toolkit.policies.policy import Policy
from toolkit.progress import say
from toolkit.simulator.simulator import SIMULATOR
from toolkit.store import Product, Store, fingerprint


def ensure(store: Store, trace: Product, *, force: bool = False) -> Product:
    """Return the calibration of a trace.

    Args:
        store: Where products lie.
        trace: What to fit to.
        force: Fit again even when there is one.
    """
    name = f"{trace.id}-{fingerprint(trace.digest, calibration.SCHEMA, SIMULATOR)}"
    if store.exists("calibrations", name) and not force:
        return store.get("calibrations", name)
    say(f"calibrating a replay on trace {trace.id}")
    store.verify(trace)
    recorded = Runs(traces.read(trace.path))
    policies = behaviours(recorded, store)
    fitted = search(recorded, recorded.runs, policies, Effort())
    measured = fidelity.measure(recorded, fitted, policies)
    whole = Calibration(**vars(fitted) | {"fidelity": json.loads(json.dumps(measured))})
    with store.alone("calibrations", name):
        store.discard("calibrations", name)
        whole.save(store.partial("calibrations", name))
        return store.commit(
            "calibrations",
            name,
            inputs={"trace": trace.id},
            about={"scenario": fitted.planned.name, "fidelity": fidelity.summary(whole.fidelity)},
        )


def behaviours(recorded: Runs, store: Store) -> Mapping[str, Policy]:
    """Return the policies of a recording by name; those that are not here are left out."""
    found: dict[str, Policy] = {}
    for name in dict.fromkeys(str(recorded.about(r)["policy"]) for r in recorded.runs):
        try:
            found[name] = named(name, store).policy
        except ToolkitError as error:
            say(f"runs of {name!r} are learnt from, but not predicted: {error.message}")
    return found
