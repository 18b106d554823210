"""Log: what ran in one run of an imported trace, in the order in which a replay meets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from toolkit.errors import ConfigError, require

MOST_STARTS = 200_000
"""Starts of the longest run that is replayed; each is two decisions."""

MOST_EDGES = 2_000_000
"""Edges between tasks of the widest run, once those between stages are spelled out."""

Amounts = tuple[float | None, float | None, float | None]
"""Cpus, bytes of memory and gpus that a task asks for; None where the log does not say."""


class Attempt(NamedTuple):
    """One try of a task."""

    task: int  # of the log
    node: int  # index of the table's row of nodes, -1 where not told
    submitted: float  # s; the start where not told
    start: float  # s
    end: float | None  # s
    done: bool
    asks: Amounts


@dataclass(frozen=True, kw_only=True)
class Log:
    """A run: ``n`` tasks of ``J`` jobs, by arrival of the job and first start within it.

    Args:
        task: The task of the trace that each stands for, shape [n].
        type: Name of the type of each, shape [n].
        job_ptr: First task of each job and the end, shape [J + 1].
        arrival: When each job came, s; no later than its first start, shape [J].
        parents: Of each task, ascending, shape [n].
        staged: Whether whole stages follow one another, and no single tasks.
        attempts: By start; those of one task never ran beside each other.
        nodes: The rows of the table.
        left_out: What of the trace is not here, and why, as counts.
    """

    task: list[int]
    type: list[str]
    job_ptr: list[int]
    arrival: list[float]
    parents: list[list[int]]
    staged: bool
    attempts: list[Attempt]
    nodes: list[dict[str, Any]]
    left_out: Mapping[str, int]

    @property
    def parent_ptr(self) -> list[int]:
        """Where the parents of each task begin, shape [n + 1]."""
        return [0, *np.cumsum([len(p) for p in self.parents]).tolist()]

    @property
    def flat_parents(self) -> list[int]:
        """The parents of all tasks, one after another."""
        return [p for above in self.parents for p in above]


def read(tables: Mapping[str, pa.Table], *, placed: bool, edges_known: bool = True) -> Log:
    """Return one run of a log.

    Args:
        tables: The tables of a trace, of this run alone.
        placed: Whether attempts count only where the node is told.
        edges_known: Whether a task without parents waits for none. Where edges are not told at
            all, a task is ready when it was submitted, as if it were a job of its own.

    Raises:
        ConfigError: When the log does not tell when tasks started, ended or became ready, or has
            too many starts or edges.
    """
    rows = tables["tasks"].select(
        ["task", "job", "stage", "type", "node", "cpus", "memory", "gpus", "ready_at",
         "submitted_at", "started_at", "finished_at", "status"]
    ).to_pydict()  # fmt: skip
    left_out = {"attempts without a start or a node": 0, "attempts beside another": 0, "edges": 0}
    found: dict[int, list[int]] = {}
    for i, (task, node, at) in enumerate(
        zip(rows["task"], rows["node"], rows["started_at"], strict=True)
    ):
        if at is None or (placed and node is None):
            left_out["attempts without a start or a node"] += 1
        else:
            found.setdefault(task, []).append(i)
    where = " on any node" if placed else ""
    require(len(found) > 0, f"the log names no start of any task{where}")
    chosen = {t: _one_after_another(i, rows, left_out) for t, i in sorted(found.items())}
    count = sum(len(i) for i in chosen.values())
    require(
        count <= MOST_STARTS,
        f"{count:,} starts are more than the {MOST_STARTS:,} that are replayed",
    )
    endless = [i for found in chosen.values() for i in found if _never_ends(rows, i)]
    require(len(endless) == 0, "the log does not tell when the tasks that it calls done ended")
    if not edges_known:
        _each_alone(rows, chosen)
    of_jobs = tables["jobs"].select(["job", "arrived_at"]).to_pydict()
    arrived = dict(zip(of_jobs["job"], of_jobs["arrived_at"], strict=True))
    first = {t: i[0] for t, i in chosen.items()}
    for i in first.values():
        job, start = rows["job"][i], rows["started_at"][i]
        arrived[job] = min(arrived.get(job, _submitted(rows, i)), start)
    jobs = sorted({rows["job"][i] for i in first.values()}, key=lambda j: (arrived[j], j))
    position = {job: k for k, job in enumerate(jobs)}
    order = sorted(
        chosen, key=lambda t: (position[rows["job"][first[t]]], rows["started_at"][first[t]], t)
    )
    index = {t: k for k, t in enumerate(order)}
    of_job = [position[rows["job"][first[t]]] for t in order]
    parents: list[list[int]] = [[] for _ in order]
    staged = False
    if edges_known:
        parents, staged = _parents(tables, rows, chosen, index, of_job, left_out)
    nodes = tables["nodes"].to_pylist()
    node_index = {n["node"]: m for m, n in enumerate(nodes)}
    attempts = [_attempt(rows, i, index[t], node_index) for t in order for i in chosen[t]]
    return Log(
        task=order,
        type=[rows["type"][first[t]] for t in order],
        job_ptr=np.searchsorted(of_job, np.arange(len(jobs) + 1)).tolist(),
        arrival=[arrived[j] for j in jobs],
        parents=parents,
        staged=staged,
        attempts=sorted(attempts, key=lambda a: (a.start, a.task)),
        nodes=nodes,
        left_out={k: v for k, v in left_out.items() if v},
    )


def _never_ends(rows: Mapping[str, list[Any]], i: int) -> bool:
    return rows["status"][i] == "done" and rows["finished_at"][i] is None


def _each_alone(rows: Mapping[str, list[Any]], chosen: Mapping[int, list[int]]) -> None:
    """Make each task a job of its own, with an index below those of the trace's jobs."""
    for task, found in chosen.items():
        told = any(rows[c][found[0]] is not None for c in ("submitted_at", "ready_at"))
        require(told, "the log tells neither what its tasks wait for nor when they were submitted")
        for i in found:
            rows["job"][i] = -1 - task


