"""Tuning: weights of a linear policy by the cross-entropy method.

Many vectors of weights play the same training episodes in compiled code; the next ones are drawn
around the best of them. Rubinstein and Kroese, "The Cross-Entropy Method", Springer 2004,
doi:10.1007/978-1-4757-4321-0. In Python::

    from toolkit.envs.registration import scenario_of
    from toolkit.policies.tuning import Tuner

    tuner = Tuner(population=64, elite=8, generations=30, seed=0)
    print(tuner.tune([scenario_of("paper_c_8_dag")]).weights)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.errors import require
from toolkit.features.observe import sizes_of
from toolkit.policies.family import require_family
from toolkit.policies.linear import FEATURES, TRANSFORMS, drive, vector
from toolkit.scenarios.scenario import Scenario
from toolkit.seeding import generator
from toolkit.simulator.scene import Scene
from toolkit.simulator.simulator import scene_of
from toolkit.workload import PLACEMENT, Floats

OBJECTIVES = ("makespan", "mean_completion")
"""What may be made small."""

START = {
    "finish in": -1.0,
    "regret of not waiting": -1.0,
    "rank among the ready": 1.0,
    "least work left over its job's": 1.0,
    "planned here": 1.0,
    "planned next": 1.0,
    "planned start in": -1.0,
}
"""Where a search begins: what the hand-made rules go by, each counting the same."""

SELDOM = (
    "slack to its deadline",
    "twins",
    "memory share",
    "tasks on the node",
    "seconds saved by a copy",
    "is with a copy",
)
"""Features that tell little or nothing where jobs have no deadlines, parents are not executed
again and a node holds one task; their weights would be chance."""

HELD_OUT = 10000
"""The first seed that policies are judged on; no training episode has it or a later one."""


class Track:
    """One training episode, played again and again.

    Args:
        scenario: What it is an episode of; family *placement*.
        seed: Of its workload and of its luck.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        workload = scenario.plan(seed)
        require_family("linear", PLACEMENT, workload)
        self._scene = scene_of(workload, scenario.truth(workload, seed))
        self._fresh = self._scene.copy()
        self._horizon = scenario.horizon
        G, K, F = sizes_of(workload)
        self._buffers = (
            np.empty(G, dtype=np.float32),
            np.empty((K, F), dtype=np.float32),
            np.empty(K, dtype=np.bool_),
            np.empty(K, dtype=np.int32),
        )

    def play(self, weights: Floats) -> tuple[float, float, int]:
        """Return makespan, s, mean completion time, s, and choices under weights, shape [F]."""
        _rewind(self._scene, self._fresh)
        makespan, completion, decisions = drive(
            self._scene.handle, *self._buffers, weights, TRANSFORMS, self._horizon
        )
        return float(makespan), float(completion), int(decisions)


