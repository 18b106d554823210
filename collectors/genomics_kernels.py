"""Compiled inner loops of the genomics processes.

Each releases the GIL and works on rows ``lo <= r < hi`` of its inputs, so that threads may
run it side by side on disjoint rows. R is the number of reads, L the padded read length, G
the length of the reference; base codes are 0..3 and 4 for N, qualities are Phred scores.
"""

from __future__ import annotations

import numpy as np
from numba import njit

KS = (17, 21, 25, 31)
SEED = 15
SEED_STEP = 3
MAX_HITS = 48
MAX_LOCI = 8
BAND = 8
EMPTY = 255  # an aligned column without a base

_MATCH, _MISMATCH, _OPEN, _EXTEND = 1, -4, -6, -1  # as BWA-MEM, arXiv:1303.3997
_FLOOR = -(1 << 20)
_U = np.uint64


@njit(nogil=True, cache=True)
def quality_control(
    bases: np.ndarray,
    quals: np.ndarray,
    lengths: np.ndarray,
    error_of: np.ndarray,
    window: int,
    lo: int,
    hi: int,
    stats: np.ndarray,
) -> None:
    """Score reads: ``stats[r]`` gets mean error, share of N, and DUST score.

    The DUST score is the largest ``sum c (c - 1) / 2 / (triplets - 1)`` over all intervals of
    up to ``window`` triplets, c counting each triplet (symmetric DUST,
    doi:10.1089/cmb.2006.13.1028).
    """
    triplets = np.empty(bases.shape[1], np.int64)
    counts = np.zeros(64, np.int64)
    for r in range(lo, hi):
        n = lengths[r]
        error, unknown = 0.0, 0
        for i in range(n):
            error += error_of[quals[r, i]]
            unknown += bases[r, i] > 3
        worst = 0.0
        for end in range(2, n):
            triplets[end - 2] = (
                (bases[r, end - 2] & 3) << 4 | (bases[r, end - 1] & 3) << 2 | (bases[r, end] & 3)
            )
            pairs, begin = 0, max(0, end - 1 - window)
            for i in range(end - 2, begin - 1, -1):
                t = triplets[i]
                pairs += counts[t]
                counts[t] += 1
                size = end - 2 - i
                if pairs > worst * size and size > 0:
                    worst = pairs / size
            for i in range(begin, end - 1):
                counts[triplets[i]] = 0
        stats[r, 0], stats[r, 1], stats[r, 2] = error / n, unknown / n, worst


@njit(nogil=True, cache=True)
def cycle_tables(
    bases: np.ndarray,
    quals: np.ndarray,
    lengths: np.ndarray,
    composition: np.ndarray,
    scores: np.ndarray,
    words: np.ndarray,
) -> None:
    """Count bases, qualities and 6-mers at each cycle over all reads.

    Args:
        bases: ``uint8[R, L]``.
        quals: ``uint8[R, L]``.
        lengths: ``int32[R]``.
        composition: ``int32[L, 5]``, added to.
        scores: ``int32[L, 128]``, added to.
        words: ``int32[4096, L]``, added to; each row belongs to a 6-mer.
    """
    for r in range(lengths.size):
        word, run = 0, 0
        for i in range(lengths[r]):
            base = bases[r, i]
            composition[i, base] += 1
            scores[i, quals[r, i]] += 1
            run = 0 if base > 3 else run + 1
            word = (word << 2 | (base & 3)) & 4095
            if run >= 6:
                words[word, i] += 1


