"""FASTQ files: made from a seed, read strictly, pooled from a user's own data and measured.

Bases are codes 0..3 for A, C, G, T and 4 for N or padding; qualities are Phred scores
(error probability ``10 ** (-q / 10)``), 0 where padded.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from toolkit.errors import ConfigError, CorruptError, require
from toolkit.seeding import generator

GENOME_LENGTH = 100_000
ADAPTER = "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"
N = 4
MAX_LENGTH = 2_000
MAX_BYTES = 2 << 30
MAX_QUALITY = 41
COMPLEXITY_K = 21

_BLOCK = 4 << 20
_SNP_RATE = 1e-3
_ADAPTER_SHARE = 0.15
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_CODES = np.full(256, 255, np.uint8)
for _code, _pair in enumerate((b"Aa", b"Cc", b"Gg", b"Tt", b"Nn")):
    _CODES[list(_pair)] = _code
_PROBLEMS = (
    "",
    "the file ends in the middle of the record",
    "the header does not start with '@'",
    "the separator line does not start with '+'",
    "the bases and the qualities differ in length",
    "a base is none of A, C, G, T, N",
    "a quality is outside '!'..'~'",
    f"a line is longer than {MAX_LENGTH} characters",
    "the record has no bases",
)
_EXPECT = "give an Illumina-like FASTQ of four lines a record, plain or gzip"


@dataclass(frozen=True)
class Reads:
    """Reads of one file.

    Attributes:
        bases: ``uint8[R, Lmax]`` codes.
        quals: ``uint8[R, Lmax]`` Phred scores.
        lengths: ``int32[R]`` bases per read.
    """

    bases: np.ndarray
    quals: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return int(self.lengths.size)

    def take(self, rows: np.ndarray) -> Reads:
        """Return the reads of ``rows``, without padding that none of them needs."""
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=0))
        bases, quals = (np.ascontiguousarray(a[rows, :width]) for a in (self.bases, self.quals))
        return Reads(bases, quals, lengths)


@dataclass(frozen=True)
class Pool:
    """A seeded share of a user's reads.

    Attributes:
        reads: The reads that were kept.
        seen: How many reads the file holds.
    """

    reads: Reads
    seen: int


def code(text: str) -> np.ndarray:
    """Return the codes of a string of bases."""
    return _CODES[np.frombuffer(text.encode(), np.uint8)]


def reference_path(path: Path | str) -> Path:
    """Return where the reference of the FASTQ at ``path`` lies."""
    return Path(f"{path}.ref.npy")


def reference(complexity: float, seed: int) -> np.ndarray:
    """Make a reference genome whose share of repeats falls with ``complexity``.

    Args:
        complexity: 1 for an all but random genome, 0 for about 80 % repeats.
        seed: Non-negative.

    Returns:
        ``uint8[GENOME_LENGTH]`` codes 0..3.
    """
    require(0 <= complexity <= 1, f"complexity is {complexity}; it must lie between 0 and 1")
    rng = generator(seed, "reference")
    genome = rng.integers(0, 4, GENOME_LENGTH, dtype=np.uint8)
    # Families of 300 to 1200 bases, as of interspersed repeats, a tenth of them in tandem.
    families = [genome[a : a + rng.integers(300, 1200)].copy() for a in rng.integers(0, 90_000, 4)]
    covered, target = 0, 0.8 * (1 - complexity) * GENOME_LENGTH
    while covered < target:
        family = families[rng.integers(len(families))]
        copies = int(rng.integers(2, 5)) if rng.random() < 0.1 else 1
        unit = np.tile(family, copies)
        mutated = rng.random(unit.size) < 0.01
        unit[mutated] = (unit[mutated] + rng.integers(1, 4, int(mutated.sum()))) % 4
        start = int(rng.integers(0, GENOME_LENGTH - unit.size))
        genome[start : start + unit.size] = unit
        covered += unit.size
    return genome


def donor(genome: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plant SNPs into a genome.

    Returns:
        The haplotypes ``uint8[2, G]``, the sorted positions ``int64[S]`` and whether each
        SNP lies on both haplotypes ``bool[S]``.
    """
    rng = generator(seed, "donor")
    at = np.flatnonzero(rng.random(genome.size) < _SNP_RATE)
    homozygous = rng.random(at.size) < 0.5
    allele = (genome[at] + rng.integers(1, 4, at.size)) % 4
    haplotypes = np.stack([genome, genome])
    haplotypes[0, at] = allele
    haplotypes[1, at[homozygous]] = allele[homozygous]
    return haplotypes, at, homozygous


