"""Executions: the recorded attempts of tasks as flat arrays, from which durations are learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.calibration.planned import Planned
from toolkit.scenarios.batches import Batches
from toolkit.scenarios.pipelines import PipelineWorkload
from toolkit.trace import FEATURE, Trace
from toolkit.workload import ALLOCATION, CONFIGURATION, SHAPE, Floats, Ints, Mask, Workload

_SHORTEST = 1e-6
"""Seconds that anything takes."""


@dataclass(frozen=True, kw_only=True)
class Executions:
    """Attempts that ended well; n of them.

    Args:
        type_of: Index into the types of the calibration, shape [n].
        column: What it ran on: a profile, a kind of node or a shape of executors; shape [n].
        data: Size of the task and features of its job, positive, shape [n, F].
        started: s since the start of its run, shape [n].
        finished: Likewise.
        cpus: That it was given, shape [n].
        machine: The hardware it ran on, shape [n].
        run: Shape [n].
        job: Shape [n]; the same number for a job that several runs met, and for no other.
        task: Index in its workload, shape [n].
        cold: Whether nothing had run before where it ran, shape [n].
    """

    type_of: Ints
    column: Ints
    data: Floats
    started: Floats
    finished: Floats
    cpus: Floats
    machine: Ints
    run: Ints
    job: Ints
    task: Ints
    cold: Mask

    def __len__(self) -> int:
        """Return n."""
        return len(self.type_of)

    @property
    def seconds(self) -> Floats:
        """How long each took, shape [n]."""
        return np.maximum(self.finished - self.started, _SHORTEST)

    def where(self, keep: Mask) -> Executions:
        """Return those for which ``keep`` is True."""
        return Executions(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    @staticmethod
    def join(parts: Sequence[Executions]) -> Executions:
        """Return those of all parts."""
        return Executions(
            **{
                f.name: np.concatenate([getattr(p, f.name) for p in parts])
                for f in fields(Executions)
            }
        )


def covariates(planned: Planned, workload: Workload) -> tuple[Ints, Floats]:
    """Return what the duration of each task of a workload may depend on, wherever it runs.

    Returns:
        Types, shape [n], and data, shape [n, F]; see :class:`Executions`.
    """
    w = workload.arrays
    base, size = planned.divided(workload.types)
    sizes = np.where(np.isnan(size)[w.type_of], w.scale, size[w.type_of])
    columns = [sizes]
    if isinstance(workload, PipelineWorkload):
        columns = [workload.sizes[w.job_of], *workload.job_features[w.job_of].T]
    return base[w.type_of], np.maximum(np.stack(columns, axis=1), 1e-12)


def executions(planned: Planned, trace: Trace, run: int, workload: Workload | None) -> Executions:
    """Return the attempts of a run that ended well.

    Args:
        planned: What was recorded.
        trace: The recording.
        run: One of its runs.
        workload: Of the run; None for a sweep, whose tasks tell of themselves.
    """
    rows = trace.of("tasks", run)
    timed = pc.and_(pc.is_valid(rows["started_at"]), pc.is_valid(rows["finished_at"]))
    rows = rows.filter(pc.and_(pc.equal(rows["status"], "done"), timed))
    task, job = rows["task"].to_numpy(), rows["job"].to_numpy()
    if workload is not None:
        types, data = covariates(planned, workload)
        type_of, data = types[task], data[task]
    else:
        type_of, data = _told(planned, trace, run, rows)
    node = rows["node"].fill_null(0).to_numpy().astype(np.int64)
    column = _columns(planned, trace, run, rows, node)
    started = rows["started_at"].to_numpy()
    cpus = rows["cpus"].fill_null(1.0).to_numpy(zero_copy_only=False)
    return Executions(
        type_of=type_of,
        column=column,
        data=data,
        started=started,
        finished=rows["finished_at"].to_numpy(),
        cpus=np.where(cpus > 0, cpus, 1.0),
        machine=np.zeros(len(rows), np.int64) if planned.shared else node,
        run=np.full(len(rows), run, dtype=np.int64),
        job=job.astype(np.int64) + (_first_alike(trace, run) << 32),
        task=task.astype(np.int64),
        cold=_cold(planned, rows, column, node, started),
    )


def _first_alike(trace: Trace, run: int) -> int:
    """Return the first run of the same workload: what a job met once is known the next time."""
    of = {int(r["run"]): (r["mode"], r.get("seed")) for r in trace.runs()}
    if of[run][0] != "policy" or of[run][1] is None:
        return run
    return min(r for r, about in of.items() if about == of[run])


def _told(planned: Planned, trace: Trace, run: int, rows: pa.Table) -> tuple[Ints, Floats]:
    base, size = planned.divided(rows["type"].to_pylist())
    if planned.family != ALLOCATION:
        return base, np.where(np.isnan(size), 1.0, size)[:, None]
    jobs = trace.of("jobs", run).sort_by("job")
    names = [f.name for f in planned.pipelines.features]
    features = np.stack([jobs[FEATURE + name].to_numpy() for name in names], axis=1)
    sizes = np.prod(features[:, [names.index(n) for n in planned.pipelines.size]], axis=1)
    whole = np.concatenate([sizes[:, None], features], axis=1)
    return base, whole[rows["job"].to_numpy()]


def _columns(planned: Planned, trace: Trace, run: int, rows: pa.Table, node: Ints) -> Ints:
    if planned.family == ALLOCATION:
        return np.asarray(rows["profile"].to_numpy().astype(np.int64))
    if isinstance(planned.scenario, Batches):
        asked = trace.of("decisions", run).sort_by("decision")["key"].to_numpy()
        fleets = planned.scenario.fleets[:, SHAPE].astype(np.int64)
        # Where tasks name no decision, as in a simulation, there is one for each batch in turn.
        number = pc.coalesce(rows["decision"], rows["job"]).to_numpy()
        return np.asarray(fleets[asked[number]])
    kinds = trace.of("nodes", run).sort_by("node")["kind"].to_pylist()
    return np.array([planned.kinds.index(k) for k in kinds], dtype=np.int64)[node]


def _cold(planned: Planned, rows: pa.Table, column: Ints, node: Ints, started: Floats) -> Mask:
    """Return which executions were the first: of a Spark executor, one on each of its cores."""
    if "m_warm" in rows.column_names:
        return np.asarray(pc.equal(rows["m_warm"], False).fill_null(False))
    if planned.family != CONFIGURATION or not planned.shared:
        return np.zeros(len(rows), dtype=np.bool_)
    order = np.lexsort((started, node))
    before = np.empty(len(node), dtype=np.int64)
    before[order] = np.arange(len(node)) - np.searchsorted(node[order], node[order])
    return np.asarray(before < planned.columns[column, 0])