@njit(nogil=True, cache=True)
def trim_reads(
    bases: np.ndarray,
    quals: np.ndarray,
    lengths: np.ndarray,
    adapter: np.ndarray,
    rate: float,
    overlap: int,
    threshold: int,
    lo: int,
    hi: int,
    kept: np.ndarray,
) -> None:
    """Find how many bases of each read stay: ``kept[r]``.

    First the 3' end is cut where the running sum of ``threshold - quality`` peaks (as BWA
    does), then at the start of the best semi-global alignment of the 3' adapter with at most
    ``rate`` errors per aligned adapter base (as cutadapt, doi:10.14806/ej.17.1.200).
    """
    m = adapter.size
    cost, origin, match = np.empty((3, m + 1), np.int32)
    for r in range(lo, hi):
        n = lengths[r]
        total, peak = 0, 0
        for i in range(lengths[r] - 1, -1, -1):
            total += threshold - quals[r, i]
            if total < 0:
                break
            if total > peak:
                peak, n = total, i
        for i in range(m + 1):
            cost[i], origin[i], match[i] = i, 0, 0
        best_match, best_cost, cut = 0, 0, n
        for j in range(n):
            up_cost, up_origin, up_match = cost[0], origin[0], match[0]
            cost[0], origin[0], match[0] = 0, j + 1, 0
            for i in range(1, m + 1):
                old_cost, old_origin, old_match = cost[i], origin[i], match[i]
                if bases[r, j] == adapter[i - 1]:
                    c, o, t = up_cost, up_origin, up_match + 1
                else:
                    c, o, t = up_cost + 1, up_origin, up_match
                    if old_cost + 1 < c:
                        c, o, t = old_cost + 1, old_origin, old_match
                    if cost[i - 1] + 1 < c:
                        c, o, t = cost[i - 1] + 1, origin[i - 1], match[i - 1]
                cost[i], origin[i], match[i] = c, o, t
                up_cost, up_origin, up_match = old_cost, old_origin, old_match
            if cost[m] <= rate * m and (
                match[m] > best_match or (match[m] == best_match and cost[m] < best_cost)
            ):
                best_match, best_cost, cut = match[m], cost[m], origin[m]
        for i in range(overlap, m + 1):
            if cost[i] <= int(rate * i) and (
                match[i] > best_match or (match[i] == best_match and cost[i] < best_cost)
            ):
                best_match, best_cost, cut = match[i], cost[i], origin[i]
        kept[r] = cut


@njit(nogil=True, cache=True)
def _mix(x: np.uint64) -> np.uint64:
    """Finalise a 64-bit hash (splitmix64, doi:10.1145/2714064.2660195)."""
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


@njit(nogil=True, cache=True)
def _canonical(bases: np.ndarray, row: int, n: int, which: int, out: np.ndarray) -> int:
    """Write the tagged canonical k-mers of one read for ``KS[which]``; returns how many.

    The tag is ``which`` in the two top bits, so that all k share one table; one is added so
    that 0 may mean an empty slot.
    """
    k = KS[which]
    mask = (_U(1) << _U(2 * k)) - _U(1)
    top = _U(2 * k - 2)
    tag = (_U(which) << _U(62)) + _U(1)
    forward, backward, run, found = _U(0), _U(0), 0, 0
    for i in range(n):
        base = bases[row, i]
        run = 0 if base > 3 else run + 1
        code = _U(base & 3)
        forward = ((forward << _U(2)) | code) & mask
        backward = (backward >> _U(2)) | ((_U(3) - code) << top)
        if run >= k:
            out[found] = min(forward, backward) + tag
            found += 1
    return found


@njit(nogil=True, cache=True)
def sample_hashes(bases: np.ndarray, lengths: np.ndarray, rate: int, out: np.ndarray) -> int:
    """Collect the hashes of a share ``1 / rate`` of the k-mer space; returns how many."""
    kmers = np.empty(bases.shape[1], np.uint64)
    limit = _U(0xFFFFFFFFFFFFFFFF) // _U(rate)
    found = 0
    for r in range(lengths.size):
        for which in range(len(KS)):
            for i in range(_canonical(bases, r, lengths[r], which, kmers)):
                h = _mix(kmers[i])
                if h < limit and found < out.size:
                    out[found] = h
                    found += 1
    return found