def generate(
    path: Path | str, *, reads: int, length: int, accuracy: float, complexity: float, seed: int
) -> None:
    """Write a gzip FASTQ of reads from a donor of ``reference(complexity, seed)``.

    The reference is written beside it, see :func:`reference_path`. Both files are the same
    to the byte for the same arguments.

    Args:
        path: Where to write.
        reads: Number of reads.
        length: Bases per read.
        accuracy: One less the mean error probability of a base; errors are drawn from the
            qualities that are written.
        complexity: See :func:`reference`.
        seed: Non-negative.
    """
    require(reads >= 1, f"reads is {reads}; a sample needs at least 1")
    require(30 <= length <= 1000, f"length is {length}; it must lie between 30 and 1000 bases")
    require(0.5 <= accuracy <= 1, f"accuracy is {accuracy}; it must lie between 0.5 and 1")
    genome = reference(complexity, seed)
    haplotypes, _, _ = donor(genome, seed)
    rng = generator(seed, "reads")
    shape = (reads, length)
    starts = rng.integers(0, genome.size - length + 1, reads)
    starts += rng.integers(0, 2, reads) * genome.size
    bases = haplotypes.reshape(-1)[starts[:, None] + np.arange(length)]
    back = np.flatnonzero(rng.random(reads) < 0.5)
    bases[back] = 3 - bases[back, ::-1]
    short = np.flatnonzero(rng.random(reads) < _ADAPTER_SHARE)
    tail = rng.integers(0, 4, (short.size, 2 * length + len(ADAPTER)), dtype=np.uint8)
    tail[:, length : length + len(ADAPTER)] = code(ADAPTER)
    insert = rng.integers(int(0.4 * length), length, short.size)
    reach = np.arange(length) - insert[:, None]
    rows = tail[np.arange(short.size)[:, None], length + reach]
    bases[short] = np.where(reach < 0, bases[short], rows)
    # Quality falls along a read and differs between reads, as on a sequencer; the spread is
    # lognormal so that the mean error stays 1 - accuracy.
    spread = rng.standard_normal(shape, dtype=np.float32)
    spread *= 0.6
    spread += 0.4 * rng.standard_normal((reads, 1), dtype=np.float32) - np.float32(0.26)
    ramp = np.linspace(0.4, 1.6, length, dtype=np.float32)
    spread += np.log(ramp * np.float32(max(1 - accuracy, 1e-9)))
    spread *= np.float32(-10 / np.log(10))
    quals = np.clip(np.rint(spread, out=spread), 2, MAX_QUALITY).astype(np.uint8)
    wrong = rng.random(shape, dtype=np.float32) < _error_of(np.float32)[quals]
    bases[wrong] = (bases[wrong] + rng.integers(1, 4, int(wrong.sum()), dtype=np.uint8)) % 4
    if accuracy < 1:
        bases[quals == 2] = N
    lengths = np.full(reads, length, np.int32)
    _write(Path(path), Reads(bases, quals, lengths), genome)


def read(path: Path | str, *, max_bytes: int = MAX_BYTES) -> Reads:
    """Read a whole FASTQ, plain or gzip.

    Raises:
        ConfigError: There is no such file.
        CorruptError: The file is empty, cut off, larger than ``max_bytes`` when unpacked or
            not FASTQ.
    """
    return _join(list(_blocks(Path(path), max_bytes)))


