"""Figures of datasets: written, read, audited and sampled, beside Minari and d3rlpy.

``python -m tests.bench_datasets`` prints the bar beside each figure. Rates are per second of CPU
time of the process; where the wall clock is meant, the label says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import d3rlpy
import minari
import numpy as np
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from toolkit.data.audit import audit
from toolkit.data.buffer import FlatBuffer
from toolkit.data.card import DatasetCard
from toolkit.data.dataset import Dataset, opened
from toolkit.data.episodes import FILE, About
from toolkit.data.padding import Transitions, padded
from toolkit.data.place import Place
from toolkit.data.rows import Rows
from toolkit.data.splits import counted
from toolkit.data.transitions import Description
from toolkit.data.writer import Writer, write_index
from toolkit.features.observe import FEATURISER
from toolkit.store import Store, sha256

ROUNDS = 5
FEW = 2
"""Rounds of what takes many seconds."""
N = 1_000_000
LENGTH = 1000
"""Decisions of an episode."""
NARROW, RAGGED, WIDE = (8, 7, 7), (16, 17, 16), (16, 32, 16)
"""G, K, F: rows of 64, 305 and 560 numbers; the second are 1.15 kB of features."""
ID = "placement/bench-random-v1"

BARS = {
    "dataset of 64 floats, written": 250_000,
    "dataset of 17 x 16 floats, written": 120_000,
    "written: ours by Minari's Parquet": 20,
    "bytes: Minari's smallest by ours": 1,
    "batches of 256 x 64 floats, in memory": 15_000,
    "batches of 256 x 64 floats, mapped": 8_000,
    "batches of 256 x 560 floats, in memory": 5_000,
    "1 M rows of 1.15 kB read and padded": 200_000,
    "1 M rows of 64 floats audited": 100_000,
}
"""At least; 200,000 rows a second are 5 s, 100,000 are 10 s."""


def description(sizes: tuple[int, int, int]) -> Description:
    """Describe decisions of these sizes."""
    G, K, F = sizes
    return Description(
        family="placement",
        featuriser=FEATURISER,
        types=("a",),
        slots=K,
        globals=tuple((f"g{i}", "1") for i in range(G)),
        candidates=tuple((f"c{i}", "1") for i in range(F)),
        terms=(("elapsed", "s", -1.0, 1.0),),
        reward=1,
    )


def episode(
    rng: np.random.Generator, n: int, sizes: tuple[int, int, int], ragged: bool = False
) -> Rows:
    """Make an episode of noise whose rows show all slots, or from one to all of them."""
    G, K, F = sizes
    slots = rng.integers(1, K + 1, n) if ragged else np.full(n, K)
    total = int(slots.sum())
    last = np.arange(n) == n - 1
    whole = {
        "step": np.arange(n, dtype=np.int32),
        "time": np.arange(n) * 1.0,
        "elapsed": np.ones(n),
        "agent": np.zeros(n, np.int32),
        "globals": rng.standard_normal((n, G)).astype(np.float32),
        "candidates": rng.standard_normal((total, F)).astype(np.float32),
        "mask": np.ones(total, np.bool_),
        "action": (rng.random(n) * slots).astype(np.int32),
        "key": np.zeros(n, np.int32),
        "r_elapsed": rng.random(n).astype(np.float32),
        "terminated": last,
        "propensity": np.full(n, 1 / K),
        "decision": np.arange(n, dtype=np.int32),
    }
    whole["reward"] = -whole["r_elapsed"].astype(np.float64)
    whole |= {name: np.zeros(n, np.bool_) for name in ("truncated", "inferred", "invalid")}
    whole |= {name: np.full(n, -1, np.int32) for name in ("run", "job", "task", "node")}
    whole["overflow"] = np.zeros(n, np.int32)
    return Rows(columns=whole, slots=slots, decisions=n)


def write(root: Path, sizes: tuple[int, int, int], episodes: list[Rows], count: int) -> Dataset:
    """Write ``count`` episodes, the given ones over and over, each a little different."""
    store = Store(root)
    store.discard("datasets", ID)
    folder = store.partial("datasets", ID)
    writer = Writer(folder, description(sizes), discount_seconds=10.0)
    actions, decisions = hashlib.sha256(), 0
    for i in range(count):
        rows = episodes[i % len(episodes)]
        seen = rows.columns["globals"].copy()
        seen[:, 0] = i
        actions.update(rows.columns["action"].tobytes())
        decisions += rows.decisions
        writer.add(
            Rows(
                columns={**rows.columns, "globals": seen},
                slots=rows.slots,
                decisions=rows.decisions,
            ),
            About(policy="random", workload=str(i), seed=i),
        )
    index = write_index(folder, FILE, writer.close())
    digests = {f: sha256(folder / f) for f in [*writer.parts, FILE]}
    card = DatasetCard(
        id=ID, about="", family="placement", scenario={}, traces=[], generated={}, behaviour={},
        episodes=count, transitions=decisions, splits=counted(index), reward={},
        discount_seconds=10.0, coverage={},
        inferred=0.0, invalid=0.0, fidelity=None, reference={}, reference_command="",
        licence="CC0-1.0", files=digests, actions=actions.hexdigest(), command="",
    )  # fmt: skip
    (folder / "card.yaml").write_text(card.to_yaml())
    about = {"card": "card.yaml", "episodes": FILE}
    return opened(Place(store.commit("datasets", ID, inputs={}, about=about, digests=digests).path))


def spent(work: Callable[[], Any]) -> float:
    """Return the seconds of CPU time that something takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def minari_write(folder: Path, data_format: str, episodes: list[Rows], count: int) -> None:
    """Write the same arrays with Minari."""
    G, K, F = NARROW
    shutil.rmtree(folder, ignore_errors=True)
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    buffers = []
    for i in range(count):
        c = episodes[i % len(episodes)].columns
        n = len(c["action"])
        shown = np.minimum(np.arange(n + 1), n - 1)
        buffers.append(
            EpisodeBuffer(
                seed=i,
                observations={
                    "globals": c["globals"][shown],
                    "candidates": c["candidates"].reshape(n, K, F)[shown],
                    "mask": c["mask"].reshape(n, K)[shown].astype(np.int8),
                },
                actions=c["action"].astype(np.int64),
                rewards=c["reward"],
                terminations=c["terminated"],
                truncations=c["truncated"],
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            "bench-v1",
            buffers,
            data_format=data_format,
            action_space=spaces.Discrete(K),
            observation_space=spaces.Dict(
                {
                    "globals": spaces.Box(-np.inf, np.inf, (G,), np.float32),
                    "candidates": spaces.Box(-np.inf, np.inf, (K, F), np.float32),
                    "mask": spaces.MultiBinary(K),
                }
            ),
        )


def octets(folder: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def beside_minari(root: Path) -> list[tuple[str, str, list[float]]]:
    """Write 500 episodes of 100 decisions of 64 floats each way."""
    rng = np.random.default_rng(0)
    episodes = [episode(rng, 100, NARROW) for _ in range(500)]
    decisions = 500 * 100
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: write(root / "ours", NARROW, episodes, 500),
        **{
            way: lambda way=way: minari_write(root / way, way, episodes, 500)
            for way in ("parquet", "arrow", "hdf5")
        },
    }
    ways["ours"]()
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(FEW):
        for way, work in ways.items():
            rates[way].append(decisions / spent(work))
    sizes = {way: octets(root / way) for way in ways}
    smallest = min(size for way, size in sizes.items() if way != "ours")
    times = [a / b for a, b in zip(rates["ours"], rates["parquet"], strict=True)]
    return [
        ("500 x 100 decisions written by us", "decisions", rates["ours"]),
        *(
            (f"the same by Minari, {way}", "decisions", rates[way])
            for way in ("parquet", "arrow", "hdf5")
        ),
        ("written: ours by Minari's Parquet", "ratio", times),
        *((f"megabytes of the same, {way}", "MB", [size / 1e6]) for way, size in sizes.items()),
        ("bytes: Minari's smallest by ours", "ratio", [smallest / sizes["ours"]]),
    ]


def files(root: Path) -> list[tuple[str, str, list[float]]]:
    """Write, read and audit a million rows; train on more than may lie in memory."""
    rng = np.random.default_rng(0)
    found: list[tuple[str, str, list[float]]] = []
    kinds = ((NARROW, "64 floats", "64 floats"), (RAGGED, "17 x 16 floats", "1.15 kB"))
    for sizes, name, kind in kinds:
        episodes = [episode(rng, LENGTH, sizes) for _ in range(100)]
        write(root / "warm", sizes, episodes, 100)
        shutil.rmtree(root / "warm")
        written: list[float] = []
        for _ in range(FEW):
            start = time.process_time()
            dataset = write(root / "million", sizes, episodes, N // LENGTH)
            written.append(N / (time.process_time() - start))
        read: list[float] = []
        wall: list[float] = []
        audited: list[float] = []
        for _ in range(FEW):
            began = time.monotonic()
            start = time.process_time()
            padded(dataset)
            read.append(N / (time.process_time() - start))
            wall.append(time.monotonic() - began)
            start = time.process_time()
            problems = audit(dataset).problems
            audited.append(N / (time.process_time() - start))
            assert not problems, problems[0]
        found += [
            (f"dataset of {name}, written", "rows", written),
            (f"1 M rows of {kind} read and padded", "rows", read),
            (f"1 M rows of {kind} read and padded, wall", "s", wall),
            (f"1 M rows of {kind} audited", "rows", audited),
        ]
        if sizes == RAGGED:
            found += larger_than_memory(root, dataset)
            some = [episode(rng, LENGTH, sizes, ragged=True) for _ in range(100)]
            written = [
                N / spent(lambda some=some: write(root / "ragged", RAGGED, some, N // LENGTH))
                for _ in range(FEW)
            ]
            found.append(("dataset of 1 to 17 x 16 floats, written", "rows", written))
    return found


CHILD = """
import json, sys, time
import d3rlpy, torch
from toolkit.data.buffer import FlatBuffer
from toolkit.data.dataset import load_dataset

def told(name):
    with open("/proc/self/status") as lines:
        return next(int(l.split()[1]) / 1024 for l in lines if l.startswith(name))

torch.set_num_threads(1)
allowed = int(sys.argv[2])
before = told("VmRSS")
data = load_dataset(sys.argv[1]).transitions(None, memory=allowed)
filled = told("VmHWM")
buffer = FlatBuffer(data, discount_seconds=10.0, seed=0, most_mapped=allowed)
algo = d3rlpy.algos.DiscreteBCConfig(batch_size=256).create(device="cpu:0")
start = time.process_time()
algo.fit(buffer, n_steps=300, n_steps_per_epoch=300, show_progress=False,
         logger_adapter=d3rlpy.logging.NoopAdapterFactory())
print(json.dumps([before, filled, told("VmHWM"), data.observations.nbytes / 2**20,
                  300 / (time.process_time() - start)]))
"""


def larger_than_memory(root: Path, dataset: Dataset) -> list[tuple[str, str, list[float]]]:
    """Train on five times what may lie in memory; the peak is that of a process of its own."""
    import json

    rows = sum(dataset.episodes["rows"].to_pylist())
    whole = (rows + 1) * 305 * 4
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, dataset.place.url, str(whole // 5)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TOOLKIT_DATASETS": str(root / "child")},
    )
    before, filled, peak, size, rate = json.loads(done.stdout.splitlines()[-1])
    return [
        ("training on 5 x memory: the array", "MiB", [size]),
        ("  may lie in memory", "MiB", [whole / 5 / 2**20]),
        ("  resident when all is imported", "MiB", [before]),
        ("  peak when the array is written", "MiB", [filled]),
        ("  peak after 300 steps of BC", "MiB", [peak]),
        ("  steps of BC, batch 256", "steps", [rate]),
    ]


def noise(sizes: tuple[int, int, int], observations: Any) -> Transitions:
    """Return a million transitions of noise with these observations."""
    rng = np.random.default_rng(0)
    following = np.arange(1, N + 1)
    last = np.arange(N) % LENGTH == LENGTH - 1
    following[last] = N
    return Transitions(
        observations=observations,
        sizes=sizes,
        action=rng.integers(0, sizes[1], N),
        reward=rng.standard_normal(N),
        elapsed=np.ones(N),
        terminal=last,
        following=following,
        propensity=np.ones(N),
        episode=np.arange(N) // LENGTH,
        agent=np.zeros(N, np.int8),
        described=description(sizes),
    )


def batches(buffer: Any, count: int) -> list[float]:
    """Return batches of 256 per CPU-second."""

    def work(times: int = count) -> None:
        for _ in range(times):
            buffer.sample_transition_batch(256)

    work(count // 4)
    return [count / spent(work) for _ in range(ROUNDS)]


def filled(shape: tuple[int, int], into: Any = None) -> Any:
    """Return an array of numbers that are not all alike."""
    array = np.empty(shape, np.float32) if into is None else into
    block = np.random.default_rng(0).standard_normal((10_000, shape[1])).astype(np.float32)
    for i in range(0, shape[0], len(block)):
        array[i : i + len(block)] = block[: min(len(block), shape[0] - i)]
    return array


def sampling(root: Path) -> list[tuple[str, str, list[float]]]:
    """Sample batches from a million transitions, beside d3rlpy's own buffer."""
    found = []
    plain = filled((N + 1, 64))
    buffer = FlatBuffer(noise(NARROW, plain), discount_seconds=10.0, seed=0)
    found.append(("batches of 256 x 64 floats, in memory", "batches", batches(buffer, 4000)))
    file = root / "mapped.f32"
    filled(plain.shape, np.memmap(file, np.float32, "w+", shape=plain.shape)).flush()
    mapped = np.memmap(file, np.float32, "r", shape=plain.shape)
    buffer = FlatBuffer(noise(NARROW, mapped), discount_seconds=10.0, seed=0)
    found.append(("batches of 256 x 64 floats, mapped", "batches", batches(buffer, 4000)))
    buffer = FlatBuffer(noise(NARROW, mapped), discount_seconds=10.0, seed=0, most_mapped=0)
    found.append(("the same, too large to map: read", "batches", batches(buffer, 1000)))
    data = noise(NARROW, plain)
    own = d3rlpy.dataset.MDPDataset(
        plain[:-1], data.action[:, None], data.reward[:, None], data.terminal,
        action_space=d3rlpy.constants.ActionSpace.DISCRETE, action_size=7,
    )  # fmt: skip
    found.append(("the same from d3rlpy's own buffer", "batches", batches(own, 100)))
    del own, plain, mapped, buffer, data
    buffer = FlatBuffer(noise(WIDE, filled((N + 1, 560))), discount_seconds=10.0, seed=0)
    found.append(("batches of 256 x 560 floats, in memory", "batches", batches(buffer, 1000)))
    return found


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the values of the rounds; all sides take turns in one run."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    try:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            return [*beside_minari(root / "minari"), *files(root), *sampling(root)]
    finally:
        os.environ.pop("MINARI_DATASETS_PATH", None)
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before


if __name__ == "__main__":
    for label, unit, values in rows():
        bar = f"  bar {BARS[label]:,}" if label in BARS else ""
        middle = float(np.median(values))
        shown = ", ".join(f"{v:,.4g}" if v < 100 else f"{v:,.0f}" for v in values)
        print(f"{label:<44}{middle:>12,.1f} {unit:<10}{bar}   [{shown}]", flush=True)