@njit(nogil=True, cache=True)
def scatter(
    bases: np.ndarray,
    lengths: np.ndarray,
    lo: int,
    hi: int,
    turn: int,
    turns: int,
    keys: np.ndarray,
    rows: np.ndarray,
    fill: np.ndarray,
) -> int:
    """Send the k-mers of a pass to the buffers of the parts of the table that hold them.

    Args:
        bases: ``uint8[R, L]``.
        lengths: ``int32[R]``.
        lo: First row to visit.
        hi: Row to stop before.
        turn: Which pass over the reads this is.
        turns: Number of passes.
        keys: ``uint64[parts, room]``, written: the k-mers.
        rows: ``int32[parts, room]``, written: the read of each.
        fill: ``int64[parts]``, written: the entries of each part.

    Returns:
        The first row that was not visited because a buffer was full.
    """
    kmers = np.empty(bases.shape[1], np.uint64)
    parts, room = keys.shape
    fill[:] = 0
    shares = _U(turns * parts)
    first = turn * parts
    for r in range(lo, hi):
        if fill.max() + len(KS) * lengths[r] > room:
            return r
        for which in range(len(KS)):
            for i in range(_canonical(bases, r, lengths[r], which, kmers)):
                part = np.int64(((_mix(kmers[i]) >> _U(32)) * shares) >> _U(32)) - first
                if part >= 0 and part < parts:
                    keys[part, fill[part]] = kmers[i]
                    rows[part, fill[part]] = r
                    fill[part] += 1
    return hi


@njit(nogil=True, cache=True)
def insert(
    keys: np.ndarray,
    fills: np.ndarray,
    tables: np.ndarray,
    used: np.ndarray,
    limit: int,
    owner: int,
    owners: int,
) -> bool:
    """Count the buffered k-mers of every ``owners``-th part by linear probing.

    Args:
        keys: ``uint64[senders, parts, room]``.
        fills: ``int64[senders, parts]``.
        tables: ``uint64[parts, slots, 2]`` of k-mer and count; k-mer 0 is an empty slot.
        used: ``int64[parts]`` slots in use, updated.
        limit: How many of them may be.
        owner: The first part to take.
        owners: How far the next one is.

    Returns:
        Whether all k-mers found room.
    """
    slots = tables.shape[1]
    for part in range(owner, tables.shape[0], owners):
        table = tables[part]
        for sender in range(fills.shape[0]):
            for i in range(fills[sender, part]):
                key = keys[sender, part, i]
                s = np.int64(((_mix(key) & _U(0xFFFFFFFF)) * _U(slots)) >> _U(32))
                while table[s, 0] != key:
                    if table[s, 0] == _U(0):
                        if used[part] >= limit:
                            return False
                        table[s, 0] = key
                        used[part] += 1
                        break
                    s = s + 1 if s + 1 < slots else np.int64(0)
                table[s, 1] += _U(1)
    return True


@njit(nogil=True, cache=True)
def support(
    keys: np.ndarray,
    rows: np.ndarray,
    fills: np.ndarray,
    tables: np.ndarray,
    owner: int,
    owners: int,
    solid: np.ndarray,
) -> None:
    """Add to ``solid[r, which]`` the buffered k-mers of read r that were seen at least twice.

    Args:
        keys: As of :func:`insert`.
        rows: ``int32[senders, parts, room]``.
        fills: As of :func:`insert`.
        tables: As of :func:`insert`, complete.
        owner: As of :func:`insert`.
        owners: As of :func:`insert`.
        solid: ``int32[R, len(KS)]``, added to.
    """
    slots = tables.shape[1]
    for part in range(owner, tables.shape[0], owners):
        table = tables[part]
        for sender in range(fills.shape[0]):
            for i in range(fills[sender, part]):
                key = keys[sender, part, i]
                s = np.int64(((_mix(key) & _U(0xFFFFFFFF)) * _U(slots)) >> _U(32))
                while table[s, 0] != key:
                    s = s + 1 if s + 1 < slots else np.int64(0)
                which = np.int64((key - _U(1)) >> _U(62))
                solid[rows[sender, part, i], which] += table[s, 1] > _U(1)


