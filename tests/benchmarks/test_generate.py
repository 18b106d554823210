"""Generation: the same bytes whoever simulates and however often it is interrupted."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolkit.benchmarks import generate as generation
from toolkit.benchmarks.benchmark import Benchmark
from toolkit.benchmarks.build import by_id
from toolkit.benchmarks.generate import Workers
from toolkit.benchmarks.verify import published
from toolkit.data.audit import audit
from toolkit.data.dataset import load_dataset, shipped
from toolkit.errors import ConfigError, NotFoundError
from toolkit.paths import cards_dir
from toolkit.policies.search import Search
from toolkit.store import Store

ALONE = Workers(count=1)
CONF = """
_target_: toolkit.benchmarks.benchmark.Benchmark
about: A test.
scenario: workflows_tiny
discount_seconds: 10
transitions: 400
sample: 60
reference_seeds: 2
tiers: {random: [random], mixed: [random, heft_static~0.3, fifo], replay: [search]}
"""


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """A benchmark of a user's own, beside those of the toolkit."""
    from toolkit.paths import conf_dir

    conf = tmp_path / "conf"
    conf.mkdir()
    for entry in conf_dir().iterdir():
        if entry.name != "benchmark":
            (conf / entry.name).symlink_to(entry)
    (conf / "benchmark").mkdir()
    (conf / "benchmark" / "tiny.yaml").write_text(CONF)
    for module in ("toolkit.catalogue", "toolkit.envs.registration"):
        monkeypatch.setattr(f"{module}.conf_dir", lambda: conf)


def parts(product):
    return {f: told["sha256"] for f, told in product.manifest["files"].items()}


@pytest.mark.parametrize("tier", ["random", "mixed", "replay"])
def test_a_tier_is_sound_has_enough_and_is_found_again(benchmark, tier):
    store, name = Store(), f"placement/tiny-{tier}-v1"
    product = by_id(store, name, workers=ALONE)
    data = load_dataset(name)
    assert audit(data).problems == []
    assert len(data) >= 400
    assert data.card.command == f"toolkit dataset build id={name}"
    assert {"random", "static", "heft", "best", "bound"} == set(data.card.reference)
    assert by_id(store, name, workers=ALONE).manifest == product.manifest
    assert not list((store.root / "datasets" / "placement").glob(".*partial"))
    propensity = data.table()["propensity"].drop_null().to_numpy()
    assert (propensity > 0).all()


@pytest.mark.parametrize("tier", ["mixed", "replay"])
def test_the_bytes_do_not_depend_on_who_simulates(benchmark, tier, monkeypatch):
    store, name = Store(), f"placement/tiny-{tier}-v1"
    first = parts(by_id(store, name, workers=ALONE))
    monkeypatch.setattr(generation, "FEW", 0)
    monkeypatch.setattr(generation, "CHUNK", 3)
    monkeypatch.setattr(generation, "WAVE", 2)
    monkeypatch.setattr(generation, "CHUNK_DECISIONS", 50)
    again = parts(by_id(store, name, workers=ALONE, force=True))
    assert again == first


def test_a_sample_is_the_beginning_of_the_whole(benchmark):
    store = Store()
    by_id(store, "placement/tiny-mixed-v1", workers=ALONE)
    by_id(store, "placement/tiny-mixed-v1-sample", workers=ALONE)
    whole, sample = (load_dataset(f"placement/tiny-mixed-v1{end}") for end in ("", "-sample"))
    assert 60 <= len(sample) < len(whole)
    assert sample.table().equals(whole.table().slice(0, len(sample.table())))


def test_an_interrupted_generation_goes_on(benchmark, monkeypatch):
    store, name = Store(), "placement/tiny-mixed-v1"
    whole = parts(by_id(store, name, workers=ALONE))
    store.discard("datasets", name)
    made = []
    chunk = generation._chunk

    def failing(work):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(work.folder.name)
        return chunk(work)

    monkeypatch.setattr(generation, "_chunk", failing)
    with pytest.raises(KeyboardInterrupt):
        by_id(store, name, workers=ALONE)
    assert not store.exists("datasets", name)
    again = []
    monkeypatch.setattr(generation, "_chunk", lambda w: again.append(w.folder.name) or chunk(w))
    assert parts(by_id(store, name, workers=ALONE)) == whole
    assert made[0] not in again and again


