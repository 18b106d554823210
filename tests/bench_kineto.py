"""Figures of the import of profiler traces: Kineto to Parquet beside ``json.loads``."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from collectors.gpu.kineto import EXTRA, Kineto
from collectors.run_writer import RunWriter
from collectors.streams import Limits, Source

ROUNDS = 5
STEPS = 160
LAUNCHES = 250
"""Kernels of a step; each has two ops, a runtime call and the two ends of an arrow."""

HEAD = """
{
  "schemaVersion": 1,
  "deviceProperties": [
    {"id": 0, "name": "NVIDIA A100-SXM4-40GB", "totalGlobalMem": 42297524224, "numSms": 108}
  ],
  "displayTimeUnit": "ms",
  "baseTimeNanoseconds": 1735632360000000000,
  "traceEvents": ["""
OP = """
  {
    "ph": "X", "cat": "cpu_op", "name": "%s", "pid": 4037, "tid": 4037,
    "ts": %.3f, "dur": %.3f,
    "args": {
      "External id": %d,"Record function id": 0, "Concrete Inputs": ["", "", "1"], "Input type": \
["float", "float", "Scalar"], "Input Strides": [[4096, 1], [4096, 1], []], "Input Dims": \
[[64, %d], [64, %d], []], "Ev Idx": %d
    }
  },"""
CALL = """
  {
    "ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 4037, "tid": 4037,
    "ts": %.3f, "dur": 5.020,
    "args": {
      "External id": %d, "cbid": 211, "correlation": %d
    }
  },
  {
    "ph": "s", "id": %d, "pid": 4037, "tid": 4037, "ts": %.3f,
    "cat": "ac2g", "name": "ac2g"
  },"""
KERNEL = """
  {
    "ph": "X", "cat": "kernel", "name": "void at::native::vectorized_elementwise_kernel<4, \
at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3> >(int, \
at::native::CUDAFunctor_add<float>, at::detail::Array<char*, 3>)", "pid": 0, "tid": 7,
    "ts": %.3f, "dur": %.3f,
    "args": {
      "External id": %d,
      "queued": 0, "device": 0, "context": 1,
      "stream": 7, "correlation": %d,
      "registers per thread": 32,
      "shared memory": 0,
      "blocks per SM": 9.481481,
      "warps per SM": 18.962963,
      "grid": [1024, 1, 1],
      "block": [64, 1, 1],
      "est. achieved occupancy %%": 30
    }
  },
  {
    "ph": "f", "id": %d, "pid": 0, "tid": 7, "ts": %.3f,
    "cat": "ac2g", "name": "ac2g", "bp": "e"
  },"""
STEP = """
  {
    "ph": "X", "cat": "user_annotation", "name": "ProfilerStep#%d", "pid": 4037, "tid": 4037,
    "ts": %.3f, "dur": %.3f,
    "args": {
      "External id": 1, "Ev Idx": 0
    }
  },"""
TAIL = """
  {
    "name": "Record Window End", "ph": "i", "s": "g",
    "pid": "", "tid": "", "ts": %.3f
  }
  ],
  "traceName": "bench.json"
}"""


def trace(file: Path) -> None:
    """Write a trace in the layout of Kineto."""
    now, launch = 4203669603187.439, 0
    with file.open("w", encoding="utf-8") as out:
        out.write(HEAD)
        for step in range(STEPS):
            out.write(STEP % (step, now, LAUNCHES * 40.0))
            for k in range(LAUNCHES):
                launch += 1
                at = now + 40.0 * k
                size = 128 << (k % 6)
                out.write(OP % ("aten::add_", at, 30.0, launch, size, size, launch))
                out.write(OP % ("aten::to", at + 1.5, 7.25, launch, size, size, launch))
                out.write(CALL % (at + 15.125, launch, launch, launch, at + 15.125))
                out.write(KERNEL % (at + 21.5, 3.0 + k % 7, launch, launch, launch, at + 21.5))
            now += LAUNCHES * 40.0
        out.write(TAIL % now)


def load(file: Path, folder: Path) -> None:
    """Import a trace to Parquet."""
    run = RunWriter(folder, 0, EXTRA)
    Kineto(Source(file, Limits()), run).read()
    run.close()
    shutil.rmtree(folder)


def rows() -> list[tuple[str, str, list[float]]]:
    """Return label, unit and the values of the rounds; both sides take turns in one run."""
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as place:
        file, folder = Path(place) / "trace.json", Path(place) / "run"
        trace(file)
        size = file.stat().st_size / 1e6
        load(file, folder)
        for _ in range(ROUNDS):
            start = time.process_time()
            load(file, folder)
            ours.append(size / (time.process_time() - start))
            start = time.process_time()
            json.loads(file.read_bytes())
            plain.append(size / (time.process_time() - start))
    return [
        ("Kineto trace to Parquet", "MB of JSON/CPU-s", ours),
        ("json.loads of the same trace", "MB of JSON/CPU-s", plain),
        (
            "Kineto trace to Parquet by json.loads",
            "ratio",
            [a / b for a, b in zip(ours, plain, strict=True)],
        ),
    ]


if __name__ == "__main__":
    for label, unit, values in rows():
        print(label, unit, [round(v, 2) for v in values])
