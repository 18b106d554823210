"""Place: the folder of a dataset, on this machine or behind any URL that Arrow or fsspec reads."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from toolkit.errors import ConfigError, CorruptError, NotFoundError

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")
_CHUNK = 1 << 22


class Place:
    """Reads the files of one folder and none beside it.

    Args:
        where: A folder, or a URL such as ``s3://bucket/folder``.

    Raises:
        ConfigError: When nothing here reads such a URL.
    """

    def __init__(self, where: str | Path) -> None:
        self.url = str(where)
        self._fs, self._path = _resolved(self.url)

    @property
    def local(self) -> Path | None:
        """The folder on this machine; None where it lies elsewhere."""
        return Path(self._path) if isinstance(self._fs, fs.LocalFileSystem) else None

    def open(self, name: str) -> pa.NativeFile:
        """Open a file for random access.

        Raises:
            CorruptError: When the name would lead out of the folder.
            NotFoundError: When there is no such file.
        """
        if not _FILE.match(name):
            raise CorruptError(f"{name[:80]!r} in {self.url} cannot be the name of a file")
        try:
            return self._fs.open_input_file(f"{self._path}/{name}")
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.url} has no file {name}") from error
        except (OSError, pa.ArrowException) as error:
            raise CorruptError(f"{self.url}/{name} cannot be read: {error}") from error

    def text(self, name: str, most: int) -> str:
        """Return a text file of at most ``most`` bytes.

        Raises:
            CorruptError: When it is larger or no UTF-8.
        """
        with self.open(name) as stream:
            if stream.size() > most:
                raise CorruptError(f"{self.url}/{name} has {stream.size()} bytes, more than {most}")
            data: bytes = stream.read()
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise CorruptError(f"{self.url}/{name} is no UTF-8 text") from error

    def parquet(self, name: str) -> pq.ParquetFile:
        """Open a Parquet file.

        Raises:
            CorruptError: When it is truncated or no Parquet file.
        """
        stream = self.open(name)
        try:
            return pq.ParquetFile(stream, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            raise CorruptError(f"{self.url}/{name} is truncated or no Parquet file") from error

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file, in hex."""
        h = hashlib.sha256()
        with self.open(name) as stream:
            while block := stream.read(_CHUNK):
                h.update(block)
        return h.hexdigest()


def _resolved(url: str) -> tuple[Any, str]:
    if "://" not in url:
        return fs.LocalFileSystem(), str(Path(url).expanduser().resolve())
    scheme = url.partition("://")[0]
    try:
        found, path = fs.FileSystem.from_uri(url)
        return found, path.rstrip("/")
    except (OSError, pa.ArrowException, ValueError):
        pass
    import fsspec

    try:
        found, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise ConfigError(
            f"nothing here reads {scheme}:// addresses: {error}",
            hint="name a folder, or install what fsspec asks for",
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path.rstrip("/")