def pool(
    path: Path | str,
    *,
    fraction: float = 0.1,
    seed: int,
    max_reads: int = 200_000,
    max_bytes: int = MAX_BYTES,
) -> Pool:
    """Keep a seeded share of a user's reads, holding one block of the file at a time.

    Args:
        path: FASTQ, plain or gzip.
        fraction: Share of reads to keep; at least one is kept.
        seed: Non-negative.
        max_reads: No more than this many are kept, still uniformly over the file.
        max_bytes: Refuse a file that unpacks to more.

    Raises:
        ConfigError: There is no such file, or ``fraction`` is not a share.
        CorruptError: As of :func:`read`.
    """
    require(0 < fraction <= 1, f"fraction is {fraction}; it must lie above 0 and at most 1")
    require(max_reads >= 1, f"max_reads is {max_reads}; it must be at least 1")
    rng = generator(seed, "pool")
    kept: list[Reads] = []
    draws = np.empty(0)
    seen = 0
    for block in _blocks(Path(path), max_bytes):
        draw = rng.random(len(block))
        seen += len(block)
        rows = np.flatnonzero(draw < fraction)
        if not rows.size and not draws.size:
            rows = np.array([draw.argmin()])
        kept.append(block.take(rows))
        draws = np.append(draws, draw[rows])
        if draws.size > max_reads:
            rows = np.sort(np.argpartition(draws, max_reads)[:max_reads])
            kept, draws = [_join(kept).take(rows)], draws[rows]
    return Pool(_join(kept), seen)


def measure(source: Pool | Reads) -> dict[str, float]:
    """Measure the features that drive the work.

    Returns:
        ``reads`` and mean ``length``; ``accuracy``, one less the mean error probability by
        the qualities; ``complexity``, distinct over all 21-mers of up to 5000 reads.
    """
    reads = source.reads if isinstance(source, Pool) else source
    inside = np.arange(reads.quals.shape[1]) < reads.lengths[:, None]
    scores = np.bincount(reads.quals[inside], minlength=128)
    kmers = _kmers(reads.bases[:5000], reads.lengths[:5000], COMPLEXITY_K)
    return {
        "reads": float(len(reads)),
        "length": float(reads.lengths.mean()),
        "accuracy": float(1 - (scores * _error_of(np.float64)[: scores.size]).sum() / scores.sum()),
        "complexity": float(np.unique(kmers).size / max(kmers.size, 1)),
    }


def pool_reference(pool: Pool) -> np.ndarray:
    """Chain pool reads into a pseudo reference of at most ``GENOME_LENGTH`` bases.

    Returns:
        ``uint8[G]`` codes 0..3; an N becomes A.
    """
    reads = pool.reads.take(np.arange(_chained(pool)))
    inside = np.arange(reads.bases.shape[1]) < reads.lengths[:, None]
    genome = reads.bases[inside][:GENOME_LENGTH]
    return np.where(genome == N, np.uint8(0), genome)


def write_sample(pool: Pool, path: Path | str, reads: int, seed: int) -> None:
    """Write a FASTQ of ``reads`` reads drawn from the pool, and its pseudo reference.

    Half of the reads come from those that make up the reference: a user's genome is larger
    than the reference, and reads from elsewhere would give the aligner nothing to extend.
    """
    require(reads >= 1, f"reads is {reads}; a sample needs at least 1")
    rng = generator(seed, "sample")
    near = rng.integers(0, _chained(pool), reads)
    rows = np.where(rng.random(reads) < 0.5, near, rng.integers(0, len(pool.reads), reads))
    _write(Path(path), pool.reads.take(rows), pool_reference(pool))


def _chained(pool: Pool) -> int:
    """Return how many of the pool's first reads make up its pseudo reference."""
    ends = np.cumsum(pool.reads.lengths)
    return min(len(pool.reads), int(np.searchsorted(ends, GENOME_LENGTH)) + 1)


def _error_of(dtype: type) -> np.ndarray:
    """Return the error probability of each Phred score 0..127."""
    return (10.0 ** (np.arange(128) / -10)).astype(dtype)


