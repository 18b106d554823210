"""Streams: the bytes of a log, decompressed as they are read, never more than was allowed."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cramjam
import pyarrow as pa
import zstandard

from toolkit.errors import CorruptError, SchemaError

CHUNK = 1 << 20
"""Bytes that are decompressed at once."""

LONGEST = 64 << 20
"""Bytes of the longest line."""

BLOCK = 32 << 20
"""Bytes of the largest block that lz4-java and snappy-java write; what says more is damaged."""


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
        self.damaged = False
        """Whether reading ended early because what follows cannot be decompressed."""
        self.skipped = 0
        """Lines that were left out because they are too long."""
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
            except (
                OSError,
                ValueError,
                zlib.error,
                zstandard.ZstdError,
                cramjam.DecompressionError,
            ) as error:
                self.damaged = True
                raise CorruptError(f"{self.path.name} is damaged: {error}") from error

    def lines(self, *, skip_long: bool = False) -> Iterator[bytes]:
        """Yield the lines without their ends; the last even if nothing ends it.

        Args:
            skip_long: Leave lines out that are too long, and count them in ``skipped``.

        Raises:
            CorruptError: As :meth:`chunks` does, or when a line is too long.
        """
        held: list[bytes] = []  # pieces of a line whose end was not met yet
        size = 0
        too_long = False
        for chunk in self.chunks():
            parts = chunk.split(b"\n")
            last = parts.pop()
            if parts:
                if too_long:
                    del parts[0]
                elif held:
                    parts[0] = b"".join((*held, parts[0]))
                yield from parts
                held, size, too_long = [], 0, False
            if too_long:
                continue
            held.append(last)
            size += len(last)
            if size > self.limits.line:
                if not skip_long:
                    raise CorruptError(
                        f"{self.path.name} has a line of more than {self.limits.line:,} bytes"
                    )
                self.skipped += 1
                held, too_long = [], True
        if size:
            self.truncated = True
        if size and not too_long:
            yield b"".join(held)

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
    if magic.startswith(b"LZ4Block"):
        return "lz4-block", _lz4_blocks
    if magic.startswith(b"\x04\x22\x4d\x18"):
        return "lz4", _lz4_frame
    if magic.startswith(b"\x82SNAPPY\x00"):
        return "snappy", _snappy
    if magic.startswith((b"ZV\x00", b"ZV\x01")):
        return "lzf", _lzf
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
        raw,  # type: ignore[arg-type]
        read_across_frames=True,
    ) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _exactly(raw: _Hashed, size: int) -> bytes:
    found = raw.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _lz4_blocks(raw: _Hashed) -> Iterator[bytes]:
    """Read what lz4-java's LZ4BlockOutputStream writes; its xxHash32 is not checked.

    Each block: ``LZ4Block``, method and level, two lengths and a checksum, little-endian.
    """
    while head := raw.read(21):
        if len(head) < 21:
            raise EOFError
        packed, size = int.from_bytes(head[9:13], "little"), int.from_bytes(head[13:17], "little")
        method = head[8] & 0xF0
        largest = 1 << (10 + (head[8] & 0x0F))
        if head[:8] != b"LZ4Block" or method not in (0x10, 0x20):
            raise ValueError("not the head of an LZ4 block")
        if size > largest or packed > largest + largest // 255 + 16 or size > 255 * packed + 64:
            raise ValueError("an LZ4 block of an impossible size")
        if method == 0x10 and packed != size:
            raise ValueError("a stored LZ4 block of two sizes")
        data = _exactly(raw, packed)
        if size:  # a block of nothing ends a stream; another may follow
            found = data if method == 0x10 else _lz4_block(data, size)
            if len(found) != size:
                raise ValueError("an LZ4 block is shorter than it says")
            yield found


def _lz4_block(data: bytes, size: int) -> bytes:
    return bytes(cramjam.lz4.decompress_block(data, output_len=size))


class _Lent:
    """A file as pyarrow wants it, which it may not close."""

    closed = False

    def __init__(self, raw: _Hashed) -> None:
        self.read = raw.read

    def close(self) -> None:
        pass


def _lz4_frame(raw: _Hashed) -> Iterator[bytes]:
    with pa.CompressedInputStream(pa.PythonFile(_Lent(raw), mode="r"), "lz4") as stream:
        while True:
            try:
                # In small steps: what a step has found before the end of the file is lost.
                chunk = stream.read(1 << 16)
            except OSError as error:
                if "Truncated" in str(error):
                    raise EOFError from error
                raise
            if not chunk:
                return
            yield chunk


def _snappy(raw: _Hashed) -> Iterator[bytes]:
    """Read what snappy-java's SnappyOutputStream writes: blocks after big-endian lengths."""
    magic = b"\x82SNAPPY\x00"
    head = _exactly(raw, 4)
    while head:
        if len(head) < 4:
            raise EOFError
        if head == magic[:4]:
            if _exactly(raw, 4) != magic[4:]:
                raise ValueError("not the head of a Snappy stream")
            _exactly(raw, 8)  # versions
        else:
            packed = int.from_bytes(head, "big")
            if packed > BLOCK + BLOCK // 6 + 32:
                raise ValueError("a Snappy block of an impossible size")
            data = _exactly(raw, packed)
            size = cramjam.snappy.decompress_raw_len(data)
            if size > BLOCK or size > 64 * packed:
                raise ValueError("a Snappy block of an impossible size")
            yield bytes(cramjam.snappy.decompress_raw(data))
        head = raw.read(4)


def _lzf(raw: _Hashed) -> Iterator[bytes]:
    """Read what compress-lzf's LZFOutputStream writes: chunks ``ZV`` of up to 65,535 bytes."""
    while head := raw.read(5):
        if len(head) < 5:
            raise EOFError
        if head[:2] != b"ZV" or head[2] > 1:
            raise ValueError("not the head of an LZF chunk")
        packed = int.from_bytes(head[3:5], "big")
        if head[2] == 0:
            yield _exactly(raw, packed)
        else:
            size = int.from_bytes(_exactly(raw, 2), "big")
            yield _unpack_lzf(_exactly(raw, packed), size)


def _unpack_lzf(data: bytes, size: int) -> bytes:
    """Unpack one chunk: runs of literals, and copies from up to 8 KiB before.

    Raises:
        ValueError: When it is damaged or does not give ``size`` bytes.
    """
    out = bytearray()
    at, end = 0, len(data)
    try:
        while at < end:
            token = data[at]
            at += 1
            if token < 32:
                out += data[at : at + token + 1]
                at += token + 1
                continue
            length = token >> 5
            if length == 7:
                length += data[at]
                at += 1
            length += 2
            back = ((token & 31) << 8) + data[at] + 1
            at += 1
            start = len(out) - back
            if start < 0:
                raise ValueError("an LZF copy from before its chunk")
            if back >= length:
                out += out[start : start + length]
            else:
                pattern = out[start:]
                out += (pattern * (length // back + 1))[:length]
    except IndexError as error:
        raise ValueError("an LZF chunk ends too early") from error
    if len(out) != size or at != end:
        raise ValueError("an LZF chunk is not as long as it says")
    return bytes(out)
