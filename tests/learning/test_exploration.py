"""How much is drawn while Q-learning plays."""

import pytest

from tests.learning.lessons import PLAYED
from toolkit.errors import ConfigError
from toolkit.learning.exploration import Play

DECAYING = {**PLAYED, "exploring": None, "decay": 0.9, "epsilon": 0.8, "epsilon_end": 0.1}


def test_it_falls_in_a_line_and_stays():
    play = Play(**PLAYED)
    shares = [play.share(x, decisions=10**6, episodes=10**6) for x in (0.0, 0.25, 0.5, 1.0)]
    assert shares == pytest.approx([1.0, 0.525, 0.05, 0.05])


@pytest.mark.parametrize("per", ["step", "episode"])
def test_it_decays_as_when_it_is_multiplied_again_and_again(per):
    play = Play(**DECAYING, decay_per=per)
    share = play.epsilon
    for n in range(40):
        counts = {"decisions": n, "episodes": 3} if per == "step" else {
            "decisions": 500, "episodes": n}  # fmt: skip
        assert play.share(0.5, **counts) == pytest.approx(share)
        share = max(play.epsilon_end, share * play.decay)
    assert share == play.epsilon_end


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"epsilon": 0.1, "epsilon_end": 0.5}, "epsilon must fall"),
        ({"decay": 0.9}, "either over algo.play.exploring or by algo.play.decay"),
        ({"exploring": None}, "either over algo.play.exploring or by algo.play.decay"),
        ({"exploring": 1.5}, "exploring must be in"),
        ({"exploring": None, "decay": 1.0}, "decay must be in"),
        ({"exploring": None, "decay": 0.9, "decay_per": "year"}, "must be step or episode"),
        ({"before": 2}, "before must be from"),
        ({"rounds": 0}, "rounds must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        Play(**{**PLAYED, **words})
