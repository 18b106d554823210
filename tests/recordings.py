"""A small trace as a recorder would write it, made in the simulator in a second."""

import numpy as np
import pyarrow as pa

from tests.workloads import Luck, estimates, scenario
from toolkit import trace as traces
from toolkit.data.padding import from_table
from toolkit.data.rows import rows_of
from toolkit.data.transitions import Description, table
from toolkit.live import chooser, rollout
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.policies.static import Static
from toolkit.replays.reconstruct import replays
from toolkit.simulator.simulator import Simulator
from toolkit.store import Store
from toolkit.trace import FEATURE, Trace
from toolkit.workload import CPUS, MEMORY


def record(policies=None, of=None, sigma=0.2, horizon=None):
    """Return a trace with one run per policy; the seen times are those of the simulator."""
    of = of or scenario(jobs=6)
    told = estimates(of, noise=0.05)
    rows = {name: [] for name in traces.TABLES}
    runs = []
    for run, policy in enumerate(policies or default_policies()):
        workload = of.plan(run, estimates=told)
        rows = _run(of, workload, policy, run, Luck(sigma=sigma), rows, horizon or of.horizon)
        runs.append({"run": run, "seed": run, "policy": policy.name, "mode": "policy"})
    extra = {"jobs": traces.features([f.name for f in of.features])}
    provenance = {
        "schema": traces.SCHEMA,
        "source": "test",
        "scenario": of.to_dict(),
        "estimates": {
            "intercept": told.intercept.tolist(),
            "exponent": told.exponent.tolist(),
            "unit": told.unit,
        },
        "clock": "simulated",
        "engine": {},
        "host": {},
        "seed": 0,
        "completeness": None,
        "runs": runs,
    }
    tables = {n: traces.table(n, r, extra.get(n, ())) for n, r in rows.items()}
    return Trace(tables=tables, provenance=provenance)


def keep(trace, name):
    """Put a trace into the store of this test."""
    store = Store()
    traces.write(trace, store.partial("traces", name))
    return store.commit("traces", name, inputs={}, about={})


def default_policies():
    return [
        Random(),
        Mixture(of=Static(), epsilon=0.3),
        Random(),
        Mixture(of=Static(), epsilon=0.3),
    ]


def _run(of, workload, policy, run, model, rows, horizon):
    w = workload.arrays
    episode = rollout(
        Simulator(model, run),
        workload,
        chooser(policy, run),
        horizon=horizon,
        weights=of.weights,
    )
    o, s = episode.outcome, episode.scene.state
    truth = model.truth(workload, run)
    for i, n in enumerate(workload.cluster.to_rows()):
        rows["nodes"].append({"run": run, "node": i, **n})
    for j in range(workload.jobs):
        rows["jobs"].append(
            {
                "run": run,
                "job": j,
                "arrived_at": w.arrival[j],
                "arrived_seen": _known(s.arrived[j]),
                "finished_at": _known(o.completed[j]),
                "finished_seen": _known(s.completed[j] + truth.seen_delay.max()),
                **{
                    FEATURE + n: workload.job_features[j, f]
                    for f, n in enumerate(workload.features)
                },
            }
        )
    ran = np.flatnonzero(~np.isnan(s.started)).tolist()
    for i in ran:
        done = not np.isnan(s.finished[i])
        rows["tasks"].append(
            {
                "run": run,
                "task": i,
                "attempt": 0,
                "job": int(w.job_of[i]),
                "type": workload.types[w.type_of[i]],
                "node": int(o.node[i]),
                "profile": int(s.profile[i]),
                "cpus": w.demand[s.profile[i], CPUS],
                "memory": w.demand[s.profile[i], MEMORY],
                "decision": int(s.decision[i]),
                "ready_at": s.ready[i],
                "ready_seen": s.ready[i],
                "submitted_at": o.started[i] - truth.start_delay[i],
                "started_at": o.started[i],
                "started_seen": o.started[i] + truth.seen_delay[i],
                "finished_at": o.finished[i] if done else None,
                "finished_seen": _known(o.finished[i] + truth.seen_delay[i]),
                "status": "done" if done else "killed",
            }
        )
    known = set(ran)
    for parent in range(workload.tasks):
        for k in range(w.child_ptr[parent], w.child_ptr[parent + 1]):
            if parent in known and int(w.children[k]) in known:
                child = int(w.children[k])
                edge = {"run": run, "kind": "task", "parent": parent, "child": child}
                rows["edges"].append(edge)
    for number, step in enumerate(episode.steps):
        rows["decisions"].append(
            {
                "run": run,
                "decision": number,
                "epoch": step.epoch,
                "agent": step.decision.agent,
                "at": step.decision.time,
                "action": step.action,
                "key": step.action,
                "slots": len(step.decision.keys),
                "propensity": step.propensity,
                "policy": policy.name,
                "digest": step.decision.digest(),
                "inferred": False,
                "invalid": False,
            }
        )
    return rows


def _known(value):
    return None if np.isnan(value) else float(value)


def rows(trace):
    """Return the decisions of a trace as one table, with what its columns mean."""
    runs = list(replays(trace))
    described = Description.of(runs[0].workload, runs[0].weights)
    found = [
        rows_of(r.episode, r.workload, described, closing=r.closing, run=r.run, invalid=r.invalid)
        for r in runs
    ]
    parts = [
        table(described, {**r.columns, "episode": np.full(len(r.slots), i)}, r.slots)
        for i, r in enumerate(found)
    ]
    return pa.concat_tables(parts), described


def transitions(trace):
    """Return the decisions of a trace as padded arrays."""
    return from_table(*rows(trace))
