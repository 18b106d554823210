"""Transfers: what trained policies are worth where they were not trained (claims C9, C10, A11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from evaluations.cells import REPLAY
from evaluations.experiments import arrivals
from evaluations.experiments.arms import Arm, trained
from evaluations.experiments.arrivals import AT_LENGTH, TUNED
from evaluations.experiments.journey import Arrived, Journey, Place, Target, fine_tuned, place_of
from evaluations.experiments.recorded import record
from evaluations.experiments.transfer_pictures import advantages
from evaluations.source import error_of
from evaluations.verdicts.claims import Claim, Finding
from evaluations.verdicts.comparison import compared
from evaluations.verdicts.report import Picture, Produced, publish
from evaluations.verdicts.sizes import command_of, require_size
from toolkit.errors import require
from toolkit.report import Report
from toolkit.store import Store

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from toolkit.store import Product


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained and played.

    Args:
        workloads: Unseen workloads of a target.
        dear: The same of those that take long.
        chosen_on: Training workloads that tell which rule is the best.
        episodes: Of fine-tuning.
        seeds: Of the trainings.
        settings: Of PPO in fine-tuning, that differ from its YAML.
        journeys: By family of decisions.
    """

    workloads: int
    dear: int
    chosen_on: int
    episodes: int
    seeds: Sequence[int]
    settings: Mapping[str, Any]
    journeys: Mapping[str, Journey]

    def __post_init__(self) -> None:
        for name, least in (("workloads", 2), ("dear", 2), ("chosen_on", 1), ("episodes", 1)):
            value = getattr(self, name)
            require(value >= least, f"experiment.sizes: {name} must be {least} or more")
        require(len(self.seeds) > 0, "experiment.sizes: seeds must name one or more")

    def settled(self, store: Store) -> Size:
        """Return the size with all journeys :meth:`Journey.settled`."""
        return replace(
            self, journeys={family: j.settled(store) for family, j in self.journeys.items()}
        )


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """Plays trained policies elsewhere, as they are, fine-tuned there and trained there at length.

    Args:
        name: Of the experiment.
        size: Which of ``sizes``: ``quick`` or ``full``.
        sizes: By name.
        first_seed: Seed of the first unseen workload.
    """

    name: str
    size: str
    sizes: Mapping[str, Size]
    first_seed: int

    def __post_init__(self) -> None:
        require_size(self.size, self.sizes, self.first_seed, "experiment")

    @property
    def command(self) -> str:
        """What to type to get it all again."""
        return command_of(f"toolkit train +experiment={self.name}", self.size, "experiment")

    def run(self, cfg: DictConfig) -> Report:
        """Train, play and judge; what was trained or played already is not again."""
        size = self.sizes[self.size].settled(Store())
        places = {
            (family, name): place_of(journey.policy, target.words)
            for family, journey in size.journeys.items()
            for _, name, target in _with_source(journey)
        }
        made = self._trained(size, places, cfg)
        arrived = {
            family: [
                self._played(size, family, group, name, target, places, made, cfg)
                for group, name, target in _with_source(journey)
            ]
            for family, journey in size.journeys.items()
        }
        stated: list[Claim] = []
        findings: list[Finding] = []
        for family, found in arrived.items():
            told, judged = arrivals.judged(size.journeys[family], found, self.command)
            stated += told
            findings += judged
        produced = Produced(
            suite=self.name,
            title="Transfer: policies where they were not trained",
            size=self.size,
            command=self.command,
            about=self._about(size),
            tables=[
                t for f, found in arrived.items()
                for t in arrivals.tables(f, size.journeys[f], found)
            ],
            pictures=[
                Picture(
                    name=f"advantage_{family}",
                    caption=f"Advantage in mean completion time, {family}: as it is, fine-tuned "
                    "and trained there, with 95 % intervals; what no policy passes is hatched.",
                    draw=partial(advantages, size.journeys[family], found),
                )
                for family, found in arrived.items()
            ],
            findings=findings,
        )  # fmt: skip
        return publish(produced, stated)

    def _trained(
        self, size: Size, places: Mapping[tuple[str, str], Place], cfg: DictConfig
    ) -> dict[tuple[str, str, str], list[Product]]:
        """Return trainings by family, target and how long they were."""
        arms: dict[str, Arm] = {}
        keys: dict[str, tuple[str, str, str]] = {}
        for family, journey in size.journeys.items():
            for _, name, target in journey.each():
                place = places[family, name]
                wanted = {TUNED: fine_tuned(journey, target, place, size.episodes, size.settings)}
                if not target.dear:
                    wanted[AT_LENGTH] = Arm(
                        algo="ppo", settings=journey.trained, plays=target.words,
                        init=journey.policy,
                    )  # fmt: skip
                for how, arm in wanted.items():
                    said = f"{family}, {name}, {how}"
                    arms[said], keys[said] = arm, (family, name, how)
        made = trained(arms, dict.fromkeys(arms, size.seeds), 0, cfg)
        return {keys[said]: products for said, products in made.items()}

    def _played(
        self,
        size: Size,
        family: str,
        group: str,
        name: str,
        target: Target,
        places: Mapping[tuple[str, str], Place],
        made: Mapping[tuple[str, str, str], Sequence[Product]],
        cfg: DictConfig,
    ) -> Arrived:
        journey = size.journeys[family]
        count, known = size.workloads, size.chosen_on
        if target.dear:
            count, known = size.dear, max(1, size.chosen_on // 2)
        mine = {
            how: made[family, name, how]
            for how in (TUNED, AT_LENGTH)
            if (family, name, how) in made
        }
        arms = {n: [n] for n in [*journey.rivals, *journey.beside, journey.policy]}
        learned = {how: [p.id for p in products] for how, products in mine.items()}
        played = compared(
            target.words,
            arms | learned,
            journey.rivals,
            known,
            range(self.first_seed, self.first_seed + count),
            cfg,
        )
        rules: dict[str, list[str]] = {n: [] for n in [*journey.rivals, *journey.beside]}
        record(
            played, rules | {journey.policy: [journey.policy]} | learned, journey.metric,
            experiment=self.name, ground=f"{family}, {name}", size=self.size, command=self.command,
        )  # fmt: skip
        seconds = {
            how: sum(float(p.manifest["about"]["seconds"]) for p in products) / len(products)
            for how, products in mine.items()
        }
        place = places[family, name]
        return Arrived(group=group, name=name, played=played, place=place, seconds=seconds)

    def _about(self, size: Size) -> list[str]:
        told = [
            f"`{j.policy}` was trained on `{' '.join(j.source)}`. HEFT is the best of "
            f"{', '.join(j.hefts)}, the best heuristic the best of these and "
            f"{', '.join(j.rules)}, both on {size.chosen_on} training workloads of each target, "
            "half as many where one takes long to play."
            for j in size.journeys.values()
        ]
        return [
            *told,
            *(
                _replayed(name, target)
                for j in size.journeys.values()
                for _, name, target in j.each()
                if target.words[0] == REPLAY
            ),
            f"{size.workloads} unseen workloads of each target from seed {self.first_seed} on, "
            f"{size.dear} where one takes long to play; {len(size.seeds)} training(s) each, and "
            "where that is one, intervals tell of that policy and not of another training.",
            "The advantage is (HEFT − policy)/HEFT in mean completion time, averaged over "
            "workloads. In distribution is a policy that went on from the same one at the target "
            "at length; none that begins with nothing there was trained. Where that takes too "
            "long, or found nothing better, it is the policy itself where it was trained. A share "
            "is told only where the interval of the advantage in distribution lies above 0.",
            f"Fine-tuned: {size.episodes} episodes, of which the critic alone learns from a "
            "quarter; a gate also plays a few training workloads greedily, to keep the best.",
            "A fully connected network, as the papers have it, knows one number of slots and "
            "features: where these differ it cannot be carried over at all.",
        ]


def _with_source(journey: Journey) -> list[tuple[str, str, Target]]:
    return [("", arrivals.SOURCE, Target(words=journey.source)), *journey.each()]


def _replayed(name: str, target: Target) -> str:
    store = Store()
    calibration = store.get("calibrations", target.words[1])
    trace = store.get("traces", calibration.manifest["inputs"]["trace"])
    about = trace.manifest["about"]
    return (
        f"{name}: the replay calibrated on the recording `{trace.id}` ({about['source']}, "
        f"{about['runs']} runs), whose makespan error on held-out runs is "
        f"{error_of(calibration):.1%}; trainings there meet durations that are off by as much."
    )
