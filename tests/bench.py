"""Figures of the hot paths on this machine, as a table: ``make bench``."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.planning import dags
from tests.recordings import record, transitions
from tests.workloads import Fixed, Luck, estimates, scenario
from toolkit.cluster import Cluster, Node
from toolkit.data.buffer import FlatBuffer
from toolkit.envs.vector import BatchedEnv
from toolkit.features.observe import sizes_of
from toolkit.features.placement import FINISH_IN, RANK, WAIT
from toolkit.live import chooser, rollout
from toolkit.planning import heft
from toolkit.planning.board import empty
from toolkit.planning.heft import merged
from toolkit.policies.dispatching import FIFO, play
from toolkit.policies.linear import drive
from toolkit.policies.static import Static
from toolkit.reward import WorkflowWeights
from toolkit.simulator.simulator import Simulator, Truth, scene_of
from toolkit.workload import PLACEMENT, Workload, assemble

ROUNDS = 5

LOGS = sorted(p.stem for p in Path(__file__).parent.glob("bench_*.py"))
"""Modules with the figures of one importer or recorder each."""


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


def placed(jobs: int, *, slots: int = 32, advice: bool = False, gap: float = 50.0) -> Workload:
    """A stream of jobs of 20 tasks with two parents each, on 8 nodes of 4 kinds with links."""
    rng = np.random.default_rng(0)
    per, n = 20, 20 * jobs
    local = [sorted(rng.choice(i, min(i, 2), replace=False)) for i in range(1, per)]
    degree = np.minimum(np.arange(per), 2)
    flat = np.array([p for row in local for p in row])
    cluster = Cluster(
        nodes=tuple(
            Node(name=f"n{i}", cpus=1, memory=1, kind=f"k{i % 4}", bandwidth=1e9 * (1 + i % 3))
            for i in range(8)
        )
    )
    arrays = assemble(
        family=PLACEMENT,
        type_of=rng.integers(0, 8, n),
        job_ptr=np.arange(jobs + 1) * per,
        parent_ptr=np.concatenate([[0], np.cumsum(np.tile(degree, jobs))]),
        parents=(np.arange(jobs)[:, None] * per + flat[None, :]).reshape(-1),
        data=rng.exponential(1e9, jobs * len(flat)),
        arrival=np.cumsum(rng.exponential(gap, jobs)),
        scale=np.exp(0.5 * rng.standard_normal(n)),
        seconds=rng.uniform(5, 15, (8, 4)),
        demand=[[1, 1, 0]],
        cluster=cluster,
        profile_of_type=np.zeros(8),
        slots=slots,
        advice=advice,
    )
    return Workload(types=tuple("abcdefgh"), cluster=cluster, arrays=arrays, seed=0)


def begun(workload: Workload) -> Any:
    """The handle of a fresh episode whose estimates are true."""
    w = workload.arrays
    return scene_of(workload, Truth(seconds=w.seconds, scale=w.scale)).handle


def of_scenes(work: Callable[[Any], int], workload: Workload) -> list[float]:
    """Rates of work on fresh episodes; making them is not counted."""
    handles = [begun(workload) for _ in range(ROUNDS + 1)]
    return rates(lambda: work(handles.pop()))


def fifo_eft(handle: Any) -> int:
    """Tasks under FIFO with the earliest-finish node, inside the kernel."""
    return play(handle, np.inf, FIFO) // 2


def featured(workload: Workload) -> Callable[[Any], int]:
    """Decisions under a linear score of the full observation, inside the kernel."""
    G, K, F = sizes_of(workload)
    buffers = (
        np.zeros(G, np.float32),
        np.zeros((K, F), np.float32),
        np.zeros(K, np.bool_),
        np.zeros(K, np.int32),
    )
    weights = np.zeros(F)
    weights[WAIT], weights[FINISH_IN], weights[RANK] = -1e9, -1.0, 0.01
    plain = np.zeros(F, dtype=np.int64)
    return lambda handle: drive(handle, *buffers, weights, plain, np.inf)[2]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A workload as a scenario, for the environments."""

    workload: Workload
    name: str = "stream"
    weights: WorkflowWeights = field(default_factory=lambda: WorkflowWeights(sojourn=1.0))
    horizon: float = 1e9

    def plan(self, seed: int) -> Workload:
        """Return the same workload for every seed."""
        return self.workload

    def truth(self, workload: Workload, seed: int) -> Truth:
        """Return the estimates."""
        return Truth(seconds=workload.arrays.seconds, scale=workload.arrays.scale)


