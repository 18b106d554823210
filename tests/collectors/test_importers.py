"""What every importer promises, on the small logs of ``samples/``: whole, cut, bent or hostile."""

import gzip
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hydra.utils import instantiate
from omegaconf import OmegaConf

from collectors import importing
from collectors.importing import Settings
from collectors.streams import Limits
from toolkit import trace as traces
from toolkit.errors import ToolkitError
from toolkit.paths import conf_dir

SAMPLES = Path(__file__).parent / "samples"
SEVERE = Settings(min_complete=0.99, executor="processes", workers=1, limits=Limits())
LENIENT = Settings(min_complete=0.0, executor="processes", workers=1, limits=Limits(bytes=1 << 28))
CASES = [
    (folder.name, sample)
    for folder in sorted(p for p in SAMPLES.glob("*") if p.is_dir())
    for sample in sorted(folder.iterdir())
]
"""A folder per collector; each file or folder in it is one import."""


def importer_of(name, path):
    """Return the importer that the collector's YAML configures."""
    cfg = OmegaConf.load(conf_dir() / "collector" / f"{name}.yaml")
    cfg.pop("defaults", None)
    cfg.path = str(path)
    whole = OmegaConf.create(
        {"collector": cfg, "ray": {"address": None, "store_memory": 256}, "seed": 0}
    )
    return instantiate(whole.collector, _convert_="all").importer()


@contextmanager
def at_most(seconds):
    def stop(*_):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def load(name, path, work, settings):
    shutil.rmtree(work, ignore_errors=True)
    importer = importer_of(name, path)
    logs = importing.logs_of(importer, str(path))
    importing.load(importer, logs, settings, work / "parts", work / "trace")
    return traces.read(work / "trace")


def copy(sample, place):
    place.mkdir(parents=True, exist_ok=True)
    target = place / sample.name
    if sample.is_dir():
        shutil.copytree(sample, target, dirs_exist_ok=True)
    else:
        shutil.copy(sample, target)
    return target


def files_of(path):
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def survives(name, path, work):
    """Import what may be damaged: a valid trace, or a refusal that says why."""
    with at_most(20):
        try:
            load(name, path, work, LENIENT)
        except ToolkitError as error:
            assert str(error)


def test_every_collector_that_imports_has_samples():
    names = {p.stem for p in (conf_dir() / "collector").glob("*.yaml")}
    importing_ones = {
        n for n in names if "path" in OmegaConf.load(conf_dir() / "collector" / f"{n}.yaml")
    }
    assert importing_ones == {name for name, _ in CASES}


@pytest.mark.parametrize(("name", "sample"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_whole_log_becomes_a_valid_trace(name, sample, tmp_path):
    trace = load(name, sample, tmp_path, SEVERE)
    assert len(trace.tables["tasks"]) > 0
    assert trace.provenance["completeness"]["share"] >= 0.99
    for run in trace.runs("log"):
        assert all(f["sha256"] for f in run["files"])


@pytest.mark.parametrize(("name", "sample"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_log_that_is_cut_anywhere_is_read_or_refused(name, sample, tmp_path):
    target = copy(sample, tmp_path / "cut")
    rng = np.random.default_rng(0)
    for file in files_of(target):
        whole = file.read_bytes()
        near_the_ends = [*range(min(len(whole), 12)), *range(max(0, len(whole) - 12), len(whole))]
        for end in {*near_the_ends, *rng.integers(0, max(1, len(whole)), 12).tolist()}:
            file.write_bytes(whole[:end])
            survives(name, target, tmp_path / "work")
        file.write_bytes(whole)


@pytest.mark.parametrize(("name", "sample"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_log_with_damaged_bytes_is_read_or_refused(name, sample, tmp_path):
    target = copy(sample, tmp_path / "bent")
    rng = np.random.default_rng(1)
    for file in files_of(target):
        whole = file.read_bytes()
        if not whole:
            continue
        for _ in range(25):
            bent = bytearray(whole)
            for at in rng.integers(0, len(whole), int(rng.integers(1, 4))):
                bent[at] ^= 1 << int(rng.integers(0, 8))
            file.write_bytes(bytes(bent))
            survives(name, target, tmp_path / "work")
        file.write_bytes(whole)


NASTY = {
    "nothing": b"",
    "zeros": bytes(5000),
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "huge number": b'{"Event":"SparkListenerTaskEnd","Stage ID":' + b"9" * 5000 + b"}\n",
    "text": "ünïcode \u2028 \x00 text\n".encode() * 50,
    "not utf-8": b"\xff\xfe\xfa" * 1000,
    "numbers that are none": b'{"traceEvents":[{"ts":NaN,"dur":Infinity,"ph":"X"}]}',
    "null": b"null",
    "archive": b"PK\x03\x04" + bytes(100),
    "half a gzip": gzip.compress(b"x" * 100_000)[:50],
}


@pytest.mark.parametrize(("name", "sample"), CASES, ids=lambda v: getattr(v, "name", v))
@pytest.mark.parametrize("content", NASTY.values(), ids=NASTY.keys())
def test_nasty_files_are_refused(name, sample, content, tmp_path):
    target = copy(sample, tmp_path / "nasty")
    for file in files_of(target):
        whole = file.read_bytes()
        file.write_bytes(content)
        survives(name, target, tmp_path / "work")
        file.write_bytes(whole)


@pytest.mark.parametrize(("name", "sample"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_small_file_that_unpacks_to_much_is_refused(name, sample, tmp_path):
    target = copy(sample, tmp_path / "bomb")
    for file in files_of(target):
        whole = file.read_bytes()
        file.write_bytes(gzip.compress(b" " * (300 << 20), 1))
        survives(name, target, tmp_path / "work")
        file.write_bytes(whole)


def small(name, place):
    """Return a log of a few kilobytes of a collector, cut at its lines where it has many."""
    whole = {
        "gpu": SAMPLES / "gpu" / "beside" / "trace.json",
        "nextflow": SAMPLES / "nextflow" / "human.txt",
        "wfformat": SAMPLES / "wfformat" / "v14.json",
        "ray": SAMPLES / "ray" / "export_events.jsonl",
        "spark": next((SAMPLES / "spark").glob("app-*")),
    }[name]
    target = place / whole.name
    place.mkdir()
    if name not in ("ray", "spark"):
        shutil.copy(whole, target)
        return target
    kept = b""
    for line in whole.read_bytes().splitlines(keepends=True):
        if len(kept) + len(line) <= 4096:
            kept += line
    target.write_bytes(kept)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for name, _ in CASES}))
def test_a_small_log_is_read_or_refused_wherever_it_is_cut(name, tmp_path):
    target = small(name, tmp_path / "cut")
    whole = target.read_bytes()
    assert len(whole) > 500
    for end in range(len(whole)):
        target.write_bytes(whole[:end])
        survives(name, target, tmp_path / "work")


@pytest.mark.parametrize(("name", "sample"), CASES, ids=lambda v: getattr(v, "name", v))
def test_a_small_zstd_that_unpacks_to_much_is_refused(name, sample, tmp_path):
    target = copy(sample, tmp_path / "bomb")
    bomb = zstandard.compress(b" " * (300 << 20))
    for file in files_of(target):
        whole = file.read_bytes()
        file.write_bytes(bomb)
        survives(name, target, tmp_path / "work")
        file.write_bytes(whole)
