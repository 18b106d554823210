"""A labelled sweep: every process under every profile, one task at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from collectors import fastq
from collectors.ray.engine import RayEngine, parents_of
from collectors.ray.record import assemble, recording
from collectors.ray.session import RayNode
from toolkit.progress import progress
from toolkit.scenarios.pipelines import Estimates, Pipelines, PipelineWorkload
from toolkit.trace import FEATURE, Trace


def sweep(
    scenario: Pipelines,
    quantiles: Sequence[float],
    nodes: Sequence[RayNode],
    seed: int,
    reads: fastq.Pool | None,
) -> Trace:
    """Measure every process under every profile that fits, one task at a time."""
    settings = [
        [f.quantile(q) if f.name in scenario.size else f.quantile(0.5) for f in scenario.features]
        for q in quantiles
    ]
    plan = scenario.instances(np.array(settings), np.zeros(len(settings)), seed)
    engine = RayEngine(nodes, seed, reads, scenario)
    engine.prepare(plan)
    workload = engine.workload
    places = {
        p: next(m for m, n in enumerate(nodes) if cpus <= n.node.cpus and memory <= n.node.memory)
        for p, (cpus, memory) in enumerate(workload.profiles)
        if any(cpus <= n.node.cpus and memory <= n.node.memory for n in nodes)
    }
    engine.start(workload)
    rows: list[dict[str, Any]] = []
    with progress("measuring each process under each profile", workload.tasks, "processes") as bar:
        for task in range(workload.tasks):
            rows += engine.measure(task, places)
            bar.update(note=rows[-1]["type"])
    jobs = [
        {
            "run": 0,
            "job": j,
            "arrived_at": 0.0,
            "arrived_seen": 0.0,
            "finished_at": None,
            "finished_seen": None,
            **{
                FEATURE + n: float(workload.job_features[j, f])
                for f, n in enumerate(workload.features)
            },
        }
        for j in range(workload.jobs)
    ]
    edges = [
        {"run": 0, "kind": "task", "parent": p, "child": c, "bytes": None}
        for c, parents in enumerate(parents_of(workload))
        for p in parents
    ]
    about = {
        "run": 0,
        "seed": seed,
        "policy": None,
        "mode": "sweep",
        "load_average": os.getloadavg()[0],
    }
    provenance = recording(scenario, _estimates(rows, workload, scenario), seed) | {"runs": [about]}
    return assemble(0, nodes, jobs, rows, edges, [], [], workload.features, provenance)


def _estimates(
    rows: Sequence[dict[str, Any]], workload: PipelineWorkload, scenario: Pipelines
) -> dict[str, Any]:
    index = {t: i for i, t in enumerate(workload.types)}
    jobs = np.array([r["job"] for r in rows])
    told = Estimates.measured(
        np.array([index[r["type"]] for r in rows]),
        np.array([r["profile"] for r in rows]),
        workload.sizes[jobs],
        np.array([r["finished_at"] - r["started_at"] for r in rows]),
        len(workload.types),
        len(workload.profiles),
        scenario.unit,
    )
    return {
        "intercept": told.intercept.tolist(),
        "exponent": told.exponent.tolist(),
        "unit": told.unit,
    }
