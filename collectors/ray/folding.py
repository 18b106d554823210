"""Folding: what Ray's events say piece by piece, put together per attempt of each task.

Ray tells of one attempt in several messages: its owner says what was asked for and when it was
submitted and finished, the worker says when it ran. They lie in different files and come in no
order, so everything is kept in compact columns until the last file was read.
"""

from __future__ import annotations

import binascii
import json
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from collectors.run_writer import RunWriter
from toolkit.trace import METRIC
from toolkit.trace import field as column

PENDING, PLACEABLE, HANDED, RUNNING, FINISHED, FAILED = 1, 2, 5, 8, 11, 12
"""States of a task in Ray's protocol that are kept: submitted by the program; its arguments are
there; handed to a worker; runs; finished; failed."""

STATES = {
    "PENDING_ARGS_AVAIL": PENDING,
    "PENDING_NODE_ASSIGNMENT": PLACEABLE,
    "SUBMITTED_TO_WORKER": HANDED,
    "RUNNING": RUNNING,
    "FINISHED": FINISHED,
    "FAILED": FAILED,
}
"""Their names in messages that spell them out."""

DRIVER, ACTOR_CALL, ACTOR_START = "DRIVER_TASK", "ACTOR_TASK", "ACTOR_CREATION_TASK"
"""Types of tasks that are not plain functions."""

PHASES = ("fetch", "execute", "store")
"""What a worker does for a task: gets its arguments, runs it, stores what it returns."""

EXTRA = {
    "tasks": [
        *(column(f"{METRIC}{p}_seconds", pa.float64(), "s", nullable=True) for p in PHASES),
        column(METRIC + "parent", pa.string(), "name of the task that called it", nullable=True),
        column(METRIC + "worker", pa.string(), "id of the worker process", nullable=True),
    ]
}
"""Columns of ``tasks`` that Ray's records add."""

ACTOR_ID = 8
"""Where the id of the actor begins in the id of its tasks."""

_SLACK = 1e-6
_LONGEST_ID = 64
_MOST = 1 << 31
_LATEST = 1 << 62
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain_id(text: str) -> bytes | None:
    """Return an id that a message gives in base64; None where it is empty or no id."""
    if not text or len(text) > _LONGEST_ID:
        return None
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def last_line(message: str) -> str:
    """Return the last line of an error's text, without colours, cut to size."""
    lines = _COLOUR.sub("", message[-4000:]).strip().splitlines()
    return lines[-1].strip()[:200] if lines else ""


@dataclass(kw_only=True)
class NodeTold:
    """What is told of a node; times in ns since 1970, 0 where not told."""

    host: str = ""
    cpus: float | None = None
    memory: float | None = None
    gpus: float | None = None
    added: int = 0
    removed: int = 0
    reason: str = ""
    kind: str = ""


@dataclass(kw_only=True)
class JobTold:
    """What is told of a driver; times in ns since 1970, 0 where not told."""

    started: int = 0
    ended: int = 0


@dataclass(kw_only=True)
class ActorTold:
    """What is told of an actor; when it ended in ns since 1970, 0 where not told."""

    name: str = ""
    node: bytes | None = None
    ended: int = 0
    whole_seconds: bool = True


@dataclass(kw_only=True)
class WorkerTold:
    """What is told of a worker process; times in ns since 1970, 0 where not told."""

    launched: int = 0
    ready: int = 0
    ended: int = 0


