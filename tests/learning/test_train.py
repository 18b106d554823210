"""The command: from a dataset, in a scenario, in a replay, from another policy, after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import toolkit
from tests.recordings import keep, record
from toolkit import cli
from toolkit.errors import ConfigError, NotFoundError
from toolkit.learning.checkpoint import load
from toolkit.seeding import GATE
from toolkit.store import Store

SAMPLE = "dataset=placement/workflows-8-stream-mixed-v1-sample"
TINY = [
    "algo.n_steps=512", "algo.copies=4", "algo.alike=2", "algo.rollout=32", "algo.hidden=16",
    "algo.gate_every=2", "algo.gate_workloads=2", "algo.report_every=128",
    "algo.batch_size=64", "algo.epochs=1",
]  # fmt: skip


def train(capsys, *words):
    code = cli.main(["train", "format=json", *words])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out)


def refused(capsys, *words):
    assert cli.main(["train", *words]) != 0
    return capsys.readouterr().err


@pytest.mark.parametrize("algo", ["bc", "cql", "dqn", "iql"])
def test_from_a_dataset(capsys, algo):
    told = train(capsys, f"+algo={algo}", SAMPLE, "algo.n_steps=30", "algo.report_every=10")
    assert told["policy"].startswith(f"{algo}-")
    assert told["steps"] == 30
    assert told["dataset"] == SAMPLE.partition("=")[2]
    again = train(capsys, f"+algo={algo}", SAMPLE, "algo.n_steps=30", "algo.report_every=10")
    assert again == told


def test_in_a_scenario_from_a_policy_and_its_record(capsys):
    scenario = "scenario=workflows_tiny"
    first = train(capsys, "+algo=ppo", scenario, *TINY)
    assert first["ground"] == "scenario workflows_tiny"
    assert set(first["story"]) >= {"start", "worst", "end", "best", "regret"}
    warm = train(
        capsys, "+algo=ppo", scenario, *TINY, "init=ppo", "algo.warm_start.critic_steps=128"
    )
    assert warm["init"] == first["policy"]
    assert warm["policy"] != first["policy"]
    assert f"init={first['policy']}" in warm["command"]
    assert Store().get("policies", warm["policy"]).manifest["inputs"] == {"init": first["policy"]}
    from mlflow import MlflowClient

    from toolkit.tracking import uri

    client = MlflowClient(tracking_uri=uri())
    experiment = client.get_experiment_by_name("training")
    runs = client.search_runs([experiment.experiment_id])
    names = {r.info.run_name for r in runs}
    assert names == {first["policy"], warm["policy"]}
    curve = client.get_metric_history(runs[0].info.run_id, "gate")
    assert [m.step for m in curve] == [128, 256, 384, 512]


def test_in_the_environment_of_a_dataset_with_a_curriculum(capsys):
    told = train(
        capsys, "+algo=ppo", SAMPLE, *TINY,
        "curriculum=[{until: 0.5, overrides: ['scenario.jobs=2']}]",
    )  # fmt: skip
    assert told["dataset"] == SAMPLE.partition("=")[2]


def test_in_a_calibrated_replay(capsys):
    keep(record(), "mine")
    told = train(capsys, "+algo=ppo", "trace=mine", *TINY, "randomise=0.2")
    assert told["calibration"].startswith("mine")
    plain = train(capsys, "+algo=ppo", "trace=mine", *TINY, "randomise=0")
    assert plain["policy"] != told["policy"]


QUICK = ["algo.n_steps=20", "algo.play.before=64", "algo.report_every=10"]


@pytest.mark.parametrize("algo", ["dqn_online", "dqn_prioritised"])
def test_online_q_learning(capsys, algo):
    told = train(
        capsys, f"+algo={algo}", "scenario=workflows_tiny", *QUICK, "algo.play.copies=4",
        "curriculum=[{until: 0.5, overrides: ['scenario.jobs=2']}]",
    )  # fmt: skip
    assert told["policy"].startswith(f"{algo}-")
    assert told["story"]["decisions"] == 64 + 20 * 2 * 4


def test_q_learning_of_paper_b_is_online_q_learning_with_other_words(capsys):
    told = train(capsys, "+algo=dqn_paper_b", "scenario=batches_tiny", *QUICK)
    assert told["story"]["decisions"] == 64 + 20
    assert told["command"].startswith("toolkit train +algo=dqn_online ")
    import shlex

    assert train(capsys, *shlex.split(told["command"])[2:])["policy"] == told["policy"]


def test_a_killed_training_goes_on_to_the_same_weights(capsys, own_store):
    words = ["+algo=iql", SAMPLE, "algo.n_steps=300", "checkpoint_seconds=0.2"]
    command = [sys.executable, "-m", "toolkit", "train", *words]
    process = subprocess.Popen(command, env=os.environ | {"TOOLKIT_DATASETS": str(own_store)})
    deadline = time.monotonic() + 120
    while not list(own_store.glob("policies/.*partial/checkpoint.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (left,) = own_store.glob("policies/.*partial/checkpoint.safetensors")
    before = load(left).numbers["run.seconds"]
    resumed = train(capsys, *words)
    assert resumed["seconds"] > before > 0
    cut = (own_store / "policies" / resumed["policy"] / "policy.safetensors").read_bytes()
    whole = train(capsys, *words, "force=true")
    assert (own_store / "policies" / whole["policy"] / "policy.safetensors").read_bytes() == cut
    assert whole["final"] == pytest.approx(resumed["final"])
    assert not list(own_store.glob("policies/*/checkpoint*"))


def test_what_cannot_be_is_said(capsys):
    assert "plays no scenario" in refused(capsys, "+algo=cql", "scenario=workflows_tiny")
    assert "no policy whose network scores slots" in refused(
        capsys, "+algo=ppo", "scenario=workflows_tiny", "init=fifo"
    )
    assert "changes no scenario" in refused(
        capsys,
        "+algo=ppo",
        "scenario=workflows_tiny",
        "curriculum=[{until: 0.5, overrides: ['x=1']}]",
    )


def test_in_one_line_of_python():
    data = toolkit.load_dataset(SAMPLE.partition("=")[2])
    policy = toolkit.train("cql", data, n_steps=20, report_every=10)
    found = toolkit.evaluate([policy, "random"], "workflows_tiny", seeds=range(30_000, 30_004))
    assert list(found) == ["cql", "random"]
    assert found["cql"].seeds == 4
    with pytest.raises(NotFoundError, match="did you mean 'cql'"):
        toolkit.train("cqll", data)
    with pytest.raises(NotFoundError, match="did you mean 'n_steps'"):
        toolkit.train("cql", data, n_step=3)
    with pytest.raises(ConfigError, match="plays a scenario"):
        toolkit.train("ppo", data)


def test_several_seeds_are_nested_runs_and_the_same_as_alone(capsys):
    words = ["+algo=bc", SAMPLE, "algo.n_steps=20", "algo.report_every=10"]
    assert cli.main(["train", "format=json", *words, "seeds=[0,1]", "workers=2"]) == 0
    out, err = capsys.readouterr()
    assert "2 trainings, whose time nobody knows before one of each kind is done" in err
    told = json.loads(out)["policies"]
    assert [p["seed"] for p in told] == [0, 1]
    store = Store()
    first = (store.get("policies", told[0]["policy"]).path / "policy.safetensors").read_bytes()
    alone = train(capsys, *words, "seed=0", "force=true")
    again = (store.get("policies", alone["policy"]).path / "policy.safetensors").read_bytes()
    assert first == again
    from mlflow import MlflowClient

    from toolkit.tracking import uri

    client = MlflowClient(tracking_uri=uri())
    experiment = client.get_experiment_by_name("training")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    parent = runs["bc, 2 trainings"].info.run_id
    nested = runs[told[1]["policy"]]
    assert nested.data.tags["mlflow.parentRunId"] == parent
    assert nested.data.params["seed"] == "1"
    assert nested.data.tags["dataset_digest"]
    assert cli.main(["train", *words, "seeds=[0,1]", "workers=1"]) == 0
    assert "2 trainings, about 0 minutes of one core" in capsys.readouterr().err
    runs_now = client.search_runs([experiment.experiment_id])
    assert [r.info.run_id for r in runs_now if r.info.run_name == "bc, 2 trainings"] == [parent]


def test_words_that_would_not_be_heeded_are_refused(capsys):
    assert "cql heeds no init" in refused(capsys, "+algo=cql", SAMPLE, "init=x")
    stage = "curriculum=[{until: 0.5, overrides: ['scenario.jobs=2']}]"
    assert "cql heeds no curriculum" in refused(capsys, "+algo=cql", SAMPLE, stage)
    assert "dqn_online heeds no init" in refused(
        capsys, "+algo=dqn_online", "scenario=workflows_tiny", "init=x"
    )
    assert "seeds is a list" in refused(capsys, "+algo=cql", SAMPLE, "seeds=3")
    elsewhere = "watch_on=[workflows_tiny]"
    assert "watch_on names" in refused(capsys, "+algo=cql", SAMPLE, elsewhere)
    assert "watch_on names" in refused(
        capsys, "+algo=ppo", "scenario=workflows_tiny", "watch=1", elsewhere
    )
    assert "watch_on is a list" in refused(
        capsys, "+algo=cql", SAMPLE, "watch=1", "watch_on=workflows_tiny"
    )
    strange = refused(capsys, "+algo=cql", SAMPLE, "watch=1", "watch_on=[genomics_tiny]")
    assert "unexpected" not in strange
    assert "what is learnt" in strange


def test_a_policy_that_knows_other_features_is_refused(capsys):
    allocation = "dataset=allocation/genomics-open-mixed-v1-sample"
    train(capsys, "+algo=bc", allocation, "algo.n_steps=5")
    told = refused(capsys, "+algo=ppo", "scenario=workflows_tiny", *TINY, "init=bc")
    assert "only there" in told


def test_the_command_of_a_policy_makes_it_again(capsys):
    told = train(
        capsys, "+algo=ppo", "scenario=workflows_tiny", "scenario.jobs=2", *TINY,
        "curriculum=[{until: 0.5, overrides: ['scenario.jobs=1']}]",
    )  # fmt: skip
    import shlex

    words = shlex.split(told["command"])[2:]
    assert train(capsys, *words)["policy"] == told["policy"]


@pytest.mark.engine
def test_on_a_cluster_of_several_nodes_it_is_the_same_as_in_processes(capsys, own_store):
    """Each of three nodes has one CPU, so that three trainings at once need them all."""
    pytest.importorskip("ray")
    from collectors.ray.session import LogicalNode, session

    words = ["+algo=bc", SAMPLE, "algo.n_steps=20", "algo.report_every=10", "seeds=[0,1,2]"]
    nodes = [LogicalNode(cpus=1, memory=512) for _ in range(3)]
    with session(None, 100, None, nodes) as names:
        assert len(names) == 3
        there = train(capsys, *words, "executor=ray")["policies"]
    kept = {
        p["policy"]: (own_store / "policies" / p["policy"] / "policy.safetensors").read_bytes()
        for p in there
    }
    here = train(capsys, *words, "workers=1", "force=true")["policies"]
    assert [p["policy"] for p in here] == [p["policy"] for p in there]
    for name, bytes_ in kept.items():
        assert (own_store / "policies" / name / "policy.safetensors").read_bytes() == bytes_


def test_a_search_maximises_what_policies_reach_on_training_workloads(capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = [
        "train", "-m", "format=json", "+algo=bc", SAMPLE, "hydra/sweeper=optuna", "score_on=2",
        "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.sampler.seed=1", "algo.n_steps=10", "algo.report_every=10",
        "algo.learning_rate=tag(log,interval(0.0001,0.01))",
    ]  # fmt: skip
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    jobs = json.loads(out)["jobs"]
    scores = [j["report"]["score"] for j in jobs]
    assert len(set(scores)) == 3
    assert len({j["report"]["settings"]["learning_rate"] for j in jobs}) == 3
    assert f"Best value: {max(scores)}" in err


def test_the_score_is_the_mean_return_on_the_workloads_of_the_gate(capsys):
    from toolkit.envs.registration import scenario_of
    from toolkit.learning.play import play
    from toolkit.policies.learned import found

    told = train(capsys, "+algo=ppo", "scenario=workflows_tiny", *TINY, "score_on=3")
    network = found(told["path"]).network
    seeds = range(GATE, GATE + 3)
    score = play(network, scenario_of("workflows_tiny"), seeds, sampled=False).returns.mean()
    assert told["score"] == pytest.approx(score)
