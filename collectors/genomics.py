r"""The CPU work of a genomics dataflow: qc, trim, k-mer count, align, merge and call.

One instance of the dataflow is one sequenced sample::

    qc -> trim -> kmer --+
             \-> align --+-> merge -> call

Each process is a plain function from arrays to arrays. ``threads`` is the number of threads
that it really uses; ``memory`` is the budget, in bytes, of its working data: what a process
counts against it stands in its docstring. Results depend on neither, only the work does.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np

from collectors import fastq
from collectors import genomics_kernels as kernels
from toolkit.errors import ConfigError, CorruptError, require, unknown

Arrays = dict[str, np.ndarray]
T = TypeVar("T")

EDGES = (
    ("qc", "trim"),
    ("trim", "kmer"),
    ("trim", "align"),
    ("kmer", "merge"),
    ("align", "merge"),
    ("merge", "call"),
)
MIN_MEMORY = 1 << 20

_LOG = logging.getLogger(__name__)
_ERROR = np.minimum(10.0 ** (np.arange(128) / -10), 0.75)  # a blind guess errs in 3 of 4
_ADAPTER = fastq.code(fastq.ADAPTER)
_DUST_WINDOW = 16
_MAX_ERROR, _MAX_UNKNOWN, _MAX_DUST = 0.25, 0.1, 6.0
_TRIM_QUALITY, _ADAPTER_ERRORS, _OVERLAP, _SHORTEST = 8, 0.15, 4, 30
_SLOT_BYTES = 16
_LOAD, _FULL_LOAD, _FEW_PASSES = 0.4, 0.5, 16
_PART_BYTES = 512 << 10
_SAMPLED = 64
_FAN_IN = 2
_OUTSIDE = 5  # matches no base, not even N
_EM_ROUNDS = 25
_PRIOR = 1e-3


def qc(path: str | Path, *, threads: int, memory: int) -> Arrays:
    """Unpack and parse a FASTQ (serial), score its reads (threaded) and drop the bad ones.

    Args:
        path: FASTQ with its reference beside it, see ``fastq.reference_path``.
        threads: For the scores.
        memory: Bounds the reads that are scored at a time; the reads themselves, which are
            also the result, are not counted.

    Returns:
        ``bases, quals uint8[R, L]``, ``lengths int32[R]``, ``reference uint8[G]``,
        ``composition int32[L, 5]`` and ``scores int32[L, 128]`` by cycle,
        ``enriched int32[L]`` the commonest 6-mer by cycle, and ``dropped int64``.
    """
    reads = fastq.read(path)
    genome = _load_reference(fastq.reference_path(path))
    width = reads.bases.shape[1]
    composition, scores = np.zeros((width, 5), np.int32), np.zeros((width, 128), np.int32)
    words = np.zeros((4096, width), np.int32)
    kernels.cycle_tables(reads.bases, reads.quals, reads.lengths, composition, scores, words)
    stats = np.empty((len(reads), 3))
    _over_rows(
        lambda lo, hi: kernels.quality_control(
            reads.bases, reads.quals, reads.lengths, _ERROR, _DUST_WINDOW, lo, hi, stats
        ),
        len(reads),
        threads,
        memory // (2 * width),
    )
    good = (stats <= (_MAX_ERROR, _MAX_UNKNOWN, _MAX_DUST)).all(axis=1)
    kept = reads.take(np.flatnonzero(good))
    return {
        "bases": kept.bases,
        "quals": kept.quals,
        "lengths": kept.lengths,
        "reference": genome,
        "composition": composition,
        "scores": scores,
        "enriched": words.argmax(axis=0).astype(np.int32),
        "dropped": np.array(len(reads) - len(kept)),
    }


def trim(reads: Arrays, *, threads: int, memory: int) -> Arrays:
    """Cut low-quality 3' ends and the adapter, and drop reads that become too short.

    Args:
        reads: Result of :func:`qc`.
        threads: Over reads.
        memory: Bounds the reads that are cut at a time.

    Returns:
        ``bases, quals, lengths, reference`` as of :func:`qc`, and ``row int32[R]``, the row
        of each read there.
    """
    bases, quals, lengths, genome = _frozen(reads, "bases", "quals", "lengths", "reference")
    kept = np.zeros(lengths.size, np.int32)
    _over_rows(
        lambda lo, hi: kernels.trim_reads(
            *(bases, quals, lengths, _ADAPTER, _ADAPTER_ERRORS, _OVERLAP, _TRIM_QUALITY),
            *(lo, hi, kept),
        ),
        lengths.size,
        threads,
        memory // (2 * max(bases.shape[1], 1)),
    )
    rows = np.flatnonzero(kept >= _SHORTEST)
    whole = fastq.Reads(bases, quals, kept).take(rows)
    beyond = np.arange(whole.bases.shape[1]) >= whole.lengths[:, None]
    return {
        "bases": np.where(beyond, np.uint8(fastq.N), whole.bases),
        "quals": np.where(beyond, np.uint8(0), whole.quals),
        "lengths": whole.lengths,
        "reference": genome,
        "row": rows.astype(np.int32),
    }


def plan_kmer(
    distinct: float, reads_bytes: int, threads: int, memory: int
) -> tuple[int, int, int, int]:
    """Split a k-mer count so that the table of one pass fits the budget.

    As in DSK (doi:10.1093/bioinformatics/btt020) a pass counts only the k-mers whose hash
    falls into its share of the hash space, and every pass reads all reads.

    Args:
        distinct: Estimated distinct k-mers.
        reads_bytes: Size of the reads; up to an eighth of the budget is kept for those in view.
        threads: Each owns an equal number of the parts of the table.
        memory: Budget in bytes for reads in view, buffers (a quarter) and table.

    Returns:
        Passes, parts of the table, slots of a part, and entries of each of the ``threads *
        parts`` buffers. A part fits a core's cache.
    """
    buffers = memory // 4
    table = memory - buffers - min(reads_bytes, memory // 8)
    # Beyond some passes a fuller table, which probes longer, costs less than another pass.
    load = min(max(distinct * _SLOT_BYTES / (_FEW_PASSES * table), _LOAD), _FULL_LOAD)
    need = distinct / load * _SLOT_BYTES
    passes = max(1, math.ceil(need / table))
    parts = threads * max(1, math.ceil(need / passes / threads / _PART_BYTES))
    slots = math.ceil(1.05 * need / _SLOT_BYTES / passes / parts) + 256
    return passes, parts, slots, buffers // (12 * threads * parts)


def estimate_distinct(bases: np.ndarray, lengths: np.ndarray) -> int:
    """Estimate the distinct k-mers of all ``KS`` from a 64th of the hash space."""
    most = len(kernels.KS) * int(lengths.sum())
    out = np.empty(most // _SAMPLED * 2 + 4096, np.uint64)
    found = kernels.sample_hashes(bases, lengths, _SAMPLED, out)
    return int(np.unique(out[:found]).size) * _SAMPLED


def kmer(reads: Arrays, *, threads: int, memory: int) -> Arrays:
    """Count canonical k-mers for every k of ``KS`` and find how well they support each read.

    Args:
        reads: Result of :func:`trim`.
        threads: Scatter k-mers over reads, then each inserts the share of the hash space
            that it owns.
        memory: Counts the bases, the scatter buffers and the hash tables; see
            :func:`plan_kmer`. With less there are more passes over the reads.

    Returns:
        ``spectrum int64[len(KS), 256]``, how many k-mers occur 1, 2, ... times, and ``solid
        int32[R, len(KS)]``, the k-mers of each read that occur at least twice in the sample, of
        ``windows int32[R]`` over all k.
    """
    bases, lengths = _frozen(reads, "bases", "lengths")
    distinct = estimate_distinct(bases, lengths)
    while True:
        plan = plan_kmer(distinct, bases.nbytes, threads, memory)
        counted = _count(bases, lengths, threads, *plan)
        if counted is not None:
            windows = np.maximum(lengths[:, None] - np.array(kernels.KS) + 1, 0).sum(axis=1)
            return {**counted, "windows": windows.astype(np.int32)}
        distinct *= 2  # the estimate was low and a table overflowed


def align(reads: Arrays, *, threads: int, memory: int) -> Arrays:
    """Place each read on the reference by seed and extend with affine gaps.

    Args:
        reads: Result of :func:`trim`.
        threads: Over reads, once the seed index is sorted.
        memory: Bounds the reads in work at a time beside the index of 16 bytes per
            reference base; the result is not counted.

    Returns:
        ``position int32[R]`` (-1 where unplaced), ``strand, mapq uint8[R]``, ``score, loci
        int32[R]``, ``aligned uint8[R, W]`` with ``base | quality << 2`` by reference column
        from the position on and 255 where there is none, and ``reference``.
    """
    bases, quals, lengths, genome = _frozen(reads, "bases", "quals", "lengths", "reference")
    codes = np.empty(max(genome.size - kernels.SEED + 1, 0), np.uint32)
    kernels.seed_codes(genome, codes)
    places = np.argsort(codes, kind="stable").astype(np.int32)
    codes = codes[places]
    width = bases.shape[1] + 2 * kernels.BAND
    margin = 2 * width
    padded = np.full(genome.size + 2 * margin, _OUTSIDE, np.uint8)
    padded[margin : margin + genome.size] = genome
    hit = np.empty((lengths.size, 5), np.int32)
    aligned = np.empty((lengths.size, width), np.uint8)
    _over_rows(
        lambda lo, hi: kernels.align_reads(
            bases, quals, lengths, padded, margin, codes, places, lo, hi, hit, aligned
        ),
        lengths.size,
        threads,
        max(memory - 16 * genome.size, memory // 4) // (4 * width),
    )
    return {
        "position": hit[:, 0].copy(),
        "strand": hit[:, 1].astype(np.uint8),
        "score": hit[:, 2].copy(),
        "mapq": hit[:, 3].astype(np.uint8),
        "loci": hit[:, 4].copy(),
        "aligned": aligned,
        "reference": genome,
    }


def merge(kmers: Arrays, alignments: Arrays, *, threads: int, memory: int) -> Arrays:
    """Sort alignments by position and join them with k-mer support into pileup columns.

    One record per aligned base is sorted externally: sorted runs that fit the budget go to
    a temporary file and are merged until one is left. Serial: ``threads`` does not help.

    Args:
        kmers: Result of :func:`kmer`; a read whose k-mers few others share counts for less.
        alignments: Result of :func:`align`.
        threads: Ignored.
        memory: Counts the alignments, the depth of the reference and the records held at a
            time. With less there are more and shorter runs, and more rounds of merging.

    Returns:
        ``order int32[A]``, rows of the placed reads by position, ``position int32[A]`` in
        that order, ``offsets int64[G + 1]`` and ``columns uint8[N]``, the observations of
        each position, and ``reference``.
    """
    solid, windows = _frozen(kmers, "solid", "windows")
    position, mapq, aligned, genome = _frozen(
        alignments, "position", "mapq", "aligned", "reference"
    )
    placed = np.flatnonzero((aligned != kernels.EMPTY).any(axis=1))
    order = placed[np.argsort(position[placed], kind="stable")]
    share = solid.sum(axis=1) / np.maximum(windows, 1)
    cap = np.minimum(mapq, np.rint(10 + 50 * share)).astype(np.uint8)
    depth = np.zeros(genome.size, np.int64)
    held = aligned.nbytes + solid.nbytes + 2 * depth.nbytes
    room = max((memory - held) // 16, memory // 64, 4 * aligned.shape[1])
    columns = np.empty(int((aligned != kernels.EMPTY).sum()), np.uint8)
    filled = 0

    def emit(records: np.ndarray) -> None:
        nonlocal filled
        kernels.columns_of(records, columns, depth, filled)
        filled += records.size

    _external_sort(
        lambda lo, out: kernels.observe(aligned, position, cap, genome.size, lo, cap.size, out),
        cap.size,
        room,
        emit,
    )
    offsets = np.zeros(genome.size + 1, np.int64)
    np.cumsum(depth, out=offsets[1:])
    return {
        "order": order.astype(np.int32),
        "position": position[order],
        "offsets": offsets,
        "columns": columns[:filled],
        "reference": genome,
    }


def call(merged: Arrays, *, threads: int, memory: int) -> Arrays:
    """Call SNPs from pileup columns.

    Args:
        merged: Result of :func:`merge`.
        threads: Over windows of the reference.
        memory: Bounds the windows in work at a time, at 64 bytes per position.

    Returns:
        ``position int64[S]`` sorted, ``reference, first, second uint8[S]`` codes of the
        reference base and of the two alleles, ``quality float32[S]`` Phred, ``depth
        int64[S]`` and ``share float32[S, 4]`` the frequency of each base.
    """
    columns, offsets, genome = _frozen(merged, "columns", "offsets", "reference")
    quality = np.empty(genome.size, np.float32)
    alleles = np.empty(genome.size, np.uint8)
    share = np.empty((genome.size, 4), np.float32)
    _over_rows(
        lambda lo, hi: kernels.genotype(
            columns, offsets, genome, _ERROR, lo, hi, _EM_ROUNDS, _PRIOR, quality, alleles, share
        ),
        genome.size,
        threads,
        memory // 64,
    )
    at = np.flatnonzero(quality >= 20)
    return {
        "position": at,
        "reference": genome[at],
        "first": alleles[at] & 3,
        "second": alleles[at] >> 2,
        "quality": quality[at],
        "depth": np.diff(offsets)[at],
        "share": share[at],
    }


PROCESSES: dict[str, Callable[..., Arrays]] = {
    "qc": qc,
    "trim": trim,
    "kmer": kmer,
    "align": align,
    "merge": merge,
    "call": call,
}


def run(process: str, inputs: tuple[Any, ...], *, threads: int, memory: int) -> Arrays:
    """Run one process.

    Args:
        process: A key of ``PROCESSES``.
        inputs: The FASTQ path for ``qc``, else the parents' results in the order of ``EDGES``.
        threads: At least 1.
        memory: Bytes, at least ``MIN_MEMORY``.
    """
    if process not in PROCESSES:
        raise unknown("process", process, PROCESSES)
    require(threads >= 1, f"threads is {threads}; it must be at least 1")
    require(memory >= MIN_MEMORY, f"memory is {memory} bytes; it must be at least {MIN_MEMORY}")
    return PROCESSES[process](*inputs, threads=threads, memory=memory)


def run_all(path: str | Path, *, threads: int, memory: int) -> dict[str, Arrays]:
    """Run the whole dataflow in this process; returns each process's result by name."""
    done: dict[str, Arrays] = {}
    for name in PROCESSES:
        parents = tuple(done[a] for a, b in EDGES if b == name) or (path,)
        done[name] = run(name, parents, threads=threads, memory=memory)
    return done


