"""The pipeline from a dataset to policies judged on unseen workloads."""

import json
import shlex

import pytest

from evaluations.experiments.offline_to_online import OfflineToOnline, merged
from toolkit import cli, tracking
from toolkit.errors import ConfigError

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
    of_best = {n: r["ratios"]["srpt_heft"]["latency_mean"]["value"] for n, r in rows.items()}
    assert of_best["srpt_heft"] == pytest.approx(1.0)
    assert of_best["random"] > 1.0
    assert 0.0 < ground["bound"]["latency_mean"]["ratio"]["high"] < min(of_best.values())
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
    alone, both = (g["bc"]["means"] for g in (one, two))
    assert alone["makespan"] == pytest.approx(alone["latency_mean"])
    assert both["makespan"] > both["latency_mean"]
    assert set(tracking.board("offline-to-online, two")["policy"]) == set(two)


def test_metrics_bounds_and_the_start_from_nothing_of_batches(capsys):
    words = [
        "train", "+experiment=configuration", "format=json", "workers=1",
        "experiment.dataset=configuration/paper-b-mixed-v1-sample",
        "experiment.offline=[bc]", "experiment.seeds=[0]", "experiment.workloads=3",
        "experiment.chosen_on=2", "experiment.scratch=true",
        "experiment.judged={few: [paper_b,'scenario.batches=10']}",
        f"++{WORDS[-1]}",
    ]  # fmt: skip
    assert cli.main(words) == 0
    ground = json.loads(capsys.readouterr().out)["grounds"]["few"]
    rows = {r["policy"]: r for r in ground["policies"]}
    assert {"bc", "bc → ppo", "ppo", "least_expected", "random"} <= set(rows)
    for row in rows.values():
        m = row["means"]
        assert m["latency_mean"] == pytest.approx(m["wait_mean"] + m["service_mean"])
        assert set(row["ratios"]["least_expected"]) == {
            "latency_mean", "service_mean", "wait_mean", "core_seconds",
        }  # fmt: skip
    assert set(ground["bound"]) == {"latency_mean"}
    # The largest executors run every task at once, so that nothing is better than to keep them.
    assert ground["bound"]["latency_mean"]["ratio"]["value"] <= 1.0 + 1e-9
    a, b = rows["best_static"]["means"], rows["random"]["means"]
    assert rows["best_static"]["by_waiting"] == pytest.approx(
        (b["wait_mean"] - a["wait_mean"]) / (b["latency_mean"] - a["latency_mean"])
    )
    assert rows["random"]["by_waiting"] is None


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
        ("metrics", []),
        ("metrics", ["speed"]),
        ("judged", {"x": []}),
    ],
)
def test_what_makes_no_sense_is_refused(setting, value):
    usual = {
        "name": "x", "dataset": "d", "offline": ["bc"], "online": "ppo", "seeds": [0],
        "baselines": ["random", "fifo"], "also": [], "chosen_on": 1, "workloads": 2,
        "first_seed": 20_000,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="x" if setting == "judged" else setting):
        OfflineToOnline(**{**usual, setting: value})


def test_an_entry_that_is_new_is_told_how_to_be_added(capsys):
    words = ["train", "+experiment=placement", "experiment.settings={bc: {n_steps: 1}}"]
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "experiment.settings has no entry of that name" in told
    assert "++experiment.settings=" in told
