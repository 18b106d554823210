"""The process that holds devices: it runs tasks, keeps their outputs and sends them to others."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import struct
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from collectors.gpu import messages
from collectors.gpu.devices import Device, opened
from collectors.gpu.messages import (
    Began,
    Done,
    Drop,
    Event,
    Failed,
    Moved,
    Ready,
    Run,
    Send,
    Setup,
)

if TYPE_CHECKING:
    import torch

_HEADER = struct.Struct("<qqqd")
"""Child, parent, bytes, and when the sending began."""
_PR_SET_PDEATHSIG = 1
_F_SETPIPE_SZ = 1031
_PIPE = 2**20


def clock() -> float:
    """Return the monotonic clock, which all processes of a machine share, s."""
    return time.monotonic()


def main() -> None:
    """Serve until the recorder closes its pipe or is no more."""
    setup = msgspec.json.decode(sys.argv[1].encode(), type=Setup)
    _die_with(setup.parent)
    # The recorder decides when its workers end, a Ctrl-C at the terminal does not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events = Connection(setup.events, readable=False)
    try:
        worker = Worker(setup, events)
    except Exception as error:
        events.send_bytes(messages.encode(Failed(-1, _sentence(error))))
        os._exit(1)
    worker.serve(Connection(setup.commands, writable=False))


def _die_with(parent: int) -> None:
    """Ask the kernel, where it can, to end this process with its parent."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


class Worker:
    """The lanes of one process.

    Args:
        setup: What it was started with.
        events: Where it tells what happened.
    """

    def __init__(self, setup: Setup, events: Connection) -> None:
        import torch

        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        torch.set_grad_enabled(False)
        self._events, self._telling = events, threading.Lock()
        self._devices: list[Device] = opened(setup.lanes)
        self._queues: list[queue.SimpleQueue[Run]] = [queue.SimpleQueue() for _ in setup.lanes]
        self._letters: dict[int, queue.SimpleQueue[Send]] = {
            k: queue.SimpleQueue() for k in setup.outgoing
        }
        self._outputs: dict[int, tuple[torch.Tensor, Device]] = {}
        self._arrived: dict[tuple[int, int], tuple[torch.Tensor, float, float]] = {}
        self._some = threading.Condition()
        for lane in range(len(setup.lanes)):
            self._start(self._run, lane)
        for k, descriptor in setup.outgoing.items():
            self._start(self._post, k, descriptor)
        for descriptor in setup.incoming.values():
            self._start(self._receive, descriptor)
        self._tell(
            Ready(
                kinds=tuple(d.kind for d in self._devices),
                memory=tuple(d.memory for d in self._devices),
                about=tuple(d.about() for d in self._devices),
            )
        )

    def _start(self, target: Any, *words: Any) -> None:
        def guarded() -> None:
            try:
                target(*words)
            except Exception as error:
                self._tell(Failed(-1, _sentence(error)))

        threading.Thread(target=guarded, daemon=True).start()

    def serve(self, commands: Connection) -> None:
        """Take commands; when the other end is closed, end at once, whatever still runs."""
        while True:
            try:
                word = messages.commands.decode(commands.recv_bytes())
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(word, Run):
                self._queues[word.lane].put(word)
            elif isinstance(word, Send):
                self._letters[word.to].put(word)
            else:
                self._drop(word)

    def _tell(self, event: Event) -> None:
        with self._telling, contextlib.suppress(BrokenPipeError):
            self._events.send_bytes(messages.encode(event))

    def _drop(self, word: Drop) -> None:
        with self._some:
            for task in word.tasks or list(self._outputs):
                self._outputs.pop(task, None)
            if not word.tasks:
                self._arrived.clear()

    def _run(self, lane: int) -> None:
        import torch

        torch.set_grad_enabled(False)  # of this thread
        device, mine = self._devices[lane], self._queues[lane]
        while True:
            word = mine.get()
            try:
                inputs = [self._input(word, parent, device) for parent in word.parents]
                device.prepare()
                self._tell(Began(word.task, clock()))
                made, took = device.run(word.operation, word.size, word.seed, inputs)
                at = clock()
            except Exception as error:  # out of memory, above all
                self._tell(Failed(word.task, _sentence(error)))
                continue
            del inputs
            with self._some:
                self._outputs[word.task] = (made, device)
            del made
            self._tell(Done(word.task, at, took))

    def _input(self, word: Run, parent: int, device: Device) -> torch.Tensor:
        """Return the output of a parent on the device of a child; tells if it had to move."""
        if parent not in word.away:
            with self._some:
                values, _ = self._outputs[parent]
            began = clock()
            here = device.take(values)
            if here is not values and here.device != values.device:
                moved = Moved(word.task, parent, float(here.nbytes), began, clock())
                self._tell(moved)
            return here
        with self._some:
            self._some.wait_for(lambda: (word.task, parent) in self._arrived)
            values, began, ended = self._arrived.pop((word.task, parent))
        here = device.take(values)
        if here.device != values.device:
            ended = clock()
        self._tell(Moved(word.task, parent, float(here.nbytes), began, ended))
        return here

    def _post(self, to: int, descriptor: int) -> None:
        """Send what is asked for to another worker, one after another."""
        _widen(descriptor)
        while True:
            letter = self._letters[to].get()
            with self._some:
                values, device = self._outputs[letter.task]
            began = clock()
            content = memoryview(device.give(values)).cast("B")
            head = _HEADER.pack(letter.child, letter.task, len(content), began)
            try:
                _write(descriptor, memoryview(head))
                _write(descriptor, content)
            except BrokenPipeError:
                return  # the other worker is gone, and the recorder sees that too

    def _receive(self, descriptor: int) -> None:
        """Take what another worker sends."""
        import torch

        _widen(descriptor)
        while True:
            head = _read(descriptor, bytearray(_HEADER.size))
            if head is None:
                return
            child, parent, size, began = _HEADER.unpack(head)
            content = _read(descriptor, np.empty(size, dtype=np.uint8))
            if content is None:
                return
            values = torch.from_numpy(content.view(np.float32))
            with self._some:
                self._arrived[child, parent] = (values, began, clock())
                self._some.notify_all()


def _widen(descriptor: int) -> None:
    """Give a pipe more room where the system lets us."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)


def _write(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _read(descriptor: int, into: Any) -> Any:
    """Fill a buffer; None where the other end is closed."""
    rest = memoryview(into)
    while rest:
        count = os.readv(descriptor, [rest])
        if count == 0:
            return None
        rest = rest[count:]
    return into


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


if __name__ == "__main__":
    main()
