"""Progress for long steps: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Counts the units of a long step as they are done."""

    def update(self, n: int = 1, note: str = "") -> None:
        """Add ``n`` finished units and show ``note`` beside them."""


def say(message: str) -> None:
    """Print one line for the person who waits."""
    print(message, file=sys.stderr, flush=True)


class _Lines:
    """Prints at the start, at most every ten seconds, and at the end."""

    _PERIOD = 10.0

    def __init__(self, label: str, total: int, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done = 0
        self._start = self._last = time.monotonic()
        say(f"{label}: {total} {unit}")

    def update(self, n: int = 1, note: str = "") -> None:
        self._done += n
        now = time.monotonic()
        if now - self._last >= self._PERIOD or self._done >= self._total:
            self._last = now
            took = now - self._start
            say(
                f"{self._label}: {self._done}/{self._total} {self._unit}, {took:.0f} s"
                + (f" ({note})" if note else "")
            )


class _Bar:
    def __init__(self, label: str, total: int, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, desc=label, unit=" " + unit, leave=True, file=sys.stderr)

    def update(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)

    def close(self) -> None:
        self._bar.close()


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Progress]:
    """Show how far a long step is.

    Args:
        label: What is being done.
        total: How many units it takes.
        unit: Name of a unit, in the plural.
    """
    if not sys.stderr.isatty():
        yield _Lines(label, total, unit)
        return
    bar = _Bar(label, total, unit)
    try:
        yield bar
    finally:
        bar.close()
