"""Places: which task a partition of a stage is, in a few bytes for each."""

from __future__ import annotations

from array import array

SPARSE = 4096
"""Partitions that may be absent before an array is given up for a dictionary."""


class Places:
    """The tasks of one stage and how often each was tried.

    Numbers of partitions come from a log and are not trusted: an array grows with what was seen,
    the rest goes to a dictionary.
    """

    __slots__ = ("_far", "_task", "_tries", "_won", "done", "seen")

    def __init__(self) -> None:
        self._task = array("i")
        self._tries = array("i")
        self._won = bytearray()
        self._far: dict[int, list[int]] = {}
        self.seen = 0
        """Tasks with an attempt."""
        self.done = 0
        """Tasks with an attempt that succeeded."""

    def attempt(self, partition: int, fresh: int) -> tuple[int, int]:
        """Return task and attempt of a further attempt at a partition.

        Args:
            partition: Which.
            fresh: Index of the task if this is its first attempt.
        """
        task = self._task
        if self._far:
            entry = self._far.get(partition)
            if entry is not None:
                entry[1] += 1
                return entry[0], entry[1]
        if 0 <= partition < len(task):
            if task[partition] >= 0:
                self._tries[partition] += 1
                return task[partition], self._tries[partition]
        elif 0 <= partition <= 16 * self.seen + SPARSE:
            more = partition + 1 - len(task)
            task.extend([-1] * more)
            self._tries.extend([0] * more)
            self._won.extend(bytes(more))
        else:
            self._far[partition] = [fresh, 0, 0]
            self.seen += 1
            return fresh, 0
        task[partition] = fresh
        self.seen += 1
        return fresh, 0

    def win(self, partition: int) -> None:
        """Note that an attempt at a partition succeeded."""
        entry = self._far.get(partition)
        if entry is not None:
            self.done += 1 - entry[2]
            entry[2] = 1
        elif 0 <= partition < len(self._won):
            self.done += 1 - self._won[partition]
            self._won[partition] = 1


class Seen:
    """A set of whole numbers that are mostly dense, a byte for each."""

    __slots__ = ("_count", "_far", "_near")

    def __init__(self) -> None:
        self._near = bytearray()
        self._far: set[int] = set()
        self._count = 0

    def add(self, number: int) -> bool:
        """Add a number; returns whether it is new."""
        near = self._near
        if 0 <= number < len(near) and not self._far:
            new = not near[number]
        elif number in self:
            return False
        elif 0 <= number <= 16 * self._count + (1 << 16):
            if number >= len(near):
                near.extend(bytes(number + 1 - len(near)))
            new = True
        else:
            self._far.add(number)
            self._count += 1
            return True
        near[number] = 1
        self._count += new
        return new

    def __contains__(self, number: int) -> bool:
        if 0 <= number < len(self._near) and self._near[number]:
            return True
        return number in self._far