def _rewind(scene: Scene, fresh: Scene) -> None:
    """Bring a scene back to its first moment; its handle stays good."""
    now: tuple[Any, ...] = (*scene.state, *scene.world)
    then: tuple[Any, ...] = (*fresh.state, *fresh.world)
    for array, was in zip(now, then, strict=True):
        if array is not was:
            array[...] = was


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search found.

    Args:
        weights: By name of the feature, rounded to three digits, without those that are 0.
        score: Of these weights on the episodes by which they were chosen.
        start: Of the weights that the search began with, on the same.
        curve: Best score of each generation; each has episodes of its own.
    """

    weights: Mapping[str, float]
    score: float
    start: float
    curve: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """A cross-entropy search for the weights of a linear policy.

    Weights are drawn from independent normal distributions. All of a generation play the same
    episodes, so that luck does not choose among them; the distributions move to mean and spread
    of the elite. Last, the means of all generations play episodes that none has seen, and the
    best mean is the answer.

    The score of weights is the geometric mean of the objective over episodes, in seconds: each
    episode counts the same, however long it is, and so does each scenario.

    Args:
        population: Vectors of weights per generation.
        elite: How many of them shape the next.
        generations: How many follow one another.
        seed: Of the search.
        objective: ``mean_completion`` or ``makespan``.
        episodes: Training episodes of each scenario per generation.
        final: Training episodes of each scenario by which the answer is chosen.
        spread: Standard deviation that each weight begins with.
        least: What the standard deviation never falls below, as a share of ``spread``.
        start: Weights that the search begins around.
        leave_out: Names of features whose weights stay as they begin.
    """

    population: int
    elite: int
    generations: int
    seed: int
    objective: str = "mean_completion"
    episodes: int = 4
    final: int = 16
    spread: float = 1.0
    least: float = 0.05
    start: Mapping[str, float] = field(default_factory=lambda: dict(START))
    leave_out: Sequence[str] = SELDOM

    def __post_init__(self) -> None:
        require(
            1 <= self.elite <= self.population,
            f"elite must be from 1 to the population, got {self.elite} of {self.population}",
        )
        require(self.generations >= 1, f"generations must be 1 or more, got {self.generations}")
        require(self.seed >= 0, f"seed must be 0 or more, got {self.seed}")
        require(
            self.objective in OBJECTIVES,
            f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}",
        )
        require(
            self.episodes >= 1 and self.final >= 1,
            f"episodes and final must be 1 or more, got {self.episodes} and {self.final}",
        )
        require(self.spread > 0, f"spread must be positive, got {self.spread}")
        require(0 <= self.least <= 1, f"least must be from 0 to 1, got {self.least}")
        used = self.episodes * self.generations + self.final
        require(
            used <= HELD_OUT,
            f"there are {HELD_OUT} training seeds, fewer than the {used} episodes asked for",
            hint="ask for fewer generations or episodes",
        )
        vector(self.start)
        vector(dict.fromkeys(self.leave_out, 1.0))

    def tune(
        self,
        scenarios: Sequence[Scenario],
        on_generation: Callable[[int, float], None] = lambda *_: None,
    ) -> Tuned:
        """Search on training episodes of scenarios: those of the seeds below ``HELD_OUT``.

        Args:
            scenarios: All of the family *placement*.
            on_generation: Told the number of each generation and its best score.

        Raises:
            ConfigError: When there is no scenario, or one is of another family.
        """
        require(len(scenarios) > 0, "tuning needs at least one scenario")
        rng = generator(self.seed, "cross-entropy")
        searched = 1.0 - vector(dict.fromkeys(self.leave_out, 1.0))
        mean, spread = vector(self.start), self.spread * searched
        means, curve = [mean], []
        for i in range(self.generations):
            tracks = self._tracks(scenarios, i * self.episodes, self.episodes)
            drawn = mean + spread * rng.standard_normal((self.population, len(FEATURES)))
            # The present mean is one of them: a generation never forgets what is known.
            drawn[0] = mean
            scores = np.array([self.score(tracks, weights) for weights in drawn])
            elite = drawn[np.argsort(scores, kind="stable")[: self.elite]]
            mean = elite.mean(axis=0)
            spread = np.maximum(elite.std(axis=0), self.least * self.spread * searched)
            means.append(mean)
            curve.append(float(np.exp(scores.min())))
            on_generation(i, curve[-1])
        tracks = self._tracks(scenarios, self.generations * self.episodes, self.final)
        rounded = [np.round(m, 3) for m in means]
        scores = np.array([self.score(tracks, weights) for weights in rounded])
        best = int(np.argmin(scores))
        return Tuned(
            weights={n: float(x) for n, x in zip(FEATURES, rounded[best], strict=True) if x},
            score=float(np.exp(scores[best])),
            start=float(np.exp(scores[0])),
            curve=tuple(curve),
        )

    def score(self, tracks: Sequence[Track], weights: Floats) -> float:
        """Return the mean logarithm of the objective over episodes; less is better.

        Args:
            tracks: The episodes.
            weights: Shape [F].
        """
        which = OBJECTIVES.index(self.objective)
        return float(np.mean([np.log(track.play(weights)[which]) for track in tracks]))

    def _tracks(self, scenarios: Sequence[Scenario], first: int, count: int) -> list[Track]:
        return [Track(scenario, first + i) for scenario in scenarios for i in range(count)]
