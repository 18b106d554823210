"""What an experiment found stands in for what a suite does not answer itself."""

import pandas as pd

from evaluations.verdicts.claims import CONFIRMED, NOT_COMPARABLE, Claim, Finding
from evaluations.verdicts.report import Produced, Table, answered, publish


def test_an_experiment_answers_for_a_suite():
    before = answered("C11", "prioritised", "quick")
    assert before.verdict == NOT_COMPARABLE
    assert before.why.endswith("toolkit train +experiment=prioritised experiment.size=quick")
    finding = Finding(claim="C11", verdict=CONFIRMED, figure="by 3", why="so", command="x")
    produced = Produced(
        suite="prioritised", title="T", size="quick", command="x", about=[], pictures=[],
        tables=[Table(caption="t", frame=pd.DataFrame({"a": [1]}))], findings=[finding],
    )  # fmt: skip
    publish(produced, [Claim(id="C11", text="sooner", metric="")])
    assert answered("C11", "prioritised", "quick") == finding
    assert answered("C10", "prioritised", "quick").verdict == NOT_COMPARABLE
    assert answered("C11", "prioritised", "full").verdict == NOT_COMPARABLE
