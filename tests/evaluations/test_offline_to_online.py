"""The pipeline from a dataset to policies judged on unseen workloads."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest

from evaluations.offline_to_online import OfflineToOnline, merged, ratio_of
from toolkit import cli, tracking
from toolkit.errors import ConfigError
from toolkit.seeding import generator

WORDS = [
    "train", "+experiment=offline_to_online", "format=json", "workers=1",
    "experiment.offline=[bc]", "experiment.seeds=[0,1]", "experiment.workloads=3",
    "experiment.baselines=[srpt_heft,random]", "experiment.chosen_on=2",
    "experiment.settings={bc: {n_steps: 20, report_every: 10}, ppo: {n_steps: 256, copies: 4,"
    " alike: 2, rollout: 32, gate_workloads: 1, gate_every: 2, epochs: 1, report_every: 128,"
    " warm_start: {critic_steps: 128}}}",
]  # fmt: skip


def test_the_whole_pipeline(capsys):
    assert cli.main(WORDS) == 0
    told = json.loads(capsys.readouterr().out)
    (ground,) = told["grounds"].values()
    assert ground["best"] == "srpt_heft"
    rows = {r["policy"]: r for r in ground["policies"]}
    assert set(rows) == {"srpt_heft", "random", "linear", "bc", "bc → ppo"}
    assert set(rows["bc"]["ratios"]) == {"srpt_heft", "linear"}
    assert rows["srpt_heft"]["ratios"]["srpt_heft"]["value"] == pytest.approx(1.0)
    assert rows["random"]["ratios"]["srpt_heft"]["value"] > 1.0
    assert rows["random"]["score"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert rows["srpt_heft"]["score"]["value"] == pytest.approx(100.0)
    assert rows["bc"]["trainings"] == rows["bc → ppo"]["trainings"] == 2
    assert {"start", "worst", "end", "regret"} <= set(told["stories"]["bc → ppo"][0])
    board = tracking.board("offline-to-online")
    assert set(board["policy"]) == set(rows)
    assert board.set_index("policy")["learned"].to_dict() == {
        "srpt_heft": False, "random": False, "linear": False, "bc": True, "bc → ppo": True,
    }  # fmt: skip
    told_command = shlex.split(board["command"].iloc[0])
    # The command line puts the plus signs itself where Hydra wants them.
    assert told_command == ["toolkit", *(w.removeprefix("+") for w in WORDS)]
    assert cli.main(WORDS) == 0
    assert json.loads(capsys.readouterr().out)["grounds"] == told["grounds"]


def test_networks_play_side_by_side_what_they_play_alone():
    """Metrics of a batch are those of an episode of its own."""
    from evaluations.offline_to_online import _one_by_one, _side_by_side
    from toolkit.envs.registration import scenario_of
    from toolkit.policies.learned import found

    scenario = scenario_of("paper_c_8_stream", ["scenario.jobs=3", "scenario.graphs.tasks=[8,12]"])
    policy = found("workflows-8-stream-ppo")
    both = [f(policy, scenario, [7, 8]) for f in (_one_by_one, _side_by_side)]
    for a, b in zip(*both, strict=True):
        assert a == pytest.approx(b)


def test_it_plays_and_is_judged_where_it_is_told(capsys):
    words = [
        *(w for w in WORDS if not w.startswith("experiment.seeds")), "experiment.seeds=[0]",
        "experiment.plays=[paper_c_8_stream,'scenario.jobs=2','scenario.graphs.tasks=[8,12]']",
        "experiment.judged={one: [paper_c_8_dag], two: [paper_c_8_stream,'scenario.jobs=2']}",
    ]  # fmt: skip
    assert cli.main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["grounds"]) == ["one", "two"]
    assert told["grounds"]["two"]["scenario"] == ["paper_c_8_stream", "scenario.jobs=2"]
    one, two = ({r["policy"]: r for r in g["policies"]} for g in told["grounds"].values())
    assert one["bc"]["makespan"] == pytest.approx(one["bc"]["latency_mean"])
    assert two["bc"]["makespan"] > two["bc"]["latency_mean"]
    assert set(tracking.board("offline-to-online, two")["policy"]) == set(two)


def test_ratios_are_geometric_and_trainings_are_averaged():
    best = pd.DataFrame({"seed": [1, 2], "training": 0, "latency_mean": [10.0, 20.0]})
    cells = pd.DataFrame(
        {
            "seed": [1, 2, 1, 2],
            "training": [0, 0, 1, 1],
            "latency_mean": [5.0, 10.0, 20.0, 40.0],
        }
    )
    found = ratio_of(cells, best, generator(0, "x"))
    assert found.value == pytest.approx(1.0)
    half = ratio_of(cells[cells["training"] == 0], best, generator(0, "x"))
    assert half.value == pytest.approx(0.5)
    np.testing.assert_allclose([half.low, half.high], 0.5)


def test_settings_change_what_they_name_only():
    assert merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 9}, "e": 4}) == {
        "a": 1, "b": {"c": 9, "d": 3}, "e": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("offline", []),
        ("seeds", []),
        ("workloads", 1),
        ("first_seed", 500),
        ("baselines", ["fifo"]),
        ("plays", []),
        ("judged", {"x": []}),
    ],
)
def test_what_makes_no_sense_is_refused(setting, value):
    usual = {
        "name": "x", "dataset": "d", "offline": ["bc"], "online": "ppo", "seeds": [0],
        "baselines": ["random", "fifo"], "tuned": [], "chosen_on": 1, "workloads": 2,
        "first_seed": 20_000,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="x" if setting == "judged" else setting):
        OfflineToOnline(**{**usual, setting: value})
