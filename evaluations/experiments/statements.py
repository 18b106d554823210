"""Statement: something measured of two arms that a verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluations.experiments.arms import Followed
from evaluations.experiments.stability import apart, disagreements, drawdown
from evaluations.verdicts.claims import CONFIRMED, NOT_CONFIRMED, Claim, Finding, claims
from evaluations.verdicts.comparison import Compared
from evaluations.verdicts.report import interval
from toolkit.errors import ConfigError, require, unknown
from toolkit.statistics import Interval

MEASURES: Mapping[str, str] = {
    "gain": "share of a metric that the one saves over the other on unseen workloads",
    "curve": "how far the one's learning curve lies above the other's on average, in return",
    "fall": "how much more the one's learning curve falls back than the other's, in return",
    "values": "variance of the one's values over trainings by that of the other's",
}
"""What is measured of two arms."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What came of one ground.

    Args:
        followed: Trainings by arm.
        played: Unseen workloads.
    """

    followed: Mapping[str, Sequence[Followed]]
    played: Compared


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A measure of two arms, and the side of a bar that it must lie on with its whole interval.

    Args:
        measure: One of ``MEASURES``.
        of: An arm or a rule.
        over: The other; ``best rule`` for the best of the rivals on training workloads.
        ground: Name of the ground.
        metric: Of which, for ``gain``.
        above: The bar; None where there is none on this side.
        below: The same.
    """

    measure: str
    of: str
    over: str
    ground: str
    metric: str = "latency_mean"
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise unknown("measure", self.measure, MEASURES)
        require(
            (self.above is None) != (self.below is None),
            f"a statement on {self.of} must name one bar, above or below",
        )

    def found(self, grounds: Mapping[str, Ground]) -> Interval:
        """Return the measure with its 95 % interval."""
        if self.ground not in grounds:
            raise unknown("ground", self.ground, grounds)
        ground = grounds[self.ground]
        if self.measure == "gain":
            over = ground.played.best(self.metric) if self.over == BEST else self.over
            return self._gain(ground.played, over)
        for arm in (self.of, self.over):
            if arm not in ground.followed:
                raise unknown("arm that was trained", arm, ground.followed)
        mine, others = ground.followed[self.of], ground.followed[self.over]
        if not np.array_equal(mine[0].probes, others[0].probes):
            raise ConfigError(
                f"{self.of} and {self.over} were watched in different places",
                hint="what learns from a dataset is watched where that was made",
            )
        if self.measure == "curve":
            return apart(*([float(f.returns.mean()) for f in each] for each in (mine, others)))
        if self.measure == "fall":
            return apart(*([drawdown(f.returns) for f in each] for each in (mine, others)))
        return disagreements(*(np.stack([f.values for f in each]) for each in (mine, others)))

    def _gain(self, played: Compared, over: str) -> Interval:
        for arm in (self.of, over):
            if arm not in played.cells:
                raise unknown("arm", arm, played.cells)
        return played.gain(self.of, over, self.metric)

    def holds(self, found: Interval) -> bool:
        """Return whether the whole interval lies on the right side; NaN lies on none."""
        if self.above is not None:
            return bool(found.low > self.above)
        assert self.below is not None
        return bool(found.high < self.below)

    def told(self, found: Interval, best: str) -> str:
        """Return the measure in words."""
        over = f"{best}, the best rule" if self.over == BEST else self.over
        words = {
            "gain": f"{self.of} saves of {over}'s {self.metric}",
            "curve": f"{self.of}'s curve above {over}'s by",
            "fall": f"{self.of}'s curve falls back more than {over}'s by",
            "values": f"variance of {self.of}'s values by that of {over}'s",
        }
        bar = f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"
        if not math.isfinite(found.low):
            return f"{self.ground}: {words[self.measure]} {found.value:.3f} (no interval; {bar})"
        figure = interval(found.value, found.low, found.high)
        return f"{self.ground}: {words[self.measure]} {figure} ({bar})"


BEST = "best rule"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A claim and what must hold for it.

    Args:
        claim: Id of a claim of one of the papers, or of one stated here.
        all: Statements that must all hold.
        text: The claim in words, where no paper's list has it.
        why: How the verdict comes about, beyond the statements.
    """

    claim: str
    all: Sequence[Statement]
    text: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        require(len(self.all) > 0, f"the question {self.claim} states nothing")

    @property
    def stated(self) -> Claim:
        """The claim."""
        if self.text:
            return Claim(id=self.claim, text=self.text, metric="")
        known = {c.id: c for paper in "abc" for c in claims(paper)}
        if self.claim not in known:
            raise unknown("claim", self.claim, known, hint="or state it: text: ...")
        return known[self.claim]

    def answer(self, grounds: Mapping[str, Ground], command: str) -> Finding:
        """Return what was found of it."""
        found = [s.found(grounds) for s in self.all]
        holds = [s.holds(f) for s, f in zip(self.all, found, strict=True)]
        told = [
            s.told(f, grounds[s.ground].played.best(s.metric)) + ("" if h else ": no")
            for s, f, h in zip(self.all, found, holds, strict=True)
        ]
        return Finding(
            claim=self.claim,
            verdict=CONFIRMED if all(holds) else NOT_CONFIRMED,
            figure="; ".join(told),
            why=self.why or "confirmed where all of it holds with its whole 95 % interval",
            command=command,
        )