@njit(nogil=True, cache=True)
def tally(tables: np.ndarray, owner: int, owners: int, spectrum: np.ndarray) -> None:
    """Add every ``owners``-th table to the histograms ``spectrum[which, min(count, last)]``."""
    last = spectrum.shape[1] - 1
    for part in range(owner, tables.shape[0], owners):
        for s in range(tables.shape[1]):
            if tables[part, s, 0] != _U(0):
                which = np.int64((tables[part, s, 0] - _U(1)) >> _U(62))
                spectrum[which, min(np.int64(tables[part, s, 1]), last)] += 1


@njit(nogil=True, cache=True)
def seed_codes(genome: np.ndarray, out: np.ndarray) -> None:
    """Write the code of each ``SEED``-mer of the reference; one with an N gets the top code."""
    mask = np.uint32((1 << (2 * SEED)) - 1)
    word, run = np.uint32(0), 0
    for i in range(genome.size):
        run = 0 if genome[i] > 3 else run + 1
        word = np.uint32((word << np.uint32(2)) | np.uint32(genome[i] & 3)) & mask
        if i + 1 >= SEED:
            out[i + 1 - SEED] = word if run >= SEED else np.uint32(0xFFFFFFFF)


@njit(nogil=True, cache=True)
def _first(codes: np.ndarray, word: np.uint32) -> int:
    """Return the first index of the sorted ``codes`` not below ``word``."""
    a, b = 0, codes.size
    while a < b:
        middle = (a + b) >> 1
        if codes[middle] < word:
            a = middle + 1
        else:
            b = middle
    return a