def test_wrong_ids_are_explained(benchmark):
    store = Store()
    with pytest.raises(NotFoundError, match="did you mean 'tiny'"):
        by_id(store, "placement/tinny-mixed-v1", workers=ALONE)
    for wrong in ("placement/tiny-expert-v1", "placement/tiny-mixed-v2"):
        with pytest.raises(NotFoundError, match="did you mean 'placement/tiny-mixed-v1'"):
            by_id(store, wrong, workers=ALONE)
    with pytest.raises(NotFoundError, match="did you mean 'placement/tiny-mixed-v1'"):
        by_id(store, "allocation/tiny-mixed-v1", workers=ALONE)
    with pytest.raises(ConfigError, match="recorded on a real engine"):
        by_id(store, "placement/tiny-real-v1", workers=ALONE)


def test_a_benchmark_checks_what_its_yaml_sets():
    good = {
        "about": "x", "scenario": "x", "tiers": {"random": ["random"]}, "discount_seconds": 1.0,
    }  # fmt: skip
    Benchmark(**good)
    for wrong, said in (
        ({"tiers": {"medium": ["random"]}}, "there is no tier 'medium'"),
        ({"tiers": {"random": []}}, "names no policy"),
        ({"discount_seconds": 0}, "must be positive"),
        ({"version": 0}, "version must be"),
        ({"sample": 0}, "sample must be"),
        ({"reference_seeds": 1}, "reference_seeds"),
    ):
        with pytest.raises((ConfigError, NotFoundError), match=said):
            Benchmark(**{**good, **wrong})


def test_the_search_learns():
    """On returns that tell which direction pays, the weights go there."""
    search = Search(features=4, seed=0)
    wanted = np.array([1.0, -2.0, 0.5, 0.0])
    gains = []
    for _ in range(30):
        asked = search.ask()
        returns = [float(-((p.weights - wanted) ** 2).sum()) for p, _ in asked]
        gains.append(returns[0])
        search.tell(returns)
    assert gains[-1] > gains[0] and gains[-1] > -1.0


def test_the_same_bytes_for_any_hash_seed_and_number_of_threads(tmp_path):
    digests = set()
    for seed, threads in (("0", "1"), ("77", "2")):
        store = tmp_path / seed
        environment = {
            **os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads,
            "NUMBA_NUM_THREADS": threads, "TOOLKIT_DATASETS": str(store),
        }  # fmt: skip
        name = "allocation/genomics-open-mixed-v1-sample"
        subprocess.run(
            [Path(sys.executable).parent / "toolkit", "dataset", "build", f"id={name}"],
            env=environment,
            check=True,
            capture_output=True,
        )
        digests.add(str(Store(store).get("datasets", name).manifest["files"]))
    assert len(digests) == 1


@pytest.mark.engine
@pytest.mark.slow
def test_ray_gives_the_same_bytes(benchmark, monkeypatch):
    store, name = Store(), "placement/tiny-mixed-v1"
    first = parts(by_id(store, name, workers=ALONE))
    monkeypatch.setattr(generation, "FEW", 0)
    monkeypatch.setattr(generation, "CHUNK", 3)
    on_ray = Workers(executor="ray", count=2)
    assert parts(by_id(store, name, workers=on_ray, force=True)) == first


@pytest.mark.parametrize("data", shipped(), ids=lambda d: d.id)
def test_what_comes_with_the_toolkit_is_sound(data):
    assert audit(data).problems == []


@pytest.mark.skipif(cards_dir() is None, reason="a wheel has no cards")
@pytest.mark.parametrize("data", shipped(), ids=lambda d: d.id)
def test_every_sample_is_the_beginning_of_a_published_dataset(data):
    if data.card.traces:
        assert "same bytes" in published(data)
        return
    name = data.id.removesuffix("-sample")
    assert (cards_dir() / f"{name}.yaml").is_file()
