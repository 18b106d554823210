"""FASTQ files are reproducible, read strictly and pooled uniformly."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from collectors import fastq
from toolkit.errors import ConfigError, CorruptError

PLAIN = b"@a\nACGTN\n+\nIIII!\n@b extra\nacg\n+b\n!~5\n"


def sample(folder, name="s.fastq.gz", **changes):
    """Generate a small sample and return its path."""
    path = folder / name
    fastq.generate(
        path,
        **{"reads": 400, "length": 80, "accuracy": 0.98, "complexity": 0.6, "seed": 3, **changes},
    )
    return path


def put(folder, data):
    path = folder / "x.fastq"
    path.write_bytes(data)
    return path


def test_plain_records_are_parsed(tmp_path):
    reads = fastq.read(put(tmp_path, PLAIN))
    assert reads.lengths.tolist() == [5, 3]
    assert reads.bases.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 4, 4]]
    assert reads.quals.tolist() == [[40, 40, 40, 40, 0], [0, 93, 20, 0, 0]]


@pytest.mark.parametrize("data", [PLAIN[:-1], PLAIN.replace(b"\n", b"\r\n")])
def test_line_ends_do_not_matter(tmp_path, data):
    expected = fastq.read(put(tmp_path, PLAIN))
    found = fastq.read(put(tmp_path, data))
    assert np.array_equal(expected.bases, found.bases)
    assert np.array_equal(expected.quals, found.quals)


def test_generated_reads_come_back(tmp_path):
    path = sample(tmp_path)
    reads = fastq.read(path)
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    letters = np.array(list("ACGTN"))[reads.bases]
    assert ["".join(row) for row in letters] == lines[1::4]
    assert ["".join(chr(33 + q) for q in row) for row in reads.quals] == lines[3::4]
    assert len(reads) == 400 and set(reads.lengths) == {80}
    assert np.load(fastq.reference_path(path)).size == fastq.GENOME_LENGTH


def test_same_arguments_same_bytes(tmp_path):
    a, b, c = sample(tmp_path, "a.gz"), sample(tmp_path, "b.gz"), sample(tmp_path, "c.gz", seed=4)
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()
    ours, theirs = fastq.reference_path(a).read_bytes(), fastq.reference_path(b).read_bytes()
    assert ours == theirs
    assert len(list(tmp_path.iterdir())) == 6, "nothing is left aside"


@pytest.mark.parametrize("accuracy", [0.9, 0.99, 0.999])
def test_qualities_tell_the_accuracy(tmp_path, accuracy):
    features = fastq.measure(fastq.read(sample(tmp_path, accuracy=accuracy, reads=4000)))
    assert features["accuracy"] == pytest.approx(accuracy, abs=0.1 * (1 - accuracy))
    assert (features["reads"], features["length"]) == (4000, 80)


def test_repeats_lower_the_measured_complexity(tmp_path):
    low, high = (
        fastq.measure(fastq.read(sample(tmp_path, complexity=c, reads=2000)))["complexity"]
        for c in (0.0, 1.0)
    )
    assert 0 < low < 0.9 * high < high <= 1


@pytest.mark.parametrize(
    "change", [{"reads": 0}, {"length": 10}, {"accuracy": 1.5}, {"complexity": -1}]
)
def test_impossible_samples_are_refused(tmp_path, change):
    with pytest.raises(ConfigError):
        sample(tmp_path, **change)


def test_plain_file_cut_anywhere_is_refused_or_a_prefix(tmp_path):
    whole = fastq.read(put(tmp_path, PLAIN))
    for cut in range(len(PLAIN)):
        path = put(tmp_path, PLAIN[:cut])
        try:
            part = fastq.read(path)
        except CorruptError:
            continue
        # Only a cut between two records, or before the last line end, leaves whole records.
        assert cut in (16, 17, len(PLAIN) - 1), cut
        assert np.array_equal(part.lengths, whole.lengths[: len(part)])


def test_gzip_cut_anywhere_is_refused(tmp_path):
    data = sample(tmp_path, reads=3, length=30).read_bytes()
    for cut in range(len(data)):
        with pytest.raises(CorruptError):
            fastq.read(put(tmp_path, data[:cut]))


def test_any_flipped_byte_never_crashes(tmp_path):
    data = gzip.compress(PLAIN, 1, mtime=0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        for source in (data, PLAIN):
            broken = bytearray(source)
            broken[rng.integers(len(broken))] = rng.integers(256)
            try:
                fastq.read(put(tmp_path, bytes(broken)))
            except CorruptError as e:
                assert str(e)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"ACGT\n", "header"),
        (b"@a\nACGT\n-\nIIII\n", "separator"),
        (b"@a\nACXT\n+\nIIII\n", "a base is none"),
        (b"@a\nACGT\n+\nII\x07I\n", "quality"),
        (b"@a\nACGT\n+\nIII\n@b\nA\n+\nI\n", "differ in length"),
        (b"@a\n\n+\n\n", "no bases"),
        (b"@a\n" + b"A" * 10_000 + b"\n", "longer"),
        (b"@" + b"a" * 9_000_000, "longer"),
        (b"\x1f\x8b", "cut off"),
        (gzip.compress(PLAIN, mtime=0) + b"junk", "gzip"),
    ],
)
def test_each_mistake_is_named(tmp_path, data, words):
    with pytest.raises(CorruptError, match=words) as caught:
        fastq.read(put(tmp_path, data))
    assert caught.value.hint


def test_gzip_bomb_is_refused(tmp_path):
    path = put(tmp_path, gzip.compress(PLAIN * 100_000, 9))
    with pytest.raises(CorruptError, match="MiB"):
        fastq.read(path, max_bytes=1 << 20)
    with pytest.raises(CorruptError, match="MiB"):
        fastq.pool(path, seed=0, max_bytes=1 << 20)


def test_one_long_read_cannot_blow_up_the_padding(tmp_path):
    long = b"@l\n" + b"A" * 1900 + b"\n+\n" + b"I" * 1900 + b"\n"
    with pytest.raises(CorruptError, match="longest"):
        fastq.read(put(tmp_path, long + b"@a\nA\n+\nI\n" * 40_000))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no FASTQ"):
        fastq.read(tmp_path / "none.fastq")


def test_members_and_blocks_join(tmp_path, monkeypatch):
    monkeypatch.setattr(fastq, "_BLOCK", 7)
    one = fastq.read(put(tmp_path, PLAIN * 2))
    for data in (gzip.compress(PLAIN) * 2, gzip.compress(PLAIN * 2), PLAIN * 2):
        two = fastq.read(put(tmp_path, data))
        assert np.array_equal(one.bases, two.bases) and np.array_equal(one.quals, two.quals)


def test_pool_is_a_seeded_share_whatever_the_blocks(tmp_path, monkeypatch):
    path = sample(tmp_path, reads=3000)
    pool = fastq.pool(path, seed=1)
    assert pool.seen == 3000 and 230 < len(pool.reads) < 370
    assert not np.array_equal(pool.reads.bases[:5], fastq.pool(path, seed=2).reads.bases[:5])
    monkeypatch.setattr(fastq, "_BLOCK", 5000)
    again = fastq.pool(path, seed=1)
    assert np.array_equal(pool.reads.bases, again.reads.bases)
    few = fastq.pool(path, seed=1, max_reads=50).reads
    kept = {row.tobytes() for row in pool.reads.bases}
    assert len(few) == 50 and {row.tobytes() for row in few.bases} <= kept


def test_pool_of_a_tiny_file_keeps_a_read(tmp_path):
    assert len(fastq.pool(put(tmp_path, PLAIN), fraction=1e-6, seed=0).reads) >= 1


def test_sample_of_a_pool_holds_its_reads(tmp_path):
    pool = fastq.pool(sample(tmp_path), seed=1)
    path = tmp_path / "drawn.fastq.gz"
    fastq.write_sample(pool, path, 700, seed=5)
    first = path.read_bytes()
    reads = fastq.read(path)
    assert len(reads) == 700
    pooled = {row.tobytes() for row in pool.reads.bases}
    assert {row.tobytes() for row in reads.bases} <= pooled
    genome = np.load(fastq.reference_path(path))
    assert np.array_equal(genome, fastq.pool_reference(pool))
    assert genome.max() <= 3 and genome.size == min(80 * len(pool.reads), fastq.GENOME_LENGTH)
    fastq.write_sample(pool, path, 700, seed=5)
    assert path.read_bytes() == first


def test_donor_differs_only_at_its_snps():
    genome = fastq.reference(0.5, 1)
    haplotypes, at, homozygous = fastq.donor(genome, 1)
    assert 50 < at.size < 170
    assert np.array_equal(np.flatnonzero(haplotypes[0] != genome), at)
    assert np.array_equal(np.flatnonzero(haplotypes[1] != genome), at[homozygous])
