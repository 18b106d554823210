"""The command ``toolkit calibrate``: fit a replay to a trace and print its error."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from evaluations import fidelity
from toolkit import trace as traces
from toolkit.calibration.calibration import Calibration
from toolkit.calibration.drift import drift
from toolkit.calibration.ensure import ensure
from toolkit.calibration.runs import Runs
from toolkit.report import Report
from toolkit.simulator.recorded import replayable
from toolkit.store import Product, Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

PICTURE = "fidelity.png"


def calibrate(cfg: DictConfig) -> Report:
    """Fit durations and overheads to a trace, and measure how well a replay predicts unseen runs.

    Runs are held out by workload, time and policy; the error is printed here and beside every
    score, and drawn in ``fidelity.png``. With check=<trace> it is said whether a newer trace
    still fits what was learnt from this one.
    """
    store = Store()
    product = ensure(store, replayable(store, cfg.trace), force=bool(cfg.force))
    calibration = Calibration.load(product.path)
    if cfg.check is not None:
        return _check(product, calibration, store.get("traces", str(cfg.check)))
    document = calibration.fidelity
    aside = product.path / f".{PICTURE}.tmp"
    aside.write_bytes(fidelity.picture(document))
    aside.replace(product.path / PICTURE)
    lines = [
        f"calibration {product.id}",
        fidelity.text(document),
        f"  {product.path / PICTURE}",
        "next: toolkit dataset build, or straight on: toolkit train +algo=cql",
    ]
    return Report(
        document={
            "calibration": product.id,
            "path": str(product.path),
            **product.manifest["about"],
            "report": dict(document),
        },
        text="\n".join(lines),
    )


def _check(product: Product, calibration: Calibration, newer: Product) -> Report:
    found = drift(calibration, Runs(traces.read(newer.path)))
    lines = [
        f"calibration {product.id}, held against trace {newer.id}",
        f"  {'tasks':<18}{'n':>7}{'times as long':>15}{'KS':>8}{'p':>10}{'within 90 %':>13}"
        f"{'beyond':>9}",
    ]
    for d in found:
        lines.append(
            f"  {d.type:<18}{d.tasks:>7}{d.factor:>15.2f}{d.distance:>8.3f}{d.p:>10.2g}"
            f"{d.inside:>13.1%}{d.beyond:>9.1%}{'  drifted' if d.drifted else ''}"
        )
    drifted = [d.type for d in found if d.drifted]
    lines.append(
        f"  drifted: {', '.join(drifted)}; fit again: toolkit calibrate trace={newer.id}"
        if drifted
        else "  still fits"
    )
    return Report(
        document={
            "calibration": product.id,
            "trace": newer.id,
            "drifted": drifted,
            "tasks": [asdict(d) | {"drifted": d.drifted} for d in found],
        },
        text="\n".join(lines),
    )
