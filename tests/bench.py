"""Figures of the hot paths on this machine, as a table: ``make bench``."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from tests.recordings import record
from tests.workloads import Fixed, Luck, ask, before, estimates, scenario
from toolkit.data.buffer import FlatBuffer
from toolkit.data.reconstruct import reconstruct
from toolkit.data.transitions import pad
from toolkit.learning.cql import CQL
from toolkit.live import chooser, rollout
from toolkit.policies import learned
from toolkit.policies.static import Static
from toolkit.simulator.simulator import Simulator

ROUNDS = 5


def rates(work: Callable[[], int]) -> list[float]:
    """Return units per CPU-second of several rounds, after one that is not counted."""
    work()
    found = []
    for _ in range(ROUNDS):
        start = time.process_time()
        units = work()
        found.append(units / (time.process_time() - start))
    return found


def simulated_tasks() -> int:
    """Kernel alone: one choice, then thousands of tasks in one call."""
    of = scenario(jobs=2000, rate=2.0, interval=1e9, horizon=1e12)
    workload = of.plan(0, estimates=estimates(of))
    engine = Simulator(Luck(), 0)
    engine.start(workload)
    for _ in workload.types:
        engine.act(0)
    engine.advance(1e9)
    return workload.tasks


def decisions() -> int:
    """Rollout with full observation under a fixed rule."""
    of = scenario(jobs=200, rate=3.0)
    workload = of.plan(0, estimates=estimates(of))
    episode = rollout(
        Simulator(Luck(), 0),
        workload,
        chooser(Fixed([0] * 6), 0),
        horizon=of.horizon,
        weights=of.weights,
    )
    return len(episode.steps)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data = pad(pa.concat_tables([p.table for p in reconstruct(record([Static()] * 12))]))
    buffer = FlatBuffer(data, discount_seconds=3.0, seed=0)
    settings = CQL(
        n_steps=200, batch_size=256, learning_rate=1e-3, alpha=0.01, n_critics=5,
        target_interval=200, hidden=64, report_every=200,
    )  # fmt: skip
    networks = []

    def batches() -> int:
        for _ in range(500):
            buffer.sample_transition_batch(256)
        return 500

    def steps() -> int:
        networks.append(settings.fit(data, discount_seconds=3.0, seed=0, on_metric=lambda *_: None))
        return settings.n_steps

    rows = [
        ("simulated tasks, one call", "tasks", rates(simulated_tasks)),
        ("decisions with full observation", "decisions", rates(decisions)),
        ("batches of 256 from the buffer", "batches", rates(batches)),
        ("CQL steps, 5 critics, batch 256", "steps", rates(steps)),
    ]
    of = scenario()
    workload = of.plan(0, estimates=estimates(of))
    with tempfile.TemporaryDirectory() as folder:
        learned.save(networks[-1], {**data.described, "lineage": {}}, Path(folder))
        policy = learned.load(Path(folder), "cql")

    def answers() -> int:
        for _ in range(300):
            policy.probabilities(ask(before(workload), 2))
        return 300

    rows.append(("learned decisions, features included", "decisions", rates(answers)))
    print(f"{'':<40}{'per CPU-second: median':>24}{'least':>12}{'most':>12}")
    for label, unit, found in rows:
        median = statistics.median(found)
        print(f"{label:<40}{median:>15,.0f} {unit:<9}{min(found):>11,.0f}{max(found):>12,.0f}")
    print(f"n = {ROUNDS} rounds, numpy {np.__version__}, torch {torch.__version__}, 1 thread")


if __name__ == "__main__":
    main()
