"""Queries: SQL executions, streaming queries and their batches, a row of ``spans`` each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from collectors.run_writer import RunWriter
from collectors.spark import events, redaction
from collectors.spark.clock import LATEST, Clock


class Queries:
    """Takes the events of SQL and streaming.

    Args:
        run: Where the rows go.
        clock: Tells the seconds.
    """

    def __init__(self, run: RunWriter, clock: Clock) -> None:
        self._run = run
        self._report = run.completeness
        self._clock = clock
        self._executions: dict[int, dict[str, Any]] = {}
        self._queries: dict[str, dict[str, Any]] = {}
        self._spans = 0

    def execution_started(self, e: events.ExecutionStart) -> None:
        """Take the start of an SQL execution."""
        before = self._executions.pop(e.execution, None)
        if before is not None:
            self._report.note(f"spans: execution {e.execution} began twice")
            self._write(before, None, before.pop("detail"))
        name = redaction.short(e.description or f"execution {e.execution}")
        started = self._clock.at(e.at, "spans", f"the start of execution {e.execution}")
        span = self._begin("sql", name, started)
        detail: dict[str, Any] = {"id": e.execution}
        if e.root is not None:
            detail["root"] = e.root
            root = self._executions.get(e.root)
            if root is not None:
                span["parent"] = root["span"]
        if e.plan is not None and e.plan.node:
            detail["plan"] = redaction.short(e.plan.node, 200)
        span["detail"] = detail
        self._executions[e.execution] = span

    def execution_ended(self, e: events.ExecutionEnd) -> None:
        """Take the end of an SQL execution."""
        span = self._executions.pop(e.execution, None)
        if span is None:
            self._report.note(f"spans: execution {e.execution} ended but never began: left out")
            return
        detail = span.pop("detail")
        if e.error:
            detail["failure"] = redaction.short(e.error.split("\n", 1)[0])
        finished = self._clock.at(e.at, "spans", f"the end of execution {e.execution}")
        self._write(span, finished, detail)

    def query_started(self, e: events.QueryStarted) -> None:
        """Take the start of a streaming query."""
        name = redaction.short(e.name or e.query or e.run)
        started = self._clock.at(_milliseconds(e.at), "spans", "the start of a query")
        span = self._begin("query", name, started)
        span["detail"] = {"id": (e.query or "")[:80], "run": e.run[:80]}
        before = self._queries.pop(e.run, None)
        if before is not None:
            self._write(before, None, before.pop("detail"))
        self._queries[e.run] = span

    def query_progressed(self, e: events.QueryProgress) -> None:
        """Take a batch of a streaming query."""
        p = e.progress
        query = self._queries.get(p.run or "")
        started = self._clock.at(_milliseconds(p.at), "spans", "the start of a batch")
        span = self._begin("streaming", redaction.short(p.name or p.query or "batch"), started)
        if query is not None:
            span["parent"] = query["span"]
        rows = [s.rows for s in p.sources if s.rows is not None]
        parts = {k[:80]: v for k, v in list(p.parts.items())[:50]}
        lasted = p.duration if p.duration is not None else parts.get("triggerExecution")
        finished = None
        if started is not None and lasted is not None and 0 <= lasted < LATEST * 1e3:
            finished = started + lasted / 1e3
        detail = {
            "batch": p.batch,
            "duration_ms": parts,
            "input_rows": sum(rows) if rows else None,
            "run": p.run[:80] if p.run else None,
        }
        self._write(span, finished, detail)

    def query_terminated(self, e: events.QueryTerminated) -> None:
        """Take the end of a streaming query."""
        span = self._queries.pop(e.run, None)
        if span is not None:
            detail = span.pop("detail")
            if e.exception:
                detail["failure"] = redaction.short(e.exception.split("\n", 1)[0])
            self._write(span, None, detail)

    def finish(self) -> None:
        """Write what the log left open."""
        for open_ones in (self._executions, self._queries):
            for span in open_ones.values():
                self._write(span, None, span.pop("detail"))

    def _begin(self, kind: str, name: str, started: float | None) -> dict[str, Any]:
        self._report.of("spans").seen += 1
        self._spans += 1
        return {"span": self._spans - 1, "kind": kind, "name": name, "started_at": started}

    def _write(
        self, span: dict[str, Any], finished: float | None, detail: Mapping[str, Any]
    ) -> None:
        started = span["started_at"]
        if started is not None and finished is not None and finished < started:
            self._clock.repair("spans", f"{span['kind']} {span['name'][:80]} ended before it began")
            finished = None
        known = started is not None and (finished is not None or span["kind"] == "query")
        self._report.of("spans").complete += known
        self._run.add(
            "spans", **span, finished_at=finished, detail=msgspec.json.encode(detail).decode()
        )


def _milliseconds(text: str | None) -> int | None:
    """Return milliseconds since 1970 of a time such as ``2026-11-21T09:00:46.203Z``."""
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text[:40])
        return round(told.replace(tzinfo=told.tzinfo or UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
