"""Streams: every codec gives back what went in, and no file costs more than was allowed."""

import gzip
import json
import resource
from pathlib import Path

import cramjam
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.streams import Limits, Source
from toolkit.errors import CorruptError, SchemaError

CODECS = Path(__file__).parent / "codecs"
"""The same kind of small log, each written by the codec of a real Spark 4.3."""
NAMES = {"lz4": "lz4-block", "snappy": "snappy", "lzf": "lzf"}
SPARK = sorted(CODECS.glob("events.*"))


def whole(path, **limits):
    source = Source(path, Limits(**limits))
    return b"".join(source.chunks()), source


def lz4_blocks(data, size=1000, level=5):
    """Frame as lz4-java does: stored where that is shorter, a block of nothing at the end."""
    found = b""
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        packed = bytes(cramjam.lz4.compress_block(piece, store_size=False))
        method = 0x20
        if len(packed) >= len(piece):
            packed, method = piece, 0x10
        lengths = [n.to_bytes(4, "little") for n in (len(packed), len(piece), 0)]
        found += b"LZ4Block" + bytes([method | level]) + b"".join(lengths) + packed
    return found + b"LZ4Block" + bytes([0x10 | level]) + bytes(12)


def snappy_blocks(data, size=1000):
    found = b"\x82SNAPPY\x00" + (1).to_bytes(4, "big") * 2
    for at in range(0, len(data), size):
        packed = bytes(cramjam.snappy.compress_raw(data[at : at + size]))
        found += len(packed).to_bytes(4, "big") + packed
    return found


def lzf_chunks(data, size=1000):
    """Compress greedily, as a check from the other side: literals, short and long copies."""
    found = b""
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        out, literals, last, i = b"", b"", {}, 0

        def flushed(literals):
            return b"".join(
                bytes([len(literals[k : k + 32]) - 1]) + literals[k : k + 32]
                for k in range(0, len(literals), 32)
            )

        while i < len(piece):
            start = last.get(piece[i : i + 3])
            last[piece[i : i + 3]] = i
            length = 0
            while start is not None and i + length < len(piece) and length < 264:
                if piece[start + length] != piece[i + length]:
                    break
                length += 1
            if start is None or length < 3 or i - start > 8192:
                literals += piece[i : i + 1]
                i += 1
                continue
            out += flushed(literals)
            literals = b""
            back, code = i - start - 1, length - 2
            if code < 7:
                out += bytes([code << 5 | back >> 8, back & 255])
            else:
                out += bytes([7 << 5 | back >> 8, code - 7, back & 255])
            i += length
        out += flushed(literals)
        if len(out) >= len(piece):
            found += b"ZV\x00" + len(piece).to_bytes(2, "big") + piece
        else:
            found += b"ZV\x01" + len(out).to_bytes(2, "big") + len(piece).to_bytes(2, "big") + out
    return found


def lz4_frame(data):
    return bytes(cramjam.lz4.compress(data))


PACKERS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4_frame,
    "lz4-block": lz4_blocks,
    "snappy": snappy_blocks,
    "lzf": lzf_chunks,
}
TEXT = st.lists(
    st.sampled_from([b'{"Event":', b"aaaa", b"SparkListener", b"\n", b"\x00\xff", b"0123456789"])
    | st.binary(max_size=40),
    max_size=400,
).map(b"".join)


@pytest.mark.parametrize("path", SPARK, ids=lambda p: p.suffix)
def test_what_sparks_own_codecs_wrote_is_read(path):
    source = Source(path, Limits())
    events = [json.loads(line)["Event"] for line in source.lines()]
    assert source.codec == NAMES[path.suffix[1:]]
    assert not source.truncated
    assert events[0] == "SparkListenerLogStart"
    assert events[-1] == "SparkListenerApplicationEnd"
    assert events.count("SparkListenerTaskEnd") == 7
    assert source.about["bytes"] == path.stat().st_size < source.about["uncompressed"]


@pytest.mark.parametrize("codec", PACKERS)
@settings(max_examples=40, deadline=None)
@given(data=TEXT)
def test_what_was_packed_comes_back(codec, data, tmp_path_factory):
    data = data and b"{" + data  # no log begins like an archive
    path = tmp_path_factory.getbasetemp() / f"packed.{codec}"
    path.write_bytes(PACKERS[codec](data))
    found, source = whole(path)
    assert found == data
    assert not source.truncated
    if data and codec != "plain":
        assert source.codec == codec


@pytest.mark.parametrize("codec", PACKERS)
def test_streams_that_follow_each_other_are_one(codec, tmp_path):
    path = tmp_path / "two"
    path.write_bytes(PACKERS[codec](b"one\n" * 500) + PACKERS[codec](b"two\n" * 500))
    assert whole(path)[0] == b"one\n" * 500 + b"two\n" * 500


