"""Compiled functions, cached on disk per version of their sources.

numba's own cache notices a change of the file that defines a function, but not of the files
whose functions it calls; so the cache lies in a folder named by the hash of all of them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from toolkit.progress import say

_ROOM = Path(__file__).resolve().parent
_SOURCES = sorted(
    path
    for path in _ROOM.parent.rglob("*.py")
    if "simulator.compiled import" in path.read_text("utf-8")
)
"""Every file of the core that compiles something."""

F = TypeVar("F", bound=Callable[..., Any])


def _folder() -> Path:
    h = hashlib.sha256(numba.__version__.encode())
    for source in _SOURCES:
        h.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "offline-scheduling-toolkit" / "kernels" / h.hexdigest()[:16]


def _prepare() -> None:
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    folder = _folder()
    try:
        if not folder.is_dir():
            say("compiling the simulator (first use of this version; less than a minute)")
            folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    place = folder if writable else Path(tempfile.gettempdir()) / f"toolkit-{os.getuid()}"
    setattr(numba.config, "CACHE_DIR", str(place))  # noqa: B010


_prepare()


def njit(function: F) -> F:
    """Compile a function at its first call, or load it from the cache."""
    return cast("F", numba.njit(cache=True, error_model="numpy")(function))


def lean(function: F) -> F:
    """Compile a function that allocates nothing, without counting references.

    Counting the references of arrays that outlive the call anyway was half of the kernel's time.
    """
    return cast("F", numba.njit(cache=True, error_model="numpy", _nrt=False)(function))  # type: ignore[call-overload]
