"""Figures of calibrations: regressions on many tasks, and the durations that they tell.

``python -m tests.bench_calibration`` prints the bar beside each figure. All are seconds by the
wall clock; trees use all cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.calibration.contention import rates, work
from toolkit.calibration.durations import BOOSTED, PARAMETRIC, Durations
from toolkit.calibration.executions import Executions

ROUNDS = 5
FEW = 2
"""Rounds of what takes many seconds."""
TASKS, PAIRS, TYPES, RUNS = 100_000, 1_000_000, 6, 40
RESOURCES = np.array([[1, 1], [1, 4], [2, 1], [2, 4], [4, 4]], dtype=np.float64)

BARS = {
    "regressions on 100 k tasks": 60,
    "1 M durations, parametric": 1,
    "1 M durations, boosted": 3,
}
"""At most, s."""


def executions(n: int, seed: int) -> Executions:
    """Make executions of a log-linear law with noise, four at a time on each of two machines."""
    rng = np.random.default_rng(seed)
    column = rng.integers(0, len(RESOURCES), n)
    data = np.exp(0.6 * rng.standard_normal((n, 5)))
    seconds = np.exp(np.log(data[:, 0]) + 1 / RESOURCES[column, 0] + 0.2 * rng.standard_normal(n))
    started = np.sort(rng.uniform(0, n * seconds.mean() / (8 * RUNS), n))
    return Executions(
        type_of=rng.integers(0, TYPES, n),
        column=column,
        data=data,
        started=started,
        finished=started + seconds,
        cpus=RESOURCES[column, 0],
        machine=rng.integers(0, 2, n),
        run=rng.integers(0, RUNS, n),
        job=np.arange(n) // TYPES,
        task=np.arange(n),
        cold=np.zeros(n, dtype=np.bool_),
    )


def fitted(done: Executions, kinds: tuple[str, ...] | None = None) -> Durations:
    """Fit the work of executions, all kinds competing where none is named."""
    alone = work(done, rates(0.3, 4, 16))
    return Durations.fit(done, alone, TYPES, RESOURCES, kinds=kinds)


def seconds(task: Callable[[], Any], rounds: int) -> list[float]:
    """Return the seconds of several rounds, after one that is not counted where they are many."""
    if rounds > FEW:
        task()
    found = []
    for _ in range(rounds):
        start = time.monotonic()
        task()
        found.append(time.monotonic() - start)
    return found


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the values of the rounds."""
    done = executions(TASKS, 0)
    found = [("regressions on 100 k tasks", "s", seconds(lambda: fitted(done), FEW))]
    some, asked = done.where(np.arange(TASKS) < 20_000), executions(PAIRS, 1)
    for kind in (PARAMETRIC, BOOSTED):
        model = fitted(some, (kind,) * TYPES)
        assert model.kinds == (kind,) * TYPES
        taken = seconds(
            lambda model=model: model.log_mean(asked.type_of, asked.data, asked.column), ROUNDS
        )
        found.append((f"1 M durations, {kind}", "s", taken))
    return found


if __name__ == "__main__":
    for label, unit, values in rows():
        shown = ", ".join(f"{v:,.3g}" for v in values)
        print(f"{label:<44}{np.median(values):>12,.2f} {unit:<4} bar {BARS[label]}   [{shown}]")
