"""What an experiment puts on the board: geometric means, and the rule that training chose."""

import numpy as np
import pandas as pd
import pytest

from evaluations.experiments.recorded import record
from evaluations.verdicts.comparison import Compared
from toolkit import tracking


def frame(values, trainings=1):
    return pd.concat(
        pd.DataFrame({"training": k, "seed": range(len(values)), "latency_mean": values})
        for k in range(trainings)
    )


@pytest.fixture
def played():
    base = np.array([1.0, 2.0, 4.0])
    cells = {
        "ppo": frame(base * [0.5, 2.0, 1.0], trainings=2),
        "best": frame(base),
        "lucky": frame(0.9 * base),
        "told": frame(0.5 * base),
    }
    before = {"best": frame(base), "lucky": frame(1.1 * base)}
    return Compared(ground=("x",), cells=cells, before=before)


def test_a_board_tells_of_ratios_and_of_who_was_chosen(played):
    arms = {"ppo": ["p", "q"], "best": [], "lucky": [], "told": []}
    for size in ("full", "quick"):
        record(
            played, arms, "latency_mean",
            experiment="e", ground="g", size=size, command="toolkit train +experiment=e",
        )  # fmt: skip
    board = tracking.board()
    assert sorted(set(board["suite"])) == ["e, g", "e, g, quick"]
    rows = board[board["suite"] == "e, g"].set_index("policy")
    assert rows.loc["ppo", "score"] == pytest.approx(100)  # half, twice and as much
    assert rows.loc["lucky", "score"] == pytest.approx(100 * (1 - np.log(0.9)))
    assert rows["learned"].to_dict() == {"ppo": True, "best": False, "lucky": False, "told": False}
    assert rows["chosen"].idxmax() == "best"
    assert np.isnan(rows.loc["told", "chosen"])


def test_what_has_no_ratio_is_not_on_the_board(played, capsys):
    nothing = frame(np.array([1.0, 0.0, 4.0]))
    cells = {**played.cells, "ppo": nothing}
    record(
        Compared(ground=("x",), cells=cells, before=played.before), {"ppo": ["p"], "best": []},
        "latency_mean", experiment="e", ground="g", size="full", command="toolkit train",
    )  # fmt: skip
    assert tracking.board()["policy"].tolist() == ["best"]
    assert "ppo on g is not on the board: its latency_mean" in capsys.readouterr().err
