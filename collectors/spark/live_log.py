"""Live log: what the event log of a Spark application says, read while it grows.

Spark writes the log out at every end of a stage or job, so that everything about a batch is in it
when the end of its job is. The clock is the driver's, in ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from collectors.spark import events
from toolkit.errors import CorruptError, EngineError

MS = 1e-3
MIB = 2**20


class Told:
    """What a log has said so far, in the order in which it was said."""

    def __init__(self) -> None:
        self.application: events.ApplicationStart | None = None
        self.version: str | None = None
        self.ended: int | None = None
        """When the application ended, ms since 1970."""
        self.executors: dict[str, events.ExecutorAdded] = {}
        self.removed: dict[str, events.ExecutorRemoved] = {}
        self.memory: dict[int, float] = {}
        """Bytes of an executor of each resource profile."""
        self.jobs: dict[int, events.JobStart] = {}
        self.job_ends: dict[int, events.JobEnd] = {}
        self.stages: dict[tuple[int, int], events.StageInfo] = {}
        """By stage and attempt; the last word on each."""
        self.tasks: list[events.TaskEnd] = []

    def read(self, lines: Iterable[bytes]) -> None:
        """Take lines of the log.

        Raises:
            CorruptError: When one is no event as Spark writes it.
        """
        for line in lines:
            try:
                decoder = events.DECODERS.get(events.name_of(line))
                if decoder is not None:
                    self._take(decoder.decode(line))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise CorruptError(
                    f"Spark's event log has a line that is no event: {str(error)[:200]}"
                ) from error

    def group_of(self, job: int) -> str | None:
        """Return the job group that a Spark job was submitted in."""
        properties = self.jobs[job].properties
        return properties.group if properties else None

    def _take(self, event: msgspec.Struct) -> None:
        match event:
            case events.TaskEnd():
                self.tasks.append(event)
            case events.StageSubmitted() | events.StageCompleted():
                self.stages[event.info.stage, event.info.attempt] = event.info
            case events.JobStart():
                self.jobs[event.job] = event
            case events.JobEnd():
                self.job_ends[event.job] = event
            case events.ExecutorAdded():
                self.executors[event.executor] = event
            case events.ExecutorRemoved():
                self.removed[event.executor] = event
            case events.ResourceProfileAdded():
                memory = event.executor.get("memory")
                if memory is not None and memory.amount is not None:
                    self.memory[event.profile] = memory.amount * MIB
            case events.ApplicationStart():
                self.application = event
            case events.ApplicationEnd():
                self.ended = event.at
            case events.LogStart():
                self.version = event.version


class LiveLog:
    """The plain event log of an application that runs.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = Told()
        self._offset = 0

    def refresh(self) -> Told:
        """Read what has been added; a line that is not whole yet is left for the next time."""
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            found = stream.read()
        end = found.rfind(b"\n") + 1
        self._offset += end
        # Not splitlines(): only "\n" ends an event.
        self.told.read(found[:end].split(b"\n")[:-1])
        return self.told

    def wait(self, ready: Callable[[Told], bool], seconds: float) -> Told:
        """Read until something has been said.

        Raises:
            EngineError: When it was not said in time.
        """
        end = time.monotonic() + seconds
        while not ready(self.refresh()):
            if time.monotonic() > end:
                raise EngineError(f"Spark's event log did not go on within {seconds:.0f} s")
            time.sleep(0.01)
        return self.told