def _join(blocks: list[Reads]) -> Reads:
    if len(blocks) == 1:
        return blocks[0]
    width = max(b.bases.shape[1] for b in blocks)
    total = sum(len(b) for b in blocks)
    bases, quals = np.full((total, width), N, np.uint8), np.zeros((total, width), np.uint8)
    at = 0
    for b in blocks:
        bases[at : at + len(b), : b.bases.shape[1]] = b.bases
        quals[at : at + len(b), : b.bases.shape[1]] = b.quals
        at += len(b)
    return Reads(bases, quals, np.concatenate([b.lengths for b in blocks]))


def _blocks(path: Path, max_bytes: int) -> Iterator[Reads]:
    """Yield the reads of ``path``, a few MiB of text at a time."""
    if not path.is_file():
        raise ConfigError(f"there is no FASTQ file at {path}", hint=_EXPECT)
    carry, seen = b"", 0
    stream = _unpacked(path, max_bytes)
    final = False
    while not final:
        block = next(stream, b"")
        final = not block
        text = np.frombuffer(carry + block, np.uint8)
        if not text.size:
            break
        room = text.size // 7 + 1
        at, lengths = np.empty((2, room), np.int64), np.empty(room, np.int32)
        records, used, problem = _scan(text, final, _CODES, at, lengths)
        if problem:
            raise CorruptError(
                f"record {seen + records + 1} of {path.name} cannot be read: {_PROBLEMS[problem]}",
                hint=_EXPECT,
            )
        seen += records
        carry = text[used:].tobytes()
        if records:
            yield _gather(text, at[:, :records], lengths[:records])
    if not seen:
        raise CorruptError(f"{path.name} is empty; at least one read was expected", hint=_EXPECT)


def _gather(text: np.ndarray, at: np.ndarray, lengths: np.ndarray) -> Reads:
    shape = (lengths.size, int(lengths.max()))
    if shape[0] * shape[1] > 64 * text.size:
        raise CorruptError(
            f"the longest read has {shape[1]} bases, more than 64 times the mean; reads of "
            "about one length were expected",
            hint=_EXPECT,
        )
    bases, quals = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    _fill(text, at, lengths, _CODES, bases, quals)
    return Reads(bases, quals, lengths.copy())


