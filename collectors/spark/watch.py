"""Watch: runs a command and ends it, with all it started, when nobody holds the input any more.

A process that is killed cannot stop what it started; its end of a pipe is closed all the same.
Run by its path and with the standard library alone, so that it starts at once:
``python -I -S watch.py <seconds of grace> <command> …``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_DIE_WITH_PARENT, _ADOPT_ORPHANS = 1, 36
"""Linux: PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER."""

_PERIOD = 0.1
"""Seconds between two looks at the child."""

LAST_RESORT = 10.0
"""Seconds for which processes that do not die are killed again."""


def command(words: Sequence[str], *, grace: float = 0.0) -> list[str]:
    """Return the command that runs another one watched; hold its standard input open.

    Args:
        words: What is to be run.
        grace: Seconds from SIGTERM to SIGKILL; 0 kills at once.
    """
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), f"{grace:g}", *words]


def main(words: Sequence[str]) -> int:
    """Run a command until it ends or the standard input does; returns its exit status."""
    grace = float(words[0])
    # Ctrl-C is for who holds the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    linux = _process_control(_ADOPT_ORPHANS, 1)
    try:
        child = subprocess.Popen(
            list(words[1:]), stdin=subprocess.DEVNULL, preexec_fn=_in_child, close_fds=True
        )
    except OSError as error:
        print(f"{words[1]}: {error.strerror}", file=sys.stderr)
        return 127
    status = None
    try:
        while status is None and not _closed(_PERIOD):
            status = _reap(child.pid)
    finally:
        if status is None and grace > 0:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            end = time.monotonic() + grace
            while status is None and time.monotonic() < end:
                time.sleep(_PERIOD / 2)
                status = _reap(child.pid)
        _kill_all(child.pid, linux)
    return 128 + signal.SIGKILL if status is None else status


def _in_child() -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _process_control(_DIE_WITH_PARENT, signal.SIGKILL)


def _process_control(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)


def _leave(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _closed(seconds: float) -> bool:
    """Wait; return whether the other end of the standard input is gone."""
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and os.read(0, 4096) == b""


def _reap(pid: int) -> int | None:
    """Take what has ended, adopted orphans too; return the exit status of ``pid`` if it has."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = 128 - code if code < 0 else code


def _kill_all(pid: int, linux: bool) -> None:
    """Kill every descendant: orphans have been adopted, so that none is out of reach."""
    end = time.monotonic() + LAST_RESORT
    while time.monotonic() < end:
        doomed = _descendants(os.getpid()) if linux else []
        for one in doomed:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        _reap(pid)
        if not _descendants(os.getpid()):
            return
        time.sleep(_PERIOD / 5)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if Path("/proc/self/stat").exists() else ():
        if not name.isdigit():
            continue
        try:
            text = Path("/proc", name, "stat").read_text("utf-8", "replace")
        except OSError:
            continue
        # The name of a program is in parentheses and may hold anything.
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(name))
    found, ahead = [], [pid]
    while ahead:
        for child in children.get(ahead.pop(), ()):
            found.append(child)
            ahead.append(child)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