def _submitted(rows: Mapping[str, list[Any]], i: int) -> float:
    """Return when a task is known to have been ready at the latest, s."""
    start = float(rows["started_at"][i])
    told = [rows[c][i] for c in ("submitted_at", "ready_at") if rows[c][i] is not None]
    return min(float(told[0]), start) if told else start


def _attempt(
    rows: Mapping[str, list[Any]], i: int, task: int, node_index: Mapping[int, int]
) -> Attempt:
    node = rows["node"][i]
    return Attempt(
        task=task,
        node=-1 if node is None else node_index[node],
        submitted=_submitted(rows, i),
        start=rows["started_at"][i],
        end=rows["finished_at"][i],
        done=rows["status"][i] == "done",
        asks=(rows["cpus"][i], rows["memory"][i], rows["gpus"][i]),
    )


def _one_after_another(
    found: list[int], rows: Mapping[str, list[Any]], left_out: dict[str, int]
) -> list[int]:
    """Return the attempts of a task that ran one after another; one that ended well goes before."""
    kept: list[int] = []
    for i in sorted(found, key=lambda i: (rows["status"][i] != "done", rows["started_at"][i], i)):
        begun, ended = rows["started_at"][i], rows["finished_at"][i]
        done = [k for k in kept if rows["status"][k] == "done"]
        beside = any(
            (rows["finished_at"][k] is None or begun < rows["finished_at"][k])
            and (ended is None or rows["started_at"][k] < ended)
            for k in kept
        )
        after = any(rows["finished_at"][k] is None or begun >= rows["finished_at"][k] for k in done)
        if beside or after:
            left_out["attempts beside another"] += 1
        else:
            kept.append(i)
    return sorted(kept, key=lambda i: (rows["started_at"][i], i))


def _parents(
    tables: Mapping[str, pa.Table],
    rows: Mapping[str, list[Any]],
    chosen: Mapping[int, list[int]],
    index: Mapping[int, int],
    of_job: list[int],
    left_out: dict[str, int],
) -> tuple[list[list[int]], bool]:
    """Return the parents of each task, and whether all edges are between whole stages."""
    edges = tables["edges"].select(["kind", "parent", "child"]).to_pydict()
    members: dict[int, list[int]] = {}
    for t, found in chosen.items():
        stage = rows["stage"][found[0]]
        if stage is not None:
            members.setdefault(stage, []).append(t)
    pairs = []
    wide = 0
    for kind, parent, child in zip(edges["kind"], edges["parent"], edges["child"], strict=True):
        above = members.get(parent, []) if kind == "stage" else [parent]
        below = members.get(child, []) if kind == "stage" else [child]
        wide += len(above) * len(below)
        if wide > MOST_EDGES:
            raise ConfigError(f"the log has more than {MOST_EDGES:,} edges between tasks")
        pairs += [(a, b) for a in above for b in below]
    ended = {t: rows["finished_at"][found[-1]] for t, found in chosen.items()}
    begun = {t: rows["started_at"][found[0]] for t, found in chosen.items()}
    parents: list[list[int]] = [[] for _ in index]
    for a, b in sorted(set(pairs)):
        if a not in index or b not in index:
            continue
        i, k = index[a], index[b]
        early = ended[a] is None or begun[b] < ended[a] or i >= k
        if early or of_job[i] != of_job[k]:
            left_out["edges"] += 1
        else:
            parents[k].append(i)
    return [sorted(p) for p in parents], "task" not in edges["kind"]
