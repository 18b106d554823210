"""The command ``toolkit schedule``: one workflow, one policy, at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit import history
from toolkit.planning import bounds
from toolkit.planning.optimum import optimum
from toolkit.policies.named import named
from toolkit.report import Report
from toolkit.reward import WorkflowWeights
from toolkit.schedule import Schedule
from toolkit.simulator.simulator import simulated
from toolkit.store import Store
from toolkit.workflows import instance

if TYPE_CHECKING:
    from omegaconf import DictConfig


def schedule(cfg: DictConfig) -> Report:
    """Run a workflow of a file under a policy in the simulator, and measure the schedule."""
    seed = int(cfg.seed)
    what = instance.read(
        Path(str(cfg.workload)).expanduser(),
        cluster=Path(str(cfg.cluster)).expanduser() if cfg.cluster is not None else None,
        bandwidth=float(cfg.bandwidth),
        sigma=float(cfg.sigma),
    )
    out = Path(str(cfg.out)).expanduser() if cfg.out is not None else None
    if out is not None:
        history.check(out)
    workload = what.workload
    policy = named(str(cfg.policy.name), Store()).policy
    weights = WorkflowWeights(elapsed=1.0)
    episode = simulated(
        what, policy, workload, seed, horizon=math.inf, weights=weights, record=False
    )
    result = history.schedule_of(episode.scene, policy=str(cfg.policy.name), seed=seed)
    result.check()
    durations = what.durations(seed)
    measures = result.measures(durations)
    bound = bounds.makespan(workload.arrays, durations)
    best = None
    if bool(cfg.optimum):
        best = optimum(workload.arrays, durations, time_limit=float(cfg.time_limit))
    document: dict[str, Any] = {
        "workload": str(cfg.workload),
        "tasks": workload.tasks,
        "edges": len(workload.arrays.parents),
        "nodes": len(workload.cluster.nodes),
        "policy": str(cfg.policy.name),
        "sigma": what.sigma,
        "seed": seed,
        **measures,
        "bounds": {"longest_path": bound.longest_path, "area": bound.area, "best": bound.value},
        "makespan_over_bound": measures["makespan"] / bound.value if bound.value > 0 else math.nan,
        "optimum": None
        if best is None
        else {"makespan": best.makespan, "proven": best.proven, "bound": best.bound},
        "recorded_makespan": what.recorded,
        "notes": list(what.notes),
        "out": str(out) if out is not None else None,
    }
    if out is not None:
        history.export(result, out)
    return Report(document=document, text=_text(document, result))


def _text(d: dict[str, Any], result: Schedule) -> str:
    def line(label: str, value: str, note: str = "") -> str:
        return f"  {label:<24}{value:>14}  {note}".rstrip()

    b, best = d["bounds"], d["optimum"]
    larger = "longest path" if b["longest_path"] >= b["area"] else "area"
    lines = [
        f"{d['policy']} on {d['workload']}: {d['tasks']} tasks, {d['edges']} edges, "
        f"{d['nodes']} nodes" + (f", sigma {d['sigma']:g}, seed {d['seed']}" if d["sigma"] else ""),
        line("makespan", f"{d['makespan']:,.2f} s"),
        line("lower bound", f"{b['best']:,.2f} s", f"{larger}; makespan / bound "
             f"{d['makespan_over_bound']:.3f}"),
    ]  # fmt: skip
    if best is not None:
        proven = "proven" if best["proven"] else f"not proven, at least {best['bound']:,.2f} s"
        lines.append(line("optimum without copies", f"{best['makespan']:,.2f} s", proven))
    lines += [
        line("SLR", f"{d['slr']:.3f}", "makespan / longest path of fastest times"),
        line("speedup", f"{d['speedup']:.3f}", "best single node / makespan"),
        line("utilisation", f"{d['utilisation']:.1%}"),
    ]
    if d["recorded_makespan"] is not None:
        lines.append(
            line("recorded makespan", f"{d['recorded_makespan']:,.0f} s", "of the real run, with "
                 "its engine's overheads")
        )  # fmt: skip
    lines += [f"  note: {n}" for n in d["notes"]]
    if d["out"]:
        lines.append(f"wrote {d['out']}")
    else:
        lines.append("see it: out=schedule.svg, or out=schedule.trace.json for ui.perfetto.dev")
    return "\n".join(lines)