@njit(nogil=True, cache=True)
def _loci(
    read: np.ndarray,
    n: int,
    codes: np.ndarray,
    places: np.ndarray,
    hits: np.ndarray,
    loci: np.ndarray,
    votes: np.ndarray,
) -> int:
    """Gather the diagonals of seed hits and cluster those within a band; returns how many."""
    found, word, run = 0, np.uint32(0), 0
    mask = np.uint32((1 << (2 * SEED)) - 1)
    for i in range(n):
        run = 0 if read[i] > 3 else run + 1
        word = np.uint32((word << np.uint32(2)) | np.uint32(read[i] & 3)) & mask
        at = i + 1 - SEED
        if run < SEED or at % SEED_STEP:
            continue
        a = _first(codes, word)
        stop = min(a + MAX_HITS, codes.size)
        while a < stop and codes[a] == word and found < hits.size:
            hits[found] = places[a] - at
            found += 1
            a += 1
    ordered = np.sort(hits[:found])
    clusters, i = 0, 0
    while i < found and clusters < loci.size:
        j = i
        while j < found and ordered[j] - ordered[i] <= BAND // 2:
            j += 1
        loci[clusters], votes[clusters] = ordered[(i + j) // 2], j - i
        clusters += 1
        i = j
    return clusters


@njit(nogil=True, cache=True)
def _extend(
    read: np.ndarray,
    n: int,
    genome: np.ndarray,
    start: int,
    best: np.ndarray,
    gap: np.ndarray,
    trace: np.ndarray,
) -> tuple[int, int]:
    """Align a whole read to the reference in a band around a diagonal, with affine gaps.

    Args:
        read: Codes.
        n: Their number.
        genome: ``uint8``, the reference with a margin before and after that matches nothing.
        start: Where in ``genome`` the first read base lies on the lowest diagonal.
        best: ``int32[2 BAND + 2]`` scratch.
        gap: As ``best``.
        trace: ``uint8[L, 2 BAND + 1]``, written: 0 aligned, 1 insertion, 2 deletion, plus 4
            and 8 where the insertion and the deletion go on.

    Returns:
        The score and the band column of the last base.
    """
    width = 2 * BAND + 1
    best[:width] = 0
    best[width] = _FLOOR
    gap[:] = _FLOOR
    for i in range(n):
        base = read[i]
        across = left = np.int32(_FLOOR)
        row = genome[start + i : start + i + width]
        for j in range(width):
            h = best[j] + np.int32(_MATCH if row[j] == base else _MISMATCH)
            opened, longer = best[j + 1] + _OPEN, gap[j + 1]
            down = np.int32(max(opened, longer) + _EXTEND)
            mark = 4 if longer > opened else 0
            opened = left + _OPEN
            mark |= 8 if across > opened else 0
            across = np.int32(max(opened, across) + _EXTEND)
            mark |= 1 if down > h else 0
            h = max(h, down)
            mark = (mark & 12) | 2 if across > h else mark
            left = max(h, across)
            best[j], gap[j] = left, down
            trace[i, j] = mark
    column = 0
    for j in range(width):
        if best[j] > best[column]:
            column = j
    return best[column], column


@njit(nogil=True, cache=True)
def _walk(
    read: np.ndarray, quals: np.ndarray, n: int, column: int, trace: np.ndarray, row: np.ndarray
) -> int:
    """Follow a trace back into ``row``, the bases by reference column.

    Each byte of ``row`` is ``base | quality << 2``, or EMPTY for a deletion or an N; inserted
    bases have no column. Returns how many columns after ``start`` of :func:`_extend` it begins.
    """
    row[:] = EMPTY
    i, j, state = n - 1, column, 0
    first = i + j
    while i >= 0:
        mark = trace[i, j]
        if state == 0:
            state = mark & 3
            if state == 0:
                row[i + j] = read[i] | quals[i] << 2 if read[i] < 4 else EMPTY
                first = i + j
                i -= 1
        elif state == 1:
            state = 1 if mark & 4 else 0
            i -= 1
            j += 1
        else:
            state = 2 if mark & 8 else 0
            j -= 1
    for c in range(row.size - first):
        row[c] = row[c + first]
    row[row.size - first :] = EMPTY
    return first


@njit(nogil=True, cache=True)
def align_reads(
    bases: np.ndarray,
    quals: np.ndarray,
    lengths: np.ndarray,
    genome: np.ndarray,
    margin: int,
    codes: np.ndarray,
    places: np.ndarray,
    lo: int,
    hi: int,
    hit: np.ndarray,
    aligned: np.ndarray,
) -> None:
    """Place reads by seed and extend on both strands.

    Args:
        bases: ``uint8[R, L]``.
        quals: ``uint8[R, L]``.
        lengths: ``int32[R]``.
        genome: ``uint8``, the reference with ``margin`` bases before and after it that match
            nothing; the margin is at least ``2 L``.
        margin: See ``genome``.
        codes: ``uint32[S]``, the sorted seeds of the reference.
        places: ``int32[S]``, where each lies.
        lo: First row to visit.
        hi: Row to stop before.
        hit: ``int32[R, 5]``, written: position or -1, strand, score, mapping quality, loci
            that were extended.
        aligned: ``uint8[R, W]``, written: see :func:`_walk`.
    """
    size = bases.shape[1]
    read, quality = np.empty((2, size), np.uint8)
    hits, loci, votes = np.empty(1024, np.int32), np.empty(256, np.int32), np.empty(256, np.int32)
    best, gap = np.empty((2, 2 * BAND + 2), np.int32)
    trace = np.empty((size, 2 * BAND + 1), np.uint8)
    for r in range(lo, hi):
        n = lengths[r]
        top, second, extended = _FLOOR, 0, 0
        hit[r, 0], hit[r, 1] = -1, 0
        aligned[r, :] = EMPTY
        for strand in range(2):
            for i in range(n):
                from_ = n - 1 - i if strand else i
                base = bases[r, from_]
                read[i] = 3 - base if strand and base < 4 else base
                quality[i] = min(quals[r, from_], 62)
            found = _loci(read, n, codes, places, hits, loci, votes)
            floor = max(1, votes[:found].max() // 2) if found else 1
            done = 0
            for c in range(found):
                if votes[c] < floor or done >= MAX_LOCI:
                    continue
                done += 1
                start = loci[c] - BAND
                score, column = _extend(read, n, genome, start + margin, best, gap, trace)
                if score > top:
                    second = max(second, top)
                    top = score
                    hit[r, 0] = start + _walk(read, quality, n, column, trace, aligned[r])
                    hit[r, 1] = strand
                else:
                    second = max(second, score)
            extended += done
        hit[r, 4] = extended
        if top * 5 < n:
            hit[r, 0], hit[r, 2], hit[r, 3] = -1, 0, 0
            aligned[r, :] = EMPTY
        else:
            hit[r, 2] = top
            hit[r, 3] = min(60, (top - second) * 60 // n) if second < top else 0


@njit(nogil=True, cache=True)
def observe(
    aligned: np.ndarray,
    position: np.ndarray,
    cap: np.ndarray,
    genome_size: int,
    lo: int,
    hi: int,
    out: np.ndarray,
) -> tuple[int, int]:
    """Turn alignments into pileup records until ``out`` is full.

    A record is ``position << 40 | read << 8 | observation``; the observation's quality is
    capped by ``cap[r]``.

    Returns:
        The records written and the first row that was not visited.
    """
    found = 0
    for r in range(lo, hi):
        if position[r] < 0 and aligned[r, 0] == EMPTY:
            continue
        if found + aligned.shape[1] > out.size:
            return found, r
        for c in range(aligned.shape[1]):
            at = position[r] + c
            if aligned[r, c] != EMPTY and at >= 0 and at < genome_size:
                quality = min(aligned[r, c] >> 2, cap[r])
                out[found] = (
                    (_U(at) << _U(40)) | (_U(r) << _U(8)) | _U(quality << 2 | (aligned[r, c] & 3))
                )
                found += 1
    return found, hi


@njit(nogil=True, cache=True)
def sort_run(run: np.ndarray, scratch: np.ndarray) -> None:
    """Sort a run by radix, the lowest byte first; ``scratch`` is as long as ``run``."""
    a, b = run, scratch
    varies = _U(0)
    for i in range(run.size):
        varies |= run[i] ^ run[0]
    starts = np.empty(256, np.int64)
    moves = 0
    for byte in range(8):
        shift = _U(8 * byte)
        if (varies >> shift) & _U(255) == _U(0):
            continue
        starts[:] = 0
        for i in range(a.size):
            starts[np.int64((a[i] >> shift) & _U(255))] += 1
        total = np.int64(0)
        for d in range(256):
            here = starts[d]
            starts[d] = total
            total += here
        for i in range(a.size):
            digit = np.int64((a[i] >> shift) & _U(255))
            b[starts[digit]] = a[i]
            starts[digit] += 1
        a, b = b, a
        moves += 1
    if moves % 2:
        run[:] = scratch


@njit(nogil=True, cache=True)
def merge_blocks(
    blocks: np.ndarray, at: np.ndarray, fill: np.ndarray, live: np.ndarray, out: np.ndarray
) -> int:
    """Merge the heads of sorted blocks until ``out`` is full or a live block is used up.

    Args:
        blocks: ``uint64[K, B]``.
        at: ``int64[K]``, next entry of each block, moved on.
        fill: ``int64[K]``, number of entries.
        live: ``bool[K]``, whether a block's run has more behind it.
        out: ``uint64[B]``, written.

    Returns:
        How many records were written.
    """
    found = 0
    while found < out.size:
        least, which = _U(0xFFFFFFFFFFFFFFFF), -1
        for b in range(fill.size):
            if at[b] < fill[b]:
                if blocks[b, at[b]] <= least:
                    least, which = blocks[b, at[b]], b
            elif live[b]:
                return found
        if which < 0:
            return found
        out[found] = least
        at[which] += 1
        found += 1
    return found


@njit(nogil=True, cache=True)
def columns_of(records: np.ndarray, columns: np.ndarray, depth: np.ndarray, begin: int) -> None:
    """Append the observations of sorted records and count the depth of their positions."""
    for i in range(records.size):
        columns[begin + i] = np.uint8(records[i] & _U(255))
        depth[np.int64(records[i] >> _U(40))] += 1


@njit(nogil=True, cache=True)
def genotype(
    columns: np.ndarray,
    offsets: np.ndarray,
    genome: np.ndarray,
    error_of: np.ndarray,
    lo: int,
    hi: int,
    rounds: int,
    prior: float,
    quality: np.ndarray,
    alleles: np.ndarray,
    share: np.ndarray,
) -> None:
    """Call genotypes in the reference window ``lo <= position < hi``.

    The frequency of each base in a column is found by expectation maximisation from a flat
    start (doi:10.1093/bioinformatics/btr509, section 2.3.1, with one sample and four
    alleles); then the ten diploid genotypes are compared (doi:10.1101/gr.078212.108).

    Args:
        columns: ``uint8[N]`` observations ``base | quality << 2``, grouped by position.
        offsets: ``int64[G + 1]``, where the observations of each position start.
        genome: ``uint8[G]``.
        error_of: Error probability of each quality.
        lo: First position of the window.
        hi: Position to stop before.
        rounds: Largest number of EM rounds.
        prior: Probability of a heterozygous site; a homozygous change is half as likely.
        quality: ``float32[G]``, written: Phred-scaled confidence that the genotype is not
            homozygous reference, 0 where it is.
        alleles: ``uint8[G]``, written: ``first | second << 2`` of the best genotype.
        share: ``float32[G, 4]``, written: base frequencies.
    """
    weight, fresh = np.empty(4), np.empty(4)
    score = np.empty((4, 4))
    for p in range(lo, hi):
        a, b = offsets[p], offsets[p + 1]
        quality[p] = 0
        alleles[p] = genome[p] | genome[p] << 2
        share[p, :] = 0
        if a == b or genome[p] > 3:
            continue
        weight[:] = 0.25
        for _ in range(rounds):
            fresh[:] = 0
            for i in range(a, b):
                base, error = columns[i] & 3, error_of[columns[i] >> 2]
                miss = error / 3
                hit = 1 - error - miss
                scale = 1 / (miss + hit * weight[base])
                for t in range(4):
                    fresh[t] += weight[t] * miss * scale
                fresh[base] += weight[base] * hit * scale
            moved = 0.0
            for t in range(4):
                fresh[t] /= b - a
                moved = max(moved, abs(fresh[t] - weight[t]))
                weight[t] = fresh[t]
            if moved < 1e-6:
                break
        share[p, :] = weight
        for s in range(4):
            for t in range(s, 4):
                if s == t:
                    score[s, t] = 0.0 if s == genome[p] else np.log(prior / 2)
                else:
                    changed = (s != genome[p]) + (t != genome[p])
                    score[s, t] = changed * np.log(prior)
        for i in range(a, b):
            base, error = columns[i] & 3, error_of[columns[i] >> 2]
            both, one, none = np.log(1 - error), np.log(0.5 - error / 3), np.log(error / 3)
            for s in range(4):
                for t in range(s, 4):
                    same = (s == base) + (t == base)
                    score[s, t] += both if same == 2 else one if same == 1 else none
        top, x, y = -np.inf, 0, 0
        for s in range(4):
            for t in range(s, 4):
                if score[s, t] > top:
                    top, x, y = score[s, t], s, t
        rest = np.exp(score[genome[p], genome[p]] - top)
        if x != genome[p] or y != genome[p]:
            total = 0.0
            for s in range(4):
                for t in range(s, 4):
                    total += np.exp(score[s, t] - top)
            quality[p] = min(3000.0, -10 * np.log10(max(rest / total, 1e-300)))
            alleles[p] = x | y << 2
