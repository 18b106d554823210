"""What runs on Ray's workers: the genomics processes, with a probe of what they took."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray

from collectors import fastq, genomics
from collectors.ray.probe import peak, reset_peak
from collectors.ray.session import RayNode, get, on

_SOURCE = "qc"
PROBE = ("cpu_seconds", "peak_memory", "bytes_in", "bytes_out")
"""What the probe measures of every task."""


@ray.remote
def attempt(process: str, threads: int, memory: int, *inputs: Any) -> Iterator[Any]:
    """Run one task; yields when it started, its outputs, and what it took."""
    me = psutil.Process()
    base = me.memory_info().rss
    reset_peak()
    cpu = time.process_time()
    yield time.time()
    bytes_in = sum(_size(i) for i in inputs)
    if process == _SOURCE:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "reads.fastq.gz"
            file.write_bytes(inputs[0]["fastq"].tobytes())
            np.save(fastq.reference_path(file), inputs[0]["reference"], allow_pickle=False)
            outputs = genomics.run(process, (file,), threads=threads, memory=memory)
    else:
        outputs = genomics.run(process, inputs, threads=threads, memory=memory)
    yield outputs
    yield {
        "finished": time.time(),
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory": float(max(0, peak() - base)),
        "bytes_in": float(bytes_in),
        "bytes_out": float(_size(outputs)),
    }


def _size(arrays: Any) -> int:
    return sum(int(np.asarray(a).nbytes) for a in arrays.values())


@ray.remote
def sample(features: dict[str, float], seed: int) -> dict[str, np.ndarray]:
    """Return a generated sample: the bytes of its FASTQ file and its reference."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reads.fastq.gz"
        fastq.generate(
            file,
            reads=int(features["reads"]),
            length=int(features["length"]),
            accuracy=features["accuracy"],
            complexity=features["complexity"],
            seed=seed,
        )
        return payload(file)


def payload(file: Path) -> dict[str, np.ndarray]:
    """Return a FASTQ file and its reference as arrays."""
    return {
        "fastq": np.frombuffer(file.read_bytes(), dtype=np.uint8),
        "reference": np.load(fastq.reference_path(file), allow_pickle=False),
    }


@ray.remote
def warm_worker() -> float:
    """Load the compiled kernels in a worker."""
    genomics.warm()
    time.sleep(0.2)  # so that the next one is taken by another worker
    return time.time()


def warm(nodes: Sequence[RayNode]) -> None:
    """Load the kernels on every worker; the first one compiles where that is needed."""
    # One worker compiles first, so that the others find the kernels in the cache.
    get(warm_worker.options(num_cpus=1, scheduling_strategy=on(nodes[0])).remote())
    # Ray may keep some workers from each other's tasks for a while: twice as many as cpus.
    pending = [
        warm_worker.options(num_cpus=0.5, scheduling_strategy=on(n)).remote()
        for n in nodes
        for _ in range(max(2, 2 * int(n.node.cpus)))
    ]
    get(pending)