@pytest.mark.parametrize("path", SPARK, ids=lambda p: p.suffix)
def test_of_a_file_that_is_cut_off_the_beginning_is_read(path, tmp_path):
    packed = path.read_bytes()
    everything, _ = whole(path)
    cut = tmp_path / "cut"
    ends = [*range(9, 60), *range(60, len(packed), 211), len(packed) - 1]
    told = 0
    for end in ends:
        cut.write_bytes(packed[:end])
        found, source = whole(cut)
        assert everything.startswith(found)
        told += source.truncated
    assert told >= len(ends) - 3  # between two blocks nothing shows that more would follow


@pytest.mark.parametrize("path", SPARK, ids=lambda p: p.suffix)
def test_damaged_blocks_are_refused_and_never_worse(path, tmp_path):
    packed = path.read_bytes()
    bent = tmp_path / "bent"
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(300):
        copy = bytearray(packed)
        copy[int(rng.integers(8, len(packed)))] ^= 1 << int(rng.integers(0, 8))
        bent.write_bytes(copy)
        source = Source(bent, Limits(bytes=1 << 24))
        try:
            for _chunk in source.chunks():
                pass
        except CorruptError:
            assert source.damaged
            refused += 1
    assert refused > 0


HOSTILE = {
    "lz4 that says it is 2 GiB": b"LZ4Block\x2f" + b"\xff\xff\xff\x7f" * 2 + bytes(4) + b"x" * 99,
    "lz4 larger than its level": lz4_blocks(b"a" * 5000, size=5000, level=0),
    "lz4 that grows more than it can": b"LZ4Block\x2f"
    + (10).to_bytes(4, "little")
    + (1 << 24).to_bytes(4, "little")
    + bytes(4)
    + b"x" * 10,
    "lz4 that is no second block": lz4_blocks(b"abc" * 900) + b"LZ5Block" + bytes(40),
    "snappy block of 4 GiB": b"\x82SNAPPY\x00" + bytes(8) + b"\xff\xff\xff\xff" + b"x" * 99,
    "snappy that says it unpacks to 4 GiB": b"\x82SNAPPY\x00"
    + bytes(8)
    + (9).to_bytes(4, "big")
    + b"\xff\xff\xff\xff\x0f\x00aaa",
    "lzf that copies from before": b"ZV\x01\x00\x02\x00\x09\x20\xff",
    "lzf shorter than it says": b"ZV\x01\x00\x04\x00\x09\x02abc",
    "lzf that ends within a copy": b"ZV\x01\x00\x01\x00\x09\xe0",
    "lzf of another kind": b"ZV\x00\x00\x01aZV\x02" + bytes(40),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_sizes_that_a_block_claims_are_not_believed(content, tmp_path):
    path = tmp_path / "hostile"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptError, match="hostile is damaged"):
        whole(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.parametrize("codec", PACKERS)
def test_no_codec_gives_more_than_is_allowed(codec, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(PACKERS[codec](bytes(1 << 20)))
    with pytest.raises(CorruptError, match="more than 10,000 bytes"):
        whole(path, bytes=10_000)


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"BZh9", b"\xfd7zXZ\x00"])
def test_archives_are_named_as_such(magic, tmp_path):
    path = tmp_path / "archive"
    path.write_bytes(magic + bytes(50))
    with pytest.raises(SchemaError, match="archive"):
        whole(path)


class Chunked(Source):
    """Gives bytes in pieces of the sizes that a test asks for."""

    def __init__(self, pieces, limits):
        super().__init__(Path("pieces"), limits)
        self._pieces = pieces

    def chunks(self):
        yield from self._pieces


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"x", b"\n")), max_size=30))
def test_lines_do_not_depend_on_how_the_bytes_arrive(pieces):
    text = b"".join(pieces)
    expected = text.split(b"\n")
    rest = expected.pop()
    source = Chunked(pieces, Limits())
    assert [*source.lines()] == expected + ([rest] if rest else [])
    assert source.truncated == bool(rest)


def test_a_line_that_is_too_long_is_refused_or_left_out():
    pieces = [b"one\ntw", b"o" * 50, b"o" * 50, b"\nthree\n", b"f" * 101]
    with pytest.raises(CorruptError, match="line of more than 100 bytes"):
        [*Chunked(pieces, Limits(line=100)).lines()]
    source = Chunked(pieces, Limits(line=100))
    assert [*source.lines(skip_long=True)] == [b"one", b"three"]
    assert source.skipped == 2
    assert source.truncated


def test_a_long_line_in_many_pieces_takes_time_in_proportion(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(snappy_blocks(b"a" * (4 << 20), size=1 << 12))
    assert len(next(Source(path, Limits()).lines())) == 4 << 20


@pytest.mark.parametrize("codec", ["gzip", "lz4"])
def test_a_cut_frame_gives_what_came_before(codec, tmp_path):
    data = np.random.default_rng(0).integers(97, 123, 500_000).astype(np.uint8).tobytes()
    path = tmp_path / "cut"
    path.write_bytes(PACKERS[codec](data)[:-1000])
    found, source = whole(path)
    assert source.truncated
    assert data.startswith(found)
    assert len(found) > 200_000