def _unpacked(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield non-empty blocks of text, unpacked when the file starts as gzip does."""
    total = 0
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        for block in _inflated(file, path.name) if packed else iter(lambda: file.read(_BLOCK), b""):
            total += len(block)
            if total > max_bytes:
                raise CorruptError(
                    f"{path.name} unpacks to more than the {max_bytes >> 20} MiB that are read",
                    hint="give a smaller file, e.g. its first million reads",
                )
            if block:
                yield block


def _inflated(file: io.BufferedIOBase, name: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj(31)
    pending = b""
    try:
        while pending := pending or file.read(_BLOCK):
            if inflater.eof:  # a gzip file may be several members, one after the other
                inflater = zlib.decompressobj(31)
            yield inflater.decompress(pending, _BLOCK)
            pending = inflater.unconsumed_tail or inflater.unused_data
        while not inflater.eof:  # what the last call had no room for
            block = inflater.decompress(b"", _BLOCK)
            if not block:
                raise CorruptError(
                    f"{name} is cut off: its gzip stream has no end", hint="copy the file again"
                )
            yield block
    except zlib.error as e:
        raise CorruptError(
            f"{name} is not whole gzip ({e})", hint="copy the file again and try 'gzip -t' on it"
        ) from e


def _write(path: Path, reads: Reads, genome: np.ndarray) -> None:
    """Write a FASTQ and its reference, each aside first and then renamed."""
    digits = max(7, len(str(len(reads))))
    text = np.empty(int(reads.lengths.sum()) * 2 + len(reads) * (digits + 6), np.uint8)
    _format(reads.bases, reads.quals, reads.lengths, digits, _LETTERS, text)
    array = io.BytesIO()
    np.save(array, genome, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = (
        (reference_path(path), array.getvalue()),
        (path, gzip.compress(text.tobytes(), 1, mtime=0)),
    )
    for target, data in whole:
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        aside.write_bytes(data)
        aside.replace(target)


@njit(nogil=True, cache=True)
def _scan(
    text: np.ndarray, final: bool, codes: np.ndarray, at: np.ndarray, lengths: np.ndarray
) -> tuple[int, int, int]:
    """Find the records of ``text``; returns their number, the bytes used and a problem."""
    size, here, records = text.size, 0, 0
    while here < size:
        begin = here
        for line in range(4):
            stop = here
            while stop < size and text[stop] != 10:
                stop += 1
            if stop - here > MAX_LENGTH + 1:
                return records, begin, 7
            if line == 0 and here < size and text[here] != 64:
                return records, begin, 2
            if line == 2 and here < size and text[here] != 43:
                return records, begin, 3
            if stop == size and not (final and line == 3 and stop > here):
                return records, begin, 1 if final else 0
            end = stop - 1 if stop > here and text[stop - 1] == 13 else stop
            if line == 1:
                at[0, records], lengths[records] = here, end - here
                if end == here:
                    return records, begin, 8
                if end - here > MAX_LENGTH:
                    return records, begin, 7
                for i in range(here, end):
                    if codes[text[i]] > 4:
                        return records, begin, 5
            elif line == 3:
                at[1, records] = here
                if end - here != lengths[records]:
                    return records, begin, 4 if stop < size else 1
                for i in range(here, end):
                    if text[i] < 33 or text[i] > 126:
                        return records, begin, 6
            here = min(stop + 1, size)
        records += 1
    return records, here, 0


@njit(nogil=True, cache=True)
def _fill(
    text: np.ndarray,
    at: np.ndarray,
    lengths: np.ndarray,
    codes: np.ndarray,
    bases: np.ndarray,
    quals: np.ndarray,
) -> None:
    """Copy the scanned records into padded rows."""
    for r in range(lengths.size):
        for i in range(lengths[r]):
            bases[r, i] = codes[text[at[0, r] + i]]
            quals[r, i] = text[at[1, r] + i] - 33
        for i in range(lengths[r], bases.shape[1]):
            bases[r, i] = 4
            quals[r, i] = 0


@njit(nogil=True, cache=True)
def _format(
    bases: np.ndarray,
    quals: np.ndarray,
    lengths: np.ndarray,
    digits: int,
    letters: np.ndarray,
    text: np.ndarray,
) -> None:
    """Write records named by their number in ``digits`` digits."""
    o = 0
    for r in range(lengths.size):
        text[o] = 64
        number = r
        for d in range(digits):
            text[o + digits - d] = 48 + number % 10
            number //= 10
        o += digits + 1
        text[o] = 10
        o += 1
        for i in range(lengths[r]):
            text[o + i] = letters[bases[r, i]]
        o += lengths[r]
        text[o], text[o + 1], text[o + 2] = 10, 43, 10
        o += 3
        for i in range(lengths[r]):
            text[o + i] = quals[r, i] + 33
        o += lengths[r]
        text[o] = 10
        o += 1


@njit(nogil=True, cache=True)
def _kmers(bases: np.ndarray, lengths: np.ndarray, k: int) -> np.ndarray:
    """Return the codes of all k-mers without N, in the strand they were read."""
    out = np.empty(bases.size, np.uint64)
    mask = (np.uint64(1) << np.uint64(2 * k)) - np.uint64(1)
    n = 0
    for r in range(lengths.size):
        kmer, run = np.uint64(0), 0
        for i in range(lengths[r]):
            base = bases[r, i]
            run = 0 if base > 3 else run + 1
            kmer = ((kmer << np.uint64(2)) | np.uint64(base & 3)) & mask
            if run >= k:
                out[n] = kmer
                n += 1
    return out[:n]