def warm() -> None:
    """Compile or load every kernel on a tiny sample, so that later runs measure only work."""
    _LOG.info("preparing the genomics kernels; the first time takes about a minute")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.fastq.gz"
        fastq.generate(path, reads=1200, length=100, accuracy=0.99, complexity=0.5, seed=0)
        run_all(path, threads=1, memory=MIN_MEMORY)
    _LOG.info("the genomics kernels are ready")


def _load_reference(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ConfigError(
            f"there is no reference at {path}", hint="make the sample anew with its reference"
        )
    try:
        genome: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as e:
        raise CorruptError(
            f"{path.name} is not an array file ({e})", hint="make the sample anew"
        ) from e
    whole = isinstance(genome, np.ndarray) and genome.dtype == np.uint8 and genome.ndim == 1
    if not whole or genome.size < 100 or genome.max() > 3:
        raise CorruptError(
            f"{path.name} holds no reference; at least 100 codes 0..3 were expected",
            hint="make the sample anew",
        )
    return cast(np.ndarray, genome)


def _frozen(arrays: Mapping[str, np.ndarray], *names: str) -> list[np.ndarray]:
    """Return read-only views.

    Arrays from an object store cannot be written; kernels that always see such arrays are
    compiled once rather than once for each kind.
    """
    views = [arrays[name].view() for name in names]
    for view in views:
        view.flags.writeable = False
    return views


def _over_rows(work: Callable[[int, int], object], rows: int, threads: int, at_a_time: int) -> None:
    """Call ``work(lo, hi)`` on all rows, no more than ``at_a_time`` being in work."""
    # Some pieces per thread even the load out; too many would only cost switches.
    pieces = max(4 * threads if threads > 1 else 1, math.ceil(rows * threads / max(at_a_time, 1)))
    edges = np.linspace(0, rows, min(pieces, max(rows, 1)) + 1).astype(int).tolist()
    if threads == 1:
        for lo, hi in pairwise(edges):
            work(lo, hi)
        return
    with ThreadPoolExecutor(threads) as team:
        list(team.map(work, edges[:-1], edges[1:]))


def _count(
    bases: np.ndarray,
    lengths: np.ndarray,
    threads: int,
    passes: int,
    parts: int,
    slots: int,
    room: int,
) -> Arrays | None:
    """Count k-mers by the plan; returns None when a table overflows."""
    rows = lengths.size
    room = max(room, len(kernels.KS) * bases.shape[1])
    tables = np.zeros((parts, slots, 2), np.uint64)
    keys = np.empty((threads, parts, room), np.uint64)
    origin = np.empty((threads, parts, room), np.int32)
    fills = np.zeros((threads, parts), np.int64)
    spectra = np.zeros((threads, len(kernels.KS), 256), np.int64)
    # One for each thread, since the k-mers of a read belong to parts of different threads.
    solid = np.zeros((threads, rows, len(kernels.KS)), np.int32)
    edges: list[int] = np.linspace(0, rows, threads + 1).astype(int).tolist()
    used, limit = np.zeros(parts, np.int64), int(0.95 * slots)
    with ThreadPoolExecutor(threads) as team:

        def each(work: Callable[[int], T]) -> list[T]:
            return [work(0)] if threads == 1 else list(team.map(work, range(threads)))

        def sweep(turn: int, work: Callable[[int], bool | None]) -> bool:
            """Scatter all reads, a buffer at a time, and let the owners work on each."""

            def send(t: int) -> int:
                part = (keys[t], origin[t], fills[t])
                return int(
                    kernels.scatter(bases, lengths, at[t], edges[t + 1], turn, passes, *part)
                )

            at = edges[:-1]
            while at != edges[1:]:
                at = each(send)
                if False in each(work):
                    return False
            return True

        def insert(t: int) -> bool:
            return bool(kernels.insert(keys, fills, tables, used, limit, t, threads))

        def support(t: int) -> None:
            kernels.support(keys, origin, fills, tables, t, threads, solid[t])

        def tally(t: int) -> None:
            kernels.tally(tables, t, threads, spectra[t])

        for turn in range(passes):
            if turn:
                tables.fill(0)
                used.fill(0)
            if not sweep(turn, insert):
                return None
            sweep(turn, support)
            each(tally)
    return {"spectrum": spectra.sum(axis=0), "solid": solid.sum(axis=0, dtype=np.int32)}


def _external_sort(
    fill: Callable[[int, np.ndarray], tuple[int, int]],
    rows: int,
    room: int,
    emit: Callable[[np.ndarray], None],
) -> None:
    """Sort records from ``fill(row, out) -> (records, next row)`` into ``emit``.

    Args:
        fill: Writes the records of rows from ``row`` on until ``out`` is full.
        rows: Number of rows.
        room: Records of a run; as many again are scratch.
        emit: Takes the sorted records, block by block.
    """
    run, scratch = np.empty(room, np.uint64), np.empty(room, np.uint64)
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        source, target = cast(BinaryIO, one), cast(BinaryIO, other)
        runs: list[int] = []
        at = 0
        while at < rows:
            found, at = fill(at, run)
            kernels.sort_run(run[:found], scratch[:found])
            if at >= rows and not runs:
                emit(run[:found])
                return
            _append(source, run[:found])
            runs.append(found)
        del run, scratch
        while len(runs) > _FAN_IN:
            target.seek(0)
            groups = [runs[i : i + _FAN_IN] for i in range(0, len(runs), _FAN_IN)]
            runs, begin = [sum(group) for group in groups], 0
            for group, total in zip(groups, runs, strict=True):
                _merge_runs(source, begin, group, 2 * room, partial(_append, target))
                begin += total
            source, target = target, source
        _merge_runs(source, 0, runs, 2 * room, emit)


def _append(file: BinaryIO, records: np.ndarray) -> None:
    file.write(records.data)


def _merge_runs(
    file: BinaryIO, begin: int, runs: list[int], room: int, emit: Callable[[np.ndarray], object]
) -> None:
    """Merge sorted runs that follow one another in ``file`` from record ``begin`` on.

    Args:
        file: Holds ``uint64`` records.
        begin: Where the first run starts, in records.
        runs: Records of each run.
        room: Records that may be held at a time.
        emit: Takes the merged records, block by block.
    """
    left = np.array(runs, np.int64)
    ahead = begin + np.concatenate(([0], np.cumsum(left)[:-1]))
    blocks = np.empty((left.size, max(room // (left.size + 1), 1)), np.uint64)
    out = np.empty(blocks.shape[1], np.uint64)
    at, held = np.zeros((2, left.size), np.int64)
    while True:
        for b in np.flatnonzero((at == held) & (left > 0)):
            file.seek(8 * int(ahead[b]))
            block = np.frombuffer(file.read(8 * min(int(left[b]), blocks.shape[1])), np.uint64)
            blocks[b, : block.size] = block
            at[b], held[b] = 0, block.size
            left[b] -= held[b]
            ahead[b] += held[b]
        found = kernels.merge_blocks(blocks, at, held, left > 0, out)
        if not found:
            return
        emit(out[:found])
