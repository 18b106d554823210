"""What the recorder and its workers say to each other: length-prefixed MessagePack over pipes."""

from __future__ import annotations

import msgspec


class Lane(msgspec.Struct, frozen=True):
    """One queue of tasks in a worker: a CPU, or one stream of a CUDA device.

    Args:
        device: ``cpu`` or ``cuda``.
        index: Of the CUDA device.
        stream: Of that device's streams.
    """

    device: str
    index: int = 0
    stream: int = 0


class Setup(msgspec.Struct, frozen=True):
    """What a worker is started with; numbers are file descriptors.

    Args:
        parent: Process id of the recorder, without which the worker must not live.
        lanes: Its queues of tasks.
        commands: Where it reads.
        events: Where it writes.
        incoming: Where other workers write to it, by their index.
        outgoing: Where it writes to other workers, by their index.
    """

    parent: int
    lanes: tuple[Lane, ...]
    commands: int
    events: int
    incoming: dict[int, int]
    outgoing: dict[int, int]


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run a task on a lane once its data are there.

    Args:
        lane: Index of the lane.
        task: Index of the task; its output is kept under it.
        operation: What to run.
        size: How large.
        seed: Of its own numbers.
        parents: Tasks whose outputs it takes, in order.
        away: Those of them that another worker sends.
    """

    lane: int
    task: int
    operation: str
    size: int
    seed: int
    parents: tuple[int, ...] = ()
    away: tuple[int, ...] = ()


class Send(msgspec.Struct, frozen=True, tag=True):
    """Send the output of a task to another worker, for one child."""

    task: int
    child: int
    to: int


class Drop(msgspec.Struct, frozen=True, tag=True):
    """Forget outputs; all of them where no task is named."""

    tasks: tuple[int, ...] = ()


Command = Run | Send | Drop


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker is there.

    Args:
        kinds: Of the device of each lane; devices of one kind take equally long.
        memory: Bytes of the device of each lane; null where it has none of its own.
        about: Versions, instruction sets, names of the device of each lane.
    """

    kinds: tuple[str, ...]
    memory: tuple[float | None, ...]
    about: tuple[dict[str, str | int | float | bool | None], ...]


class Moved(msgspec.Struct, frozen=True, tag=True):
    """The output of a parent has come to the device of a child; times of the monotonic clock."""

    child: int
    parent: int
    bytes: float
    began: float
    ended: float


class Began(msgspec.Struct, frozen=True, tag=True):
    """A task has its data and begins."""

    task: int
    at: float


class Took(msgspec.Struct, frozen=True):
    """What an execution took; null where it cannot be told.

    Args:
        host_seconds: On the host's clock, until the device was done.
        device_seconds: Between two events on the stream; null on a CPU.
        cpu_seconds: Of the thread that ran it.
        peak_memory: Bytes beyond what was held before; null beside other tasks of the device.
        energy: Joules by the device's counter; null beside other tasks and where too short.
        clock: Of the multiprocessors at the end, MHz; null on a CPU.
        warm: Whether this lane ran the same operation and size before.
        bytes_in: Of the parents' outputs.
        bytes_out: Of its own.
    """

    host_seconds: float
    device_seconds: float | None
    cpu_seconds: float
    peak_memory: float | None
    energy: float | None
    clock: float | None
    warm: bool
    bytes_in: float
    bytes_out: float


class Done(msgspec.Struct, frozen=True, tag=True):
    """A task has finished."""

    task: int
    at: float
    took: Took


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A task, or with -1 the worker itself, has failed."""

    task: int
    why: str


Event = Ready | Moved | Began | Done | Failed

commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
events: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)
encode = msgspec.msgpack.encode
