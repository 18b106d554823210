"""Paper A: pipelines on Ray whose tasks are given CPUs and memory, and what is claimed of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from evaluations.experiments.arms import Arm, Followed, followed, trained
from evaluations.experiments.powers import LINEAR, about_linear, exponents, medians
from evaluations.experiments.scaling import Grid, timed
from evaluations.experiments.step_pictures import step_times
from evaluations.papers import elsewhere_a as elsewhere
from evaluations.papers import gains_a as gains
from evaluations.papers import learning_a as learning
from evaluations.papers import pictures_a as pictures
from evaluations.papers.learning_a import DQN, PPO
from evaluations.verdicts.claims import Finding, claims
from evaluations.verdicts.comparison import Compared, compared
from evaluations.verdicts.part import Part
from evaluations.verdicts.report import Picture, Produced, Table, answered, interval, publish
from evaluations.verdicts.sizes import command_of, require_size
from toolkit.envs.registration import scenario_of
from toolkit.errors import require
from toolkit.scenarios.pipelines import Pipelines

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from toolkit.report import Report

RIVALS = ("static", "reactive")
"""Of which the better one counts."""
TUNED = "fine-tuned"
_OWN = "its own"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is played and trained.

    Args:
        workloads: Unseen workloads of the open and the closed system.
        varied: Unseen workloads of every other ground.
        chosen_on: Training workloads that tell which rule is the best, how good a policy is that
            still learns, and whose states are valued.
        trainings: Trainings of each algorithm from nothing.
        settings: Settings that differ from ``conf/algo``, by algorithm; those of ``tuned`` are of
            PPO where it goes on from the policy.
        scaling: Sizes whose steps are timed.
        weighted: Whether the policy also goes on learning under other weights.
    """

    workloads: int
    varied: int
    chosen_on: int
    trainings: int
    settings: Mapping[str, Mapping[str, Any]]
    scaling: Grid
    weighted: bool

    def __post_init__(self) -> None:
        for name, least in (("workloads", 2), ("varied", 2), ("chosen_on", 1)):
            value = getattr(self, name)
            require(value >= least, f"suite.sizes: {name} must be {least} or more, got {value}")
        require(self.trainings >= 2, "suite.sizes: trainings must be 2 or more, to see a spread")
        lacking = {PPO, DQN, "tuned"} - set(self.settings)
        require(not lacking, f"suite.sizes: settings lack {', '.join(sorted(lacking))}")


