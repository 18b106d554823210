"""Arms: trained once, watched while they learn, one from another."""

import numpy as np
import pytest

from evaluations.experiments.arms import Arm, followed, trained
from toolkit.errors import ConfigError, CorruptError, NotFoundError
from toolkit.learning.watch import WATCHED
from toolkit.policies.learned import found

SMALL = {
    "ppo": {"n_steps": 2048, "copies": 8, "alike": 4, "rollout": 32, "gate_workloads": 1,
            "epochs": 1, "gate_every": 4, "report_every": 1024,
            "warm_start": {"critic_steps": 256}},
    "dqn_online": {"n_steps": 40, "batch_size": 32, "report_every": 20,
                   "play": {"copies": 8, "rounds": 4, "before": 256, "capacity": 1024}},
    "cql": {"n_steps": 40, "batch_size": 32, "report_every": 20},
}  # fmt: skip
TINY = ("genomics_tiny",)
SAMPLE = "allocation/genomics-open-mixed-v1-sample"


@pytest.fixture
def cfg():
    from omegaconf import OmegaConf

    return OmegaConf.create(
        {"executor": "processes", "workers": 1, "ray": {"address": None}, "force": False}
    )


@pytest.mark.parametrize("algo", ["ppo", "dqn_online"])
@pytest.mark.parametrize("network", ["candidates", "mlp"])
def test_a_training_is_watched_once(cfg, algo, network):
    settings = {**SMALL[algo], "network": network}
    arms = {"it": Arm(algo=algo, settings=settings, plays=TINY, discount_seconds=1.0)}
    (product,) = trained(arms, {"it": [3]}, 1, cfg)["it"]
    told = followed(product)
    assert len(told.returns) == len(told.decisions) > 0
    assert told.decisions[-1] == {"ppo": 2048, "dqn_online": 256 + 40 * 32}[algo]
    assert told.worth.shape == (len(told.returns), len(told.probes))
    assert np.isfinite(told.values).all()
    assert told.values.std() > 0
    policy = found(told.policy)
    assert policy.about["lineage"]["seed"] == 3
    assert policy.network.shape.network == network
    (again,) = trained(arms, {"it": [3]}, 1, cfg)["it"]
    assert followed(again).seconds == told.seconds


def test_what_learns_from_a_dataset_is_watched_where_the_others_play(cfg):
    other = ["genomics_open", "scenario.jobs=4"]
    arms = {
        "here": Arm(algo="cql", settings=SMALL["cql"], dataset=SAMPLE),
        "there": Arm(algo="cql", settings=SMALL["cql"], dataset=SAMPLE, plays=other),
        "ppo": Arm(algo="ppo", settings=SMALL["ppo"], plays=other, discount_seconds=3.0),
    }
    made = {n: p[0] for n, p in trained(arms, {n: [0] for n in arms}, 1, cfg).items()}
    probes = {n: followed(p).probes for n, p in made.items()}
    assert np.array_equal(probes["there"], probes["ppo"])
    assert not np.array_equal(probes["here"], probes["there"])
    weights = [found(made[n].id).network.state_dict() for n in ("here", "there")]
    assert all((weights[0][k] == weights[1][k]).all() for k in weights[0])
    assert made["there"].manifest["inputs"] == {"dataset": SAMPLE}


def test_an_arm_goes_on_from_another_of_the_same_seed(cfg):
    arms = {
        "then": Arm(algo="ppo", settings=SMALL["ppo"], plays=["genomics_open"], init="first"),
        "first": Arm(algo="cql", settings=SMALL["cql"], dataset=SAMPLE),
    }
    made = trained(arms, {n: [0, 1] for n in arms}, 1, cfg)
    assert list(made) == ["then", "first"]
    for then, first in zip(made["then"], made["first"], strict=True):
        assert then.manifest["inputs"] == {"init": first.id}
        assert then.manifest["about"]["seed"] == first.manifest["about"]["seed"]
    assert followed(made["first"][0]).decisions.tolist() == [20, 40]


def test_what_makes_no_sense_is_refused(cfg):
    with pytest.raises(NotFoundError, match="did you mean 'cql'"):
        Arm(algo="cqll", plays=TINY)
    with pytest.raises(ConfigError, match="play a scenario or learn"):
        Arm(algo="ppo")
    arms = {n: Arm(algo="ppo", plays=TINY, init=m) for n, m in (("a", "b"), ("b", "a"))}
    with pytest.raises(ConfigError, match="in a circle"):
        trained(arms, {n: [0] for n in arms}, 1, cfg)


def test_what_was_seen_must_be_there(cfg):
    arms = {"it": Arm(algo="dqn_online", settings=SMALL["dqn_online"], plays=TINY)}
    (product,) = trained(arms, {"it": [0]}, 1, cfg)["it"]
    (product.path / WATCHED).write_text("{}")
    with pytest.raises(CorruptError, match="train it again"):
        followed(product)
