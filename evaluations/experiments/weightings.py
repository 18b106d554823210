"""Weightings: what PPO becomes under other weights of the reward, weight by weight (claim A9)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from evaluations.experiments import weighed
from evaluations.experiments.arms import Arm, trained
from evaluations.experiments.recorded import record
from evaluations.experiments.weighed import ASKED, CLOSED, OPEN, Point
from evaluations.experiments.weight_pictures import along, fronts
from evaluations.verdicts.claims import claims
from evaluations.verdicts.comparison import Compared, compared
from evaluations.verdicts.report import Picture, Produced, publish
from evaluations.verdicts.sizes import command_of, require_size
from toolkit.envs.registration import settings_of
from toolkit.errors import require
from toolkit.policies.named import named
from toolkit.report import Report
from toolkit.store import Product, Store

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Start:
    """What trainings begin with.

    Args:
        settings: Of PPO that differ from its YAML.
        seeds: Of the trainings.
        init: Policy that is gone on from; "" for none.
    """

    settings: Mapping[str, Any]
    seeds: Sequence[int]
    init: str = ""

    def __post_init__(self) -> None:
        require(len(self.seeds) > 0, "experiment.sizes: seeds of a start must name one or more")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained and played.

    Args:
        workloads: Unseen workloads of each system.
        chosen_on: Training workloads that tell which rule is the best.
        levels: What each weight is multiplied by while the others stay, ascending; 1 among them.
        corners: What each of ``crossed`` is multiplied by in all combinations; none leaves that
            out.
        starts: By what they are called.
        crossed: Weights that are also varied together.
    """

    workloads: int
    chosen_on: int
    levels: Sequence[float]
    starts: Mapping[str, Start]
    corners: Sequence[float] = ()
    crossed: Sequence[str] = field(default=("throughput", "latency", "cost"))

    def __post_init__(self) -> None:
        require(
            self.workloads >= 2,
            "experiment.sizes: workloads must be 2 or more, got {self.workloads}",
        )
        require(
            self.chosen_on >= 1,
            "experiment.sizes: chosen_on must be 1 or more, got {self.chosen_on}",
        )
        levels = list(self.levels)
        require(
            len(levels) >= 3 and levels == sorted(set(levels)) and 1 in levels and levels[0] >= 0,
            "experiment.sizes: levels must be three or more, ascending, 1 among them, "
            f"got {levels}",
        )
        require(len(self.starts) > 0, "experiment.sizes: starts must name one or more")
        strange = sorted(set(self.crossed) - set(ASKED))
        require(
            not strange,
            f"experiment.sizes: crossed must name weights, {', '.join(ASKED)}, got {strange}",
        )

    def points(self) -> list[Point]:
        """Return the base point, those along each weight, and the corners."""
        along_each = [
            Point(times={weight: level}) for weight in ASKED for level in self.levels if level != 1
        ]
        corners = [
            Point(times=dict(zip(self.crossed, times, strict=True)))
            for times in itertools.product(self.corners, repeat=len(self.crossed))
        ]
        return [Point(times={}), *along_each, *corners]


