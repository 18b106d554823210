"""A small dataset of each family, made once and copied into the store of a test."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from toolkit.data.card import DatasetId
from toolkit.data.dataset import load_dataset
from toolkit.data.episodes import FILE
from toolkit.data.generate import simulate
from toolkit.data.played import Replay
from toolkit.data.publish import Story, publish
from toolkit.data.transitions import Description
from toolkit.data.writer import Writer, write_index
from toolkit.envs.registration import scenario_of
from toolkit.policies.mixture import Mixture
from toolkit.policies.random import Random
from toolkit.store import Store

SCENARIOS = {
    "placement": "workflows_tiny",
    "allocation": "genomics_tiny",
    "configuration": "batches_tiny",
}
EPISODES = 12
TAU = 5.0


def dataset(family):
    """Return a dataset of a dozen simulated episodes in the store of this test."""
    name = f"{family}/tiny-mixed-v1"
    place = Store().root / "datasets" / name
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(_made(family), place)
    return load_dataset(name)


@cache
def _made(family):
    store = Store(Path(tempfile.mkdtemp(prefix="toolkit-tests-")))
    scenario = scenario_of(SCENARIOS[family])
    described = Description.of(scenario.plan(0), scenario.weights)
    name = DatasetId.parse(f"{family}/tiny-mixed-v1")
    folder = store.partial("datasets", str(name))
    writer = Writer(folder, described, discount_seconds=TAU)
    for k in range(EPISODES):
        policy = Random() if k % 2 else Mixture(of=Random(), epsilon=0.5)
        writer.add(*simulate(scenario, policy, k, described))
    index = write_index(folder, FILE, writer.close())
    story = Story(
        about="A dozen episodes for tests.",
        scenario=SCENARIOS[family],
        discount_seconds=TAU,
        licence="CC0-1.0",
        command="none",
        generated={},
    ).scored(name, Replay(scenario=scenario, name=SCENARIOS[family]), family, 2)
    return publish(store, name, described, index, story, "tests").path
