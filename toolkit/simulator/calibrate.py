"""The command ``toolkit calibrate``: fit a replay to a trace and print its error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from toolkit import trace as traces
from toolkit.progress import say
from toolkit.report import Report
from toolkit.simulator import calibration
from toolkit.simulator.recorded import replayable
from toolkit.simulator.simulator import SIMULATOR
from toolkit.store import Product, Store, fingerprint

if TYPE_CHECKING:
    from omegaconf import DictConfig


def calibrate(cfg: DictConfig) -> Report:
    """Fit durations and overheads to a trace, and measure how well a replay agrees with it.

    Every run is predicted from the others; the error is printed here and beside every score.
    """
    store = Store()
    product = ensure(store, replayable(store, cfg.trace), force=bool(cfg.force))
    about = product.manifest["about"]
    document = {"calibration": product.id, "path": str(product.path), **about}
    return Report(document=document, text=_text(product.id, about["fidelity"]))


def ensure(store: Store, trace: Product, *, force: bool = False) -> Product:
    """Return the calibration of a trace, fitting it when there is none yet.

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
    recorded = traces.read(trace.path)
    fitted = calibration.fit(recorded)
    fidelity = calibration.fidelity(recorded, fitted)
    store.discard("calibrations", name)
    folder = store.partial("calibrations", name)
    calibration.replace_fidelity(fitted, fidelity).save(folder)
    summary = {k: v for k, v in fidelity.items() if k != "runs"}
    return store.commit(
        "calibrations",
        name,
        inputs={"trace": trace.id},
        about={"scenario": fitted.scenario.name, "fidelity": json.loads(json.dumps(summary))},
    )


def _text(name: str, f: dict[str, Any]) -> str:
    def line(label: str, key: str) -> str:
        return (
            f"  {label:<42}{f[f'{key}_makespan_error']:>8.1%}{f[f'{key}_makespan_worst']:>8.1%}"
            f"{f[f'{key}_latency_error']:>10.1%}{f[f'{key}_latency_worst']:>8.1%}"
        )

    return "\n".join(
        [
            f"calibration {name}",
            f"  {'':<42}{'makespan':>16}{'mean latency':>18}",
            f"  {'relative error':<42}{'mean':>8}{'worst':>8}{'mean':>10}{'worst':>8}",
            line("factual: recorded durations and choices", "factual"),
            line("held out: durations of the other runs", "held_out"),
            line("control: mean duration of each process", "naive"),
            f"  tasks within their predicted 90 % interval: {f['coverage_90']:.1%} of {f['tasks']}",
            "next: toolkit dataset build, or straight on: toolkit train +algo=cql",
        ]
    )
