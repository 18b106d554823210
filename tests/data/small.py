"""Small datasets that tests share: some episodes of a tiny scenario, with card and manifest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from toolkit.benchmarks.generate import simulate
from toolkit.benchmarks.played import Replay
from toolkit.benchmarks.publish import Story, publish
from toolkit.data.card import DatasetId
from toolkit.data.dataset import Dataset, opened
from toolkit.data.episodes import FILE, About
from toolkit.data.place import Place
from toolkit.data.rows import Rows
from toolkit.data.transitions import Description
from toolkit.data.writer import Writer, write_index
from toolkit.envs.registration import scenario_of
from toolkit.policies.named import named
from toolkit.store import Store

SCENARIOS = {
    "allocation": "genomics_tiny",
    "placement": "workflows_tiny",
    "configuration": "batches_tiny",
}
POLICIES = {
    "allocation": ("random", "static~0.3"),
    "placement": ("random", "fifo~0.3"),
    "configuration": ("random", "largest~0.3"),
}
FAMILIES = tuple(SCENARIOS)


def dataset(family: str) -> Dataset:
    """Return a dataset with measured reference scores; it is made once and copied."""
    kept = _kept(family)
    place = Store().root / "datasets" / kept.id
    if not place.is_dir():
        shutil.copytree(str(kept.place.local), place)
    return opened(Place(place))


@cache
def _kept(family: str) -> Dataset:
    store = Store(Path(tempfile.mkdtemp(prefix="toolkit-tests-")))
    return small(family, name="tiny", seeds=2, store=store)


def small(
    family: str,
    *,
    episodes: int = 12,
    overrides: Sequence[str] = (),
    name: str | None = None,
    seeds: int = 0,
    part_bytes: int = 100_000_000,
    changed: Callable[[int, Rows, About], tuple[Rows, About]] | None = None,
    store: Store | None = None,
) -> Dataset:
    """Write a dataset into the store of the test and return it.

    Args:
        family: Of the decisions; each has one tiny scenario.
        episodes: How many, by two policies in turn; with ten or more there are all splits.
        overrides: Words that change the scenario, e.g. ``scenario.horizon=3``.
        name: Of the workload in its id; that of the scenario when absent.
        seeds: Workloads that the reference scores are measured on, which takes a while; without
            any they are the worst and the best return of the dataset.
        part_bytes: Bytes after which a part is closed; small ones give many parts.
        changed: What becomes of each episode before it is written.
        store: Another store than that of the test.
    """
    scenario = scenario_of(SCENARIOS[family], list(overrides))
    described = Description.of(scenario.plan(0), scenario.weights)
    of = DatasetId(
        family=family,
        workload=(name or SCENARIOS[family]).replace("_", "-"),
        tier="mixed",
        version=1,
    )
    store = store or Store()
    folder = store.partial("datasets", str(of))
    writer = Writer(folder, described, discount_seconds=10.0, part_bytes=part_bytes)
    policies = [named(p, store).policy for p in POLICIES[family]]
    for seed in range(episodes):
        found = simulate(scenario, policies[seed % len(policies)], seed, described)
        writer.add(*(changed(seed, *found) if changed else found))
    index = write_index(folder, FILE, writer.close())
    returns = index["return"].to_pylist()
    story = Story(
        about="A few episodes to test with.",
        scenario=SCENARIOS[family],
        overrides=overrides,
        discount_seconds=10.0,
        licence="CC0-1.0",
        command="nothing: it was made by a test",
        generated={},
        reference={
            role: {"policy": role, "value": value, "low": value, "high": value, "seeds": 1}
            for role, value in (("random", min(returns)), ("best", max(returns)))
        },
    )
    if seeds:
        replay = Replay(scenario=scenario, name=SCENARIOS[family])
        story = story.scored(of, replay, family, seeds)
    return opened(Place(publish(store, of, described, index, story, "test").path))