class _Names:
    """Numbers for values, in order of first appearance."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._at: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        found = self._at.get(value)
        if found is None:
            found = self._at[value] = len(self.values)
            self.values.append(value)
        return found


@dataclass(kw_only=True)
class Known:
    """What the program itself noted of a task: see ``collectors.ray.watch``.

    Args:
        takes: Ids of the tasks whose results it takes, with which of them it takes, from 1.
        decision: Index of the decision that chose its options; None without one.
    """

    takes: dict[bytes, list[int]] = field(default_factory=dict)
    decision: int | None = None


class Session:
    """Everything that the messages of one Ray session say."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, NodeTold] = {}
        self.jobs: dict[bytes, JobTold] = {}
        self.actors: dict[bytes, ActorTold] = {}
        self.workers: dict[bytes, WorkerTold] = {}
        self.known: dict[bytes, Known] = {}
        self.decisions: list[dict[str, Any]] = []
        self.probes: dict[bytes, dict[str, float | None]] = {}
        self.sizes: dict[bytes, list[float | None]] = {}
        self.drivers: dict[bytes, JobTold] = {}
        self._rows: dict[bytes, int] = {}
        self._times = {s: array("q") for s in (PENDING, PLACEABLE, HANDED, RUNNING, FINISHED)}
        self._failed = array("q")
        self._phase = {p: array("d") for p in PHASES}
        self._node, self._worker = array("q"), array("q")
        self._type, self._job, self._asked = array("q"), array("q"), array("q")
        self._parent, self._actor = array("q"), array("q")
        self._names, self._asks, self._ids = _Names(), _Names(), _Names()
        self._why: dict[int, str] = {}
        self._error: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def attempt(self, task: bytes, number: int) -> int:
        """Return the row of an attempt of a task, a new one where it was not told of before."""
        key = task + number.to_bytes(4, "big")
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._rows)
            for times in self._times.values():
                times.append(0)
            self._failed.append(0)
            for seconds in self._phase.values():
                seconds.append(np.nan)
            for numbers in (
                self._node, self._worker, self._type, self._job, self._asked, self._parent,
                self._actor,
            ):  # fmt: skip
                numbers.append(-1)
        return row

    def state(self, row: int, state: int, ns: int) -> None:
        """Note when an attempt entered a state; a later message about the same one counts."""
        if not 0 < ns < _LATEST:
            return
        if state == FAILED:
            self._failed[row] = ns
        elif state in self._times:
            self._times[state][row] = ns

    def place(self, row: int, node: bytes | None, worker: bytes | None) -> None:
        """Note where an attempt runs."""
        if node is not None:
            self._node[row] = self._ids.of(node)
        if worker is not None:
            self._worker[row] = self._ids.of(worker)

    def define(
        self,
        row: int,
        *,
        name: str,
        kind: str,
        asked: Mapping[str, float] | None,
        parent: bytes | None,
        actor: bytes | None = None,
    ) -> None:
        """Note what an attempt runs and what it asks for."""
        self._type[row] = self._names.of((name[:200], kind))
        if asked is not None and kind != ACTOR_CALL:
            told = tuple(_amount(asked.get(r, 0.0)) for r in ("CPU", "memory", "GPU"))
            self._asked[row] = self._asks.of(told)
        if parent is not None:
            self._parent[row] = self._ids.of(parent)
        if kind == ACTOR_START and actor is not None:
            self._actor[row] = self._ids.of(actor)

    def call(self, row: int, name: str) -> None:
        """Note what a worker says that it ran, where the definition was lost."""
        if self._type[row] < 0:
            self._type[row] = self._names.of((name[:200], ""))

    def belong(self, row: int, job: bytes | None) -> None:
        """Note the job of an attempt."""
        if job is not None:
            self._job[row] = self._ids.of(job)

    def phase(self, row: int, phase: str, ns: int) -> None:
        """Add to the time that a worker took for a phase of an attempt."""
        if 0 <= ns < _LATEST:
            seconds = self._phase[phase]
            seconds[row] = ns / 1e9 + (0.0 if np.isnan(seconds[row]) else seconds[row])

    def fail(self, row: int, kind: str, message: str) -> None:
        """Note why an attempt failed."""
        self._error[row] = kind[:80]
        text = last_line(message)
        self._why[row] = f"{kind[:80]}: {text}" if text else kind[:80]

    def write(self, run: RunWriter) -> float:
        """Write everything as rows.

        Returns:
            Time 0 of the run, s since 1970.
        """
        return _Writing(self, run).everything()


def _amount(value: float) -> float | None:
    return float(value) if np.isfinite(value) and value >= 0 else None


