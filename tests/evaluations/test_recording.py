"""Recording: what an evaluation records for itself, once for each settings."""

import pytest
from omegaconf import OmegaConf

from evaluations.cells import REPLAY
from evaluations.experiments.arms import Arm
from evaluations.experiments.journey import Target, place_of
from evaluations.recording import Recording
from toolkit import trace as traces
from toolkit.errors import ConfigError, NotFoundError
from toolkit.store import Store


def of(seed=0, **collect):
    return Recording(
        collector="simulated", plays=["genomics_open", "scenario.jobs=2"], seed=seed,
        collect={"runs": 4, "behaviours": ["random", "static"], **collect},
    )  # fmt: skip


def test_the_same_settings_are_recorded_once():
    store = Store()
    first = of().made(store)
    assert of().made(store).digest == first.digest
    assert of().made(store).id == first.id
    others = {of(seed=1).made(store).id, of(runs=5).made(store).id}
    assert len({first.id, *others}) == 3
    told = traces.read(first.path)
    assert [r["policy"] for r in told.runs("policy")] == ["random", "static"] * 2
    assert {len(told.of("jobs", int(r["run"]))) for r in told.runs()} == {2}


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"collector": "simulatd"}, NotFoundError, "did you mean 'simulated'"),
        ({"collector": "wfformat"}, ConfigError, "only imports"),
        ({"plays": []}, ConfigError, "must name a scenario"),
    ],
)
def test_what_cannot_be_recorded_is_refused(changes, error, said):
    told = {"collector": "simulated", "plays": ["genomics_open"], **changes}
    with pytest.raises(error) as met:
        Recording(**told)
    assert said in f"{met.value.message} {met.value.hint}"


def test_a_target_is_played_by_words_or_as_a_replay_of_its_recording():
    for told in ({}, {"words": ["genomics_open"], "recording": of()}):
        with pytest.raises(ConfigError, match="either words or a recording"):
            Target(**told)
    named = Target(words=["genomics_open"])
    assert named.settled(Store()) is named


def test_a_policy_is_played_and_trained_in_the_replay_of_a_recording():
    store = Store()
    settled = Target(recording=of(), dear=True).settled(store)
    calibration = store.get("calibrations", settled.words[1])
    assert settled.words[0] == REPLAY
    assert settled.dear
    assert place_of("static", settled.words).decisions > 0
    told = Arm(algo="ppo", plays=settled.words).words(3, 0, "", OmegaConf.create({}))
    assert told.scenario is None
    assert told.trace == calibration.manifest["inputs"]["trace"]
    assert told.words == []