@dataclass(frozen=True, kw_only=True)
class Weightings:
    """Trains under many weightings and judges all of it in an open and in a closed system.

    Args:
        name: Of the experiment.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        open: The open system, where all of it is trained: name of a scenario, and overrides.
        closed: The closed system, where throughput is judged.
        rivals: Rules of which the better one on training workloads is compared with.
        rules: Others that are shown.
        discount_seconds: τ of all trainings.
        first_seed: Seed of the first unseen workload.
    """

    name: str
    size: str
    sizes: Mapping[str, Size]
    open: Sequence[str]
    closed: Sequence[str]
    rivals: Sequence[str]
    rules: Sequence[str]
    discount_seconds: float
    first_seed: int

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed, "experiment")
        require(len(self.rivals) > 0, "experiment.rivals must name one or more")

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of(f"toolkit train +experiment={self.name}", self.size, "experiment")

    @property
    def base(self) -> Mapping[str, float]:
        """The weights that are multiplied: those of the open system."""
        told = settings_of(self.open[0], self.open[1:])["weights"]
        return {weight: float(told[weight]) for weight in ASKED}

    def run(self, cfg: DictConfig) -> Report:
        """Train, play and judge; what was trained or played already is not again."""
        size = self.sizes[self.size]
        points = size.points()
        made = self._trained(size, points, cfg)
        played = {
            OPEN: self._played(OPEN, made, size, cfg),
            CLOSED: self._played(CLOSED, made, size, cfg),
        }
        found = weighed.Weighed(
            base=self.base, levels=size.levels, starts=list(size.starts), points=points,
            rules=[*self.rivals, *self.rules], played=played,
        )  # fmt: skip
        paper = next(c for c in claims("a") if c.id == "A9")
        stated, findings = weighed.judged(found, paper, self.command)
        produced = Produced(
            suite=self.name,
            title="Weights: what PPO becomes as the weights of the reward change",
            size=self.size,
            command=self.command,
            about=self._about(size, points, made),
            tables=[weighed.correlations(found), weighed.table(found)],
            pictures=[
                Picture(
                    name="front",
                    caption="Latency and cost in the open system and throughput in the closed one "
                    "of all points, by the weight that is multiplied; larger marks are larger "
                    "weights. Black rings: the front of all three that no other point dominates, "
                    "rules included.",
                    draw=partial(fronts, found),
                ),
                Picture(
                    name="weights",
                    caption="What each weight is for, against the weight; 95 % intervals over "
                    "trainings and workloads.",
                    draw=partial(along, found),
                ),
            ],
            findings=findings,
        )
        return publish(produced, stated)

    def _trained(
        self, size: Size, points: Sequence[Point], cfg: DictConfig
    ) -> dict[str, list[Product]]:
        arms, seeds = {}, {}
        for called, start in size.starts.items():
            for point in points:
                arm = weighed.arm(called, point)
                seeds[arm] = start.seeds
                arms[arm] = Arm(
                    algo="ppo", settings=start.settings,
                    plays=[*self.open, *point.words(self.base)],
                    init=start.init, discount_seconds=self.discount_seconds,
                )  # fmt: skip
        return trained(arms, seeds, 0, cfg)

    def _played(
        self,
        system: str,
        made: Mapping[str, Sequence[Product]],
        size: Size,
        cfg: DictConfig,
    ) -> Compared:
        words = self.open if system == OPEN else self.closed
        arms = {n: [n] for n in (*self.rivals, *self.rules)}
        arms |= {arm: [p.id for p in products] for arm, products in made.items()}
        seeds = range(self.first_seed, self.first_seed + size.workloads)
        played = compared(words, arms, self.rivals, size.chosen_on, seeds, cfg)
        record(
            played,
            {arm: _learned(policies) for arm, policies in arms.items()},
            "latency_mean" if system == OPEN else "throughput",
            experiment=self.name, ground=f"{system} system", size=self.size, command=self.command,
        )  # fmt: skip
        return played

    def _about(
        self, size: Size, points: Sequence[Point], made: Mapping[str, Sequence[Product]]
    ) -> list[str]:
        seconds = sum(float(p.manifest["about"]["seconds"]) for each in made.values() for p in each)
        base = ", ".join(f"{weight} {value:g}" for weight, value in self.base.items())
        starts = "; ".join(
            f"{called}: {len(s.seeds)} training(s) of {s.settings['n_steps']:,} decisions each"
            + (f", from `{s.init}`" if s.init else "")
            for called, s in size.starts.items()
        )
        return [
            f"Simulated. Trained in the open system `{' '.join(self.open)}`, judged there (latency "
            f"and cost) and in the closed system `{' '.join(self.closed)}` (throughput), on "
            f"{size.workloads} unseen workloads each from seed {self.first_seed} on.",
            f"{len(points)} weightings: the base point ({base}), each weight times "
            f"{', '.join(f'{x:g}' for x in size.levels)}, and {', '.join(size.crossed)} times "
            f"{', '.join(f'{x:g}' for x in size.corners) or 'nothing'} in all combinations.",
            f"{starts}. The trainings took {seconds:.0f} s of wall clock, added up.",
            "In an open stream as many pipelines leave as arrive: there the weight of throughput "
            "acts only through the discount, by which sooner is more.",
        ]


def _learned(policies: Sequence[str]) -> list[str]:
    """Return those that were learnt, shipped ones among the rules too."""
    return [name for name in policies if named(name, Store()).learned]
