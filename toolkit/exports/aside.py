"""Aside: what is exported is written beside its place and renamed when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import ConfigError
from toolkit.store import exchange


@contextmanager
def aside(path: Path, *, force: bool, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield where to write instead; it takes its place when all went well, else it is removed.

    Args:
        path: A file or a folder that is to be.
        force: Whether it may replace what is there.
        ours: Whether what is there was exported before; nothing else is ever replaced.

    Raises:
        ConfigError: When there is something that may not be replaced.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        if not ours(path):
            raise ConfigError(
                f"{path} holds something that is no such export; it is left as it is",
                hint="name another place: out=<folder>",
            )
        if not force:
            raise ConfigError(f"{path} is there already", hint="write over it: force=true")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove(beside)
    try:
        yield beside
        if beside.is_dir() and path.exists():
            if not exchange(beside, path):
                _remove(path)
                beside.replace(path)
        else:
            beside.replace(path)
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
