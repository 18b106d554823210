"""The command ``toolkit collect``: record a run, or import a log, as a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.utils import instantiate

from toolkit import trace as traces
from toolkit.errors import ConfigError
from toolkit.policies.named import named
from toolkit.progress import say
from toolkit.report import Report
from toolkit.scenarios.pipelines import Pipelines
from toolkit.store import Product, Store, fingerprint
from toolkit.trace import Trace

if TYPE_CHECKING:
    from omegaconf import DictConfig


def collect(cfg: DictConfig) -> Report:
    """Record what an engine does under behaviour policies, as a validated trace.

    The same settings give the same trace id: a finished recording is reused, an interrupted one
    goes on where it stopped, and force=true records again.
    """
    from omegaconf import OmegaConf

    store = Store()
    settings: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    behaviours = [named(b, store) for b in settings["collector"]["behaviours"]]
    identity = fingerprint(
        settings["collector"], settings["scenario"], settings["seed"], [b.key for b in behaviours]
    )
    name = cfg.trace or f"{cfg.scenario.name.replace('_', '-')}-{identity}"
    if store.exists("traces", name):
        product = store.get("traces", name)
        if not cfg.force:
            if product.manifest["about"]["identity"] != identity:
                raise ConfigError(
                    f"trace {name!r} exists and was recorded with other settings",
                    hint="choose another id: trace=<id>; or record over it: force=true",
                )
            say(f"trace {name} is there already; force=true records it again")
            return _report(product, traces.read(product.path))
    collector = instantiate(cfg.collector, _convert_="all")
    scenario = instantiate(cfg.scenario, _convert_="all")
    if not isinstance(scenario, Pipelines):
        raise ConfigError(
            f"scenario {scenario.name!r} is simulated only; nothing here records it yet",
            hint="record pipelines: toolkit collect scenario=genomics_open; simulate the others: "
            f"gymnasium.make('toolkit.envs:toolkit/{scenario.name}-v0')",
        )
    if cfg.force:
        store.discard("traces", name)
    parts = store.partial("traces", f"{name}.runs-{identity}")
    trace = collector.collect(scenario, [b.policy for b in behaviours], int(cfg.seed), parts)
    traces.write(trace, store.partial("traces", name))
    product = store.commit(
        "traces",
        name,
        inputs={},
        about={
            "identity": identity,
            "source": trace.provenance["source"],
            "scenario": scenario.name,
            "runs": len(trace.runs()),
            "artefacts": {b.policy.name: b.product.id for b in behaviours if b.product},
            "rows": {n: len(t) for n, t in trace.tables.items()},
        },
    )
    store.discard("traces", f"{name}.runs-{identity}")
    return _report(product, trace)


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
            f"  p95 {row['latency_p95']:6.2f} s  {row['finished']}/{row['jobs']} pipelines"
        )
    rows = product.manifest["about"]["rows"]
    lines.append("  rows: " + ", ".join(f"{k} {v}" for k, v in rows.items()))
    lines.append(f"  {product.path}")
    lines.append("next: toolkit train +algo=cql")
    return Report(
        document={"trace": product.id, "path": str(product.path), "rows": rows, "runs": runs},
        text="\n".join(lines),
    )
