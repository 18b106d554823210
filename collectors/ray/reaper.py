"""Reaper: a small process that ends what is left of a Ray when the one that started it is gone.

Ray's own processes watch each other, but some of them stay when the program that started them is
killed outright. The reaper holds the end of a pipe that closes with that program, however it
ends, and then ends those processes of the session that it was told of; never another. Workers are
started later and end by themselves when their raylet is gone.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

_GRACE, _PERIOD = 2.0, 0.2
_RELEASE = b"release"


@contextlib.contextmanager
def guarded(session: str) -> Iterator[None]:
    """Guard the Ray that this process has just started, until the block ends.

    When this process is gone before, what is left of that Ray is ended.

    Args:
        session: Folder of Ray's session, which the command lines of its processes name.
    """
    family = [[p.pid, p.create_time()] for p in _children(session)]
    # A session of its own: what ends this program by its terminal or group spares the reaper.
    reaper = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert reaper.stdin is not None
    reaper.stdin.write(json.dumps(family).encode() + b"\n")
    reaper.stdin.flush()
    try:
        yield
    finally:
        # It may have been ended itself, by somebody who ends everything.
        with contextlib.suppress(OSError):
            reaper.stdin.write(_RELEASE)
            reaper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            reaper.wait(_GRACE)


def _children(session: str) -> Iterator[psutil.Process]:
    """Yield the processes under this one that a session names as its own, and those under them."""
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(session in word for word in process.cmdline()):
                yield process
                yield from process.children(recursive=True)


def left(family: list[list[float]]) -> list[psutil.Process]:
    """Return the processes that are left of a family.

    Args:
        family: Process id and time of creation of each, so that an id that the system has given
            away again names nobody.
    """
    found = []
    for pid, created in family:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(int(pid))
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def main() -> None:
    """Wait until the other end of the pipe closes, then end what is left."""
    family = json.loads(sys.stdin.buffer.readline() or b"[]")
    if sys.stdin.buffer.read() == _RELEASE:
        return
    until = time.monotonic() + _GRACE
    while left(family) and time.monotonic() < until:
        time.sleep(_PERIOD)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        rest = left(family)
        for process in rest:
            with contextlib.suppress(psutil.Error):
                end(process)
        psutil.wait_procs(rest, timeout=2.0)


if __name__ == "__main__":
    main()
