"""The command ``toolkit collect``: record a run, or import a log, as a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import instantiate

from collectors import importing
from collectors.streams import Limits
from toolkit import trace as traces
from toolkit.errors import ConfigError, require
from toolkit.policies.named import named
from toolkit.progress import say
from toolkit.recording import Recorder, record
from toolkit.report import Report
from toolkit.store import Product, Store, fingerprint
from toolkit.trace import Trace

if TYPE_CHECKING:
    from omegaconf import DictConfig


def collect(cfg: DictConfig) -> Report:
    """Record what an engine does under behaviour policies, or import logs, as a validated trace.

    The same settings give the same trace id: a finished trace is reused, interrupted work goes on
    where it stopped, and force=true does it again. With collector.path a log is imported.
    """
    from omegaconf import OmegaConf

    settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if settings["collector"].get("path") is not None:
        return _import(cfg, settings)
    require(
        "behaviours" in settings["collector"],
        "this collector only imports; say what: collector.path=<file or folder>",
    )
    return _record(cfg, settings)


def _import(cfg: DictConfig, settings: dict[str, Any]) -> Report:
    store = Store()
    collector = instantiate(cfg.collector, _convert_="all")
    importer = collector.importer()
    how = importing.Settings(
        min_complete=settings["min_complete"],
        executor=settings["executor"],
        workers=settings["workers"],
        limits=Limits(bytes=int(settings["max_bytes"])),
        infer=str(settings["infer"]),
        wait_after=settings["wait_after"],
        interval=settings["interval"],
        address=settings["ray"]["address"],
    )
    path = str(settings["collector"]["path"])
    require(path.strip() != "", "collector.path is empty; name a file or folder")
    logs = importing.logs_of(importer, path)
    identity = importing.product_identity(importer, logs, how)
    name = cfg.trace or f"{importer.source}-{identity}"
    found = _there(store, name, identity, force=bool(cfg.force))
    if found is not None:
        return _report_import(found, traces.read_provenance(found.path))
    product = importing.keep(importer, logs, how, store, name)
    return _report_import(product, traces.read_provenance(product.path))


def _there(store: Store, name: str, identity: str, *, force: bool) -> Product | None:
    """Return a finished trace that need not be made again; with force it stays until it is."""
    if force or not store.exists("traces", name):
        return None
    product = store.get("traces", name)
    if product.manifest["about"]["identity"] != identity:
        raise ConfigError(
            f"trace {name!r} exists and was recorded with other settings",
            hint="choose another id: trace=<id>; or record over it: force=true",
        )
    say(f"trace {name} is there already; force=true makes it again")
    return product


def _record(cfg: DictConfig, settings: dict[str, Any]) -> Report:
    store = Store()
    behaviours = [named(b, store) for b in settings["collector"]["behaviours"]]
    keys = [b.key for b in behaviours]
    if settings["collector"].get("estimates") is not None:
        keys.append(store.get("traces", settings["collector"]["estimates"]).digest)
    identity = fingerprint(settings["collector"], settings["scenario"], settings["seed"], keys)
    name = cfg.trace or f"{cfg.scenario.name.replace('_', '-')}-{identity}"
    found = _there(store, name, identity, force=bool(cfg.force))
    if found is not None:
        return _report(found, traces.read(found.path))
    collector: Recorder = instantiate(cfg.collector, _convert_="all")
    scenario = instantiate(cfg.scenario, _convert_="all")
    product = record(store, name, collector, scenario, behaviours, int(cfg.seed), identity)
    return _report(product, traces.read(product.path))


def _report_import(product: Product, provenance: Mapping[str, Any]) -> Report:
    rows = product.manifest["about"]["rows"]
    text = [
        f"trace {product.id}",
        *(f"  {line}" for line in importing.report(provenance)),
        f"  {product.path}",
    ]
    return Report(
        document={
            "trace": product.id,
            "path": str(product.path),
            "rows": rows,
            "runs": provenance["runs"],
            "completeness": provenance["completeness"],
        },
        text="\n".join(text),
    )


def _report(product: Product, trace: Trace) -> Report:
    lines = [f"trace {product.id}"]
    runs = []
    for about in trace.runs("policy"):
        jobs = trace.of("jobs", about["run"])
        latency = jobs["finished_at"].to_numpy() - jobs["arrived_at"].to_numpy()
        row = {
            "run": about["run"],
            "policy": about["policy"],
            "seed": about["seed"],
            "jobs": len(jobs),
            "finished": int(np.isfinite(latency).sum()),
            "latency_mean": float(np.nanmean(latency)),
            "latency_p95": float(np.nanquantile(latency, 0.95)),
            "load_average": about["load_average"],
        }
        runs.append(row)
        lines.append(
            f"  run {row['run']:>2}  {row['policy']:<14} latency mean {row['latency_mean']:6.2f} s"
            f"  p95 {row['latency_p95']:6.2f} s  {row['finished']}/{row['jobs']} jobs"
        )
    rows = product.manifest["about"]["rows"]
    lines.append("  rows: " + ", ".join(f"{k} {v}" for k, v in rows.items()))
    lines.append(f"  {product.path}")
    if product.manifest["about"]["replayable"]:
        lines.append("next: toolkit train +algo=cql")
    return Report(
        document={"trace": product.id, "path": str(product.path), "rows": rows, "runs": runs},
        text="\n".join(lines),
    )
