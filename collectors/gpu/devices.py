"""Devices: where a worker's lane runs its tasks, and what it can measure of them there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from collectors.gpu.messages import Lane, Took
from collectors.gpu.tasks import execute, noise
from toolkit.workflows.operations import FLOAT

if TYPE_CHECKING:
    import numpy as np
    import torch

LEAST = 0.1
"""Seconds below which a device's energy counter, which moves in steps, says nothing."""


class Device(Protocol):
    """What a lane needs of the device under it."""

    kind: str
    """Devices of one kind take equally long."""
    memory: float | None
    """Bytes of its own; null where it shares those of the host."""

    def about(self) -> dict[str, str | int | float | bool | None]:
        """Return names and versions."""

    def prepare(self) -> None:
        """Do before a task what is no part of it."""

    def run(
        self, operation: str, size: int, seed: int, parents: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, Took]:
        """Run a task to its end."""

    def take(self, values: torch.Tensor) -> torch.Tensor:
        """Return numbers, wherever they are, on this device; done when it returns."""

    def give(self, values: torch.Tensor) -> np.ndarray[Any, Any]:
        """Return numbers of any device as host memory that other processes can be sent."""


class CpuDevice:
    """The CPU with the instruction sets that this process was started with; one thread."""

    memory: float | None = None

    def __init__(self) -> None:
        import torch

        self._pool = noise("cpu")
        self._staging = torch.empty(0)
        self._seen: set[tuple[str, int]] = set()
        self._held: int | None = None
        capability = torch.backends.cpu.get_cpu_capability()
        # Without its vector kernels torch still has SSE, which every x86-64 has.
        self.kind = "cpu-sse4" if capability == "DEFAULT" else f"cpu-{capability.lower()}"

    def about(self) -> dict[str, str | int | float | bool | None]:
        """Return which instruction sets the libraries may use."""
        import torch

        names = ("ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
        return {
            "torch": str(torch.__version__),
            "isa": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            **{name.lower(): os.environ.get(name) for name in names},
        }

    def prepare(self) -> None:
        """Note what the process holds, so that the peak of the task can be told."""
        self._held = _forget_peak()

    def run(
        self, operation: str, size: int, seed: int, parents: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, Took]:
        """Run a task to its end."""
        warm = (operation, size) in self._seen
        self._seen.add((operation, size))
        held = self._held
        cpu, begun = time.thread_time(), time.perf_counter()
        made = execute(operation, size, seed, parents, self._pool, self._host)
        took = time.perf_counter() - begun
        cpu = time.thread_time() - cpu
        peak = _peak()
        return made, Took(
            host_seconds=took,
            device_seconds=None,
            cpu_seconds=cpu,
            peak_memory=None if held is None or peak is None else float(max(0, peak - held)),
            energy=None,
            clock=None,
            warm=warm,
            bytes_in=float(sum(p.numel() for p in parents) * FLOAT),
            bytes_out=float(made.numel() * FLOAT),
        )

    def take(self, values: torch.Tensor) -> torch.Tensor:
        """Return host memory as it is."""
        return values.cpu()

    def give(self, values: torch.Tensor) -> np.ndarray[Any, Any]:
        """Return the numbers themselves."""
        return values.numpy()

    def _host(self, count: int) -> torch.Tensor:
        import torch

        if len(self._staging) < count:
            self._staging = torch.empty(count)
        return self._staging[:count]


def _forget_peak() -> int | None:
    """Let the kernel forget the greatest memory of this process; return what it holds now."""
    with contextlib.suppress(OSError, AttributeError):
        # Else what earlier tasks freed is used again, and this one seems to need nothing.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _peak() -> int | None:
    return _status("VmHWM")


def _status(name: str) -> int | None:
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
        return int(found[1]) * 1024 if found else None
    return None


class Board:
    """What the streams of one CUDA device share: its counters, and who is on it.

    Args:
        index: Of the device.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self._lock = threading.Lock()
        self._there = self._came = 0
        self._handle = self._nvml = None
        with contextlib.suppress(Exception):  # without NVML nothing is measured, nothing fails
            import pynvml
            import torch

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(index).uuid)
            name = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(name.encode())
            self._nvml = pynvml

    def enter(self) -> int | None:
        """Come onto the device; returns a ticket where nobody else is there."""
        with self._lock:
            self._there += 1
            self._came += 1
            return self._came if self._there == 1 else None

    def leave(self, ticket: int | None) -> bool:
        """Leave; returns whether nobody else has been there meanwhile."""
        with self._lock:
            self._there -= 1
            return ticket is not None and ticket == self._came

    def joules(self) -> float | None:
        """Return the device's energy counter."""
        return self._read("nvmlDeviceGetTotalEnergyConsumption", scale=1e-3)

    def clock(self) -> float | None:
        """Return the clock of the multiprocessors, MHz."""
        return self._read("nvmlDeviceGetClockInfo", 1)  # NVML_CLOCK_SM

    def _read(self, name: str, *words: int, scale: float = 1.0) -> float | None:
        if self._nvml is None:
            return None
        try:
            return float(getattr(self._nvml, name)(self._handle, *words)) * scale
        except self._nvml.NVMLError:
            return None

    def driver(self) -> str | None:
        """Return the version of the driver."""
        if self._nvml is None:
            return None
        with contextlib.suppress(self._nvml.NVMLError):
            said = self._nvml.nvmlSystemGetDriverVersion()
            return said.decode() if isinstance(said, bytes) else str(said)
        return None


class CudaDevice:
    """One stream of a CUDA device.

    Args:
        board: What the streams of the device share.
        streams: How many they are.
    """

    def __init__(self, board: Board, streams: int) -> None:
        import torch

        self._board, self._streams = board, streams
        self._device = torch.device("cuda", board.index)
        # TF32 would make convolutions another task than on a CPU.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        properties = torch.cuda.get_device_properties(board.index)
        self.kind = str(properties.name)
        self.memory: float | None = float(properties.total_memory) / streams
        self._stream = torch.cuda.Stream(self._device)
        # What is sent to others must not queue behind the task that runs meanwhile.
        self._sending = torch.cuda.Stream(self._device)
        self._staging = torch.empty(0)
        self._seen: set[tuple[str, int]] = set()
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            self._pool = noise(self._device)
            for operation in ("matmul", "convolution"):  # their libraries start slowly
                execute(operation, 16, 0, (), self._pool, self._host)
            self._stream.synchronize()

    def about(self) -> dict[str, str | int | float | bool | None]:
        """Return what the device is."""
        import torch

        properties = torch.cuda.get_device_properties(self._board.index)
        return {
            "torch": str(torch.__version__),
            "cuda": torch.version.cuda,
            "driver": self._board.driver(),
            "device": str(properties.name),
            "uuid": str(getattr(properties, "uuid", "")) or None,
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_bytes": properties.total_memory,
            "streams": self._streams,
            "tf32": False,
        }

    def prepare(self) -> None:
        """Nothing: the allocator's peak is forgotten in no time."""

    def run(
        self, operation: str, size: int, seed: int, parents: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, Took]:
        """Run a task to its end; waits for its own stream only.

        The caching allocator gives memory that a stream freed to that stream alone without
        waiting. Nobody frees what another stream still reads: an output is dropped after its
        last child has ended here.
        """
        import torch

        warm = (operation, size) in self._seen
        self._seen.add((operation, size))
        board, index = self._board, self._board.index
        ticket = board.enter()
        alone = False
        try:
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.reset_peak_memory_stats(index)
                held = torch.cuda.memory_allocated(index)
                joules = board.joules()
                cpu, begun = time.thread_time(), time.perf_counter()
                first.record(self._stream)
                made = execute(operation, size, seed, parents, self._pool, self._host)
                last.record(self._stream)
                last.synchronize()
                took = time.perf_counter() - begun
                cpu = time.thread_time() - cpu
                spent = board.joules()
                peak = torch.cuda.max_memory_allocated(index)
                clock = board.clock()
        finally:
            alone = board.leave(ticket)
        energy = None
        if alone and took >= LEAST and joules is not None and spent is not None:
            energy = max(0.0, spent - joules)
        return made, Took(
            host_seconds=took,
            device_seconds=first.elapsed_time(last) / 1e3,
            cpu_seconds=cpu,
            peak_memory=float(max(0, peak - held)) if alone else None,
            energy=energy,
            clock=clock,
            warm=warm,
            bytes_in=float(sum(p.numel() for p in parents) * FLOAT),
            bytes_out=float(made.numel() * FLOAT),
        )

    def take(self, values: torch.Tensor) -> torch.Tensor:
        """Return numbers on this device, over the bus or from device to device."""
        import torch

        if values.device == self._device:
            return values
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            here = values.to(self._device, non_blocking=True)
            self._stream.synchronize()
        return here

    def give(self, values: torch.Tensor) -> np.ndarray[Any, Any]:
        """Return a copy in host memory."""
        import torch

        with torch.cuda.device(self._device), torch.cuda.stream(self._sending):
            aside = torch.empty(len(values), pin_memory=True)
            aside.copy_(values, non_blocking=True)
            self._sending.synchronize()
        return aside.numpy()

    def _host(self, count: int) -> torch.Tensor:
        import torch

        if len(self._staging) < count:
            self._staging = torch.empty(count, pin_memory=True)
        return self._staging[:count]


def opened(lanes: Sequence[Lane]) -> list[Device]:
    """Return the device of each lane of a worker."""
    streams = {i: sum(lane.index == i for lane in lanes) for i in {lane.index for lane in lanes}}
    boards = {i: Board(i) for i in streams} if lanes[0].device == "cuda" else {}
    return [
        CudaDevice(boards[lane.index], streams[lane.index])
        if lane.device == "cuda"
        else CpuDevice()
        for lane in lanes
    ]
