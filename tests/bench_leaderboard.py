"""Figures of the record: a thousand evaluations logged, and the board that shows them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from toolkit import tracking, tracking_files
from toolkit.seeding import generator

ROUNDS, SEEDS = 5, 24
LOGGED, COPIES = 20, 50
"""Evaluations that are logged, half of them of learned policies, and how often each is there."""


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the values of five rounds."""
    with tempfile.TemporaryDirectory() as folder, _store(Path(folder)):
        return [*_rows()]


@contextmanager
def _store(folder: Path) -> Iterator[None]:
    """Record into a folder, whatever the environment says."""
    before = dict(os.environ)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["TOOLKIT_DATASETS"] = str(folder)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _rows() -> Iterator[tuple[str, str, list[float]]]:
    _log(0)  # imports MLflow and makes the database
    taken = [_milliseconds(lambda n=n: _log(n)) for n in range(1, LOGGED)]
    rounds = [float(np.median(part)) for part in np.array_split(taken, ROUNDS)]
    yield f"record: log an evaluation with {SEEDS} nested runs", "ms", rounds
    _copy()
    assert len(tracking.board()) == LOGGED * COPIES
    found = [_milliseconds(tracking.board) for _ in range(ROUNDS)]
    yield f"record of {LOGGED * COPIES} evaluations: tracking.board()", "ms", found
    words = [sys.executable, "-m", "toolkit", "leaderboard", "suite=quick", "evaluate=false"]
    found = [_milliseconds(lambda: _run(words)) for _ in range(ROUNDS)]
    yield f"record of {LOGGED * COPIES} evaluations: toolkit leaderboard", "ms", found


def _copy() -> None:
    """Copy what was logged, nested runs too, under other ids and names; files are shared."""
    parent, differs = "mlflow.parentRunId", "('policy', 'cell_key', 'mlflow.runName')"
    file = tracking_files.database()
    with closing(sqlite3.connect(file)) as base, base:
        tables = ("runs", "tags", "metrics", "latest_metrics", "params")
        for table in tables:
            base.execute(f"CREATE TEMP TABLE of_{table} AS SELECT * FROM {table}")
        for k in range(1, COPIES):
            value = (
                f"CASE WHEN key = '{parent}' THEN '{k:04x}' || substr(value, 5) "
                f"WHEN key IN {differs} THEN value || ' {k}' ELSE value END"
            )
            for table in tables:
                new = {"run_uuid": f"'{k:04x}' || substr(run_uuid, 5)"}
                new |= {"value": value} if table == "tags" else {}
                names = [c[1] for c in base.execute(f"PRAGMA table_info({table})")]
                told = ", ".join(new.get(c, c) for c in names)
                base.execute(f"INSERT INTO {table} SELECT {told} FROM of_{table}")


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _log(policy: int) -> None:
    rng = generator(0, "bench", policy)
    scores = 40 + policy + rng.normal(0, 5, SEEDS)
    cells = pd.DataFrame({"seed": range(10_000, 10_000 + SEEDS), "score": scores})
    names = ("return_mean", "latency_mean", "latency_p95", "makespan", "throughput", "cost")
    cells = cells.assign(**{name: rng.random(SEEDS) for name in names})
    mean = float(scores.mean())
    ends = {"score": mean, "iqm": mean, "ci_low": mean - 2, "ci_high": mean + 2}
    tracking.log_evaluation(
        suite="quick",
        policy=f"policy {policy}",
        metrics={**ends, **{name: float(cells[name].mean()) for name in names}},
        params={f"suite.{k}": k for k in ("name", "engine", "seeds", "first_seed", "floor")},
        tags={
            "cell_key": f"key-{policy}", "learned": str(policy % 2 == 0).lower(),
            "engine": "simulator", "calibration": "c", "schema": "3", "simulator": "7",
            "command": f"toolkit evaluate suite=quick policies=[policy-{policy}]",
        },
        cells=cells,
    )  # fmt: skip


def _milliseconds(work) -> float:
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)


if __name__ == "__main__":
    for label, unit, values in rows():
        print(f"{label:<75} {sorted(values)[len(values) // 2]:10.1f} {unit}")
