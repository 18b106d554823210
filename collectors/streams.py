"""Streams: the bytes of a log, decompressed as they are read, never more than was allowed."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from toolkit.errors import CorruptError, SchemaError

CHUNK = 1 << 20
"""Bytes that are decompressed at once."""

LONGEST = 64 << 20
"""Bytes of the longest line."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one log may cost.

    Args:
        bytes: Most bytes of a log once decompressed.
        line: Most bytes of one line.
    """

    bytes: int = 256 << 30
    line: int = LONGEST


class _Hashed:
    """A file that remembers the hash of what was read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.hash = hashlib.sha256()
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        found = self._stream.read(size)
        self.hash.update(found)
        self.bytes += len(found)
        return found


class Source:
    """One file of a log, read once from its beginning.

    Args:
        path: The file.
        limits: What it may cost.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
        self.bytes = 0
        """Bytes read so far, decompressed."""
        self.codec = ""
        """How it is compressed: ``plain``, ``gzip``, ``zstd``, …"""
        self.truncated = False
        """Whether the file ends in the middle of a compressed block or of a line."""
        self._raw: _Hashed | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the decompressed bytes.

        Raises:
            CorruptError: When the file is damaged or longer than is allowed.
            SchemaError: When it is compressed in a way that is not read here.
        """
        with self.path.open("rb") as stream:
            magic = stream.read(16)
            stream.seek(0)
            self._raw = _Hashed(stream)
            self.codec, unpack = _codec(magic, self.path)
            try:
                for chunk in unpack(self._raw):
                    self.bytes += len(chunk)
                    if self.bytes > self.limits.bytes:
                        raise CorruptError(
                            f"{self.path.name} holds more than {self.limits.bytes:,} bytes once "
                            "decompressed",
                            hint="allow more: max_bytes=<bytes>",
                        )
                    yield chunk
            except EOFError:
                self.truncated = True
            except (OSError, ValueError, zlib.error, zstandard.ZstdError) as error:
                raise CorruptError(f"{self.path.name} is damaged: {error}") from error

    def lines(self) -> Iterator[bytes]:
        """Yield the lines without their ends; the last even if nothing ends it.

        Raises:
            CorruptError: As :meth:`chunks` does, or when a line is too long.
        """
        rest = b""
        for chunk in self.chunks():
            parts = (rest + chunk).split(b"\n")
            rest = parts.pop()
            if len(rest) > self.limits.line:
                raise CorruptError(
                    f"{self.path.name} has a line of more than {self.limits.line:,} bytes"
                )
            yield from parts
        if rest:
            self.truncated = True
            yield rest

    def whole(self, most: int) -> bytes:
        """Return everything, for formats that are one document.

        Args:
            most: Bytes of the largest document that is read.

        Raises:
            CorruptError: When it is longer, or damaged.
        """
        found = []
        for chunk in self.chunks():
            found.append(chunk)
            if self.bytes > most:
                raise CorruptError(f"{self.path.name} is larger than {most:,} bytes")
        return b"".join(found)

    @property
    def about(self) -> dict[str, Any]:
        """Name, size on disk, codec and SHA-256 of what was read of the file."""
        return {
            "name": self.path.name,
            "bytes": self._raw.bytes if self._raw else 0,
            "uncompressed": self.bytes,
            "codec": self.codec,
            "sha256": self._raw.hash.hexdigest() if self._raw else None,
            "truncated": self.truncated,
        }


Unpack = Callable[[_Hashed], Iterator[bytes]]


def _codec(magic: bytes, path: Path) -> tuple[str, Unpack]:
    if magic.startswith(b"\x1f\x8b"):
        return "gzip", _gzip
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return "zstd", _zstd
    if magic.startswith((b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")):
        raise SchemaError(
            f"{path.name} is an archive or compressed in a way that is not read here",
            hint="unpack it first; plain, gzip, zstd, lz4, snappy and lzf are read as they are",
        )
    return "plain", _plain


def _plain(raw: _Hashed) -> Iterator[bytes]:
    while chunk := raw.read(CHUNK):
        yield chunk


def _gzip(raw: _Hashed) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=raw) as stream:  # type: ignore[call-overload]
        while chunk := stream.read1(CHUNK):
            yield chunk


def _zstd(raw: _Hashed) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
        raw, read_across_frames=True
    ) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