def batched(workload: Workload, copies: int = 64) -> Callable[[], int]:
    """Decisions of the batched environment under the first slot that is no ``wait``."""
    env = BatchedEnv(Stream(workload=workload), num_envs=copies, copy=False)
    env.reset(seed=0)

    def work() -> int:
        for _ in range(100):
            masks = env.action_masks().copy()
            masks[:, 0] &= ~masks[:, 1:].any(axis=1)
            env.step(masks.argmax(axis=1))
        return 100 * copies

    return work


def heft_calls(name: int, calls: int) -> Callable[[], int]:
    """Calls of HEFT on a random graph of so many tasks and 8 nodes."""
    w = dags.random_dag(0, name, 8)
    start, order = empty(w), merged(w)

    def work() -> int:
        for _ in range(calls):
            heft.plan(w, start, order)
        return calls

    return work


def scaling() -> None:
    """Print how the cost of a step grows with the tasks of the workload."""
    print("\nseconds per featured decision by tasks of the workload (heuristic inside the kernel)")
    for jobs in (50, 500, 5_000, 50_000):
        workload = placed(jobs)
        found = of_scenes(featured(workload), workload)
        tasks = workload.tasks
        spent = 2 * tasks / statistics.median(found)
        print(
            f"{tasks:>10,} tasks {1e6 / statistics.median(found):>8.2f} µs  {spent:>6.2f} s in all"
        )
    wide = dags.random_dag(0, 100_000, 64)
    start = time.process_time()
    heft.plan(wide, empty(wide), merged(wide))
    print(f"HEFT of 100,000 tasks on 64 nodes: {time.process_time() - start:.2f} CPU s")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    data = transitions(record([Static()] * 12))
    buffer = FlatBuffer(data, discount_seconds=3.0, seed=0)

    def batches() -> int:
        for _ in range(500):
            buffer.sample_transition_batch(256)
        return 500

    stream, advised = placed(2750), placed(50, slots=16, advice=True, gap=5.0)
    plain = placed(50, slots=16, gap=5.0)
    rows = [
        ("placement, FIFO-EFT in the kernel", "tasks", of_scenes(fifo_eft, stream)),
        ("the same, observed and scored", "decisions", of_scenes(featured(plain), plain)),
        ("the same with the HEFT re-plan", "decisions", of_scenes(featured(advised), advised)),
        ("batched environment, 64 copies", "decisions", rates(batched(plain))),
        ("the same with the HEFT re-plan", "decisions", rates(batched(advised))),
        ("HEFT, 20 tasks × 8 nodes", "calls", rates(heft_calls(20, 2000))),
        ("HEFT, 1000 tasks × 8 nodes", "calls", rates(heft_calls(1000, 100))),
        ("allocation, one call", "tasks", rates(simulated_tasks)),
        ("allocation, rollout in Python", "decisions", rates(decisions)),
        ("batches of 256 from the buffer", "batches", rates(batches)),
    ]
    for name in LOGS:
        rows += importlib.import_module(f"tests.{name}").rows()
    print(f"{'':<40}{'per CPU-second: median':>24}{'least':>12}{'most':>12}")
    for label, unit, found in rows:
        median = statistics.median(found)
        print(f"{label:<40}{median:>15,.0f} {unit:<9}{min(found):>11,.0f}{max(found):>12,.0f}")
    scaling()
    print(f"n = {ROUNDS} rounds, numpy {np.__version__}, torch {torch.__version__}, 1 thread")


if __name__ == "__main__":
    main()