@dataclass(frozen=True, kw_only=True)
class PaperA:
    """All that is claimed of pipelines on Ray, measured in the simulator.

    Args:
        name: Of the suite.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        policy: The trained policy that is judged, and gone on from.
        others: Rules beside ``static`` and ``reactive``.
        beside: Those that are also played where something is varied.
        open: The open system: name of a scenario, and overrides.
        closed: The closed system, the same.
        variations: Coefficients of variation of the size of the data, ascending.
        structures: Overrides of the open system by name: pipelines of other structures.
        weightings: Weights of cost, ascending, under which the policy goes on learning; none
            leaves that out.
        discount_seconds: τ of all trainings.
        most_cost: The most that a gain may cost, by the cheaper of ``static`` and ``reactive``.
        first_seed: Seed of the first unseen workload.
    """

    name: str
    size: str
    sizes: Mapping[str, Size]
    policy: str
    others: Sequence[str]
    beside: Sequence[str]
    open: Sequence[str]
    closed: Sequence[str]
    variations: Sequence[float]
    structures: Mapping[str, Sequence[str]]
    weightings: Sequence[float]
    discount_seconds: float
    most_cost: float
    first_seed: int

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed)
        for name in ("variations", "weightings"):
            told = list(getattr(self, name))
            require(told == sorted(set(told)), f"suite.{name} must ascend, got {told}")
        require(len(self.variations) >= 3, "suite.variations must name three levels or more")
        require(len(self.structures) >= 1, "suite.structures must name one or more")
        require(len(self.weightings) != 1, "suite.weightings must name two or more, or none")
        require(self.most_cost > 0, f"suite.most_cost must be positive, got {self.most_cost}")

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of("toolkit evaluate suite=paper_a", self.size)

    def run(self, cfg: DictConfig) -> Report:
        """Train, play and judge; what was trained or played already is not again."""
        size = self.sizes[self.size]
        made = self._trained(size, cfg)
        learnt = {a: made[a] for a in (PPO, DQN)}
        arms = {a: [f.policy for f in each] for a, each in learnt.items()}
        grounds = {
            name: self._played(words, arms, self.others, size.workloads, cfg)
            for name, words in (("open", self.open), ("closed", self.closed))
        }
        parts = [
            gains.part(
                grounds, self.policy, {c.id: c for c in claims("a")}, self.most_cost, self.command
            ),
            learning.part(learnt, grounds["open"], self.command),
            self._variation(cfg),
            self._weights(made, cfg),
            self._scaling(size),
            self._transfer(made, cfg),
            self._choices(),
        ]
        produced = Produced(
            suite=self.name,
            title="Paper A: pipelines on Ray",
            size=self.size,
            command=self.command,
            about=self._about(size, made),
            tables=[t for p in parts for t in p.tables],
            pictures=[x for p in parts for x in p.pictures],
            findings=[*(f for p in parts for f in p.findings), *self._elsewhere()],
        )
        return publish(produced, claims("a"))

    def _trained(self, size: Size, cfg: DictConfig) -> dict[str, list[Followed]]:
        """Return trainings: those from nothing by algorithm, those of the policy by override."""
        arms = {
            algo: Arm(
                algo=algo, settings=size.settings[algo], plays=self.open,
                discount_seconds=self.discount_seconds,
            )
            for algo in (PPO, DQN)
        }  # fmt: skip
        seeds = {algo: list(range(size.trainings)) for algo in arms}
        for words in [*self.structures.values(), *([_weight(w)] for w in self._weightings())]:
            name = " ".join(words)
            seeds[name] = [0]
            arms[name] = Arm(
                algo=PPO, settings=size.settings["tuned"], plays=[*self.open, *words],
                init=self.policy, discount_seconds=self.discount_seconds,
            )  # fmt: skip
        found = trained(arms, seeds, size.chosen_on, cfg)
        return {name: [followed(p) for p in each] for name, each in found.items()}

    def _weightings(self) -> Sequence[float]:
        return self.weightings if self.sizes[self.size].weighted else ()

    def _played(
        self,
        words: Sequence[str],
        arms: Mapping[str, Sequence[str]],
        rules: Sequence[str],
        workloads: int,
        cfg: DictConfig,
    ) -> Compared:
        """Play rivals, other rules, the policy and what else was learnt."""
        seeds = range(self.first_seed, self.first_seed + workloads)
        every = {n: [n] for n in (*RIVALS, *rules, self.policy)} | dict(arms)
        return compared(words, every, RIVALS, self.sizes[self.size].chosen_on, seeds, cfg)

    def _varied(
        self, words: Sequence[str], arms: Mapping[str, Sequence[str]], cfg: DictConfig
    ) -> Compared:
        """Play the open system with overrides."""
        workloads = self.sizes[self.size].varied
        return self._played([*self.open, *words], arms, self.beside, workloads, cfg)

    def _variation(self, cfg: DictConfig) -> Part:
        found = {v: self._varied([f"scenario.cv={v}"], {}, cfg) for v in self.variations}
        return elsewhere.variation(found, self.policy, self.beside, self.command)

    def _transfer(self, made: Mapping[str, Sequence[Followed]], cfg: DictConfig) -> Part:
        found = {_OWN: self._varied([], {}, cfg)}
        for name, words in self.structures.items():
            tuned = {TUNED: [f.policy for f in made[" ".join(words)]]}
            found[name] = self._varied(words, tuned, cfg)
        return elsewhere.transfer(found, self.policy, TUNED, self.beside, _OWN, self.command)

    def _weights(self, made: Mapping[str, Sequence[Followed]], cfg: DictConfig) -> Part:
        weightings = self._weightings()
        if not weightings:
            return elsewhere.weights({}, None, self.command)
        arms = {w: f"cost × {w:g}" for w in weightings}
        policies = {arms[w]: [f.policy for f in made[_weight(w)]] for w in weightings}
        return elsewhere.weights(arms, self._varied([], policies, cfg), self.command)

    def _scaling(self, size: Size) -> Part:
        grid = size.scaling
        times = timed(grid.points(_pipelines(self.closed)), grid.repeats)
        found = exponents(times)
        told = "; ".join(
            f"{grows} to the power of {interval(e.value, e.low, e.high, 2)}"
            for grows, e in found.items()
        )
        low, high = LINEAR
        finding = Finding(
            claim="A10",
            verdict=about_linear(found),
            figure=f"the time of a step grows with {told}",
            why=f"wall clock, measured; confirmed where both intervals lie from {low} to {high}; "
            "less growth is better than claimed",
            command=self.command,
        )
        caption = (
            "Wall clock of a step: a decision for each process type, by a network as wide as the "
            "trained one, and the simulation until the next instant. Medians of "
            f"{grid.repeats} workloads; edges grow as nodes do, the cluster as pipelines."
        )
        picture = Picture(
            name="step_time",
            caption="Wall clock of a step against size, with the fitted power.",
            draw=partial(step_times, times, found),
        )
        return Part(
            tables=[Table(caption=caption, frame=medians(times))],
            pictures=[picture],
            findings=[finding],
        )

    def _elsewhere(self) -> list[Finding]:
        """Return what experiments found of the claims that need other learners."""
        asked = {"A7": "several_agents", "A12": "stability"}
        return [answered(claim, name, self.size) for claim, name in asked.items()]

    def _choices(self) -> Part:
        shown = {f"{self.policy} (PPO)": self.policy, "reactive": "reactive"}
        picture = Picture(
            name="profiles",
            caption="The profile that each process type is given over time, above what waits and "
            f"how large its data are; workload {self.first_seed} of `{' '.join(self.open)}`.",
            draw=partial(pictures.profiles, shown, _pipelines(self.open), self.first_seed),
        )
        return Part(pictures=[picture])

    def _about(self, size: Size, made: Mapping[str, Sequence[Followed]]) -> list[str]:
        seconds = sum(f.seconds for each in made.values() for f in each)
        return [
            f"Simulated, not run on Ray: open system `{' '.join(self.open)}`, closed system "
            f"`{' '.join(self.closed)}`; {size.workloads} unseen workloads from seed "
            f"{self.first_seed} on, {size.varied} where something is varied.",
            f"PPO is the shipped policy `{self.policy}`, unless {PPO} is said: those are "
            f"{size.trainings} trainings of {size.settings[PPO]['n_steps']:,} decisions from "
            f"nothing. The trainings of this report took {seconds:.0f} s of wall clock, added up.",
            "Gains are geometric means over workloads, paired, with 95 % bootstrap intervals. The "
            f"better of static and reactive is chosen on {size.chosen_on} training workloads. A "
            f"gain in latency or throughput counts at no more than {self.most_cost:g} times the "
            "cost of the cheaper of both.",
        ]


def _weight(of_cost: float) -> str:
    return f"scenario.weights.cost={of_cost}"


def _pipelines(words: Sequence[str]) -> Pipelines:
    scenario = scenario_of(words[0], words[1:])
    require(isinstance(scenario, Pipelines), f"suite: {words[0]!r} is no scenario of pipelines")
    assert isinstance(scenario, Pipelines)
    return scenario