class _Writing:
    """The rows of one session, while they are written."""

    def __init__(self, told: Session, run: RunWriter) -> None:
        self.told, self.run = told, run
        self.report = run.completeness
        self.keys = list(told._rows)
        drivers = {i for i, (_, kind) in enumerate(told._names.values) if kind == DRIVER}
        self.rows = []
        for row, key in enumerate(self.keys):
            if told._type[row] in drivers:
                self._driver(row, key[:-4])
            else:
                self.rows.append(row)
        self.zero = self._earliest()
        self.node_of: dict[bytes, int] = {}
        self.job_of: dict[bytes, int] = {}
        self.task_of: dict[bytes, int] = {}

    def _driver(self, row: int, task: bytes) -> None:
        told = self.told
        job = told._ids.values[told._job[row]] if told._job[row] >= 0 else task[-4:]
        one = told.drivers.setdefault(job, JobTold())
        one.started = told._times[RUNNING][row] or one.started
        one.ended = told._times[FINISHED][row] or told._failed[row] or one.ended

    def _earliest(self) -> int:
        told = self.told
        known = [n.added for n in told.nodes.values()]
        known += [j.started for j in (*told.jobs.values(), *told.drivers.values())]
        known += [w.launched for w in told.workers.values()]
        first = min((k for k in known if k > 0), default=_LATEST)
        for times in (*told._times.values(), told._failed):
            seen = np.frombuffer(times, dtype=np.int64) if len(times) else np.zeros(0, np.int64)
            seen = seen[seen > 0]
            if len(seen):
                first = min(first, int(seen.min()))
        return 0 if first == _LATEST else first

    def at(self, ns: int) -> float | None:
        """Return a time as seconds since the start of the run; None where it was not told."""
        return (ns - self.zero) / 1e9 if ns > 0 else None

    def everything(self) -> float:
        self._nodes()
        order = self._order()
        self._jobs()
        self._tasks(order)
        self._edges()
        self._spans()
        for decision in self.told.decisions:
            at = self.at(int(decision["at"] * 1e9))
            self.run.add("decisions", **{**decision, "at": 0.0 if at is None else at})
        return self.zero / 1e9

    def _nodes(self) -> None:
        told = self.told
        for number in set(told._node) - {-1}:
            told.nodes.setdefault(told._ids.values[number], NodeTold())
        # Two nodes of one host at the same time share its hardware; one after another do not.
        shares: dict[str, list[NodeTold]] = {}
        for node in told.nodes.values():
            shares.setdefault(node.host, []).append(node)
        hosts = {host: k for k, host in enumerate(shares)}
        logical = 0
        count = self.report.of("nodes")
        for k, (name, node) in enumerate(told.nodes.items()):
            self.node_of[name] = k
            beside = node.host != "" and any(
                other is not node and _overlap(node, other) for other in shares[node.host]
            )
            logical += beside
            count.seen += 1
            count.complete += node.cpus is not None and node.added > 0
            removed = node.removed if node.removed >= node.added else 0
            count.repaired += removed != node.removed
            self.run.add(
                "nodes",
                node=k,
                name=name.hex(),
                # Ray does not say what hardware a host has: only nodes of one host are alike.
                kind=node.kind or f"host-{hosts[node.host]}",
                cpus=node.cpus,
                memory=node.memory,
                gpus=node.gpus,
                logical=beside,
                added_at=self.at(node.added),
                removed_at=self.at(removed),
                detail=json.dumps({"removed": node.reason}) if node.reason else None,
            )
        if logical:
            self.report.flags["logical_nodes"] = logical

    def _order(self) -> list[int]:
        """Number the tasks by when the first of their attempts was first told of."""
        told = self.told
        first: dict[bytes, tuple[int, int]] = {}
        for row in self.rows:
            known = [t[row] for t in told._times.values() if t[row] > 0]
            if told._failed[row] > 0:
                known.append(told._failed[row])
            when = (min(known, default=_LATEST), row)
            task = self.keys[row][:-4]
            first[task] = min(first.get(task, when), when)
        for k, task in enumerate(sorted(first, key=first.__getitem__)):
            self.task_of[task] = k
        return sorted(self.rows, key=lambda r: (self.task_of[self.keys[r][:-4]], self.keys[r][-4:]))

    def _job(self, row: int) -> bytes:
        told = self.told
        return told._ids.values[told._job[row]] if told._job[row] >= 0 else self.keys[row][-8:-4]

    def _jobs(self) -> None:
        told, count = self.told, self.report.of("jobs")
        jobs = {**{j: JobTold() for j in told.drivers}, **told.jobs}
        first: dict[bytes, int] = {}
        for row in self.rows:
            of = self._job(row)
            jobs.setdefault(of, JobTold())
            known = [t[row] for t in told._times.values() if t[row] > 0]
            first[of] = min(first.get(of, _LATEST), *known, _LATEST)
        without = 0
        for k, (name, job) in enumerate(jobs.items()):
            self.job_of[name] = k
            driver = told.drivers.get(name, JobTold())
            started = job.started or driver.started
            ended = job.ended or driver.ended
            count.seen += 1
            if not started:
                started = first.get(name, _LATEST)
                started = self.zero if started == _LATEST else started
                count.repaired += 1
                self.report.note(
                    f"job {name.hex()}: its start is not told; the first of its tasks stands for it"
                )
            else:
                count.complete += 1
            if ended and ended < started:
                ended = 0
                count.repaired += 1
                self.report.note(f"job {name.hex()} ends before it starts; the end was left out")
            without += not ended
            self.run.add(
                "jobs",
                job=k,
                name=name.hex(),
                arrived_at=self.at(started) or 0.0,
                finished_at=self.at(ended),
            )
        if without:
            self.report.flags["jobs_without_end"] = without

    def _tasks(self, order: list[int]) -> None:
        told, count = self.told, self.report.of("tasks")
        whole = {
            "names": told._names.values, "ids": told._ids.values, "asks": told._asks.values,
        }  # fmt: skip
        before = after = nameless = measured = 0
        calls = False
        times = told._times
        for row in order:
            key = self.keys[row]
            task = key[:-4]
            name, kind = whole["names"][told._type[row]] if told._type[row] >= 0 else ("", "")
            calls = calls or kind == ACTOR_CALL
            pending, ready, started = (
                times[PENDING][row],
                times[PLACEABLE][row],
                times[RUNNING][row],
            )
            finished, failed = times[FINISHED][row], told._failed[row]
            ended = failed or finished
            error = told._error.get(row, "")
            repaired = False
            if started and ended and started > ended:
                # The worker's clock says when it starts, the owner's when it ends.
                started, repaired, after = 0, True, after + 1
            if started and max(pending, ready) > started:
                started, repaired, before = 0, True, before + 1
            if pending and ready and pending > ready:
                pending, repaired = 0, True
            if ended and max(pending, ready) > ended:
                pending = ready = 0
                repaired = True
            status = "running"
            if failed:
                status = "killed" if error == "TASK_CANCELLED" else "failed"
            elif finished:
                status = "done"
            # One that failed before any worker had it has no start to be told.
            never = bool(failed and not times[HANDED][row] and not times[RUNNING][row])
            nameless += not name
            count.seen += 1
            count.repaired += repaired
            whole_told = bool(name and ended and (started or never)) and not repaired
            count.complete += whole_told
            asked = whole["asks"][told._asked[row]] if told._asked[row] >= 0 else (None,) * 3
            place = told._node[row]
            node = whole["ids"][place] if place >= 0 else None
            if node is None and kind == ACTOR_START and told._actor[row] >= 0:
                actor = told.actors.get(whole["ids"][told._actor[row]])
                node = actor.node if actor is not None else None
            phases = {p: told._phase[p][row] for p in PHASES}
            known = [v for v in phases.values() if not np.isnan(v)]
            reason = told._why.get(row)
            if status == "running" and not started:
                reason = "it waited when the log ended" if not times[RUNNING][row] else None
            probe = told.probes.get(key, {})
            measured += bool(probe)
            note = told.known.get(task)
            self.run.add(
                "tasks",
                task=self.task_of[task],
                attempt=int.from_bytes(key[-4:], "big"),
                name=task.hex(),
                job=self.job_of[self._job(row)],
                type=name or "unknown",
                node=self.node_of.get(node) if node is not None else None,
                cpus=asked[0],
                memory=asked[1],
                gpus=asked[2],
                decision=note.decision if note else None,
                ready_at=self.at(ready),
                submitted_at=self.at(pending or ready),
                started_at=self.at(started),
                finished_at=self.at(ended),
                seconds=sum(known) if known and not (started and ended) else None,
                status=status,
                reason=reason,
                cpu_seconds=probe.get("cpu_seconds"),
                peak_memory=probe.get("peak_memory"),
                bytes_in=probe.get("bytes_in"),
                bytes_out=probe.get("bytes_out"),
                **{f"{METRIC}{p}_seconds": None if np.isnan(v) else v for p, v in phases.items()},
                **{
                    METRIC + "parent": self._caller(row),
                    METRIC + "worker": whole["ids"][told._worker[row]].hex()
                    if told._worker[row] >= 0
                    else None,
                },
            )
        self._say(before, after, nameless, calls)
        if measured < len(told.probes):
            lost = len(told.probes) - measured
            self.report.note(f"{lost} measurements of the probe belong to no attempt")

    def _caller(self, row: int) -> str | None:
        """Return the id of the task that called this one, unless it was the program itself."""
        told = self.told
        if told._parent[row] < 0:
            return None
        parent = told._ids.values[told._parent[row]]
        return parent.hex() if parent in self.task_of else None

    def _say(self, before: int, after: int, nameless: int, calls: bool) -> None:
        clocks = "the clocks of worker and owner disagree; the start was left out"
        if before:
            self.report.note(f"{before} attempts start before they were submitted: {clocks}")
        if after:
            self.report.note(f"{after} attempts start after they ended: {clocks}")
        if nameless:
            self.report.note(
                f"{nameless} attempts have no definition: what their owner said of them is lost"
            )
        if calls:
            self.report.flags["actor_calls"] = (
                "run in their actor's process; they ask for nothing of their own"
            )

    def _edges(self) -> None:
        told = self.told
        if not told.known:
            self.report.flags["edges"] = "none"
            return
        count = self.report.of("edges")
        first, ended = self._extent()
        for task, note in told.known.items():
            child = self.task_of.get(task)
            for parent, numbers in note.takes.items():
                p = self.task_of.get(parent)
                count.seen += 1
                if child is None or p is None or p == child:
                    count.dropped += 1
                    continue
                if first.get(child, np.inf) < ended.get(p, -np.inf) - _SLACK * 1e9:
                    count.dropped += 1
                    self.report.note(
                        f"task {child} starts before its parent {p} ends, as one that takes the "
                        "first of several results may; the edge was left out"
                    )
                    continue
                count.complete += 1
                self.run.add(
                    "edges", kind="task", parent=p, child=child, bytes=self._bytes(parent, numbers)
                )

    def _bytes(self, parent: bytes, numbers: list[int]) -> float | None:
        """Return the bytes of some results of a task; None where one of them is not known."""
        sizes = self.told.sizes.get(parent, [])
        found = [sizes[n - 1] if 0 < n <= len(sizes) else None for n in numbers]
        known = [f for f in found if f is not None]
        return float(sum(known)) if len(known) == len(found) else None

    def _extent(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return when each task first starts and first ends well, ns."""
        told = self.told
        first: dict[int, int] = {}
        ended: dict[int, int] = {}
        for row in self.rows:
            task = self.task_of[self.keys[row][:-4]]
            started, finished = told._times[RUNNING][row], told._times[FINISHED][row]
            if started:
                first[task] = min(first.get(task, started), started)
            if finished and not told._failed[row]:
                ended[task] = min(ended.get(task, finished), finished)
        return first, ended

    def _spans(self) -> None:
        span = 0
        for name, worker in self.told.workers.items():
            started = worker.launched or worker.ready
            if not started:
                continue
            detail = {"ready_at": self.at(worker.ready)} if worker.ready else None
            self.run.add(
                "spans",
                span=span,
                kind="worker",
                name=name.hex(),
                started_at=self.at(started),
                finished_at=self.at(worker.ended) if worker.ended >= started else None,
                detail=json.dumps(detail) if detail else None,
            )
            span += 1
        for row in self.rows:
            number = self.told._actor[row]
            kind = self.told._names.values[self.told._type[row]][1] if number >= 0 else ""
            if kind != ACTOR_START or not self.told._times[RUNNING][row]:
                continue
            actor = self.told.actors.get(self.told._ids.values[number], ActorTold())
            started = self.told._times[RUNNING][row]
            self.run.add(
                "spans",
                span=span,
                kind="actor",
                job=self.job_of[self._job(row)],
                task=self.task_of[self.keys[row][:-4]],
                name=actor.name or self.told._ids.values[number].hex(),
                started_at=self.at(started),
                finished_at=self.at(actor.ended) if actor.ended >= started else None,
                detail='{"finished_at": "whole seconds"}'
                if actor.ended and actor.whole_seconds
                else None,
            )
            span += 1


def _overlap(a: NodeTold, b: NodeTold) -> bool:
    return a.added < (b.removed or _LATEST) and b.added < (a.removed or _LATEST)
