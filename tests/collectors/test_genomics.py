"""The genomics processes compute what they say, whatever their threads and memory."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest

from collectors import fastq, genomics
from collectors import genomics_kernels as kernels
from toolkit.errors import ConfigError, CorruptError, NotFoundError

MIB = 1 << 20
ROOM = {"threads": 1, "memory": 64 * MIB}


def sample(folder, **changes):
    path = folder / "s.fastq.gz"
    fastq.generate(
        path,
        **{
            **{"reads": 1500, "length": 100, "accuracy": 0.99, "complexity": 0.8, "seed": 7},
            **changes,
        },
    )
    return path


def arrays(rows, genome=None):
    """Put strings of bases into the arrays that processes pass on."""
    lengths = np.array([len(r) for r in rows], np.int32)
    bases = np.full((len(rows), int(lengths.max())), fastq.N, np.uint8)
    for i, row in enumerate(rows):
        bases[i, : len(row)] = fastq.code(row)
    quals = np.full(bases.shape, 40, np.uint8)
    genome = np.zeros(100, np.uint8) if genome is None else genome
    return {"bases": bases, "quals": quals, "lengths": lengths, "reference": genome}


def text(codes):
    return "".join("ACGTN"[c] for c in codes)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The whole dataflow over one sample deep enough to call SNPs."""
    path = sample(tmp_path_factory.mktemp("deep"), reads=12_000, complexity=1.0)
    return genomics.run_all(path, **ROOM)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("memory", [MIB, 8 * MIB])
def test_results_depend_on_neither_threads_nor_memory(tmp_path, threads, memory):
    path = sample(tmp_path, complexity=0.3)
    expected = genomics.run_all(path, **ROOM)
    found = genomics.run_all(path, threads=threads, memory=memory)
    for name, result in expected.items():
        assert result.keys() == found[name].keys()
        for key, array in result.items():
            assert array.dtype == found[name][key].dtype
            assert np.array_equal(array, found[name][key]), (name, key)


def test_qc_keeps_good_reads_and_drops_bad_ones(tmp_path):
    rng = np.random.default_rng(0)
    good = "".join(rng.choice(list("ACGT"), 100))
    rows = [(good, "I"), ("A" * 100, "I"), ("N" * 40 + good[40:], "I"), (good, "$")]
    path = tmp_path / "x.fastq"
    path.write_text("".join(f"@r\n{b}\n+\n{q * 100}\n" for b, q in rows))
    np.save(fastq.reference_path(path), fastq.reference(1.0, 0))
    result = genomics.qc(path, **ROOM)
    assert int(result["dropped"]) == 3
    assert [text(row) for row in result["bases"]] == [good]
    assert result["composition"].sum() == result["scores"].sum() == 400


