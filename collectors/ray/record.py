"""What an episode on Ray leaves behind: the tables of a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from collectors.decisions import decision_rows
from collectors.host import host
from collectors.ray.engine import RayEngine
from collectors.ray.session import RayNode, cluster_of
from collectors.ray.tasks import PROBE
from toolkit import trace as traces
from toolkit.live import Episode
from toolkit.scenarios.pipelines import Pipelines, PipelineWorkload
from toolkit.trace import FEATURE, Trace
from toolkit.workload import CPUS, MEMORY


def recording(scenario: Pipelines, estimates: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return what a recording says of itself, but for its runs.

    Args:
        scenario: What arrives.
        estimates: What policies are told of durations, as plain values.
        seed: Of the recording.
    """
    return {
        "schema": traces.SCHEMA,
        "source": "ray",
        "scenario": scenario.to_dict(),
        "estimates": estimates,
        "clock": "time.time() of the workers (at) and of the driver (seen), s since the run began",
        "engine": {
            "ray": ray.__version__,
            "dispatch": "first come first served, head of line, first node with room",
        },
        "host": host(),
        "seed": seed,
        "completeness": None,
    }


def record(
    engine: RayEngine, episode: Episode, about: dict[str, Any], provenance: dict[str, Any]
) -> Trace:
    """Return the episode as a trace of one run.

    Args:
        engine: What ran it.
        episode: What the rollout loop returned.
        about: The run's entry in the provenance.
        provenance: Of the whole recording.
    """
    run, o = int(about["run"]), episode.outcome
    workload, w = engine.workload, engine.workload.arrays
    state, times = episode.scene.state, engine.times
    tasks = []
    for i in np.flatnonzero(~np.isnan(times["started"])).tolist():
        p = int(state.profile[i])
        done = not np.isnan(times["finished"][i])
        tasks.append(
            {
                "run": run,
                "task": i,
                "attempt": int(engine.attempt[i]),
                "job": int(w.job_of[i]),
                "type": workload.types[int(w.type_of[i])],
                "node": int(state.node[i]),
                "profile": p,
                "cpus": float(w.demand[p, CPUS]),
                "memory": float(w.demand[p, MEMORY]),
                "decision": int(state.decision[i]),
                "ready_at": times["ready"][i],
                "ready_seen": state.ready[i],
                "submitted_at": times["submitted"][i],
                "started_at": times["started"][i],
                "started_seen": times["started_seen"][i],
                "finished_at": times["finished"][i] if done else None,
                "finished_seen": times["finished_seen"][i] if done else None,
                "status": "done" if done else "killed",
                **{k: engine.took[i].get(k) for k in PROBE},
            }
        )
    tasks += [_failed(run, workload, attempt) for attempt in engine.failed]
    tasks.sort(key=lambda t: (t["task"], t["attempt"]))
    known = {t["task"] for t in tasks}
    edges = [
        {
            "run": run,
            "kind": "task",
            "parent": p,
            "child": c,
            "bytes": engine.took[p].get("bytes_out"),
        }
        for c in sorted(known)
        for p in engine.parents[c]
    ]
    decisions = decision_rows(run, episode, str(about["policy"]))
    jobs = [
        {
            "run": run,
            "job": j,
            "arrived_at": float(o.arrived[j]),
            "arrived_seen": _known(engine.arrived_seen[j]),
            "finished_at": _known(o.completed[j]),
            "finished_seen": _known(times["finished_seen"][w.job_ptr[j] : w.job_ptr[j + 1]].max()),
            **{
                FEATURE + name: float(workload.job_features[j, f])
                for f, name in enumerate(workload.features)
            },
        }
        for j in range(workload.jobs)
    ]
    return assemble(
        run,
        engine.nodes,
        jobs,
        tasks,
        edges,
        engine.node_samples,
        decisions,
        workload.features,
        {**provenance, "runs": [about]},
    )


def _failed(run: int, workload: PipelineWorkload, attempt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of an attempt that was lost."""
    w, i, p = workload.arrays, attempt["task"], attempt["profile"]
    return {
        "run": run,
        "task": i,
        "attempt": attempt["attempt"],
        "job": int(w.job_of[i]),
        "type": workload.types[int(w.type_of[i])],
        "node": attempt["node"],
        "profile": p,
        "cpus": float(w.demand[p, CPUS]),
        "memory": float(w.demand[p, MEMORY]),
        "decision": attempt["decision"],
        "ready_at": attempt["ready"],
        "ready_seen": attempt["ready_seen"],
        "submitted_at": attempt["submitted"],
        "started_at": _known(attempt["started"]),
        "started_seen": _known(attempt["started_seen"]),
        "finished_at": attempt["finished"],
        "finished_seen": attempt["finished_seen"],
        "status": "failed",
        "reason": attempt["reason"],
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def assemble(
    run: int,
    nodes: Sequence[RayNode],
    jobs: list[dict[str, Any]],
    tasks: list[dict[str, Any]],
    edges: list[dict[str, Any]],
    samples: list[dict[str, Any]],
    decisions: list[dict[str, Any]],
    features: Sequence[str],
    provenance: dict[str, Any],
) -> Trace:
    """Return a trace of one run from plain rows."""
    node_rows = [
        {"run": run, "node": i, **row} for i, row in enumerate(cluster_of(nodes).to_rows())
    ]
    rows = {
        "nodes": node_rows,
        "jobs": jobs,
        "tasks": tasks,
        "edges": edges,
        "samples": [{"run": run, **s} for s in samples],
        "decisions": decisions,
    }
    extra = {"jobs": traces.features(features)}
    return Trace(
        tables={
            name: traces.table(name, rows.get(name, []), extra.get(name, ()))
            for name in traces.TABLES
        },
        provenance=provenance,
    )