def test_dust_score_equals_a_plain_one():
    rng = np.random.default_rng(1)
    row = "".join(rng.choice(list("AC"), 40)) + "ACACACACACAC"
    made = arrays([row])
    reads = (made["bases"], made["quals"], made["lengths"])
    stats = np.empty((1, 3))
    kernels.quality_control(*reads, 10.0 ** (np.arange(128) / -10), 24, 0, 1, stats)
    triplets = [row[i : i + 3] for i in range(len(row) - 2)]
    worst = 0.0
    for i in range(len(triplets)):
        for j in range(i + 2, min(i + 24, len(triplets)) + 1):
            pairs = sum(c * (c - 1) // 2 for c in Counter(triplets[i:j]).values())
            worst = max(worst, pairs / (j - i - 1))
    assert stats[0] == pytest.approx([1e-4, 0, worst])


def test_planted_adapters_are_cut():
    rng = np.random.default_rng(2)
    rows, cuts = [], []
    for i in range(200):
        body = "".join(rng.choice(list("ACGT"), 120))
        cut = int(rng.integers(40, 110))
        adapter = list(fastq.ADAPTER)
        if i % 2:  # one error is within the allowed rate once ten bases are aligned
            adapter[3] = "ACGT"["ACGT".index(adapter[3]) - 1]
        rows.append((body[:cut] + "".join(adapter) + body[cut:])[:120])
        cuts.append(cut)
    result = genomics.trim(arrays(rows), **ROOM)
    assert result["row"].tolist() == list(range(200))
    assert np.mean(np.abs(result["lengths"] - cuts) <= 1) > 0.98
    beyond = np.arange(result["bases"].shape[1]) >= result["lengths"][:, None]
    assert (result["bases"][beyond] == fastq.N).all()


def test_clean_reads_stay_whole_and_bad_ends_go():
    rng = np.random.default_rng(3)
    rows = ["".join(rng.choice(list("ACGT"), 100)) for _ in range(100)]
    made = arrays(rows)
    made["quals"][50:, 60:] = 2
    lengths = genomics.trim(made, **ROOM)["lengths"]
    assert (lengths[:50] >= 90).all() and np.mean(lengths[:50] == 100) > 0.8
    assert (lengths[50:] <= 60).all() and np.mean(lengths[50:] == 60) > 0.8


def canonical(word):
    other = word[::-1].translate(str.maketrans("ACGT", "TGCA"))
    return min(word, other)


def test_kmers_equal_a_plain_counter():
    rng = np.random.default_rng(4)
    genome = "".join(rng.choice(list("ACGT"), 300))
    rows = [genome[a : a + 80] for a in rng.integers(0, 220, 60)]
    rows[0] = rows[0][:30] + "N" + rows[0][31:]
    rows[1] = "T" * 80
    result = genomics.kmer(arrays(rows), **ROOM)
    for which, k in enumerate(kernels.KS):
        words = [
            [canonical(r[i : i + k]) for i in range(len(r) - k + 1) if "N" not in r[i : i + k]]
            for r in rows
        ]
        counts = Counter(w for row in words for w in row)
        expected = np.bincount(np.minimum(list(counts.values()), 255), minlength=256)
        assert np.array_equal(result["spectrum"][which], expected)
        solid = [sum(counts[w] > 1 for w in row) for row in words]
        assert result["solid"][:, which].tolist() == solid


def test_kmer_table_that_overflows_is_counted_again(tmp_path, monkeypatch):
    trimmed = genomics.trim(genomics.qc(sample(tmp_path), **ROOM), **ROOM)
    expected = genomics.kmer(trimmed, **ROOM)
    monkeypatch.setattr(genomics, "estimate_distinct", lambda *_: 20_000)
    found = genomics.kmer(trimmed, **ROOM)
    assert np.array_equal(expected["spectrum"], found["spectrum"])


def test_less_memory_means_more_passes_within_the_budget():
    passes = []
    for memory in (4 * MIB, 8 * MIB, 16 * MIB, 64 * MIB):
        turns, parts, slots, room = genomics.plan_kmer(1_000_000, MIB, 2, memory)
        assert MIB + 16 * parts * slots + 12 * 2 * parts * room < 1.2 * memory
        passes.append(turns)
    assert passes == sorted(passes, reverse=True) and passes[0] > passes[1] > passes[3]


def test_features_drive_the_work(tmp_path):
    def work(**changes):
        trimmed = genomics.trim(genomics.qc(sample(tmp_path, **changes), **ROOM), **ROOM)
        distinct = genomics.estimate_distinct(trimmed["bases"], trimmed["lengths"])
        return distinct, int(genomics.align(trimmed, **ROOM)["loci"].sum())

    base, more, worse, simple = (
        work(),
        work(reads=4500),
        work(accuracy=0.95),
        work(complexity=0.0),
    )
    assert more[0] > base[0] and more[1] > 2.5 * base[1]
    assert worse[0] > 1.3 * base[0]
    assert simple[0] < base[0] and simple[1] > 1.5 * base[1]


def test_distinct_estimate_is_close(done):
    trimmed = done["trim"]
    exact = done["kmer"]["spectrum"].sum()
    found = genomics.estimate_distinct(trimmed["bases"], trimmed["lengths"])
    assert found == pytest.approx(exact, rel=0.05)


def test_clean_unique_reads_find_their_place():
    genome = fastq.reference(1.0, 5)
    rng = np.random.default_rng(5)
    starts = rng.integers(0, genome.size - 100, 400)
    rows = [genome[a : a + 100] for a in starts]
    rows = [text(3 - r[::-1]) if i % 2 else text(r) for i, r in enumerate(rows)]
    result = genomics.align(arrays(rows, genome), **ROOM)
    assert np.mean(result["position"] == starts) > 0.95
    right = result["position"] == starts
    assert np.array_equal(result["strand"][right], (np.arange(400) % 2)[right])
    assert (result["score"] == 100).all()


def test_gaps_are_bridged():
    genome = fastq.reference(1.0, 6)
    a, b = genome[5000:5050], genome[5053:5103]
    deleted, inserted = text(a) + text(b), text(genome[7000:7050]) + "AC" + text(genome[7050:7100])
    result = genomics.align(arrays([deleted, inserted, "ACGT" * 25], genome), **ROOM)
    assert result["position"].tolist()[:2] == [5000, 7000]
    assert result["score"].tolist()[:2] == [100 - 6 - 3, 100 - 6 - 2]
    bases = result["aligned"]
    seen = bases[0][bases[0] != kernels.EMPTY] & 3
    assert text(seen) == deleted
    assert np.flatnonzero(bases[0] == kernels.EMPTY)[:3].size == 3
    assert result["position"][2] == -1 and (bases[2] == kernels.EMPTY).all()


def test_merge_is_sorted_and_complete(done):
    merged, aligned = done["merge"], done["align"]["aligned"]
    assert (np.diff(merged["position"]) >= 0).all()
    assert (np.diff(merged["offsets"]) >= 0).all()
    assert merged["offsets"][-1] == merged["columns"].size == (aligned != kernels.EMPTY).sum()
    placed = np.flatnonzero(done["align"]["mapq"] > 0)
    assert np.isin(placed, merged["order"]).all()


def test_external_sort_sorts():
    rng = np.random.default_rng(8)
    records = rng.integers(0, 1 << 60, 5000, dtype=np.uint64)

    def fill(row, out):
        n = min(out.size, records.size - row)
        out[:n] = records[row : row + n]
        return n, row + n

    for room in (64, 700, 2500, 6000):
        found = []
        genomics._external_sort(fill, records.size, room, lambda r: found.append(r.copy()))  # noqa: B023
        assert np.array_equal(np.concatenate(found), np.sort(records)), room


def test_planted_snps_are_called(done):
    genome = fastq.reference(1.0, 7)
    haplotypes, at, homozygous = fastq.donor(genome, 7)
    calls = done["call"]
    alleles = zip(calls["first"], calls["second"], strict=True)
    found = dict(zip(calls["position"], alleles, strict=True))
    inside = (at > 150) & (at < genome.size - 150)
    both = at[inside & homozygous]
    assert np.mean([found.get(p) == (haplotypes[0, p],) * 2 for p in both]) > 0.9
    one = at[inside & ~homozygous]
    assert np.mean([p in found for p in one]) > 0.6
    assert np.isin(calls["position"], at).mean() > 0.95


def test_a_sample_without_usable_reads_runs_through(tmp_path):
    path = sample(tmp_path, reads=20, length=40, accuracy=0.5)
    for threads in (1, 2):
        result = genomics.run_all(path, threads=threads, memory=MIB)
        assert result["call"]["position"].size == 0


def test_read_only_arrays_are_enough(done):
    for name, parents in (("trim", ("qc",)), ("merge", ("kmer", "align")), ("call", ("merge",))):
        inputs = tuple({k: v.copy() for k, v in done[p].items()} for p in parents)
        for arrays_ in inputs:
            for array in arrays_.values():
                array.flags.writeable = False
        genomics.run(name, inputs, **ROOM)


def test_run_refuses_nonsense(tmp_path):
    with pytest.raises(NotFoundError, match="align"):
        genomics.run("aling", (), **ROOM)
    with pytest.raises(ConfigError, match="threads"):
        genomics.run("qc", ("x",), threads=0, memory=64 * MIB)
    with pytest.raises(ConfigError, match="memory"):
        genomics.run("qc", ("x",), threads=1, memory=5)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01", b"x" * 500])
def test_a_broken_reference_is_refused(tmp_path, data):
    path = sample(tmp_path, reads=5)
    fastq.reference_path(path).write_bytes(data)
    with pytest.raises(CorruptError, match="array file"):
        genomics.qc(path, **ROOM)
    with fastq.reference_path(path).open("wb") as file:
        np.savez(file, genome=np.zeros(500, np.uint8))
    with pytest.raises(CorruptError, match="no reference"):
        genomics.qc(path, **ROOM)
    fastq.reference_path(path).unlink()
    with pytest.raises(ConfigError, match="reference"):
        genomics.qc(path, **ROOM)


def test_warm_says_so(caplog):
    with caplog.at_level(logging.INFO):
        genomics.warm()
    assert "ready" in caplog.text
